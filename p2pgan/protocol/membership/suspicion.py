"""How long a suspect may refute: the fewer confirm the suspicion, the longer.

The formulas are memberlist's (`suspicion.go`, `util.go`), after Lifeguard: a suspicion of one
observer may be that observer's own fault.
"""

import math
from typing import Final

from p2pgan.protocol.alarms import Alarms
from p2pgan.protocol.core import Core
from p2pgan.protocol.membership.timing import Timing
from p2pgan.protocol.messages import MAX_DOUBTERS

SUSPICION_TIMER: Final = "member-suspicion"

MAX_FACTOR: Final = 6
"""A suspicion that nobody confirms lasts so many times as long; memberlist's number."""


def least_s(timing: Timing, members: int) -> float:
    """Shortest time to refute: what news takes to go round grows with the logarithm."""
    return timing.suspicion * max(1.0, math.log10(max(1, members))) * timing.probe_s


def remaining_s(confirmations: int, expected: int, elapsed_s: float, min_s: float) -> float:
    """Time left to a suspect, 0 or more.

    Args:
        confirmations: others than the first who suspect it, each on its own.
        expected: so many that the shortest time is enough; 0: it is at once.
        elapsed_s: time since it is suspected.
        min_s: the shortest time; the longest is `MAX_FACTOR` times that.
    Source: memberlist `remainingSuspicionTime`.
    """
    if expected < 1:
        return max(0.0, min_s - elapsed_s)
    max_s = MAX_FACTOR * min_s
    share = math.log(confirmations + 1) / math.log(expected + 1)
    return max(0.0, max(min_s, max_s - share * (max_s - min_s)) - elapsed_s)


class Suspicions:
    """Suspects, and when each is taken for dead."""

    __slots__ = ("_alarms", "_core", "_since_s", "_timing")

    def __init__(self, core: Core, timing: Timing) -> None:
        self._core = core
        self._timing = timing
        self._alarms = Alarms[str](core, SUSPICION_TIMER)
        self._since_s: dict[str, float] = {}

    def begin(self, node: str) -> None:
        """A member is suspected as from now; `weigh` has to follow."""
        self._since_s[node] = self._core.now

    def weigh(self, node: str, *, doubters: int, around: int, members: int) -> None:
        """So many suspect a member with so many neighbors, in a run of so many members."""
        expected = min(MAX_DOUBTERS - 1, around - 1)
        elapsed_s = self._core.now - self._since_s[node]
        min_s = least_s(self._timing, members)
        self._alarms.put(node, remaining_s(max(0, doubters - 1), expected, elapsed_s, min_s))

    def end(self, node: str) -> None:
        """It has refuted, or is gone."""
        if self._since_s.pop(node, None) is not None:
            self._alarms.drop(node)

    def take(self) -> list[str]:
        """The timer has fired: those whose time is over."""
        return self._alarms.take()

    def stop(self) -> None:
        """Nobody is suspected any more."""
        self._since_s.clear()
        self._alarms.clear()

    def has(self, node: str) -> bool:
        """Whether a member is suspected, and its time runs."""
        return self._alarms.has(node)

    def validate(self, node: str) -> None:
        """Asserts that a suspect's time ends."""
        assert (node in self._since_s) == self._alarms.has(node), f"{node}: suspected for ever"
        self._alarms.validate(node)
