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

NORMAL_SPREAD: Final = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


class Deadline:
    """Median of the last answers' times plus a multiple of their spread, never below a minimum."""

    __slots__ = ("_limit_s", "_settings", "_times_s")

    def __init__(self, settings: DeadlineSettings) -> None:
        self._settings = settings
        self._times_s: deque[float] = deque(maxlen=REMEMBERED)
        self._limit_s: float | None = settings.first_s

    def observe(self, time_s: float) -> None:
        """An answer took so long; late ones count, so that the limit follows slower machines."""
        self._times_s.append(max(0.0, time_s))
        if len(self._times_s) >= KNOWN_MIN:
            self._limit_s = None

    @property
    def limit_s(self) -> float:
        """Seconds to wait."""
        if self._limit_s is None:
            middle = median(self._times_s)
            deviation = median(abs(time_s - middle) for time_s in self._times_s)
            usual = middle + self._settings.spread * NORMAL_SPREAD * deviation
            self._limit_s = max(self._settings.min_s, usual)
        return self._limit_s
