"""Two transports over real sockets of this machine, and strangers that misbehave."""

import resource
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from p2pgan.daemon import transport
from p2pgan.daemon.desk import ask
from p2pgan.daemon.transport import (
    MESSAGES_AT_ONCE,
    ControlRequest,
    Transport,
    reserve_ports,
)
from p2pgan.errors import OverlayError, TransportError
from p2pgan.node.connection import RECONNECT_MAX_MS, RECONNECT_MS
from p2pgan.node.flow import PATIENCE_S, START_WINDOW
from p2pgan.node.host import carry
from p2pgan.protocol import events as ev
from p2pgan.protocol.instructions import SendVector
from p2pgan.protocol.messages import Chunk, Leave, LeaveAck, Ping
from tools.faulty_link import FaultyLinks

Until = Callable[[Callable[[], Any]], Any]
ANY = "tcp://127.0.0.1:*"


class Party:
    """A transport with everything that it has ever told."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.events: list[Any] = []

    def of(self, kind: type) -> list[Any]:
        """All events of a kind so far, after a look at the sockets."""
        for event in self.transport.poll(0.01):
            if not isinstance(event, ControlRequest):
                carry(event, self.transport)
            self.events.append(event)
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def open_party() -> Iterator[Callable[..., Party]]:
    with ExitStack() as stack:

        def open_(
            neighbors: dict[str, str] | None = None,
            address: str = ANY,
            clock: Callable[[], float] = time.monotonic,
        ) -> Party:
            transport = Transport(address, neighbors or {}, clock)
            stack.callback(transport.close, 0)
            return Party(transport)

        yield open_


@pytest.fixture
def pair(open_party: Callable[..., Party], until: Until) -> tuple[Party, Party]:
    """A calls B; the connection stands."""
    b = open_party()
    a = open_party({"B": b.transport.address})
    assert until(lambda: a.of(ev.LinkUp))[0].peer == "B"
    return a, b


def order(exchange: str = "A.b.1", clock: int = 1) -> SendVector:
    return SendVector(peer="B", exchange=exchange, nets=("G",), round=1, clock=clock)


def test_messages_go_there_and_answers_come_back(pair: tuple[Party, Party], until: Until) -> None:
    a, b = pair
    a.transport.send("B", Leave(clock=5))
    (received,) = until(lambda: b.of(ev.Received))
    assert received.message == Leave(clock=5)
    b.transport.reply(received.route, LeaveAck(clock=6))
    (answered,) = until(lambda: a.of(ev.Answered))
    assert (answered.peer, answered.message) == ("B", LeaveAck(clock=6))


def test_no_answer_is_left_lying_while_much_is_sent(pair: tuple[Party, Party]) -> None:
    """ZeroMQ signals once: what it notices while it sends has to be looked for. A poll that misses
    an answer would wait for longer than this test may last."""
    a, b = pair
    messages, under_way, answered, sent = 600, 3, 0, 0
    over = threading.Event()

    def answer() -> None:
        while not over.is_set():
            for event in b.transport.poll(0.05):
                if isinstance(event, ev.Received):
                    b.transport.reply(event.route, LeaveAck(clock=event.message.clock))

    answering = threading.Thread(target=answer)
    answering.start()
    try:
        while answered < messages:
            while sent < messages and sent < answered + under_way:
                a.transport.send("B", Leave(clock=sent))
                sent += 1
            found = a.transport.poll(600.0)
            answered += sum(isinstance(event, ev.Answered) for event in found)
    finally:
        over.set()
        answering.join()


def test_a_vector_arrives_in_chunks_and_in_order(pair: tuple[Party, Party], until: Until) -> None:
    a, b = pair
    data = bytes(range(256)) * 4096
    assert a.transport.send_vector(order(), data, 65_536) is None
    a.transport.send("B", Leave(clock=9))
    until(lambda: a.of(ev.Answered) or len(b.of(ev.Received)) == 17)
    *chunks, last = b.of(ev.Received)
    assert last.message == Leave(clock=9), "a farewell comes behind the vector"
    assert [event.message.begin for event in chunks] == list(range(0, len(data), 65_536))
    assert b"".join(event.payload for event in chunks) == data


def test_both_ends_count_the_same(pair: tuple[Party, Party], until: Until) -> None:
    """What one end gave ZeroMQ is what the other end got of it, headers and all."""
    a, b = pair
    a.transport.send_vector(order(), bytes(10_000), 4096)
    a.transport.send("B", Leave(clock=9))
    until(lambda: len(b.of(ev.Received)) == 4)
    b.transport.reply(b.of(ev.Received)[0].route, LeaveAck(clock=10))
    until(lambda: a.of(ev.Answered))
    (sent, answered), (replied, received) = a.transport.tallies.take(), b.transport.tallies.take()
    assert (sent, answered) == (received, replied)
    assert (sent["mix"].messages, sent["mix"].payload_bytes) == (1, 10_000)
    assert (sent["mix"].bytes or 0) > 10_000
    assert sent.keys() | replied.keys() == {"mix", "leave", "leave_ack"}


def test_a_vector_that_is_replaced_in_the_queue_is_not_counted(
    pair: tuple[Party, Party], until: Until
) -> None:
    a, b = pair
    data = bytes(64 * 1024 * 1024)
    for exchange in ("first", "second", "third"):
        a.transport.send_vector(order(exchange), data, 262_144)
    until(lambda: a.of(ev.LinkUp) and len(b.of(ev.Received)) == 512)
    sent, _ = a.transport.tallies.take()
    assert (sent["mix"].messages, sent["mix"].payload_bytes) == (2, 2 * len(data))


def test_a_peer_that_does_not_read_blocks_nobody(pair: tuple[Party, Party], until: Until) -> None:
    """Far more than the sockets hold: one vector is begun, the others replace each other."""
    a, b = pair
    data = bytes(64 * 1024 * 1024)
    assert a.transport.send_vector(order("first"), data, 262_144) is None
    assert a.transport.send_vector(order("second"), data, 262_144) is None
    assert a.transport.send_vector(order("third"), data, 262_144) == "second"
    until(lambda: a.of(ev.LinkUp) and len(b.of(ev.Received)) == 512)
    exchanges = [event.message.exchange for event in b.of(ev.Received)]
    assert exchanges == ["first"] * 256 + ["third"] * 256


def test_a_vector_that_gets_no_credit_goes_on_after_a_while(
    open_party: Callable[..., Party], until: Until
) -> None:
    b = open_party()
    now_s = [0.0]
    a = open_party({"B": b.transport.address}, clock=lambda: now_s[0])
    until(lambda: a.of(ev.LinkUp))
    a.transport.send_vector(order(), bytes(3 * START_WINDOW), 262_144)
    came: list[Any] = []

    def comes(size: int) -> bool:
        """Nobody answers: what `b` hears is not carried."""
        a.of(ev.LinkUp)
        came.extend(b.transport.poll(0.01))
        return sum(len(event.payload) for event in came) >= size

    until(lambda: comes(START_WINDOW))
    a.of(ev.LinkUp)
    assert not comes(START_WINDOW + 1)
    now_s[0] += PATIENCE_S
    until(lambda: comes(START_WINDOW + START_WINDOW // 2))


def test_a_probe_does_not_wait_for_a_vector_on_a_slow_link(
    open_party: Callable[..., Party], until: Until
) -> None:
    b = open_party()
    with FaultyLinks() as links:
        link = links.to(b.transport.address)
        a = open_party({"B": link.address})
        until(lambda: a.of(ev.LinkUp))
        link.slow(1_000_000)
        data = bytes(3 * START_WINDOW)
        a.transport.send_vector(order(), data, 262_144)
        until(lambda: a.of(ev.LinkUp) and len(b.of(ev.Received)) > 4)
        a.transport.send("B", Ping(clock=2, number=1, digest=b""))
        a.transport.send("B", Leave(clock=3))
        until(lambda: a.of(ev.LinkUp) and b.of(ev.Received)[-1].message == Leave(clock=3))
        assert a.transport._peers["B"].outbox.flow.window < START_WINDOW
    messages = [event.message for event in b.of(ev.Received)]
    (place,) = [place for place, message in enumerate(messages) if isinstance(message, Ping)]
    assert place < len(messages) - 2, "it comes amid the vector"
    assert b"".join(event.payload for event in b.of(ev.Received)) == data


def test_numbers_that_are_not_finite_are_noticed(pair: tuple[Party, Party], until: Until) -> None:
    a, b = pair
    a.transport.send_vector(order(), b"\0\0\x80\x3f" + b"\0\0\xc0\x7f", 4)
    until(lambda: len(b.of(ev.Received)) == 2)
    assert [event.finite for event in b.of(ev.Received)] == [True, False]


def test_the_end_of_a_peer_is_noticed_and_its_return(
    open_party: Callable[..., Party], until: Until
) -> None:
    b = open_party()
    address = b.transport.address
    a = open_party({"B": address})
    until(lambda: a.of(ev.LinkUp))
    b.transport.close(0)
    until(lambda: a.of(ev.LinkDown))
    a.transport.send("B", Leave(clock=1))
    a.transport.forget("B")
    again = open_party(address=address)
    until(lambda: len(a.of(ev.LinkUp)) == 2)
    a.transport.send("B", Leave(clock=2))
    (received,) = until(lambda: again.of(ev.Received))
    assert received.message == Leave(clock=2), "what was for the old connection is forgotten"


def test_a_dead_peer_is_knocked_at_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch, open_party: Callable[..., Party]
) -> None:
    """Pauses of ZeroMQ's own, with a hundredth of our times; 5 s in the end."""
    monkeypatch.setattr(transport, "RECONNECT_MS", RECONNECT_MS // 100)
    monkeypatch.setattr(transport, "RECONNECT_MAX_MS", RECONNECT_MAX_MS // 100)
    (held,), (port,) = reserve_ports(1)
    a = open_party({"B": f"tcp://127.0.0.1:{port}"})
    peer = a.transport._peers["B"]
    peer.dealer.disable_monitor()
    retries = peer.dealer.get_monitor_socket(zmq.EVENT_CONNECT_RETRIED, "inproc://retries")
    pauses_ms = [recv_monitor_message(retries)["value"] for _ in range(12)]
    retries.close(0)
    held.close()
    assert max(pauses_ms) <= RECONNECT_MAX_MS // 100
    assert min(pauses_ms[-3:]) >= RECONNECT_MAX_MS // 100


def test_an_answer_to_nobody_is_counted(open_party: Callable[..., Party]) -> None:
    a = open_party()
    a.transport.reply(b"\0gone", LeaveAck(clock=1))
    assert a.transport.replies_lost == 1


def test_other_threads_wake_a_poll(open_party: Callable[..., Party]) -> None:
    a = open_party()
    thread = threading.Thread(target=a.transport.wake)
    thread.start()
    assert a.transport.poll(25.0) == []
    thread.join()


def test_a_closed_transport_can_be_woken(open_party: Callable[..., Party]) -> None:
    a = open_party()
    a.transport.close(0)
    a.transport.wake()


# -- addresses ------------------------------------------------------------------------------------


def test_an_address_in_use_is_one_clear_line(open_party: Callable[..., Party]) -> None:
    a = open_party()
    with pytest.raises(TransportError) as caught:
        Transport(a.transport.address, {})
    assert a.transport.address in str(caught.value)
    assert "in use" in str(caught.value)
    assert "hint" in str(caught.value)


@pytest.mark.parametrize("address", ["tcp://192.0.2.7:5000", "nonsense", "tcp://no.such.host:1"])
def test_an_address_that_is_not_ours_is_one_clear_line(address: str) -> None:
    with pytest.raises(TransportError, match="address"):
        Transport(address, {})


def test_a_neighbor_s_address_that_makes_no_sense_names_the_neighbor(tmp_path: Path) -> None:
    """Our own sockets are closed then, even while somebody still looks at the error."""
    ours = f"ipc://{tmp_path}/ours"
    with pytest.raises(OverlayError, match="`B`") as caught:
        Transport(ours, {"B": "nonsense"})
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.IMMEDIATE, 1)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.connect(ours)
        assert not dealer.poll(200, zmq.POLLOUT), "nobody is there any more"
    assert caught.value.__traceback__ is not None


def test_the_name_of_a_host_can_be_bound(open_party: Callable[..., Party]) -> None:
    (held,), (port,) = reserve_ports(1)
    a = open_party(address=f"tcp://localhost:{port}")
    assert a.transport.address == f"tcp://127.0.0.1:{port}"
    held.close()


def test_a_reserved_port_is_ours_to_bind_and_nobody_else_is_given_it(
    open_party: Callable[..., Party], until: Until
) -> None:
    held, ports = reserve_ports(20)
    assert len(set(ports)) == 20
    b = open_party(address=f"tcp://127.0.0.1:{ports[0]}")
    a = open_party({"B": b.transport.address})
    until(lambda: a.of(ev.LinkUp))
    others, more = reserve_ports(50)
    assert not set(ports) & set(more)
    for reserved in (*held, *others):
        reserved.close()
    a.transport.send("B", Leave(clock=1))
    until(lambda: b.of(ev.Received))


# -- limits ---------------------------------------------------------------------------------------


def test_with_few_descriptors_few_neighbors_are_called_and_that_is_said_once(
    open_party: Callable[..., Party], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    b, said = open_party(), list[str]()
    peers = dict.fromkeys("BCDEF", b.transport.address)
    monkeypatch.setattr(transport, "descriptors", lambda: 32 + 5 * 2 + 3)
    a = Transport("tcp://127.0.0.1:*", peers, say=said.append)
    try:
        party = Party(a)
        until(lambda: len(party.of(ev.LinkUp)) == 2)
        a.dial("G", b.transport.address)
        assert len(said) == 1
        assert "no more than 2" in said[0]
        a.hang_up("B")
        a.dial("G", b.transport.address)
        until(lambda: [event.peer for event in party.of(ev.LinkUp)][2:] == ["G"])
        assert len(said) == 1
    finally:
        a.close(0)


def test_a_process_may_open_as_many_files_as_its_owner_may_allow_it() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        transport.allow_descriptors()
        assert transport.descriptors() == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# -- control --------------------------------------------------------------------------------------


def test_a_question_is_answered(open_party: Callable[..., Party], until: Until) -> None:
    a = open_party()
    answers: list[bytes] = []
    thread = threading.Thread(
        target=lambda: answers.append(ask(a.transport.control, b"question", 30.0))
    )
    thread.start()
    (request,) = until(lambda: a.of(ControlRequest))
    assert request.body == b"question"
    a.transport.answer_control(b"answer")
    thread.join()
    assert answers == [b"answer"]


def test_silence_is_an_error(open_party: Callable[..., Party]) -> None:
    a = open_party()
    with pytest.raises(TransportError, match=r"within 0\.05 s"):
        ask(a.transport.control, b"question", 0.05)
    with pytest.raises(TransportError, match="control address"):
        ask("nonsense", b"question", 0.05)


def test_the_control_socket_is_for_its_owner_only_and_does_not_outlive_it(
    open_party: Callable[..., Party],
) -> None:
    transport = open_party().transport
    path = Path(transport.control.removeprefix("ipc://"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    transport.close(0)
    assert not path.exists()
    with pytest.raises(TransportError, match="one that is gone"):
        ask(transport.control, b"question", 30.0)


# -- strangers ------------------------------------------------------------------------------------


@pytest.fixture
def stranger(open_party: Callable[..., Party]) -> Iterator[tuple[Any, Party]]:
    """A raw DEALER of a caller that knows ZeroMQ and nothing else, and whom it calls."""
    called = open_party()
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.connect(called.transport.address)
        yield dealer, called


@pytest.mark.parametrize(
    "frames",
    [[b""], [b"garbage"], [b"\xc1"], [b"a"] * 2, [b"a"] * 3, [b"a"] * 500, [bytes(9_000)],
     [b"\x91" * 8_000]],
    ids=["empty", "garbage", "reserved", "2 frames", "3 frames", "500 frames", "long", "deep"],
)  # fmt: skip
def test_garbage_is_an_event_not_a_fault_of_ours(
    stranger: tuple[Any, Party], until: Until, frames: list[bytes]
) -> None:
    dealer, called = stranger
    dealer.send_multipart(frames)
    assert until(lambda: called.of(ev.Malformed))[0].route


def test_a_frame_beyond_all_bounds_cuts_the_caller(
    stranger: tuple[Any, Party], pair: tuple[Party, Party], until: Until
) -> None:
    dealer, called = stranger
    dealer.send(bytes(2 * 1024 * 1024))
    dealer.send(b"after")
    monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    until(lambda: called.of(ev.Malformed) or monitor.poll(0))
    dealer.disable_monitor()
    monitor.close(0)
    a, b = pair
    a.transport.send("B", Leave(clock=1))
    until(lambda: b.of(ev.Received))


def test_raw_bytes_on_the_port_hurt_nobody(open_party: Callable[..., Party], until: Until) -> None:
    b = open_party()
    host, port = b.transport.address.removeprefix("tcp://").split(":")
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 4096, b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL"):
        with socket.create_connection((host, int(port)), timeout=30.0) as raw:
            raw.sendall(data)
    a = open_party({"B": b.transport.address})
    until(lambda: a.of(ev.LinkUp))
    a.transport.send("B", Leave(clock=1))
    until(lambda: b.of(ev.Received))


def test_a_flood_leaves_others_their_turn(
    stranger: tuple[Any, Party], open_party: Callable[..., Party], until: Until
) -> None:
    """One look reads a bounded number of messages of the callers."""
    dealer, called = stranger
    for _ in range(10 * MESSAGES_AT_ONCE):
        dealer.send(b"flood")
    until(lambda: called.transport.poll(0.0))
    for _ in range(5):
        assert len(called.transport.poll(0.1)) <= MESSAGES_AT_ONCE


def test_chunks_of_the_largest_size_pass(pair: tuple[Party, Party], until: Until) -> None:
    a, b = pair
    a.transport.send_vector(order(), bytes(524_288), 524_288)
    (received,) = until(lambda: b.of(ev.Received))
    assert isinstance(received.message, Chunk)
    assert len(received.payload) == 524_288
