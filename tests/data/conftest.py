"""Tiny data sets in the publishers' formats."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

WriteMnist = Callable[..., Path]
WriteCifar = Callable[..., Path]


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def write_mnist(tmp_path: Path) -> WriteMnist:
    """Writes a small MNIST and returns the data directory; gzipped unless told otherwise."""

    def write(train: int = 30, test: int = 10, *, packed: bool = True) -> Path:
        folder = tmp_path / "mnist"
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng(1)
        for part, count in (("train", train), ("t10k", test)):
            images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
            labels = (np.arange(count) % 10).astype(np.uint8)
            for stem, array in (("images-idx3", images), ("labels-idx1", labels)):
                name = f"{part}-{stem}-ubyte"
                raw = _idx(array)
                if packed:
                    (folder / f"{name}.gz").write_bytes(gzip.compress(raw, mtime=0))
                else:
                    (folder / name).write_bytes(raw)
        return tmp_path

    return write


@pytest.fixture
def write_cifar(tmp_path: Path) -> WriteCifar:
    """Writes the named CIFAR-10 batches of a few records each, returns the data directory."""

    def write(*stems: str, count: int = 4) -> Path:
        folder = tmp_path / "cifar-10-batches-bin"
        folder.mkdir(exist_ok=True)
        for number, stem in enumerate(stems):
            records = np.full((count, 3073), 20 * number, np.uint8)
            records[:, 0] = np.arange(count) % 10
            (folder / stem).write_bytes(records.tobytes())
        return tmp_path

    return write
