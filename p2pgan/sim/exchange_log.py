"""The records of a lockstep exchange: what daemons would have logged of the same vectors."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from p2pgan.mixing.draws import Arrivals
from p2pgan.mixing.rules import DIFFERENCE_SHARE, Rows, arrival_weight
from p2pgan.record import schema
from p2pgan.types import COORDINATOR, Net

Entry = tuple[str, schema.Body]
"""A node and what it records."""


class ExchangeLog:
    """Records of one group of networks in one round; `messages` counts the vectors on their way."""

    def __init__(
        self,
        nodes: Sequence[str],
        round_: int,
        nets: Sequence[Net],
        size: int,
        purpose: str | None = None,
    ) -> None:
        """A log of one exchange.

        Args:
            nodes: ids in index order.
            round_: the round, from 1.
            nets: the networks that travel together.
            size: bytes of one vector of these networks.
            purpose: what they are for, if not for the round's exchange.
        """
        self._nodes = nodes
        self._round = round_
        self._nets, self._purpose = list(nets), purpose
        self.bytes = size
        """Of one vector."""
        self.messages = 0

    def between_nodes(self, arrivals: Arrivals, rows: Rows | None = None) -> Iterator[Entry]:
        """Each node's arrivals: sent, received, and mixed with the rule's weight.

        Args:
            arrivals: who heard from whom.
            rows: `W`, where weights differ; `None`: all arrivals of a node count the same.
        """
        for receiver, sources in enumerate(arrivals):
            row = dict(_row(rows, receiver)) if rows is not None else {}
            for source in sources:
                weight = row[source] if row else arrival_weight(len(sources))
                yield from self._passage(self._nodes[source], self._nodes[receiver], weight)

    def between_pairs(self, arrivals: Arrivals) -> Iterator[Entry]:
        """Each pair: a request of the first of the two, and the answer of the other."""
        for one, partners in enumerate(arrivals):
            for other in partners:
                if one < other:
                    first, second = self._nodes[one], self._nodes[other]
                    yield from self._passage(first, second, DIFFERENCE_SHARE, "pair")
                    yield from self._passage(second, first, DIFFERENCE_SHARE, "answer")

    def through_coordinator(self, weights: Mapping[int, float] | None = None) -> Iterator[Entry]:
        """Nodes send to the coordinator, which sends its vector to them; it replaces theirs.

        Where all take part, it sends the mean at the end of the round. Otherwise those who take
        part have got its vector at the start, and who gets the mean shows in the next round.

        Args:
            weights: of those who take part, by index; `None`: of all, the same.
        """
        if weights is None:
            weights = dict.fromkeys(range(len(self._nodes)), 1 / len(self._nodes))
        if len(weights) < len(self._nodes):
            yield from self._from_coordinator(weights)
        for index, weight in weights.items():
            yield from self._passage(self._nodes[index], COORDINATOR, weight)
        if len(weights) == len(self._nodes):
            yield from self._from_coordinator(weights)

    def _from_coordinator(self, receivers: Iterable[int]) -> Iterator[Entry]:
        for index in receivers:
            yield from self._passage(COORDINATOR, self._nodes[index], 1.0)

    def judged(self, source: int, receiver: int, score: float) -> Iterator[Entry]:
        """A pair reaches its receiver, who votes on it."""
        sender, receiver_id = self._nodes[source], self._nodes[receiver]
        fields = yield from self._arrival(sender, receiver_id, "judge")
        yield receiver_id, schema.VectorJudged(peer=sender, score=score, **fields)

    def adopted(self, source: int, receiver: int) -> Iterator[Entry]:
        """A pair reaches its receiver, who takes it in place of its own."""
        yield from self._passage(self._nodes[source], self._nodes[receiver], 1.0, "adopt")

    def moved(self, sender: str, receiver: str) -> Iterator[Entry]:
        """A discriminator reaches another worker, which goes on with it."""
        yield from self._passage(sender, receiver, 1.0, "move")

    def dropped(self, source: int, receiver: int, reason: str, purpose: str) -> Iterator[Entry]:
        """A pair reaches its receiver in vain."""
        sender, receiver_id = self._nodes[source], self._nodes[receiver]
        fields = yield from self._arrival(sender, receiver_id, purpose)
        yield receiver_id, schema.VectorDropped(peer=sender, reason=reason, **fields)

    def _passage(
        self, sender: str, receiver: str, weight: float, purpose: str | None = None
    ) -> Iterator[Entry]:
        fields = yield from self._arrival(sender, receiver, purpose)
        yield (
            receiver,
            schema.VectorMixed(peer=sender, staleness_rounds=0, weight=weight, **fields),
        )

    def _arrival(
        self, sender: str, receiver: str, purpose: str | None = None
    ) -> Generator[Entry, None, dict[str, Any]]:
        """Sent and received; returns the fields that all records of the vector share."""
        self.messages += 1
        fields: dict[str, Any] = {
            "round": self._round,
            "nets": self._nets,
            "exchange": f"{self._round}.{''.join(self._nets)}.{sender}>{receiver}",
            "bytes": self.bytes,
            "purpose": purpose or self._purpose,
        }
        yield sender, schema.VectorSent(peer=receiver, **fields)
        yield receiver, schema.VectorReceived(peer=sender, **fields)
        return fields


def _row(rows: Rows, node: int) -> Iterator[tuple[int, float]]:
    """The nodes that have a weight for one, and their weights."""
    w_MN, row_of_N = rows
    start, end = w_MN.indptr[row_of_N[node]], w_MN.indptr[row_of_N[node] + 1]
    yield from zip(w_MN.indices[start:end].tolist(), w_MN.data[start:end].tolist(), strict=True)
