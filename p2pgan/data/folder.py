"""Any folder of images: read, cut to a square, resized, and parted into training and test images.

All images are held in memory as bytes, 49 KB each at 128 x 128 pixels in colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from p2pgan.data.formats import ImagesU8, Labels
from p2pgan.errors import DataError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""What counts as an image; other files are passed over."""

TEST_SHARE = 1 / 20
"""Of the images, as in the thesis (10,000 of CelebA's 200,000)."""

TEST_MIN = 2
"""FID needs a covariance."""

IMAGES_MIN = 2 * TEST_MIN

MODES = {1: "L", 3: "RGB"}
"""Pillow's names of grey and coloured images, by number of channels."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images of one shape, those for tests first."""

    images: ImagesU8
    """uint8, shape `[M, C, H, W]`."""
    labels: Labels
    """int64, shape `[M]`: the place of each one's subfolder among them, or 0."""
    classes: int
    """Subfolders, or 1."""
    test_images: int
    """How many of them, from the first on, are for tests."""


def read_folder(path: Path, shape: tuple[int, int, int], rng: np.random.Generator) -> Pictures:
    """The images of a folder; where it has subfolders with images, these are the classes.

    Args:
        path: the folder. Subfolders of subfolders are not looked into.
        shape: `(C, H, W)` of what comes out, C 1 or 3. Of each image the largest part of these
            proportions is taken, from its middle.
        rng: draws the test images.
    Raises:
        DataError: if the folder is not there, holds too few images or images beside classes, or an
            image cannot be read.
    """
    names, files = _found(path)
    if len(files) < IMAGES_MIN:
        raise DataError(
            expected=f"a folder with at least {IMAGES_MIN} images",
            got=f"{len(files)}" if path.is_dir() else "no such folder",
            at=str(path),
            hint=f"images end in {', '.join(sorted(SUFFIXES))}; subfolders are classes",
        )
    tests = max(TEST_MIN, round(TEST_SHARE * len(files)))
    order = rng.permutation(len(files))
    order = np.concatenate([np.sort(order[:tests]), np.sort(order[tests:])])
    images = np.empty((len(files), *shape), dtype=np.uint8)
    for place, index in enumerate(order.tolist()):
        images[place] = _read(files[index], shape)
    place_of = {name: place for place, name in enumerate(names)}
    labels = [place_of.get(files[index].parent.name, 0) for index in order.tolist()]
    return Pictures(images, np.array(labels, dtype=np.int64), max(1, len(names)), tests)


def _found(path: Path) -> tuple[list[str], list[Path]]:
    """Names of the classes, none if there are no subfolders with images, and all images by name."""
    own = _images_of(path)
    below = [(folder.name, _images_of(folder)) for folder in _sorted(path) if folder.is_dir()]
    below = [(name, images) for name, images in below if images]
    if own and below:
        raise DataError(
            expected="images, or subfolders with the images of a class each",
            got="both",
            at=f"{own[0]}, beside `{below[0][0]}`",
        )
    return [name for name, _ in below], own + [image for _, images in below for image in images]


def _images_of(folder: Path) -> list[Path]:
    return [path for path in _sorted(folder) if path.suffix.lower() in SUFFIXES and path.is_file()]


def _sorted(folder: Path) -> Sequence[Path]:
    """What is in a folder, hidden things apart: the order does not depend on the file system."""
    try:
        found = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise DataError(
            expected="a folder that can be read", got=error.strerror or str(error), at=str(folder)
        ) from None
    return sorted(path for path in found if not path.name.startswith("."))


def _read(path: Path, shape: tuple[int, int, int]) -> ImagesU8:
    """One image, turned as its camera says, cut and resized, `[C, H, W]`."""
    channels, height, width = shape
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert(MODES[channels])
            fitted = ImageOps.fit(upright, (width, height), Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow's own words name the file again, or its insides.
        what = "a damaged one" if isinstance(error, OSError | SyntaxError) else type(error).__name__
        raise DataError(
            expected="an image that can be read",
            got=what,
            at=str(path),
            hint="remove it, or put a whole one in its place",
        ) from None
    return np.asarray(fitted, dtype=np.uint8).reshape(height, width, channels).transpose(2, 0, 1)
