"""What the runs of a comparison came to, from their directories alone, and medians over seeds.

A figure is a number of one run, such as the mean of FID over its nodes. Figures that differ between
two runs with the same seed (seconds, speeds) are left out.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import product
from typing import Any, Literal, NamedTuple

import msgspec

from p2pgan.errors import ConfigError, RecordError
from p2pgan.inspect.text import count_text
from p2pgan.record.comparison import Cell, ComparisonDirectory, Manifest

State = Literal["finished", "diverged", "interrupted", "missing"]


class Source(NamedTuple):
    """Where `summary.json` has a figure."""

    path: str
    title: str
    """For a reader."""


def _spread(where: str, words: str) -> Iterator[Source]:
    for key, title in (("mean", words), ("std", f"sd of {words}")):
        yield Source(f"{where}.{key}", title)


SOURCES = (
    *_spread("scores.fid", "FID"),
    *_spread("scores.ms", "MS"),
    Source("scores.fid.samples", "samples"),
    *_spread("quality.fid", "FID"),
    *_spread("quality.ms", "MS"),
    Source("quality.samples", "samples"),
    Source("quality.precision.mean", "precision"),
    Source("quality.recall.mean", "recall"),
    Source("quality.classes.mean", "classes"),
    Source("quality.class_kl.mean", "class KL"),
    Source("quality.nearest.mean", "nearest"),
    Source("consensus.g", "consensus G"),
    Source("consensus.d", "consensus D"),
    Source("traffic.messages_per_node", "messages per node"),
    Source("traffic.bytes_per_node", "bytes per node"),
    Source("final.rounds", "rounds"),
    Source("final.agreed", "nodes that agree"),
    *_spread("final.before.scores.fid", "FID"),
    *_spread("final.after.scores.fid", "FID"),
    *_spread("final.before.scores.ms", "MS"),
    *_spread("final.after.scores.ms", "MS"),
    *_spread("final.before.quality.fid", "FID"),
    *_spread("final.after.quality.fid", "FID"),
    *_spread("final.before.quality.ms", "MS"),
    *_spread("final.after.quality.ms", "MS"),
    Source("real.fid", "FID of real data"),
    Source("real.ms", "MS of real data"),
    Source("real.samples", "samples of real data"),
    Source("quality.real.fid", "FID of real data"),
    Source("quality.real.ms", "MS of real data"),
    Source("quality.real.samples", "samples of real data"),
    Source("quality.real.precision", "precision of real data"),
    Source("quality.real.recall", "recall of real data"),
    Source("quality.real.classes", "classes of real data"),
    Source("quality.real.class_kl", "class KL of real data"),
    Source("quality.real.nearest", "nearest of real data"),
)
"""All figures, in the order of tables. Those that no run has are left out."""

AGREED = "final.agreed"

TITLES = {source.path: source.title for source in SOURCES}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    cell: Cell
    state: State
    figures: Mapping[str, float | None] = {}
    """By path in the summary; `None`: not finite."""
    settings: Mapping[str, Any] = {}
    """What the summary repeats of the configuration."""
    measured: int = 0
    """Nodes whose quality was measured at the end."""
    made_by: Mapping[str, str] = {}
    """Commit and versions of the code."""

    @property
    def is_whole(self) -> bool:
        """Whether it went to its end."""
        return self.state in ("finished", "diverged")


class Median(msgspec.Struct, frozen=True, kw_only=True):
    """One figure over the seeds, of those runs in which it is finite."""

    median: float
    min: float
    max: float
    runs: int


def median_of(figures: Iterable[float | None]) -> Median | None:
    """Of those that are finite; `None` if there is none."""
    values = [value for value in figures if value is not None]
    if not values:
        return None
    return Median(
        median=statistics.median(values), min=min(values), max=max(values), runs=len(values)
    )


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that differ in their seed only."""

    algorithm: str
    nodes: int
    vary: Mapping[str, Any]
    rows: tuple[Row, ...]

    @property
    def key(self) -> str:
        """What tells it from the other groups."""
        return repr((self.algorithm, self.nodes, sorted(self.vary.items())))

    @property
    def whole(self) -> list[Row]:
        """Runs that went to their end."""
        return [row for row in self.rows if row.is_whole]

    @property
    def diverged(self) -> int:
        """Runs with a figure of merit that is not finite."""
        return sum(row.state == "diverged" for row in self.rows)

    def has(self, state: State) -> bool:
        """Whether one of the runs ended so."""
        return any(row.state == state for row in self.rows)

    def median(self, figure: str) -> Median | None:
        """A figure over the seeds; `None` if no run has it."""
        return median_of(row.figures.get(figure) for row in self.whole)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All runs."""

    manifest: Manifest
    rows: tuple[Row, ...]

    @property
    def judged(self) -> Literal["quality", "scores"]:
        """What the end is judged by: the thorough measurement, if runs have it."""
        measured = any("quality.fid.mean" in row.figures for row in self.rows)
        return "quality" if measured else "scores"

    @property
    def figures(self) -> list[str]:
        """Figures that some run has."""
        return [path for path in TITLES if any(path in row.figures for row in self.rows)]

    @property
    def groups(self) -> list[Group]:
        """Runs by algorithm, nodes and varied values, in the order of the cells."""
        groups: dict[tuple[str, int, str], list[Row]] = {}
        for row in self.rows:
            key = row.cell.algorithm, row.cell.nodes, repr(sorted(row.cell.vary.items()))
            groups.setdefault(key, []).append(row)
        return [
            Group(
                algorithm=rows[0].cell.algorithm,
                nodes=rows[0].cell.nodes,
                vary=rows[0].cell.vary,
                rows=tuple(rows),
            )
            for rows in groups.values()
        ]

    @property
    def mixed(self) -> list[str]:
        """What of the code differs between runs, such as `torch 2.4 (3 runs), 2.5 (1 run)`."""
        whole = [row for row in self.rows if row.is_whole]
        told = []
        for name in dict.fromkeys(name for row in whole for name in row.made_by):
            counts = Counter(row.made_by.get(name) or "unknown" for row in whole)
            if len(counts) > 1:
                parts = (f"{value} ({count_text(n, 'run')})" for value, n in counts.items())
                told.append(f"{name} {', '.join(parts)}")
        return told

    def of(self, combination: Mapping[str, Any]) -> list[Group]:
        """The groups of a combination of varied values."""
        return [group for group in self.groups if fits(group.vary, combination)]

    def axis(self, name: Literal["algorithm", "nodes", "seed"]) -> list[Any]:
        """Values of an axis; numbers sorted, names in the order of the cells."""
        values = list(dict.fromkeys(getattr(cell, name) for cell in self.manifest.cells))
        return values if name == "algorithm" else sorted(values)

    def values(self, key: str) -> list[Any]:
        """Values of a varied key, in the order of the cells."""
        found = [cell.vary[key] for cell in self.manifest.cells if key in cell.vary]
        distinct = list({repr(value): value for value in found}.values())
        numbers = all(isinstance(value, int | float) for value in distinct)
        return sorted(distinct) if numbers else distinct

    def combinations(self, *left_out: str) -> list[dict[str, Any]]:
        """Every combination of values of the varied keys; one that is empty if there are none."""
        keys = [key for key in self.manifest.vary if key not in left_out and self.values(key)]
        return [
            dict(zip(keys, values, strict=True))
            for values in product(*(self.values(key) for key in keys))
        ]


def fits(vary: Mapping[str, Any], combination: Mapping[str, Any]) -> bool:
    """Whether runs belong to a combination; keys that do not matter to them fit any value."""
    return all(vary[key] == value for key, value in combination.items() if key in vary)


def read(directory: ComparisonDirectory) -> Comparison:
    """The runs of a comparison, those that are missing as well.

    Raises:
        RecordError: if the directory is none of ours.
    """
    manifest = directory.read()
    rows = tuple(_row(cell, directory) for cell in manifest.cells)
    return Comparison(manifest=manifest, rows=rows)


def _row(cell: Cell, directory: ComparisonDirectory) -> Row:
    made_by: dict[str, str] = {}
    try:
        summary = directory.run(cell).read_summary()
    except RecordError:
        return Row(cell=cell, state="missing")
    with suppress(ConfigError):  # who only draws need not have it
        made_by = directory.run(cell).made_by()
    traffic = summary.get("traffic") or {}
    if "messages" in traffic:
        traffic["messages_per_node"] = traffic["messages"] / max(cell.nodes, 1)
    figures = {path: _at(summary, path) for path in TITLES if _has(summary, path)}
    if figures.get(AGREED, 0.0) is None:
        del figures[AGREED]  # after averaging, nobody holds what another does
    return Row(
        cell=cell,
        state=_state(summary, figures),
        figures=figures,
        measured=len((summary.get("quality") or {}).get("nodes") or ()),
        made_by=made_by,
        settings={key: value for key, value in summary.items() if not isinstance(value, dict)},
    )


def _state(summary: Mapping[str, Any], figures: Mapping[str, float | None]) -> State:
    if summary.get("interrupted"):
        return "interrupted"
    merits = [f"{kind}.{score}.mean" for kind in ("scores", "quality") for score in ("fid", "ms")]
    return "diverged" if any(figures.get(m, 0.0) is None for m in merits) else "finished"


def _has(summary: Mapping[str, Any], path: str) -> bool:
    *tables, last = path.split(".")
    table: Any = summary
    for name in tables:
        table = table.get(name)
        if not isinstance(table, Mapping):
            return False
    return last in table


def _at(summary: Mapping[str, Any], path: str) -> float | None:
    value: Any = summary
    for name in path.split("."):
        value = value[name]
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
