"""What waits for one peer, in order, and never more than a little of it."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from p2pgan.protocol.messages import Nets, Purpose

Frames = list[bytes | memoryview]
"""One message as the transport sends it."""

CONTROL_QUEUE_MAX: Final = 1024
"""Messages other than vectors that wait for one peer, at most 8 KiB each. The protocol has a
handful in flight, and a round's votes: 20 messages for a thousand nodes."""


@dataclass(slots=True)
class QueuedVector:
    """A vector on its way to the socket, chunk by chunk."""

    exchange: str
    nets: Nets
    purpose: Purpose
    chunks: Iterator[Frames]
    is_begun: bool = False


@dataclass(slots=True)
class Outbox:
    """What waits for one peer, in order: messages, and vectors in the making."""

    items: deque[Frames | QueuedVector] = field(default_factory=deque)

    def push(self, frames: Frames) -> None:
        """Adds a message behind everything else; lost where the peer has not read for long, and
        so many wait."""
        if sum(not isinstance(item, QueuedVector) for item in self.items) < CONTROL_QUEUE_MAX:
            self.items.append(frames)

    def push_vector(self, vector: QueuedVector) -> str | None:
        """Adds a vector behind everything else, so that no message that went before it comes after
        it; one of the same networks for the same purpose that has not begun is given up, and its
        exchange id returned.
        """
        older = next((item for item in self.items if _gives_way(item, vector)), None)
        if older is not None:
            self.items.remove(older)
        self.items.append(vector)
        return older.exchange if isinstance(older, QueuedVector) else None

    def next(self) -> Frames | None:
        """The next frames to send; `None` if nothing waits."""
        while self.items:
            item = self.items[0]
            if not isinstance(item, QueuedVector):
                self.items.popleft()
                return item
            item.is_begun = True
            frames = next(item.chunks, None)
            if frames is not None:
                return frames
            self.items.popleft()
        return None

    @property
    def under_way(self) -> QueuedVector | None:
        """The vector that the latest frames were a chunk of; `None`: they were none. It stays the
        first in line until somebody asks for more than it has."""
        head = self.items[0] if self.items else None
        return head if isinstance(head, QueuedVector) and head.is_begun else None


def _gives_way(item: Frames | QueuedVector, vector: QueuedVector) -> bool:
    if not isinstance(item, QueuedVector) or item.is_begun:
        return False
    return (item.nets, item.purpose) == (vector.nets, vector.purpose)
