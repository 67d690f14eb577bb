"""How the nodes find and adopt the best pair of networks, by gossip alone.

Every node's trained pair is a candidate, named by its origin. Three stages follow the training:

1. judging: a node sends its own pair to a few different neighbors, one a round, who score it on
   their own shards and write their votes into their books;
2. counting: nodes send their books alone along the usual draw, and merge what comes;
3. spreading: likewise, but a node sends the best pair that it has as well, and keeps a better one.

At the end each node adopts the best pair that it has. Origins do not vote for themselves: a
generator has seen its own shard, while everybody else's is held-out data. The thesis suggests such
a step at the end of chapter 4, without saying how; the rule is ours.

`Voter` is what one node knows and decides, in the simulator as in a daemon.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeVar

import numpy as np

from p2pgan.mixing.draws import Arrivals, Neighbors, push_targets

T = TypeVar("T")

JUDGING_ROUNDS = 3
"""Judges of each pair, if its origin has as many neighbors. Enough that a single odd one does not
decide; each costs about as much as scoring everybody."""

QUORUM = 2
"""Votes that a candidate needs, where some were lost on the way; one, if its origin has a single
neighbor."""

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
        by_judge[vote.judge] = max(vote.score, by_judge.get(vote.judge, vote.score))

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

    is_short: bool
    """Whether it has too few votes: such a one loses against all that have enough."""
    mean: float
    """Mean score; infinity without votes."""
    origin: str
    votes: int


class Voter:
    """One node of an election: its book, and the pair that it would adopt.

    It can always fall back on its own pair: a candidate that was given up because of too few votes
    is not lost as long as its origin lives.
    """

    def __init__(self, node: str, judges: Mapping[str, int]) -> None:
        """Before the first round.

        Args:
            node: id of this node.
            judges: for every node of the overlay, how many others may judge its pair.
        """
        self.node = node
        self.book = Book()
        self._judges = judges
        self._held = node

    @property
    def choice(self) -> str:
        """Origin of the best pair that is at hand: the own one, or the best that came."""
        return min(self.node, self._held, key=self.merit)

    def merit(self, origin: str) -> Merit:
        """A candidate's merit by the own book; the same wherever the book is the same."""
        scores = self.book.scores(origin).values()
        mean = math.fsum(scores) / len(scores) if scores else math.inf
        needed = min(QUORUM, self._judges.get(origin, 0))
        return Merit(len(scores) < max(1, needed), mean, origin, len(scores))

    def may_judge(self, origin: str) -> bool:
        """Whether a vote for a candidate is due: not for the own one, and once for others."""
        return origin != self.node and self.node not in self.book.scores(origin)

    def judged(self, origin: str, score: float) -> None:
        """Writes the own vote; a score that is no number or too large is the worst one."""
        self.book.add(Vote(origin, self.node, score if score <= WORST else WORST))

    def is_better(self, origin: str) -> bool:
        """Whether a pair that came is better than the best at hand."""
        return self.merit(origin) < self.merit(self.choice)

    def keep(self, origin: str) -> None:
        """Takes a pair that came."""
        self._held = origin
