"""How the nodes find and adopt the best pair of networks, by gossip alone.

Every node's trained pair is a candidate, named by its origin. Three stages follow the training:

1. judging: a node sends its own pair to a few different neighbors, one a round, who score it on
   their own shards and write their votes into their books;
2. counting: nodes send their books alone along the usual draw, and merge what comes;
3. spreading: likewise, but a node sends the best pair that it has as well, and keeps a better one.

At the end each node adopts the best pair that it has. Judges differ more than candidates do: a
small or odd shard gives everybody a large FID. So a score counts by how far it is from what its
judge gives to others (`merits`). Origins do not vote for themselves: a generator has seen its own
shard, while everybody else's is held-out data. The thesis suggests such a step at the end of
chapter 4, without saying how; the rule is ours.

`Voter` is what one node knows and decides, in the simulator as in a daemon.

Shape letter: V votes.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeVar

import numpy as np

from p2pgan.mixing.draws import Arrivals, Neighbors, push_targets

T = TypeVar("T")

JUDGING_ROUNDS = 5
"""Judges of each pair, if its origin has as many neighbors; each costs about as much as scoring
everybody. Of 200 elections among 30 nodes one chose a pair worse than the average with three
judges, and none with five."""

CANDIDATE_SHRINKAGE = 1.0
JUDGE_SHRINKAGE = 0.2
"""How many votes of an average kind are added to those of a candidate or judge: variance of a
single vote over that between candidates or judges, as on 30 nodes with the digits."""

SWEEPS = 50
"""Candidates and judges are fitted in turn so often; the order stands long before."""

WORST = 1e9
"""The score of a pair that has diverged: finite, so that it can be told and averaged."""


class Vote(NamedTuple):
    """What a judge's shard says of a candidate."""

    origin: str
    judge: str
    score: float
    """From 0 at best to `WORST`."""


class Stage(Enum):
    """What a round of the last step is for."""

    JUDGING = "judging"
    COUNTING = "counting"
    SPREADING = "spreading"


@dataclass(frozen=True)
class Schedule:
    """The rounds of the last step."""

    spread: int
    """Rounds in which whatever one node knows reaches all (`p2pgan.mixing.rehearsal`)."""

    @property
    def rounds(self) -> int:
        """Of all stages."""
        return JUDGING_ROUNDS + 2 * self.spread

    def stage(self, round_: int) -> Stage:
        """What a round is for; the first is 1."""
        if round_ <= JUDGING_ROUNDS:
            return Stage.JUDGING
        return Stage.COUNTING if round_ <= JUDGING_ROUNDS + self.spread else Stage.SPREADING


def judges_of(neighbors: Sequence[T], rng: np.random.Generator) -> list[T]:
    """The neighbors that a node asks for their votes, one in each round of judging.

    Every pair is judged by as many, whatever the configured draw: a permutation may leave a node
    with itself, and a star's has most wait for many rounds.
    """
    return push_targets(neighbors, JUDGING_ROUNDS, rng)


def judging(neighbors: Neighbors, rng: np.random.Generator) -> list[Arrivals]:
    """Who hears from whom in each round of judging, where all nodes are drawn for at once."""
    rounds: list[list[list[int]]] = [[[] for _ in neighbors] for _ in range(JUDGING_ROUNDS)]
    for candidate, around in enumerate(neighbors):
        for arrivals, judge in zip(rounds, judges_of(around, rng), strict=False):
            arrivals[judge].append(candidate)
    return list(rounds)


class Book:
    """Votes, by origin and judge.

    Merging is commutative, associative and idempotent, so that the order of messages and their
    repetition do not matter. Of two scores by one judge for one candidate, which only a faulty node
    tells, the worse counts.
    """

    def __init__(self, votes: Iterator[Vote] | tuple[Vote, ...] = ()) -> None:
        self._scores: dict[str, dict[str, float]] = {}
        self.changes = 0
        """How often something was written."""
        for vote in votes:
            self.add(vote)

    def __iter__(self) -> Iterator[Vote]:
        for origin, by_judge in self._scores.items():
            for judge, score in by_judge.items():
                yield Vote(origin, judge, score)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Book) and self._scores == other._scores

    __hash__ = None  # type: ignore[assignment]

    def add(self, vote: Vote) -> None:
        """Writes one vote."""
        by_judge = self._scores.setdefault(vote.origin, {})
        if by_judge.get(vote.judge, -1.0) < vote.score:
            by_judge[vote.judge] = vote.score
            self.changes += 1

    def merge(self, other: "Book") -> None:
        """Adds all votes of another book."""
        for origin, by_judge in other._scores.items():
            if self._scores.get(origin) != by_judge:
                for judge, score in by_judge.items():
                    self.add(Vote(origin, judge, score))

    def copy(self) -> "Book":
        """The book as it is now."""
        copied = Book()
        copied._scores = {origin: dict(by_judge) for origin, by_judge in self._scores.items()}
        return copied

    def scores(self, origin: str) -> Mapping[str, float]:
        """What each judge gave a candidate."""
        return self._scores.get(origin, {})


class Merit(NamedTuple):
    """How good a candidate is; less is better. No two are equal, so that there is one best."""

    score: float
    """What an average judge would give; infinity without votes, and where training diverged."""
    origin: str
    votes: int


def merits(book: Book) -> dict[str, Merit]:
    """The merits of all candidates with votes.

    A vote is taken for the sum of a mean, the candidate's and the judge's own part, and chance. The
    parts are fitted by least squares, drawn towards 0 where there are few votes, so that a single
    lucky one does not decide. Equal books give equal merits, to the bit. A pair that was seen to
    diverge is out, and its votes say nothing of their judges.
    """
    votes = sorted(book)
    diverged = {vote.origin for vote in votes if vote.score >= WORST}
    counted = [vote for vote in votes if vote.origin not in diverged]
    found = {vote.origin: math.inf for vote in votes}
    if counted:
        found |= _fitted(counted)
    return {
        origin: Merit(score, origin, len(book.scores(origin))) for origin, score in found.items()
    }


def _fitted(votes: Sequence[Vote]) -> dict[str, float]:
    origins = sorted({vote.origin for vote in votes})
    judges = sorted({vote.judge for vote in votes})
    origin_V = np.searchsorted(origins, [vote.origin for vote in votes])
    judge_V = np.searchsorted(judges, [vote.judge for vote in votes])
    score_V = np.array([vote.score for vote in votes])
    mean = score_V.mean()
    apart_V = score_V - mean
    of_origins = np.bincount(origin_V) + CANDIDATE_SHRINKAGE
    of_judges = np.bincount(judge_V) + JUDGE_SHRINKAGE
    candidate = np.zeros(len(origins))
    for _ in range(SWEEPS):
        judge = np.bincount(judge_V, apart_V - candidate[origin_V]) / of_judges
        candidate = np.bincount(origin_V, apart_V - judge[judge_V]) / of_origins
    return dict(zip(origins, (mean + candidate).tolist(), strict=True))


class Voter:
    """One node of an election: its book, and the pair that it would adopt.

    It can always fall back on its own pair: a candidate that is given up while votes are still on
    their way is not lost as long as its origin lives.
    """

    def __init__(self, node: str) -> None:
        """Before the first round, with an empty book."""
        self.node = node
        self.book = Book()
        self._held = node
        self._merits: dict[str, Merit] = {}
        self._counted = 0
        """Changes of the book that the merits know of."""

    @property
    def choice(self) -> str:
        """Origin of the best pair that is at hand: the own one, or the best that came."""
        return min(self.node, self._held, key=self.merit)

    def merit(self, origin: str) -> Merit:
        """A candidate's merit by the own book; the same wherever the book is the same."""
        if self._counted != self.book.changes:
            self._merits, self._counted = merits(self.book), self.book.changes
        return self._merits.get(origin, Merit(math.inf, origin, 0))

    def may_judge(self, origin: str) -> bool:
        """Whether a vote for a candidate is due: not for the own one, and once for others."""
        return origin != self.node and self.node not in self.book.scores(origin)

    def judged(self, origin: str, score: float) -> float:
        """Writes the own vote, and returns the score: the worst one for what is no number."""
        score = score if score <= WORST else WORST
        self.book.add(Vote(origin, self.node, score))
        return score

    def votes(self) -> Sequence[Vote]:
        """All votes of the book, to be told to others."""
        return tuple(self.book)

    def hear(self, votes: Iterable[tuple[str, str, float]]) -> None:
        """Takes note of what others tell; nobody else knows better what this node has voted."""
        for origin, judge, score in votes:
            if judge not in (self.node, origin):
                self.book.add(Vote(origin, judge, score))

    def is_better(self, origin: str) -> bool:
        """Whether a pair that came is better than the best at hand, as far as the book tells."""
        merit = self.merit(origin)
        return merit.score < math.inf and merit < self.merit(self.choice)

    def keep(self, origin: str) -> None:
        """Takes a pair that came."""
        self._held = origin
