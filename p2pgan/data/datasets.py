"""The data sets: embedded digits, MNIST, CIFAR-10 and any folder, as arrays of unsigned bytes.

Training and test images stay apart from here on: test images serve scores only.
"""

import gzip
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from p2pgan.data.catalog import (
    CIFAR_BATCH_BYTES,
    CIFAR_FOLDER,
    CIFAR_TEST,
    CIFAR_TRAIN,
    MNIST_FOLDER,
    MNIST_TEST,
    MNIST_TRAIN,
)
from p2pgan.data.folder import read_folder
from p2pgan.data.formats import (
    ImagesU8,
    Labels,
    check_labels,
    corrupt,
    parse_cifar,
    parse_idx,
    read_plain,
)
from p2pgan.errors import DataError, unknown_name
from p2pgan.seeds import EVERYONE, stream

Floats = npt.NDArray[np.float32]

FOLDER = "folder"
"""Kind of a data set that is any folder of images."""

FOLDER_SHAPE = (3, 128, 128)
"""What images of a folder are made when nobody says: CelebA's size in the thesis."""

_DIGITS_TEST_IMAGES = 197
"""Leaves 1,600 for training: 100 nodes with a batch of 16 each."""


class MissingDataError(DataError):
    """A file that a data set needs is not there."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one shape with their labels, cut into a training and a test part."""

    name: str
    images: ImagesU8
    """Training images, uint8, shape `[M, C, H, W]`."""
    labels: Labels
    """Their classes, int64, shape `[M]`."""
    test_images: ImagesU8
    """Test images, uint8, shape `[M', C, H, W]`; never trained on."""
    test_labels: Labels
    """Their classes, int64, shape `[M']`."""
    classes: int
    """Number of classes; labels lie in `0 … classes - 1`."""
    note: str = ""
    """What a reader of results should know, such as that only some of the files were there."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(C, H, W)`."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def reduced(self, count: int, rng: np.random.Generator) -> "Dataset":
        """The same with `count` of its training images, chosen without repetition.

        Raises:
            DataError: if there are fewer.
        """
        if count > len(self.images):
            raise DataError(
                expected=f"at most {len(self.images)}, the training images of `{self.name}`",
                got=f"`{count}`",
                at="images",
            )
        chosen = np.sort(rng.permutation(len(self.images))[:count])
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])


def load(
    name: str,
    data_dir: Path,
    *,
    image_shape: tuple[int, int, int] = FOLDER_SHAPE,
    seed: int = 0,
) -> Dataset:
    """A data set, read from its publishers' files and checked, or from a folder of images.

    Args:
        name: one of `DATASETS`, or `folder:PATH`.
        data_dir: the folder that holds one folder per data set, and the start of a relative PATH;
            `digits` does not need it.
        image_shape: what a folder's images are made; the others have a shape of their own.
        seed: decides which of a folder's images are for tests; the others have a cut of their own.
    Raises:
        DataError: for an unknown name or a damaged file.
        MissingDataError: if a file is not there.
    """
    kind = kind_of(name)
    if kind == FOLDER:
        return _folder(data_dir / name.partition(":")[2], image_shape, seed)
    return _LOADERS[kind](data_dir)


def kind_of(name: str) -> str:
    """The name of a data set without its path: one of `DATASETS`, or `folder`.

    Raises:
        DataError: if there is none of that name.
    """
    kind, _, path = name.partition(":")
    if kind == FOLDER and path:
        return kind
    if name not in _LOADERS:
        known = (*DATASETS, "folder:PATH")
        raise unknown_name(DataError, "a known data set", name=name, known=known, at="--dataset")
    return name


def to_float(images: ImagesU8) -> Floats:
    """Pixels `0 … 255` as float32 in [-1, 1], the range of the generators' tanh."""
    floats: Floats = scaled(images.astype(np.float32))
    return floats


def scaled(pixels: Any) -> Any:
    """The same of float32 pixels, in an array or a tensor."""
    return pixels / 127.5 - 1.0


def to_uint8(images: Floats) -> ImagesU8:
    """Inverse of `to_float`: [-1, 1] to the nearest of `0 … 255`, what lies outside clipped."""
    pixels: ImagesU8 = np.clip(np.rint((images + 1.0) * 127.5), 0, 255).astype(np.uint8)
    return pixels


def find_file(folder: Path, stem: str) -> Path | None:
    """The file of that name in a folder, gzipped or plain; the gzipped one if both are there,
    since that is what a download writes."""
    for path in (folder / f"{stem}.gz", folder / stem):
        if path.is_file():
            return path
    return None


def _digits(data_dir: Path) -> Dataset:
    """The 1,797 images of 8 x 8 in scikit-learn, cut into 1,600 for training and 197 for tests.

    The rule of the cut: images sorted by class (in file order within a class), then 197 evenly
    spaced ones are the test images, so that every class gives its share; each part is in file
    order. Values `0 … 16` become `0 … 255`.
    """
    del data_dir  # they come with the installation
    table = _digits_table()
    pixels, labels = table[:, :-1], table[:, -1].astype(np.int64)
    images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    total = len(labels)
    every = (2 * np.arange(_DIGITS_TEST_IMAGES) + 1) * total // (2 * _DIGITS_TEST_IMAGES)
    is_test = np.zeros(total, dtype=bool)
    is_test[np.argsort(labels, kind="stable")[every]] = True
    return Dataset(
        name="digits",
        images=images[~is_test],
        labels=labels[~is_test],
        test_images=images[is_test],
        test_labels=labels[is_test],
        classes=10,
    )


def _digits_table() -> npt.NDArray[np.float64]:
    """64 pixel values and a label per row; read without importing scikit-learn, which is slow."""
    spec = importlib.util.find_spec("sklearn")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            with gzip.open(path, "rt", encoding="ascii") as file:
                table: npt.NDArray[np.float64] = np.loadtxt(file, delimiter=",")
            if _is_digits_table(table):
                return table
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target]).astype(np.float64)


def _is_digits_table(table: npt.NDArray[np.float64]) -> bool:
    if table.shape != (1797, 65):
        return False
    pixels, labels = table[:, :-1], table[:, -1]
    return bool(pixels.min() >= 0 and pixels.max() <= 16 and set(labels) == set(range(10)))


def _mnist(data_dir: Path) -> Dataset:
    folder = data_dir / MNIST_FOLDER
    images, labels = _mnist_part(folder, *MNIST_TRAIN)
    test_images, test_labels = _mnist_part(folder, *MNIST_TEST)
    note = _subset_note(len(images), MNIST_TRAIN[2], len(test_images), MNIST_TEST[2])
    return Dataset("mnist", images, labels, test_images, test_labels, classes=10, note=note)


def _mnist_part(
    folder: Path, image_stem: str, label_stem: str, images_max: int
) -> tuple[ImagesU8, Labels]:
    image_path = _require(folder, image_stem, "mnist")
    label_path = _require(folder, label_stem, "mnist")
    plain = read_plain(image_path, limit_bytes=16 + 784 * images_max, name="mnist")
    images = parse_idx(plain, dimensions=3, path=image_path, name="mnist")
    if images.shape[1:] != (28, 28) or not len(images):
        got = " x ".join(str(size) for size in images.shape)
        raise corrupt(image_path, "images of 28 x 28", f"the shape {got}", "mnist")
    plain = read_plain(label_path, limit_bytes=8 + images_max, name="mnist")
    raw = parse_idx(plain, dimensions=1, path=label_path, name="mnist")
    if len(raw) != len(images):
        expected = f"{len(images):,} labels, one for each image of `{image_path.name}`"
        raise corrupt(label_path, expected, f"{len(raw):,}", "mnist")
    return images[:, None], check_labels(raw, classes=10, path=label_path, name="mnist")


def _cifar10(data_dir: Path) -> Dataset:
    folder = data_dir / CIFAR_FOLDER
    images, labels = _cifar_part(folder, CIFAR_TRAIN)
    test_images, test_labels = _cifar_part(folder, CIFAR_TEST)
    note = _subset_note(len(images), 50_000, len(test_images), 10_000)
    return Dataset("cifar10", images, labels, test_images, test_labels, classes=10, note=note)


def _cifar_part(folder: Path, stems: tuple[str, ...]) -> tuple[ImagesU8, Labels]:
    """The batches that are there, in the publishers' order; at least one must be."""
    paths = [path for stem in stems if (path := find_file(folder, stem))]
    if not paths:
        raise _missing(folder, stems[0], "cifar10")
    parts = []
    for path in paths:
        plain = read_plain(path, limit_bytes=CIFAR_BATCH_BYTES, name="cifar10")
        parts.append(parse_cifar(plain, path=path, name="cifar10"))
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _folder(path: Path, shape: tuple[int, int, int], seed: int) -> Dataset:
    found = read_folder(path, shape, stream(seed, EVERYONE, "test-images"))
    cut = found.test_images
    return Dataset(
        name=FOLDER,
        images=found.images[cut:],
        labels=found.labels[cut:],
        test_images=found.images[:cut],
        test_labels=found.labels[:cut],
        classes=found.classes,
    )


def _require(folder: Path, stem: str, name: str) -> Path:
    path = find_file(folder, stem)
    if path is None:
        raise _missing(folder, stem, name)
    return path


def _missing(folder: Path, stem: str, name: str) -> MissingDataError:
    return MissingDataError(
        expected=f"the data set `{name}`",
        got=f"no file `{stem}.gz` (nor unpacked)",
        at=str(folder),
        hint=f"`p2pgan data download {name}` fetches it; `P2PGAN_DATA_DIR` names another folder",
    )


def _subset_note(train: int, train_all: int, test: int, test_all: int) -> str:
    parts = [
        f"{have:,} of {whole:,} {kind} images"
        for have, whole, kind in ((train, train_all, "training"), (test, test_all, "test"))
        if have != whole
    ]
    return ", ".join(parts)


_LOADERS: dict[str, Callable[[Path], Dataset]] = {
    "digits": _digits,
    "mnist": _mnist,
    "cifar10": _cifar10,
}

DATASETS = tuple(_LOADERS)
"""The names that `load` knows."""
