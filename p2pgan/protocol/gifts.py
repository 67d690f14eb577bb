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

    __slots__ = ("_asked", "_core", "_exchanges", "_neighborhood", "_owed", "arrival",
                 "is_wanted")  # fmt: skip

    def __init__(
        self, core: Core, neighborhood: Neighborhood, exchanges: Exchanges, *, is_wanted: bool
    ) -> None:
        self._core, self._neighborhood, self._exchanges = core, neighborhood, exchanges
        self.is_wanted = is_wanted
        """Whether we have no networks worth the name, and wait for somebody's."""
        self._asked: list[str] = []
        """Those that were asked in this time round, the latest last."""
        self._owed: set[str] = set()
        """Newcomers that asked before our own connection to them was made."""
        self.arrival: Arrival | None = None
        """What came, while it is adopted."""

    def ask(self) -> None:
        """Asks the next neighbor, if it is time: when one is ready, or the last was silent."""
        ready = self._neighborhood.ready()
        if not self.is_wanted or self.arrival is not None or not ready:
            return
        untried = [peer for peer in ready if peer not in self._asked]
        if not untried:
            self._asked.clear()
            untried = list(ready)
        peer = untried[0]
        self._asked.append(peer)
        link = self._neighborhood.links[peer]
        self._neighborhood.say(link, Fetch(clock=self._core.tick()))
        self._core.emit(SetTimer(name=FETCH_TIMER, at_s=self._core.now + ASK_AGAIN_S))

    def welcomed(self) -> None:
        """A peer is ready: the first one is asked at once."""
        if not self._asked:
            self.ask()

    def owes(self, link: Link) -> bool:
        """Whether a newcomer still waits for ours."""
        return link.peer in self._owed

    def give(self, link: Link, *, round: int, iterations: int) -> None:
        """A newcomer asks for ours, which are those of so many iterations; it gets them as soon as
        it can."""
        if link.is_ready:
            self._owed.discard(link.peer)
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
