"""The run directory: made once, never overwritten, written whole or not at all."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from p2pgan.errors import ConfigError, RecordError
from p2pgan.record.rundir import (
    RunDirectory,
    check_node_id,
    event_files,
    open_log,
    records_of,
    write_text_atomic,
)
from p2pgan.record.schema import PeerJoined
from p2pgan.record.writer import RecordWriter


def test_the_layout_is_the_contracted_one(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", name="")
    assert run.run_toml == tmp_path / "run/run.toml"
    assert run.overlay_json == tmp_path / "run/overlay.json"
    assert run.events == tmp_path / "run/events.jsonl"
    assert run.node_events("n3") == tmp_path / "run/nodes/n3/events.jsonl"
    assert run.checkpoint("n3") == tmp_path / "run/nodes/n3/checkpoint.safetensors"
    assert run.summary == tmp_path / "run/summary.json"
    assert run.pictures == tmp_path / "run/pictures"


def test_a_new_or_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert RunDirectory.create(tmp_path / "empty", name="x").path == tmp_path / "empty"
    assert RunDirectory.create(tmp_path / "a" / "b", name="x").path.is_dir()


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RecordError, match=r"something in it.*--out"):
        RunDirectory.create(tmp_path, name="x")
    with pytest.raises(RecordError, match="got a file"):
        RunDirectory.create(tmp_path / "thesis.tex", name="x")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_runs_without_a_place_are_numbered(tmp_path: Path) -> None:
    names = [RunDirectory.create(None, name="r", base=tmp_path / "runs").path for _ in range(3)]
    assert [path.name for path in names] == ["r", "r-2", "r-3"]


def test_a_place_where_nothing_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"at .*file/run \(hint"):
        RunDirectory.create(tmp_path / "file" / "run", name="x")
    with pytest.raises(RecordError, match=r"at .*file/x"):
        RunDirectory.create(None, name="x", base=tmp_path / "file")


def test_only_a_run_is_opened(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"with a `run\.toml`, got a folder without"):
        RunDirectory.open(tmp_path)
    with pytest.raises(RecordError, match="no such folder"):
        RunDirectory.open(tmp_path / "nowhere")
    (tmp_path / "run.toml").write_text("seed = 3\n")
    assert RunDirectory.open(tmp_path).read_run_toml() == {"seed": 3}


def test_a_spoilt_run_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("seed =")
    with pytest.raises(ConfigError, match=r"run\.toml"):
        RunDirectory.open(tmp_path).read_run_toml()


def test_a_run_says_which_code_has_made_it(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.run_toml.write_text('seed = 1\n[run]\ncommit = "abc"\n[run.versions]\ntorch = "2"\n')
    assert run.made_by() == {"commit": "abc", "torch": "2"}
    run.run_toml.write_text("seed = 1")
    assert run.made_by() == {}


@pytest.mark.parametrize(
    "node", ["", ".", "..", "a/b", "a\\b", "/etc", "../../x", "a\0b", "x" * 129, "é" * 65, "\ud800"]
)
def test_ids_that_cannot_name_a_folder_are_refused(tmp_path: Path, node: str) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(RecordError, match="name a folder"):
        run.node_events(node)
    with pytest.raises(RecordError, match="name a folder") as caught:
        run.checkpoint(node)
    assert str(caught.value).isprintable()


@given(node=st.text(max_size=140))
def test_an_id_that_passes_names_a_folder_inside(
    tmp_path_factory: pytest.TempPathFactory, node: str
) -> None:
    try:
        check_node_id(node, at="test")
    except RecordError:
        assume(False)
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    file = run.node_events(node)
    file.parent.mkdir(parents=True)
    assert [path.name for path in (run.path / "nodes").iterdir()] == [node]


def test_the_summary_comes_back(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_summary({"run": "r", "scores": {"fid": math.nan}, "nodes": 3})
    assert run.read_summary() == {"run": "r", "scores": {"fid": None}, "nodes": 3}
    assert json.loads(run.summary.read_text()) == run.read_summary()
    assert run.summary.read_text().startswith('{\n  "run": "r",')


def test_a_summary_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(RecordError, match="summary of a finished run"):
        run.read_summary()
    run.summary.write_text("[1]")
    with pytest.raises(RecordError, match="JSON object"):
        run.read_summary()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.json"
    write_text_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RecordError, match=r"No space left on device - at .*summary\.json"):
        write_text_atomic(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_a_place_that_takes_no_file_is_named() -> None:
    with pytest.raises(RecordError, match="at /proc/none/x"):
        write_text_atomic(Path("/proc/none/x"), "text")


def test_all_logs_of_a_run_are_read(tmp_path: Path, writer_at: Callable[..., RecordWriter]) -> None:
    run = RunDirectory(tmp_path)
    run.run_toml.touch()
    with pytest.raises(RecordError, match="got neither"):
        records_of(open_log(tmp_path))
    for path in (run.node_events("b"), run.events, run.node_events("a")):
        with writer_at(path) as writer:
            writer.write(PeerJoined(peer="x"), node=path.parent.name)
    (tmp_path / "nodes" / "idle").mkdir()
    assert event_files(run) == [run.events, run.node_events("a"), run.node_events("b")]
    assert [record.node for record in records_of(open_log(tmp_path))] == [
        "b",
        tmp_path.name,
        "a",
    ]
    assert [record.node for record in records_of(open_log(run.node_events("a")))] == ["a"]
