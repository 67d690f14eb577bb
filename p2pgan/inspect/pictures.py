"""Pictures of a run: score curves and generated images.

Drawn with matplotlib's objects, without pyplot, so that nothing is shared between pictures and no
display is needed. K samples, C channels, H and W pixels.
"""

import io
import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from p2pgan.errors import RecordError
from p2pgan.files import write_atomic
from p2pgan.inspect.summary import ConsensusPoint, Curves, ScorePoint, Spread
from p2pgan.inspect.text import natural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Pixels = npt.NDArray[np.float64]
"""Grey values or colours in [0, 1], shape [H, W, 3]."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, told apart with any color vision; their yellow is too pale for lines."""

DPI = 100
NOTHING = "nothing recorded"
"""In a panel without a curve."""
HEADROOM = 1.06
"""Top of an axis against the greatest value."""
_GAP_PX = 4
"""Between two images of a grid."""
_IMAGE_PX = 48
"""Images are enlarged by a whole factor to about this size."""


def score_curves(curves: Mapping[str, Curves], path: Path, title: str = "") -> None:
    """Draw FID, MS and consensus distance against iterations or virtual time, as PNG.

    A line is the mean over nodes, the band around it reaches from the least to the greatest.

    Args:
        curves: what to draw, by label; the label is shown where there are several.
        path: the file.
        title: what it is of.
    Raises:
        RecordError: if the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.9), dpi=DPI, layout="constrained")
    fid, ms, consensus = figure.subplots(1, 3)
    colors = list(itertools.islice(itertools.cycle(COLORS), len(curves)))
    for curve, color in zip(curves.values(), colors, strict=True):
        _band(fid, curve.scores, lambda point: point.fid, color, positive=True)
        _band(ms, curve.scores, lambda point: point.ms, color)
        _distance(consensus, curve.consensus, lambda point: point.g, color, "-")
        _distance(consensus, curve.consensus, lambda point: point.d, color, "--")
    samples = {point.samples for curve in curves.values() for point in curve.scores}
    on = f" on {min(samples)} samples" if len(samples) == 1 else ""
    times = (point.time_s for curve in curves.values() for point in curve.scores)
    x = "iterations" if all(time_s is None for time_s in times) else "virtual time, s"
    finish(fid, f"FID{on}, lower is better", x=x, log=True)
    finish(ms, f"MS{on}, higher is better", x=x)
    finish(consensus, "Consensus distance", x=x)
    from_zero([ms])
    from_zero([consensus])
    if consensus.lines:
        _key_of_networks(consensus)
    if len(curves) > 1:
        figure.legend(
            [stroke(color) for color in colors],
            list(curves),
            loc="outside lower center",
            ncols=7,
            frameon=False,
        )
    told = "mean over nodes, and the band from the lowest to the highest"
    figure.suptitle(f"{title}: {told}" if title else told, fontsize=12, x=0.01, ha="left")
    save(figure, path)


def sample_grid(
    images_by_node: Mapping[str, npt.NDArray[Any]], path: Path, title: str = ""
) -> None:
    """Draw generated images of several nodes, a row for each, as PNG.

    Args:
        images_by_node: images in [-1, 1] of each node, shape [K, C, H, W], C 1 or 3; the same
            shape for all.
        path: the file.
        title: what they are.
    Raises:
        RecordError: if the file cannot be written.
    """
    in_order = sorted(images_by_node, key=natural)
    image_rows({node: images_by_node[node] for node in in_order}, path, title)


def image_rows(
    images_by_label: Mapping[str, npt.NDArray[Any]], path: Path, title: str = ""
) -> None:
    """Draw a row of images for each label, in the order given, as PNG.

    Args:
        images_by_label: images in [-1, 1], shape [K, C, H, W], C 1 or 3; the same shape for all.
        path: the file.
        title: what they are.
    Raises:
        RecordError: if the file cannot be written.
    """
    from matplotlib.figure import Figure

    labels = list(images_by_label)
    rows = [tiles(images, len(images)) for images in images_by_label.values()]
    grid = np.concatenate([rows[0], *(row[_GAP_PX:] for row in rows[1:])])
    height_px, width_px = grid.shape[:2]
    left_px = 24 + 8 * max(len(label) for label in labels)
    lines = in_lines(title, max((left_px + width_px) // 8, 24)).splitlines()
    top_px = 16 + 20 * len(lines) if lines else 8
    widest_px = max([left_px + width_px, *(8 * len(line) for line in lines)])
    total_px = np.array([widest_px + 8, top_px + height_px + 8])
    figure = Figure(figsize=tuple(total_px / DPI), dpi=DPI)
    place_px = np.array([left_px, 8, width_px, height_px])
    axes = figure.add_axes(tuple(place_px / np.tile(total_px, 2)))
    axes.imshow(grid, interpolation="nearest", aspect="auto")
    step_px = (height_px - _GAP_PX) / len(labels)
    axes.set_yticks([_GAP_PX / 2 + (row + 0.5) * step_px for row in range(len(labels))], labels)
    axes.set_xticks([])
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    left, top = np.array([8, 8]) / total_px
    figure.text(left, 1 - top, "\n".join(lines), va="top", fontsize=11)
    save(figure, path)


def image_grid(images_KCHW: npt.NDArray[Any], path: Path) -> None:
    """Draw generated images on a near-square grid, nothing else, as PNG.

    Args:
        images_KCHW: images in [-1, 1], C 1 or 3, K at least 1.
        path: the file.
    Raises:
        RecordError: if the file cannot be written.
    """
    from matplotlib.image import imsave

    file = io.BytesIO()
    grid = tiles(images_KCHW, math.ceil(math.sqrt(len(images_KCHW))))
    imsave(file, np.ascontiguousarray(grid), format="png", vmin=0, vmax=1)
    write_atomic(path, file.getvalue(), RecordError)


def tiles(images_KCHW: npt.NDArray[Any], columns: int) -> Pixels:
    """The images side by side, enlarged by a whole factor, on white.

    Args:
        images_KCHW: images in [-1, 1]; values beyond are cut, what is no number is black.
        columns: images in a row.
    """
    images = np.nan_to_num(np.asarray(images_KCHW, dtype=np.float64), nan=-1.0)
    count, channels, height, width = images.shape
    assert count >= 1
    assert channels in (1, 3)
    scale = max(1, round(_IMAGE_PX / max(height, width)))
    images = images.clip(-1, 1).repeat(scale, axis=2).repeat(scale, axis=3)
    step_y, step_x = height * scale + _GAP_PX, width * scale + _GAP_PX
    rows = math.ceil(count / columns)
    canvas = np.ones((rows * step_y + _GAP_PX, columns * step_x + _GAP_PX, 3))
    for index, image_CHW in enumerate(images):
        y = index // columns * step_y + _GAP_PX
        x = index % columns * step_x + _GAP_PX
        canvas[y : y + height * scale, x : x + width * scale] = (
            image_CHW.transpose(1, 2, 0) + 1
        ) / 2
    return canvas


def _band(
    axes: "Axes",
    points: Sequence[ScorePoint],
    value: Callable[[ScorePoint], Spread],
    color: str,
    *,
    positive: bool = False,
) -> None:
    """Mean and range over nodes, where they are numbers (above zero for a logarithmic axis)."""
    drawn = [
        (_x(point), value(point))
        for point in points
        if math.isfinite(value(point).mean) and (value(point).min > 0 or not positive)
    ]
    if not drawn:
        return
    x = [place for place, _ in drawn]
    low, high = [s.min for _, s in drawn], [s.max for _, s in drawn]
    axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    axes.plot(x, [s.mean for _, s in drawn], color=color, **marks(len(drawn)))


def _distance(
    axes: "Axes",
    points: Sequence[ConsensusPoint],
    value: Callable[[ConsensusPoint], float | None],
    color: str,
    style: str,
) -> None:
    drawn = [
        (_x(point), distance)
        for point in points
        if math.isfinite(_x(point)) and (distance := value(point)) is not None
    ]
    if drawn:
        x, y = zip(*drawn, strict=True)
        axes.plot(x, y, color=color, linestyle=style, **marks(len(drawn)))


def _x(point: ScorePoint | ConsensusPoint) -> float:
    """Where a point lies; NaN: the log does not say."""
    x = point.iterations if point.time_s is None else point.time_s
    return math.nan if x is None else x


def marks(points: int) -> dict[str, Any]:
    """Dots where the points are few: a single one would not show as a line."""
    return {"linewidth": 1.8, "marker": "o" if points <= 25 else "", "markersize": 4}


def _key_of_networks(axes: "Axes") -> None:
    strokes = [stroke("#444444"), stroke("#444444", "--")]
    axes.legend(strokes, ["generators", "discriminators"], frameon=False, fontsize=9)


def stroke(color: str, style: Literal["-", "--"] = "-") -> "Line2D":
    """What a key shows in front of a label."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, linestyle=style, linewidth=1.8)


def finish(
    axes: "Axes",
    title: str,
    *,
    x: str = "iterations",
    log: bool = False,
    empty: str = NOTHING,
) -> None:
    """Title, name of the x-axis, grid and limits, in the style of all our figures.

    Where nothing is drawn, it says `empty`. A linear y-axis has its limits from `from_zero`, once
    all that shares it is drawn.
    """
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    if not axes.lines:
        axes.text(0.5, 0.5, empty, transform=axes.transAxes, ha="center")
        axes.xaxis.set_visible(False)  # not its ticks, which belong to all that share it
        axes.yaxis.set_visible(False)
        return
    if log:
        logarithmic(axes)
    axes.set_xlim(left=0)


def from_zero(sharing: Sequence["Axes"]) -> None:
    """Ends a y-axis at 0 below, and above a little beyond all that is drawn in those sharing it."""
    tops = [axes.dataLim.y1 for axes in sharing if axes.lines and math.isfinite(axes.dataLim.y1)]
    sharing[0].set_ylim(0, HEADROOM * max(tops, default=0) or 1)


def logarithmic(axes: "Axes", which: Literal["x", "y"] = "y") -> None:
    """A logarithmic axis with plain numbers, also where it spans less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    steps = (1.0,) if high / low > 1000 else (1.0, 2.0, 5.0)
    axis.set_major_locator(MaxNLocator(5) if high / low < 6 else LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def whole_numbers(axes: "Axes") -> None:
    """Ticks of the x-axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def in_lines(text: str, width: int) -> str:
    """A title in lines of at most so many letters, as far as its words allow."""
    return "\n".join(textwrap.fill(line, max(width, 1)) for line in text.splitlines())


def save(figure: "Figure", path: Path) -> None:
    """Writes the figure as PNG, all of it or nothing.

    Raises:
        RecordError: if it cannot be written.
    """
    file = io.BytesIO()
    figure.savefig(file, format="png")
    write_atomic(path, file.getvalue(), RecordError)
