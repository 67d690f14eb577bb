"""Asynchronous pairs (AD-PSGD, Lian et al. 2018): two peers move towards each other.

A part of the peer machine. When a round is over, a node asks one neighbor, with its networks. That
one answers at once with its own, and both mix at the end of the trainings that they are at. They
mix by difference: what a node adds is half of what came less half of what it has sent itself (the
base of the pair). The two changes cancel out, so that the sum of both is what it was, though both
have trained meanwhile and neither has waited.

A base must not be older than the last mixing: two differences that follow from the same distance,
one after the other, overshoot, and nodes that pair often would swing ever further apart. So who
mixes while it waits for an answer, has waited for `PATIENCE` rounds, or has lost its connection to
the other, gives its request up, and may ask anew. An answer that comes after all is late: it is
averaged like any vector, which does not keep the sum, and neither does an answer that is lost.

A node with a request under way answers others all the same (if all asked at once, nobody would be
free), but not the one that it has asked: the two would trade places. Of two who ask each other the
one whose id comes first is answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from p2pgan.protocol.chunks import Arrival
from p2pgan.protocol.core import Core, Settings
from p2pgan.protocol.exchanges import Exchanges, Outgoing, Parcel
from p2pgan.protocol.instructions import Forget, Mix
from p2pgan.protocol.neighborhood import Neighborhood
from p2pgan.protocol.trading import Trade

PATIENCE: Final = 20
"""Rounds that a node waits for an answer, if nothing else comes: both ways may take ten each."""


@dataclass(slots=True, kw_only=True)
class Request:
    """What we have asked and got no answer to."""

    peer: str
    exchange: str
    rounds: int = 0
    """That it has waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """Our half of a pair, which waits to be mixed."""

    arrival: Arrival
    base: str
    """Exchange id of what we have sent; empty: that is forgotten."""


class Pairs(Trade):
    """Asks and answers.

    Invariants: at most one request waits for its answer, one answer waits to be mixed, and one
    request that we have answered, or will as soon as we have mixed.
    """

    __slots__ = ("_answered", "_given_up", "_held", "_is_mixing", "_request", "_round", "_taken")

    def __init__(
        self, core: Core, settings: Settings, neighborhood: Neighborhood, exchanges: Exchanges
    ) -> None:
        super().__init__(core, settings, neighborhood, exchanges)
        self._round = 0
        """The last one that was trained; 0: there are no networks to answer with."""
        self._is_mixing = False
        self._held: Arrival | None = None
        """A request that came while we were mixing."""
        self._request: Request | None = None
        self._given_up: dict[str, str] = {}
        """Of each peer the latest request of ours that we wait for no longer."""
        self._answered: Half | None = None
        """A request of another."""
        self._taken: Half | None = None
        """The answer to ours."""

    # -- rounds ------------------------------------------------------------------------------------

    def go_on(self, ready: Sequence[str], round: int) -> None:
        self._is_mixing = False
        held, self._held = self._held, None
        if held is not None and held.peer in ready:
            self._answer(held)
        elif held is not None:
            self.exchanges.discard((held,), "unanswered")
        if self._request is not None:
            self._request.rounds += 1
            if self._request.rounds < PATIENCE:
                return
            self._give_up(self._request)
        if ready:
            self._ask(ready, round)

    def _ask(self, ready: Sequence[str], round: int) -> None:
        (nets,) = self.settings.groups
        for peer in self.drawn(ready)[:1]:
            parcel = Parcel(purpose="pair")
            exchange = self.exchanges.send(peer, nets, round=round, parcel=parcel)
            self._request = Request(peer=peer, exchange=exchange)

    def take(self, round: int) -> Mix | None:
        self._round = round
        halves = [half for half in (self._answered, self._taken) if half is not None]
        self._answered = self._taken = None
        if not halves:
            return None
        self._is_mixing = True
        if self._request is not None:
            self._give_up(self._request)
        bases = {half.arrival.exchange: half.base for half in halves if half.base}
        return Mix(arrivals=tuple(half.arrival for half in halves), bases=bases)

    # -- pairs -------------------------------------------------------------------------------------

    def unwanted(self, arrival: Arrival) -> str:
        peer = arrival.peer
        if arrival.purpose == "answer":
            is_awaited = self._is_awaited(arrival)
            is_late = self._given_up.get(peer) == arrival.answers
            return "" if (is_awaited or is_late) and self._taken is None else "late"
        can_answer = self._round > 0 and peer in self.neighborhood.ready()
        is_paired = self._answered is not None or self._held is not None
        crosses = self._request is not None and self._request.peer == peer
        is_first = crosses and self.core.us.node < peer
        return "" if can_answer and not is_paired and not is_first else "busy"

    def keep(self, arrival: Arrival) -> None:
        if arrival.purpose == "answer":
            self._take_answer(arrival)
        elif arrival.purpose == "pair" and self._is_mixing:
            self._held = arrival
        elif arrival.purpose == "pair":
            self._answer(arrival)
        else:
            super().keep(arrival)

    def _answer(self, arrival: Arrival) -> None:
        parcel = Parcel(purpose="answer", answers=arrival.exchange)
        base = self.exchanges.send(arrival.peer, arrival.nets, round=self._round, parcel=parcel)
        self._answered = Half(arrival=arrival, base=base)

    def _is_awaited(self, answer: Arrival) -> bool:
        request = self._request
        return request is not None and (request.peer, request.exchange) == (
            answer.peer,
            answer.answers,
        )

    def _take_answer(self, arrival: Arrival) -> None:
        if self._is_awaited(arrival):
            self._taken = Half(arrival=arrival, base=arrival.answers)
            self._request = None
        else:
            del self._given_up[arrival.peer]
            self._taken = Half(arrival=arrival, base="")

    def returned(self, out: Outgoing) -> None:
        """Nobody will answer our request, or mix our answer."""
        answered = self._answered
        if self._request is not None and self._request.exchange == out.exchange:
            self._request = None
            self.core.emit(Forget(exchange=out.exchange))
        elif answered is not None and answered.base == out.exchange:
            self._answered = None
            self.exchanges.discard((answered.arrival,), "unanswered")
            self.core.emit(Forget(exchange=out.exchange))

    def lost(self, peer: str) -> None:
        if self._request is not None and self._request.peer == peer:
            self._give_up(self._request)
        if self._held is not None and self._held.peer == peer:
            self.exchanges.discard((self._held,), "unanswered")
            self._held = None

    def _give_up(self, request: Request) -> None:
        self._given_up[request.peer] = request.exchange
        self._request = None
        self.core.emit(Forget(exchange=request.exchange))

    # -- the end -----------------------------------------------------------------------------------

    def let_go(self, *, now: bool) -> None:
        del now
        self.exchanges.discard(self._arrivals(), "finished")
        self._answered = self._taken = self._held = self._request = None

    def held_bytes(self) -> int:
        return sum(len(arrival.data) for arrival in self._arrivals())

    def _arrivals(self) -> tuple[Arrival, ...]:
        halves = [half.arrival for half in (self._answered, self._taken) if half is not None]
        return (*halves, *([self._held] if self._held is not None else []))

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        assert self._answered is None or self._held is None, "two requests at once"
        assert self._answered is None or self._answered.base, "an answer without a base"
