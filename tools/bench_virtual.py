"""How fast virtual time passes without training: events a second, and virtual seconds a second.

python -m tools.bench_virtual --nodes 1000 --seconds 600

Every machine's event counts: a message, a timer, finished work. Nothing is written. One core.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from p2pgan.config import RunConfig
from p2pgan.record.rundir import RunDirectory
from p2pgan.sim.virtual.run import Stage, physics_of
from p2pgan.sim.virtual.standin import stand_in
from p2pgan.virtual import VirtualConfig


def play(
    nodes: int, seconds: float, overlay: str, round_s: float, *, check: bool = True
) -> tuple[int, float]:
    """Events of a run, and the seconds that they took; start-up left out."""
    config = RunConfig(
        nodes=nodes,
        overlay=overlay,
        exchange_every=20,
        iterations=int(20 * seconds / round_s) + 20,  # nobody comes to its end
        virtual=VirtualConfig(
            train="none", iteration_s=round_s / 20, duration_s=seconds, score_every_s=0, check=check
        ),
    )
    design = stand_in(config)
    with tempfile.TemporaryDirectory() as folder:
        physics = physics_of(design, design.overlay)
        stage = Stage(
            design, design.overlay, physics, RunDirectory(Path(folder)), "bench", replay=""
        )
        begun_s = time.perf_counter()
        stage.world.run(seconds)
        return stage.world.events, time.perf_counter() - begun_s


def main(
    *,
    nodes: Annotated[int, typer.Option(help="Nodes.")] = 1000,
    seconds: Annotated[float, typer.Option(help="Virtual seconds.")] = 600.0,
    overlay: Annotated[str, typer.Option(help="A family.")] = "random-regular:4",
    round_s: Annotated[float, typer.Option(help="Virtual seconds of a round.")] = 20.0,
    check: Annotated[bool, typer.Option(help="With all checks after every event.")] = True,
    repeats: Annotated[int, typer.Option(help="Runs; the median counts.")] = 3,
) -> None:
    """Plays the same run several times."""
    runs = [play(nodes, seconds, overlay, round_s, check=check) for _ in range(repeats)]
    took_s = statistics.median(took_s for _, took_s in runs)
    told = {
        "nodes": nodes,
        "virtual_s": seconds,
        "events": runs[0][0],
        "events_per_s": round(runs[0][0] / took_s),
        "virtual_s_per_s": round(seconds / took_s, 1),
        "range_s": [round(min(s for _, s in runs), 2), round(max(s for _, s in runs), 2)],
    }
    typer.echo(msgspec.json.encode(told).decode())


if __name__ == "__main__":
    typer.run(main)
