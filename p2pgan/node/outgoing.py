"""Messages and vectors become frames, whoever carries them; what goes out is counted."""

from p2pgan.node.outbox import Frames, QueuedVector
from p2pgan.node.tallies import Tallies
from p2pgan.protocol.chunks import split
from p2pgan.protocol.instructions import SendVector
from p2pgan.protocol.messages import Message
from p2pgan.protocol.wire import encode


def counted(message: Message, tallies: Tallies, payload: bytes | memoryview = b"") -> Frames:
    """The frames of a message that goes out now."""
    frames = encode(message, payload)
    tallies.sent(message, frames)
    return frames


def queued(order: SendVector, data: bytes, chunk_bytes: int, tallies: Tallies) -> QueuedVector:
    """A vector for an outbox. Its chunks are made one by one, as they are asked for, so that what
    is given up in the queue is not counted."""
    pieces = split(data, order, chunk_bytes=chunk_bytes)
    chunks = (counted(chunk, tallies, payload) for chunk, payload in pieces)
    return QueuedVector(
        exchange=order.exchange, nets=order.nets, purpose=order.purpose, chunks=chunks
    )
