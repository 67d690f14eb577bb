"""Writing a file so that a crash, a full disk or a power cut leaves the old one or the new one."""

import os
from contextlib import suppress
from pathlib import Path

from p2pgan.errors import P2PGanError


def write_atomic(path: Path, data: bytes, error: type[P2PGanError]) -> None:
    """Writes beside the place, flushes to the disk, renames, and flushes the folder.

    Args:
        path: the file; its folder is made if it is missing.
        data: all of its content.
        error: class of the error to raise.
    Raises:
        error: if the disk refuses; the file that was there stays.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as refusal:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise error(
            expected=f"room for {len(data)} bytes in a folder that can be written",
            got=refusal.strerror or str(refusal),
            at=str(path),
            hint="make room, or choose another place with `--out`",
        ) from None


def _sync_folder(path: Path) -> None:
    """Makes a rename outlive a power cut."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
