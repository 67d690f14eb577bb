"""When a neighbor is to be greeted again: one timer for all of them.

A part of the peer machine. An answer may be lost on its way (ZeroMQ drops what a full queue does
not take), and a handshake that waits for it would wait for ever.
"""

from typing import Final

from p2pgan.protocol.core import Core
from p2pgan.protocol.instructions import CancelTimer, SetTimer

GREET_TIMER: Final = "greet"

GREET_AGAIN_S: Final = 1.0
"""Until the second hello: far above the round trip of any network, far below what people notice."""

GREET_AGAIN_MAX_S: Final = 16.0
"""The wait doubles up to this, about the time after which heartbeats end a dead connection."""

REFUSED_S: Final = 60.0
"""How long a refusal lasts before the two try again: long against what a hostile peer could do in a
try, short against a run."""


class Greetings:
    """Peers that are to be greeted, and when.

    Invariants: whoever is to be greeted has a time; while there is anybody, the timer is set, and
    not after the first of these times.
    """

    __slots__ = ("_core", "_due_s", "_timer_s")

    def __init__(self, core: Core) -> None:
        self._core = core
        self._due_s: dict[str, float] = {}
        self._timer_s: float | None = None

    def put(self, peer: str, delay_s: float) -> None:
        """Greet a peer after so long, whatever was said before."""
        self._due_s[peer] = self._core.now + delay_s
        self._set_timer(self._due_s[peer])

    def drop(self, peer: str) -> None:
        """There is no need any more."""
        self._due_s.pop(peer, None)
        if not self._due_s and self._timer_s is not None:
            self._timer_s = None
            self._core.emit(CancelTimer(name=GREET_TIMER))

    def take(self) -> list[str]:
        """The timer has fired: those that are due, in order of their times."""
        self._timer_s = None
        due = sorted((at_s, peer) for peer, at_s in self._due_s.items() if at_s <= self._core.now)
        for _, peer in due:
            del self._due_s[peer]
        if self._due_s:
            self._set_timer(min(self._due_s.values()))
        return [peer for _, peer in due]

    def _set_timer(self, at_s: float) -> None:
        """For that time, if it is not set for an earlier one: then it is set anew when it fires."""
        if self._timer_s is None or at_s < self._timer_s:
            self._timer_s = at_s
            self._core.emit(SetTimer(name=GREET_TIMER, at_s=at_s))

    def validate(self, peer: str) -> None:
        """Asserts the invariants of the class, for one peer."""
        if peer in self._due_s:
            assert self._timer_s is not None, f"{peer} is greeted without a timer"
            assert self._timer_s <= self._due_s[peer], f"{peer} is greeted too late"

    def has(self, peer: str) -> bool:
        """Whether a peer is to be greeted."""
        return peer in self._due_s
