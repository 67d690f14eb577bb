"""`p2pgan data`: listing, downloading, and showing partitions."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from p2pgan.cli.data import app
from p2pgan.data.datasets import load
from p2pgan.data.partition import partition
from p2pgan.errors import DataError
from p2pgan.seeds import EVERYONE, stream


@pytest.fixture(autouse=True)
def empty_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setenv("P2PGAN_DATA_DIR", str(folder))
    return folder


def run(*arguments: str) -> str:
    """Standard output of a command that succeeds."""
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_the_list_shows_every_data_set_and_where_it_looks(empty_data_dir: Path) -> None:
    lines = run("list").splitlines()
    assert lines[0] == f"data directory: {empty_data_dir}"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["digits", "present"],
        ["mnist", "missing"],
        ["cifar10", "missing"],
    ]
    assert "1,600 + 197 of 1 x 8 x 8" in lines[1]
    assert "`p2pgan data download mnist`" in lines[2]


def test_the_list_shows_damage(empty_data_dir: Path) -> None:
    folder = empty_data_dir / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    (folder / "data_batch_1.bin.gz").write_bytes(b"no gzip")
    document = json.loads(run("list", "--json"))
    assert document["data_dir"] == str(empty_data_dir)
    digits, _, cifar10 = document["datasets"]
    assert digits["image_shape"] == [1, 8, 8]
    assert (cifar10["name"], cifar10["state"]) == ("cifar10", "corrupt")
    assert "intact gzip file" in cifar10["note"]


def test_nothing_is_downloaded_for_the_embedded_digits() -> None:
    assert run("download", "digits") == (
        "`digits` comes with the installation: nothing to download\n"
    )


def test_downloaded_files_are_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fake(name: str, folder: Path, *, progress: object) -> list[Path]:
        assert callable(progress)
        progress("file.gz", 10, 100)
        return [folder / name / "file.gz"]

    monkeypatch.setattr("p2pgan.data.download.download", fake)
    assert run("download", "mnist") == f"{tmp_path / 'data' / 'mnist' / 'file.gz'}\n"


def test_an_unknown_data_set_gets_the_nearest_match() -> None:
    with pytest.raises(DataError, match="did you mean `mnist`"):
        run("download", "mnsit")


def test_a_partition_is_the_one_that_a_run_would_use() -> None:
    """Same seed, same stream."""
    document = json.loads(
        run("partition", "--partition", "dirichlet:0.5", "--nodes", "4", "--seed", "3", "--json")
    )
    labels = load("digits", Path()).labels
    shards = partition("dirichlet:0.5", labels, 4, stream(3, EVERYONE, "partition"))
    assert [node["size"] for node in document["nodes"]] == [len(shard) for shard in shards]
    assert [node["counts"] for node in document["nodes"]] == [
        np.bincount(labels[shard], minlength=10).tolist() for shard in shards
    ]
    assert (document["dataset"], document["partition"]) == ("digits", "dirichlet:0.5")


def test_the_table_has_a_line_per_node() -> None:
    lines = run("partition", "--partition", "by-class", "--nodes", "10").splitlines()
    assert lines[0].split() == ["node", "images", *map(str, range(10))]
    rows = [[int(cell) for cell in line.split()] for line in lines[1:]]
    assert [row[0] for row in rows] == list(range(10))
    assert all(row[1] == row[2 + row[0]] == sum(row[2:]) for row in rows), "its own class only"
    assert sum(row[1] for row in rows) == 1600


def test_a_picture_is_drawn_on_request(tmp_path: Path) -> None:
    out = tmp_path / "shards.png"
    assert run("partition", "--nodes", "3", "--out", str(out)).endswith(f"picture: {out}\n")
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_is_there_is_kept_unless_forced(tmp_path: Path) -> None:
    out = tmp_path / "shards.png"
    out.write_text("mine")
    with pytest.raises(DataError, match="`--force` to replace it"):
        run("partition", "--nodes", "3", "--out", str(out))
    assert out.read_text() == "mine"
    run("partition", "--nodes", "3", "--out", str(out), "--force")
    assert out.read_bytes().startswith(b"\x89PNG")


def test_shards_smaller_than_a_batch_are_an_error() -> None:
    run("partition", "--nodes", "100", "--batch-size", "16")
    with pytest.raises(DataError, match="at least 17 images in every shard"):
        run("partition", "--nodes", "100", "--batch-size", "17")


def test_a_missing_data_set_names_the_download(empty_data_dir: Path) -> None:
    with pytest.raises(DataError) as caught:
        run("partition", "--dataset", "mnist")
    assert str(empty_data_dir / "mnist") in str(caught.value)
    assert "p2pgan data download mnist" in str(caught.value)


def test_wrong_usage_exits_with_2() -> None:
    assert CliRunner().invoke(app, ["partition", "--nodes", "0"]).exit_code == 2
    assert CliRunner().invoke(app, ["download"]).exit_code == 2
