"""What every shell does around one machine: feeds it, and carries out what it says, in order.

Daemons and the virtual-time simulator differ in who brings events and who carries messages, work
and timers; what becomes of an instruction is the same, and is here.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from p2pgan.errors import P2PGanError
from p2pgan.node.jobs import Job, JobDone
from p2pgan.node.tallies import Tallies
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.messages import Chunk, Credit, Message, Nets, VectorAck
from p2pgan.types import Net

REDIAL: Final = "redial"
"""The host's own timer; no machine hears of it."""

REDIAL_S: Final = 5.0
"""After that, who could not be dialled is tried again."""

Recorder = Callable[[do.Record], None]
"""Where the machine's records go."""


class Network(Protocol):
    """What carries messages to and from one node; a `Transport` is one."""

    @property
    def tallies(self) -> Tallies:
        """What was sent and received."""

    def send(self, peer: str, message: Message) -> None:
        """Sends over our own connection, behind everything that waits there; but what members say
        of each other goes ahead of it."""

    def send_vector(self, order: do.SendVector, data: bytes, chunk_bytes: int) -> str | None:
        """Sends a vector in chunks; the exchange id of the one whose place it took, if any."""

    def reply(self, route: bytes, message: Message) -> None:
        """Answers a caller, if it is still there and reads."""

    def credit(self, peer: str, answer: Credit | VectorAck) -> None:
        """A peer says that a chunk or a whole vector has come: more may be sent there."""

    def forget(self, peer: str) -> None:
        """Empties what waits for a peer whose connection broke, if there still is one."""

    def dial(self, peer: str, address: str) -> None:
        """Connects to a peer, in the place of an earlier connection to it if there is one."""

    def hang_up(self, peer: str) -> None:
        """Closes our connection to a peer."""


class Worker(Protocol):
    """Who does the work, one job after the other; a `Trainer` is one."""

    def give(self, job: Job) -> None:
        """Adds a job; what comes of it is given to `Host.take` some time later."""

    def stop_training(self) -> None:
        """Lets the running `Train` end as early as it can."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a host has around it."""

    network: Network
    worker: Worker
    timers: MutableMapping[str, float]
    """Names and times of the timers that are set; who fires one takes it out."""
    record: Recorder
    """Takes every record of the machine; it must be on its way to the disk when it returns, since
    acknowledgments follow."""
    clock: Callable[[], float]
    """Seconds on a clock that never goes back."""
    chunk_bytes: int
    """Size of a vector's chunks."""


class Kept(NamedTuple):
    """A vector that may be needed again, as it was sent."""

    order: do.SendVector
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a node ended."""

    reason: str
    failure: str = ""
    hint: str = ""
    error: BaseException | None = None
    """What the work raised, if that was the failure."""


class Machinery(Protocol):
    """What decides; a `Machine` is one."""

    def handle(self, event: ev.Event, now: float) -> list[do.Instruction]:
        """As `Machine.handle`."""


def carry(event: ev.Event, network: Network) -> None:
    """Does what an event means to whoever carries vectors, before any machine hears of it."""
    match event:
        case ev.Received(message=Chunk(asks=True) as chunk):
            came = Credit(clock=chunk.clock, exchange=chunk.exchange, bytes=chunk.end)
            network.reply(event.route, came)
        case ev.Answered(message=Credit() | VectorAck() as answer):
            network.credit(event.peer, answer)
        case ev.LinkDown():
            # What the machine sends from now on is for the next link.
            network.forget(event.peer)


class Host:
    """Runs one machine until it says `Close`.

    Args:
        machine: decides.
        around: what carries messages, work and timers.
    """

    def __init__(self, machine: Machinery, around: Surroundings) -> None:
        self._machine = machine
        self._around = around
        self._seal: Callable[[bytes], bytes] = lambda state: state
        self._events: deque[ev.Event] = deque()
        self._snapshot: Mapping[Net, bytes] = {}
        self._joined: dict[Nets, bytes] = {}
        """Networks of the snapshot as they are sent, to whomever they go."""
        self._kept: dict[str, Kept] = {}
        self._undialled: dict[str, str] = {}
        """Addresses of peers that could not be dialled."""
        self._refused: set[str] = set()
        """Peers that could not be dialled at some time."""
        self._error: BaseException | None = None
        """What the latest job raised; a save amid the run may have, and ends nothing."""
        self.ended: Ended | None = None
        """Once the machine has closed."""

    def provide(self, snapshot: Mapping[Net, bytes], seal: Callable[[bytes], bytes]) -> None:
        """Takes what a coordinator has beside its machine and its work.

        Args:
            snapshot: what is sent as long as no work has made anything else.
            seal: adds to a state that is saved what the machine cannot know of.
        """
        self._snapshot, self._seal = snapshot, seal
        self._joined.clear()

    @property
    def snapshot(self) -> Mapping[Net, bytes]:
        """The networks as they are sent now; empty where none is sent as it is."""
        return self._snapshot

    def complete(self, mix: do.Mix) -> do.Mix:
        """A mixture with all that it needs of what was kept."""
        return mix.with_kept({exchange: vector.data for exchange, vector in self._kept.items()})

    def take(self, done: JobDone) -> None:
        """What has come of a job: the networks as they are sent from now on, and an event."""
        if done.snapshot:
            self._snapshot = done.snapshot
            self._joined.clear()
        self._error = done.error
        self._events.append(done.event)

    def feed(self, events: Iterable[ev.Event] = ()) -> None:
        """Feeds the machine all events, and those that its instructions give rise to."""
        self._events.extend(events)
        while self._events and self.ended is None:
            event = self._events.popleft()
            if event == ev.TimerFired(name=REDIAL):
                self._redial()
                continue
            carry(event, self._around.network)
            for instruction in self._machine.handle(event, self._around.clock()):
                self._obey(instruction)

    def _obey(self, instruction: do.Instruction) -> None:
        around = self._around
        match instruction:
            case do.Record():
                self._write(instruction)
            case do.Send():
                around.network.send(instruction.peer, instruction.message)
            case do.Reply():
                around.network.reply(instruction.route, instruction.message)
            case do.SendVector() | do.Resend() | do.Forget():
                self._obey_about_vectors(instruction)
            case do.Dial():
                self._dial(instruction.peer, instruction.address)
            case do.HangUp():
                self._undialled.pop(instruction.peer, None)
                around.network.hang_up(instruction.peer)
            case do.Mix():
                around.worker.give(self.complete(instruction))
            case do.Save():
                # Sealed now: by the time that it is saved, more may have been drawn.
                around.worker.give(do.Save(state=self._seal(instruction.state)))
            case do.StopTraining():
                around.worker.stop_training()
            case do.SetTimer():
                around.timers[instruction.name] = instruction.at_s
            case do.CancelTimer():
                around.timers.pop(instruction.name, None)
            case do.Close():
                self.ended = Ended(
                    reason=instruction.reason,
                    failure=instruction.failure,
                    hint=instruction.hint,
                    error=self._error if instruction.failure else None,
                )
            case _ if isinstance(instruction, Job):
                around.worker.give(instruction)
            case _:
                raise AssertionError(f"an instruction without an arm: {instruction}")

    def _dial(self, peer: str, address: str) -> None:
        """Connects to a peer. An address that makes no sense, or a limit of this machine, ends
        nothing: until it can be dialled, the peer is missed like any other."""
        self._undialled.pop(peer, None)
        try:
            self._around.network.dial(peer, address)
        except P2PGanError:
            self._undialled[peer] = address
            self._around.timers.setdefault(REDIAL, self._around.clock() + REDIAL_S)
            if peer not in self._refused:
                self._refused.add(peer)
                fields = {"peer": peer, "reason": "no_connection", "by": "us"}
                self._write(do.Record(kind="peer_refused", fields=fields, clock=0))

    def _redial(self) -> None:
        """Tries all once more that could not be dialled."""
        for peer, address in list(self._undialled.items()):
            self._dial(peer, address)

    def _write(self, record: do.Record) -> None:
        """Hands a record on, and what was sent and received, if anything was: after every round,
        and before the node's last word."""
        if record.kind == "node_stopped":
            self._write_traffic(record.fields["rounds"], record.clock)
        self._around.record(record)
        if record.kind == "round_finished":
            self._write_traffic(record.fields["round"], record.clock)

    def _write_traffic(self, round_: int, clock: int) -> None:
        sent, received = self._around.network.tallies.take()
        if sent or received:
            fields = {"round": round_, "sent": sent, "received": received}
            self._around.record(do.Record(kind="traffic", fields=fields, clock=clock))

    def _obey_about_vectors(self, instruction: do.SendVector | do.Resend | do.Forget) -> None:
        match instruction:
            case do.SendVector():
                data = instruction.data or self._own(instruction.nets)
                if instruction.keep:
                    self._kept[instruction.exchange] = Kept(instruction, data)
                self._send_vector(instruction, data)
            case do.Resend():
                order, data = self._kept[instruction.exchange]
                self._send_vector(replace(order, clock=instruction.clock), data)
            case do.Forget():
                del self._kept[instruction.exchange]

    def _own(self, nets: Nets) -> bytes:
        """Our own networks, one after the other."""
        if nets not in self._joined:
            self._joined[nets] = b"".join(self._snapshot[net] for net in nets)
        return self._joined[nets]

    def _send_vector(self, order: do.SendVector, data: bytes) -> None:
        around = self._around
        replaced = around.network.send_vector(order, data, around.chunk_bytes)
        if replaced is not None:
            self._events.append(ev.VectorReplaced(peer=order.peer, exchange=replaced))
