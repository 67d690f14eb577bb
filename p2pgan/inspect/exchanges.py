"""Who sent what to whom: vectors counted by directed pair of nodes.

N nodes. The sender of a vector and its receiver each record their side, joined by the id of the
exchange.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from p2pgan.inspect.text import natural
from p2pgan.record.rundir import Log, records_of
from p2pgan.record.schema import (
    Record,
    VectorDropped,
    VectorJudged,
    VectorMixed,
    VectorReceived,
    VectorSent,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

What = Literal["count", "bytes", "staleness"]
"""What a matrix shows: vectors that arrived, their bytes, or the mean staleness when mixed."""

Nets = Literal["G", "D", "both"]
"""Which vectors count: those with the generator, with the discriminator, with both at once."""


class Edge(msgspec.Struct, kw_only=True):
    """Vectors from one node to another."""

    sender: str
    receiver: str
    sent: int = 0
    received: int = 0
    mixed: int = 0
    judged: int = 0
    """Scored in the last step, which ends their way as mixing does."""
    dropped: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    staleness_rounds: float | None = None
    """Mean over the mixed vectors whose staleness is known."""


class NodeTraffic(msgspec.Struct, kw_only=True):
    """Vectors that a node sent, and those that were sent to it."""

    node: str
    sent: int = 0
    received: int = 0
    mixed: int = 0
    judged: int = 0
    dropped_out: int = 0
    """Given up by this node as their sender, or by the receivers of what it sent."""
    dropped_in: int = 0
    """Meant for this node and given up."""
    bytes_sent: int = 0
    bytes_received: int = 0
    partners: int = 0
    """Other nodes that it sent a vector to or received one from."""


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A vector as its sender recorded it."""

    exchange: str
    sender: str
    receiver: str
    round: int


class Tally:
    """Counts vectors, record by record.

    A drop belongs to the edge on which its exchange was sent, if its own node sent it; otherwise
    that node is taken for the receiver.

    Args:
        nets: count only vectors with these networks; `None`: all.
    """

    def __init__(self, nets: Nets | None = None) -> None:
        self._nets = nets
        self._edges: dict[tuple[str, str], Edge] = {}
        self._staleness: dict[tuple[str, str], Counter[int]] = {}
        self._sent: dict[str, Sent] = {}
        self._settled: set[str] = set()
        self._named: set[str] = set()
        self.writers: set[str] = set()
        """Nodes with a record of their own."""
        self.reasons: Counter[str] = Counter()
        """Vectors dropped, by reason."""

    def add(self, record: Record) -> None:
        """Count one record; kinds that are no vectors only make their node known."""
        self.writers |= {record.node} - {""}
        body = record.body
        match body:
            case VectorSent() | VectorReceived() | VectorMixed() | VectorJudged() | VectorDropped():
                if _carries(body.nets, self._nets):
                    self._named.add(body.peer)
                    self._count(record.node, body)
            case _:
                pass

    def _count(
        self,
        node: str,
        body: VectorSent | VectorReceived | VectorMixed | VectorJudged | VectorDropped,
    ) -> None:
        match body:
            case VectorSent():
                edge = self._edge(node, body.peer)
                edge.sent += 1
                edge.bytes_sent += body.bytes
                self._sent[body.exchange] = Sent(
                    exchange=body.exchange, sender=node, receiver=body.peer, round=body.round
                )
            case VectorReceived():
                edge = self._edge(body.peer, node)
                edge.received += 1
                edge.bytes_received += body.bytes
                self._settled.add(body.exchange)
            case VectorMixed():
                self._edge(body.peer, node).mixed += 1
                if body.staleness_rounds is not None:
                    stale = self._staleness.setdefault((body.peer, node), Counter())
                    stale[body.staleness_rounds] += 1
            case VectorJudged():
                self._edge(body.peer, node).judged += 1
            case VectorDropped():
                sent = self._sent.get(body.exchange)
                outgoing = sent is not None and sent.sender == node
                edge = self._edge(*((node, body.peer) if outgoing else (body.peer, node)))
                edge.dropped += 1
                self.reasons[body.reason] += 1
                self._settled.add(body.exchange)

    def _edge(self, sender: str, receiver: str) -> Edge:
        key = sender, receiver
        if key not in self._edges:
            self._edges[key] = Edge(sender=sender, receiver=receiver)
        return self._edges[key]

    def nodes(self) -> list[str]:
        """Every node that wrote a record or that a vector names, in natural order."""
        return sorted(self.writers | self._named, key=natural)

    def edges(self) -> list[Edge]:
        """A row for each directed pair with any vector, in natural order."""
        for key, stale in self._staleness.items():
            self._edges[key].staleness_rounds = (
                sum(rounds * times for rounds, times in stale.items()) / stale.total()
            )
        return sorted(self._edges.values(), key=lambda e: (natural(e.sender), natural(e.receiver)))

    def node_traffic(self) -> list[NodeTraffic]:
        """A row for each node, in natural order."""
        rows = {node: NodeTraffic(node=node) for node in self.nodes()}
        partners: dict[str, set[str]] = {node: set() for node in rows}
        for edge in self._edges.values():
            sender, receiver = rows[edge.sender], rows[edge.receiver]
            sender.sent += edge.sent
            sender.bytes_sent += edge.bytes_sent
            sender.dropped_out += edge.dropped
            receiver.received += edge.received
            receiver.bytes_received += edge.bytes_received
            receiver.mixed += edge.mixed
            receiver.judged += edge.judged
            receiver.dropped_in += edge.dropped
            if edge.sent:
                partners[edge.sender].add(edge.receiver)
            if edge.received:
                partners[edge.receiver].add(edge.sender)
        for node, row in rows.items():
            row.partners = len(partners[node] - {node})
        return list(rows.values())

    def unaccounted(self) -> list[Sent]:
        """Vectors that were sent and neither received nor dropped, in the order of sending."""
        return [sent for sent in self._sent.values() if sent.exchange not in self._settled]


class ExchangeMatrix(msgspec.Struct, frozen=True, kw_only=True):
    """What went from whom to whom."""

    what: What
    nodes: list[str]
    """Ids in the order of rows and columns."""
    values_NN: "npt.NDArray[np.float64]"
    """Row: sender, column: receiver. Staleness is NaN where nothing was mixed."""


def tally(log: Log, nets: Nets | None = None) -> Tally:
    """All vectors of a log, counted.

    Raises:
        RecordError: if the log cannot be read.
    """
    return tally_records(records_of(log), nets)


def tally_records(records: Iterable[Record], nets: Nets | None = None) -> Tally:
    """As `tally`, for records at hand."""
    counted = Tally(nets)
    for record in records:
        counted.add(record)
    return counted


def exchange_matrix(log: Log, what: What = "count", nets: Nets | None = None) -> ExchangeMatrix:
    """What arrived, as a matrix `[sender, receiver]`.

    Args:
        log: a run, or one of its logs, which knows only what its own nodes received.
        what: vectors, their bytes, or the mean of their staleness when mixed, in rounds.
        nets: count only vectors with these networks; `None`: all. Bytes are of whole vectors.
    Raises:
        RecordError: if the log cannot be read.
    """
    return matrix_of(tally(log, nets), what)


def matrix_of(counted: Tally, what: What) -> ExchangeMatrix:
    """As `exchange_matrix`, from a tally at hand."""
    import numpy as np

    nodes = counted.nodes()
    place = {node: index for index, node in enumerate(nodes)}
    nothing = np.nan if what == "staleness" else 0.0
    values_NN = np.full((len(nodes), len(nodes)), nothing)
    for edge in counted.edges():
        value = _value(edge, what)
        if value is not None:
            values_NN[place[edge.sender], place[edge.receiver]] = value
    return ExchangeMatrix(what=what, nodes=nodes, values_NN=values_NN)


def _value(edge: Edge, what: What) -> float | None:
    match what:
        case "count":
            return edge.received
        case "bytes":
            return edge.bytes_received
        case "staleness":
            return edge.staleness_rounds


def _carries(carried: Sequence[str], nets: Nets | None) -> bool:
    if nets is None:
        return True
    return set(carried) >= ({"G", "D"} if nets == "both" else {nets})
