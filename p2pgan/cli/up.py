"""`p2pgan up`: real daemons on this machine under one supervisor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pgan.cli.options import with_run_options
from p2pgan.config import RunConfig

if TYPE_CHECKING:
    from p2pgan.daemon.supervisor import Progress


@with_run_options
def up(
    config: RunConfig,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Run directory, new or empty.  [a new one in runs/]")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON document.")
    ] = False,
    pictures: Annotated[
        bool, typer.Option(help="Draw samples, score curves and the overlay.")
    ] = True,
) -> None:
    """Run N real daemons on this machine, exchanging over ZeroMQ; Ctrl-C stops them all.

    Algorithms with a coordinator (fl-gan, md-gan) have one daemon more, the coordinator.

    Example: p2pgan up -n 5 --algorithm gossip --iterations 1000
    """
    from p2pgan.daemon.forks import warm_up

    warm_up()  # the children's imports take as long as ours: side by side
    from p2pgan.cli.paths import data_dir
    from p2pgan.cli.show import print_results
    from p2pgan.daemon import supervisor

    with _progress() as (on_progress, say):
        ended = supervisor.up(config, data_dir(), out, on_progress=on_progress, say=say)
    print_results(ended.directory, ended.summary, as_json=json, with_pictures=pictures)
    if ended.interrupted:
        raise typer.Exit(130)
    if ended.failed:
        names, count = ", ".join(f"`{node}`" for node in ended.failed), ended.summary["nodes"]
        typer.echo(f"p2pgan: {len(ended.failed)} of {count} nodes failed: {names}", err=True)
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[tuple[Callable[["Progress"], None], Callable[[str], None]]]:
    """A bar over the iterations of all nodes, if stderr is a terminal, and lines above it."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.fields[ready]} nodes"),
        BarColumn(),
        TextColumn("{task.fields[iterations]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[scores]}"),
    )
    console = Console(stderr=True)
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("up", total=None, ready="0", iterations="starting", scores="")

        def on_progress(progress: "Progress") -> None:
            scores = ""
            if progress.fid is not None and progress.ms is not None:
                scores = f"FID {progress.fid:.1f}  MS {progress.ms:.2f}"
            bar.update(
                task,
                completed=progress.iterations,
                total=progress.iterations_total,
                iterations=f"{progress.iterations}/{progress.iterations_total} iterations",
                ready=f"{progress.ready}/{progress.nodes}",
                scores=scores,
            )

        def say(line: str) -> None:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield on_progress, say
