"""Messages and vectors become frames, whoever carries them; what goes out is counted."""

from p2pgan.node.outbox import Frames, Outbox, QueuedVector
from p2pgan.node.tallies import Tallies
from p2pgan.protocol.chunks import Splitter
from p2pgan.protocol.instructions import SendVector
from p2pgan.protocol.messages import Message, Talk
from p2pgan.protocol.wire import encode


def counted(message: Message, tallies: Tallies, payload: bytes | memoryview = b"") -> Frames:
    """The frames of a message that goes out now."""
    frames = encode(message, payload)
    tallies.sent(message, frames)
    return frames


def post(message: Message, outbox: Outbox, tallies: Tallies) -> None:
    """Puts a message into an outbox. What members say of each other goes ahead of all else; other
    messages say something of what was sent before them."""
    frames = counted(message, tallies)
    if isinstance(message, Talk):
        outbox.push_talk(frames)
    else:
        outbox.push(frames)


def queued(order: SendVector, data: bytes, chunk_bytes: int, tallies: Tallies) -> QueuedVector:
    """A vector for an outbox. Its chunks are made one by one, as they are asked for, so that what
    is given up in the queue is not counted."""
    return QueuedVector(
        exchange=order.exchange,
        nets=order.nets,
        purpose=order.purpose,
        splitter=Splitter(data, order),
        chunk_bytes=chunk_bytes,
        seal=lambda chunk, payload: counted(chunk, tallies, payload),
    )
