"""What an event costs in the machine of a peer: no sockets, no bytes on a wire, no work.

Run from anywhere: .venv/bin/python tools/bench_machine.py

Machines of a ring in which each has so many neighbors train, send, acknowledge and mix, all in this
process; only the time in `Machine.handle` counts. The figure is what a simulated node costs beside
its training.
"""

import statistics
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import split
from p2pgan.protocol.core import Settings
from p2pgan.protocol.links import Identity
from p2pgan.protocol.machine import Machine
from p2pgan.protocol.machines import machine_of

NODES: Final = 60
ROUNDS: Final = 200
REPETITIONS: Final = 5
NEIGHBORS: Final = (4, 50)

VECTOR_BYTES: Final = 64
"""Small, so that what is measured is not the digest."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one run."""

    events: int
    handle_s: float

    @property
    def event_us(self) -> float:
        """Microseconds per event."""
        return 1e6 * self.handle_s / self.events


class Ring:
    """Machines and one queue of all that happens, in order.

    Args:
        neighbors: of every machine, an even number below `NODES`.
    """

    def __init__(self, neighbors: int) -> None:
        names = [f"n{index}" for index in range(NODES)]
        offsets = [o for o in range(-neighbors // 2, neighbors // 2 + 1) if o]
        self._rng = np.random.default_rng(0)
        self.machines: dict[str, Machine] = {}
        for index, name in enumerate(names):
            around = tuple(names[(index + offset) % NODES] for offset in offsets)
            self.machines[name] = machine_of(self._settings(name, around))
        self._queue: deque[tuple[str, ev.Event]] = deque()
        for name, machine in self.machines.items():
            self._obey(name, machine.handle(ev.Started(), 0.0))
        for index, name in enumerate(names):
            for offset in offsets:
                self._queue.append((name, ev.LinkUp(peer=names[(index + offset) % NODES])))

    def _settings(self, name: str, neighbors: tuple[str, ...]) -> Settings:
        return Settings(
            identity=Identity(node=name, run="bench", architecture="same", boot=f"boot-of-{name}"),
            neighbors=neighbors,
            iterations=ROUNDS,
            exchange_every=1,
            groups=(("G", "D"),),
            net_bytes={"G": VECTOR_BYTES // 2, "D": VECTOR_BYTES // 2},
            draw=lambda ready: [ready[int(self._rng.integers(len(ready)))]],
        )

    def run(self) -> Cost:
        """Until all have closed."""
        events, handle_s = 0, 0.0
        while self._queue:
            name, event = self._queue.popleft()
            handle = self.machines[name].handle
            begun_s = time.perf_counter()
            instructions = handle(event, 0.0)
            handle_s += time.perf_counter() - begun_s
            events += 1
            self._obey(name, instructions)
        assert all(machine.phase.value == "closed" for machine in self.machines.values())
        return Cost(events=events, handle_s=handle_s)

    def _obey(self, name: str, instructions: Iterable[do.Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case do.Send():
                    event = ev.Received(route=name.encode(), message=instruction.message)
                    self._queue.append((instruction.peer, event))
                case do.Reply():
                    caller = instruction.route.decode()
                    self._queue.append(
                        (caller, ev.Answered(peer=name, message=instruction.message))
                    )
                case do.SendVector():
                    for chunk, payload in split(bytes(VECTOR_BYTES), instruction, chunk_bytes=1024):
                        event = ev.Received(route=name.encode(), message=chunk, payload=payload)
                        self._queue.append((instruction.peer, event))
                case do.Train():
                    self._queue.append((name, ev.TrainingDone(iterations=instruction.iterations)))
                case do.Mix():
                    weights = tuple((arrival.exchange, 0.5) for arrival in instruction.arrivals)
                    self._queue.append((name, ev.MixingDone(weights=weights)))
                case do.Score():
                    self._queue.append((name, ev.ScoringDone(samples=1)))
                case do.Save():
                    self._queue.append((name, ev.SavingDone(path="")))


def main() -> None:
    """Prints a line for each number of neighbors."""
    for neighbors in NEIGHBORS:
        costs = [Ring(neighbors).run() for _ in range(REPETITIONS)]
        median_us = statistics.median(cost.event_us for cost in costs)
        low_us, high_us = (f(cost.event_us for cost in costs) for f in (min, max))
        print(
            f"{neighbors:2d} neighbors: {median_us:5.1f} us per event "
            f"({low_us:.1f} to {high_us:.1f}; {costs[0].events} events)"
        )


if __name__ == "__main__":
    main()
