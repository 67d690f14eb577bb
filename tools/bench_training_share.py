"""What exchanging costs a node's training: two daemons that exchange, against the same two alone.

    python -m tools.bench_training_share

Real processes on this machine, one thread of training each, under the supervisor that `p2pgan up`
uses. Iterations are counted from each node's first round to its last, by the clock and by the
processor time of the whole process. The clock is what users see, if nothing else runs here; the
processor time does not mind what does.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from p2pgan.config import config_from
from p2pgan.daemon import children, supervisor
from p2pgan.daemon.children import Post
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import Body, RoundFinished
from p2pgan.record.writer import RecordWriter

ROUNDS_JSON: Final = "rounds.json"

NODES: Final = 2

EXCHANGE_EVERY: Final = 20


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is trained."""

    name: str
    settings: Mapping[str, Any]
    iterations: int


WORKLOADS: Final = (
    Workload(name="digits MLP", settings={}, iterations=10_000),
    Workload(
        name="MNIST MLP",
        settings={"dataset": "mnist", "model": "mlp-mnist"},
        iterations=1_000,
    ),
)


class Speed(NamedTuple):
    """Iterations of a node, each second."""

    wall: float
    cpu: float


plain_child = children.run_child
"""What runs a node, before it is replaced."""


def timed_child(post: Post) -> None:
    """A child of the supervisor that leaves beside its log when its rounds were over."""
    rounds: list[tuple[int, float, float]] = []
    write = RecordWriter.write

    def timed(writer: RecordWriter, body: Body, *rest: Any, **named: Any) -> None:
        if isinstance(body, RoundFinished):
            rounds.append((body.iterations, time.monotonic(), time.process_time()))
        write(writer, body, *rest, **named)

    RecordWriter.write = timed  # type: ignore[assignment, method-assign]
    try:
        plain_child(post)
    finally:
        post.stderr.with_name(ROUNDS_JSON).write_text(json.dumps(rounds))


def speed(rounds: list[tuple[int, float, float]]) -> Speed:
    """From the first round to the last; what comes before is start-up."""
    (first, begun_s, begun_cpu_s), (last, ended_s, ended_cpu_s) = rounds[0], rounds[-1]
    made = last - first
    return Speed(made / (ended_s - begun_s), made / (ended_cpu_s - begun_cpu_s))


def run(workload: Workload, algorithm: str, data_dir: Path) -> Speed:
    """Mean over the nodes of a run."""
    settings = {
        "algorithm": algorithm,
        "nodes": NODES,
        "overlay": "complete",
        "iterations": workload.iterations,
        "exchange_every": EXCHANGE_EVERY,
        "device": "cpu",
        "score": {"every": 0, "samples": 100},
        **workload.settings,
    }
    children.run_child = timed_child
    with tempfile.TemporaryDirectory() as folder:
        done = supervisor.up(
            config_from(settings, at="bench"),
            data_dir,
            Path(folder) / "run",
            on_progress=lambda progress: None,
            say=print,
        )
        assert not done.failed, done.failed
        found = [speed(rounds_of(done.directory, str(node))) for node in range(NODES)]
    return Speed(*(statistics.mean(column) for column in zip(*found, strict=True)))


def rounds_of(directory: RunDirectory, node: str) -> list[tuple[int, float, float]]:
    """What a node has left beside its log."""
    path = directory.node_events(node).with_name(ROUNDS_JSON)
    return [(made, wall_s, cpu_s) for made, wall_s, cpu_s in json.loads(path.read_text())]


def main() -> None:
    """Takes turns, and tells the medians of the shares."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench_training_share")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions (default: 3)")
    parser.add_argument("--algorithm", default="gossip", help="that exchanges (default: gossip)")
    parser.add_argument("--only", default="", help="the workload of that name (default: all)")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the data sets")
    asked = parser.parse_args()
    for workload in WORKLOADS:
        if asked.only not in ("", workload.name):
            continue
        shares = []
        for _ in range(asked.repeat):
            alone = run(workload, "standalone", asked.data_dir)
            together = run(workload, asked.algorithm, asked.data_dir)
            shares.append(Speed(together.wall / alone.wall, together.cpu / alone.cpu))
            print(
                f"{workload.name}: alone {alone.wall:,.0f} iterations/s ({alone.cpu:,.0f} per "
                f"second of processor), exchanging {together.wall:,.0f} ({together.cpu:,.0f})"
            )
        wall, cpu = (statistics.median(column) for column in zip(*shares, strict=True))
        print(f"{workload.name}: share {wall:.3f} by the clock, {cpu:.3f} by processor time")


if __name__ == "__main__":
    main()
