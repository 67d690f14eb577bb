"""A file that is written is the old one or the new one, whatever goes wrong."""

import os
from pathlib import Path

import pytest

from p2pgan.errors import CheckpointError, RecordError
from p2pgan.files import POINTS, WITHOUT_LINKS, remove_parts, write_atomic


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    write_atomic(path, b"old", RecordError)
    write_atomic(path, b"", RecordError)
    assert path.read_bytes() == b""
    write_atomic(path, b"newer", RecordError)
    assert path.read_bytes() == b"newer"
    assert list(path.parent.iterdir()) == [path]


def test_a_leftover_of_a_crash_does_not_hinder(tmp_path: Path) -> None:
    leftover = tmp_path / f".file.{os.getpid()}.part"
    leftover.write_bytes(b"half of a much longer content")
    write_atomic(tmp_path / "file", b"whole", RecordError)
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert not leftover.exists()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_refusal_keeps_the_old_file_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", refuse)
    else:
        monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(CheckpointError, match=r"room for 3 bytes.*No space left") as caught:
        write_atomic(path, b"new", CheckpointError)
    assert caught.value.at == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_the_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave the name of a file that was never written."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(number: int) -> None:
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{number}") else "file")
        fsync(number)

    def noted_replace(self: Path, target: Path) -> Path:
        steps.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_atomic(tmp_path / "file", b"content", RecordError)
    assert steps == ["file", "replace", "folder"]


def test_a_folder_in_the_way_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(RecordError, match="taken"):
        write_atomic(tmp_path / "taken", b"x", RecordError)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_file_before_is_kept_and_one_is_always_there(tmp_path: Path) -> None:
    path, previous = tmp_path / "file", tmp_path / "previous"
    points: list[tuple[str, set[bytes]]] = []

    def reached(point: str) -> None:
        points.append((point, {p.read_bytes() for p in (path, previous) if p.exists()}))

    for content in (b"1", b"2", b"3"):
        write_atomic(path, content, RecordError, previous=previous, reached=reached)
    assert (path.read_bytes(), previous.read_bytes()) == (b"3", b"2")
    assert [point for point, _ in points[-len(POINTS) :]] == list(POINTS)
    for _, there in points[-len(POINTS) :]:
        assert there & {b"2", b"3"}
    assert {p.name for p in tmp_path.iterdir()} == {"file", "previous"}


@pytest.mark.parametrize("code", WITHOUT_LINKS)
def test_where_there_are_no_links_the_file_before_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    path, previous = tmp_path / "file", tmp_path / "previous"
    for content in (b"1", b"2", b"3"):
        write_atomic(path, content, RecordError, previous=previous)
    assert (path.read_bytes(), previous.read_bytes()) == (b"3", b"2")


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    for name in (".file.17.part", ".other.3.part"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "file").write_bytes(b"whole")
    remove_parts(tmp_path)
    remove_parts(tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
