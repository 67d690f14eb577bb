"""What waits for one peer, in order, and never more than a little of it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from p2pgan.node.flow import Flow
from p2pgan.protocol.chunks import Splitter
from p2pgan.protocol.messages import Chunk, Credit, Nets, Purpose, VectorAck

Frames = list[bytes | memoryview]
"""One message as the transport sends it."""

CONTROL_QUEUE_MAX: Final = 1024
"""Messages other than vectors that wait for one peer, at most 8 KiB each. The protocol has a
handful in flight, and a round's votes: 20 messages for a thousand nodes."""

TALK_QUEUE_MAX: Final = 64
"""Messages that overtake vectors, of which the oldest are given up: what they ask or tell is of the
moment."""


@dataclass(slots=True)
class QueuedVector:
    """A vector on its way to the socket, chunk by chunk."""

    exchange: str
    nets: Nets
    purpose: Purpose
    splitter: Splitter
    chunk_bytes: int
    """Size of a chunk, where the link is fast enough."""
    seal: Callable[[Chunk, memoryview], Frames]
    """Makes the frames of a chunk that goes out now."""
    is_begun: bool = False


@dataclass(slots=True)
class Outbox:
    """What waits for one peer, in order: messages, and vectors in the making."""

    items: deque[Frames | QueuedVector] = field(default_factory=deque)
    talk: deque[Frames] = field(default_factory=lambda: deque(maxlen=TALK_QUEUE_MAX))
    """What goes ahead of all items."""
    flow: Flow = field(default_factory=Flow)
    under_way: QueuedVector | None = None
    """The vector that the latest frames were a chunk of; `None`: they were none."""

    @property
    def has_items(self) -> bool:
        """Whether anything waits."""
        return bool(self.items or self.talk)

    def push(self, frames: Frames) -> None:
        """Adds a message behind everything else; lost where the peer has not read for long, and
        so many wait."""
        if sum(not isinstance(item, QueuedVector) for item in self.items) < CONTROL_QUEUE_MAX:
            self.items.append(frames)

    def push_talk(self, frames: Frames) -> None:
        """Adds a message that needs no order with others: it overtakes what waits."""
        self.talk.append(frames)

    def push_vector(self, vector: QueuedVector) -> str | None:
        """Adds a vector behind everything else, so that no message that went before it comes after
        it; one of the same networks for the same purpose that has not begun is given up, and its
        exchange id returned. One that has begun goes on: its receiver has paid for a part of it,
        and on a slow link nothing would ever come whole.
        """
        older = next((item for item in self.items if _gives_way(item, vector)), None)
        if older is not None:
            self.items.remove(older)
        self.items.append(vector)
        return older.exchange if isinstance(older, QueuedVector) else None

    def next(self, now: float) -> Frames | None:
        """The next frames to send; `None` if nothing waits, or what waits has to until there is
        credit, or until `resumes_s`."""
        self.under_way = None
        if self.talk:
            return self.talk.popleft()
        if not self.items:
            return None
        item = self.items[0]
        if isinstance(item, QueuedVector):
            return self._chunk(item, now)
        self.items.popleft()
        return item

    def _chunk(self, vector: QueuedVector, now: float) -> Frames | None:
        splitter, flow = vector.splitter, self.flow
        most = flow.size(vector.chunk_bytes)
        size = min(most, splitter.left)
        if not flow.has_room(size, now):
            return None
        chunk, payload = splitter.cut(most, asks=flow.asks(size))
        flow.send(chunk, now)
        self.under_way, vector.is_begun = vector, True
        if chunk.is_last:
            self.items.popleft()
        return vector.seal(chunk, payload)

    def credit(self, answer: Credit | VectorAck, now: float) -> None:
        """The peer says that a chunk or a whole vector has come."""
        self.flow.credit(answer, now)

    @property
    def resumes_s(self) -> float | None:
        """When to ask for frames again without having heard of any credit; `None`: no vector waits
        for it."""
        is_held = not self.talk and self.items and isinstance(self.items[0], QueuedVector)
        return self.flow.resumes_s if is_held else None


def _gives_way(item: Frames | QueuedVector, vector: QueuedVector) -> bool:
    if not isinstance(item, QueuedVector) or item.is_begun:
        return False
    return (item.nets, item.purpose) == (vector.nets, vector.purpose)
