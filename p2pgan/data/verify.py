"""What is there of a data set: whole, missing or damaged, and whether it is as published."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from p2pgan.data.catalog import CIFAR_BATCH_BYTES, CONTENTS, FOLDERS
from p2pgan.data.datasets import MissingDataError, find_file, load
from p2pgan.data.formats import read_plain
from p2pgan.errors import DataError

_PLAIN_BYTES_MAX = max(16 + 784 * 60_000, CIFAR_BATCH_BYTES)


@dataclass(frozen=True)
class State:
    """One data set as it lies on disk."""

    name: str
    state: Literal["present", "missing", "corrupt"]
    """`missing`: at least one file that it needs is not there."""
    place: str
    """Its folder; empty for the embedded one."""
    train_images: int
    test_images: int
    image_shape: tuple[int, ...]
    """`(C, H, W)`; empty if it cannot be loaded."""
    note: str
    """What is missing, damaged or not the publishers' own."""


def verify(name: str, data_dir: Path) -> State:
    """Loads a data set and compares its files with the publishers' checksums.

    A file of the right form with other contents does not make a data set corrupt (it may be a
    subset or a re-encoding), but the note says so.

    Args:
        name: one of `datasets.DATASETS`.
        data_dir: the folder that holds one folder per data set.
    Raises:
        DataError: for an unknown name only.
    """
    place = str(data_dir / FOLDERS[name]) if name in FOLDERS else ""
    try:
        dataset = load(name, data_dir)
    except MissingDataError as error:
        hint = f"`p2pgan data download {name}` fetches it"
        note = str(error) if _files(name, data_dir) else hint
        return State(name, "missing", place, 0, 0, (), note)
    except DataError as error:
        if name not in FOLDERS:
            raise
        return State(name, "corrupt", place, 0, 0, (), str(error))
    return State(
        name=name,
        state="present",
        place=place,
        train_images=len(dataset.labels),
        test_images=len(dataset.test_labels),
        image_shape=dataset.image_shape,
        note="; ".join(part for part in (dataset.note, _other_contents(name, data_dir)) if part),
    )


def is_original(name: str, stem: str, data_dir: Path) -> bool:
    """Whether a file is there and holds exactly what the publishers' does."""
    path = find_file(data_dir / FOLDERS[name], stem)
    if path is None:
        return False
    try:
        plain = read_plain(path, limit_bytes=_PLAIN_BYTES_MAX, name=name)
    except DataError:
        return False
    return hashlib.sha256(plain).hexdigest() == CONTENTS[name][stem]


def _files(name: str, data_dir: Path) -> list[str]:
    """Names of the files that are there."""
    return [stem for stem in CONTENTS[name] if find_file(data_dir / FOLDERS[name], stem)]


def _other_contents(name: str, data_dir: Path) -> str:
    if name not in CONTENTS:
        return ""
    others = [stem for stem in _files(name, data_dir) if not is_original(name, stem, data_dir)]
    listed = ", ".join(f"`{stem}`" for stem in others)
    return f"not as published: {listed}" if others else ""
