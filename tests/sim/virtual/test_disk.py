"""The simulated disk: full for some, for as long as anything fills it."""

from pathlib import Path

import pytest

from p2pgan.errors import CheckpointError
from p2pgan.sim.virtual.disk import Disk

PATH = Path("nodes/a/checkpoint")


def test_a_full_disk_keeps_what_it_has() -> None:
    files: dict[Path, bytes] = {}
    disk = Disk(files.__setitem__)
    disk.write("a", PATH, b"old")
    disk.fill("a")
    with pytest.raises(CheckpointError) as caught:
        disk.write("a", PATH, b"newer")
    assert (caught.value.expected, caught.value.got) == ("room for 5 bytes", "a full disk")
    assert caught.value.at == str(PATH)
    assert files == {PATH: b"old"}
    disk.write("b", Path("b"), b"others have room")
    disk.free("a")
    disk.write("a", PATH, b"newer")
    assert files[PATH] == b"newer"


def test_who_is_filled_twice_is_freed_twice() -> None:
    disk = Disk(lambda path, data: None)
    disk.fill("a")
    disk.fill("a")
    disk.free("a")
    with pytest.raises(CheckpointError):
        disk.write("a", PATH, b"")
    disk.free("a")
    disk.write("a", PATH, b"")
