"""The loop of a daemon: sockets, timers and the training thread around one machine.

One thread runs it, and only that thread touches the sockets and the machine. Whatever happens
becomes an event; whatever the machine says is done at once, in order.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from p2pgan.daemon import control
from p2pgan.daemon.jobs import Job, JobDone
from p2pgan.daemon.trainer import Trainer
from p2pgan.daemon.transport import ControlRequest, Transport
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.machine import Machine
from p2pgan.types import Net

POLL_MAX_S: Final = 1.0
"""The loop looks up at least so often; signals and the trainer wake it earlier."""


Recorder = Callable[[do.Record], None]
"""Where the machine's records go."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a node's loop ended."""

    reason: str
    failure: str = ""
    hint: str = ""
    error: BaseException | None = None
    """What the work raised, if that was the failure."""


class NodeLoop:
    """Runs one machine until it says `Close`.

    Args:
        machine: decides.
        transport: the sockets.
        trainer: the networks and their thread.
        record: takes every record of the machine; it must be on its way to the disk when it
            returns, since acknowledgments follow.
        chunk_bytes: size of a vector's chunks.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        machine: Machine,
        transport: Transport,
        trainer: Trainer,
        record: Recorder,
        *,
        chunk_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._machine, self._transport, self._trainer = machine, transport, trainer
        self._record, self._chunk_bytes, self._clock = record, chunk_bytes, clock
        self._seal: Callable[[bytes], bytes] = lambda state: state
        self._begun_s = clock()
        self._pid = 0
        self._timers: dict[str, float] = {}
        self._events: deque[ev.Event] = deque()
        self._wishes: deque[ev.Event] = deque()
        self._snapshot: Mapping[Net, bytes] = {}
        self._error: BaseException | None = None
        self._ended: Ended | None = None

    def provide(self, snapshot: Mapping[Net, bytes], seal: Callable[[bytes], bytes]) -> None:
        """Takes what a coordinator has beside its machine and its work.

        Args:
            snapshot: what is sent as long as no work has made anything else.
            seal: adds to a state that is saved what the machine cannot know of.
        """
        self._snapshot, self._seal = snapshot, seal

    def wish(self, event: ev.StopRequested | ev.Abort) -> None:
        """Takes a wish to stop. May be called from a signal handler or another thread."""
        self._wishes.append(event)
        self._transport.wake()

    def run(self, pid: int) -> Ended:
        """Runs until the machine closes."""
        self._pid = pid
        self._events.append(
            ev.Started(pid=pid, address=self._transport.address, control=self._transport.control)
        )
        self._work_off()
        while self._ended is None:
            self._events.extend(self._poll())
            for done in self._trainer.outcomes():
                self._take_outcome(done)
            self._fire_timers()
            while self._wishes:
                self._events.append(self._wishes.popleft())
            self._work_off()
        return self._ended

    def _poll(self) -> list[ev.Event]:
        due = [at_s - self._clock() for at_s in self._timers.values()]
        events = []
        for found in self._transport.poll(min([POLL_MAX_S, *due])):
            if isinstance(found, ControlRequest):
                self._transport.answer_control(self._answer(found))
            else:
                events.append(found)
        return events

    def _take_outcome(self, done: JobDone) -> None:
        self._snapshot = done.snapshot or self._snapshot
        self._error = self._error or done.error
        self._events.append(done.event)

    def _fire_timers(self) -> None:
        now = self._clock()
        for name in [name for name, at_s in self._timers.items() if at_s <= now]:
            del self._timers[name]
            self._events.append(ev.TimerFired(name=name))

    def _work_off(self) -> None:
        """Feeds the machine all events, and those that its instructions give rise to."""
        while self._events and self._ended is None:
            event = self._events.popleft()
            if isinstance(event, ev.LinkDown):
                # Before the machine hears of it: what it sends from then on is for the next link.
                self._transport.forget(event.peer)
            for instruction in self._machine.handle(event, self._clock()):
                self._obey(instruction)

    def _obey(self, instruction: do.Instruction) -> None:
        match instruction:
            case do.Record():
                self._write(instruction)
            case do.Send():
                self._transport.send(instruction.peer, instruction.message)
            case do.Reply():
                self._transport.reply(instruction.route, instruction.message)
            case do.SendVector():
                self._send_vector(instruction)
            case do.Save():
                # Sealed now: by the time that it is saved, more may have been drawn.
                self._trainer.give(do.Save(state=self._seal(instruction.state)))
            case do.StopTraining():
                self._trainer.stop_training()
            case do.SetTimer():
                self._timers[instruction.name] = instruction.at_s
            case do.CancelTimer():
                self._timers.pop(instruction.name, None)
            case do.Close():
                self._ended = Ended(
                    reason=instruction.reason,
                    failure=instruction.failure,
                    hint=instruction.hint,
                    error=self._error,
                )
            case _ if isinstance(instruction, Job):
                self._trainer.give(instruction)
            case _:
                raise AssertionError(f"an instruction without an arm: {instruction}")

    def _write(self, record: do.Record) -> None:
        """Hands a record on, and what was sent and received, if anything was: after every round,
        and before the node's last word."""
        if record.kind == "node_stopped":
            self._write_traffic(record.fields["rounds"], record.clock)
        self._record(record)
        if record.kind == "round_finished":
            self._write_traffic(record.fields["round"], record.clock)

    def _write_traffic(self, round_: int, clock: int) -> None:
        sent, received = self._transport.tallies.take()
        if sent or received:
            fields = {"round": round_, "sent": sent, "received": received}
            self._record(do.Record(kind="traffic", fields=fields, clock=clock))

    def _send_vector(self, order: do.SendVector) -> None:
        data = order.data or b"".join(self._snapshot[net] for net in order.nets)
        replaced = self._transport.send_vector(order, data, self._chunk_bytes)
        if replaced is not None:
            self._events.append(ev.VectorReplaced(peer=order.peer, exchange=replaced))

    def _answer(self, request: ControlRequest) -> bytes:
        question = control.decode_request(request.body)
        statistics = self._machine.statistics()
        match question:
            case control.StatusRequest():
                uptime_s = self._clock() - self._begun_s
                return control.encode(
                    control.status_answer(
                        statistics,
                        pid=self._pid,
                        address=self._transport.address,
                        uptime_s=uptime_s,
                    )
                )
            case control.PeersRequest():
                return control.encode(control.peers_answer(statistics))
            case control.StopRequest():
                self._wishes.append(ev.StopRequested(reason="stopped"))
                return control.encode(control.StopAnswer(node=statistics.node))
            case control.Refused():
                return control.encode(question)
