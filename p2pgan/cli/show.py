"""What a run shows a person: progress on stderr while it goes, results on stdout at its end."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from p2pgan.record.rundir import RunDirectory, to_json
from p2pgan.runs import Run
from p2pgan.sim.lockstep import Lockstep


@contextmanager
def round_progress() -> Iterator[Callable[[Lockstep], None]]:
    """A bar over the rounds of a simulation, if stderr is a terminal."""
    columns = (
        TextColumn("round {task.completed}/{task.total}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[scores]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("rounds", total=None, scores="")

        def on_round(simulation: Lockstep) -> None:
            scores = simulation.scores
            text = ""
            if scores:
                fid = sum(score.fid for score in scores) / len(scores)
                ms = sum(score.ms for score in scores) / len(scores)
                text = f"FID {fid:.1f}  MS {ms:.2f}"
            progress.update(
                task, completed=simulation.round, total=simulation.experiment.rounds, scores=text
            )

        yield on_round


def print_results(
    directory: RunDirectory, summary: Mapping[str, Any], *, as_json: bool, with_pictures: bool
) -> None:
    """The summary on stdout, as one JSON document or for people; pictures drawn before."""
    drawn = Run.open(directory.path).draw_pictures() if with_pictures else []
    if as_json:
        sys.stdout.write(to_json(summary))
        return
    console = Console()
    console.print(_headline(summary))
    console.print(_scores_table(summary))
    console.print(_traffic_line(summary), highlight=False)
    for path in (*drawn, directory.summary):
        # Written plainly, so that long paths are neither wrapped nor cut.
        console.print(f"  {_shown(path)}", soft_wrap=True, highlight=False, markup=False)


def _headline(summary: Mapping[str, Any]) -> str:
    ended = "  (interrupted)" if summary["interrupted"] else ""
    return (
        f"[bold]{summary['algorithm']}[/bold] on {summary['dataset']}, {summary['partition']}: "
        f"{summary['nodes']} nodes ({summary['overlay']}), {summary['iterations']} iterations, "
        f"{summary['rounds']} rounds, seed {summary['seed']}{ended}"
    )


def _scores_table(summary: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("", "mean", "std", "min", "max", "real data"):
        table.add_column(name, justify="right")
    for key, title in (("fid", "FID (lower is better)"), ("ms", "MS (higher is better)")):
        if key in summary["scores"]:
            row = summary["scores"][key]
            figures = [row["mean"], row["std"], row["min"], row["max"], summary["real"][key]]
            table.add_row(title, *(f"{figure:.2f}" for figure in figures))
    return table


def _traffic_line(summary: Mapping[str, Any]) -> str:
    traffic, speed, consensus = (summary[key] for key in ("traffic", "speed", "consensus"))
    distances = ", ".join(
        f"{net.upper()} {distance:.2f}"
        for net, distance in consensus.items()
        if distance is not None
    )
    return (
        f"{traffic['messages']} vectors, {traffic['bytes_total'] / 1e6:.1f} MB in all; "
        f"{speed['node_iterations_per_s']:.0f} node-iterations/s, {speed['wall_s']:.1f} s; "
        f"consensus distance {distances or 'not measured'}"
    )


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
