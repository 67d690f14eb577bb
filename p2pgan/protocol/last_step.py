"""What a peer does after its training: it agrees on a pair with the others, or averages on.

A part of the peer machine. Theory of operation. Who has made its iterations says so, and whoever
hears of it for the first time tells it on, so that all know when everybody is there; the first one
that begins, since all are there or its wait is over, sets all others off in the same way. From then
on a timer makes the rounds, as no training keeps them apart.

When the nodes agree (the rule is the voter's), a pair that comes is judged in its turn, or kept in
the place of a worse one; when they average, this is another exchange.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from p2pgan.protocol.chunks import Arrival
from p2pgan.protocol.core import Core
from p2pgan.protocol.exchanges import Candidate, Exchanges
from p2pgan.protocol.instructions import Judge, Send
from p2pgan.protocol.links import Link
from p2pgan.protocol.messages import MAX_LISTED, Trained, Votes
from p2pgan.protocol.neighborhood import Neighborhood

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

    __slots__ = ("_asked", "_core", "_exchanges", "_neighborhood", "_queue", "_trained", "begun",
                 "held", "is_over", "judging", "members", "round", "settings")  # fmt: skip

    def __init__(self, core: Core, neighborhood: Neighborhood, exchanges: Exchanges) -> None:
        assert core.settings.last_step is not None
        self._core, self._neighborhood, self._exchanges = core, neighborhood, exchanges
        self.settings = core.settings.last_step
        self.members = frozenset(self.settings.around)
        """All nodes of the run."""
        self._trained: set[str] = set()
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
        return self.begun or self._trained >= self.members

    def trained(self, nodes: Iterable[str], *, begun: bool = False) -> None:
        """Takes note of who is there, and tells on what is new to whom it has not been told."""
        new = {*nodes} - self._trained
        has_begun = begun and not self.begun
        self._trained |= new
        self.begun = self.begun or begun
        us, around = self._core.us.node, self.settings.around
        for peer in self._neighborhood.ready():
            # A node tells its neighbors itself; on a dense overlay all else would be a flood.
            untold = [node for node in new if node == us or peer not in {node, *around[node]}]
            if untold or has_begun:
                self._say_trained(peer, sorted(untold))

    def heard(self, message: Trained) -> bool:
        """A peer tells who is there; `False` if it names strangers."""
        if not self.members.issuperset(message.nodes):
            return False
        self.trained(message.nodes, begun=message.begun)
        return True

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
                for peer in self._core.settings.draw(ready) if ready else ():
                    candidate = Candidate(purpose="average")
                    self._exchanges.send(peer, nets, round=round, candidate=candidate)
        elif self.settings.stage(self.round) == "judging":
            self._ask(ready, round)
        else:
            for peer in self._core.settings.draw(ready) if ready else ():
                self._tell(peer, round)

    def _ask(self, ready: Sequence[str], round: int) -> None:
        if self.round <= len(self._asked) and self._asked[self.round - 1] in ready:
            us = self._core.us.node
            self._send(self._asked[self.round - 1], Candidate(purpose="judge", origin=us), round)

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
            self._send(peer, Candidate(purpose="adopt", origin=origin, data=data), round)

    def _send(self, peer: str, candidate: Candidate, round: int) -> None:
        (nets,) = self.settings.groups
        self._exchanges.send(peer, nets, round=round, candidate=candidate)

    def choice(self) -> Arrival | None:
        """The best pair at hand; `None`: our own."""
        voter = self.settings.voter
        is_own = voter is None or voter.choice == self._core.us.node
        return None if is_own else self.held

    def hear(self, message: Votes) -> bool:
        """A peer tells votes; `False` if they cannot be."""
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
        assert self._trained <= self.members, "a stranger has trained"
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
