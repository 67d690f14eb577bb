"""`compare.toml` is written and read back, and what is none is refused."""

from pathlib import Path

import pytest

from p2pgan.errors import RecordError
from p2pgan.record.comparison import Cell, ComparisonDirectory, Manifest

CELL = Cell(
    run="gossip-n2-s0", algorithm="gossip", nodes=2, seed=0, vary={"exchange.fanout": 2, "x": "a"}
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    directory = ComparisonDirectory(tmp_path / "new")
    manifest = Manifest(vary=("exchange.fanout",), cells=(CELL,), base={"train": {"loss": "hinge"}})
    directory.write(manifest)
    assert directory.read() == manifest


def test_places(tmp_path: Path) -> None:
    directory = ComparisonDirectory(tmp_path)
    assert directory.run(CELL).path == tmp_path / "runs" / "gossip-n2-s0"
    assert directory.table("md") == tmp_path / "table.md"
    assert directory.figures == tmp_path / "figures"
    assert str(directory) == str(tmp_path)


@pytest.mark.parametrize("name", ["../../home", "a/b", "", ".."])
def test_a_run_that_lies_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """An unfinished run is removed: never what a foreign file names."""
    directory = ComparisonDirectory(tmp_path)
    directory.write(Manifest(cells=(Cell(run=name, algorithm="gossip", nodes=2, seed=0),)))
    with pytest.raises(RecordError, match=r"compare\.toml"):
        directory.read()


def test_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="a folder without it"):
        ComparisonDirectory(tmp_path).read()
    with pytest.raises(RecordError, match="no such folder"):
        ComparisonDirectory(tmp_path / "none").read()
    (tmp_path / "compare.toml").write_text('cells = "many"')
    with pytest.raises(RecordError, match="cells and their base"):
        ComparisonDirectory(tmp_path).read()
