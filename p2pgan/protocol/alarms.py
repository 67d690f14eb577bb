"""Things that are due at times of their own: one timer for all of them."""

import math
from typing import Generic, TypeVar

from p2pgan.protocol.core import Core
from p2pgan.protocol.instructions import CancelTimer, SetTimer

Key = TypeVar("Key", str, int)


class Alarms(Generic[Key]):
    """What is due, and when.

    Invariants: whatever is due has a time; while there is anything, the timer is set, and not after
    the first of these times.
    """

    __slots__ = ("_core", "_due_s", "_name", "_timer_s")

    def __init__(self, core: Core, name: str) -> None:
        self._core = core
        self._name = name
        """Of the timer."""
        self._due_s: dict[Key, float] = {}
        self._timer_s: float | None = None

    def put(self, key: Key, delay_s: float) -> None:
        """Due after so long, whatever was said before."""
        self._due_s[key] = self._core.now + delay_s
        self._set_timer(self._due_s[key])

    def drop(self, key: Key) -> None:
        """There is no need any more."""
        self._due_s.pop(key, None)
        if not self._due_s and self._timer_s is not None:
            self._timer_s = None
            self._core.emit(CancelTimer(name=self._name))

    def clear(self) -> None:
        """There is no need of any."""
        for key in list(self._due_s):
            self.drop(key)

    def take(self) -> list[Key]:
        """The timer has fired: those that are due, in order of their times."""
        self._timer_s = None
        due = sorted((at_s, key) for key, at_s in self._due_s.items() if at_s <= self._core.now)
        for _, key in due:
            del self._due_s[key]
        if self._due_s:
            self._set_timer(min(self._due_s.values()))
        return [key for _, key in due]

    def _set_timer(self, at_s: float) -> None:
        """For that time, if it is not set for an earlier one: then it is set anew when it fires."""
        if self._timer_s is None or at_s < self._timer_s:
            self._timer_s = at_s
            self._core.emit(SetTimer(name=self._name, at_s=at_s))

    def validate(self, key: Key) -> None:
        """Asserts the invariants of the class, for one thing."""
        if key in self._due_s:
            assert self._timer_s is not None, f"{key} is due without a timer"
            assert self._timer_s <= self._due_s[key], f"{key} is due before the timer"

    def has(self, key: Key) -> bool:
        """Whether it is due at any time."""
        return key in self._due_s

    def is_due(self, key: Key) -> bool:
        """Whether it is due now, even if the timer has not fired yet."""
        return self._due_s.get(key, math.inf) <= self._core.now
