"""A comparison as Markdown for people, CSV with a row per run, and JSON with medians over seeds."""

import csv
import io
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import msgspec

from p2pgan.config import RunConfig, keys, value_of
from p2pgan.inspect.comparison import TITLES, Comparison, Group, Median, median_of
from p2pgan.inspect.text import bytes_text, count_text, number_text
from p2pgan.record.comparison import decides_runs
from p2pgan.record.rundir import to_json

ALWAYS = ("consensus.g", "consensus.d", "traffic.messages_per_node", "traffic.bytes_per_node")
"""Figures that every full row ends with."""

SIDE_BY_SIDE = ("fid.mean", "fid.std", "ms.mean")
"""Figures of the end that are shown for each value of a varied key, and the bytes sent."""


TOLD = (
    *("algorithm", "nodes", "seed", "model", "dataset", "partition", "overlay", "iterations"),
    "exchange_every",
)
"""Keys that the grid in words has a place for; others are named where they are not as usual."""

SAME = "same"
"""As in the column before: the key does not matter to the algorithm."""

COORDINATED = ("fl-gan", "md-gan")
"""Algorithms in which a coordinator sends as well."""

ONE_GENERATOR = ("md-gan",)
"""Algorithms in which the coordinator alone has a generator."""

REAL = "real images"

OF_SEVERAL = (".std", "consensus.g", "consensus.d")
"""How figures end that one node alone has none of."""


def to_csv(comparison: Comparison) -> str:
    """One row per run: what it is, how it ended, and its figures; empty where there is none."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    keys, figures = comparison.manifest.vary, comparison.figures
    writer.writerow(["run", "algorithm", "nodes", "seed", *keys, "state", *figures])
    for row in comparison.rows:
        cell = row.cell
        varied = [cell.vary.get(key, "") for key in keys]
        found = [row.figures.get(path) for path in figures]
        values = ["" if value is None else _plain(value) for value in found]
        writer.writerow(
            [cell.run, cell.algorithm, cell.nodes, cell.seed, *varied, row.state, *values]
        )
    return file.getvalue()


def to_document(comparison: Comparison) -> str:
    """JSON: the grid, and for each cell the medians over seeds, least, greatest, and the runs."""
    return to_json(
        {
            "base": dict(comparison.manifest.base),
            "vary": {key: comparison.values(key) for key in comparison.manifest.vary},
            "judged_by": comparison.judged,
            "cells": [_cell(group, comparison.figures) for group in comparison.groups],
        }
    )


def _cell(group: Group, figures: Sequence[str]) -> dict[str, Any]:
    return {
        "algorithm": group.algorithm,
        "nodes": group.nodes,
        "vary": dict(group.vary),
        "finished": len(group.whole),
        "diverged": group.diverged,
        "figures": {
            path: msgspec.to_builtins(median)
            for path in figures
            if (median := group.median(path)) is not None
        },
        "runs": [
            {
                "run": row.cell.run,
                "seed": row.cell.seed,
                "state": row.state,
                "figures": dict(row.figures),
            }
            for row in group.rows
        ],
    }


def to_markdown(comparison: Comparison) -> str:
    """The grid in words, FID by algorithm and nodes, all figures, and a table per varied key."""
    return "\n\n".join(_parts(comparison)) + "\n"


def overview(comparison: Comparison) -> str:
    """The first tables of `to_markdown`: FID at the end, by algorithm and nodes."""
    return "\n\n".join(_pivots(comparison))


def _parts(comparison: Comparison) -> Iterator[str]:
    yield "# Comparison"
    yield _grid_words(comparison)
    yield _reading_words(comparison)
    yield from _pivots(comparison)
    yield f"## All figures at the end{_on_samples(comparison)}"
    yield _full_table(comparison)
    if some := [name for name in comparison.axis("algorithm") if name in COORDINATED]:
        told = "messages and bytes per node hold what the coordinator sends, divided over the nodes"
        yield f"{', '.join(some)}: {told}."
    yield from _last_step(comparison)
    for key in comparison.manifest.vary:
        if len(comparison.values(key)) > 1:
            yield f"## By `{key}`{_on_samples(comparison)}"
            yield from _side_by_side(comparison, key)


def _grid_words(comparison: Comparison) -> str:
    vary = comparison.manifest.vary
    axes = [
        ", ".join(comparison.axis("algorithm")),
        f"nodes {', '.join(map(str, comparison.axis('nodes')))}",
        f"seeds {', '.join(map(str, comparison.axis('seed')))}",
        *(f"`{key}` {', '.join(map(_value, comparison.values(key)))}" for key in vary),
    ]
    states = [row.state for row in comparison.rows]
    told = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    lines = ["; ".join(axes), f"{count_text(len(states), 'run')}: {', '.join(told)}"]
    if comparison.mixed:
        lines.append(f"**Runs of different code**: {'; '.join(comparison.mixed)}")
    return "\n".join(f"- {line}" for line in (_shared_words(comparison), *lines) if line)


def _shared_words(comparison: Comparison) -> str:
    """What all runs have in common: as their summaries say, and what of the base is not usual."""
    found = [row.settings for row in comparison.rows if row.settings]
    base, vary = comparison.manifest.base, comparison.manifest.vary
    if not found:
        return ""

    def shared(key: str) -> Any:
        """Its value, if it is the same everywhere."""
        values = {repr(settings.get(key)) for settings in found}
        return found[0].get(key) if len(values) == 1 and key not in vary else None

    told = [
        " on ".join(filter(None, (_put("`{}`", shared("model")), shared("dataset")))),
        shared("partition"),
        "" if "overlay" in vary else _put("overlay `{}`", base.get("overlay")),
        "" if "iterations" in vary else count_text(base.get("iterations", 0), "iteration"),
        _put("an exchange every {}", shared("exchange_every")),
    ]
    usual = RunConfig()
    for key in keys():
        value = reduce(lambda table, name: table.get(name, {}), key.split("."), base)
        is_said = key in TOLD or key in vary or not decides_runs(key)
        is_replaced = key == "exchange_epochs" and "exchange_every" in vary
        if not (is_said or is_replaced) and value not in ({}, _plain_value(value_of(usual, key))):
            told.append(f"`{key}` {_value(value)}")
    return ", ".join(filter(None, told))


def _plain_value(value: Any) -> Any:
    """As TOML and JSON have it."""
    return list(value) if isinstance(value, tuple) else value


def _put(words: str, value: Any) -> str:
    return "" if value is None else words.format(value)


def _reading_words(comparison: Comparison) -> str:
    words = "Figures are means over the nodes of a run, and sd is over the nodes."
    several = [row for row in comparison.rows if row.cell.algorithm not in ONE_GENERATOR]
    sizes = sorted({(row.cell.nodes, row.measured) for row in several})
    if parts := [f"{some} of {nodes}" for nodes, some in sizes if 0 < some < nodes]:
        words += " Means and sd of FID, MS and what else is measured at the end, before a last"
        words += f" step too, are over {', '.join(parts)} nodes."
    if single := [name for name in comparison.axis("algorithm") if name in ONE_GENERATOR]:
        words += f" {', '.join(single)} has one generator, the coordinator's."
    if len(comparison.axis("seed")) > 1:
        words += " Of several seeds: the median (least to greatest)."
        if any(group.whole and len(group.whole) % 2 == 0 for group in comparison.groups):
            words += " Of an even number, the median is the mean of the two in the middle."
    floor = [
        group.median(f"{'quality.' if comparison.judged == 'quality' else ''}real.fid")
        for group in comparison.groups
    ]
    found = [median.median for median in floor if median is not None]
    if found:
        fid = number_text(statistics.median(found))
        words += f" Real training images in place of generated ones: FID {fid}."
    return f"{words} What precision, recall, class KL and nearest mean: `docs/concepts/scores.md`."


def _on_samples(comparison: Comparison) -> str:
    path = "quality.samples" if comparison.judged == "quality" else "scores.fid.samples"
    counts = sorted({row.figures[path] or 0 for row in comparison.rows if path in row.figures})
    return f", on {' or '.join(f'{count:,.0f}' for count in counts)} samples" if counts else ""


def _pivots(comparison: Comparison) -> Iterator[str]:
    """FID by algorithm and nodes, for each combination of varied values."""
    sizes, figure = comparison.axis("nodes"), f"{comparison.judged}.fid.mean"
    for combination in comparison.combinations():
        groups = comparison.of(combination)
        header = ["", *(f"n = {nodes}" for nodes in sizes)]
        rows = []
        for name in comparison.axis("algorithm"):
            found = {group.nodes: group for group in groups if group.algorithm == name}
            if found:
                cells = [_counted(found[n], figure) if n in found else "" for n in sizes]
                rows.append([name, *cells])
        yield f"## FID at the end{_on_samples(comparison)}{_where(combination)}"
        yield _table(header, rows)


def _where(combination: Mapping[str, Any]) -> str:
    told = [f"`{key}` = {_value(value)}" for key, value in combination.items()]
    return f" ({', '.join(told)})" if told else ""


def _full_table(comparison: Comparison) -> str:
    prefix = f"{comparison.judged}."
    figures = [path for path in comparison.figures if _is_of_end(path, prefix)]
    figures += [path for path in ALWAYS if path in comparison.figures]
    keys = comparison.manifest.vary
    header = ["algorithm", "nodes", *(f"`{key}`" for key in keys), "runs"]
    rows = []
    for group in comparison.groups:
        varied = _values(group.vary, keys)
        told = [_text(group, path) for path in figures]
        rows.append([group.algorithm, str(group.nodes), *varied, _runs(group), *told])
    rows += [
        [real, "", *([""] * len(keys)), "", *(_of_real(comparison, path) for path in figures)]
        for real in _real_images(comparison)
    ]
    return _table([*header, *(TITLES[path] for path in figures)], rows)


def _real_images(comparison: Comparison) -> Iterator[str]:
    """The name of the row of real images, with how many there were; if runs have measured them."""
    prefix = _prefix_of_real(comparison)
    if f"{prefix}fid" in comparison.figures:
        path = f"{prefix}samples"
        counts = sorted({row.figures[path] or 0 for row in comparison.rows if path in row.figures})
        on = " or ".join(f"{count:,.0f}" for count in counts)
        yield f"{REAL} ({on} samples)" if on else REAL


def _of_real(comparison: Comparison, path: str) -> str:
    """What real images get in place of generated ones, over all runs; empty: it is no score."""
    kind, _, rest = path.partition(".")
    score, _, what = rest.partition(".")
    if kind != comparison.judged or what != "mean":
        return ""
    real = f"{_prefix_of_real(comparison)}{score}"
    median = median_of(row.figures.get(real) for row in comparison.rows if row.is_whole)
    return "" if median is None else _median_text(median, number_text)


def _prefix_of_real(comparison: Comparison) -> str:
    return "quality.real." if comparison.judged == "quality" else "real."


def _is_of_end(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and ".real." not in path and not path.endswith("samples")


def _last_step(comparison: Comparison) -> Iterator[str]:
    """What the nodes came to by their last step, where a run took one."""
    kind = "quality" if "final.after.quality.fid.mean" in comparison.figures else "scores"
    keys = comparison.manifest.vary
    rows = []
    for group in comparison.groups:
        if group.median(f"final.after.{kind}.fid.mean") is None:
            continue
        told = [
            _text(group, f"final.{when}.{kind}.{score}.{what}")
            for score in ("fid", "ms")
            for what in ("mean", "std")
            for when in ("before", "after")
        ]
        varied = _values(group.vary, keys)
        agreed = [_text(group, "final.rounds"), _text(group, "final.agreed")]
        rows.append([group.algorithm, str(group.nodes), *varied, *agreed, *told])
    if not rows:
        return
    header = ["algorithm", "nodes", *(f"`{key}`" for key in keys), "rounds", "nodes that agree"]
    for title in ("FID", "sd of FID", "MS", "sd of MS"):
        header += [f"{title} before", "after"]
    on = "" if kind == "scores" else _on_samples(comparison)
    yield f"## The last step{on}"
    yield _table(header, rows)


def _side_by_side(comparison: Comparison, key: str) -> Iterator[str]:
    """A table per figure: algorithms and nodes against the values of a key."""
    figures = [f"{comparison.judged}.{name}" for name in SIDE_BY_SIDE]
    others = [name for name in comparison.manifest.vary if name != key]
    header = ["algorithm", "nodes", *(f"`{name}`" for name in others)]
    for figure in (*figures, "traffic.bytes_per_node"):
        rows = [
            [group.algorithm, str(group.nodes), *_values(group.vary, others), *cells]
            for group, cells in _rows_by(comparison, key, figure)
        ]
        yield f"{TITLES[figure]}:"
        yield _table([*header, *map(_value, comparison.values(key))], rows)


def _rows_by(comparison: Comparison, key: str, figure: str) -> Iterator[tuple[Group, list[str]]]:
    """Groups that differ in a key only: the first of them, and what each came to."""
    values = comparison.values(key)
    for first in comparison.groups:
        if key not in first.vary:
            told = _counted(first, figure)
            yield first, [told, *([SAME] * (len(values) - 1))]
            continue
        alike = [group for group in comparison.groups if _differ_in(group, first, key)]
        if alike[0] == first:
            by_value = {repr(group.vary[key]): _counted(group, figure) for group in alike}
            yield first, [by_value.get(repr(value), "") for value in values]


def _differ_in(group: Group, other: Group, key: str) -> bool:
    """Whether two groups are alike, that key apart."""
    return (
        (group.algorithm, group.nodes) == (other.algorithm, other.nodes)
        and group.vary.keys() == other.vary.keys()
        and all(other.vary[name] == value for name, value in group.vary.items() if name != key)
    )


def _values(vary: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    return [_value(vary[key]) if key in vary else "any" for key in keys]


def _text(group: Group, figure: str) -> str:
    """The median over seeds with least and greatest, and what is wrong with some of the runs."""
    put = bytes_text if figure == "traffic.bytes_per_node" else number_text
    median = group.median(figure)
    is_single = group.nodes == 1 or (
        # Discriminators, of which there are several, have a distance if they are of one kind.
        group.algorithm in ONE_GENERATOR and (median is None or figure.endswith(".std"))
    )
    if is_single and group.whole and figure.endswith(OF_SEVERAL):
        return "-"
    missing = len(group.rows) - len(group.whole)
    lost = sum(row.figures.get(figure, 0.0) is None for row in group.whole)
    told = "" if median is None else _median_text(median, put)
    if lost and not (median is None and not missing):
        told = f"{told}, {lost} diverged".removeprefix(", ")
    elif lost:
        told = "diverged"
    if told or not missing or group.whole:
        return told or "-"
    return "not finished" if group.has("interrupted") else "not run"


def _counted(group: Group, figure: str) -> str:
    """`_text`, and how many seeds it is without, where no column has the number of runs."""
    told = [_text(group, figure)]
    for state, words in (("interrupted", "not finished"), ("missing", "not run")):
        count = sum(row.state == state for row in group.rows)
        if count and group.whole:
            told.append(f"{count} {words}")
    return ", ".join(told)


def _median_text(median: Median, put: Callable[[float], str]) -> str:
    low, high = put(median.min), put(median.max)
    return put(median.median) + ("" if low == high else f" ({low} to {high})")


def _runs(group: Group) -> str:
    whole = len(group.whole)
    told = str(whole) if whole == len(group.rows) else f"{whole} of {len(group.rows)}"
    return f"{told}, {group.diverged} diverged" if group.diverged else told


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(value: float) -> str:
    """All digits; whole numbers without a point."""
    return str(int(value)) if value == int(value) else repr(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
