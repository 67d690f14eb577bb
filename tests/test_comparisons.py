"""What a comparison leaves, from run directories alone, and the same each time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pgan.comparisons import write_results
from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.errors import RecordError
from p2pgan.grid import Grid
from p2pgan.inspect import comparison_curves
from p2pgan.record.comparison import ComparisonDirectory
from p2pgan.record.rundir import Log, records_of
from p2pgan.record.schema import Record
from p2pgan.sim.compare import compare

BASE = RunConfig(
    iterations=4, exchange_every=2, device="cpu", score=ScoreConfig(samples=20, every=0)
)
GRID = Grid(algorithms=("gossip", "centralised"), nodes=(2,), seeds=(0, 1))
TABLES = ("md", "csv", "json")


class Silent:
    """Is told everything, and says nothing."""

    def __getattr__(self, name: str) -> object:
        return lambda *told: None


def made(path: Path) -> ComparisonDirectory:
    directory = ComparisonDirectory(path)
    compare(BASE, GRID, directory, Path("no-data-needed"), Silent())  # type: ignore[arg-type]
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> ComparisonDirectory:
    return made(tmp_path_factory.mktemp("comparison"))


def test_tables_and_figures_are_written_and_named(directory: ComparisonDirectory) -> None:
    results = write_results(directory)
    names = {str(path.relative_to(directory.path)) for path in results.paths}
    figures = {f"figures/{name}.png" for name in ("scores", "nodes", "traffic", "consensus")}
    assert names == {*(f"table.{suffix}" for suffix in TABLES), *figures, "figures/samples-n2.png"}
    assert all(path.is_file() for path in results.paths)
    assert results.json == directory.table("json").read_text()
    assert results.overview in directory.table("md").read_text()


def test_each_log_is_read_once(
    directory: ComparisonDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a long run, that takes longer than the drawing."""
    was_read: list[str] = []

    def reading(log: Log) -> Iterator[Record]:
        was_read.append(str(log))
        return records_of(log)

    monkeypatch.setattr(comparison_curves, "records_of", reading)
    write_results(directory)
    assert sorted(was_read) == sorted(str(directory.run(c)) for c in directory.read().cells)


def test_the_same_grid_twice_gives_the_same_tables_byte_for_byte(
    directory: ComparisonDirectory, tmp_path: Path
) -> None:
    write_results(directory)
    again = made(tmp_path / "again")
    write_results(again)
    for suffix in TABLES:
        assert directory.table(suffix).read_bytes() == again.table(suffix).read_bytes()
    figures = sorted(path.name for path in again.figures.iterdir())
    for name in figures:
        assert (directory.figures / name).read_bytes() == (again.figures / name).read_bytes()


def test_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"compare\.toml"):
        write_results(ComparisonDirectory(tmp_path))
