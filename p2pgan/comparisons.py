"""Tables and figures of a comparison, made from its run directories without training anything."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pgan.inspect.comparison import Comparison, Group, read
from p2pgan.inspect.comparison_curves import Curve, Curves, read_curves
from p2pgan.inspect.comparison_tables import overview, to_csv, to_document, to_markdown
from p2pgan.inspect.text import number_text
from p2pgan.record.comparison import ComparisonDirectory
from p2pgan.record.rundir import write_text_atomic
from p2pgan.runs import Run

SAMPLES = 12
"""Images in a row."""


@dataclass(frozen=True)
class Results:
    """What was written."""

    json: str
    """The content of `table.json`."""
    overview: str
    """FID by algorithm and nodes, as Markdown."""
    paths: list[Path]
    mixed: list[str]
    """What of the code differs between the runs."""


def write_results(directory: ComparisonDirectory) -> Results:
    """Writes tables and figures of all runs that are there; the same runs give the same tables.

    Raises:
        RecordError: if the directory is none of ours, or the disk refuses.
        CheckpointError: if saved networks cannot be read.
    """
    # Here, since matplotlib is slow to import.
    from p2pgan.inspect.comparison_pictures import draw

    comparison = read(directory)
    texts = {
        "md": to_markdown(comparison),
        "csv": to_csv(comparison),
        "json": to_document(comparison),
    }
    for suffix, text in texts.items():
        write_text_atomic(directory.table(suffix), text)
    curves = read_curves(comparison, directory)
    figures = draw(comparison, curves, directory.figures)
    figures += _draw_samples(comparison, curves, directory)
    paths = [*(directory.table(suffix) for suffix in texts), *figures]
    return Results(texts["json"], overview(comparison), paths, comparison.mixed)


def _draw_samples(
    comparison: Comparison, curves: Curves, directory: ComparisonDirectory
) -> list[Path]:
    """Samples of every competitor, as figure 4.3 of the thesis: a figure per number of nodes.

    Of the first seed, and of the node with the median FID at the end.
    """
    from p2pgan.inspect.comparison_pictures import file_name, samples_of, title_of
    from p2pgan.inspect.pictures import image_rows

    paths, counted = [], samples_of(comparison, at_end=True)
    for combination in comparison.combinations():
        groups = comparison.of(combination)
        sizes = sorted({group.nodes for group in groups if group.nodes > 1} or {1})
        for nodes in sizes:
            of_size = [group for group in groups if group.nodes in (1, nodes) and group.whole]
            rows = dict(_samples(group, curves[group.key][0], directory) for group in of_size)
            if rows:
                path = directory.figures / file_name(f"samples-n{nodes}", combination)
                on = f"; FID on {counted}" if counted else ""
                told = f"n = {nodes}; node with median FID, first seed{on}"
                image_rows(rows, path, title_of(f"Samples at the end, {told}", combination))
                paths.append(path)
    return paths


def _samples(group: Group, curve: Curve, directory: ComparisonDirectory) -> tuple[str, Any]:
    """A label and images of the first run, whose curve this is."""
    cell, fids = group.whole[0].cell, curve.at_end["fid"]
    run = Run.open(directory.run(cell).path)
    ranked = sorted(fids, key=lambda node: fids[node]) or run.saved_nodes
    node = ranked[(len(ranked) - 1) // 2]
    of_node = f", node {node}" if cell.nodes > 1 else ""
    fid = f"FID {number_text(fids[node])}" if node in fids else "diverged"
    label = f"{cell.algorithm}{of_node}, {fid}"
    return label, run.images(node, SAMPLES, cell.seed)
