"""Sockets that only their owner can reach, and what is left of those who were killed."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pgan.daemon import local_socket
from p2pgan.errors import TransportError


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a runtime folder, whose temporary files lie here."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def listening(temporary: Path) -> Iterator[str]:
    """An address where somebody listens."""
    address = local_socket.new_address()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.removeprefix("ipc://"))
        listener.listen()
        yield address


def folder_of(address: str) -> Path:
    return Path(address.removeprefix("ipc://")).parent


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_the_runtime_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert folder_of(local_socket.new_address()) == tmp_path / "p2pgan"


def test_else_the_folder_is_among_the_temporary_files(temporary: Path) -> None:
    folder = folder_of(local_socket.new_address())
    assert folder == temporary / f"p2pgan-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_two_addresses_differ(temporary: Path) -> None:
    assert local_socket.new_address() != local_socket.new_address()


def test_a_path_that_is_too_long_is_not_taken(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = temporary / ("x" * 90)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    assert folder_of(local_socket.new_address()).parent == temporary
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(TransportError, match="too long"):
        local_socket.new_address()


def test_a_folder_that_others_may_enter_is_closed(temporary: Path) -> None:
    folder = temporary / f"p2pgan-{os.getuid()}"
    folder.mkdir(mode=0o755)
    local_socket.new_address()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_or_a_file_in_its_place_is_refused(temporary: Path) -> None:
    """Both may be somebody else's, who waits for us to use them."""
    place = temporary / f"p2pgan-{os.getuid()}"
    place.symlink_to(temporary)
    with pytest.raises(TransportError, match="not ours"):
        local_socket.new_address()
    place.unlink()
    place.write_text("")
    with pytest.raises(TransportError, match="not ours"):
        local_socket.new_address()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(temporary: Path) -> None:
    place = temporary / f"p2pgan-{os.getuid()}"
    place.mkdir()
    os.chown(place, 65534, 65534)
    with pytest.raises(TransportError, match="not ours"):
        local_socket.new_address()


def test_who_listens_is_alive(listening: str) -> None:
    local_socket.check_alive(listening)


def test_who_was_killed_is_gone_and_so_is_who_never_was(temporary: Path) -> None:
    address = local_socket.new_address()
    with pytest.raises(TransportError, match="one that is gone"):
        local_socket.check_alive(address)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(address.removeprefix("ipc://"))
    with pytest.raises(TransportError, match="one that is gone"):
        local_socket.check_alive(address)


def test_tcp_waits_for_keys() -> None:
    with pytest.raises(TransportError, match="needs keys"):
        local_socket.check_alive("tcp://127.0.0.1:5550")
    with pytest.raises(TransportError, match="as the node has printed it"):
        local_socket.check_alive("foo")


def test_what_the_killed_leave_behind_is_swept(listening: str) -> None:
    """But nobody's who lives, or listens in another process namespace."""
    folder = folder_of(listening)
    stale = folder / f"{dead_pid()}-00000000.sock"
    foreign = folder / f"{dead_pid()}-00000001.sock"
    starting = folder / f"{os.getpid()}-00000002.sock"
    strange = folder / "not-ours.sock"
    strange.write_text("")
    with (
        socket.socket(socket.AF_UNIX) as elsewhere,
        socket.socket(socket.AF_UNIX) as killed,
        socket.socket(socket.AF_UNIX) as bound,
    ):
        killed.bind(str(stale))
        bound.bind(str(starting))
        elsewhere.bind(str(foreign))
        elsewhere.listen()
        killed.close()
        local_socket.new_address()
        assert {path.name for path in folder.iterdir()} == {
            foreign.name, starting.name, strange.name, Path(listening).name
        }  # fmt: skip
