"""What the machine lends its membership: a voice, and eyes for the overlay."""

from collections.abc import Collection, Sequence
from typing import Protocol

from p2pgan.protocol.messages import Talk


class Voice(Protocol):
    """Given by the machine."""

    def say(self, peer: str, message: Talk) -> bool:
        """Over whatever connection stands; `False`: none does."""

    def neighbors(self) -> Sequence[str]:
        """Whom we are linked with; they are probed."""

    def around(self, member: str) -> Collection[str]:
        """A member's neighbors in the overlay as it is now."""
