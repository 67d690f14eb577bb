"""What a peer does after its training: it agrees on a pair with the others, or averages on.

A part of the peer machine. Theory of operation. Who has made its iterations says so, and whoever
hears of it for the first time tells it on, so that all know when everybody is there; the first one
that begins, since all are there or its wait is over, sets all others off in the same way. From then
on a timer makes the rounds, as no training keeps them apart.

The wait is for the dead, not for the slow: it begins anew as long as somebody who waits has a
neighbor that is connected and still at work. Such a one says so every now and then, with a count,
and a larger count is told on, so that those hear of it who are far from the slow node.

When the nodes agree (the rule is the voter's), a pair that comes is judged in its turn, or kept in
the place of a worse one; when they average, this is another exchange.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from p2pgan.protocol.chunks import Arrival
from p2pgan.protocol.core import Core, Settings
from p2pgan.protocol.exchanges import Exchanges, Parcel
from p2pgan.protocol.instructions import Judge, Send, SetTimer
from p2pgan.protocol.links import Link
from p2pgan.protocol.messages import MAX_LISTED, News, Trained, Votes, Waits
from p2pgan.protocol.neighborhood import Neighborhood

SETTLE_TIMER: Final = "settle"

PARTS_OF_WAIT: Final = 4
"""How often a node looks, in a wait, whether a neighbor is still at work."""

PART_BYTES = 6_000
"""Names and votes in one message: the header's bound, less what surrounds them."""

ENTRY_BYTES = 16
"""Of a name or vote beside its text."""


Entry = TypeVar("Entry", bound=tuple[object, ...])


class LastStep:
    """Where the last step stands.

    Invariants: whoever is known to have trained is a node of the run; every peer has at most one
    pair that waits for its judgement; pairs are held only where the nodes agree.
    """

    __slots__ = ("_alive_s", "_asked", "_core", "_draw", "_exchanges", "_neighborhood", "_queue",
                 "_trained", "_waits", "begun", "held", "is_over", "judging", "members", "round",
                 "settings")  # fmt: skip

    def __init__(
        self, core: Core, settings: Settings, neighborhood: Neighborhood, exchanges: Exchanges
    ) -> None:
        assert settings.last_step is not None
        self._core, self._neighborhood, self._exchanges = core, neighborhood, exchanges
        self._draw = settings.draw
        self.settings = settings.last_step
        self.members = frozenset(self.settings.around)
        """All nodes of the run."""
        self._trained: set[str] = set()
        self._alive_s = 0.0
        """When somebody was last seen at work, or our own work ended."""
        self._waits: dict[str, int] = {}
        """The largest count of each node that has seen a neighbor at work."""
        self.begun = False
        """Whether some node has begun."""
        self.round = 0
        """Rounds of the last step so far."""
        self.is_over = False
        """What comes now is too late."""
        self._asked: Sequence[str] = ()
        self._queue: dict[str, Arrival] = {}
        self.judging: Arrival | None = None
        """The pair that is being judged."""
        self.held: Arrival | None = None
        """The best pair that came."""

    # -- before ------------------------------------------------------------------------------------

    def may_begin(self) -> bool:
        """Whether nobody has to be waited for any more."""
        return self.begun or len(self._trained) == len(self.members)

    def trained(self, nodes: Iterable[str], *, begun: bool = False) -> None:
        """Takes note of who is there, and tells on what is new to whom it has not been told."""
        new = {*nodes} - self._trained
        assert new <= self.members, "a stranger has trained"
        has_begun = begun and not self.begun
        self._trained |= new
        self.begun = self.begun or begun
        for peer in self._neighborhood.ready():
            untold = [node for node in new if self._is_untold(node, peer)]
            if untold or has_begun:
                self._say_trained(peer, sorted(untold))

    def settle(self) -> None:
        """We are there, and wait for the others."""
        self._alive_s = self._core.now
        self._set_wait()
        self.trained((self._core.us.node,))

    def is_wait_over(self) -> bool:
        """Whether nobody was seen at work for the whole wait; a part of it has passed."""
        silent_s, wait_s = self._core.now - self._alive_s, self.settings.wait_s
        if silent_s >= wait_s:
            return True
        us, links = self._core.us.node, self._neighborhood.links
        sees = any(link.is_ready and peer not in self._trained for peer, link in links.items())
        if sees and silent_s > wait_s / PARTS_OF_WAIT / 2:  # else others have just told it
            self._waited(us, self._waits.get(us, 0) + 1)
        self._set_wait()
        return False

    def _set_wait(self) -> None:
        at_s = self._core.now + self.settings.wait_s / PARTS_OF_WAIT
        self._core.emit(SetTimer(name=SETTLE_TIMER, at_s=at_s))

    def _waited(self, node: str, count: int) -> None:
        """Somebody saw a neighbor at work; told on if it is new, to whom it has not been told."""
        if count <= self._waits.get(node, 0):
            return
        self._waits[node], self._alive_s = count, self._core.now
        for peer in self._neighborhood.ready():
            if self._is_untold(node, peer):
                message = Waits(clock=self._core.tick(), node=node, count=count)
                self._core.emit(Send(peer=peer, message=message))

    def _put_right(self, link: Link, waits: str) -> None:
        """A neighbor that waits may wait for us, if what we told it was lost on the way."""
        us = self._core.us.node
        if waits == link.peer and link.is_ready and us in self._trained:
            self._say_trained(link.peer, (us,))

    def _is_untold(self, node: str, peer: str) -> bool:
        """Whether a peer has a node's news from us; on a dense overlay all else would be a flood,
        since a node tells its neighbors itself."""
        is_theirs = peer == node or peer in self.settings.around[node]
        return node == self._core.us.node or not is_theirs

    def hear(self, link: Link, message: News) -> bool:
        """News of the last step; `False` if they cannot be, as they name strangers."""
        match message:
            case Trained():
                is_known = self.members.issuperset(message.nodes)
                if is_known:
                    self.trained(message.nodes, begun=message.begun)
            case Waits():
                is_known = message.node in self.members
                if is_known:
                    self._waited(message.node, message.count)
                    self._put_right(link, message.node)
            case Votes():
                is_known = self._hear_votes(message)
        return is_known

    def greeted(self, link: Link) -> None:
        """A peer is ready for our messages: it may have missed what we told the others."""
        if link.is_ready and (self._trained or self.begun):
            self._say_trained(link.peer, sorted(self._trained))

    def _say_trained(self, peer: str, nodes: Sequence[str]) -> None:
        for part in list(_parts([(node,) for node in nodes])) or [[]]:
            names = tuple(node for (node,) in part)
            message = Trained(clock=self._core.tick(), nodes=names, begun=self.begun)
            self._core.emit(Send(peer=peer, message=message))

    # -- rounds ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Sets the others off, and chooses our judges."""
        self.trained((), begun=True)
        if self.settings.voter is not None:
            self._asked = tuple(self.settings.judges(self._neighborhood.ready()))

    def has_ended(self) -> bool:
        """Whether all rounds are played, or nobody is left to play them with."""
        is_deserted = all(link.left for link in self._neighborhood.links.values())
        return is_deserted or self.round >= self.settings.rounds

    def is_next_due(self) -> bool:
        """Whether the next round may be played: counting begins when all votes are given."""
        if self.settings.voter is None or not (self.judging or self._queue):
            return True
        return self.settings.stage(self.round + 1) == "judging"

    def play(self, round: int) -> None:
        """Sends what the next round asks for; `round` is its number in the log."""
        self.round += 1
        ready = self._neighborhood.ready()
        if self.settings.voter is None:
            for nets in self.settings.groups:
                for peer in self._draw(ready) if ready else ():
                    candidate = Parcel(purpose="average")
                    self._exchanges.send(peer, nets, round=round, parcel=candidate)
        elif self.settings.stage(self.round) == "judging":
            self._ask(ready, round)
        else:
            for peer in self._draw(ready) if ready else ():
                self._tell(peer, round)

    def _ask(self, ready: Sequence[str], round: int) -> None:
        if self.round <= len(self._asked) and self._asked[self.round - 1] in ready:
            us = self._core.us.node
            self._send(self._asked[self.round - 1], Parcel(purpose="judge", origin=us), round)

    def _tell(self, peer: str, round: int) -> None:
        """Our book, and our choice if it is time for that."""
        voter = self.settings.voter
        assert voter is not None
        for part in _parts(voter.votes()):
            message = Votes(clock=self._core.tick(), votes=tuple(part))
            self._core.emit(Send(peer=peer, message=message))
        if self.settings.stage(self.round) == "spreading":
            choice = self.choice()
            data, origin = (choice.data, choice.origin) if choice else (b"", self._core.us.node)
            self._send(peer, Parcel(purpose="adopt", origin=origin, data=data), round)

    def _send(self, peer: str, candidate: Parcel, round: int) -> None:
        (nets,) = self.settings.groups
        self._exchanges.send(peer, nets, round=round, parcel=candidate)

    def choice(self) -> Arrival | None:
        """The best pair at hand; `None`: our own."""
        voter = self.settings.voter
        is_own = voter is None or voter.choice == self._core.us.node
        return None if is_own else self.held

    def _hear_votes(self, message: Votes) -> bool:
        voter, members = self.settings.voter, self.members
        if voter is None or not all({o, j} <= members and o != j for o, j, _ in message.votes):
            return False
        if not self.is_over:  # what is adopted is what the log says, whatever is told meanwhile
            voter.hear(message.votes)
        return True

    # -- pairs -------------------------------------------------------------------------------------

    def keep(self, arrival: Arrival) -> None:
        """Takes a pair that came, which may be long before the last step begins."""
        voter = self.settings.voter
        assert voter is not None
        if self.is_over:
            self._drop(arrival, "finished")
        elif arrival.purpose == "judge":
            self._enqueue(arrival)
        elif voter.is_better(arrival.origin):
            voter.keep(arrival.origin)
            self._drop(self.held, "superseded")
            self.held = arrival
        else:
            self._drop(arrival, "not better")

    def _enqueue(self, arrival: Arrival) -> None:
        self._drop(self._queue.pop(arrival.peer, None), "superseded")
        voter = self.settings.voter
        is_judged = self.judging is not None and self.judging.origin == arrival.origin
        if voter is not None and voter.may_judge(arrival.origin) and not is_judged:
            self._queue[arrival.peer] = arrival
        else:
            self._drop(arrival, "judged before")

    def judge_next(self) -> None:
        """Has the next pair judged, if one waits and none is being judged."""
        if self.judging is None and self._queue and not self.is_over:
            self.judging = self._queue.pop(next(iter(self._queue)))
            self._core.emit(Judge(arrival=self.judging))

    def judged(self, score: float) -> None:
        """Our vote for the pair that was being judged."""
        arrival, self.judging = self.judging, None
        assert arrival is not None
        assert self.settings.voter is not None
        counted = self.settings.voter.judged(arrival.origin, score)
        self._exchanges.judged(arrival, score=counted)

    def end(self) -> None:
        """The rounds are over, or somebody wants us to stop."""
        self.is_over = True
        for arrival in self._queue.values():
            self._drop(arrival, "finished")
        self._queue.clear()
        if self.choice() is None:
            self._drop(self.held, "not better")
            self.held = None

    def adopted(self, round: int) -> None:
        """Our own networks are now those that were held."""
        assert self.held is not None
        self._exchanges.mixed(self.held, weight=1.0, round=round)
        self.held = None

    def record(self) -> None:
        """What we have adopted, for the log."""
        voter = self.settings.voter
        if voter is not None:
            score, origin, votes = voter.merit(voter.choice)
            self._core.record("agreed", origin=origin, merit=score, votes=votes)

    def discard(self, reason: str) -> None:
        """Gives up all pairs that are held."""
        self.end()
        for arrival in (self.judging, self.held):
            self._drop(arrival, reason)
        self.judging = self.held = None

    def _drop(self, arrival: Arrival | None, reason: str) -> None:
        if arrival is not None:
            self._exchanges.discard((arrival,), reason)

    # -- looking in --------------------------------------------------------------------------------

    def held_bytes(self) -> int:
        """Bytes of pairs in memory."""
        pairs = (*self._queue.values(), self.judging, self.held)
        return sum(len(arrival.data) for arrival in pairs if arrival is not None)

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        assert len(self._trained) <= len(self.members), "strangers have trained"
        assert all(peer == pair.peer == pair.origin for peer, pair in self._queue.items())
        pairs = (*self._queue.values(), self.judging, self.held)
        assert self.settings.voter is not None or not any(pairs), "pairs without an election"
        assert self.round <= self.settings.rounds, "too many rounds of the last step"
        assert not self._queue or not self.is_over, "pairs wait for nothing"


def _parts(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Entries of names and numbers in parts that fit into a message each."""
    part: list[Entry] = []
    size = 0
    for entry in entries:
        entry_bytes = ENTRY_BYTES + sum(len(str(value).encode()) for value in entry)
        if part and (size + entry_bytes > PART_BYTES or len(part) == MAX_LISTED):
            yield part
            part, size = [], 0
        part.append(entry)
        size += entry_bytes
    if part:
        yield part
