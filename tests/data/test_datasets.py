"""The three data sets: shapes, splits, and what is said when files are missing or do not fit."""

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.data.datasets import DATASETS, load, to_float, to_uint8
from p2pgan.errors import DataError

WriteMnist = Callable[..., Path]


def test_digits_have_1600_training_and_197_test_images_of_all_classes(tmp_path: Path) -> None:
    digits = load("digits", tmp_path)
    assert digits.images.shape == (1600, 1, 8, 8)
    assert digits.test_images.shape == (197, 1, 8, 8)
    assert digits.images.dtype == np.uint8
    assert digits.labels.dtype == np.int64
    assert (digits.images.min(), digits.images.max()) == (0, 255)
    assert digits.image_shape == (1, 8, 8)
    assert digits.classes == 10
    per_class = np.bincount(np.concatenate([digits.labels, digits.test_labels]))
    share = np.bincount(digits.test_labels) / per_class
    assert abs(share - 197 / 1797).max() < 1 / per_class.min()


def test_digits_are_those_of_scikit_learn_each_in_one_part(tmp_path: Path) -> None:
    """Reading the file directly saves half a second; it must not change what is read."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    digits = load("digits", tmp_path)
    ours = np.concatenate([digits.images, digits.test_images]).reshape(-1, 64)
    labels = np.concatenate([digits.labels, digits.test_labels])
    theirs = np.rint(bunch.data * 255 / 16).astype(np.uint8)
    rows = sorted((row.tobytes(), int(label)) for row, label in zip(ours, labels, strict=True))
    wanted = sorted(
        (row.tobytes(), int(label)) for row, label in zip(theirs, bunch.target, strict=True)
    )
    assert rows == wanted


def test_digits_fall_back_to_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of scikit-learn may keep its file elsewhere."""
    direct = load("digits", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    loaded = load("digits", tmp_path)
    assert (loaded.images == direct.images).all()
    assert (loaded.test_labels == direct.test_labels).all()


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_read_gzipped_or_not(write_mnist: WriteMnist, packed: bool) -> None:
    mnist = load("mnist", write_mnist(30, 10, packed=packed))
    assert mnist.images.shape == (30, 1, 28, 28)
    assert mnist.labels.tolist() == [*range(10)] * 3
    assert mnist.note == "30 of 60,000 training images, 10 of 10,000 test images"


def test_cifar_takes_the_batches_that_are_there(write_cifar: Callable[..., Path]) -> None:
    cifar = load("cifar10", write_cifar("data_batch_3.bin", "data_batch_1.bin", "test_batch.bin"))
    assert cifar.image_shape == (3, 32, 32)
    assert cifar.images[:, 0, 0, 0].tolist() == [20] * 4 + [0] * 4, "publishers' order"
    assert cifar.note == "8 of 50,000 training images, 4 of 10,000 test images"


@pytest.mark.parametrize(("name", "folder"), [("mnist", "mnist"), ("cifar10", "cifar-10")])
def test_a_missing_data_set_names_folder_and_command(
    tmp_path: Path, name: str, folder: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(name, tmp_path)
    line = str(caught.value)
    assert str(tmp_path / folder) in line
    assert f"`p2pgan data download {name}`" in line
    assert "P2PGAN_DATA_DIR" in line
    assert "\n" not in line


def test_cifar_without_test_images_is_incomplete(write_cifar: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"no file `test_batch\.bin\.gz`"):
        load("cifar10", write_cifar("data_batch_1.bin"))


def test_an_unknown_name_gets_the_nearest_match(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean `mnist`"):
        load("minst", tmp_path)
    assert DATASETS == ("digits", "mnist", "cifar10")


def overwrite(data_dir: Path, stem: str, raw: bytes) -> Path:
    path = data_dir / "mnist" / f"{stem}.gz"
    path.write_bytes(gzip.compress(raw))
    return path


@pytest.mark.parametrize(
    ("stem", "raw", "expected"),
    [
        (
            "train-labels-idx1-ubyte",
            struct.pack(">II", 0x801, 29) + bytes(29),
            "30 labels, one for each image of `train-images-idx3-ubyte.gz`, got 29",
        ),
        (
            "train-labels-idx1-ubyte",
            struct.pack(">II", 0x801, 30) + bytes(29) + b"\x0a",
            "labels from 0 to 9, got `10` as label 29",
        ),
        (
            "t10k-images-idx3-ubyte",
            struct.pack(">IIII", 0x803, 10, 14, 56) + bytes(7840),
            "images of 28 x 28, got the shape 10 x 14 x 56",
        ),
        (
            "t10k-images-idx3-ubyte",
            struct.pack(">IIII", 0x803, 0, 28, 28),
            "images of 28 x 28, got the shape 0 x 28 x 28",
        ),
        (
            "t10k-labels-idx1-ubyte",
            struct.pack(">II", 0x801, 10_001) + bytes(10_001),
            "at most 10,008 bytes, got more",
        ),
        (
            "train-images-idx3-ubyte",
            struct.pack(">IIII", 0x801, 30, 28, 28) + bytes(30 * 784),
            "the magic number `00000803`, got `00000801`",
        ),
    ],
)
def test_files_that_do_not_fit_are_named(
    write_mnist: WriteMnist, stem: str, raw: bytes, expected: str
) -> None:
    data_dir = write_mnist()
    path = overwrite(data_dir, stem, raw)
    with pytest.raises(DataError) as caught:
        load("mnist", data_dir)
    assert expected in str(caught.value)
    assert caught.value.at == str(path)
    assert "fetches it again" in caught.value.hint


@given(st.binary(min_size=1, max_size=64))
def test_bytes_survive_the_way_through_floats(raw: bytes) -> None:
    pixels = np.frombuffer(raw, np.uint8)
    floats = to_float(pixels)
    assert floats.dtype == np.float32
    assert abs(floats).max() <= 1.0
    assert (to_uint8(floats) == pixels).all()


def test_the_range_is_minus_one_to_one_and_what_lies_outside_is_clipped() -> None:
    assert to_float(np.array([0, 255], np.uint8)).tolist() == [-1.0, 1.0]
    assert to_uint8(np.array([-3.0, 3.0], np.float32)).tolist() == [0, 255]


@pytest.mark.parametrize(("name", "train", "test"), [("mnist", 60_000, 10_000)])
def test_the_real_mnist_loads(name: str, train: int, test: int) -> None:
    """Also where a re-encoding changed a few pixels of the training images."""
    data_dir = Path(os.environ.get("P2PGAN_DATA_DIR", "/nonexistent"))
    if not (data_dir / name).is_dir():
        pytest.skip(f"no `{name}` in P2PGAN_DATA_DIR")
    dataset = load(name, data_dir)
    assert (len(dataset.labels), len(dataset.test_labels)) == (train, test)
    assert np.bincount(dataset.test_labels).tolist()[:3] == [980, 1135, 1032]


def test_a_reduced_data_set_holds_some_images_with_their_labels_and_all_test_images() -> None:
    whole = load("digits", Path("unused"))
    reduced = whole.reduced(300, np.random.default_rng(1))
    labels = {
        image.tobytes(): label for image, label in zip(whole.images, whole.labels, strict=True)
    }
    assert len(reduced.images) == len(reduced.labels) == 300
    assert [labels[image.tobytes()] for image in reduced.images] == reduced.labels.tolist()
    assert (reduced.test_images == whole.test_images).all()
    other = whole.reduced(300, np.random.default_rng(2))
    assert (other.images != reduced.images).any()


def test_a_data_set_cannot_be_reduced_to_more_than_it_has() -> None:
    whole = load("digits", Path("unused"))
    with pytest.raises(DataError, match=f"at most {len(whole.images)}"):
        whole.reduced(len(whole.images) + 1, np.random.default_rng(0))
