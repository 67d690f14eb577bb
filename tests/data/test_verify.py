"""`data list`: present, missing, corrupt, and files with other contents than published."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pgan.data import catalog
from p2pgan.data.formats import read_plain
from p2pgan.data.verify import is_original, verify
from p2pgan.errors import DataError

WriteMnist = Callable[..., Path]


def bless(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    """Declares the tiny files to be the publishers' own."""
    for stem in catalog.CONTENTS["mnist"]:
        plain = read_plain(data_dir / "mnist" / f"{stem}.gz", limit_bytes=10**6, name="mnist")
        sha256 = hashlib.sha256(plain).hexdigest()
        monkeypatch.setitem(catalog.CONTENTS["mnist"], stem, sha256)


def test_the_embedded_digits_are_always_present(tmp_path: Path) -> None:
    state = verify("digits", tmp_path / "absent")
    assert (state.state, state.place, state.note) == ("present", "", "")
    assert (state.train_images, state.test_images) == (1600, 197)
    assert state.image_shape == (1, 8, 8)


def test_an_absent_data_set_is_missing(tmp_path: Path) -> None:
    state = verify("mnist", tmp_path)
    assert state.state == "missing"
    assert state.place == str(tmp_path / "mnist")
    assert "p2pgan data download mnist" in state.note


def test_a_data_set_as_published_has_nothing_to_note_but_its_size(
    write_mnist: WriteMnist, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = write_mnist(30, 10)
    bless(monkeypatch, data_dir)
    state = verify("mnist", data_dir)
    assert state.state == "present"
    assert state.note == "30 of 60,000 training images, 10 of 10,000 test images"


def test_other_contents_of_the_right_form_are_noted(
    write_mnist: WriteMnist, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A re-encoded copy may be used, but its user should know."""
    data_dir = write_mnist(30, 10)
    bless(monkeypatch, data_dir)
    monkeypatch.setitem(catalog.CONTENTS["mnist"], "t10k-images-idx3-ubyte", "0" * 64)
    state = verify("mnist", data_dir)
    assert state.state == "present"
    assert state.note.endswith("; not as published: `t10k-images-idx3-ubyte`")


@pytest.mark.parametrize(("damage", "said"), [("truncate", "corrupt"), ("remove", "missing")])
def test_a_damaged_or_absent_file_is_named(write_mnist: WriteMnist, damage: str, said: str) -> None:
    data_dir = write_mnist()
    path = data_dir / "mnist" / "train-images-idx3-ubyte.gz"
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.unlink()
    state = verify("mnist", data_dir)
    assert state.state == said
    assert "train-images-idx3-ubyte" in state.note
    assert not is_original("mnist", "train-images-idx3-ubyte", data_dir)


def test_an_unknown_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean `cifar10`"):
        verify("cifar", tmp_path)
