"""Writing a file so that a crash, a full disk or a power cut leaves the old one or the new one."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from p2pgan.errors import P2PGanError

Reached = Callable[[str], None]
"""Told of every point in writing at which a process may end."""

POINTS: Final = ("begun", "written", "synced", "linked", "kept", "renamed", "done")
"""Those points, in order; `linked` and `kept` where the former file is kept."""

WITHOUT_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems answer that have no hard links, or no more of them."""


def unwatched(point: str) -> None:
    """Nobody wants to know."""


def write_atomic(
    path: Path,
    data: bytes,
    error: type[P2PGanError],
    *,
    previous: Path | None = None,
    reached: Reached = unwatched,
) -> None:
    """Writes beside the place, flushes to the disk, renames, and flushes the folder.

    Args:
        path: the file; its folder is made if it is missing.
        data: all of its content.
        error: class of the error to raise.
        previous: where the file that was there stays, if it is wanted; in the same folder. One of
            the two is there and whole at every moment.
        reached: told of `POINTS`.
    Raises:
        error: if the disk refuses; the file that was there stays.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            reached("begun")
            file.write(data)
            file.flush()
            reached("written")
            os.fsync(file.fileno())
        reached("synced")
        if previous is not None and path.exists():
            _keep(path, previous, reached)
        part.replace(path)
        reached("renamed")
        _sync_folder(path.parent)
        reached("done")
    except OSError as refusal:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise error(
            expected=f"room for {len(data)} bytes in a folder that can be written",
            got=refusal.strerror or str(refusal),
            at=str(path),
            hint="make room, or choose another place with `--out`",
        ) from None


def remove_parts(folder: Path) -> None:
    """Removes what processes have left that ended while they wrote there."""
    for part in folder.glob(".*.part"):
        with suppress(OSError):
            part.unlink()


def _keep(path: Path, previous: Path, reached: Reached) -> None:
    """Gives a file a second name, in the place of whatever has it. Without links it loses the first
    one for a moment, in which the second is there."""
    link = previous.with_name(f".{previous.name}.{os.getpid()}.part")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
        reached("linked")
        link.replace(previous)
    except OSError as refusal:
        if refusal.errno not in WITHOUT_LINKS:
            raise
        path.replace(previous)
    reached("kept")


def _sync_folder(path: Path) -> None:
    """Makes a rename outlive a power cut."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
