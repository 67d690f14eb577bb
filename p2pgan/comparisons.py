"""Tables and figures of a comparison, made from its run directories without training anything."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pgan.errors import P2PGanError, RecordError
from p2pgan.inspect.comparison import Comparison, Group, Row, read
from p2pgan.inspect.comparison_curves import Curve, Judged, read_curve
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
    damaged: list[str]
    """Runs that figures are without, as nothing can be read of them but the result: one line each,
    with what is wrong and what to do."""


def write_results(directory: ComparisonDirectory) -> Results:
    """Writes tables and figures of all runs that are there; the same runs give the same tables.

    A run whose log, settings or networks cannot be read is in the tables, and in no figure that
    needs them.

    Raises:
        RecordError: if the directory is none of ours, or the disk refuses.
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
    readable = _Readable(comparison, directory)
    figures = draw(comparison, readable.curves, directory.figures)
    figures += _draw_samples(comparison, readable, directory)
    paths = [*(directory.table(suffix) for suffix in texts), *figures]
    damaged = list(readable.damaged.values())
    return Results(texts["json"], overview(comparison), paths, comparison.mixed, damaged)


class _Readable:
    """What can be read of the whole runs, beyond their results."""

    def __init__(self, comparison: Comparison, directory: ComparisonDirectory) -> None:
        self._directory = directory
        self.damaged: dict[str, str] = {}
        """Name of a run, and what is wrong."""
        self.runs: dict[str, tuple[Run, Curve]] = {}
        """By name."""
        self.curves: dict[str, list[Curve]] = {group.key: [] for group in comparison.groups}
        """Of each group, by its key."""
        for group in comparison.groups:
            for row in group.whole:
                self._read(group, row, comparison.judged)

    def _read(self, group: Group, row: Row, judged: Judged) -> None:
        run = self._directory.run(row.cell)
        try:
            curve = read_curve(run, group.nodes, judged)
            _check_whole(curve, row, str(run))
            opened = Run.open(run.path)
        except P2PGanError as error:
            self.leave_out(row, error)
            return
        self.curves[group.key].append(curve)
        self.runs[row.cell.run] = opened, curve

    def leave_out(self, row: Row, error: P2PGanError) -> None:
        """Notes what is wrong with a run, the first time."""
        what = f"expected {error.expected}, got {error.got} - at {error.at}"
        remedy = (
            f"remove {self._directory.run(row.cell)} and run the same command to train it again"
        )
        told = f"{row.cell.run} is left out of figures: {what} (hint: {remedy})"
        self.damaged.setdefault(row.cell.run, told)


def _check_whole(curve: Curve, row: Row, at: str) -> None:
    """Refuses a log that was cut between two lines, which nobody sees in what is left."""
    made = max((point.iterations for point in curve.points), default=0)
    wanted = row.settings.get("iterations", made)
    if not curve.points or made < wanted:
        got = f"one of {made}"
        raise RecordError(expected=f"the log of {wanted} iterations", got=got, at=at)


def _draw_samples(
    comparison: Comparison, readable: _Readable, directory: ComparisonDirectory
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
            rows = dict(row for group in of_size for row in _samples(group.whole[0], readable))
            if rows:
                path = directory.figures / file_name(f"samples-n{nodes}", combination)
                on = f"; FID on {counted}" if counted else ""
                told = f"n = {nodes}; node with median FID, first seed{on}"
                image_rows(rows, path, title_of(f"Samples at the end, {told}", combination))
                paths.append(path)
    return paths


def _samples(row: Row, readable: _Readable) -> list[tuple[str, Any]]:
    """A label and images of a run; none of one that is damaged."""
    if row.cell.run not in readable.runs:
        return []
    run, curve = readable.runs[row.cell.run]
    cell, fids = row.cell, curve.at_end["fid"]
    try:
        ranked = sorted(fids, key=lambda node: fids[node]) or list(run.overlay.nodes)
        node = ranked[(len(ranked) - 1) // 2]
        images = run.images(node, SAMPLES, cell.seed)
    except P2PGanError as error:
        readable.leave_out(row, error)
        return []
    of_node = f", node {node}" if cell.nodes > 1 else ""
    fid = f"FID {number_text(fids[node])}" if node in fids else "diverged"
    return [(f"{cell.algorithm}{of_node}, {fid}", images)]
