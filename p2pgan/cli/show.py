"""What a run shows a person: progress on stderr while it goes, results on stdout at its end."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from p2pgan.inspect.text import count_text, printable
from p2pgan.record.rundir import RunDirectory, to_json
from p2pgan.runs import Run
from p2pgan.sim.lockstep import Lockstep


@contextmanager
def round_progress() -> Iterator[tuple[Callable[[Lockstep], None], Callable[[], None]]]:
    """A bar over the rounds of a simulation, if stderr is a terminal.

    Yields what is to be told after every round, and at an interrupt that waits for one.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[scores]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("preparing", total=None, scores="")

        def on_round(simulation: Lockstep) -> None:
            scores = simulation.scores
            text = ""
            if scores:
                fid = sum(score.fid for score in scores) / len(scores)
                ms = sum(score.ms for score in scores) / len(scores)
                text = f"FID {fid:.1f}  MS {ms:.2f}"
            done, rounds = simulation.round, simulation.experiment.rounds
            progress.update(
                task,
                description=f"round {done}/{rounds}",
                completed=done,
                total=rounds,
                scores=text,
            )

        def on_interrupt() -> None:
            console.print("Stopping after this round; Ctrl-C again stops at once.")

        yield on_round, on_interrupt


def print_results(
    directory: RunDirectory, summary: Mapping[str, Any], *, as_json: bool, with_pictures: bool
) -> None:
    """The summary on stdout, as one JSON document or for people; pictures drawn before."""
    drawn = Run.open(directory.path).draw_pictures() if with_pictures else []
    if as_json:
        sys.stdout.write(to_json(summary))
        return
    console = Console()
    for line in _settings_lines(summary):
        _print_line(console, line)
    console.print()
    if summary["scores"]:
        console.print(_scores_table(summary))
    else:
        _print_line(console, "not scored: the run ended before the first scores were due")
    console.print()
    for line in (*_cost_lines(summary), "", *(str(_shown(p)) for p in (*drawn, directory.summary))):
        _print_line(console, line)


def _print_line(console: Console, line: str) -> None:
    """Plainly: names and paths are neither taken for markup nor wrapped."""
    console.print(printable(line), soft_wrap=True, highlight=False, markup=False)


def _settings_lines(summary: Mapping[str, Any]) -> tuple[str, str]:
    nodes, rounds = count_text(summary["nodes"], "node"), count_text(summary["rounds"], "round")
    setting = (
        f"{summary['algorithm']} on {summary['dataset']} ({summary['partition']}), "
        f"{nodes}, overlay {summary['overlay']}, seed {summary['seed']}"
    )
    length = (
        f"{count_text(summary['iterations'], 'iteration')} in {rounds} of "
        f"{summary['exchange_every']}{', interrupted' if summary['interrupted'] else ''}"
    )
    return setting, length


def _scores_table(summary: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("", "mean", "std", "min", "max", "real data"):
        table.add_column(name, justify="right" if name else "left")
    for key, title in (("fid", "FID (lower is better)"), ("ms", "MS (higher is better)")):
        row = summary["scores"][key]
        figures = [row["mean"], row["std"], row["min"], row["max"], summary["real"][key]]
        table.add_row(title, *(f"{figure:.2f}" for figure in figures))
    return table


def _cost_lines(summary: Mapping[str, Any]) -> tuple[str, str]:
    traffic, speed, consensus = (summary[key] for key in ("traffic", "speed", "consensus"))
    distances = ", ".join(
        f"{net.upper()} {distance:.2f}"
        for net, distance in consensus.items()
        if distance is not None
    )
    sent = (
        f"{count_text(traffic['messages'], 'vector')} sent, "
        f"{traffic['bytes_total'] / 1e6:.1f} MB in all; "
        f"consensus distance {distances or 'not measured'}"
    )
    return sent, f"{speed['wall_s']:.1f} s, {speed['node_iterations_per_s']:.0f} node-iterations/s"


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
