"""What waits for one peer."""

from functools import partial

from p2pgan.node.flow import PATIENCE_S, START_WINDOW
from p2pgan.node.outbox import CONTROL_QUEUE_MAX, TALK_QUEUE_MAX, Outbox, QueuedVector
from p2pgan.node.outgoing import queued
from p2pgan.node.tallies import Tallies
from p2pgan.protocol.instructions import SendVector
from p2pgan.protocol.messages import Chunk, Credit, Nets, Purpose
from p2pgan.protocol.wire import decode

JOINT: Nets = ("G", "D")


def vector(
    name: str, pieces: int = 2, nets: Nets = JOINT, purpose: Purpose = "mix", piece_bytes: int = 64
) -> QueuedVector:
    order = SendVector(peer="b", exchange=name, nets=nets, round=1, clock=1, purpose=purpose)
    return queued(order, bytes(pieces * piece_bytes), piece_bytes, Tallies())


def drained(outbox: Outbox, now: float = 0.0) -> list[str]:
    """All that goes out: messages as they are, chunks as the vector and their number."""
    found = []
    while (frames := outbox.next(now)) is not None:
        if len(frames) == 1:
            found.append(bytes(frames[0]).decode())
        else:
            chunk, payload = decode(frames)
            assert isinstance(chunk, Chunk)
            found.append(f"{chunk.exchange}{chunk.begin // len(payload)}")
    return found


def test_things_leave_in_order() -> None:
    """A farewell goes behind the vector that was there before it."""
    outbox = Outbox()
    outbox.push([b"hello"])
    outbox.push_vector(vector("a"))
    outbox.push([b"leave"])
    assert drained(outbox) == ["hello", "a0", "a1", "leave"]


def test_it_says_which_vector_the_latest_frames_belong_to() -> None:
    outbox = Outbox()
    assert outbox.under_way is None
    outbox.push([b"hello"])
    outbox.push_vector(vector("a", nets=("G",)))
    outbox.push([b"leave"])
    outbox.push_vector(vector("b"))
    found: list[str | None] = []
    while outbox.next(0.0) is not None:
        found.append(outbox.under_way.exchange if outbox.under_way else None)
    assert found == [None, "a", "a", None, "b", "b"]
    assert outbox.under_way is None


def test_talk_overtakes_what_waits() -> None:
    outbox = Outbox()
    outbox.push([b"leave"])
    outbox.push_vector(vector("a"))
    outbox.push_talk([b"ping"])
    assert outbox.next(0.0) == [b"ping"]
    assert outbox.under_way is None
    assert outbox.next(0.0) == [b"leave"]
    outbox.next(0.0)
    outbox.push_talk([b"pong"])
    assert drained(outbox) == ["pong", "a1"], "even in the middle of a vector"


def test_talk_that_waits_for_long_is_given_up() -> None:
    outbox = Outbox()
    for i in range(TALK_QUEUE_MAX + 2):
        outbox.push_talk([b"%d" % i])
    assert drained(outbox) == [str(i) for i in range(2, TALK_QUEUE_MAX + 2)]


def test_a_vector_that_waits_gives_way_to_a_newer_one() -> None:
    outbox = Outbox()
    assert outbox.push_vector(vector("a")) is None
    assert outbox.next(0.0) is not None
    assert outbox.push_vector(vector("b")) is None, "a is begun, so b waits behind it"
    assert outbox.push_vector(vector("c")) == "b"
    assert drained(outbox) == ["a1", "c0", "c1"]


def test_groups_do_not_replace_each_other() -> None:
    outbox = Outbox()
    assert outbox.push_vector(vector("g", nets=("G",))) is None
    assert outbox.push_vector(vector("d", nets=("D",))) is None
    assert outbox.push_vector(vector("h", nets=("G",))) == "g"
    assert drained(outbox) == ["d0", "d1", "h0", "h1"]


def test_purposes_do_not_replace_each_other() -> None:
    """An answer does not take the place of our own request to the same peer."""
    outbox = Outbox()
    assert outbox.push_vector(vector("request", purpose="pair")) is None
    assert outbox.push_vector(vector("answer", purpose="answer")) is None
    assert drained(outbox) == ["request0", "request1", "answer0", "answer1"]


def test_a_newer_vector_goes_behind_its_own_votes() -> None:
    outbox = Outbox()
    outbox.push([b"votes 1"])
    outbox.push_vector(vector("pair 1", 1))
    outbox.push([b"votes 2"])
    assert outbox.push_vector(vector("pair 2", 1)) == "pair 1"
    assert drained(outbox) == ["votes 1", "votes 2", "pair 20"]


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


CHUNK_BYTES = START_WINDOW // 4
large = partial(vector, pieces=10, piece_bytes=CHUNK_BYTES)


def test_no_more_than_a_window_is_on_its_way() -> None:
    outbox = Outbox()
    outbox.push_vector(large("a"))
    outbox.push([b"leave"])
    assert drained(outbox) == ["a0", "a1", "a2", "a3"]
    assert outbox.has_items, "the farewell waits for the rest"
    outbox.push_talk([b"ping"])
    assert drained(outbox) == ["ping"], "which waits for nobody"


def test_credit_lets_more_go() -> None:
    """A window takes two credits: half of it goes for each."""
    outbox = Outbox()
    outbox.push_vector(large("a"))
    asked = []
    for _ in range(4):
        chunk, _ = decode(outbox.next(0.0) or [])
        assert isinstance(chunk, Chunk)
        asked += [chunk.end] * chunk.asks
    assert asked == [2 * CHUNK_BYTES, 4 * CHUNK_BYTES]
    outbox.credit(Credit(clock=1, exchange="a", bytes=asked[0]), 0.4)
    assert drained(outbox, 0.4) == ["a4", "a5"]
    assert outbox.resumes_s is not None


def test_one_vector_goes_on_and_at_most_one_waits_behind_it() -> None:
    """A peer that takes nothing for a thousand rounds costs two vectors, and nobody's time."""
    outbox, given_up = Outbox(), []
    for round_ in range(1000):
        given_up.append(outbox.push_vector(large(f"{round_}.")))
        drained(outbox, 0.01 * round_)
    assert len(outbox.items) == 2
    assert given_up == [None, None, *(f"{round_}." for round_ in range(1, 999))]


def test_without_any_word_it_goes_on_after_a_while() -> None:
    outbox = Outbox()
    outbox.push_vector(large("a"))
    assert outbox.resumes_s is not None, "nothing is known before somebody asks for frames"
    drained(outbox, 1.0)
    assert outbox.resumes_s == 1.0 + PATIENCE_S
    assert drained(outbox, outbox.resumes_s - 0.1) == []
    assert drained(outbox, outbox.resumes_s) == ["a4", "a5"], "half as much"
