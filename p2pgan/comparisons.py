"""Tables and figures of a comparison, made from its run directories without training anything."""

from dataclasses import dataclass
from pathlib import Path

from p2pgan.inspect.comparison import read
from p2pgan.inspect.comparison_tables import overview, to_csv, to_document, to_markdown
from p2pgan.record.comparison import ComparisonDirectory
from p2pgan.record.rundir import write_text_atomic


@dataclass(frozen=True)
class Results:
    """What was written."""

    json: str
    """The content of `table.json`."""
    overview: str
    """FID by algorithm and nodes, as Markdown."""
    paths: list[Path]


def write_results(directory: ComparisonDirectory) -> Results:
    """Writes tables and figures of all runs that are there; the same runs give the same tables.

    Raises:
        RecordError: if the directory is none of ours, or the disk refuses.
    """
    comparison = read(directory)
    texts = {
        "md": to_markdown(comparison),
        "csv": to_csv(comparison),
        "json": to_document(comparison),
    }
    for suffix, text in texts.items():
        write_text_atomic(directory.table(suffix), text)
    paths = [directory.table(suffix) for suffix in texts]
    return Results(texts["json"], overview(comparison), paths)
