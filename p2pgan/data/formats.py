"""The publishers' file formats: IDX (MNIST) and 3073-byte records (CIFAR-10), gzipped or not.

Whatever is wrong with a file becomes one `DataError` that names it. Sizes are known beforehand, so
that a damaged or hostile file is never unpacked beyond them.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from p2pgan.errors import DataError

ImagesU8 = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

_IDX_UBYTE = 0x08
"""IDX's code of the only element type that MNIST uses: unsigned bytes."""

_CIFAR_RECORD_BYTES = 1 + 3 * 32 * 32
"""One label, then 1024 red, 1024 green and 1024 blue values, row by row."""


def corrupt(path: Path, expected: str, got: str, name: str) -> DataError:
    """The error of a file that is not what it should be.

    Args:
        path: the file.
        expected: what it should have held.
        got: what it held.
        name: the data set that it belongs to, for the hint.
    """
    hint = f"the file is damaged: `p2pgan data download {name}` fetches it again"
    return DataError(expected=expected, got=got, at=str(path), hint=hint)


def read_plain(path: Path, *, limit_bytes: int, name: str) -> bytes:
    """The bytes of a file, unpacked if its name ends in `.gz`, its gzip checksum verified.

    Args:
        path: the file.
        limit_bytes: the most it may unpack to; reading stops there.
        name: the data set, for the error's hint.
    Raises:
        DataError: if it cannot be read, is truncated, fails its checksum or is too long.
    """
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            plain: bytes = file.read(limit_bytes + 1)
    except EOFError:
        raise corrupt(path, "a whole gzip file", "one that ends early", name) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise corrupt(path, "an intact gzip file", f"`{error}`", name) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(expected="a readable file", got=reason, at=str(path)) from None
    if len(plain) > limit_bytes:
        raise corrupt(path, f"at most {limit_bytes:,} bytes", "more", name)
    return plain


def parse_idx(plain: bytes, *, dimensions: int, path: Path, name: str) -> ImagesU8:
    """The array of unsigned bytes in an IDX file.

    The header is two zero bytes, the element type, the number of dimensions, then each dimension
    as a big-endian 32-bit integer.

    Args:
        plain: the whole file, unpacked.
        dimensions: how many it must have: 1 for labels, 3 for images.
        path: where the bytes come from, for errors.
        name: the data set, for the error's hint.
    Raises:
        DataError: for another magic number, or a payload that is not as long as the header says.
    """
    magic = bytes((0, 0, _IDX_UBYTE, dimensions))
    if plain[:4] != magic:
        raise corrupt(path, f"the magic number `{magic.hex()}`", f"`{plain[:4].hex()}`", name)
    header_bytes = 4 + 4 * dimensions
    if len(plain) < header_bytes:
        raise corrupt(path, f"a header of {header_bytes} bytes", f"{len(plain)} bytes", name)
    shape = tuple(int(size) for size in np.frombuffer(plain, ">u4", dimensions, offset=4))
    expected_bytes = header_bytes + math.prod(shape)
    if len(plain) != expected_bytes:
        raise corrupt(
            path,
            f"{expected_bytes:,} bytes for the shape {_times(shape)} in the header",
            f"{len(plain):,}",
            name,
        )
    # A bytearray: torch takes memory without a copy only if it is writable.
    return np.frombuffer(bytearray(plain), np.uint8, offset=header_bytes).reshape(shape)


def parse_cifar(plain: bytes, *, path: Path, name: str) -> tuple[ImagesU8, Labels]:
    """Images `[M, 3, 32, 32]` and labels `[M]` of a CIFAR-10 binary batch.

    Raises:
        DataError: if the file is empty, ends inside a record, or has a label above 9.
    """
    if not plain or len(plain) % _CIFAR_RECORD_BYTES:
        expected = f"a whole number of {_CIFAR_RECORD_BYTES}-byte records, at least one"
        raise corrupt(path, expected, f"{len(plain):,} bytes", name)
    records = np.frombuffer(bytearray(plain), np.uint8).reshape(-1, _CIFAR_RECORD_BYTES)
    labels = check_labels(records[:, 0], classes=10, path=path, name=name)
    return records[:, 1:].reshape(-1, 3, 32, 32), labels


def check_labels(raw: ImagesU8, *, classes: int, path: Path, name: str) -> Labels:
    """The labels as int64, once all of them are known classes.

    Raises:
        DataError: for a label out of range; the first one and its position are named.
    """
    wrong = np.flatnonzero(raw >= classes)
    if len(wrong):
        first = int(wrong[0])
        raise corrupt(
            path,
            f"labels from 0 to {classes - 1}",
            f"`{raw[first]}` as label {first:,}",
            name,
        )
    return raw.astype(np.int64)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
