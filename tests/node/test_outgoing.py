"""Messages and vectors become frames; what goes out is counted, and nothing else."""

from p2pgan.node.outbox import Frames, Outbox, QueuedVector
from p2pgan.node.outgoing import counted, post, queued
from p2pgan.node.tallies import Tallies
from p2pgan.protocol.instructions import SendVector
from p2pgan.protocol.messages import (
    Ask,
    Chunk,
    Leave,
    LeaveAck,
    Message,
    Ping,
    Pong,
    Rumors,
)
from p2pgan.protocol.wire import decode, encode

ORDER = SendVector(peer="b", exchange="a.x.1", nets=("G", "D"), round=3, clock=7)
DATA = bytes(range(200))


def drained(vector: QueuedVector) -> list[Frames]:
    """The frames of all chunks that are left."""
    found = []
    while vector.splitter.left:
        found.append(vector.seal(*vector.splitter.cut(vector.chunk_bytes)))
    return found


def test_a_message_is_encoded_and_counted() -> None:
    tallies = Tallies()
    assert counted(Leave(clock=1), tallies) == encode(Leave(clock=1))
    sent, came = tallies.take()
    assert came == {}
    assert (sent["leave"].messages, sent["leave"].payload_bytes) == (1, 0)


def test_a_vector_goes_out_in_chunks_that_say_what_they_belong_to() -> None:
    vector = queued(ORDER, DATA, 64, Tallies())
    assert (vector.exchange, vector.nets, vector.is_begun) == ("a.x.1", ("G", "D"), False)
    pieces = [decode(frames) for frames in drained(vector)]
    assert b"".join(payload for _, payload in pieces) == DATA
    for place, (message, payload) in enumerate(pieces):
        assert isinstance(message, Chunk)
        assert (message.exchange, message.begin) == ("a.x.1", 64 * place)
        assert message.end == message.begin + len(payload)
        assert (message.round, message.clock, message.total_bytes) == (3, 7, 200)
        assert len(payload) == (64 if place < 3 else 8)


def test_chunks_are_counted_as_they_go_out() -> None:
    """Bytes one by one, the vector with its last chunk."""
    tallies = Tallies()
    vector = queued(ORDER, DATA, 64, tallies)
    assert tallies.take() == ({}, {}), "nothing has gone out yet"
    vector.seal(*vector.splitter.cut(64))
    sent, _ = tallies.take()
    assert (sent["mix"].messages, sent["mix"].payload_bytes) == (0, 64)
    assert len(drained(vector)) == 3
    sent, _ = tallies.take()
    assert (sent["mix"].messages, sent["mix"].payload_bytes) == (1, 136)


def test_what_is_given_up_in_the_queue_is_not_counted() -> None:
    tallies, outbox = Tallies(), Outbox()
    outbox.push_vector(queued(ORDER, DATA, 64, tallies))
    newer = SendVector(peer="b", exchange="a.x.2", nets=("G", "D"), round=4, clock=8)
    assert outbox.push_vector(queued(newer, DATA, 256, tallies)) == "a.x.1"
    while outbox.next(0.0) is not None:
        pass
    sent, _ = tallies.take()
    assert (sent["mix"].messages, sent["mix"].payload_bytes) == (1, 200)


def test_what_members_say_of_each_other_goes_ahead() -> None:
    """All else says something of the vectors that were sent before it."""
    tallies, outbox = Tallies(), Outbox()
    outbox.push_vector(queued(ORDER, DATA, 256, tallies))
    messages: list[Message] = [
        Leave(clock=1),
        LeaveAck(clock=2),
        Ping(clock=3, number=1, digest=b""),
        Pong(clock=4, number=1),
        Ask(clock=5, number=1, subject="c"),
        Rumors(clock=6, rows=()),
    ]
    for message in messages:
        post(message, outbox, tallies)
    clocks = []
    while (frames := outbox.next(0.0)) is not None:
        clocks.append(decode(frames)[0].clock)
    assert clocks == [3, 4, 5, 6, ORDER.clock, 1, 2]
