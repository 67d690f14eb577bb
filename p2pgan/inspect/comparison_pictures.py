"""Figures of a comparison: how runs went, what they came to, and what it cost.

A figure has a panel per number of nodes. An algorithm has the same color in all of them; a line is
the median over seeds of the mean over nodes, and the band around it reaches from the least to the
greatest seed. A run of one node, which has all the data, is drawn in every panel.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from p2pgan.inspect.comparison import Comparison, Group, fits
from p2pgan.inspect.comparison_curves import (
    Curve,
    Curves,
    Point,
    Score,
    Seen,
    Value,
    iterations,
    over_seeds,
    rounds,
)
from p2pgan.inspect.pictures import COLORS, DPI, finish, logarithmic, marks, save, stroke

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _RED, _GREEN, _PINK, _ORANGE, _SKY, _BLACK = COLORS

COLOR_OF = {
    "centralised": _BLACK,
    "standalone": _RED,
    "fl-gan": _GREEN,
    "gossip": _BLUE,
    "gossip-ind": _ORANGE,
}
"""The same in all figures of all comparisons; later algorithms take what is left."""

STYLES = ("-", "--", ":", "-.")
"""Of the values of a varied key that share a panel."""

PANEL_INCHES = (3.6, 2.9)
KEY_INCHES = 0.7
"""Height of the title and of the key below the panels."""

MEBI = 2**20

NODES = "nodes"
"""Name of the figure of nodes at the end."""

_FID: Score = "fid"
_MS: Score = "ms"


@dataclass(frozen=True)
class Drawn:
    """What all figures need: the runs, their curves, and where the figures go."""

    comparison: Comparison
    curves: Curves
    folder: Path

    def of(self, group: Group) -> Sequence[Curve]:
        return self.curves[group.key]

    @property
    def sizes(self) -> list[int]:
        """Numbers of nodes that have a panel; one node alone if there are no others."""
        sizes: list[int] = self.comparison.axis("nodes")
        return [nodes for nodes in sizes if nodes > 1] or sizes

    def groups(self, nodes: int, combination: Mapping[str, Any]) -> list[Group]:
        """Those of a panel."""
        return [
            group
            for group in self.comparison.groups
            if group.nodes in (1, nodes) and fits(group.vary, combination) and self.of(group)
        ]


def draw(comparison: Comparison, curves: Curves, folder: Path) -> list[Path]:
    """Draws all figures that need no networks, as PNG; which.

    Raises:
        RecordError: if the disk refuses.
    """
    if not any(curves.values()):
        return []
    drawn = Drawn(comparison, curves, folder)
    paths = []
    for combination in comparison.combinations():
        for figure in (_scores, _nodes, _traffic, _consensus):
            paths.append(figure(drawn, combination))
    if len(comparison.values("partition")) > 1:
        paths += [p for rest in comparison.combinations("partition") for p in _splits(drawn, rest)]
    for key in comparison.manifest.vary:
        if len(comparison.values(key)) > 1:
            paths += [_varied(drawn, key, rest) for rest in comparison.combinations(key)]
    return paths


def file_name(what: str, combination: Mapping[str, Any]) -> str:
    """Name of a figure of one combination of varied values, which folders may have."""
    parts = [what, *(f"{key}-{value}" for key, value in combination.items())]
    return re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(parts)).strip("-") + ".png"


def title_of(what: str, combination: Mapping[str, Any]) -> str:
    """A title with the varied values on a line of their own."""
    told = ", ".join(f"{key} = {value}" for key, value in combination.items())
    return f"{what}\n{told}" if told else what


def _scores(drawn: Drawn, combination: Mapping[str, Any]) -> Path:
    """MS and FID against iterations, as figure 4.2 of the thesis."""
    figure, panels = _panels(drawn, 2)
    for nodes, (top, bottom) in zip(drawn.sizes, panels, strict=True):
        for group in drawn.groups(nodes, combination):
            for axes, value in ((top, _ms), (bottom, _fid)):
                _line(axes, group, over_seeds(drawn.of(group), iterations, value))
        finish(top, f"MS, n = {nodes}")
        finish(bottom, f"FID, n = {nodes}", log=True)
    title = f"MS (higher is better) and FID (lower is better){_on_samples(drawn)}"
    return _end(drawn, figure, "scores", title, combination)


def _nodes(drawn: Drawn, combination: Mapping[str, Any]) -> Path:
    """MS and FID of each node at the end, as figure 4.4 of the thesis."""
    figure, panels = _panels(drawn, 2)
    for nodes, (top, bottom) in zip(drawn.sizes, panels, strict=True):
        groups = drawn.groups(nodes, combination)
        for axes, score in ((top, _MS), (bottom, _FID)):
            for place, group in enumerate(groups):
                curves = drawn.of(group)
                values = [v for curve in curves for v in curve.at_end[score].values()]
                _box(axes, place, values, group.algorithm)
            finish(axes, f"{score.upper()}, n = {nodes}", x="", log=score == _FID)
            names = [group.algorithm for group in groups]
            axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
            axes.set_xlim(-0.6, len(names) - 0.4)
    title = f"Each node at the end, all seeds{_on_samples(drawn)}"
    return _end(drawn, figure, NODES, title, combination)


def _traffic(drawn: Drawn, combination: Mapping[str, Any]) -> Path:
    """FID against bytes sent, those of a last step too; who sends none has a level line."""
    figure, panels = _panels(drawn, 1)
    for nodes, (axes,) in zip(drawn.sizes, panels, strict=True):
        places: list[float] = []
        for group in drawn.groups(nodes, combination):
            seen = over_seeds(drawn.of(group), _mebibytes, _fid)
            sent = [point for point in seen if point.x > 0]
            _line(axes, group, sent)
            places += [point.x for point in sent]
            if not sent:
                for point in over_seeds(drawn.of(group), iterations, _fid)[-1:]:
                    _level(axes, group, point)
        finish(axes, f"FID, n = {nodes}", x="MiB sent per node", log=True)
        _log_x(axes, places)
    title = f"FID against bytes sent; broken: at the end, of who sends nothing{_on_samples(drawn)}"
    return _end(drawn, figure, "traffic", title, combination)


def _consensus(drawn: Drawn, combination: Mapping[str, Any]) -> Path:
    """Consensus distances of generators and discriminators against rounds."""
    figure, panels = _panels(drawn, 2)
    for nodes, (top, bottom) in zip(drawn.sizes, panels, strict=True):
        for axes, value, name in ((top, _g, "generators"), (bottom, _d, "discriminators")):
            equal = []
            for group in drawn.groups(nodes, combination):
                seen = over_seeds(drawn.of(group), rounds, value)
                above = _above_zero(seen)
                _line(axes, group, above)
                if not above and group.nodes > 1:
                    equal.append(group.algorithm)
            finish(axes, f"{name}, n = {nodes}", x="rounds", log=True)
            if equal and axes.lines:
                told = f"0 after every exchange: {', '.join(equal)}"
                box = {"facecolor": "white", "alpha": 0.7, "linewidth": 0}
                axes.text(0.03, 0.03, told, transform=axes.transAxes, fontsize=8, bbox=box)
    title = "Consensus distance: root mean square of the nodes' distances from their mean"
    return _end(drawn, figure, "consensus", title, combination)


def _splits(drawn: Drawn, rest: Mapping[str, Any]) -> Iterator[Path]:
    """As many figures as the partitions need, since there are no more styles than `STYLES`."""
    values, most = drawn.comparison.values("partition"), len(STYLES)
    for start in range(0, len(values), most):
        what = f"partitions-{start // most + 1}" if start else "partitions"
        yield _split(drawn, what, values[start : start + most], rest)


def _split(drawn: Drawn, what: str, partitions: Sequence[Any], rest: Mapping[str, Any]) -> Path:
    """The partitions over each other, as figure 4.5 of the thesis shows the split by class."""
    figure, panels = _panels(drawn, 2)
    for nodes, (top, bottom) in zip(drawn.sizes, panels, strict=True):
        for partition, style in zip(partitions, STYLES, strict=False):
            for group in drawn.groups(nodes, {**rest, "partition": partition}):
                if "partition" not in group.vary and style != STYLES[0]:
                    continue  # it has all the data, and is drawn already
                for axes, value in ((top, _ms), (bottom, _fid)):
                    _line(axes, group, over_seeds(drawn.of(group), iterations, value), style)
        finish(top, f"MS, n = {nodes}")
        finish(bottom, f"FID, n = {nodes}", log=True)
    words = {"-": "solid", "--": "broken", ":": "dotted", "-.": "broken and dotted"}
    told = ", ".join(f"{words[s]}: {p}" for p, s in zip(partitions, STYLES, strict=False))
    return _end(drawn, figure, what, f"{told}{_on_samples(drawn)}", rest)


def _varied(drawn: Drawn, key: str, rest: Mapping[str, Any]) -> Path:
    """FID at the end against the values of a key; whom it cannot matter to has a level."""
    values = drawn.comparison.values(key)
    figure, panels = _panels(drawn, 1)
    fid = f"{drawn.comparison.judged}.fid.mean"
    for nodes, (axes,) in zip(drawn.sizes, panels, strict=True):
        by_name: dict[str, list[Seen]] = {}
        for place, value in enumerate(values):
            for group in drawn.groups(nodes, {**rest, key: value}):
                median = group.median(fid)
                if median is None:
                    continue
                seen = Seen(x=place, low=median.min, middle=median.median, high=median.max)
                if key in group.vary:
                    by_name.setdefault(group.algorithm, []).append(seen)
                elif place == 0:
                    _level(axes, group, seen)
        for name, points in by_name.items():
            _bars(axes, points, _color(name))
        finish(axes, f"FID at the end, n = {nodes}", x=key, log=True)
        axes.set_xticks(range(len(values)), [str(value) for value in values])
        if max(len(str(value)) for value in values) * len(values) > 30:
            axes.tick_params(axis="x", rotation=25)
        axes.set_xlim(-0.4, len(values) - 0.6)
    title = f"FID at the end by {key}; broken: it does not matter{_on_samples(drawn, at_end=True)}"
    return _end(drawn, figure, f"by-{key}", title, rest)


def _panels(drawn: Drawn, rows: int) -> tuple["Figure", list[list["Axes"]]]:
    """A column of `rows` panels for each number of nodes; panels of a row share their y-axis."""
    from matplotlib.figure import Figure

    columns = len(drawn.sizes)
    width = max(PANEL_INCHES[0] * columns, 6.5)
    size = (width, PANEL_INCHES[1] * rows + KEY_INCHES)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey="row")
    return figure, [list(column) for column in axes.T]


def _end(
    drawn: Drawn, figure: "Figure", what: str, title: str, combination: Mapping[str, Any]
) -> Path:
    """Key and title, and the file."""
    colors = {line.get_color() for axes in figure.axes for line in axes.lines}
    names = [n for n in drawn.comparison.axis("algorithm") if _color(n) in colors]
    if what != NODES:  # where the axis says it
        strokes = [stroke(_color(name)) for name in names]
        figure.legend(strokes, names, loc="outside lower center", ncols=6, frameon=False)
    figure.suptitle(title_of(title, combination), fontsize=10, x=0.01, ha="left")
    path = drawn.folder / file_name(what, combination)
    save(figure, path)
    return path


def _line(axes: "Axes", group: Group, seen: Sequence[Seen], style: str = "-") -> None:
    if not seen:
        return
    x, color = [point.x for point in seen], _color(group.algorithm)
    low, high = [point.low for point in seen], [point.high for point in seen]
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    middle = [point.middle for point in seen]
    axes.plot(x, middle, color=color, linestyle=style, **marks(len(seen)))


def _above_zero(seen: Sequence[Seen]) -> list[Seen]:
    """What a logarithmic axis can show; a band that reaches 0 ends at the least value above."""
    least = min((value for p in seen for value in (p.low, p.middle) if value > 0), default=0.0)
    return [
        Seen(x=point.x, low=max(point.low, least), middle=point.middle, high=point.high)
        for point in seen
        if point.middle > 0
    ]


def _level(axes: "Axes", group: Group, point: Seen) -> None:
    axes.axhline(point.middle, color=_color(group.algorithm), linestyle="--", linewidth=1.4)


def _bars(axes: "Axes", points: Sequence[Seen], color: str) -> None:
    """A line through medians, with bars to the least and the greatest."""
    middle = [point.middle for point in points]
    below = [point.middle - point.low for point in points]
    above = [point.high - point.middle for point in points]
    x = [point.x for point in points]
    axes.errorbar(x, middle, [below, above], color=color, capsize=3, **marks(len(points)))


def _box(axes: "Axes", place: int, values: Sequence[float], algorithm: str) -> None:
    """Median, quartiles and extremes of the nodes, and a dot for each."""
    from matplotlib.patches import Rectangle  # `Axes.boxplot` would bring pyplot

    if not values:
        axes.text(place, 0.5, "diverged", transform=axes.get_xaxis_transform(), rotation=90)
        return
    color, left, right = _color(algorithm), place - 0.28, place + 0.28
    lowest, low, middle, high, highest = np.percentile(values, [0, 25, 50, 75, 100]).tolist()
    axes.add_patch(Rectangle((left, low), right - left, high - low, fill=False, color=color))
    axes.plot([left, right], [middle, middle], color=color, linewidth=2)
    for quartile, extreme in ((low, lowest), (high, highest)):
        axes.plot([place, place], [quartile, extreme], color=color, linewidth=1)
    # The golden ratio spreads any number of dots evenly, and the same at every drawing.
    side = [place + 0.36 * ((index * 0.618) % 1 - 0.5) for index in range(len(values))]
    axes.plot(side, list(values), ".", color=color, alpha=0.45, markersize=4)


def _log_x(axes: "Axes", places: Sequence[float]) -> None:
    if places:
        axes.set_xlim(min(places) / 1.2, max(places) * 1.2)
        logarithmic(axes, "x")


def _color(algorithm: str) -> str:
    return COLOR_OF.get(algorithm, (_PINK, _SKY)[sum(map(ord, algorithm)) % 2])


def _on_samples(drawn: Drawn, *, at_end: bool = False) -> str:
    """How many images the scores are of."""
    is_thorough = at_end and drawn.comparison.judged == "quality"
    path = "quality.samples" if is_thorough else "scores.fid.samples"
    rows = drawn.comparison.rows
    counts = sorted({row.figures[path] or 0 for row in rows if path in row.figures})
    return f"; {' or '.join(f'{count:,.0f}' for count in counts)} samples" if counts else ""


def _mebibytes(point: Point) -> float:
    return point.bytes_per_node / MEBI


_fid: Value = attrgetter("fid")
_ms: Value = attrgetter("ms")
_g: Value = attrgetter("g")
_d: Value = attrgetter("d")
