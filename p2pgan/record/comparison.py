"""The directory of a comparison: several runs, and a file that says what each is for.

DIR/compare.toml    the base configuration, and the cells: which run has which values
DIR/runs/<name>/    an ordinary run directory per cell
DIR/table.md, table.csv, table.json, figures/    what came of them
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from p2pgan.config import read_tables
from p2pgan.errors import RecordError
from p2pgan.record.rundir import RunDirectory, check_node_id, write_text_atomic

MACHINE_TABLES = ("device", "daemon", "engine", "virtual")
"""Parts of the configuration that say how the machine is used, and not what is run."""


def decides_runs(key: str) -> bool:
    """Whether a key of the configuration decides what is run, and not only where."""
    is_rounding = key == "engine.precision"  # to 10 bits, perhaps
    return is_rounding or key.partition(".")[0] not in MACHINE_TABLES


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a comparison, in short."""

    run: str
    """Name of its directory."""
    algorithm: str
    nodes: int
    seed: int
    vary: Mapping[str, Any] = {}
    """Its value of each varied key that can matter to the algorithm."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `compare.toml` holds."""

    vary: tuple[str, ...] = ()
    """Keys of the configuration that differ between cells, beside algorithm, nodes and seed."""
    cells: tuple[Cell, ...] = ()
    """In the order of tables."""
    base: Mapping[str, Any] = {}
    """Configuration that all cells share, as in a file."""


class ComparisonDirectory:
    """One such directory, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def compare_toml(self) -> Path:
        """What the cells are."""
        return self.path / "compare.toml"

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.path / "figures"

    def table(self, suffix: str) -> Path:
        """The table as `md`, `csv` or `json`."""
        return self.path / f"table.{suffix}"

    @property
    def is_there(self) -> bool:
        """Whether a comparison has been begun in it."""
        return self.compare_toml.is_file()

    def run(self, cell: Cell) -> RunDirectory:
        """The run directory of a cell, which need not be there yet."""
        return RunDirectory(self.path / "runs" / cell.run)

    def read(self) -> Manifest:
        """What the cells are.

        Raises:
            RecordError: if there is no `compare.toml`, or it is not ours.
            ConfigError: if it is not TOML.
        """
        if not self.is_there:
            raise RecordError(
                expected="a directory of `p2pgan compare`, with a `compare.toml`",
                got="a folder without it" if self.path.is_dir() else "no such folder",
                at=str(self.path),
            )
        try:
            manifest = msgspec.convert(read_tables(self.compare_toml), Manifest)
        except msgspec.ValidationError as error:
            at = str(self.compare_toml)
            raise RecordError(expected="cells and their base", got=str(error), at=at) from None
        for cell in manifest.cells:
            check_node_id(cell.run, at=str(self.compare_toml))
        return manifest

    def write(self, manifest: Manifest) -> None:
        """Say what the cells are.

        Raises:
            RecordError: if the disk refuses.
        """
        write_text_atomic(self.compare_toml, tomli_w.dumps(msgspec.to_builtins(manifest)))
