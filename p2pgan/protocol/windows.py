"""Which vectors of a sender have come before: a window over its latest numbers, as in IPsec.

A vector that a later one has overtaken is late, which a link may do to an honest peer; one that
comes twice would count twice, and its sender is to blame. To tell them apart takes a bit for each
number (RFC 4303, section 3.4.3).
"""

from dataclasses import dataclass
from typing import Final

import msgspec

SPAN: Final = 1024
"""Numbers that are remembered, as many as a sender may have without an answer: what is older was
given up."""

OVERTAKEN: Final = "overtaken"
"""Why a vector is dropped that a later one of the same sender has overtaken."""

REPEATED: Final = "repeated"
"""Why a vector is dropped that has come before, or may have."""


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """A window, as it is kept."""

    prefix: str
    latest: int
    bits: bytes
    """Little-endian."""


@dataclass(slots=True)
class Window:
    """The numbers of one life of a sender."""

    prefix: str
    """What ids of that life begin with."""
    latest: int = 0
    """The highest number so far; those of senders begin at 1."""
    _met: int = 1
    """Bit k: whether the number `latest - k` has come."""

    @property
    def met(self) -> Met:
        """All that is known of it."""
        size = (self._met.bit_length() + 7) // 8
        bits = self._met.to_bytes(size, "little")
        return Met(prefix=self.prefix, latest=self.latest, bits=bits)

    @classmethod
    def of(cls, met: Met) -> "Window":
        """A window that was kept."""
        bits = int.from_bytes(met.bits[: SPAN // 8], "little")
        return cls(met.prefix, met.latest, bits | 1)

    def has(self, number: int) -> bool:
        """Whether a number has come, or is too old for anybody to know."""
        age = self.latest - number
        return age >= SPAN or (age >= 0 and bool(self._met >> age & 1))

    def meet(self, number: int) -> str:
        """Takes note of a number; why its vector is not to be taken, empty if it is."""
        if self.has(number):
            return REPEATED
        ahead = number - self.latest
        if ahead <= 0:
            self._met |= 1 << -ahead
            return OVERTAKEN
        # Any number may come next: one that is far ahead must not make a bitmap as long as that.
        self._met = 1 if ahead >= SPAN else (self._met << ahead | 1) & ((1 << SPAN) - 1)
        self.latest = number
        return ""
