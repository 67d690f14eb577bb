"""The publishers' file formats, whole and damaged in every way that we know of."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.data.formats import check_labels, parse_cifar, parse_idx, read_plain
from p2pgan.errors import DataError

HERE = Path("here.gz")


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_idx_arrays_survive_the_way_through_a_file(shape: list[int], seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    parsed = parse_idx(idx_bytes(array), dimensions=len(shape), path=HERE, name="mnist")
    assert parsed.shape == tuple(shape)
    assert (parsed == array).all()


@pytest.mark.parametrize(
    ("plain", "expected", "got"),
    [
        (b"", "magic number `00000803`", "got ``"),
        (b"\x00\x00\x0d\x03" + bytes(12), "magic number `00000803`", "`00000d03`"),
        (b"\x00\x00\x08\x01" + bytes(12), "magic number `00000803`", "`00000801`"),
        (b"\x00\x00\x08\x03" + bytes(5), "header of 16 bytes", "9 bytes"),
        (idx_bytes(np.zeros((2, 3, 3), np.uint8))[:-1], "34 bytes for the shape 2 x 3 x 3", "33"),
        (idx_bytes(np.zeros((2, 3, 3), np.uint8)) + b"!", "34 bytes", "35"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "bytes for the shape", "16"),
    ],
)
def test_damaged_idx_files_say_what_is_wrong(plain: bytes, expected: str, got: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_idx(plain, dimensions=3, path=HERE, name="mnist")
    assert expected in str(caught.value)
    assert got in str(caught.value)
    assert "here.gz" in str(caught.value)
    assert "p2pgan data download mnist" in str(caught.value)


def test_cifar_records_are_label_then_red_green_blue() -> None:
    record = bytes([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes([3]) * 1023 + bytes([9])
    images, labels = parse_cifar(record * 2, path=HERE, name="cifar10")
    assert images.shape == (2, 3, 32, 32)
    assert labels.tolist() == [7, 7]
    assert [int(images[0, channel, 0, 0]) for channel in range(3)] == [1, 2, 3]
    assert images[1, 2, 31, 31] == 9


@pytest.mark.parametrize("size_bytes", [0, 3072, 3074, 2 * 3073 - 1])
def test_a_cifar_file_that_ends_inside_a_record_is_refused(size_bytes: int) -> None:
    with pytest.raises(DataError, match=f"whole number of 3073-byte records.*{size_bytes:,} bytes"):
        parse_cifar(bytes(size_bytes), path=HERE, name="cifar10")


def test_a_label_out_of_range_is_named_with_its_position() -> None:
    raw = np.array([0, 9, 10, 255], np.uint8)
    with pytest.raises(DataError, match="labels from 0 to 9, got `10` as label 2"):
        check_labels(raw, classes=10, path=HERE, name="mnist")
    assert check_labels(raw[:2], classes=10, path=HERE, name="mnist").dtype == np.int64


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_files_are_read_plain_or_gzipped(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"contents") if name.endswith(".gz") else b"contents")
    assert read_plain(path, limit_bytes=8, name="mnist") == b"contents"


def test_nothing_is_unpacked_beyond_the_limit(tmp_path: Path) -> None:
    """A hostile file of a few kilobytes would otherwise fill the memory."""
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(DataError, match=r"at most 1,000 bytes, got more"):
        read_plain(path, limit_bytes=1000, name="mnist")


def damaged_gzip() -> dict[str, bytes]:
    packed = gzip.compress(bytes(range(256)) * 4)
    flipped = bytearray(packed)
    flipped[-6] ^= 1  # in the stored CRC-32
    inside = bytearray(packed)
    inside[12] ^= 0xFF
    return {
        "truncated": packed[:-10],
        "wrong CRC": bytes(flipped),
        "changed inside": bytes(inside),
        "no gzip": b"<html>not found</html>",
        "trailing garbage": packed + b"garbage",
    }


@pytest.mark.parametrize("damage", damaged_gzip())
def test_damaged_gzip_files_are_one_clear_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "damaged.gz"
    path.write_bytes(damaged_gzip()[damage])
    with pytest.raises(DataError, match="gzip file") as caught:
        read_plain(path, limit_bytes=10_000, name="mnist")
    assert caught.value.at == str(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_plain(tmp_path / "absent", limit_bytes=1, name="mnist")
