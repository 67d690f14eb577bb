"""The simulated network: connections between nodes, and what becomes of messages on them.

Every message goes through the real wire format and waits in the real queues. As with ZeroMQ, two
connections join two neighbors, one made by each. A connection lives in sessions: it is dialled,
keeps the order unless the links let a message or a vector overtake, and breaks when an end dies, or
when it has been silent for too long, since an end is suspended or the network is parted. A vector
is one thing on it, whatever the number of its chunks: they come in order, all or none, and if they
come twice, then all of them after all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import numpy as np

from p2pgan.node.connection import (
    HEARTBEAT_MS,
    HEARTBEAT_TIMEOUT_MS,
    HIGH_WATER_MARK,
    RECONNECT_MAX_MS,
)
from p2pgan.node.incoming import answered, received
from p2pgan.node.outbox import Frames, Outbox, QueuedVector
from p2pgan.node.outgoing import post, queued
from p2pgan.node.tallies import Tallies
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.messages import Chunk, Credit, Message, VectorAck
from p2pgan.protocol.wire import decode, encode
from p2pgan.sim.virtual.connections import Backlog, Connection, Copy, Lane, Passage, Session
from p2pgan.sim.virtual.links import Delivery, Links
from p2pgan.sim.virtual.timeline import Timeline

SILENCE_S: Final = (HEARTBEAT_MS + HEARTBEAT_TIMEOUT_MS) / 1000
"""After so long without a sign of life a connection is cut."""

RECONNECT_MAX_S: Final = RECONNECT_MAX_MS / 1000

HELLO_BYTES: Final = 300
"""What ZeroMQ and TCP say to each other before a connection stands, roughly."""


class Ends(Protocol):
    """The nodes, as the network knows them; the world is it."""

    def is_up(self, node: str) -> bool:
        """Whether a process runs there, suspended or not."""

    def is_suspended(self, node: str) -> bool:
        """Whether its process stands still."""

    def tell(self, node: str, event: ev.Event) -> None:
        """Something has happened to a node; it hears of it once it is awake."""


class Network:
    """All connections of a run.

    Args:
        timeline: virtual time.
        links: how long messages take, and what becomes of them.
        neighbors: whom each node connects to.
        ends: the nodes.
        rng: decides which bit of a corrupted message changes, and when lost peers are dialled.
    """

    def __init__(
        self,
        timeline: Timeline,
        links: Links,
        neighbors: Mapping[str, Sequence[str]],
        ends: Ends,
        rng: np.random.Generator,
    ) -> None:
        self._timeline, self._links, self._ends, self._rng = timeline, links, ends, rng
        self._connections = {
            (caller, callee): Connection(caller, callee)
            for caller, callees in neighbors.items()
            for callee in callees
        }
        self._first = frozenset(self._connections)
        """Those that every life of a node begins with."""
        self._own: dict[str, list[Connection]] = {node: [] for node in neighbors}
        self._theirs: dict[str, list[Connection]] = {node: [] for node in neighbors}
        for connection in self._connections.values():
            self._own[connection.caller].append(connection)
            self._theirs[connection.callee].append(connection)
        self._routes: dict[bytes, Session] = {}
        self._tallies: dict[str, Tallies] = {}
        self._parted: list[frozenset[str]] = []
        """Of each partition that lasts, one side."""
        self.messages_lost = 0
        """By the links, with broken connections, or since a queue was full."""

    # -- nodes come and go -------------------------------------------------------------------------

    def start(self, node: str) -> "Endpoint":
        """A process runs: it dials its neighbors, and they find it when they next try."""
        endpoint = Endpoint(self, node)
        self._tallies[node] = endpoint.tallies
        for connection in self._own[node]:
            self._dial(connection, 0.0)
        for connection in self._theirs[node]:
            # Who has waited from the start has not backed off yet.
            is_new = self._timeline.now == 0.0
            self._dial(connection, 0.0 if is_new else self._backoff_s())
        return endpoint

    def crash(self, node: str) -> None:
        """A process is gone. What it sent before still arrives; its callers hear of it, unless they
        hear nothing of it at all."""
        for connection in self._own[node]:
            session = connection.session
            if session is not None:
                self._close(session.back)
                self._empty(session.forward)
                self._forget_route(session)
            self._end(connection)
            connection.outbox = Outbox()
        for connection in self._theirs[node]:
            session = connection.session
            if session is not None:
                self._forget_route(session)
                self._close(session.forward)
                if self._is_parted(connection.caller, node):
                    self._listen(connection)
                else:
                    self._timeline.at(session.back.last_s, partial(self._down, connection, session))
        for connection in list(self._own[node]):
            if (node, connection.callee) not in self._first:
                self.disconnect(node, connection.callee)

    def suspend(self, node: str) -> None:
        """A process stands still; whoever waits for it long enough gives the connection up."""
        for connection in self._touching(node):
            self._listen(connection)

    def resume(self, node: str) -> None:
        """It goes on, and finds what has come meanwhile."""
        for connection in self._touching(node):
            self._reach(connection)

    def part(self, side: frozenset[str]) -> None:
        """These nodes and the others hear nothing of each other from now on."""
        self._parted.append(side)
        for connection in self._connections.values():
            if (connection.caller in side) != (connection.callee in side):
                self._listen(connection)

    def heal(self, side: frozenset[str]) -> None:
        """They do again."""
        self._parted.remove(side)
        for connection in list(self._connections.values()):  # what arrives may make others
            if (connection.caller in side) != (connection.callee in side):
                self._reach(connection)

    def is_busy(self, caller: str, callee: str) -> bool:
        """Whether anything is on its way over a connection, if there is one, or waits for it."""
        connection = self._connections.get((caller, callee))
        if connection is None:
            return False
        session = connection.session
        flying = session is not None and (session.forward.in_flight or session.back.in_flight)
        return bool(flying or connection.outbox.has_items)

    def backlog(self, caller: str, callee: str) -> Backlog:
        """What waits for a connection, and what is on its way."""
        connection = self._connections[caller, callee]
        session, items = connection.session, connection.outbox.items
        vectors = sum(isinstance(item, QueuedVector) for item in items)
        lanes = (session.forward, session.back) if session is not None else ()
        return Backlog(
            messages=len(items) - vectors + len(connection.outbox.talk),
            vectors=vectors,
            in_flight=max((lane.in_flight for lane in lanes), default=0),
        )

    def spoiled_s(self, caller: str, callee: str) -> float:
        """When something on a connection was last lost or changed; negative: never."""
        return self._connections[caller, callee].spoiled_s

    def _touching(self, node: str) -> Iterable[Connection]:
        return (*self._own[node], *self._theirs[node])

    def _is_parted(self, node: str, other: str) -> bool:
        return any((node in side) != (other in side) for side in self._parted)

    def _passes(self, sender: str, receiver: str) -> bool:
        """Whether what is on its way from one to the other is taken there."""
        return not self._ends.is_suspended(receiver) and not self._is_parted(sender, receiver)

    def _hears(self, caller: str, callee: str) -> bool:
        """Whether both ends of a connection hear each other."""
        return self._passes(caller, callee) and self._passes(callee, caller)

    # -- connections -------------------------------------------------------------------------------

    def connect(self, caller: str, callee: str) -> None:
        """A node wants a connection that it may not have had before."""
        connection = self._connections.get((caller, callee))
        if connection is None:
            connection = self._connections[caller, callee] = Connection(caller, callee)
        self.disconnect(caller, callee)
        if connection not in self._own[caller]:
            self._own[caller].append(connection)
            self._theirs[callee].append(connection)
        self._dial(connection, 0.0)

    def disconnect(self, caller: str, callee: str) -> None:
        """A node wants a connection no more; what it has sent still arrives."""
        connection = self._connections[caller, callee]
        session = connection.session
        if session is not None:
            self._close(session.back)
            self._timeline.at(session.forward.last_s, partial(self._forget_route, session))
        self._end(connection)
        connection.outbox = Outbox()
        if connection in self._own[caller]:
            self._own[caller].remove(connection)
            self._theirs[callee].remove(connection)

    def _backoff_s(self) -> float:
        return float(self._rng.uniform(0.0, RECONNECT_MAX_S))

    def _dial(self, connection: Connection, delay_s: float) -> None:
        if connection.session is None and connection.dialling is None:
            connection.dialling = self._timeline.after(delay_s, partial(self._try, connection))

    def _try(self, connection: Connection) -> None:
        """An attempt, if it can succeed; whoever comes back has others try again."""
        connection.dialling = None
        caller, callee = connection.caller, connection.callee
        both_up = self._ends.is_up(caller) and self._ends.is_up(callee)
        if connection.session is not None or not both_up or not self._hears(caller, callee):
            return
        passages = self._links.passage(caller, callee, HELLO_BYTES, self._timeline.now, vector=None)
        if not passages:
            self._lose(None)
            self._dial(connection, self._backoff_s())
            return
        connection.dialling = self._timeline.at(
            passages[0].at_s, partial(self._connect, connection)
        )

    def _connect(self, connection: Connection) -> None:
        connection.dialling = None
        caller, callee = connection.caller, connection.callee
        if not (self._ends.is_up(caller) and self._ends.is_up(callee)):
            return
        if not self._hears(caller, callee):
            return
        connection.sessions += 1
        route = f"{caller}>{callee}#{connection.sessions}".encode()
        session = Session(caller, callee, route)
        session.forward.last_s = session.back.last_s = self._timeline.now
        connection.session = self._routes[route] = session
        self._ends.tell(caller, ev.LinkUp(peer=callee))
        self._pump(connection)

    def _listen(self, connection: Connection) -> None:
        """Nothing is heard over a connection that stands: it has so long to live."""
        session = connection.session
        if session is not None and connection.silence is None:
            connection.silence = self._timeline.after(
                SILENCE_S, partial(self._cut, connection, session)
            )

    def _reach(self, connection: Connection) -> None:
        """Something is heard again, perhaps: what was stuck arrives, who was cut off dials."""
        session = connection.session
        for lane in (session.forward, session.back) if session is not None else ():
            if self._passes(*lane.ends):
                stuck, lane.stuck = lane.stuck, []
                for passage in stuck:  # now: what is due at this very instant was sent after them
                    self._arrive(passage)
        if not self._hears(connection.caller, connection.callee):
            return
        if connection.silence is not None:
            connection.silence.call_off()
            connection.silence = None
        if session is None:
            self._dial(connection, self._backoff_s())
        elif not session.forward.is_open:  # the callee has gone where nobody heard of it
            self._down(connection, session)

    def _cut(self, connection: Connection, session: Session) -> None:
        connection.silence = None
        if connection.session is session:
            self._close(session.forward)
            self._forget_route(session)
            self._down(connection, session)

    def _down(self, connection: Connection, session: Session) -> None:
        """The caller learns that a session is over."""
        if connection.session is not session:
            return
        self._close(session.back)
        self._end(connection)
        self._ends.tell(connection.caller, ev.LinkDown(peer=connection.callee))
        self._dial(connection, self._backoff_s())

    def _end(self, connection: Connection) -> None:
        connection.session = None
        connection.spoiled_s = self._timeline.now
        for due in (connection.dialling, connection.silence, connection.resuming):
            if due is not None:
                due.call_off()
        connection.dialling = connection.silence = connection.resuming = None

    def _close(self, lane: Lane) -> None:
        """Nothing arrives there any more."""
        lane.is_open = False
        self._empty(lane)

    def _empty(self, lane: Lane) -> None:
        """What has arrived where nobody takes it is gone."""
        self.messages_lost += len(lane.stuck)
        lane.stuck.clear()

    def _forget_route(self, session: Session) -> None:
        self._routes.pop(session.route, None)

    # -- messages ----------------------------------------------------------------------------------

    def send(self, caller: str, callee: str, message: Message) -> None:
        """Queues a message on a node's own connection."""
        connection = self._connections[caller, callee]
        post(message, connection.outbox, self._tallies[caller])
        self._pump(connection)

    def send_vector(self, caller: str, callee: str, vector: QueuedVector) -> str | None:
        """Queues a vector; the exchange id of the one whose place it took, if any."""
        connection = self._connections[caller, callee]
        replaced = connection.outbox.push_vector(vector)
        self._pump(connection)
        return replaced

    def credit(self, caller: str, callee: str, answer: Credit | VectorAck) -> None:
        """The callee says that a chunk or a whole vector has come."""
        connection = self._connections.get((caller, callee))
        if connection is not None:
            connection.outbox.credit(answer, self._timeline.now)
            self._pump(connection)

    def reply(self, callee: str, route: bytes, frames: Frames) -> bool:
        """Answers a caller; `False` if it is gone, or does not read."""
        session = self._routes.get(route)
        if session is None or session.callee != callee or not self._has_room(session.back):
            self._lose(session)
            return False
        self._put(session, session.back, frames)
        return True

    def forget(self, caller: str, callee: str) -> None:
        """Empties a queue whose connection is gone."""
        self._connections[caller, callee].outbox = Outbox()

    def _has_room(self, lane: Lane) -> bool:
        return lane.in_flight < HIGH_WATER_MARK

    def _pump(self, connection: Connection) -> None:
        session = connection.session
        while session is not None and self._has_room(session.forward):
            lane = session.forward
            if lane.copies:
                self._launch(session, lane, *lane.copies.popleft(), is_chunk=True)
                continue
            frames = connection.outbox.next(self._timeline.now)
            if frames is None:
                self._await_credit(connection)
                return
            vector = connection.outbox.under_way
            if vector is None:
                self._put(session, lane, frames)
            else:
                connection.begins(vector)
                self._put_chunk(session, str(connection.begun), frames)

    def _await_credit(self, connection: Connection) -> None:
        """A vector that gets no credit goes on without it some time."""
        resumes_s = connection.outbox.resumes_s
        if resumes_s is not None and connection.resuming is None:
            resume = partial(self._resume_vector, connection)
            connection.resuming = self._timeline.at(resumes_s, resume)

    def _resume_vector(self, connection: Connection) -> None:
        connection.resuming = None
        self._pump(connection)

    def _put(self, session: Session, lane: Lane, frames: Frames) -> None:
        """Hands a message to the links: it arrives once, twice, or never."""
        for delivery in self._passages(session, lane, frames, None):
            self._launch(session, lane, frames, delivery)

    def _put_chunk(self, session: Session, vector: str, frames: Frames) -> None:
        """Hands a piece of a vector to the links, which do to all its pieces the same."""
        lane = session.forward
        if vector != lane.vector:
            lane.vector, lane.vector_s = vector, 0.0
            lane.doubled.clear()
        deliveries = self._passages(session, lane, frames, vector)
        if not deliveries:
            return
        first, *again = deliveries
        self._launch(session, lane, frames, first, is_chunk=True)
        lane.doubled += [Copy(frames, delivery) for delivery in again]
        if again and _is_last(frames):
            lane.copies.extend(lane.doubled)
            lane.doubled.clear()

    def _passages(
        self, session: Session, lane: Lane, frames: Frames, vector: str | None
    ) -> list[Delivery]:
        size = sum(len(frame) for frame in frames)
        found = self._links.passage(*lane.ends, size, self._timeline.now, vector=vector)
        if not found:
            self._lose(session)
        return found

    def _launch(
        self,
        session: Session,
        lane: Lane,
        frames: Frames,
        delivery: Delivery,
        *,
        is_chunk: bool = False,
    ) -> None:
        """A message is on its way."""
        at_s = delivery.at_s
        if is_chunk:
            at_s = max(at_s, lane.vector_s)
        if not delivery.overtakes:
            lane.last_s = at_s = max(at_s, lane.last_s)
        if is_chunk:
            lane.vector_s = at_s
        sent = self._corrupted(frames, session) if delivery.corrupted else frames
        lane.in_flight += 1
        self._timeline.at(at_s, partial(self._arrive, Passage(session, lane, sent)))

    def _arrive(self, passage: Passage) -> None:
        session, lane = passage.session, passage.lane
        connection = self._connections[session.caller, session.callee]
        passes = self._passes(*lane.ends)
        if lane.is_open and not passes and connection.session is session:
            lane.stuck.append(passage)
            return
        lane.in_flight -= 1
        if not (lane.is_open and passes):
            self._lose(session)
            return
        self._deliver(passage)
        if connection.session is session:
            self._pump(connection)

    def _deliver(self, passage: Passage) -> None:
        session = passage.session
        if passage.lane is session.forward:
            tallies = self._tallies[session.callee]
            self._ends.tell(session.callee, received(session.route, passage.frames, tallies))
        else:
            tallies = self._tallies[session.caller]
            self._ends.tell(session.caller, answered(session.callee, passage.frames, tallies))

    def _lose(self, session: Session | None) -> None:
        self.messages_lost += 1
        if session is not None:
            self._spoil(session)

    def _spoil(self, session: Session) -> None:
        self._connections[session.caller, session.callee].spoiled_s = self._timeline.now

    def _corrupted(self, frames: Frames, session: Session) -> Frames:
        """With one bit changed."""
        self._spoil(session)
        sizes = [len(frame) for frame in frames]
        bit = int(self._rng.integers(8 * sum(sizes)))
        changed = []
        for frame in frames:
            if 0 <= bit < 8 * len(frame):
                copy = bytearray(frame)
                copy[bit // 8] ^= 1 << bit % 8
                frame = bytes(copy)
            bit -= 8 * len(frame)
            changed.append(frame)
        return changed


def _is_last(frames: Frames) -> bool:
    """Whether a vector is whole with this chunk."""
    message, _ = decode(frames)
    return isinstance(message, Chunk) and message.is_last


class Endpoint:
    """What one process has of the network, from its start to its end.

    Args:
        network: all connections.
        node: whose they are.
    """

    def __init__(self, network: Network, node: str) -> None:
        self._network, self._node = network, node
        self.tallies = Tallies()
        """What was sent and received."""

    def send(self, peer: str, message: Message) -> None:
        """Sends over our own connection, behind everything that waits there; but what members say
        of each other goes ahead of it."""
        self._network.send(self._node, peer, message)

    def dial(self, peer: str, address: str) -> None:
        """Connects to a peer, in the place of an earlier connection to it if there is one."""
        del address  # there is one node of that name
        self._network.connect(self._node, peer)

    def hang_up(self, peer: str) -> None:
        """Closes our connection to a peer."""
        self._network.disconnect(self._node, peer)

    def send_vector(self, order: do.SendVector, data: bytes, chunk_bytes: int) -> str | None:
        """Sends a vector in chunks; the exchange id of the one whose place it took, if any."""
        vector = queued(order, data, chunk_bytes, self.tallies)
        return self._network.send_vector(self._node, order.peer, vector)

    def reply(self, route: bytes, message: Message) -> None:
        """Answers a caller, if it is still there and reads."""
        frames = encode(message)
        if self._network.reply(self._node, route, frames):
            self.tallies.sent(message, frames)

    def credit(self, peer: str, answer: Credit | VectorAck) -> None:
        """A peer says that a chunk or a whole vector has come: more may be sent there."""
        self._network.credit(self._node, peer, answer)

    def forget(self, peer: str) -> None:
        """Empties what waits for a peer whose connection broke."""
        self._network.forget(self._node, peer)
