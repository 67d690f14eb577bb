"""`p2pgan simulate`: an overlay of nodes in lockstep, or in virtual time, each at its own pace."""

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from p2pgan.cli.options import Sources, with_sources
from p2pgan.cli.recipes import RecipeArgument, print_recipes, recipe_layers
from p2pgan.config import RunConfig, config_from, merge, nested
from p2pgan.errors import ConfigError, P2PGanError, RankLostError
from p2pgan.virtual import VirtualConfig

if TYPE_CHECKING:
    from p2pgan.sim.processes import Place

PROCESS_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""What `torchrun` tells each process that it starts; with `MASTER_ADDR`, which torch reads."""


ClockOption = Annotated[
    Literal["lockstep", "virtual"],
    typer.Option(
        help="Lockstep: all nodes step together. Virtual: every node at its own pace, with the "
        "machines, links and faults of `--set virtual.KEY=VALUE`."
    ),
]
TrainOption = Annotated[
    Literal["networks", "gradient-free", "none"] | None,
    typer.Option(
        help="Virtual time: train networks, a cheap stand-in, or nothing, to try the protocol "
        "with thousands of nodes.  [default: networks]"
    ),
]
ReplayOption = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Play a run in virtual time once more, and compare the logs. It decides all else.",
    ),
]


@with_sources()
def simulate(
    sources: Sources,
    recipe: RecipeArgument = None,
    *,
    list_: Annotated[
        bool, typer.Option("--list", help="Only say which recipes there are.")
    ] = False,
    clock: ClockOption = "lockstep",
    train: TrainOption = None,
    replay: ReplayOption = None,
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
    """Train an overlay of nodes on one machine or several.

    RECIPE names settings that the options refine. Under `torchrun` its processes share the nodes.

    Example: p2pgan simulate --algorithm gossip --nodes 10 --overlay small-world
    """
    if list_:
        print_recipes(as_json=json)
        return
    place = place_from(os.environ)
    if replay is not None or clock == "virtual":
        _check_one_process(place)
    if replay is not None:
        _check_alone(sources, recipe, train)
        from p2pgan.cli.virtual import replay_virtual

        replay_virtual(replay, out, as_json=json)
        return
    config = _trained(sources.config(*recipe_layers(recipe)), clock, train)
    if clock == "virtual":
        from p2pgan.cli.virtual import run_virtual

        run_virtual(config, out, as_json=json, with_pictures=pictures)
        return
    from p2pgan.cli.paths import data_dir
    from p2pgan.cli.show import print_results, round_progress
    from p2pgan.sim.processes import joined
    from p2pgan.sim.run import simulate as run

    silence = nullcontext((lambda simulation: None, lambda: None))
    with joined(place, config.device, config.engine.rank_timeout_s) as ranks:
        try:
            with round_progress() if ranks.is_first else silence as (on_round, on_interrupt):
                finished = run(config, data_dir(), out, on_round, on_interrupt, ranks)
        except P2PGanError as error:
            if ranks.is_first or isinstance(error, RankLostError):
                raise
            raise typer.Exit(1) from None  # the first process tells what they all met
        directory, summary = finished.directory, finished.summary
        if ranks.is_first:
            print_results(directory, summary, as_json=json, with_pictures=pictures)
        # Whoever ends with a status would have `torchrun` end the one that still draws.
        ranks.agree(False)
    if summary["interrupted"]:
        raise typer.Exit(130)


def _trained(config: RunConfig, clock: str, train: str | None) -> RunConfig:
    """With what `--train` says, which only virtual time can do."""
    if clock != "virtual" and config.virtual != VirtualConfig():
        raise ConfigError(
            expected="`--clock virtual`, which `[virtual]` is about",
            got=f"`--clock {clock}`",
            at="--clock",
        )
    if train is None:
        return config
    if clock != "virtual":
        raise ConfigError(expected="`--clock virtual`", got=f"`--clock {clock}`", at="--train")
    return config_from(
        merge(msgspec.to_builtins(config), nested("virtual.train", train)), at="--train"
    )


def _check_alone(sources: Sources, recipe: str | None, train: str | None) -> None:
    """A replay takes all settings from its run."""
    given = sorted(sources.given())
    if recipe is not None or train is not None or given:
        got = ", ".join(f"`{name}`" for name in (*filter(None, [recipe, train]), *given))
        raise ConfigError(
            expected="no settings beside `--replay`, which has those of its run",
            got=got,
            at="--replay",
        )


def _check_one_process(place: "Place | None") -> None:
    """Virtual time is not shared: each process would play the whole run."""
    if place is not None:
        raise ConfigError(
            expected="one process",
            got=f"`{place.count}`",
            at="WORLD_SIZE",
            hint="`torchrun` shares runs in lockstep; start this one without it",
        )


def place_from(environment: Mapping[str, str]) -> "Place | None":
    """This process among those that `torchrun` started; `None`: it is the only one.

    Raises:
        ConfigError: if what the environment says makes no sense.
    """
    if _int_from(environment, "WORLD_SIZE", 1) == 1 or "MASTER_ADDR" not in environment:
        return None
    from p2pgan.sim.processes import Place

    rank, count, local_rank, local_count = (
        _int_from(environment, name) for name in PROCESS_VARIABLES
    )
    _int_from(environment, "MASTER_PORT")  # which torch reads, and tells nobody that it is missing
    if rank >= count:
        raise ConfigError(expected=f"a number below {count}", got=f"`{rank}`", at="RANK")
    return Place(rank=rank, count=count, local_rank=local_rank, local_count=local_count)


def _int_from(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise ConfigError(
            expected="a whole number",
            got=f"`{text}`" if text else "nothing",
            at=name,
            hint="start the processes with `torchrun`",
        )
    return int(text)
