"""A folder of images as a data set: which are taken, how they are cut, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p2pgan.data.datasets import FOLDER_SHAPE, load
from p2pgan.data.folder import IMAGES_MIN, read_folder
from p2pgan.errors import DataError

SHAPE = (3, 8, 8)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def paint(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Forty images, each of a grey of its own, in formats that keep it."""
    for number in range(40):
        suffix = ("png", "PNG", "bmp")[number % 3]
        paint(tmp_path / "pictures" / f"{number:02}.{suffix}", (5 * number,) * 3)
    return tmp_path / "pictures"


def greys(images: np.ndarray) -> list[int]:
    return [int(image[0, 0, 0]) // 5 for image in images]


def test_every_image_is_for_training_or_for_tests(pictures: Path) -> None:
    found = read_folder(pictures, SHAPE, rng())
    assert found.images.shape == (40, *SHAPE)
    assert found.images.dtype == np.uint8
    assert found.test_images == 2
    assert sorted(greys(found.images)) == list(range(40))
    training = greys(found.images[2:])
    assert training == sorted(training), "in order of names"
    assert (found.classes, set(found.labels.tolist())) == (1, {0})


def test_the_seed_decides_which_are_for_tests(pictures: Path) -> None:
    name = f"folder:{pictures}"
    of_seed = [
        greys(load(name, Path("none"), image_shape=SHAPE, seed=s).test_images) for s in (0, 0, 1)
    ]
    assert of_seed[0] == of_seed[1] != of_seed[2]


def test_the_path_may_begin_in_the_folder_of_the_data_sets(pictures: Path) -> None:
    found = load("folder:pictures", pictures.parent)
    assert (found.name, found.image_shape, found.classes) == ("folder", FOLDER_SHAPE, 1)
    assert (len(found.images), len(found.test_images)) == (38, 2)


def test_the_middle_of_an_image_is_taken(tmp_path: Path) -> None:
    """Of a wide picture whose ends are red, nothing red is left."""
    for number in range(IMAGES_MIN):
        wide = Image.new("RGB", (64, 16), (255, 0, 0))
        wide.paste((0, 0, 255), (16, 0, 48, 16))
        wide.save(tmp_path / f"{number}.png")
    images = read_folder(tmp_path, SHAPE, rng()).images
    assert (images[:, 0] == 0).all()
    assert (images[:, 2] == 255).all()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 6)])
def test_images_of_any_size_and_mode_become_the_models(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    for number, mode in enumerate(("L", "RGB", "RGBA", "P", "1", "CMYK")):
        suffix = "jpg" if mode == "CMYK" else "png"
        Image.new(mode, (5 + number, 9)).save(tmp_path / f"{mode}.{suffix}")
    assert read_folder(tmp_path, shape, rng()).images.shape == (6, *shape)


def test_a_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    """Upper half white when upright, which the file has on the left or the right."""
    for number in range(IMAGES_MIN):
        sideways = Image.new("L", (8, 8), 0)
        sideways.paste(255, (0, 0, 4, 8))
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by a quarter
        sideways.save(tmp_path / f"{number}.png", exif=exif)
    image = read_folder(tmp_path, (1, 8, 8), rng()).images[0, 0]
    assert {(image[:4] == 255).all(), (image[4:] == 0).all()} == {True}


def test_subfolders_are_classes(tmp_path: Path) -> None:
    for place, name in enumerate(("cats", "dogs", "emus")):
        for number in range(4):
            paint(tmp_path / name / f"{number}.png", (place,) * 3)
    (tmp_path / "empty").mkdir()
    paint(tmp_path / ".hidden" / "0.png", (9, 9, 9))
    (tmp_path / "notes.txt").write_text("not an image")
    found = read_folder(tmp_path, SHAPE, rng())
    assert found.classes == 3
    assert len(found.labels) == 12
    assert (found.images[:, 0, 0, 0] == found.labels).all()


def complaint(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_folder(path, SHAPE, rng())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kept", [0, 10, 60])
def test_an_image_that_cannot_be_read_is_named(pictures: Path, kept: int) -> None:
    damaged = pictures / "05.bmp"
    damaged.write_bytes(damaged.read_bytes()[:kept])
    assert str(damaged) in complaint(pictures)


def test_what_only_looks_like_an_image_is_named(pictures: Path) -> None:
    (pictures / "text.jpg").write_text("no image at all")
    assert f"{pictures / 'text.jpg'}" in complaint(pictures)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    for number in range(IMAGES_MIN - 1):
        paint(tmp_path / f"{number}.png", (0, 0, 0))
    told = complaint(tmp_path)
    assert f"at least {IMAGES_MIN} images" in told
    assert f"got {IMAGES_MIN - 1}" in told
    assert str(tmp_path) in told
    assert "no such folder" in complaint(tmp_path / "nowhere")


def test_images_beside_classes_are_refused(pictures: Path) -> None:
    paint(pictures / "cats" / "0.png", (0, 0, 0))
    told = complaint(pictures)
    assert "00.png" in told
    assert "`cats`" in told


@pytest.mark.parametrize("name", ["folder", "folder:", "folders:x", "digits:x"])
def test_a_folder_needs_its_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a known data set"):
        load(name, tmp_path)


def test_other_data_sets_are_as_they_were(write_mnist: Callable[..., Path]) -> None:
    """Other data sets have a shape and a cut of their own, whatever is asked for."""
    data_dir = write_mnist(30, 10)
    one, two = (load("mnist", data_dir, image_shape=SHAPE, seed=s) for s in (0, 1))
    assert one.image_shape == (1, 28, 28)
    assert (one.images == two.images).all()
