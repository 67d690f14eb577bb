"""`p2pgan up`: real daemons on this machine under one supervisor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pgan.cli.options import Sources, with_sources
from p2pgan.errors import ConfigError

if TYPE_CHECKING:
    from p2pgan.config import RunConfig
    from p2pgan.daemon.family import Progress
    from p2pgan.record.rundir import RunDirectory


class Restart(StrEnum):
    """Which nodes are started again."""

    never = "never"
    on_failure = "on-failure"


@with_sources()
def up(
    sources: Sources,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Run directory, new or empty.  [a new one in runs/]")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Go on with a run that was stopped or has died: all its nodes, from their "
            "checkpoints.",
        ),
    ] = None,
    restart: Annotated[
        Restart,
        typer.Option(help="Whether a node that fails or is killed is started again, and goes on."),
    ] = Restart.never,
    restart_max: Annotated[
        int, typer.Option(metavar="N", help="Restarts of one node within a minute.")
    ] = 5,
    logs: Annotated[
        bool,
        typer.Option("--logs", help="Show what all nodes log, on stderr.  [if it is no terminal]"),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON document.")
    ] = False,
    pictures: Annotated[
        bool, typer.Option(help="Draw samples, score curves and the overlay.")
    ] = True,
) -> None:
    """Run N real daemons on this machine, exchanging over ZeroMQ.

    Ctrl-C and SIGTERM stop them all in good order, a second Ctrl-C at once. Algorithms with a
    coordinator (fl-gan, md-gan) have one daemon more, the coordinator.

    Example: p2pgan up -n 5 --algorithm gossip --iterations 1000
    """
    from p2pgan.daemon.forks import warm_up

    config, directory = _what(sources, out, resume)
    warm_up()  # the children's imports take as long as ours: side by side
    from p2pgan.cli.paths import data_dir
    from p2pgan.cli.show import print_results
    from p2pgan.daemon import supervisor
    from p2pgan.daemon.restarts import RestartPolicy

    policy = RestartPolicy(when=restart.value, most=restart_max)
    with _progress(logs=logs) as (on_progress, say, all_news):
        options = supervisor.UpOptions(policy=policy, logs=all_news, resume=directory)
        ended = supervisor.up(
            config, data_dir(), out, on_progress=on_progress, say=say, options=options
        )
    with_pictures = pictures and not ended.aborted
    print_results(ended.directory, ended.summary, as_json=json, with_pictures=with_pictures)
    if ended.interrupted:
        raise typer.Exit(130)
    if ended.failed:
        names, count = ", ".join(f"`{node}`" for node in ended.failed), ended.summary["nodes"]
        typer.echo(f"p2pgan: {len(ended.failed)} of {count} nodes failed: {names}", err=True)
        raise typer.Exit(1)


def _what(
    sources: Sources, out: Path | None, resume: Path | None
) -> "tuple[RunConfig, RunDirectory | None]":
    """What is run, and where it lies if it goes on.

    Raises:
        ConfigError: for settings that are wrong, or that contradict those of the run.
        RecordError: if there is no such run.
    """
    if resume is None:
        return sources.config(), None
    from p2pgan.daemon.resuming import config_of
    from p2pgan.record.rundir import RunDirectory

    if out is not None:
        raise ConfigError(
            expected="one of `--resume` and `--out`",
            got="both",
            at="p2pgan up",
            hint="a run goes on where it lies",
        )
    directory = RunDirectory.open(resume)
    return config_of(directory, sources.given()), directory


@contextmanager
def _progress(
    *, logs: bool
) -> Iterator[tuple[Callable[["Progress"], None], Callable[[str], None], bool]]:
    """A bar over the iterations of all nodes, if stderr is a terminal, and lines above it; whether
    those lines are all news, since there is no bar or somebody wants both."""
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

        yield on_progress, say, logs or not console.is_terminal
