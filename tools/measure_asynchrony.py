"""Quality against virtual time and bytes, of several algorithms under several conditions.

python -m tools.measure_asynchrony --out runs/asynchrony --nodes 100 --iterations 3000 --seed 0

Every run is one of `p2pgan simulate`; those that lie in the folder already are not played again. A
table (Markdown and CSV) and a figure are made of what is there.
"""

import csv
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from p2pgan.cli.paths import data_dir
from p2pgan.config import RunConfig, config_from, merge
from p2pgan.inspect.pictures import logarithmic
from p2pgan.record.rundir import RunDirectory, records_of
from p2pgan.record.schema import Consensus, Scores, VectorSent
from p2pgan.sim import run as lockstep
from p2pgan.sim.virtual import run as virtual

ITERATION_S: Final = 1.0
"""Of a machine of speed 1: a round of 20 iterations takes 20 virtual seconds."""

MEAN_SPEED: Final = 0.3 * 100 + 0.4 * 10 + 0.3 * 1
"""Of the thesis's three classes; runs last as long as all nodes together need for their
iterations."""

ALGORITHMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "lockstep": {"algorithm": "gossip"},
    "push": {"algorithm": "gossip"},
    "push-pull": {"algorithm": "ad-psgd"},
    "gosgd": {"algorithm": "gosgd", "exchange": {"probability": 0.5}},
    "push-sum": {"algorithm": "push-sum"},
    "staleness": {"algorithm": "gossip", "exchange": {"staleness": "polynomial:0.5"}},
    "standalone": {"algorithm": "standalone"},
}
"""By the names that tables have; all in virtual time but `lockstep`."""

CONDITIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "equal": {},
    "classes": {"speeds": "classes:0.3x100,0.4x10,0.3x1"},
    "churn": {"crash": 0.0004, "restart_s": 100.0, "sessions": "lognormal:400,0.5,40"},
    "extreme": {"preset": "extreme"},
}
"""Keys of `[virtual]`. Churn: the thesis's crashes, from which nodes return after five rounds, and
log-normal sessions of twenty rounds, then two away."""

LOCKSTEP_UNDER: Final = ("equal", "classes")
"""Where all can wait for all."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """The nodes at one time."""

    time_s: float
    fid: float
    """Mean over those that were looked at."""
    megabytes: float
    """Sent until then, by all."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One run."""

    algorithm: str
    condition: str
    seed: int
    points: Sequence[Point]
    final_fid: float
    bytes_total: int
    survivors: int


def config_of(algorithm: str, condition: str, base: Mapping[str, Any]) -> RunConfig:
    """The configuration of one run."""
    iterations = base["iterations"]
    keys = CONDITIONS[condition]
    duration_s = iterations * ITERATION_S
    if "speeds" in keys:
        duration_s /= MEAN_SPEED
    tables: dict[str, Any] = {
        "virtual": {"iteration_s": ITERATION_S, "duration_s": duration_s, **keys},
        "daemon": {"checkpoint_every": 1 if condition == "churn" else 0},
        "score": {"samples": 500},
        "device": "cpu",
    }
    if algorithm == "lockstep":  # all wait for the slowest machine, which has speed 1
        tables["iterations"] = int(duration_s / ITERATION_S)
    else:  # the time is up before anybody has made so many
        tables["iterations"] = 100 * iterations
    return config_from(merge(base, tables, ALGORITHMS[algorithm]), at="asynchrony")


def play(algorithm: str, condition: str, base: Mapping[str, Any], out: Path) -> Curve:
    """One run, played unless it lies there."""
    directory = RunDirectory(out / f"{condition}-{algorithm}-s{base['seed']}")
    if not directory.summary.is_file():
        config = config_of(algorithm, condition, base)
        if algorithm == "lockstep":
            lockstep.simulate(config, data_dir(), directory.path, lambda simulation: None)
        else:
            virtual.simulate(config, data_dir(), directory.path)
    return curve_of(directory, algorithm, condition, base["seed"])


def curve_of(directory: RunDirectory, algorithm: str, condition: str, seed: int) -> Curve:
    """What a run's log says."""
    points, scored, sent = [], [], 0
    slowest_s = 20 * ITERATION_S  # in lockstep a round lasts as long as the slowest machine needs
    for record in records_of(directory):
        match record.body:
            case VectorSent():
                sent += record.body.bytes
            case Scores() if record.body.fid is not None:
                scored.append(record.body.fid)
            case Consensus():
                is_lockstep = algorithm == "lockstep"
                time_s = record.body.round * slowest_s if is_lockstep else record.time_s
                fid = statistics.fmean(scored) if scored else math.nan
                points.append(Point(time_s=time_s, fid=fid, megabytes=sent / 1e6))
                scored = []
    summary = directory.read_summary()
    return Curve(
        algorithm=algorithm,
        condition=condition,
        seed=seed,
        points=points,
        final_fid=summary["scores"]["fid"]["mean"],
        bytes_total=summary["traffic"]["bytes_total"],
        survivors=summary.get("virtual", {}).get("survivors", summary["nodes"]),
    )


def rows(curves: Sequence[Curve]) -> Iterator[list[str]]:
    """A line for each condition and algorithm: medians over the seeds."""
    yield ["condition", "algorithm", "runs", "FID", "range", "GB sent", "nodes at the end"]
    for condition in CONDITIONS:
        for algorithm in ALGORITHMS:
            found = [c for c in curves if (c.condition, c.algorithm) == (condition, algorithm)]
            if found:
                fids = [curve.final_fid for curve in found]
                spread = f"{min(fids):.0f} to {max(fids):.0f}" if len(fids) > 1 else ""
                yield [
                    condition,
                    algorithm,
                    str(len(found)),
                    f"{statistics.median(fids):.1f}",
                    spread,
                    f"{statistics.median(c.bytes_total for c in found) / 1e9:.2f}",
                    f"{statistics.median(c.survivors for c in found):.0f}",
                ]


def write_table(curves: Sequence[Curve], out: Path) -> None:
    """`asynchrony.md` and `asynchrony.csv`, and each point of each curve in `points.csv`."""
    head, *body = rows(curves)
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body)]
    (out / "asynchrony.md").write_text("\n".join(lines) + "\n")
    with (out / "asynchrony.csv").open("w", newline="") as file:
        csv.writer(file).writerows([head, *body])
    with (out / "points.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["condition", "algorithm", "seed", "time_s", "fid", "megabytes"])
        for c in curves:
            writer.writerows(
                [c.condition, c.algorithm, c.seed, p.time_s, p.fid, p.megabytes] for p in c.points
            )


def draw(curves: Sequence[Curve], path: Path) -> None:
    """FID against virtual time above and against bytes below, a column for each condition."""
    from matplotlib.figure import Figure

    conditions = [c for c in CONDITIONS if any(curve.condition == c for curve in curves)]
    figure = Figure(figsize=(4 * len(conditions), 7), layout="constrained")
    axes = figure.subplots(2, len(conditions), squeeze=False, sharey=True)
    for column, condition in enumerate(conditions):
        for curve in (c for c in curves if c.condition == condition):
            color = f"C{list(ALGORITHMS).index(curve.algorithm)}"
            is_first = curve.seed == min(c.seed for c in curves)
            label = curve.algorithm if is_first else None
            fids = [p.fid for p in curve.points]
            for axis, xs in zip(
                axes[:, column],
                ([p.time_s for p in curve.points], [p.megabytes for p in curve.points]),
                strict=True,
            ):
                if max(xs, default=0) > 0:  # who sends nothing has no place on a scale of bytes
                    axis.plot(xs, fids, color=color, label=label, alpha=1.0 if is_first else 0.4)
        axes[0, column].set(title=condition, xlabel="virtual time, s", xlim=(0, None))
        axes[1, column].set(xlabel="MB sent by all")
        if axes[1, column].lines:
            logarithmic(axes[1, column], "x")
    for axis in axes[:, 0]:
        axis.set_ylabel("FID, mean over nodes")
        logarithmic(axis)
    axes[0, 0].legend(fontsize="small")
    figure.savefig(path, dpi=110)


def main(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the runs, tables and the figure.")],
    nodes: Annotated[int, typer.Option(help="Nodes.")] = 100,
    overlay: Annotated[str, typer.Option(help="A family.")] = "random-regular:8",
    iterations: Annotated[int, typer.Option(help="Of each node, where all are equal.")] = 3000,
    seed: Annotated[list[int] | None, typer.Option(help="Seeds.")] = None,
    algorithm: Annotated[list[str] | None, typer.Option(help="Algorithms.")] = None,
    condition: Annotated[list[str] | None, typer.Option(help="Conditions.")] = None,
) -> None:
    """Plays what is missing, and draws what is there."""
    out.mkdir(parents=True, exist_ok=True)
    curves = []
    for one_seed in seed or [0]:
        base = {
            "nodes": nodes,
            "overlay": overlay,
            "iterations": iterations,
            "seed": one_seed,
        }
        for one_condition in condition or CONDITIONS:
            for one in algorithm or ALGORITHMS:
                if one == "lockstep" and one_condition not in LOCKSTEP_UNDER:
                    continue
                curves.append(play(one, one_condition, base, out))
                write_table(curves, out)
                typer.echo(f"{one_condition} {one} seed {one_seed}: {curves[-1].final_fid:.1f}")
    draw(curves, out / "asynchrony.png")


if __name__ == "__main__":
    typer.run(main)
