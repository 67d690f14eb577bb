"""Sockets that only their owner can reach: where they lie, and whether somebody listens there.

A node can be stopped through its control socket, so it lies in a folder that is its owner's alone:
`p2pgan` in the user's runtime folder (`$XDG_RUNTIME_DIR`), or else in the folder for temporary
files. Whoever finds such a folder there that is somebody else's takes another or gives up.
"""

import os
import secrets
import socket
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import platformdirs

from p2pgan.errors import TransportError

SCHEME: Final = "ipc://"

PATH_BYTES_MAX: Final = 107
"""What a socket's path can have (`sun_path` in unix(7)), but for the end."""

OWNER_ONLY: Final = 0o700

CONNECT_S: Final = 1.0
"""A socket whose queue is full does not refuse; its node answers late, if at all."""


def new_address() -> str:
    """An address for a socket of this process; nothing is there yet.

    Raises:
        TransportError: if there is no folder that is only ours.
    """
    problems: list[str] = []
    for folder in _folders():
        name = folder / f"{os.getpid()}-{secrets.token_hex(4)}.sock"
        try:
            if len(os.fsencode(name)) > PATH_BYTES_MAX:
                raise OSError(f"`{folder}` is too long for a socket")
            _make_private(folder)
        except OSError as error:
            problems.append(str(error))
            continue
        _sweep(folder)
        return f"{SCHEME}{name}"
    raise TransportError(
        expected="a folder of our own for the control socket",
        got="; ".join(problems),
        at=tempfile.gettempdir(),
        hint="let XDG_RUNTIME_DIR name a folder that is yours alone",
    )


def path_of(address: str) -> str:
    """The file of a control address."""
    return address.removeprefix(SCHEME)


def check_alive(address: str) -> None:
    """Whether somebody listens at a control address.

    Raises:
        TransportError: at once, if nobody can.
    """
    if not address.startswith(SCHEME):
        raise TransportError(
            expected=f"a control address of this machine, such as `{SCHEME}/run/user/1000/…`",
            got=f"`{address}`",
            at="--control",
            hint="control from elsewhere needs keys, which do not exist yet"
            if address.startswith("tcp://")
            else "as the node has printed it, or `--run DIR` for all nodes of a run",
        )
    problem = _problem(Path(path_of(address)))
    if problem is not None:
        raise TransportError(
            expected="a node that runs",
            got="one that is gone" if _is_gone(problem) else problem.strerror or str(problem),
            at=f"control socket `{address}`",
            hint="" if _is_gone(problem) else "ask as the user that it runs as",
        )


def remove(address: str) -> None:
    """Takes away what a socket leaves behind."""
    with suppress(OSError):
        os.unlink(path_of(address))


def protect(address: str) -> None:
    """Lets nobody but the owner write to a socket that is bound; its folder lets nobody in."""
    os.chmod(path_of(address), 0o600)


def _folders() -> Iterator[Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no runtime folder is no news for anybody
        runtime = platformdirs.user_runtime_path()
    with suppress(OSError):
        if runtime.stat().st_uid == os.getuid():  # else its owner could exchange what lies in it
            yield runtime / "p2pgan"
    yield Path(tempfile.gettempdir()) / f"p2pgan-{os.getuid()}"


def _make_private(folder: Path) -> None:
    """Makes the folder, or makes sure of it.

    Raises:
        OSError: if it is somebody else's, or no folder.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=OWNER_ONLY)
    found = folder.lstat()  # a link leads wherever its owner likes
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"`{folder}` is not ours")
    if stat.S_IMODE(found.st_mode) != OWNER_ONLY:
        folder.chmod(OWNER_ONLY)


def _sweep(folder: Path) -> None:
    """Removes sockets of processes that were killed. One that is not listening yet has a process,
    and one of another process namespace listens."""
    for path in folder.glob("*-*.sock"):
        pid = path.name.partition("-")[0]
        problem = None if not pid.isdigit() or _is_process(int(pid)) else _problem(path)
        if problem is not None and _is_gone(problem):
            remove(str(path))


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _problem(path: Path) -> OSError | None:
    """What is in the way of a connection; `None`: nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(CONNECT_S)
        try:
            asking.connect(os.fsencode(path))
        except OSError as error:
            return error
    return None


def _is_gone(problem: OSError) -> bool:
    return isinstance(problem, FileNotFoundError | ConnectionRefusedError)
