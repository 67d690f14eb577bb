"""Lifeguard's local health: how much a node trusts its own senses.

A node that is starved of processor time reads answers late, and would suspect everybody else. Its
score rises when probes get no answer at all, and when it has to refute that it is gone; the higher
it is, the slower the node probes and the longer it waits (Dadgar, Phillips, Currey 2018; memberlist
`awareness.go`).
"""

from typing import Final

HEALTH_MAX: Final = 8
"""At the worst a node probes nine times as slowly as at its best; memberlist's bound."""


class Health:
    """The score: 0 is best.

    Invariant: it is in [0, `HEALTH_MAX`].
    """

    __slots__ = ("score",)

    def __init__(self) -> None:
        self.score = 0

    def better(self) -> None:
        """A probe was answered in time."""
        self.score = max(0, self.score - 1)

    def worse(self) -> None:
        """Nobody at all has answered, or others have not heard from us."""
        self.score = min(HEALTH_MAX, self.score + 1)

    @property
    def factor(self) -> int:
        """Times that all waits are longer."""
        return 1 + self.score
