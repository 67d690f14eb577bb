"""A grid of runs: one base configuration, and axes along which it is varied.

Algorithms, numbers of nodes and seeds are always axes; any other key of the configuration can be
one more. Runs that could not differ are one cell: a pooled algorithm has one node whatever `nodes`
says, and a key that cannot matter to an algorithm is left at its base value.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from p2pgan.config import RunConfig, config_from, keys, merge, nested, value_of
from p2pgan.errors import ConfigError, nearest
from p2pgan.mixing.algorithms import ALGORITHMS, Algorithm, algorithm
from p2pgan.record.comparison import Cell, Manifest

AXES = {"algorithm": "--algorithms", "nodes": "--nodes", "seed": "--seeds"}
"""Keys that are axes of every grid, and the option of each."""

PERIODS = ("exchange_every", "exchange_epochs")
"""Either excludes the other."""

VALUE_CHARACTERS_MAX = 60
"""Of one value in the name of a cell; file systems allow a name 255 bytes."""


class Grid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The axes."""

    algorithms: tuple[str, ...] = ("standalone", "fl-gan", "gossip", "gossip-ind", "centralised")
    nodes: tuple[int, ...] = (10,)
    seeds: tuple[int, ...] = (0,)
    vary: Mapping[str, tuple[Any, ...]] = {}
    """Values of each further key, as TOML or text has them."""


class Planned(NamedTuple):
    """A cell and what is to run."""

    cell: Cell
    config: RunConfig


def plan(base: RunConfig, grid: Grid) -> list[Planned]:
    """Every cell of a grid once, in the order of `in_order`.

    Algorithms that are not pooled have no cell of one node: it would be the pooled one's run.

    Args:
        base: what all cells share; its algorithm, nodes and seed do not count.
        grid: the axes.
    Raises:
        ConfigError: for axes without a value, unknown algorithms or keys, values that do not fit,
            or a grid without a cell.
    """
    for key, axis in grid.vary.items():
        _check_key(key)
        _check_values(key, axis)
    for name, axis in msgspec.structs.asdict(grid).items():
        if not axis and name != "vary":
            raise ConfigError(expected="at least one value", got="none", at=f"grid: {name}")
    found: dict[str, Planned] = {}
    for name, seed in itertools.product(grid.algorithms, grid.seeds):
        chosen = algorithm(name)
        for nodes in (1,) if chosen.is_pooled else grid.nodes:
            if nodes == 1 and not chosen.is_pooled:
                continue
            for values in _combinations(grid.vary):
                planned = _planned(base, chosen, (nodes, seed), values)
                first = found.setdefault(planned.cell.run, planned)
                _check_same(first.cell, planned.cell)
    if not found:
        raise ConfigError(
            expected="more than one node, or `centralised`",
            got="a grid without a run",
            at="--nodes",
            hint="a node alone is the centralised algorithm",
        )
    ordered = in_order([planned.cell for planned in found.values()], list(grid.vary))
    return [found[cell.run] for cell in ordered]


def grid_there(manifest: Manifest) -> Grid:
    """The axes of a comparison: each value that some cell has."""
    cells = manifest.cells
    vary: dict[str, tuple[Any, ...]] = {}
    for key in manifest.vary:
        values = [cell.vary[key] for cell in cells if key in cell.vary]
        vary[key] = tuple({repr(value): value for value in values}.values())
    several = {cell.nodes for cell in cells if cell.nodes > 1}  # one: pooled algorithms have it
    return Grid(
        algorithms=tuple(dict.fromkeys(cell.algorithm for cell in cells)),
        nodes=tuple(sorted(several or {1})),
        seeds=tuple(sorted({cell.seed for cell in cells})),
        vary=vary,
    )


def without_a_run(grid: Grid) -> str:
    """In words, that one node is left out, as no algorithm of the grid has a run of it; or empty.

    Raises:
        ConfigError: for an unknown algorithm.
    """
    if 1 not in grid.nodes or set(grid.nodes) == {1}:  # `plan` refuses a grid without a run
        return ""
    if any(algorithm(name).is_pooled for name in grid.algorithms):
        return ""
    return "nothing is run with 1 node: that is `centralised`, which `--algorithms` does not name"


def in_order(cells: Sequence[Cell], vary: Sequence[str]) -> list[Cell]:
    """Cells as tables have them: by algorithm, nodes, varied values, and seed last.

    Args:
        cells: of one grid, in any order.
        vary: the varied keys. Numbers are sorted; other values keep the order of the cells.
    """
    places = {key: _places([cell.vary.get(key) for cell in cells]) for key in vary}

    def place(cell: Cell) -> tuple[Any, ...]:
        varied = tuple(places[key][repr(cell.vary.get(key))] for key in vary)
        return list(ALGORITHMS).index(cell.algorithm), cell.nodes, varied, cell.seed

    return sorted(cells, key=place)


def irrelevant(chosen: Algorithm, config: RunConfig) -> set[str]:
    """Keys that cannot change what a run of this algorithm comes to.

    Who has no neighbors, or sends nothing, or sends to the coordinator alone, draws nobody. A last
    step may draw along the overlay, so with one only those are spared that have none. (Where all
    are equal before it, as after a coordinator's round, it draws nobody; we do not count on that.)
    (An overlay file that names its nodes in its own way gives other draws, as another seed does.)
    """
    draws = {"overlay", "allow_disconnected", "exchange.draw", "exchange.fixed_points"}
    draws |= {"exchange.fanout", "exchange.probability"}
    exchanges = {*draws, *PERIODS, *(key for key in keys() if key.startswith("exchange."))}
    others = _of_other_systems(chosen)
    if chosen.is_pooled:
        return {*exchanges, *others, "partition", "final"}
    if chosen.is_split:  # moves have a period too
        return {*(exchanges - set(PERIODS)), *others, "final"}
    if chosen.merging != "average" or chosen.has_coordinator:
        others.add("exchange.staleness")
    if config.final != "none":
        return others
    if not chosen.groups:
        return {*exchanges, *others}
    if chosen.merging == "pairwise":  # of a draw it has the overlay and the probability
        return {"exchange.draw", "exchange.fixed_points", "exchange.fanout", *others}
    return {*draws, *others} if chosen.has_coordinator else others


def _of_other_systems(chosen: Algorithm) -> set[str]:
    """Keys of the tables that belong to other algorithms, or to daemons alone.

    Of FL-GAN's, a simulation does not ask how much is sent how, nor how long anybody is waited for.
    """
    read = {"md.", "coordinator."} if chosen.is_split else set()
    if chosen.is_federated:
        read = {"fl.fraction", "fl.weighting", "fl.momentum"}
    tables = ("fl.", "md.", "coordinator.")
    return {key for key in keys() if key.startswith(tables) and not key.startswith(tuple(read))}


def _combinations(vary: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*vary.values()):
        yield dict(zip(vary, values, strict=True))


def _planned(
    base: RunConfig, chosen: Algorithm, size: tuple[int, int], values: Mapping[str, Any]
) -> Planned:
    """One combination: the cell that stands for it, and that cell's configuration."""
    nodes, seed = size
    config = varied(base, {"algorithm": chosen.name, "nodes": nodes, "seed": seed, **values})
    spared = irrelevant(chosen, config) & values.keys()
    kept = {key: value for key, value in values.items() if key not in spared}
    if spared:
        config = varied(base, {"algorithm": chosen.name, "nodes": nodes, "seed": seed, **kept})
    if chosen.is_pooled or chosen.is_split:  # one generator has no other to agree with
        config = msgspec.structs.replace(config, final="none")
    normal = {key: value_of(config, key) for key in kept}
    parts = [chosen.name, f"n{nodes}", *(_named(k, v) for k, v in normal.items()), f"s{seed}"]
    run = "-".join(parts)
    cell = Cell(run=run, algorithm=chosen.name, nodes=nodes, seed=seed, vary=normal)
    return Planned(cell, config)


def varied(base: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """The configuration with other values of some keys; one period replaces the other.

    Raises:
        ConfigError: for values that do not fit.
    """
    tables = msgspec.to_builtins(base)
    if set(PERIODS) & values.keys():
        tables |= dict.fromkeys(PERIODS)
    return config_from(merge(tables, *(nested(k, v) for k, v in values.items())), at="grid")


def _named(key: str, value: Any) -> str:
    text = re.sub(r"[^A-Za-z0-9._]+", "-", str(value)).strip("-")
    return f"{key}-{text[-VALUE_CHARACTERS_MAX:]}"


def _places(values: Sequence[Any]) -> dict[str, int]:
    """Where each value stands among the others; a cell without one stands first."""
    distinct = list({repr(value): value for value in values if value is not None}.values())
    if all(isinstance(value, int | float) for value in distinct):
        distinct.sort()
    return {repr(value): place for place, value in enumerate([None, *distinct])}


def _check_key(key: str) -> None:
    at = f"--vary {key}"
    if key in AXES:
        hint = f"`{AXES[key]}` gives its values"
        raise ConfigError(expected="another key", got=f"`{key}`", at=at, hint=hint)
    if key not in keys():
        hint = nearest(key, keys()) or "`docs/reference/configuration.md` lists every key"
        expected = "a key of the configuration"
        raise ConfigError(expected=expected, got=f"`{key}`", at=at, hint=hint)


def _check_values(key: str, values: Sequence[Any]) -> None:
    """Refuses a value that fits the key in no configuration."""
    at = f"--vary {key}"
    if not values:
        raise ConfigError(expected="at least one value", got="none", at=at)
    for value in values:
        try:
            config_from(nested(key, value), at=at)
        except ConfigError as error:
            # A number among texts may be the end of one, as in `ring,watts-strogatz:4,0.1`.
            is_torn = not isinstance(value, str) and any(isinstance(v, str) for v in values)
            hint = "put semicolons between values that hold commas" if is_torn else error.hint
            raise ConfigError(expected=error.expected, got=error.got, at=at, hint=hint) from None


def _check_same(first: Cell, second: Cell) -> None:
    if first != second:
        raise ConfigError(
            expected="values whose names differ in more than signs",
            got=f"two cells named `{first.run}`",
            at="--vary",
        )
