"""A file that is written is the old one or the new one, whatever goes wrong."""

import os
from pathlib import Path

import pytest

from p2pgan.errors import CheckpointError, RecordError
from p2pgan.files import write_atomic


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
