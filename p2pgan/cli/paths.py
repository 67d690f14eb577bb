"""Where things lie: the folder that the environment decides about (no layer below the command line
reads it), and files to write that must not replace others unasked."""

import os
from pathlib import Path

from p2pgan.errors import P2PGanError


def data_dir() -> Path:
    """Where data sets lie: `P2PGAN_DATA_DIR`, else the platform's cache folder of the user."""
    chosen = os.environ.get("P2PGAN_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("p2pgan", appauthor=False) / "data"


def check_free(out: Path, kind: type[P2PGanError], *, force: bool) -> None:
    """Refuses to write over a file, unless `--force` was given.

    Raises:
        kind: if the file is there.
    """
    if out.exists() and not force:
        raise kind(
            expected="a file that is not there yet",
            got="an existing one",
            at=str(out),
            hint="pass `--force` to replace it",
        )
