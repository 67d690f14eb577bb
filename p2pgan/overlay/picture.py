"""A drawing of an overlay. Positions are laid out by family where the family has a natural form."""

import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import networkx as nx
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from p2pgan.errors import OverlayError, unknown_name
from p2pgan.files import write_atomic
from p2pgan.overlay.analysis import metropolis_hastings, spectral_gap
from p2pgan.overlay.graph import Overlay

SUFFIXES = (".png", ".svg", ".pdf")

_INCHES = 7.0
_DPI = 150
_COLORS = matplotlib.colormaps["viridis"]
_DEGREES_LISTED_MAX = 6
"""Up to so many different degrees get an entry each in the legend; more get a colour bar."""

_KAMADA_KAWAI_NODES_MAX = 250
"""Its springs join all pairs: some seconds for as many nodes, and growing with the cube."""

_ROOM = 0.6
"""Between components, in the unit in which each takes a circle as large as its nodes ask for."""

_GRID = re.compile(r"(?:grid|torus):(\d{1,9}),(\d{1,9})", re.ASCII)

_LABELLED_NODES_MAX = 64
_LABEL_LENGTH_MAX = 6

Positions = npt.NDArray[np.float64]
"""Shape (N, 2), in a unit of its own, y upwards."""


def draw(overlay: Overlay, path: str | os.PathLike[str]) -> None:
    """Draws an overlay into a PNG, SVG or PDF file, which is replaced if it exists.

    Nodes are coloured by degree; they carry their ids where those fit. The same overlay gives the
    same picture.

    Raises:
        OverlayError: for another suffix, or if the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise unknown_name(OverlayError, "a suffix of pictures", path.suffix, SUFFIXES, str(path))
    figure = Figure(figsize=(_INCHES, _INCHES), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    _paint(overlay, figure)
    # The ids of an SVG's elements and the date in it would differ from one call to the next.
    svg = path.suffix.lower() == ".svg"
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "p2pgan"}):
        kind = path.suffix.lower().removeprefix(".")
        figure.savefig(file, format=kind, metadata={"Date": None} if svg else None)
    write_atomic(path, file.getvalue(), OverlayError)


def positions(overlay: Overlay) -> Positions:
    """Where the nodes are drawn.

    Returns:
        Shape (N, 2), in node order.
    """
    family = overlay.family.partition(":")[0]
    count = len(overlay.nodes)
    sides = _sides(overlay)
    if family in ("complete", "ring", "watts-strogatz"):
        return _circle(count)
    if family == "star":
        return np.vstack([np.zeros((1, 2)), _circle(count - 1)])
    if sides is not None:
        row_N, column_N = np.divmod(np.arange(count), sides[1])
        return np.column_stack([column_N, -row_N]).astype(np.float64)
    return _by_springs(overlay)


def _sides(overlay: Overlay) -> tuple[int, int] | None:
    """Rows and columns of a grid or torus; a file may say what is not so."""
    written = _GRID.fullmatch(overlay.family)
    if written is None:
        return None
    rows, columns = int(written[1]), int(written[2])
    return (rows, columns) if rows * columns == len(overlay.nodes) else None


def _paint(overlay: Overlay, figure: Figure) -> None:
    axes = figure.add_subplot()
    where_N2 = positions(overlay)
    _paint_edges(axes, overlay, where_N2)
    _paint_nodes(axes, overlay, where_N2)
    low, high = where_N2.min(axis=0), where_N2.max(axis=0)
    # A single node extends nowhere; the stubs of a torus reach half a step beyond its nodes.
    half = 0.56 * max(float((high - low).max()), 1.0) + 0.06
    x, y = (low + high) / 2
    axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")
    axes.set_axis_off()
    gap = spectral_gap(metropolis_hastings(overlay))
    edges = overlay.graph.number_of_edges()
    axes.set_title(
        f"{overlay.name}\n{_counted(len(overlay.nodes), 'node')}, {_counted(edges, 'edge')}, "
        f"spectral gap {gap:.3g}",
        fontsize=12,
        parse_math=False,
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _paint_edges(axes: Axes, overlay: Overlay, where_N2: Positions) -> None:
    pairs = [(i, j) for i, peers in enumerate(overlay.neighbor_indices()) for j in peers if i < j]
    shape = _shape_of_edges(overlay)
    segments = [line for i, j in pairs for line in shape(where_N2[[i, j]])]
    # A hundred edges stand each by itself; ten thousand are a shade.
    share = min(1.0, 400 / max(1, len(segments)))
    axes.add_collection(
        LineCollection(
            segments,
            colors="#556070",
            linewidths=0.35 + 0.85 * share,
            alpha=0.25 + 0.5 * share,
            zorder=1,
        )
    )


def _shape_of_edges(overlay: Overlay) -> Callable[[Positions], list[Positions]]:
    if overlay.family.startswith("torus") and _sides(overlay) is not None:
        return _around
    if overlay.family.startswith("watts-strogatz"):
        # On a small circle straight chords are plain to see.
        bend = 0.3 * min(1.0, len(overlay.nodes) / 40)
        return lambda ends: _bent(ends, bend)
    return lambda ends: [ends]


def _around(ends: Positions) -> list[Positions]:
    """The edge around a torus as a stub that leaves at either border; others as they are."""
    if np.abs(ends[1] - ends[0]).max() <= 1:
        return [ends]
    step = np.sign(ends[1] - ends[0]) * 0.45
    return [np.stack([ends[0], ends[0] - step]), np.stack([ends[1], ends[1] + step])]


def _bent(ends: Positions, bend: float) -> list[Positions]:
    """A curve towards the center of the circle: short straight chords would hide on it."""
    t_K1 = np.linspace(0, 1, 17)[:, np.newaxis]
    control = (1 - bend) * ends.mean(axis=0)
    return [(1 - t_K1) ** 2 * ends[0] + 2 * t_K1 * (1 - t_K1) * control + t_K1**2 * ends[1]]


def _paint_nodes(axes: Axes, overlay: Overlay, where_N2: Positions) -> None:
    degrees = [len(peers) for peers in overlay.neighbor_indices()]
    scale = Normalize(min(degrees), max(max(degrees), min(degrees) + 1))
    labelled = _is_labelled(overlay)
    area = float(np.clip(9000 / len(degrees), 22, 620))
    x_N, y_N = where_N2.T
    marks = axes.scatter(
        x_N, y_N, s=area, c=degrees, cmap=_COLORS, norm=scale, edgecolors="white", zorder=2
    )
    marks.set_linewidth(0.8)
    if labelled:
        size = float(np.clip(0.42 * np.sqrt(area), 5.5, 11))
        for node, (x, y), degree in zip(overlay.nodes, where_N2, degrees, strict=True):
            _label(axes, node, (float(x), float(y)), size, dark=scale(degree) > 0.6)
    _explain_colors(axes, degrees, scale, marks)


def _label(axes: Axes, node: str, at: tuple[float, float], size: float, *, dark: bool) -> None:
    axes.annotate(
        node,
        at,
        ha="center",
        va="center_baseline",
        fontsize=size if len(node) <= 3 else size * 3 / len(node),
        color="#202020" if dark else "white",
        parse_math=False,
        zorder=3,
    )


def _is_labelled(overlay: Overlay) -> bool:
    few = len(overlay.nodes) <= _LABELLED_NODES_MAX
    return few and max(map(len, overlay.nodes)) <= _LABEL_LENGTH_MAX


def _explain_colors(axes: Axes, degrees: Sequence[int], scale: Normalize, marks: Any) -> None:
    different = sorted(set(degrees))
    if len(different) > _DEGREES_LISTED_MAX:
        bar = axes.figure.colorbar(marks, ax=axes, shrink=0.5, pad=0.01)
        bar.set_label("degree")
        bar.outline.set_visible(False)
        return
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            markersize=8,
            label=str(degree),
            color=_COLORS(scale(degree)),
        )
        for degree in different
    ]
    axes.legend(
        handles=handles,
        title="degree",
        loc="upper center",
        bbox_to_anchor=(0.5, 0.02),
        ncols=len(handles),
        frameon=False,
        columnspacing=1.0,
        handletextpad=0.2,
    )


def _circle(count: int) -> Positions:
    """Clockwise from the top; two from left to right."""
    if count == 2:
        return np.array([[-1.0, 0.0], [1.0, 0.0]])
    angle_N = np.pi / 2 - 2 * np.pi * np.arange(count) / max(1, count)
    return np.column_stack([np.cos(angle_N), np.sin(angle_N)])


def _by_springs(overlay: Overlay) -> Positions:
    """Each component for itself, the largest first, in rows that fill about a square."""
    components = sorted(overlay.components(), key=len, reverse=True)
    radii = [0.6 * np.sqrt(len(component)) for component in components]
    width = 3.0 * float(np.sqrt(sum(radius**2 for radius in radii)))
    where: dict[str, Positions] = {}
    x, y, height = 0.0, 0.0, 2 * radii[0]
    for component, radius in zip(components, radii, strict=True):
        if x > 0 and x + 2 * radius > width:
            x, y, height = 0.0, y - height - _ROOM, 2 * radius
        for node, place in _spread(overlay, component).items():
            where[node] = radius * place + [x + radius, y - radius]
        x += 2 * radius + _ROOM
    return np.array([where[node] for node in overlay.nodes])


def _spread(overlay: Overlay, component: tuple[str, ...]) -> Mapping[str, Positions]:
    """Positions within the unit square, by the springs of Kamada and Kawai 1989 from a circle."""
    # In node order: a view would hand its nodes over in the order of a set of text.
    graph = nx.Graph()
    graph.add_nodes_from(component)
    graph.add_edges_from(sorted(map(sorted, overlay.graph.subgraph(component).edges)))
    start = dict(zip(component, _circle(len(component)), strict=True))
    if len(component) > _KAMADA_KAWAI_NODES_MAX:
        quick: Mapping[str, Positions] = nx.spring_layout(graph, pos=start, seed=0, weight=None)
        return quick
    # Without weights: an edge's attributes are no lengths.
    placed: Mapping[str, Positions] = nx.kamada_kawai_layout(graph, pos=start, weight=None)
    return placed
