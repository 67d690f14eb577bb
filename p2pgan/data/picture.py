"""A picture of who holds what: one stacked bar per node, one color per class."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from p2pgan.data.partition import Shard
from p2pgan.errors import DataError, unknown_name
from p2pgan.files import write_atomic

SUFFIXES = (".png", ".svg", ".pdf")


def draw_shards(shards: Sequence[Shard], title: str, path: Path) -> None:
    """Writes the picture as PNG, SVG or PDF, all of it or nothing.

    Args:
        shards: as `partition.describe` gives them.
        title: a line above it.
        path: where to.
    Raises:
        DataError: for another suffix, or if the file cannot be written.
    """
    check_suffix(path)
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    counts = np.array([shard.counts for shard in shards])
    bottoms = np.cumsum(counts, axis=1) - counts
    figure = Figure(figsize=(min(4.0 + 0.3 * len(shards), 16.0), 4.0), layout="constrained")
    axes = figure.subplots()
    positions = np.arange(len(shards))
    colors = colormaps["tab20" if counts.shape[1] > 10 else "tab10"]
    for label in range(counts.shape[1]):
        axes.bar(positions, counts[:, label], bottom=bottoms[:, label], color=colors(label))
    if len(shards) <= 40:
        axes.set_xticks(positions, [shard.node for shard in shards])
    axes.set(xlabel="node", ylabel="images", title=title)
    axes.legend(
        [str(label) for label in range(counts.shape[1])],
        title="class",
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
    )
    file = io.BytesIO()
    figure.savefig(file, format=path.suffix.lower().removeprefix("."), dpi=120)
    write_atomic(path, file.getvalue(), DataError)


def check_suffix(path: Path) -> None:
    """Refuses what `draw_shards` cannot draw.

    Raises:
        DataError: for another suffix than one of `SUFFIXES`.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise unknown_name(DataError, "a suffix of pictures", path.suffix, SUFFIXES, str(path))
