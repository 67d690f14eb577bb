"""Folders that the environment decides about; no layer below the command line reads it."""

import os
from pathlib import Path


def data_dir() -> Path:
    """Where data sets lie: `P2PGAN_DATA_DIR`, else the platform's cache folder of the user."""
    chosen = os.environ.get("P2PGAN_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("p2pgan", appauthor=False) / "data"
