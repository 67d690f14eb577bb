"""What a run shows a person: progress on stderr while it goes, results on stdout at its end."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from p2pgan.design import DISTANCE
from p2pgan.gan.scorer import RANDOM
from p2pgan.inspect.tables import quality_head
from p2pgan.inspect.text import bytes_text, count_text, printable
from p2pgan.record.rundir import RunDirectory, to_json
from p2pgan.runs import Run
from p2pgan.sim.simulation import Simulation

QUALITY_TITLES = {
    "fid": "FID (lower is better)",
    "ms": "MS (higher is better)",
    "precision": "precision",
    "recall": "recall",
    "classes": "classes seen",
    "class_kl": "class KL (lower is better)",
    "nearest": "nearest training image",
}
"""What people read for each figure of a quality."""


class RoundBar(Progress):
    """A bar over the rounds, and below it where the time went."""

    def __init__(self, console: Console, head: str = "") -> None:
        self._costs = ""  # looked at while the bar is made
        self._head = head
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),  # as wide as the rest leaves
            TextColumn("{task.fields[figures]}"),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self._rounds = self.add_task(f"{head}preparing, first round", total=None, figures="")

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        if self._costs:
            yield Text(self._costs, no_wrap=True, overflow="ellipsis")

    def show(self, simulation: Simulation) -> None:
        """How far the simulation is, how fast, how good, and when it will end."""
        done, experiment = simulation.round, simulation.experiment
        speed = simulation.iterations * experiment.round_nodes / max(simulation.busy_s, 1e-9)
        costs = asdict(simulation.costs)
        left_s = sum(costs.values()) / done * (experiment.rounds - done)
        figures = [f"{speed:,.0f} node-iterations/s", f"{timedelta(seconds=round(left_s))} left"]
        if scores := simulation.scores:
            fid = sum(score.fid for score in scores) / len(scores)
            ms = sum(score.ms for score in scores) / len(scores)
            figures.insert(0, f"FID {fid:.1f}  MS {ms:.2f}")
        self._costs = _split_line(costs)
        self.update(
            self._rounds,
            description=f"{self._head}round {done}/{experiment.rounds}",
            completed=done,
            total=experiment.rounds,
            figures="  ".join(figures),
        )


STOPPING = "Stopping after this round; Ctrl-C again stops at once."


@contextmanager
def round_progress() -> Iterator[tuple[Callable[[Simulation], None], Callable[[], None]]]:
    """A bar over the rounds of a simulation, if stderr is a terminal.

    Yields what is to be told after every round, and at an interrupt that waits for one.
    """
    console = Console(stderr=True)

    def on_interrupt() -> None:
        console.print(STOPPING)

    with RoundBar(console) as bar:
        yield bar.show, on_interrupt


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
        for line in (*_scorer_lines(summary), *_final_lines(summary)):
            _print_line(console, line)
    else:
        _print_line(console, "not scored: the run ended before the first scores were due")
    if summary["quality"]:
        _print_quality(console, summary["quality"])
    console.print()
    for line in (
        *_cost_lines(summary),
        *_virtual_lines(summary),
        "",
        *(str(_shown(p)) for p in (*drawn, directory.summary)),
    ):
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


def _print_quality(console: Console, quality: Mapping[str, Any]) -> None:
    console.print()
    _print_line(console, quality_head(quality))
    console.print()
    console.print(_spread_table(QUALITY_TITLES, quality, quality["real"], "{:.3f}"))


def _scores_table(summary: Mapping[str, Any]) -> Table:
    titles = {"fid": "FID (lower is better)", "ms": "MS (higher is better)"}
    if summary["scorer"] == DISTANCE:
        titles = {"fid": "distance from the mean of all optima"}
    return _spread_table(titles, summary["scores"], summary["real"], "{:.2f}")


def _scorer_lines(summary: Mapping[str, Any]) -> list[str]:
    """What to make of the scores, where no classifier knows the images."""
    if summary["scorer"] != RANDOM:
        return []
    return ["by an untrained network: FID shows large differences only, and MS says nothing"]


def _spread_table(
    titles: Mapping[str, str], spreads: Mapping[str, Any], real: Mapping[str, Any], form: str
) -> Table:
    """A row for each of these figures: its spread over nodes, and that of real data."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "mean", "std", "min", "max", "real data"):
        table.add_column(name, justify="right" if name else "left")
    for key, title in titles.items():
        row = spreads[key]
        figures = [row["mean"], row["std"], row["min"], row["max"], real[key]]
        table.add_row(title, *(fixed_text(figure, form) for figure in figures))
    return table


def fixed_text(figure: float | None, form: str) -> str:
    """As a format says, or a dash for a diverged generator's."""
    return "-" if figure is None or math.isnan(figure) else form.format(figure)


def _final_lines(summary: Mapping[str, Any]) -> list[str]:
    """What the last step was and what was before it, if there was one."""
    final = summary["final"]
    if final is None:
        return []
    rounds = f"`{final['step']}` took {count_text(final['rounds'], 'round')}"
    means = ", ".join(
        f"{key.upper()} {fixed_text(row['mean'], '{:.2f}')}, std {fixed_text(row['std'], '{:.2f}')}"
        for key, row in final["before"]["scores"].items()
    )
    before = f"before it: {means}"
    if not final["rounds"]:
        return [f"{rounds}: the nodes were equal already"]
    if final["agreed"] is None:
        return [rounds, before]
    of = f"{final['agreed']} of {count_text(summary['nodes'], 'node')}"
    held = f"{of} hold the pair that node {final['origin']} has trained"
    return [f"{rounds}; {held}", before]


def _cost_lines(summary: Mapping[str, Any]) -> list[str]:
    traffic, speed, consensus = (summary[key] for key in ("traffic", "speed", "consensus"))
    distances = ", ".join(
        f"{net.upper()} {distance:.2f}"
        for net, distance in consensus.items()
        if distance is not None
    )
    sent = (
        f"{count_text(traffic['messages'], 'vector')} sent, "
        f"{bytes_text(traffic['bytes_total'])} in all; "
        f"consensus distance {distances or 'not measured'}"
    )
    took = f"{speed['wall_s']:.1f} s, {speed['node_iterations_per_s']:.0f} node-iterations/s"
    return [sent, took, *([_split_line(speed)] if "train_s" in speed else [])]


def _virtual_lines(summary: Mapping[str, Any]) -> list[str]:
    """What happened in virtual time, if the run was in it."""
    told = summary.get("virtual")
    if told is None:
        return []
    faults = ", ".join(f"{count} {kind}" for kind, count in told["faults"].items())
    length = (
        f"virtual time {told['duration_s']:,.1f} s, {count_text(told['events'], 'event')}, "
        f"{count_text(told['trainings'], 'training')} in {told['batched_calls']:,} batched calls"
    )
    trouble = (
        f"outages: {faults or 'none'}; {count_text(told['messages_lost'], 'message')} lost; "
        f"{count_text(told['survivors'], 'node')} ended in good order"
    )
    return [length, trouble]


def _split_line(costs: Mapping[str, float]) -> str:
    """Where the time went, of `p2pgan.runs.Costs` as in `summary.json`."""
    names = {
        "train_s": "training",
        "exchange_s": "exchanges",
        "score_s": "scores",
        "log_s": "log and checkpoints",
    }
    return ", ".join(f"{name} {costs[key]:.1f} s" for key, name in names.items())


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
