"""What a node sends and receives, counted by kind of message.

The kind of a chunk is what its vector is for, so that FL-GAN's models, MD-GAN's batches and the
networks of gossip are told apart; that of any other message is its name.
"""

from collections.abc import Sequence
from typing import Final, get_args

from p2pgan.protocol.messages import Chunk, Message, Purpose
from p2pgan.record.schema import Tally

Frames = Sequence[bytes | memoryview]


class Tallies:
    """Counts both directions, and gives what came since it was last asked.

    A vector in many chunks is one message, which counts with its last chunk; bytes count chunk by
    chunk. What cannot be read as a message has no kind, and is not counted.
    """

    def __init__(self) -> None:
        self._sent: dict[str, Tally] = {}
        self._received: dict[str, Tally] = {}

    def sent(self, message: Message, frames: Frames) -> None:
        """Counts what ZeroMQ is given.

        Args:
            message: what the frames say.
            frames: header and payload, without the route of an answer.
        """
        _add(self._sent, message, frames)

    def received(self, message: Message, frames: Frames) -> None:
        """Counts what ZeroMQ gave; as `sent`."""
        _add(self._received, message, frames)

    def take(self) -> tuple[dict[str, Tally], dict[str, Tally]]:
        """What was sent and what was received, by kind, since the last call."""
        taken = self._sent, self._received
        self._sent, self._received = {}, {}
        return taken


PURPOSES: Final = frozenset(get_args(Purpose))


def kind_of(message: Message) -> str:
    """What a vector is for, or the name of any other message, such as `hello`.

    A message that is named as a vector's purpose, since it asks for such a vector, is an order: a
    `move` is a discriminator on its way, and a `move_order` sends it there.
    """
    if isinstance(message, Chunk):
        return message.purpose
    name = str(message.__struct_config__.tag)
    return f"{name}_order" if name in PURPOSES else name


def _add(counts: dict[str, Tally], message: Message, frames: Frames) -> None:
    kind = kind_of(message)
    before = counts.get(kind) or Tally(messages=0, payload_bytes=0, bytes=0)
    is_whole = not isinstance(message, Chunk) or message.is_last
    counts[kind] = Tally(
        messages=before.messages + is_whole,
        payload_bytes=before.payload_bytes + sum(len(frame) for frame in frames[1:]),
        bytes=(before.bytes or 0) + sum(len(frame) for frame in frames),
    )
