"""How long an answer is waited for, by how long answers usually take.

A constant would be too short for one machine and too long for another. The median and the median
absolute deviation do not move for the few that are late, which a mean would (thesis, section 5.2.1,
asks for "a time limit" and says no more).
"""

from collections import deque
from statistics import median
from typing import Final

from p2pgan.protocol.roles import DeadlineSettings

REMEMBERED: Final = 64
"""Answers that the usual is told from."""

KNOWN_MIN: Final = 8
"""Answers that have to be known before it is told from them at all."""

FORBEARANCE: Final = 4
"""So many times slower than others a machine may be before it is taken for one that hangs."""

SLACK: Final = 1.5
"""Times the median that is waited for at least: where answers are very regular, a machine that is a
little slower than the others would else always be late."""

NORMAL_SPREAD: Final = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


class Deadline:
    """Median of the last answers' times plus a multiple of their spread, never below a minimum, nor
    below `SLACK` medians.

    While too few answers are known, it is a constant, or a multiple of the longest one, if that is
    more: the first to answer would else be the only one where work takes longer than the constant.
    """

    __slots__ = ("_limit_s", "_settings", "_times_s")

    def __init__(self, settings: DeadlineSettings) -> None:
        self._settings = settings
        self._times_s: deque[float] = deque(maxlen=REMEMBERED)
        self._limit_s: float | None = None

    def observe(self, time_s: float) -> None:
        """An answer took so long; late ones count, so that the limit follows slower machines."""
        self._times_s.append(max(0.0, time_s))
        self._limit_s = None

    @property
    def is_begun(self) -> bool:
        """Whether any answer has come."""
        return bool(self._times_s)

    @property
    def is_known(self) -> bool:
        """Whether enough answers have come to tell the usual."""
        return len(self._times_s) >= KNOWN_MIN

    @property
    def limit_s(self) -> float:
        """Seconds to wait."""
        if self._limit_s is None:
            self._limit_s = self._usual_s() if self.is_known else self._first_s()
        return self._limit_s

    @property
    def patience_s(self) -> float:
        """Seconds after which an answer is not to be hoped for any more, by the answers alone."""
        return FORBEARANCE * self.limit_s

    def _first_s(self) -> float:
        return max(self._settings.first_s, FORBEARANCE * max(self._times_s, default=0.0))

    def _usual_s(self) -> float:
        middle = median(self._times_s)
        deviation = median(abs(time_s - middle) for time_s in self._times_s)
        usual = middle + self._settings.spread * NORMAL_SPREAD * deviation
        return max(self._settings.min_s, SLACK * middle, usual)
