"""The loop of a daemon: sockets, timers and the training thread around one machine.

One thread runs it, and only that thread touches the sockets and the machine. Whatever happens
becomes an event; whatever the machine says is done at once, in order (`p2pgan.node.host`). About
once a second the loop looks whether the training thread still lives, and tells how the node is.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from p2pgan.daemon import control
from p2pgan.daemon.health import Health, Observed, Watcher, standing
from p2pgan.daemon.trainer import Trainer
from p2pgan.daemon.transport import ControlRequest, Transport
from p2pgan.node.host import Ended, Host, Recorder, Surroundings
from p2pgan.protocol import events as ev
from p2pgan.protocol.instructions import Record
from p2pgan.protocol.machine import Machine
from p2pgan.types import Net

POLL_MAX_S: Final = 1.0
"""The loop looks up at least so often; signals and the trainer wake it earlier."""


HEALTH_S: Final = 0.5
"""Health is told so often at the most, unless the node begins or ceases to take part."""


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
        self._transport, self._trainer, self._clock = transport, trainer, clock
        self._timers: dict[str, float] = {}
        around = Surroundings(
            network=transport,
            worker=trainer,
            timers=self._timers,
            record=self._write,
            clock=clock,
            chunk_bytes=chunk_bytes,
        )
        self._record, self._observed = record, Observed()
        self._watchers: list[Watcher] = []
        self._told: Health | None = None
        self._is_stalled = False
        self._machine, self._host = machine, Host(machine, around)
        self._begun_s = clock()
        self._pid = 0
        self._wishes: deque[ev.Event] = deque()
        self._records_lost: Callable[[], int] = lambda: 0

    def provide(self, snapshot: Mapping[Net, bytes], seal: Callable[[bytes], bytes]) -> None:
        """As `Host.provide`."""
        self._host.provide(snapshot, seal)

    def count_lost(self, records_lost: Callable[[], int]) -> None:
        """Takes what counts the records that could not be written, for status pages."""
        self._records_lost = records_lost

    def watch(self, watcher: Watcher) -> None:
        """Has somebody told how the node is, from now on until its end."""
        self._watchers.append(watcher)

    def wish(self, event: ev.Event) -> None:
        """Takes a wish, such as to stop. May be called from a signal handler or another thread."""
        self._wishes.append(event)
        self._transport.wake()

    def run(self, pid: int) -> Ended:
        """Runs until the machine closes."""
        self._pid = pid
        started = ev.Started(
            pid=pid, address=self._transport.address, control=self._transport.control
        )
        self._host.feed([started])
        self._tell()
        while self._host.ended is None:
            found = self._poll()
            self._host.feed(found)
            for done in self._trainer.outcomes():
                self._host.take(done)
            self._host.feed(self._due())
            while self._wishes:
                self._host.feed([self._wishes.popleft()])
            self._look_at_trainer()
            self._tell()
        return self._host.ended

    def _look_at_trainer(self) -> None:
        """Tells the machine when the training begins to hang, and when it goes on."""
        is_stalled = self._trainer.is_stalled()
        if is_stalled != self._is_stalled:
            self._is_stalled = is_stalled
            self._host.feed([ev.WorkStalled(is_stalled=is_stalled)])

    def _tell(self) -> None:
        """Tells all watchers how the node is, if that is news."""
        now, told = self._clock(), self._told
        if not self._watchers:
            return
        stands = standing(self._machine.phase.value)
        if told is not None and told.standing == stands and now < told.at_s + HEALTH_S:
            return
        statistics = self._machine.statistics()
        self._told = self._observed.health(statistics, now=now, begun_s=self._begun_s)
        for watcher in self._watchers:
            watcher(self._told)

    def _write(self, record: Record) -> None:
        self._observed.note(record, self._clock())
        self._record(record)

    def _poll(self) -> list[ev.Event]:
        due = [at_s - self._clock() for at_s in self._timers.values()]
        events = []
        for found in self._transport.poll(min([POLL_MAX_S, *due])):
            if isinstance(found, ControlRequest):
                self._transport.answer_control(self._answer(found))
            else:
                events.append(found)
        return events

    def _due(self) -> list[ev.Event]:
        """Timers that are over."""
        now = self._clock()
        due = [name for name, at_s in self._timers.items() if at_s <= now]
        for name in due:
            del self._timers[name]
        return [ev.TimerFired(name=name) for name in due]

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
                        records_lost=self._records_lost(),
                    )
                )
            case control.PeersRequest():
                return control.encode(control.peers_answer(statistics))
            case control.ScoresRequest():
                if question.now and (reason := self._take(ev.ScoresRequested())):
                    return control.encode(control.Declined(node=statistics.node, reason=reason))
                return control.encode(control.scores_answer(statistics))
            case control.Refused():
                return control.encode(question)
            case _:
                if reason := self._take(control.event_of(question)):
                    return control.encode(control.Declined(node=statistics.node, reason=reason))
                granted = control.Granted(node=statistics.node, phase=statistics.phase)
                return control.encode(granted)

    def _take(self, wish: ev.Event) -> str:
        """Takes a wish of the owner's, unless it is in vain; then why."""
        reason = "" if isinstance(wish, ev.StopRequested) else self._machine.objection(wish)
        if not reason:
            self._wishes.append(wish)
        return reason
