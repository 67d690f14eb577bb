"""How a newcomer gets networks to begin with: it asks a neighbor, which gives it its own.

A part of the peer machine. One is asked at a time, and another after `ASK_AGAIN_S` if nothing came:
who has not trained yet has nothing to give, and does not answer.
"""

from typing import Final

from p2pgan.protocol.chunks import Arrival
from p2pgan.protocol.core import Core
from p2pgan.protocol.exchanges import Exchanges, Parcel
from p2pgan.protocol.instructions import Adopt, CancelTimer, SetTimer
from p2pgan.protocol.links import Link
from p2pgan.protocol.messages import Fetch
from p2pgan.protocol.neighborhood import Neighborhood
from p2pgan.types import NETS

FETCH_TIMER: Final = "fetch"

ASK_AGAIN_S: Final = 5.0
"""Longer than networks of a few megabytes take on any network but the slowest."""


class Gifts:
    """What is asked for at the start, and given later on.

    Invariants: only who has nothing asks; what came is held until it is adopted.
    """

    __slots__ = ("_asked", "_core", "_exchanges", "_given_s", "_is_waiting", "_neighborhood",
                 "_owed", "_tried", "arrival", "is_wanted")  # fmt: skip

    def __init__(
        self, core: Core, neighborhood: Neighborhood, exchanges: Exchanges, *, is_wanted: bool
    ) -> None:
        self._core, self._neighborhood, self._exchanges = core, neighborhood, exchanges
        self.is_wanted = is_wanted
        """Whether we have no networks worth the name, and wait for somebody's."""
        self._tried: set[str] = set()
        """Those that were asked in this time round."""
        self._asked: set[str] = set()
        """Those that were ever asked; what the first of them sends is taken."""
        self._is_waiting = False
        """Whether the latest has some time left to answer."""
        self._given_s: dict[str, float] = {}
        """When each newcomer was given something last."""
        self._owed: set[str] = set()
        """Newcomers that asked before our own connection to them was made."""
        self.arrival: Arrival | None = None
        """What came, while it is adopted."""

    def ask_again(self) -> None:
        """The one that was asked last was silent for long."""
        self._is_waiting = False
        self.welcomed()

    def welcomed(self) -> None:
        """Asks the next neighbor that is ready, unless another may still answer."""
        ready = self._neighborhood.ready()
        is_due = self.is_wanted and self.arrival is None and not self._is_waiting
        if not is_due or not ready:
            return
        untried = [peer for peer in ready if peer not in self._tried]
        if not untried:
            self._tried.clear()
            untried = list(ready)
        peer = untried[0]
        self._tried.add(peer)
        self._asked.add(peer)
        self._is_waiting = True
        link = self._neighborhood.links[peer]
        self._neighborhood.say(link, Fetch(clock=self._core.tick()))
        self._core.emit(SetTimer(name=FETCH_TIMER, at_s=self._core.now + ASK_AGAIN_S))

    def owes(self, link: Link) -> bool:
        """Whether a newcomer still waits for ours."""
        return link.peer in self._owed

    def give(self, link: Link, *, round: int, iterations: int) -> None:
        """A newcomer asks for ours, which are those of so many iterations; it gets them as soon as
        it can, and not more often than anybody needs to ask."""
        now = self._core.now
        if now < self._given_s.get(link.peer, -ASK_AGAIN_S) + ASK_AGAIN_S:
            return
        if link.is_ready:
            self._owed.discard(link.peer)
            self._given_s[link.peer] = now
            parcel = Parcel(purpose="gift", number=iterations)
            self._exchanges.send(link.peer, NETS, round=round, parcel=parcel)
        else:
            self._owed.add(link.peer)

    def unwanted(self, arrival: Arrival) -> str:
        """Why a gift is not taken; empty: it is."""
        is_due = self.is_wanted and self.arrival is None and arrival.peer in self._asked
        return "" if is_due else "not_asked"

    def take(self, arrival: Arrival) -> None:
        """A gift has come, and takes the place of what we have."""
        self.arrival = arrival
        self._core.emit(CancelTimer(name=FETCH_TIMER))
        self._core.emit(Adopt(arrival=arrival))

    def adopted(self) -> Arrival:
        """It has."""
        arrival = self.arrival
        assert arrival is not None, "nothing was given"
        self._exchanges.mixed(arrival, weight=1.0, round=arrival.round)
        self.end()
        return arrival

    def end(self) -> None:
        """We go on with what we have; what comes now is too late."""
        if self.is_wanted:
            self._core.emit(CancelTimer(name=FETCH_TIMER))
        self.is_wanted, self.arrival = False, None

    def held_bytes(self) -> int:
        """Bytes in hand."""
        return len(self.arrival.data) if self.arrival is not None else 0
