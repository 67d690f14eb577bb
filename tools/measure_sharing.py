"""How standalone, centralised, gossip, gossip-ind and FL-GAN compare: one table of FID.

    .venv/bin/python tools/measure_sharing.py --nodes 10 --nodes 50 --out runs/sharing

Digits, `mlp-digits`, 3,000 iterations, an exchange every 20, batch 16, Adam 1e-3 (0.5, 0.999), the
complete overlay; FID on 500 samples, mean over nodes, median over seeds. Runs that are finished are
not run again.
"""

import json
import os
import statistics
from pathlib import Path
from typing import Annotated, Any

import typer

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

ALGORITHMS = ("standalone", "gossip", "gossip-ind", "fl-gan", "centralised")


def measure(
    nodes: Annotated[list[int], typer.Option(help="Sizes of the overlay.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")],
    seeds: Annotated[int, typer.Option(help="Seeds 0 … S - 1.")] = 3,
    algorithm: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    partition: Annotated[str, typer.Option(help="How the data are cut.")] = "iid",
    iterations: Annotated[int, typer.Option(help="Of each node.")] = 3000,
) -> None:
    """Runs the grid and prints the table."""
    for size in nodes:
        for name in algorithm or ALGORITHMS:
            rows = [
                _run(
                    out / f"{name}-{partition.replace(':', '-')}-n{size}-s{seed}",
                    name,
                    size,
                    seed,
                    partition,
                    iterations,
                )
                for seed in range(seeds)
            ]
            fids = [row["scores"]["fid"]["mean"] for row in rows]
            ms = [row["scores"]["ms"]["mean"] for row in rows]
            speed = [row["speed"]["node_iterations_per_s"] for row in rows]
            print(
                f"n={size:<3} {name:<12} FID {statistics.median(fids):7.1f} "
                f"({min(fids):.1f} to {max(fids):.1f})  MS {statistics.median(ms):5.2f}  "
                f"{statistics.median(speed):6.0f} node-iterations/s",
                flush=True,
            )


def _run(
    folder: Path, algorithm: str, nodes: int, seed: int, partition: str, iterations: int
) -> dict[str, Any]:
    from p2pgan.config import RunConfig
    from p2pgan.sim.run import simulate

    summary = folder / "summary.json"
    if not summary.is_file():
        config = RunConfig(
            algorithm=algorithm, nodes=nodes, seed=seed, partition=partition, iterations=iterations
        )
        simulate(config, Path(), folder, lambda _: None)
    loaded: dict[str, Any] = json.loads(summary.read_text())
    return loaded


if __name__ == "__main__":
    typer.run(measure)
