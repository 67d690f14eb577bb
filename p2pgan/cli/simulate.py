"""`p2pgan simulate`: an overlay of nodes on one machine, in lockstep."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from p2pgan.cli.options import with_run_options
from p2pgan.config import RunConfig
from p2pgan.errors import ConfigError


@with_run_options
def simulate(
    config: RunConfig,
    *,
    clock: Annotated[
        Literal["lockstep", "virtual"],
        typer.Option(help="Lockstep: all nodes step together. Virtual time is not there yet."),
    ] = "lockstep",
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory, new or empty.  [default: a new one in runs/]"),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON document.")
    ] = False,
    pictures: Annotated[
        bool, typer.Option(help="Draw samples, score curves and the overlay.")
    ] = True,
) -> None:
    """Train an overlay of nodes on one machine.

    Example: p2pgan simulate --algorithm gossip --nodes 10 --overlay small-world
    """
    if clock != "lockstep":
        hint = "virtual time is not there yet"
        raise ConfigError(expected="`lockstep`", got=f"`{clock}`", at="--clock", hint=hint)
    from p2pgan.cli.paths import data_dir
    from p2pgan.cli.show import print_results, round_progress
    from p2pgan.sim.run import simulate as run

    with round_progress() as (on_round, on_interrupt):
        finished = run(config, data_dir(), out, on_round, on_interrupt)
    print_results(finished.directory, finished.summary, as_json=json, with_pictures=pictures)
    if finished.summary["interrupted"]:
        raise typer.Exit(130)
