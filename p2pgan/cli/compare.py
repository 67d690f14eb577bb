"""`p2pgan compare`: the same data under several algorithms, sizes and settings."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2pgan.cli.options import Layer, Sources, toml_value, with_sources
from p2pgan.cli.recipes import RecipeArgument, recipe_named, usual_nodes
from p2pgan.config import RunConfig
from p2pgan.errors import ConfigError

if TYPE_CHECKING:
    from p2pgan.grid import Grid
    from p2pgan.recipes import Recipe
    from p2pgan.record.comparison import ComparisonDirectory

DEFAULTS: Layer = ({"score": {"final_samples": 10_000}}, "defaults of compare")
"""FID falls with the number of samples; comparisons deserve as many as are usual."""

SEEDS_MAX = 1000
"""More are more likely a seed than a number of seeds."""


@with_sources("algorithm", "nodes")
def compare(
    sources: Sources,
    recipe: RecipeArgument = None,
    *,
    algorithms: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Algorithms.  [default: standalone,fl-gan,gossip,gossip-ind,centralised]",
        ),
    ] = None,
    nodes: Annotated[
        str | None,
        typer.Option("--nodes", "-n", metavar="N,N,…", help="Numbers of nodes.  [default: 10]"),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, max=SEEDS_MAX, help="Number of seeds, from --seed upwards.  [default: 1]"
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V,V,…",
            help="One more axis: values of a key, apart by commas; by semicolons if there is one.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory, new or to be continued.  [default: runs/compare[-RECIPE]]"),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the table as one JSON document.")
    ] = False,
    draw_only: Annotated[
        bool,
        typer.Option("--draw-only", help="Train nothing; tables and figures of what is there."),
    ] = False,
) -> None:
    """Train a grid of runs, then make one table and figures of them all.

    Runs that are there are not run again: the same command goes on after an interrupt. With axes
    alone a comparison is extended: its settings, and the axes not named, are as they are there.
    One node is the centralised algorithm.

    Example: p2pgan compare --algorithms standalone,gossip,fl-gan --nodes 2,10 --seeds 3
    """
    from p2pgan.comparisons import write_results
    from p2pgan.grid import without_a_run
    from p2pgan.record.comparison import ComparisonDirectory

    named = recipe_named(recipe)
    place = out or Path("runs") / "-".join(filter(None, ("compare", recipe)))
    directory, interrupted = ComparisonDirectory(place), False
    axes: Axes = (algorithms, nodes, seeds, vary or [])
    if draw_only:
        _check_nothing_said(sources, axes)
    else:
        base, usual = _wanted(sources, named, directory)
        grid = grid_of(base, sources.given(), usual, axes)
        if left_out := without_a_run(grid):
            typer.echo(left_out, err=True)
        interrupted = _train(base, grid, directory)
    results = write_results(directory)
    if results.mixed:
        typer.echo(f"runs of different code: {'; '.join(results.mixed)}", err=True)
    for line in results.damaged:
        typer.echo(line, err=True)
    if json:
        sys.stdout.write(results.json)
    else:
        typer.echo(results.overview)
        for path in results.paths:
            typer.echo(path)
    if interrupted:
        raise typer.Exit(130)


Axes = tuple[str | None, str | None, int | None, Sequence[str]]
"""`--algorithms`, `--nodes`, `--seeds` and each `--vary`, as typed."""


def _check_nothing_said(sources: Sources, axes: Axes) -> None:
    """Refuses what drawing does not heed; the environment may be meant for others."""
    told = [f"--{key.replace('_', '-')}" for key, v in sources.options.items() if v is not None]
    told += ["--config"] * (sources.file is not None) + ["--set"] * bool(sources.assignments)
    names = ("--algorithms", "--nodes", "--seeds", "--vary")
    told += [name for name, value in zip(names, axes, strict=True) if value]
    if told:
        raise typer.BadParameter(
            f"draws what is there, and takes no settings: leave out {', '.join(told)}.",
            param_hint="--draw-only",
        )


def _wanted(
    sources: Sources, named: "Recipe | None", directory: "ComparisonDirectory"
) -> "tuple[RunConfig, Grid | None]":
    """The base settings, and the axes that hold where nobody says others; `None`: nobody does.

    A comparison that is there is extended as it is, if nothing but axes and the use of the machine
    is said.

    Raises:
        P2PGanError: for what cannot be read.
    """
    from p2pgan.grid import AXES, grid_there
    from p2pgan.record.comparison import decides_runs

    given = sources.given()
    is_more = any(decides_runs(key) for key in _keys_of(given) if key not in AXES)
    if named is not None or sources.file is not None or is_more or not directory.is_there:
        layers = (DEFAULTS, *([] if named is None else [(named.settings, named.at)]))
        return sources.config(*layers), None if named is None else named.grid
    manifest = directory.read()
    there = grid_there(manifest)
    first = {"seed": there.seeds[0]} if there.seeds else {}
    layer = {**manifest.base, **first}, str(directory.compare_toml)
    return sources.config(layer), there


def _keys_of(tables: Mapping[str, Any], above: str = "") -> list[str]:
    """Keys of nested tables, with a dot: `train.loss`."""
    found: list[str] = []
    for key, value in tables.items():
        if isinstance(value, Mapping):
            found += _keys_of(value, f"{above}{key}.")
        else:
            found.append(above + key)
    return found


def grid_of(base: RunConfig, given: Mapping[str, Any], named: "Grid | None", axes: Axes) -> "Grid":
    """The axes: from their options, else from what is said for a single run, else as is usual.

    Args:
        base: the configuration.
        given: the part of it that somebody said.
        named: the axes of a recipe, or of the comparison that is there.
        axes: the options.
    Raises:
        ConfigError: for a list that cannot be read.
    """
    from p2pgan.grid import Grid

    algorithms, nodes, seeds, vary = axes
    usual = named or Grid()
    chosen, sizes, all_seeds = usual.algorithms, usual.nodes, usual.seeds
    if algorithms is not None:
        chosen = tuple(_parts(algorithms, ",", "--algorithms"))
    elif "algorithm" in given:
        chosen = (base.algorithm,)
    if nodes is not None:
        sizes = tuple(_whole(text) for text in _parts(nodes, ",", "--nodes"))
    elif "nodes" in given:
        sizes = (base.nodes or 1,)
    elif named is None:
        sizes = (usual_nodes(base),)
    if seeds is not None or "seed" in given:
        all_seeds = tuple(base.seed + number for number in range(seeds or len(all_seeds)))
    kept = {key: values for key, values in usual.vary.items() if not _is_given(given, key)}
    return Grid(algorithms=chosen, nodes=sizes, seeds=all_seeds, vary=kept | _all_varied(vary))


def _is_given(given: Mapping[str, Any], key: str) -> bool:
    table, _, below = key.rpartition(".")
    return below in (given.get(table, {}) if table else given)


def _all_varied(vary: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    varied: dict[str, tuple[Any, ...]] = {}
    for text in vary:
        key, values = _varied(text)
        if key in varied:
            raise ConfigError(
                expected="each key once",
                got="it twice",
                at=f"--vary {key}",
                hint=f"all its values in one: `--vary {key}=A,B`",
            )
        varied[key] = values
    return varied


def _varied(text: str) -> tuple[str, tuple[Any, ...]]:
    """`exchange.fanout=1,2` as key and values; with a semicolon, commas belong to the values."""
    key, equals, values = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(expected="KEY=VALUE,VALUE,…", got=f"`{text}`", at="--vary")
    parts = _parts(values.removesuffix(";"), ";" if ";" in values else ",", f"--vary {key}")
    return key.strip(), tuple(toml_value(part) for part in parts)


def _parts(text: str, separator: str, at: str) -> list[str]:
    parts = [part.strip() for part in text.split(separator)]
    if not all(parts):
        raise ConfigError(expected=f"values with `{separator}` between", got=f"`{text}`", at=at)
    return parts


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ConfigError(expected="whole numbers of at least 1", got=f"`{text}`", at="--nodes")
    return int(text)


def _train(base: RunConfig, grid: "Grid", directory: "ComparisonDirectory") -> bool:
    """Runs what is missing, telling about it on stderr; whether it was interrupted."""
    from p2pgan.cli.grid_progress import grid_progress
    from p2pgan.cli.paths import data_dir
    from p2pgan.cli.simulate import place_from
    from p2pgan.sim.compare import compare as run

    if place_from(os.environ) is not None:
        raise ConfigError(
            expected="one process",
            got="several, started by `torchrun`",
            at="compare",
            hint="share the nodes of single runs: `torchrun … -m p2pgan simulate`",
        )
    with grid_progress() as watcher:
        return run(base, grid, directory, data_dir(), watcher)
