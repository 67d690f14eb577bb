"""Kills a daemon at every named point in saving, and at random moments; it has to go on each time.

    python -m tools.kill_saves --kills 100

Each life is a process of its own, forked so that it starts at once, and ends by SIGKILL. After each
there must be a checkpoint that can be read, at most one interval behind the log. At the end the run
must have computed what one computes that nobody has killed. Exit code 1: something was lost.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, NoReturn

import torch
import typer

from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.daemon.process import NodePlan, run_node
from p2pgan.daemons import DaemonConfig
from p2pgan.experiment import Experiment, prepare
from p2pgan.files import POINTS, Reached, unwatched
from p2pgan.node.kept import Resumption
from p2pgan.overlay import files as overlay_files
from p2pgan.record.reader import read
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import RoundFinished
from p2pgan.seeds import EVERYONE, stream

EVERY: Final = 10
"""Iterations between two checkpoints."""

LIFE_S: Final = 0.6
"""Longest life of a process that is killed at a random moment; it starts in a part of that."""

LONGEST_S: Final = 60.0
"""Of one that kills itself."""

LAST_S: Final = 0.5
"""Life of the last one, which is asked to stop."""

NODE: Final = "0"


class LostError(Exception):
    """What a killed daemon should have kept."""


def plan_of(folder: Path, iterations: int = 10**8) -> tuple[NodePlan, Experiment]:
    """A node that trains alone and saves after every round."""
    config = RunConfig(
        algorithm="standalone",
        nodes=2,
        iterations=iterations,
        exchange_every=EVERY,
        device="cpu",
        score=ScoreConfig(samples=20, every=0),
        daemon=DaemonConfig(checkpoint_every=1, wait_s=0.0),
    )
    experiment = prepare(config, folder)
    folder.mkdir(parents=True, exist_ok=True)
    overlay_file = folder / "overlay.json"
    overlay_files.write(experiment.overlay, overlay_file)
    plan = NodePlan(
        config=experiment.config,
        node=NODE,
        run="kills",
        directory=folder,
        data_dir=folder,
        overlay_file=overlay_file,
        address="tcp://127.0.0.1:*",
        resume=(folder / "nodes" / NODE / "events.jsonl").exists(),
    )
    return plan, experiment


def life(plan: NodePlan, experiment: Experiment, reached: Reached = unwatched) -> int:
    """Begins a process that runs the node; its id."""
    pid = os.fork()
    if not pid:
        _live(plan, experiment, reached)
    return pid


def _live(plan: NodePlan, experiment: Experiment, reached: Reached) -> NoReturn:
    status = 1
    try:
        status = run_node(plan, lambda line: None, experiment, reached)
    finally:
        os._exit(status)


def dying_at(point: str) -> Reached:
    """Ends the process when it reaches a point, as a kill does; in the second save, which finds a
    checkpoint of its own."""
    left = [2]

    def reached(now: str) -> None:
        left[0] -= now == point
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def lives(kills: int, seed: int) -> Iterator[tuple[str, Reached, float]]:
    """What ends each life: a point in saving, or a moment."""
    for point in POINTS:
        yield f"at `{point}`", dying_at(point), LONGEST_S
    rng = stream(seed, EVERYONE, "outages")
    for _ in range(kills):
        life_s = float(rng.uniform(0.0, LIFE_S))
        yield f"after {life_s:.3f} s", unwatched, life_s


def end(pid: int, life_s: float) -> None:
    """Kills a process after a while, unless it has ended before."""
    until_s = time.monotonic() + life_s
    while time.monotonic() < until_s:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def check(folder: Path, experiment: Experiment) -> int:
    """Iterations that the next life goes on from.

    Raises:
        LostError: if that is more than an interval behind the log.
    """
    directory = RunDirectory(folder)
    found = Resumption.newest(directory.checkpoint(NODE), experiment.model)
    saved = 0 if found is None else found.checkpoint.iterations
    log = directory.node_events(NODE)
    bodies = [record.body for record in read(log)] if log.exists() else []
    made = max((b.iterations for b in bodies if isinstance(b, RoundFinished)), default=0)
    if made - saved > EVERY:
        raise LostError(f"{made} iterations in the log, and {saved} in the checkpoint")
    return saved


def compare(folder: Path, iterations: int) -> None:
    """Computes the run again, without any kill.

    Raises:
        LostError: if that ends with other networks or optimisers.
    """
    plan, experiment = plan_of(folder / "whole", iterations)
    os.waitpid(life(plan, experiment), 0)
    paths = [RunDirectory(path).checkpoint(NODE) for path in (folder, folder / "whole")]
    one, other = (Resumption.read(path, experiment.model) for path in paths)
    assert one.checkpoint.iterations == iterations, "stopped elsewhere than it was asked to"
    tensors, others = ({**r.checkpoint.vectors, **r.checkpoint.kept} for r in (one, other))
    same = all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
    if not same or one.kept.memory != other.kept.memory:
        raise LostError("other networks or optimisers than those of a run without kills")


def run(folder: Path, kills: int, seed: int, say: Callable[[str], None]) -> int:
    """All lives, one after the other; how many there were.

    Raises:
        LostError: at the first thing that is.
    """
    count = 0
    for what, reached, life_s in lives(kills, seed):
        plan, experiment = plan_of(folder)
        end(life(plan, experiment, reached), life_s)
        say(f"killed {what}: goes on after {check(folder, experiment)} iterations")
        count += 1
    plan, experiment = plan_of(folder)
    pid = life(replace(plan, resume=True), experiment)
    time.sleep(LAST_S)
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    compare(folder, check(folder, experiment))
    return count


def main(
    kills: Annotated[int, typer.Option(help="At random moments.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Kills a daemon again and again while it saves."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        try:
            count = run(Path(folder), kills, seed, print)
        except LostError as lost:
            print(f"lost: {lost}")
            sys.exit(1)
    print(f"{count} kills; nothing was lost")


if __name__ == "__main__":
    typer.run(main)
