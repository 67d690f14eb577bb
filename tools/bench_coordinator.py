"""How many global iterations a second a coordinator and its workers make, and where the time goes.

    python -m tools.bench_coordinator --nodes 20 --iterations 1000

Real processes and sockets on this machine, under the supervisor that `p2pgan up` uses. Every part
of a node's work is timed in its own process: `cpu` are microseconds that its thread computed for
one global iteration, `calls` how often.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2pgan.config import config_from
from p2pgan.daemon import children, node, supervisor, trainer, transport
from p2pgan.protocol.coordinator import CoordinatorMachine
from p2pgan.protocol.worker import WorkerMachine
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import RoundFinished
from p2pgan.record.writer import RecordWriter
from p2pgan.types import COORDINATOR

TIMERS = "timers.json"

Parts = dict[str, tuple[int, float]]
"""For each part of the work, calls and seconds that its thread computed."""

plain_child = children.run_child
"""What runs a node, before it is replaced."""


@dataclass
class Stopwatch:
    """Times functions of one process by replacing them."""

    parts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0, 0.0]))

    def watch(self, owner: Any, name: str, label: Callable[..., str]) -> None:
        """Replaces a function by one that does the same and is timed.

        Args:
            owner: module or class that it belongs to.
            name: of the function.
            label: what it counts as, from its arguments.
        """
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun_s = time.thread_time()
            try:
                return inner(*args, **kwargs)
            finally:
                part = self.parts[label(*args, **kwargs)]
                part[0] += 1
                part[1] += time.thread_time() - begun_s

        setattr(owner, name, timed)


def timed_child(post: children.Post) -> None:
    """A child of the supervisor that leaves its timers beside its log."""
    watch = Stopwatch()
    watch.watch(trainer, "perform", lambda work, job: f"work {type(job).__name__}")
    watch.watch(transport.Transport, "poll", lambda *_: "sockets: poll and receive")
    watch.watch(transport.Transport, "send_vector", lambda *_: "sockets: send vectors")
    watch.watch(transport.Transport, "send", lambda *_: "sockets: send messages")
    watch.watch(RecordWriter, "write", lambda *_, **__: "log")
    for machine in (CoordinatorMachine, WorkerMachine):
        watch.watch(machine, "handle", lambda *_: "machine")
    watch.watch(node.NodeLoop, "run", lambda *_: "loop thread, all of it")
    begun_s = time.process_time()
    try:
        plain_child(post)
    finally:
        parts: dict[str, Any] = {name: tuple(part) for name, part in watch.parts.items()}
        parts["process"] = (1, time.process_time() - begun_s)
        post.stderr.with_name(TIMERS).write_text(json.dumps(parts))


def speed(directory: RunDirectory) -> tuple[float, int]:
    """Global iterations a second between the coordinator's first round and its last, and how many
    iterations those are."""
    from p2pgan.record.reader import read

    rounds = [
        (record.time_s, record.body.iterations)
        for record in read(directory.node_events(COORDINATOR))
        if isinstance(record.body, RoundFinished)
    ]
    (first_s, first), (last_s, last) = rounds[0], rounds[-1]
    return (last - first) / (last_s - first_s), last


def timers(directory: RunDirectory, names: list[str]) -> Parts:
    """Mean over some nodes."""
    total: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for name in names:
        parts = json.loads(directory.node_events(name).with_name(TIMERS).read_text())
        for part, (calls, seconds) in parts.items():
            total[part][0] += calls / len(names)
            total[part][1] += seconds / len(names)
    return {part: (int(calls), seconds) for part, (calls, seconds) in total.items()}


def table(title: str, parts: Parts, iterations: int) -> str:
    """What each part of a node's work costs."""
    lines = [f"{title:<28} {'calls/iteration':>16} {'cpu us/iteration':>17}"]
    for part, (calls, seconds) in sorted(parts.items(), key=lambda item: -item[1][1]):
        lines.append(f"{part:<28} {calls / iterations:>16.2f} {seconds / iterations * 1e6:>17.0f}")
    return "\n".join(lines)


def run(settings: Mapping[str, Any], folder: Path) -> tuple[RunDirectory, dict[str, Any]]:
    """A run with timers."""
    config = config_from(settings, at="bench")
    children.run_child = timed_child
    done = supervisor.up(
        config, folder, folder / "run", on_progress=lambda progress: None, say=print
    )
    return done.directory, done.summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--algorithm", default="md-gan")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    told = parser.parse_args()
    settings: dict[str, Any] = {
        "algorithm": told.algorithm,
        "nodes": told.nodes,
        "iterations": told.iterations,
        "device": "cpu",
        "score": {"every": 0, "samples": 100},
    }
    for pair in told.set:
        key, _, value = pair.partition("=")
        table_, _, name = key.rpartition(".")
        (settings.setdefault(table_, {}) if table_ else settings)[name] = value
    with tempfile.TemporaryDirectory() as folder:
        directory, _ = run(settings, Path(folder))
        per_s, iterations = speed(directory)
        print(f"{per_s:.1f} global iterations/s, {told.nodes} workers, {os.cpu_count()} cores")
        print(table("coordinator", timers(directory, [COORDINATOR]), iterations))
        workers = [str(number) for number in range(told.nodes)]
        print(table("a worker (mean)", timers(directory, workers), iterations))


if __name__ == "__main__":
    main()
