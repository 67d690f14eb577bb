"""The only module that knows ZeroMQ: sockets, their options, and queues that never block.

Every node binds one ROUTER, where its neighbors call it, and opens one DEALER to each neighbor.
What is received comes out as events of the protocol; what is to be sent waits in a bounded queue
per peer until the socket takes it.

All of a `Transport` belongs to one thread, but for `wake`.
"""

import contextlib
import errno
import math
import resource
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

from p2pgan.daemon.desk import Desk
from p2pgan.errors import P2PGanError, TransportError
from p2pgan.node.connection import (
    HEARTBEAT_MS,
    HEARTBEAT_TIMEOUT_MS,
    HIGH_WATER_MARK,
    RECONNECT_MAX_MS,
    RECONNECT_MS,
)
from p2pgan.node.incoming import answered, received
from p2pgan.node.outbox import Frames, Outbox
from p2pgan.node.outgoing import post, queued
from p2pgan.node.tallies import Tallies
from p2pgan.overlay.addresses import check_address
from p2pgan.protocol import events as ev
from p2pgan.protocol.instructions import SendVector
from p2pgan.protocol.messages import Credit, Message, VectorAck
from p2pgan.protocol.wire import MAX_FRAME_BYTES, decode, encode

LINGER_MS: Final = 1_000
"""How long a closing socket may still send: the last acknowledgments are on their way."""

HANDSHAKE_MS: Final = 5_000
"""A caller that does not greet in ZeroMQ's own way by then is cut."""

CONNECT_TIMEOUT_MS: Final = 5_000
"""An address that swallows packets is given up and tried again."""

DESCRIPTORS: Final = 32
"""Of a node without neighbors: 22, and some for the file that is written and the owner who asks."""

DESCRIPTORS_TO_PEER: Final = 4
"""For a connection of ours: the socket, its two mailboxes, and its monitor's."""

MESSAGES_AT_ONCE: Final = 64
"""Read from one socket before the others have their turn."""


@dataclass(slots=True)
class PeerSocket:
    """Our own connection to a neighbor."""

    name: str
    dealer: "zmq.Socket[bytes]"
    monitor: "zmq.Socket[bytes]"
    fd: int
    monitor_fd: int
    outbox: Outbox = field(default_factory=Outbox)
    unsent: Frames | None = None
    """Frames that the socket did not take; they go first."""
    is_watched: bool = False
    """Whether the poller tells when the socket takes more."""

    def forget(self) -> None:
        """Empties the queue: the connection that it was meant for is gone."""
        self.outbox, self.unsent = Outbox(), None

    def flush(self, now: float) -> None:
        """Sends until nothing waits, there is no credit, or the socket takes no more."""
        while (frames := self.unsent or self.outbox.next(now)) is not None:
            self.unsent = frames
            try:
                self.dealer.send_multipart(frames, zmq.NOBLOCK)
            except zmq.Again:
                return
            self.unsent = None

    @property
    def has_more(self) -> bool:
        """Whether something waits, for the socket or for credit."""
        return self.unsent is not None or self.outbox.has_items


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRequest:
    """The owner of the process asks something; `Transport.answer_control` must follow."""

    body: bytes


class Transport:
    """The sockets of one node.

    Args:
        address: where neighbors call us, `tcp://HOST:PORT` (`*` for any port) or `ipc://PATH`.
        neighbors: address of each neighbor.
        clock: monotonic seconds.
        say: takes lines for people.
    Raises:
        OverlayError: if a neighbor's address makes no sense.
        TransportError: if an address cannot be bound or connected to.
    """

    def __init__(
        self,
        address: str,
        neighbors: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._desk = Desk()
        self._clock = clock
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._wake_receive, self._wake_send = socket.socketpair()
        self._peers: dict[str, PeerSocket] = {}
        self._names: dict[int, str] = {}
        """Whose connection, or monitor of it, a file descriptor belongs to."""
        self._touched: dict[str, None] = {}
        """Peers whose connections were used since they were last looked at."""
        self.replies_lost = 0
        """Answers to callers that were gone or did not read."""
        self.tallies = Tallies()
        """What was sent and received."""
        self._say = say
        self._is_short = False
        """Whether somebody was told that descriptors do not suffice."""
        self._unreached = {*neighbors}
        """Peers that there is no connection to, though there should be."""
        try:
            self._router = self._bound(address)
            for peer, peer_address in neighbors.items():
                self.dial(peer, peer_address)
        except P2PGanError:
            self.close(linger_ms=0)
            raise
        for end in (self._wake_receive, self._wake_send):
            end.setblocking(False)
        self._poller.register(self._wake_receive, zmq.POLLIN)
        self._poller.register(self._desk.fileno(), zmq.POLLIN)

    @property
    def control(self) -> str:
        """Where the user of this process asks and commands."""
        return self._desk.address

    @property
    def address(self) -> str:
        """Where neighbors call us, with the port that was really bound."""
        return _endpoint(self._router)

    # -- in ----------------------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> list[ev.Event | ControlRequest]:
        """Waits until something happens (or `wake` is called), at most `timeout_s`; what happened.

        Answers come before the end of the connection that brought them, and the end of connections
        before new callers, who may take the place of the one that went.
        """
        for peer in self._peers.values():
            self._flush(peer)
        heard = self._half_heard()
        wait_s = 0.0 if heard else max(0.0, min(timeout_s, self._held_s()))
        ready = dict(self._poller.poll(math.ceil(wait_s * 1000)))
        if ready.pop(self._wake_receive.fileno(), None):
            self._drain_wakes()
        heard |= {self._names[source]: None for source in ready if source in self._names}
        # Some may have been closed meanwhile: by what the machine said to the last events.
        heard = {name: None for name in heard if name in self._peers}
        found: list[ev.Event | ControlRequest] = []
        for name in heard:
            found += self._answers(name, self._peers[name])
        for name in heard:
            if self._peers[name].monitor_fd in ready:
                found += self._changes(name, self._peers[name])
        if self._router in ready:
            found += self._calls()
        self._desk.wake()
        if self._desk.fileno() in ready and (body := self._desk.look()) is not None:
            found.append(ControlRequest(body=body))
        return found

    def _half_heard(self) -> dict[str, None]:
        """Peers whose answers are there, though nothing tells of it any more.

        Connections are watched by their file descriptors, which costs nothing for each, where to
        ask every socket takes as long as to read a message. ZeroMQ signals there only once: what it
        notices while it sends, or what was left unread, is not signalled again (zmq_getsockopt,
        ZMQ_FD).
        """
        touched, self._touched = self._touched, {}
        there = (name for name in touched if name in self._peers)
        return {name: None for name in there if _has_message(self._peers[name].dealer)}

    def _flush(self, peer: PeerSocket) -> None:
        """Sends what waits; where the socket does not take all of it, it says when it does."""
        if peer.has_more:
            peer.flush(self._clock())
            self._touched[peer.name] = None
        is_refused = peer.unsent is not None
        if is_refused != peer.is_watched:
            peer.is_watched = is_refused
            if peer.is_watched:
                self._poller.register(peer.dealer, zmq.POLLOUT)
            else:
                self._poller.unregister(peer.dealer)

    def _held_s(self) -> float:
        """How long vectors wait for credit at most."""
        waiting = [peer.outbox.resumes_s for peer in self._peers.values() if peer.unsent is None]
        return min((at_s - self._clock() for at_s in waiting if at_s is not None), default=math.inf)

    def wake(self) -> None:
        """Ends a `poll`. May be called from any thread and from signal handlers."""
        with contextlib.suppress(OSError):  # full: awake already; closed: nothing left to wake
            self._wake_send.send(b"!")

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_receive.recv(1024):
                pass

    def _answers(self, name: str, peer: PeerSocket) -> Iterator[ev.Event]:
        self._touched[name] = None  # there may be more than are read at once
        for frames in _messages(peer.dealer):
            yield answered(name, frames, self.tallies)

    def _changes(self, name: str, peer: PeerSocket) -> Iterator[ev.Event]:
        while _has_message(peer.monitor):
            event = recv_monitor_message(peer.monitor)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                yield ev.LinkUp(peer=name)
            elif event == zmq.EVENT_DISCONNECTED:
                yield ev.LinkDown(peer=name)

    def _calls(self) -> Iterator[ev.Event]:
        for route, *frames in _messages(self._router):
            yield received(bytes(route), frames, self.tallies)

    # -- out ---------------------------------------------------------------------------------------

    def send(self, peer: str, message: Message) -> None:
        """Sends over our own connection, behind everything that waits there; but what members say
        of each other goes ahead of it."""
        post(message, self._peers[peer].outbox, self.tallies)
        self._flush(self._peers[peer])

    def send_vector(self, order: SendVector, data: bytes, chunk_bytes: int) -> str | None:
        """Sends a vector in chunks; the exchange id of the one whose place it took, if any."""
        peer = self._peers[order.peer]
        vector = queued(order, data, chunk_bytes, self.tallies)
        replaced = peer.outbox.push_vector(vector)
        self._flush(peer)
        return replaced

    def credit(self, peer: str, answer: Credit | VectorAck) -> None:
        """A peer says that a chunk or a whole vector has come: more may be sent there."""
        there = self._peers.get(peer)
        if there is not None:  # its connection may have gone since it said so
            there.outbox.credit(answer, self._clock())
            self._flush(there)

    def forget(self, peer: str) -> None:
        """Empties what waits for a peer whose connection broke, if it was not closed meanwhile."""
        if peer in self._peers:
            self._peers[peer].forget()

    def reply(self, route: bytes, message: Message) -> None:
        """Answers a caller, if it is still there and reads."""
        frames = encode(message)
        try:
            self._router.send_multipart([route, *frames], zmq.NOBLOCK)
        except zmq.ZMQError:  # slow, or gone: EHOSTUNREACH
            self.replies_lost += 1
        else:
            self.tallies.sent(message, frames)

    def answer_control(self, body: bytes) -> None:
        """Answers the latest `ControlRequest`."""
        self._desk.answer(body)

    def close(self, linger_ms: int = LINGER_MS) -> None:
        """Closes all sockets; what is on its way has `linger_ms` to leave."""
        for peer in self._peers.values():
            peer.dealer.disable_monitor()
            peer.monitor.close(linger=0)
        self._context.destroy(linger=linger_ms)
        self._desk.close()
        self._wake_receive.close()
        self._wake_send.close()

    # -- making sockets ----------------------------------------------------------------------------

    def _bound(self, address: str) -> "zmq.Socket[bytes]":
        bound = self._context.socket(zmq.ROUTER)
        _configure(bound)
        # An answer to nobody is an error here, not a silent loss. Routes are made up by ZeroMQ (no
        # handover), so that no caller can take another one's.
        bound.setsockopt(zmq.ROUTER_MANDATORY, 1)
        try:
            bound.bind(_numeric(address))
        except zmq.ZMQError as error:
            bound.close(linger=0)
            raise _cannot_bind(address, error) from None
        self._poller.register(bound, zmq.POLLIN)
        return bound

    def dial(self, peer: str, address: str) -> None:
        """Connects to a peer, in the place of an earlier connection to it if there is one. Where
        this process may not open so many sockets, nothing leads there; the peer can still call us.

        Raises:
            OverlayError: if the address makes no sense.
            TransportError: if ZeroMQ does not take it.
        """
        self.hang_up(peer)
        checked = check_address(address, f"peer `{peer}`")
        self._unreached.add(peer)
        if self._has_room():
            self._peers[peer] = self._dialled(peer, checked)
            self._unreached.discard(peer)
        elif not self._is_short:
            self._is_short = True
            self._say(_short(len(self._peers)))

    def _has_room(self) -> bool:
        """Whether there are descriptors for one more connection of ours, and for one of everybody
        who may call us: if ZeroMQ cannot accept a caller, it tries without end."""
        callers = len(self._peers) + len(self._unreached)
        needed = DESCRIPTORS + DESCRIPTORS_TO_PEER * (len(self._peers) + 1) + callers
        return needed <= descriptors()

    def hang_up(self, peer: str) -> None:
        """Closes our connection to a peer; what the socket took still leaves."""
        gone = self._peers.pop(peer, None)
        self._unreached.discard(peer)
        if gone is None:
            return
        for source in (gone.fd, gone.monitor_fd):
            self._poller.unregister(source)
            del self._names[source]
        if gone.is_watched:
            self._poller.unregister(gone.dealer)
        gone.dealer.disable_monitor()
        gone.monitor.close(linger=0)
        gone.dealer.close(linger=LINGER_MS)

    def _dialled(self, peer: str, address: str) -> PeerSocket:
        made: list[zmq.Socket[bytes]] = []
        try:
            dealer = self._context.socket(zmq.DEALER)
            made.append(dealer)
            _configure(dealer)
            dealer.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing for a peer that is not there
            dealer.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
            dealer.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
            dealer.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
            monitor = dealer.get_monitor_socket(
                zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
            )
            made.append(monitor)
            _has_message(monitor)  # it has none: from now on it signals
            dealer.connect(address)
        except zmq.ZMQError as error:
            for gone in reversed(made):
                gone.close(linger=0)
            raise _cannot_connect(peer, address, error) from None
        self._touched[peer] = None
        fds = _descriptor(dealer), _descriptor(monitor)
        for fd in fds:
            self._poller.register(fd, zmq.POLLIN)
            self._names[fd] = peer
        return PeerSocket(peer, dealer, monitor, *fds)


def descriptors() -> float:
    """How many files and sockets this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft


def allow_descriptors() -> None:
    """Lets this process open as many files and sockets as its owner may allow it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems have no such number
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _short(reached: int) -> str:
    return (
        f"warning: {descriptors():g} open files and sockets are too few for all neighbors: no more "
        f"than {reached} are called (hint: `ulimit -n`, or LimitNOFILE= in a unit)"
    )


class Capabilities(NamedTuple):
    """What the ZeroMQ library at hand can do."""

    libzmq: str
    has_ipc: bool
    has_curve: bool


def capabilities() -> Capabilities:
    """What the ZeroMQ library at hand can do."""
    return Capabilities(zmq.zmq_version(), zmq.has("ipc"), zmq.has("curve"))


@contextlib.contextmanager
def conversation(address: str, timeout_s: float) -> Iterator[Callable[[Message], Message]]:
    """A connection to a node that we are no neighbor of: says a message, and returns the answer.

    Raises:
        TransportError: if the address makes no sense, or no answer comes in time.
        RemoteProtocolError: if what comes is no message.
    """
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        _configure(dealer)
        dealer.setsockopt(zmq.LINGER, 0)
        try:
            dealer.connect(address)
        except zmq.ZMQError as error:
            raise TransportError(
                expected="the address of a member, such as `tcp://10.0.0.3:5550`",
                got=error.strerror or str(error),
                at=f"`{address}`",
            ) from None

        def say(message: Message) -> Message:
            dealer.send_multipart(encode(message))
            if not dealer.poll(round(timeout_s * 1000)):
                raise TransportError(
                    expected=f"an answer within {timeout_s:g} s",
                    got="none",
                    at=f"`{address}`",
                    hint="is a node of the run listening there, and does it admit newcomers?",
                )
            return decode(_parts(dealer))[0]

        yield say


def reserve_ports(count: int) -> tuple[list[socket.socket], list[int]]:
    """Free ports of 127.0.0.1, and the sockets that hold them.

    Raises:
        TransportError: if there are not so many.
    """
    held = [hold_port(0, at=f"{count} ports") for _ in range(count)]
    return held, [reserved.getsockname()[1] for reserved in held]


def hold_port(port: int, *, at: str) -> socket.socket:
    """A port of 127.0.0.1 that nobody else is given as long as this socket stays open.

    The socket is bound but does not listen, and allows its address to be used again, as ZeroMQ's
    do: on Linux a node can then bind the port, and the system hands it to nobody who asks for any.

    Args:
        port: which; 0: any that is free.
        at: what it is for, for errors.
    Raises:
        TransportError: if somebody listens there, or none is free.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind(("127.0.0.1", port))
    except OSError as error:
        held.close()
        raise TransportError(
            expected=f"port {port} of 127.0.0.1 free" if port else "a free port of 127.0.0.1",
            got=error.strerror or str(error),
            at=at,
            hint=f"`ss -ltnp sport = :{port}` shows who has it" if port else "",
        ) from None
    return held


def _configure(made: "zmq.Socket[bytes]") -> None:
    made.setsockopt(zmq.LINGER, LINGER_MS)
    made.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    made.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
    made.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
    made.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    made.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    made.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)


def _descriptor(made: "zmq.Socket[bytes]") -> int:
    found = made.getsockopt(zmq.FD)
    assert isinstance(found, int)
    return found


def _has_message(source: "zmq.Socket[bytes]") -> bool:
    events = source.getsockopt(zmq.EVENTS)
    assert isinstance(events, int)
    return bool(events & zmq.POLLIN)


def _messages(source: "zmq.Socket[bytes]") -> Iterator[list[bytes | memoryview]]:
    """Messages that are there, so many that other sockets have their turn soon."""
    for _ in range(MESSAGES_AT_ONCE):
        try:
            yield _parts(source)
        except zmq.Again:
            return


COPIED_BYTES: Final = 16_384
"""Below, a copy costs less than to keep what ZeroMQ has allocated."""

PARTS_KEPT: Final = 4
"""A route, a header, a payload, and one that proves that there are too many."""


def _parts(source: "zmq.Socket[bytes]") -> list[bytes | memoryview]:
    """The parts of one message; of one with too many, the first few. Large ones are not copied."""
    parts: list[bytes | memoryview] = []
    while True:
        part = source.recv(zmq.NOBLOCK, copy=False)
        if len(parts) < PARTS_KEPT:
            parts.append(part.buffer if len(part) >= COPIED_BYTES else part.bytes)
        if not part.more:
            return parts


def _endpoint(bound: "zmq.Socket[bytes]") -> str:
    endpoint = bound.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.rstrip(b"\0").decode()


def _numeric(address: str) -> str:
    """ZeroMQ binds numbers and interfaces only; a host's name is looked up first."""
    scheme, _, rest = address.partition("://")
    host, colon, port = rest.rpartition(":")
    if scheme != "tcp" or not colon or not any(letter.isalpha() for letter in host) or "[" in host:
        return address
    with contextlib.suppress(OSError):
        return f"tcp://{socket.gethostbyname(host)}:{port}"
    return address


def _cannot_connect(peer: str, address: str, error: zmq.ZMQError) -> TransportError:
    is_full = error.errno in (errno.EMFILE, errno.ENFILE)
    return TransportError(
        expected=f"a free file descriptor for neighbor `{peer}`"
        if is_full
        else f"an address of neighbor `{peer}`, such as `tcp://10.0.0.3:5550`",
        got="none" if is_full else f"`{address}`",
        at=error.strerror or "connect",
        hint="raise the limit of open files (`ulimit -n`)"
        if is_full
        else "give every node an address in the overlay file",
    )


def _cannot_bind(address: str, error: zmq.ZMQError) -> TransportError:
    taken = error.errno == zmq.EADDRINUSE
    return TransportError(
        expected="an address of this machine that is free",
        got="one in use" if taken else error.strerror or str(error),
        at=f"`{address}`",
        hint="another process listens there: stop it, or choose another port"
        if taken
        else "`--address tcp://0.0.0.0:PORT` listens on all interfaces",
    )
