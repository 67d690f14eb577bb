"""What waits for one peer."""

from collections.abc import Iterator

from p2pgan.node.outbox import CONTROL_QUEUE_MAX, Frames, Outbox, QueuedVector
from p2pgan.protocol.messages import Nets, Purpose

JOINT: Nets = ("G", "D")


def vector(
    name: str, pieces: int = 2, nets: Nets = JOINT, purpose: Purpose = "mix"
) -> QueuedVector:
    chunks: Iterator[Frames] = iter([[f"{name}{i}".encode()] for i in range(pieces)])
    return QueuedVector(exchange=name, nets=nets, purpose=purpose, chunks=chunks)


def drained(outbox: Outbox) -> list[bytes]:
    found = []
    while (frames := outbox.next()) is not None:
        found.append(bytes(frames[0]))
    return found


def test_things_leave_in_order() -> None:
    """A farewell goes behind the vector that was there before it."""
    outbox = Outbox()
    outbox.push([b"hello"])
    outbox.push_vector(vector("a"))
    outbox.push([b"leave"])
    assert drained(outbox) == [b"hello", b"a0", b"a1", b"leave"]


def test_it_says_which_vector_the_latest_frames_belong_to() -> None:
    outbox = Outbox()
    assert outbox.under_way is None
    outbox.push([b"hello"])
    outbox.push_vector(vector("a", nets=("G",)))
    outbox.push([b"leave"])
    outbox.push_vector(vector("b"))
    found: list[str | None] = []
    while outbox.next() is not None:
        found.append(outbox.under_way.exchange if outbox.under_way else None)
    assert found == [None, "a", "a", None, "b", "b"]
    assert outbox.under_way is None


def test_a_vector_that_waits_gives_way_to_a_newer_one() -> None:
    outbox = Outbox()
    assert outbox.push_vector(vector("a")) is None
    assert outbox.next() == [b"a0"]
    assert outbox.push_vector(vector("b")) is None, "a is begun, so b waits behind it"
    assert outbox.push_vector(vector("c")) == "b"
    assert drained(outbox) == [b"a1", b"c0", b"c1"]


def test_groups_do_not_replace_each_other() -> None:
    outbox = Outbox()
    assert outbox.push_vector(vector("g", nets=("G",))) is None
    assert outbox.push_vector(vector("d", nets=("D",))) is None
    assert outbox.push_vector(vector("h", nets=("G",))) == "g"
    assert drained(outbox) == [b"d0", b"d1", b"h0", b"h1"]


def test_purposes_do_not_replace_each_other() -> None:
    """An answer does not take the place of our own request to the same peer."""
    outbox = Outbox()
    assert outbox.push_vector(vector("request", purpose="pair")) is None
    assert outbox.push_vector(vector("answer", purpose="answer")) is None
    assert drained(outbox) == [b"request0", b"request1", b"answer0", b"answer1"]


def test_a_newer_vector_goes_behind_its_own_votes() -> None:
    outbox = Outbox()
    outbox.push([b"votes 1"])
    outbox.push_vector(vector("pair 1", 1))
    outbox.push([b"votes 2"])
    assert outbox.push_vector(vector("pair 2", 1)) == "pair 1"
    assert drained(outbox) == [b"votes 1", b"votes 2", b"pair 20"]


def test_the_votes_of_a_thousand_nodes_wait_for_a_slow_peer() -> None:
    outbox = Outbox()
    for round_ in range(30):
        for part in range(20):
            outbox.push([b"%d.%d" % (round_, part)])
        outbox.push_vector(vector(f"{round_}", 1))
    assert len(drained(outbox)) == 30 * 20 + 1


def test_the_queue_is_bounded() -> None:
    outbox = Outbox()
    for i in range(10 * CONTROL_QUEUE_MAX):
        outbox.push([b"%d" % i])
    assert len(drained(outbox)) == CONTROL_QUEUE_MAX
