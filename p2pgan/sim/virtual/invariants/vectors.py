"""What becomes of vectors: one of them is sent, taken and mixed once, and both ends agree on that.

Only vectors between peers are followed: those of runs with a coordinator name their purpose in the
log, and are answered by other vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.messages import Hello, VectorAck, Welcome
from p2pgan.sim.virtual.invariants.ground import Ground, Invariant, Read, See
from p2pgan.sim.virtual.world import Moment

REJECTIONS: Final = frozenset(
    {"size", "order", "changed", "digest", "not_finite", "nets", "origin", "exchange", "repeated"}
    | {"overtaken", "incomplete"}
)
"""Why a vector is dropped before it is taken; a repetition of one that was taken is, too."""


@dataclass(slots=True)
class Sent:
    """A vector that its sender knows to be on its way."""

    peer: str
    sent_s: float
    is_taken: bool = False
    """Whether its receiver has recorded it."""


class Life:
    """What one incarnation of a node has to do with vectors."""

    __slots__ = ("held", "incarnation", "latest", "met", "sent")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.sent: dict[str, Sent] = {}
        """Not accounted for yet, by exchange."""
        self.held: set[str] = set()
        """Exchanges of vectors that were taken, and have not ended."""
        self.met: dict[str, int] = {}
        """The latest incarnation of each peer that it has met."""
        self.latest: dict[tuple[str, tuple[str, ...]], tuple[int, int]] = {}
        """Incarnation and number of what was taken last, by sender and networks."""


class Vectors(Invariant):
    """Every vector is sent, taken and mixed once; nothing of an earlier life is taken; whoever
    leaves in good order has accounted for all; whoever is told that its vector was taken can rely
    on it, and is told."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self._lives: dict[str, Life] = {}

    def events(self) -> Mapping[type[ev.Event], See]:
        """As `Invariant.events`."""
        return {ev.Started: self._begins, ev.Received: self._hears, ev.Answered: self._is_answered}

    def records(self) -> Mapping[str, Read]:
        """As `Invariant.records`."""
        return {
            "vector_sent": self._sends,
            "vector_received": self._takes,
            "vector_mixed": self._ends,
            "vector_judged": self._ends,
            "vector_dropped": self._drops,
            "node_stopped": self._stops,
        }

    # -- who has met whom --------------------------------------------------------------------------

    def _begins(self, moment: Moment) -> None:
        self._lives[moment.node] = Life(moment.incarnation)

    def _hears(self, moment: Moment) -> None:
        assert isinstance(moment.event, ev.Received)
        hello = moment.event.message
        if isinstance(hello, Hello) and _welcomes(moment):
            self._meets(moment, hello.node, hello.boot)

    def _is_answered(self, moment: Moment) -> None:
        assert isinstance(moment.event, ev.Answered)
        message, peer = moment.event.message, moment.event.peer
        if isinstance(message, VectorAck):
            self._is_acknowledged(moment, peer, message)
        elif isinstance(message, Welcome):
            joined = any(
                isinstance(one, do.Record) and one.kind == "peer_joined"
                for one in moment.instructions
            )
            if joined:
                self._meets(moment, peer, message.boot)

    def _meets(self, moment: Moment, peer: str, boot: str) -> None:
        met, incarnation = self._lives[moment.node].met, int(boot, 16)
        if incarnation < met.get(peer, 0):
            self.ground.fail(
                moment.node,
                expected="nobody to meet an earlier life of a peer after a later one",
                got=f"life {incarnation} of `{peer}` after {met[peer]}",
            )
        met[peer] = incarnation

    # -- the sender's side -------------------------------------------------------------------------

    def _sends(self, moment: Moment, record: do.Record) -> None:
        if "purpose" in record.fields:
            return
        exchange, life = record.fields["exchange"], self._lives[moment.node]
        sender, incarnation, _ = parsed(exchange)
        if (sender, incarnation) != (moment.node, moment.incarnation) or exchange in life.sent:
            self.ground.fail(
                moment.node, expected="a new exchange id of its own", got=f"`{exchange}`"
            )
        life.sent[exchange] = Sent(record.fields["peer"], moment.now)

    def _is_acknowledged(self, moment: Moment, peer: str, ack: VectorAck) -> None:
        life = self._lives[moment.node]
        sent = life.sent.get(ack.exchange)
        if sent is None or sent.peer != peer or not ack.accepted:
            return
        if not sent.is_taken:
            self.ground.fail(
                moment.node,
                expected=f"`{peer}` to have recorded what it acknowledges",
                got=f"no record of `{ack.exchange}`",
            )
        del life.sent[ack.exchange]

    def sweep(self) -> None:
        """Where nothing is on its way between two nodes that are awake, and nothing was lost, every
        vector is accounted for."""
        network = self.ground.world.network
        for node, life in self._lives.items():
            if not life.sent or not self.ground.is_awake(node):
                continue
            for exchange, sent in life.sent.items():
                if (
                    self.ground.is_awake(sent.peer)
                    and not network.is_busy(node, sent.peer)
                    and network.spoiled_s(node, sent.peer) < sent.sent_s
                ):
                    self.ground.fail(
                        node,
                        expected=f"`{sent.peer}` to have answered, since nothing is on its way",
                        got=f"`{exchange}` of {sent.sent_s:.6f} s without an answer",
                    )

    # -- the receiver's side -----------------------------------------------------------------------

    def _takes(self, moment: Moment, record: do.Record) -> None:
        fields = record.fields
        if "purpose" in fields:
            return
        exchange, life = fields["exchange"], self._lives[moment.node]
        sender, incarnation, number = parsed(exchange)
        met = life.met.get(sender, 0)
        if sender != fields["peer"] or incarnation != met:
            self.ground.fail(
                moment.node,
                expected=f"vectors of life {met} of `{fields['peer']}`, the latest that it has met",
                got=f"`{exchange}`",
            )
        key, this = (sender, tuple(fields["nets"])), (incarnation, number)
        before = life.latest.get(key, (0, 0))
        if this <= before:
            self.ground.fail(
                moment.node,
                expected=f"a number above {before[1]} in life {before[0]} of `{sender}`",
                got=f"`{exchange}`, again or too late",
            )
        life.latest[key] = this
        life.held.add(exchange)
        self._answers(moment, exchange)
        theirs = self._lives[sender].sent.get(exchange)
        if theirs is not None:
            theirs.is_taken = True

    def _answers(self, moment: Moment, exchange: str) -> None:
        for one in moment.instructions:
            ack = one.message if isinstance(one, do.Reply) else None
            if isinstance(ack, VectorAck) and ack.exchange == exchange and ack.accepted:
                return
        self.ground.fail(
            moment.node,
            expected="everything that is taken to be acknowledged at once",
            got=f"no acknowledgment of `{exchange}`",
        )

    def _ends(self, moment: Moment, record: do.Record) -> None:
        if "purpose" in record.fields:
            return
        held, exchange = self._lives[moment.node].held, record.fields["exchange"]
        if exchange not in held:
            self.ground.fail(
                moment.node,
                expected="every vector that was taken to end once",
                got=f"`{record.kind}` of `{exchange}`, which is not there",
            )
        held.discard(exchange)

    # -- both --------------------------------------------------------------------------------------

    def _drops(self, moment: Moment, record: do.Record) -> None:
        if "purpose" in record.fields:
            return
        life, exchange = self._lives[moment.node], record.fields["exchange"]
        if exchange in life.sent:
            del life.sent[exchange]
        elif record.fields["reason"] not in REJECTIONS:
            self._ends(moment, record)

    def _stops(self, moment: Moment, record: do.Record) -> None:
        del record
        life = self._lives[moment.node]
        left = sorted(life.sent.keys() | life.held)
        if left:
            self.ground.fail(
                moment.node,
                expected="whoever leaves to have accounted for every vector",
                got=f"`{left[0]}` and {len(left) - 1} others without an end",
            )


def parsed(exchange: str) -> tuple[str, int, int]:
    """Sender, incarnation and number of an exchange id."""
    sender, boot, number = exchange.rsplit(".", 2)
    return sender, int(boot, 16), int(number)


def _welcomes(moment: Moment) -> bool:
    return any(
        isinstance(one, do.Reply) and isinstance(one.message, Welcome)
        for one in moment.instructions
    )
