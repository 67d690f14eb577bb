"""What a comparison leaves, from run directories alone, and the same each time."""

import shutil
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


@pytest.fixture
def damaged(
    directory: ComparisonDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ComparisonDirectory:
    """A copy, of which the figures without networks are not drawn."""
    monkeypatch.setattr("p2pgan.inspect.comparison_pictures.draw", lambda *drawn: [])
    there = ComparisonDirectory(tmp_path / "damaged")
    shutil.copytree(directory.path, there.path)
    shutil.rmtree(there.figures, ignore_errors=True)
    return there


@pytest.mark.parametrize(
    ("name", "is_gone"),
    [
        *[("events.jsonl", True), ("events.jsonl", False)],
        *[("run.toml", True), ("run.toml", False), ("overlay.json", False)],
        *[("nodes/?/checkpoint.safetensors", True), ("nodes/?/checkpoint.safetensors", False)],
    ],
)
def test_a_damaged_run_is_in_the_tables_and_in_no_figure_that_needs_it(
    damaged: ComparisonDirectory, name: str, is_gone: bool
) -> None:
    for broken in list((damaged.path / "runs/gossip-n2-s0").glob(name)):
        broken.unlink()
        if not is_gone:
            broken.write_bytes(b"\xff garbage\n\n")
    assert not compare(BASE, GRID, damaged, Path("no-data-needed"), Silent())  # type: ignore[arg-type]
    results = write_results(damaged)
    [told] = results.damaged
    assert told.startswith("gossip-n2-s0 is left out of figures: expected ")
    assert f"remove {damaged.path}/runs/gossip-n2-s0 and run the same command" in told
    assert "\n" not in told
    assert "4 runs: 4 finished" in damaged.table("md").read_text()
    assert damaged.figures / "samples-n2.png" in results.paths


def test_a_damaged_run_is_trained_again_once_it_is_removed(damaged: ComparisonDirectory) -> None:
    whole = write_results(damaged).json
    there = damaged.path / "runs/gossip-n2-s0"
    (there / "run.toml").unlink()
    assert write_results(damaged).damaged
    shutil.rmtree(there)
    assert not compare(BASE, GRID, damaged, Path("no-data-needed"), Silent())  # type: ignore[arg-type]
    results = write_results(damaged)
    assert (results.damaged, results.json) == ([], whole)


@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_log_that_was_cut_is_a_damaged_one(damaged: ComparisonDirectory, kept: float) -> None:
    for cell in damaged.read().cells:
        events = damaged.run(cell).events
        lines = events.read_bytes().splitlines(keepends=True)
        events.write_bytes(b"".join(lines[: int(kept * len(lines))]))
    results = write_results(damaged)
    assert len(results.damaged) == 4
    assert all("expected the log of 4 iterations, got one of" in told for told in results.damaged)
    assert {path.parent.name for path in results.paths} == {"damaged"}
