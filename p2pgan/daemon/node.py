"""The loop of a daemon: sockets, timers and the training thread around one machine.

One thread runs it, and only that thread touches the sockets and the machine. Whatever happens
becomes an event; whatever the machine says is done at once, in order (`p2pgan.node.host`).
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from p2pgan.daemon import control
from p2pgan.daemon.trainer import Trainer
from p2pgan.daemon.transport import ControlRequest, Transport
from p2pgan.node.host import Ended, Host, Recorder, Surroundings
from p2pgan.protocol import events as ev
from p2pgan.protocol.machine import Machine
from p2pgan.types import Net

POLL_MAX_S: Final = 1.0
"""The loop looks up at least so often; signals and the trainer wake it earlier."""


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
            record=record,
            clock=clock,
            chunk_bytes=chunk_bytes,
        )
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

    def wish(self, event: ev.StopRequested | ev.Abort | ev.CheckpointRequested) -> None:
        """Takes somebody's wish. May be called from a signal handler or another thread."""
        self._wishes.append(event)
        self._transport.wake()

    def run(self, pid: int) -> Ended:
        """Runs until the machine closes."""
        self._pid = pid
        started = ev.Started(
            pid=pid, address=self._transport.address, control=self._transport.control
        )
        self._host.feed([started])
        while self._host.ended is None:
            found = self._poll()
            self._host.feed(found)
            for done in self._trainer.outcomes():
                self._host.take(done)
            self._host.feed(self._due())
            while self._wishes:
                self._host.feed([self._wishes.popleft()])
        return self._host.ended

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
            case control.StopRequest():
                self._wishes.append(ev.StopRequested(reason="stopped"))
                return control.encode(control.StopAnswer(node=statistics.node))
            case control.Refused():
                return control.encode(question)
