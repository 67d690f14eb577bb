"""`p2pgan simulate --clock virtual`: options, progress and results of virtual time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from p2pgan.cli.paths import data_dir
from p2pgan.cli.show import print_results
from p2pgan.config import RunConfig
from p2pgan.inspect.text import count_text
from p2pgan.record.rundir import RunDirectory
from p2pgan.sim.virtual import replay
from p2pgan.sim.virtual import run as virtual

STOPPING = "Stopping all nodes; Ctrl-C again stops at once."


def run_virtual(
    config: RunConfig,
    out: Path | None,
    *,
    as_json: bool,
    with_pictures: bool,
    name: str | None = None,
) -> RunDirectory:
    """Plays a run and shows what came of it.

    Raises:
        typer.Exit: with 130, if it was interrupted.
    """
    with progress() as (on_progress, on_interrupt):
        finished = virtual.simulate(config, data_dir(), out, on_progress, on_interrupt, name)
    pictures = with_pictures and config.virtual.train == "networks"
    print_results(finished.directory, finished.summary, as_json=as_json, with_pictures=pictures)
    if finished.summary["interrupted"]:
        raise typer.Exit(130)
    return finished.directory


def replay_virtual(first: Path, out: Path | None, *, as_json: bool) -> None:
    """Plays a run once more, and says whether it was the same."""
    config, name = replay.first_play(first)
    second = run_virtual(config, out, as_json=as_json, with_pictures=False, name=name)
    count = replay.check_same(RunDirectory(first), second)
    Console(stderr=True).print(
        f"the same as {first}: {count_text(count, 'record')}", highlight=False, markup=False
    )


@contextmanager
def progress() -> Iterator[tuple[Callable[[virtual.Progress], None], Callable[[], None]]]:
    """A bar over virtual time, if stderr is a terminal.

    Yields what is to be told how far the run is, and what at an interrupt.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[figures]}"),
        console=console,
        expand=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("preparing", total=None, figures="")

    def show(now: virtual.Progress) -> None:
        figures = [f"{now.living} of {now.nodes} nodes up", f"{now.events:,} events"]
        if now.fid is not None:
            figures.insert(0, f"FID {now.fid:.1f}")
        bar.update(
            task,
            description=f"virtual time {now.virtual_s:,.0f} s",
            completed=min(now.virtual_s, now.horizon_s),
            total=now.horizon_s,
            figures="  ".join(figures),
        )

    with bar:
        yield show, lambda: console.print(STOPPING)
