"""Whether a peer behind a slow link slows down the others' training.

    python -m tools.measure_slow_peer --rate 100000

Real processes on this machine. Everything to and from the last node goes over links that pass so
many bytes a second (`tools.faulty_link`), in both directions of each of its connections. Told are
the others' median round with links that pass everything and with slow ones, by turns, the vectors
that came whole over these links, and the connections that were lost.
"""

import argparse
import math
import multiprocessing
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from p2pgan.config import RunConfig, config_from
from p2pgan.daemon.process import NodePlan, run_node
from p2pgan.daemon.transport import reserve_ports
from p2pgan.experiment import prepare
from p2pgan.overlay import files as overlay_files
from p2pgan.overlay.graph import Overlay
from p2pgan.record.reader import read
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import PeerLost, RoundFinished, VectorDropped, VectorReceived
from p2pgan.runs import begin
from tools.faulty_link import FaultyLinks, Link

STOP_S: Final = 60.0
"""For the end of a node that was told to stop: it waits for acknowledgments."""

FOR_EVER: Final = 10_000_000
"""Iterations; the nodes are stopped."""


START_S: Final = 10.0
"""Until all nodes train."""

SETTLE_S: Final = 3.0
"""Until what was queued before a change has come, or has given way."""


class Phases(NamedTuple):
    """By turns everything passes, and only so much does, so that what else the machine does falls
    on both alike."""

    rate: float
    """Bytes a second."""
    seconds: float
    repeats: int
    """Of each kind."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one phase."""

    round_s: float
    """Median over all rounds of the others."""
    came: int
    """Vectors that came whole at the slow node, or from it."""
    came_bytes: int
    superseded: int
    """Vectors that gave way to newer ones."""
    lost: int
    """Connections."""


def overlays(
    overlay: Overlay, slow: str, links: FaultyLinks
) -> tuple[dict[str, str], dict[str, Overlay], list[Link]]:
    """Real addresses, what each node is told of the others', and the links between."""
    held, ports = reserve_ports(len(overlay.nodes))
    real = {
        node: f"tcp://127.0.0.1:{port}" for node, port in zip(overlay.nodes, ports, strict=True)
    }
    for reserved in held:
        reserved.close()
    to_slow = links.to(real[slow])
    from_slow = {node: links.to(address) for node, address in real.items() if node != slow}
    told = {node: overlay.with_addresses(real | {slow: to_slow.address}) for node in from_slow}
    beyond = {node: link.address for node, link in from_slow.items()}
    told[slow] = overlay.with_addresses(real | beyond)
    return real, told, [to_slow, *from_slow.values()]


def start(plan: NodePlan) -> BaseProcess:
    """A node in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=node, args=(plan,))
    process.start()
    return process


def node(plan: NodePlan) -> None:
    """The process."""
    with plan.directory.joinpath(f"{plan.node}.out").open("w", buffering=1) as out:
        run_node(plan, lambda line: print(line, file=out))


def run(config: RunConfig, data_dir: Path, folder: Path, phases: Phases) -> list[Outcome]:
    """One run; its phases, by turns at full speed and slow."""
    experiment = prepare(config, data_dir)
    slow = experiment.overlay.nodes[-1]
    outcomes = []
    with FaultyLinks() as links:
        real, told, through = overlays(experiment.overlay, slow, links)
        directory = begin(experiment, folder / "run", experiment.overlay.with_addresses(real))
        processes = []
        for name, overlay in told.items():
            file = folder / f"overlay-{name}.json"
            overlay_files.write(overlay, file)
            plan = NodePlan(
                config=msgspec.structs.replace(config, overlay=str(file)),
                node=name,
                run=directory.path.name,
                directory=directory.path,
                data_dir=data_dir,
                overlay_file=file,
                address=real[name],
            )
            processes.append(start(plan))
        time.sleep(START_S)
        for number in range(2 * phases.repeats):
            for link in through:
                link.slow(phases.rate if number % 2 else math.inf)
            time.sleep(SETTLE_S)
            marks = {name: len(events(directory, name)) for name in told}
            time.sleep(phases.seconds)
            found = {name: events(directory, name)[marks[name] :] for name in told}
            outcomes.append(judged(found, slow))
            print(outcomes[-1], flush=True)
        for process in processes:
            os.kill(process.pid or 0, signal.SIGTERM)
        for process in processes:
            process.join(STOP_S)
    return outcomes


def events(directory: RunDirectory, name: str) -> list[Any]:
    """All records of a node so far."""
    path = directory.node_events(name)
    return list(read(path)) if path.exists() else []


def judged(found: Mapping[str, Sequence[Any]], slow: str) -> Outcome:
    """What the records say."""
    rounds_s: list[float] = []
    came: list[int] = []
    superseded = lost = 0
    for name, records in found.items():
        at_s = [record.time_s for record in records if isinstance(record.body, RoundFinished)]
        if name != slow:
            rounds_s += [after - before for before, after in pairwise(at_s)]
        for body in (record.body for record in records):
            match body:
                case VectorReceived() if slow in (name, body.peer):
                    came.append(body.bytes)
                case VectorDropped(reason="superseded"):
                    superseded += 1
                case PeerLost():
                    lost += 1
    return Outcome(
        round_s=statistics.median(rounds_s),
        came=len(came),
        came_bytes=sum(came),
        superseded=superseded,
        lost=lost,
    )


def main() -> None:
    """One run, and what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tools.measure_slow_peer")
    parser.add_argument("--nodes", type=int, default=4, help="all of them (default: 4)")
    parser.add_argument("--rate", type=float, default=100_000, help="bytes a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a phase (default: 20)")
    parser.add_argument("--phases", type=int, default=4, help="of each kind (default: 4)")
    parser.add_argument("--dataset", default="digits", help="as in a configuration")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="of the data sets")
    asked = parser.parse_args()
    config = config_from(
        {
            "nodes": asked.nodes,
            "overlay": "complete",
            "dataset": asked.dataset,
            "iterations": FOR_EVER,
            "exchange_every": 20,
            "device": "cpu",
            "score": {"every": 0, "samples": 100},
        },
        at="measure_slow_peer",
    )
    phases = Phases(asked.rate, asked.seconds, asked.phases)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(config, asked.data_dir, Path(folder), phases)
    pairs = zip(outcomes[::2], outcomes[1::2], strict=True)
    ratios = [slow.round_s / fast.round_s for fast, slow in pairs]
    print(
        f"the others' median round: {statistics.median(ratios):.2f} times "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
