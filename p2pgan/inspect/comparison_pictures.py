"""Figures of a comparison: how runs went, what they came to, and what it cost.

A figure has a panel per number of nodes. An algorithm has the same color in all of them; a line is
the median over seeds of the mean over nodes, and the band around it reaches from the least to the
greatest seed. A diamond is what a last step left. A run of one node, which has all the data, is
drawn in every panel.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
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
    after_last_step,
    iterations,
    over_seeds,
    rounds,
)
from p2pgan.inspect.pictures import (
    COLORS,
    DPI,
    NOTHING,
    finish,
    from_zero,
    in_lines,
    logarithmic,
    marks,
    save,
    stroke,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_BLUE, _RED, _GREEN, _PINK, _ORANGE, _SKY, _BLACK = COLORS
_GREY, _WINE = "#888888", "#882255"
"""Two more that are darker or paler than the palette's in grey, too."""

COLOR_OF = {
    "centralised": _BLACK,
    "standalone": _RED,
    "fl-gan": _GREEN,
    "gossip": _BLUE,
    "gossip-ind": _ORANGE,
    "gosgd": _SKY,
    "push-sum": _WINE,
    "ad-psgd": _GREY,
    "md-gan": _PINK,
}
"""The same in all figures of all comparisons; later algorithms take what is left."""

STYLES = ("-", "--", ":", "-.")
"""Of the values of a varied key that share a panel."""

PANEL_INCHES = (3.6, 2.9)
KEY_INCHES = 0.7
"""Height of the title and of the key below the panels."""
LINE_INCHES = 0.18
"""Height of one more line of the title."""
LETTERS_PER_INCH = 13
"""Of a title."""
KEYS_PER_INCH = 0.65

DIVERGED = "diverged"
"""The word for it in all figures."""
LAST_STEP = "after the last step"
"""In the key, beside a diamond."""
DIAMOND, ZERO = "D", "v"
"""Markers: of what a last step left, and of a zero where the axis is logarithmic."""
HOLLOW: Mapping[str, Any] = {"marker": DIAMOND, "fillstyle": "none", "markersize": 7}
SIDE_STEP = 0.08
"""Between the bars of two algorithms at the same value."""

MEGA = 10**6

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
    """Draws all figures that need no networks and have something to show, as PNG; which.

    Raises:
        RecordError: if the disk refuses.
    """
    if not any(curves.values()):
        return []
    drawn = Drawn(comparison, curves, folder)
    paths: list[Path | None] = []
    for combination in comparison.combinations():
        for figure in (_scores, _nodes, _traffic, _consensus):
            paths.append(figure(drawn, combination))
    if len(comparison.values("partition")) > 1:
        paths += [p for rest in comparison.combinations("partition") for p in _splits(drawn, rest)]
    for key in comparison.manifest.vary:
        if len(comparison.values(key)) > 1:
            paths += [_varied(drawn, key, rest) for rest in comparison.combinations(key)]
    return [path for path in paths if path is not None]


def file_name(what: str, combination: Mapping[str, Any]) -> str:
    """Name of a figure of one combination of varied values, which folders may have."""
    parts = [what, *(f"{key}-{value}" for key, value in combination.items())]
    return re.sub(r"[^A-Za-z0-9._+]+", "-", "-".join(parts)).strip("-") + ".png"


def title_of(what: str, combination: Mapping[str, Any]) -> str:
    """A title with the varied values on a line of their own."""
    told = ", ".join(f"{key} = {value}" for key, value in combination.items())
    return f"{what}\n{told}" if told else what


def samples_of(comparison: Comparison, *, at_end: bool) -> str:
    """How many images the scores are of, those on the way or those at the end; empty: of none."""
    is_thorough = at_end and comparison.judged == "quality"
    path = "quality.samples" if is_thorough else "scores.fid.samples"
    counts = sorted({row.figures[path] or 0 for row in comparison.rows if path in row.figures})
    return f"{' or '.join(f'{count:,.0f}' for count in counts)} samples" if counts else ""


def _scores(drawn: Drawn, combination: Mapping[str, Any]) -> Path:
    """MS and FID against iterations, as figure 4.2 of the thesis."""
    figure, panels = _panels(drawn, 2)
    for nodes, (top, bottom) in zip(drawn.sizes, panels, strict=True):
        groups = drawn.groups(nodes, combination)
        for axes, value, log in ((top, _ms, False), (bottom, _fid, True)):
            for group in groups:
                _curve(axes, drawn, group, iterations, value)
            _finish(axes, "FID" if log else "MS", nodes, groups, log=log)
    from_zero([top for top, _ in panels])
    title = f"MS (higher is better) and FID (lower is better){_on_samples(drawn)}{_band(drawn)}"
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
                _box(axes, place, values, group)
            empty = "" if axes.texts else NOTHING
            finish(axes, f"{score.upper()}, n = {nodes}", x="", log=score == _FID, empty=empty)
            axes.xaxis.set_visible(True)
            names = [group.algorithm for group in groups]
            axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
            axes.set_xlim(-0.6, len(names) - 0.4)
    from_zero([top for top, _ in panels])
    told = "a dot: a node; box: quartiles; all seeds"
    title = f"Nodes at the end{_on_samples(drawn, at_end=True)}; {told}"
    return _end(drawn, figure, NODES, title, combination)


def _traffic(drawn: Drawn, combination: Mapping[str, Any]) -> Path | None:
    """FID against bytes sent, those of a last step too; who sends none has a level line."""
    figure, panels = _panels(drawn, 1)
    places: list[float] = []
    for nodes, (axes,) in zip(drawn.sizes, panels, strict=True):
        here: list[float] = []
        groups = drawn.groups(nodes, combination)
        for group in groups:
            sent = [p for p in over_seeds(drawn.of(group), _megabytes, _fid_trained) if p.x > 0]
            after = after_last_step(drawn.of(group), _megabytes, _fid)
            last = [after] if after and after.x > 0 else []
            _line(axes, group, [*sent, *last])
            _diamonds(axes, group, last)
            here += [point.x for point in (*sent, *last)]
            if not sent and not last:
                for point in over_seeds(drawn.of(group), iterations, _fid)[-1:]:
                    _level(axes, group, point)
        _finish(axes, "FID", nodes, groups, x="MB sent per node", log=True)
        _log_x(axes, here)
        places += here
    if not places:
        return None
    told = "broken: the last scores of who sends nothing"
    title = f"FID against bytes sent{_on_samples(drawn)}{_band(drawn)}; {told}"
    return _end(drawn, figure, "traffic", title, combination)


def _consensus(drawn: Drawn, combination: Mapping[str, Any]) -> Path | None:
    """Consensus distances of generators and discriminators against rounds of training.

    Against iterations, where rounds of one run are longer than those of another.
    """
    figure, panels = _panels(drawn, 2)
    several = [group for group in drawn.comparison.of(combination) if group.nodes > 1]
    lengths = {row.settings.get("exchange_every") for group in several for row in group.whole}
    x, unit = (iterations, "iterations") if len(lengths) > 1 else (rounds, "rounds")
    zeros = False
    for nodes, (top, bottom) in zip(drawn.sizes, panels, strict=True):
        groups = [group for group in drawn.groups(nodes, combination) if group.nodes > 1]
        for axes, value, name in ((top, _g, "generators"), (bottom, _d, "discriminators")):
            zeros |= _distances(axes, drawn, groups, (x, value))
            _finish(axes, name, nodes, groups, x=unit, log=True)
            whole_numbers(axes)
    if not any(axes.lines for axes in figure.axes):
        return None
    told = "; hollow markers at the floor: 0, all are equal" if zeros else ""
    what = "Consensus distance: root mean square of the nodes' distances from their mean"
    return _end(drawn, figure, "consensus", f"{what}{_band(drawn)}{told}", combination)


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
        groups: list[Group] = []
        for partition, style in zip(partitions, STYLES, strict=False):
            for group in drawn.groups(nodes, {**rest, "partition": partition}):
                if "partition" not in group.vary and style != STYLES[0]:
                    continue  # it has all the data, and is drawn already
                groups.append(group)
                for axes, value in ((top, _ms), (bottom, _fid)):
                    _curve(axes, drawn, group, iterations, value, style)
        _finish(top, "MS", nodes, groups)
        _finish(bottom, "FID", nodes, groups, log=True)
    from_zero([top for top, _ in panels])
    words = {"-": "solid", "--": "broken", ":": "dotted", "-.": "broken and dotted"}
    told = ", ".join(f"{words[s]}: {p}" for p, s in zip(partitions, STYLES, strict=False))
    return _end(drawn, figure, what, f"{told}{_on_samples(drawn)}{_band(drawn)}", rest)


def _varied(drawn: Drawn, key: str, rest: Mapping[str, Any]) -> Path | None:
    """FID at the end against the values of a key; whom it cannot matter to has a level."""
    values = drawn.comparison.values(key)
    figure, panels = _panels(drawn, 1)
    for nodes, (axes,) in zip(drawn.sizes, panels, strict=True):
        by_name: dict[str, list[tuple[int, Group]]] = {}
        spared: list[Group] = []
        for place, value in enumerate(values):
            for group in drawn.groups(nodes, {**rest, key: value}):
                if key in group.vary:
                    by_name.setdefault(group.algorithm, []).append((place, group))
                elif place == 0:
                    spared.append(group)
                    for seen in _at_end(drawn, group, place):
                        _level(axes, group, seen)
        for number, (name, placed) in enumerate(by_name.items()):
            aside = SIDE_STEP * (number - (len(by_name) - 1) / 2)
            ends = [point for at, group in placed for point in _at_end(drawn, group, at + aside)]
            _bars(axes, ends, _color(name), are_joined=_are_numbers(values))
            for at, group in placed:
                _tell_diverged(axes, at + aside, group)
        _finish(axes, "FID", nodes, spared, x=key, log=True)
        axes.xaxis.set_visible(True)
        axes.set_xticks(range(len(values)), [str(value) for value in values])
        if max(len(str(value)) for value in values) * len(values) > 30:
            axes.tick_params(axis="x", rotation=25)
        axes.set_xlim(-0.4, len(values) - 0.6)
    if not any(key in group.vary and drawn.of(group) for group in drawn.comparison.of(rest)):
        return None
    told = _band(drawn, "bars") + "; broken: it does not matter"
    title = f"FID at the end by {key}{_on_samples(drawn, at_end=True)}{told}"
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
    width = figure.get_figwidth()
    if what != NODES:  # where the axis says it
        keys = _keys(drawn, figure)
        columns = min(len(keys), int(KEYS_PER_INCH * width)) or 1
        figure.legend(
            list(keys.values()),
            list(keys),
            loc="outside lower center",
            ncols=columns,
            frameon=False,
        )
    told = in_lines(title_of(title, combination), int(width * LETTERS_PER_INCH))
    figure.set_figheight(figure.get_figheight() + LINE_INCHES * told.count("\n"))
    figure.suptitle(told, fontsize=10, x=0.01, ha="left")
    path = drawn.folder / file_name(what, combination)
    save(figure, path)
    return path


def _keys(drawn: Drawn, figure: "Figure") -> dict[str, "Line2D"]:
    """What the key shows, by label: the algorithms that are there, and the diamond."""
    from matplotlib.lines import Line2D

    lines = [line for axes in figure.axes for line in axes.lines]
    colors = {line.get_color() for line in lines}
    names = [n for n in drawn.comparison.axis("algorithm") if _color(n) in colors]
    keys = {name: stroke(_color(name)) for name in names}
    if any(line.get_marker() == DIAMOND for line in lines):
        keys[LAST_STEP] = Line2D([], [], color="#444444", linestyle="", **HOLLOW)
    return keys


def _finish(
    axes: "Axes",
    what: str,
    nodes: int,
    groups: Sequence[Group],
    *,
    x: str = "iterations",
    log: bool = False,
) -> None:
    """Titles a panel, naming those of the algorithms that diverged, or some of whose runs did."""
    names = list(dict.fromkeys(group.algorithm for group in groups if group.diverged))
    told = f"\n{DIVERGED}: {', '.join(names)}" if names else ""
    title = in_lines(f"{what}, n = {nodes}{told}", int(PANEL_INCHES[0] * LETTERS_PER_INCH))
    finish(axes, title, x=x, log=log, empty="" if names or axes.texts else NOTHING)


def _curve(axes: "Axes", drawn: Drawn, group: Group, x: Value, y: Value, style: str = "-") -> None:
    """Training as a line, and what a last step left as a diamond at its end."""
    _line(axes, group, over_seeds(drawn.of(group), x, y), style)
    after = after_last_step(drawn.of(group), x, y)
    _diamonds(axes, group, [after] if after else [])


def _distances(
    axes: "Axes", drawn: Drawn, groups: Sequence[Group], of: tuple[Value, Value]
) -> bool:
    """Curves on a logarithmic axis, with zeros at its floor; whether there are any."""
    told = 0
    for group in groups:
        curves = drawn.of(group)
        seen, after = over_seeds(curves, *of), after_last_step(curves, *of)
        for part in _above_zero(seen):
            _line(axes, group, part)
        _diamonds(axes, group, [after] if after and after.middle > 0 else [])
        if zeros := [point.x for point in seen if point.middle <= 0]:
            # Around each other, since several may be there.
            _at_floor(axes, group, zeros, {"marker": ZERO, "markersize": 5 + 3 * told})
            told += 1
        if after and after.middle <= 0:
            _at_floor(axes, group, [after.x], HOLLOW)
            told += 1
    return told > 0


def _at_floor(axes: "Axes", group: Group, x: Sequence[float], look: Mapping[str, Any]) -> None:
    """Hollow markers at the lower end of the axis, whatever its limits are."""
    how = {**look, "fillstyle": "none", "clip_on": False, "linestyle": ""}
    how["transform"] = axes.get_xaxis_transform()
    axes.plot(x, [0.0] * len(x), color=_color(group.algorithm), **how)


def _diamonds(axes: "Axes", group: Group, seen: Sequence[Seen]) -> None:
    x, y = [point.x for point in seen], [point.middle for point in seen]
    if x:
        axes.plot(x, y, color=_color(group.algorithm), linestyle="", **HOLLOW)


def _at_end(drawn: Drawn, group: Group, x: float) -> list[Seen]:
    """FID at the end, as the tables judge it; empty if no run has it."""
    median = group.median(f"{drawn.comparison.judged}.fid.mean")
    if median is None:
        return []
    return [Seen(x=x, low=median.min, middle=median.median, high=median.max)]


def _tell_diverged(axes: "Axes", x: float, group: Group) -> None:
    """The word at the top, where some run of the group diverged."""
    if group.diverged:
        look: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "top", "fontsize": 8}
        color = _color(group.algorithm)
        axes.text(x, 0.98, DIVERGED, transform=axes.get_xaxis_transform(), color=color, **look)


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether there is an order between them, that a line can follow."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _line(axes: "Axes", group: Group, seen: Sequence[Seen], style: str = "-") -> None:
    if not seen:
        return
    x, color = [point.x for point in seen], _color(group.algorithm)
    low, high = [point.low for point in seen], [point.high for point in seen]
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    middle = [point.middle for point in seen]
    axes.plot(x, middle, color=color, linestyle=style, **marks(len(seen)))


def _above_zero(seen: Sequence[Seen]) -> list[list[Seen]]:
    """What a logarithmic axis can show, in parts between which there are zeros.

    A band that reaches 0 ends at the least value above.
    """
    least = min((value for p in seen for value in (p.low, p.middle) if value > 0), default=0.0)
    return [
        [
            Seen(x=point.x, low=max(point.low, least), middle=point.middle, high=point.high)
            for point in part
        ]
        for is_above, part in groupby(seen, lambda point: point.middle > 0)
        if is_above
    ]


def _level(axes: "Axes", group: Group, point: Seen) -> None:
    axes.axhline(point.middle, color=_color(group.algorithm), linestyle="--", linewidth=1.4)


def _bars(axes: "Axes", points: Sequence[Seen], color: str, *, are_joined: bool) -> None:
    """Medians, with bars to the least and the greatest, and a line through them if wanted."""
    if not points:
        return
    middle = [point.middle for point in points]
    below = [point.middle - point.low for point in points]
    above = [point.high - point.middle for point in points]
    x = [point.x for point in points]
    look = {**marks(len(points)), "marker": "o", "linestyle": "-" if are_joined else ""}
    axes.errorbar(x, middle, [below, above], color=color, capsize=3, **look)


def _box(axes: "Axes", place: int, values: Sequence[float], group: Group) -> None:
    """Median, quartiles and extremes of the nodes, and a dot for each."""
    from matplotlib.patches import Rectangle  # `Axes.boxplot` would bring pyplot

    _tell_diverged(axes, place, group)
    if not values:
        return
    color, left, right = _color(group.algorithm), place - 0.28, place + 0.28
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
    told = samples_of(drawn.comparison, at_end=at_end)
    return f"; {told}" if told else ""


def _band(drawn: Drawn, what: str = "band") -> str:
    """What a band is, where there is one."""
    several = len(drawn.comparison.axis("seed")) > 1
    return f"; {what}: least to greatest over seeds" if several else ""


def _megabytes(point: Point) -> float:
    return point.bytes_per_node / MEGA


def _fid_trained(point: Point) -> float | None:
    return point.fid if point.is_trained else None


_fid: Value = attrgetter("fid")
_ms: Value = attrgetter("ms")
_g: Value = attrgetter("g")
_d: Value = attrgetter("d")
