"""Vectors on their way: those we sent and have no answer for, those that come in, those that wait.

A part of the peer machine. Every vector that is recorded as sent ends in exactly one of: an
acknowledgment (its receiver has recorded it), or a `vector_dropped` with a reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from p2pgan.protocol.chunks import Arrival, Assembler, VectorError
from p2pgan.protocol.core import Core
from p2pgan.protocol.decisions import Decisions, Latest
from p2pgan.protocol.instructions import Reply, SendVector
from p2pgan.protocol.links import Link
from p2pgan.protocol.messages import Chunk, Nets, Purpose, VectorAck
from p2pgan.protocol.windows import Met, Window

QUIET: Final[frozenset[Purpose]] = frozenset({"batches", "feedback"})
"""What is sent in every iteration. Only a refusal is recorded, or told to the sender; else the
answer is the next message."""

LASTING: Final[frozenset[Purpose]] = frozenset({"mass"})
"""What outlives the connection that it was sent over: it is sent again until its receiver has
decided, and whoever gets it again says again what it has said before."""

KEPT: Final[frozenset[Purpose]] = LASTING | {"pair", "answer"}
"""What its sender needs again."""

NAMED: Final[frozenset[Purpose]] = KEPT | {"gift", "model", "update", "move", *QUIET}
"""What records name; all else is the usual traffic of gossip."""

UNDECIDED: Final = "not_welcomed"
"""The answer to a vector that came over a connection without a welcome: its receiver knows nothing
of us, and may have accepted it when it still did."""

MAX_UNACKNOWLEDGED: Final = 1024
"""Vectors to one peer without an answer; an honest one that is slow has a hundred on its way."""


INCOMPLETE: Final = "incomplete"
"""Why a vector is dropped that others follow, or whose connection is gone, before it is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A vector that we sent and that its receiver has not acknowledged."""

    peer: str
    exchange: str
    nets: Nets
    round: int
    bytes: int
    purpose: Purpose = "mix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What a vector is sent for, and what goes with it."""

    purpose: Purpose = "mix"
    origin: str = ""
    slot: int = 0
    number: int = 0
    weight: float = 0.0
    answers: str = ""
    data: bytes = field(default=b"", repr=False)
    """Empty: our own networks."""


OWN: Final = Parcel()
"""Our own networks, to be mixed."""


class Gate(Protocol):
    """Which vectors are taken, and how large they are."""

    def admit(self, link: Link, chunk: Chunk) -> int:
        """The size of the vector that a chunk begins.

        Raises:
            VectorError: it is not taken from there, or not now.
        """

    def bytes_of(self, nets: Nets) -> int:
        """Size of our own networks, as they are sent."""


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Vectors counted since the start."""

    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    mixed: int = 0
    judged: int = 0
    dropped: int = 0


class Exchanges:
    """All vectors between us and our neighbors.

    Invariants: ids of what we sent are ours and were never used before; what comes in has the size
    that was agreed on; at most one vector waits per sender, group and purpose, and one
    comes in per sender and group; what comes in comes over a route that stands.
    """

    __slots__ = ("_assemblers", "_begun", "_coming", "_core", "_counter", "_decisions", "_gate",
                 "_prefix", "_quiet", "_rejected", "_unanswered", "_unwanted", "_windows", "inbox",
                 "outstanding", "traffic")  # fmt: skip

    def __init__(
        self, core: Core, gate: Gate, unwanted: Callable[[Arrival], str] = lambda arrival: ""
    ) -> None:
        """Without any vectors.

        Args:
            core: of the machine.
            gate: which vectors are taken at all.
            unwanted: why one that came whole is not taken now; empty: it is.
        """
        self._core, self._gate, self._unwanted = core, gate, unwanted
        self._counter = 0
        self._prefix = _prefix(core.us.node, core.us.boot)
        self.outstanding: dict[str, Outgoing] = {}
        self._unanswered: dict[str, dict[str, Outgoing]] = {p: {} for p in core.settings.neighbors}
        """Those that do not last, by peer, the oldest first."""
        self.inbox: dict[tuple[str, Nets, Purpose], Arrival] = {}
        self.traffic: dict[str, Traffic] = {peer: Traffic() for peer in core.settings.neighbors}
        self._quiet: dict[str, Outgoing] = {}
        """The latest to each peer of what is not acknowledged."""
        self._assemblers: dict[tuple[bytes, Nets], Assembler] = {}
        self._windows: dict[str, Window] = {}
        """What has come of each sender."""
        self._rejected: dict[str, str] = {}
        """Exchange of each sender whose further chunks are ignored, an earlier one being wrong."""
        self._begun: list[str] = []
        """Vectors sent since the last validation."""
        self._coming: list[tuple[bytes, Nets]] = []
        """Where chunks have come since then."""
        self._decisions = Decisions()
        """About what is sent again."""

    def recall(self, sent: int, met: Mapping[str, Met], decided: Mapping[str, Latest]) -> None:
        """Goes on where an earlier start of the node stood."""
        self._counter = sent
        self._windows = {peer: Window.of(of_peer) for peer, of_peer in met.items()}
        self._decisions = Decisions(dict(decided))

    @property
    def sent(self) -> int:
        """Vectors that were sent, by earlier starts as well."""
        return self._counter

    @property
    def met(self) -> dict[str, Met]:
        """Which vectors of each sender have come."""
        return {peer: window.met for peer, window in self._windows.items()}

    @property
    def decided(self) -> dict[str, Latest]:
        """What was said about those that their senders repeat."""
        return self._decisions.latest

    def send(self, peer: str, nets: Nets, *, round: int, parcel: Parcel = OWN) -> str:
        """Sends our own networks to a ready peer, to be mixed, or whatever the parcel says; the
        exchange id."""
        self._counter += 1
        exchange = f"{self._prefix}{self._counter}"
        size = len(parcel.data) or self._gate.bytes_of(nets)
        out = Outgoing(
            peer=peer,
            exchange=exchange,
            nets=nets,
            round=round,
            bytes=size,
            purpose=parcel.purpose,
        )
        self.traffic[peer].sent += 1
        self.traffic[peer].sent_bytes += size
        if parcel.purpose in QUIET:
            self._quiet[peer] = out
        else:
            self.outstanding[exchange] = out
            if parcel.purpose not in LASTING:
                self._limit_outstanding(peer)
                self._unanswered[peer][exchange] = out
            self._begun.append(exchange)
            self._core.record("vector_sent", **_fields(out))
        self._core.emit(
            SendVector(
                peer=peer,
                exchange=exchange,
                nets=nets,
                round=round,
                clock=self._core.tick(),
                purpose=parcel.purpose,
                origin=parcel.origin,
                slot=parcel.slot,
                number=parcel.number,
                weight=parcel.weight,
                answers=parcel.answers,
                data=parcel.data,
                keep=parcel.purpose in KEPT,
            )
        )
        return exchange

    def _limit_outstanding(self, peer: str) -> None:
        """Gives up the oldest vector to a peer that takes all and answers nothing."""
        unanswered = self._unanswered[peer]
        if len(unanswered) >= MAX_UNACKNOWLEDGED:
            self._drop(self._end(peer, next(iter(unanswered))), "unacknowledged")

    def _end(self, peer: str, exchange: str) -> Outgoing:
        """A vector to that peer is not waited for any more."""
        self._unanswered[peer].pop(exchange, None)
        return self.outstanding.pop(exchange)

    def meet(self, peer: str) -> None:
        """The overlay joins us with a peer that we never had to do with."""
        self._unanswered.setdefault(peer, {})
        self.traffic.setdefault(peer, Traffic())

    def owes(self, peer: str) -> bool:
        """Whether a vector of ours to that peer has no answer yet."""
        return any(out.peer == peer for out in self.outstanding.values()) or peer in self._quiet

    def awaits(self, peer: str, exchange: str) -> bool:
        """Whether a vector to that peer has no answer yet."""
        out = self.outstanding.get(exchange) or self._quiet.get(peer)
        return out is not None and (out.peer, out.exchange) == (peer, exchange)

    def acknowledged(self, peer: str, ack: VectorAck) -> Outgoing | None:
        """A receiver has decided about a vector; the vector. Answers to vectors given up are
        ignored, and so is one that decides nothing about what lasts."""
        out = self.outstanding.get(ack.exchange)
        if out is not None and out.peer == peer:
            if out.purpose in LASTING and ack.reason == UNDECIDED:
                return None
            self._end(peer, ack.exchange)
        else:
            quiet = self._quiet.get(peer)
            if quiet is None or quiet.exchange != ack.exchange:
                return None
            out = self._quiet.pop(peer)
        if not ack.accepted:
            self._drop(out, ack.reason or "refused")
        return out

    def replaced(self, peer: str, exchange: str) -> None:
        """The shell put a newer vector in the place of one that was not on its way yet."""
        if exchange in self._unanswered[peer]:
            self._drop(self._end(peer, exchange), "superseded")

    def lose(self, peer: str) -> None:
        """Our connection to a peer broke: what it has not acknowledged may not have come."""
        self._quiet.pop(peer, None)
        for exchange in list(self._unanswered[peer]):
            self._drop(self._end(peer, exchange), "peer_lost")

    def give_up(self, out: Outgoing, reason: str) -> None:
        """Waits no more for the answer to a vector."""
        self._drop(self._end(out.peer, out.exchange), reason)

    def take(self, purpose: Purpose | None = None) -> tuple[Arrival, ...]:
        """Empties the inbox, in order of senders; with a purpose, takes only what came for it.

        What a peer sends while it trains does not belong into the averages of those that have
        trained, nor theirs into its training: with `train.ema` they are not even of one kind.
        """
        keys = [key for key in sorted(self.inbox) if purpose in (None, key[2])]
        return tuple(self.inbox.pop(key) for key in keys)

    def judged(self, arrival: Arrival, *, score: float) -> None:
        """An arrival was scored on our own shard."""
        self.traffic[arrival.peer].judged += 1
        self._core.record("vector_judged", **_fields(arrival), score=score)

    def mixed(self, arrival: Arrival, *, weight: float, round: int) -> None:
        """An arrival went into our own networks in `round`."""
        self.traffic[arrival.peer].mixed += 1
        staleness = round - arrival.round
        self._core.record(
            "vector_mixed", **_fields(arrival), weight=weight, staleness_rounds=staleness
        )

    def discard(self, arrivals: tuple[Arrival, ...], reason: str) -> None:
        """Arrivals that were received, but will not be mixed."""
        for arrival in arrivals:
            self._drop(arrival, reason)

    def refuse(self, link: Link, arrival: Arrival, reason: str) -> None:
        """An arrival is of no use, or not now; its sender is told."""
        self._drop(arrival, reason)
        self._decide(link, arrival.exchange, arrival.purpose, reason)
        if link.route is not None:
            self._ack(link.route, arrival.exchange, reason)

    def prune(self, routes: dict[bytes, str]) -> None:
        """Gives up what was coming in over connections that no longer stand."""
        for key in [key for key in self._assemblers if key[0] not in routes]:
            self._give_up(key)

    def close(self) -> None:
        """Accounts for everything that is still on the way."""
        for key in list(self._assemblers):
            self._give_up(key)
        self.discard(self.take(), "finished")
        for out in list(self.outstanding.values()):
            self._drop(self._end(out.peer, out.exchange), "unacknowledged")

    def cut_off(self, link: Link, chunk: Chunk) -> bool:
        """Gives up the vector that is coming in, if a chunk begins a later one before it is whole,
        or one that is sent again: its rest is lost. Its sender is told, for good.

        Returns:
            Whether it did, which is a fault: else a peer could fill our log with one small chunk a
            line.
        """
        assert link.route is not None, "chunks come over routes that stand"
        key = (link.route, chunk.nets)
        former = self._assemblers.get(key)
        if former is None or former.exchange == chunk.exchange:
            return False
        if not self._comes_again(link, former, chunk) and not self._is_later(link, chunk):
            return False
        self._give_up(key)
        self._decide(link, former.exchange, former.head.purpose, INCOMPLETE)
        self._ack(link.route, former.exchange, INCOMPLETE)
        return True

    def _is_later(self, link: Link, chunk: Chunk) -> bool:
        """Whether a chunk is of a vector that was sent after all that have begun to come."""
        window = self._window(link)
        counter = _counter(chunk.exchange, window.prefix)
        return counter is not None and counter > window.latest

    def _window(self, link: Link) -> Window:
        """What has come of that sender's boot."""
        prefix = _prefix(link.peer, link.boot or "")
        window = self._windows.get(link.peer)
        if window is None or window.prefix != prefix:
            window = self._windows[link.peer] = Window(prefix)
        return window

    def _is_rest(self, link: Link, key: tuple[bytes, Nets], chunk: Chunk) -> bool:
        """Whether a chunk goes on with a vector that was not taken."""
        if self._rejected.get(link.peer) == chunk.exchange:
            return True
        window, assembler = self._window(link), self._assemblers.get(key)
        if not chunk.begin or (assembler is not None and assembler.exchange == chunk.exchange):
            return False
        counter = _counter(chunk.exchange, window.prefix)
        return chunk.purpose not in LASTING and counter is not None and window.has(counter)

    def chunk(
        self, link: Link, chunk: Chunk, payload: bytes | memoryview, *, finite: bool
    ) -> Arrival | None:
        """Takes a piece of a vector from a welcomed caller; the vector if it is now complete.

        Raises:
            VectorError: the vector cannot be taken. It is recorded, its sender told, and its
                further chunks will be ignored; the caller of this function counts the fault, which
                it is none to be `overtaken`.
        """
        assert link.route is not None, "chunks come over routes that stand"
        if chunk.purpose in LASTING and self._is_decided(link, link.route, chunk):
            return None
        key = (link.route, chunk.nets)
        if self._is_rest(link, key, chunk):
            return None
        self._coming.append(key)
        try:
            assembler = self._assembler(key, link, chunk)
            arrival = assembler.add(chunk, payload, finite=finite)
        except VectorError as error:
            former = self._assemblers.get(key)
            if former is not None and former.exchange == chunk.exchange:
                del self._assemblers[key]
            self._reject(link, link.route, chunk, error.reason)
            raise
        if arrival is None:
            return None
        del self._assemblers[key]
        if reason := self._unwanted(arrival):
            self.refuse(link, arrival, reason)
            return None
        self._accept(link, link.route, arrival)
        return arrival

    def _is_decided(self, link: Link, route: bytes, chunk: Chunk) -> bool:
        """Whether a piece is of a vector that was decided about; if so, its sender is told again
        when all of it has come."""
        reason = self._decision(link, chunk)
        if reason is not None and chunk.is_last:
            self._ack(route, chunk.exchange, reason)
        return reason is not None

    def _decision(self, link: Link, chunk: Chunk) -> str | None:
        """What was said about a chunk's vector, as `Decisions.of`."""
        prefix = _prefix(link.peer, link.boot or "")
        counter = _counter(chunk.exchange, prefix)
        return None if counter is None else self._decisions.of(link.peer, prefix, counter)

    def _comes_again(self, link: Link, former: Assembler, chunk: Chunk) -> bool:
        """Whether a chunk begins what is sent until it is decided about, with another coming in
        that is not: of those that last, a sender has one on its way."""
        may_last = chunk.purpose in LASTING and former.head.purpose not in LASTING
        return may_last and not chunk.begin and self._decision(link, chunk) is None

    def _decide(self, link: Link, exchange: str, purpose: Purpose, reason: str) -> None:
        """Remembers what was said about a vector that may come again."""
        prefix = _prefix(link.peer, link.boot or "")
        counter = _counter(exchange, prefix)
        if purpose in LASTING and counter is not None:
            self._decisions.decide(link.peer, prefix, counter, reason)

    def unwelcome(self, route: bytes, chunk: Chunk) -> None:
        """Tells a caller that was not welcomed (or no longer is) that its vector is lost."""
        if chunk.is_last:
            self._ack(route, chunk.exchange, UNDECIDED)

    def keep(self, arrival: Arrival) -> None:
        """Puts an arrival into the inbox, in the place of an older one of the same sender."""
        key = (arrival.peer, arrival.nets, arrival.purpose)
        older = self.inbox.get(key)
        if older is not None:
            self._drop(older, "superseded")
        self.inbox[key] = arrival

    def _assembler(self, key: tuple[bytes, Nets], link: Link, chunk: Chunk) -> Assembler:
        """The vector that the chunk continues, or a new one."""
        assembler = self._assemblers.get(key)
        if assembler is not None and assembler.exchange == chunk.exchange:
            if chunk.purpose not in LASTING or chunk.begin or not assembler.held_bytes:
                return assembler
            self._give_up(key)  # it is sent again, its rest having vanished on the way
            assembler = None
        expected_bytes = self._check_new(link, chunk)
        if assembler is not None:
            raise VectorError(
                "order",
                expected=f"the rest of `{assembler.exchange}`",
                got=f"byte {chunk.begin} of `{chunk.exchange}`",
                at=f"peer `{link.peer}`",
            )
        assembler = Assembler(link.peer, chunk, expected_bytes=expected_bytes)
        self._assemblers[key] = assembler
        return assembler

    def _check_new(self, link: Link, chunk: Chunk) -> int:
        """The size that the vector must have."""
        at = f"peer `{link.peer}`"
        expected_bytes = self._gate.admit(link, chunk)
        window = self._window(link)
        counter = _counter(chunk.exchange, window.prefix)
        if counter is None:
            raise VectorError("exchange", expected=f"`{window.prefix}N`", got="another id", at=at)
        reason = window.meet(counter)
        if reason and chunk.purpose not in LASTING:
            expected = f"more than {window.latest}"
            raise VectorError(reason, expected=expected, got=f"{counter}", at=at)
        return expected_bytes

    def _accept(self, link: Link, route: bytes, arrival: Arrival) -> None:
        traffic = self.traffic[arrival.peer]
        traffic.received += 1
        traffic.received_bytes += len(arrival.data)
        if arrival.purpose in QUIET:
            return
        self._core.record("vector_received", **_fields(arrival))
        self._decide(link, arrival.exchange, arrival.purpose, "")
        self._ack(route, arrival.exchange, "")

    def _reject(self, link: Link, route: bytes, chunk: Chunk, reason: str) -> None:
        self._rejected[link.peer] = chunk.exchange
        self.traffic[link.peer].dropped += 1
        self._core.record("vector_dropped", **_fields_of(link.peer, chunk), reason=reason)
        self._decide(link, chunk.exchange, chunk.purpose, reason)
        self._ack(route, chunk.exchange, reason)

    def _give_up(self, key: tuple[bytes, Nets]) -> None:
        assembler = self._assemblers.pop(key)
        if assembler.head.purpose in LASTING:
            return  # its sender accounts for it, and sends it again unless it is told not to
        self.traffic[assembler.peer].dropped += 1
        fields = _fields_of(assembler.peer, assembler.head)
        self._core.record("vector_dropped", **fields, reason=INCOMPLETE)

    def _ack(self, route: bytes, exchange: str, reason: str) -> None:
        clock = self._core.tick()
        ack = VectorAck(clock=clock, exchange=exchange, accepted=not reason, reason=reason)
        self._core.emit(Reply(route=route, message=ack))

    def _drop(self, vector: Outgoing | Arrival, reason: str) -> None:
        self.traffic[vector.peer].dropped += 1
        self._core.record("vector_dropped", **_fields(vector), reason=reason)

    def held_bytes(self) -> int:
        """Bytes of vectors in memory, whole and unfinished."""
        waiting = sum(len(arrival.data) for arrival in self.inbox.values())
        return waiting + sum(assembler.held_bytes for assembler in self._assemblers.values())

    def validate(self, routes: dict[bytes, str]) -> None:
        """Asserts the invariants of the class, for what has changed since the last time."""
        for exchange in self._begun:
            if exchange in self.outstanding:
                self._validate_sent(exchange)
        for key in self._coming:
            if key in self._assemblers:
                self._validate_coming(key, routes)
        self._begun.clear()
        self._coming.clear()

    def validate_all(self, routes: dict[bytes, str]) -> None:
        """Asserts them for every vector."""
        unanswered = [out for outs in self._unanswered.values() for out in outs.values()]
        passing = [e for e, out in self.outstanding.items() if out.purpose not in LASTING]
        assert sorted(out.exchange for out in unanswered) == sorted(passing)
        for exchange in self.outstanding:
            self._validate_sent(exchange)
        for (peer, nets, purpose), arrival in self.inbox.items():
            filed = (arrival.peer, arrival.nets, arrival.purpose)
            assert (peer, nets, purpose) == filed, "an arrival is filed wrongly"
        for key in self._assemblers:
            self._validate_coming(key, routes)

    def _validate_sent(self, exchange: str) -> None:
        out, counter = self.outstanding[exchange], _counter(exchange, self._prefix)
        assert exchange == out.exchange, "an outgoing vector is filed under another id"
        filed = None if out.purpose in LASTING else out
        assert self._unanswered[out.peer].get(exchange) is filed, "or under another peer"
        assert counter is not None, f"`{exchange}` is not an id of ours"
        assert 0 < counter <= self._counter, f"`{exchange}` was never sent"

    def _validate_coming(self, key: tuple[bytes, Nets], routes: dict[bytes, str]) -> None:
        assembler = self._assemblers[key]
        assert routes.get(key[0]) == assembler.peer, "chunks come in without a route"
        assert assembler.held_bytes <= assembler.head.total_bytes, "more bytes than announced"


def _prefix(node: str, boot: str) -> str:
    return f"{node}.{boot[:8]}."


def _counter(exchange: str, prefix: str) -> int | None:
    """The number at the end of an id that begins with `prefix`; `None` for any other id."""
    digits = exchange.removeprefix(prefix)
    well_formed = exchange.startswith(prefix) and digits.isascii() and digits.isdigit()
    return int(digits) if well_formed and len(digits) < 20 else None


def _fields(vector: Outgoing | Arrival) -> dict[str, Any]:
    size = vector.bytes if isinstance(vector, Outgoing) else len(vector.data)
    return _named(vector.purpose) | {
        "peer": vector.peer,
        "round": vector.round,
        "nets": list(vector.nets),
        "exchange": vector.exchange,
        "bytes": size,
    }


def _fields_of(peer: str, chunk: Chunk) -> dict[str, Any]:
    return _named(chunk.purpose) | {
        "peer": peer,
        "round": chunk.round,
        "nets": list(chunk.nets),
        "exchange": chunk.exchange,
        "bytes": chunk.total_bytes,
    }


def _named(purpose: Purpose) -> dict[str, Any]:
    return {"purpose": purpose} if purpose in NAMED else {}
