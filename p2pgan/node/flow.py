"""How much of vectors may be on its way to one peer at a time.

Theory of operation. Whatever has been handed to a connection stands in a line, in this machine, on
the link and at its other end, and a message that is handed to it next waits behind all of that. So
no more is handed over than what takes about half a second: a window of bytes that were sent and of
which nobody has said yet that they have come. The receiver says so with the acknowledgment of a
whole vector, or with a `Credit` for a chunk that asks; who asks is who has sent half a window since
it has last heard. So small vectors cost no credit, and large ones two in a window.

What came between a chunk's sending and its credit tells the rate. The window doubles as long as the
rate is for more, and is cut down to what the rate allows when a chunk takes longer than half a
second. On a way that is itself longer than that the least window is all there is.

What has no credit after a multiple of the usual time is given up, and half as much is sent: credit
or chunks may be lost, or come after all. It is a stop, not an end.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from p2pgan.protocol.messages import Chunk, Credit, VectorAck

WINDOW_S: Final = 0.5
"""What is on its way should have come after so long: probes wait for it, with a second's patience
or more."""

START_WINDOW: Final = 1_048_576
"""What nobody knows anything of is no slow link, mostly: two of the largest chunks."""

LEAST_WINDOW: Final = 65_536
"""Less is mostly headers and waiting: a link of 128 KB/s is full with it."""

MOST_WINDOW: Final = 4_194_304
"""At 1 GB/s it takes 4 ms, far longer than a loop needs to look up."""

PIECES: Final = 2
"""Chunks of a window, at least, so that one comes while another is on its way."""

PATIENCE_S: Final = 15.0
"""Until anything is known; as long as a silent connection lives."""

LEAST_PATIENCE_S: Final = 2.0
PATIENCE: Final = 4
"""How long to wait for credit: so many times as long as it took, but not less than the first."""

MARKS_MAX: Final = 1024
"""Chunks whose answer is recognised; of vectors so small that more of them are on their way, the
oldest are answered with the later ones."""


class Mark(NamedTuple):
    """A chunk that will be answered."""

    chunk: Chunk
    sent: int
    """Bytes of all vectors up to its end."""
    sent_s: float
    credited: int
    """Bytes of all vectors that were known to have come when it was sent."""

    def is_meant(self, answer: Credit | VectorAck) -> bool:
        """Whether this is the answer; to the last chunk an acknowledgment is one as well."""
        chunk = self.chunk
        if chunk.exchange != answer.exchange:
            return False
        return chunk.end == answer.bytes if isinstance(answer, Credit) else chunk.is_last


@dataclass(slots=True)
class Flow:
    """What is on its way over one connection.

    Invariants: no more is credited than was sent; the window stays within its bounds; marks are in
    the order of their sending, and of what nothing was heard of.
    """

    window: int = START_WINDOW
    _sent: int = 0
    _credited: int = 0
    _asked: int = 0
    """Bytes up to the end of the latest chunk that asks."""
    _marks: deque[Mark] = field(default_factory=lambda: deque(maxlen=MARKS_MAX))
    _latest_s: float = 0.0
    """When something was last sent or credited."""
    _patience_s: float = PATIENCE_S

    @property
    def on_the_way(self) -> int:
        """Bytes that were sent and not credited."""
        return self._sent - self._credited

    def size(self, most: int) -> int:
        """Of the next chunk.

        Args:
            most: what it may be at most, and is on a fast link.
        """
        return min(most, self.window // PIECES)

    def has_room(self, size: int, now: float) -> bool:
        """Whether so many bytes may be sent now."""
        if not self.on_the_way or self.on_the_way + size <= self.window:
            return True
        if now < self.resumes_s:
            return False
        self._credited = self._asked = self._sent
        self.window = max(LEAST_WINDOW, self.window // 2)
        return True

    @property
    def resumes_s(self) -> float:
        """When what is on its way is given up, if nothing is heard until then."""
        return self._latest_s + self._patience_s

    def asks(self, size: int) -> bool:
        """Whether a chunk of so many bytes, sent next, asks for credit."""
        heard = max(self._credited, self._asked)
        return self._sent + size - heard >= self.window // 2

    def send(self, chunk: Chunk, now: float) -> None:
        """A chunk is sent."""
        self._sent += chunk.end - chunk.begin
        self._latest_s = now
        if chunk.asks:
            self._asked = self._sent
        if chunk.asks or chunk.is_last:
            self._marks.append(Mark(chunk, self._sent, now, self._credited))

    def credit(self, answer: Credit | VectorAck, now: float) -> None:
        """A chunk or a whole vector has come, and all that went before it."""
        found = next((mark for mark in self._marks if mark.is_meant(answer)), None)
        if found is None:
            return  # of a former connection, given up, overtaken, or made up
        while self._marks[0] is not found:
            self._marks.popleft()
        self._marks.popleft()
        self._credited, self._latest_s = max(self._credited, found.sent), now
        self._adapt(found, now)

    def _adapt(self, mark: Mark, now: float) -> None:
        took_s = now - mark.sent_s
        usual_s = min(PATIENCE_S, PATIENCE * took_s)
        self._patience_s = max(LEAST_PATIENCE_S, usual_s)
        came = mark.sent - mark.credited
        fitting = came * WINDOW_S / took_s if took_s > 0 else MOST_WINDOW
        if took_s > WINDOW_S:
            self.window = int(min(self.window, max(LEAST_WINDOW, fitting)))
        elif fitting > self.window:
            self.window = int(min(fitting, 2 * self.window, MOST_WINDOW))
