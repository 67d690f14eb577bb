"""The catalog is a table typed by hand: each row is checked against the others and real files."""

import hashlib
import os
import re
from pathlib import Path

import pytest

from p2pgan.data.catalog import CONTENTS, FOLDERS, REMOTES, Remote
from p2pgan.data.datasets import DATASETS, find_file
from p2pgan.data.formats import read_plain
from p2pgan.data.verify import is_original

REMOTE_FILES = [remote for remotes in REMOTES.values() for remote in remotes]


def test_every_data_set_but_the_embedded_one_can_be_fetched() -> None:
    assert set(REMOTES) == set(CONTENTS) == set(FOLDERS) == set(DATASETS) - {"digits"}


@pytest.mark.parametrize("remote", REMOTE_FILES, ids=lambda remote: str(remote.name))
def test_remote_files_have_two_mirrors_at_least(remote: Remote) -> None:
    assert len(set(remote.mirrors)) == len(remote.mirrors) >= 2
    assert all(url.startswith("https://") and url.endswith("/") for url in remote.mirrors)


def test_checksums_are_distinct() -> None:
    sums = [remote.sha256 for remote in REMOTE_FILES]
    sums += [sha256 for contents in CONTENTS.values() for sha256 in contents.values()]
    assert len(set(sums)) == len(sums)
    assert all(re.fullmatch(r"[0-9a-f]{64}", sha256) for sha256 in sums)


MD5_T10K_IMAGES = "2646ac647ad5339dbf082846283269ea"
"""As widely published."""


def test_the_real_test_images_are_the_publishers() -> None:
    data_dir = Path(os.environ.get("P2PGAN_DATA_DIR", "/nonexistent"))
    path = find_file(data_dir / "mnist", "t10k-images-idx3-ubyte")
    if path is None:
        pytest.skip("no `mnist` in P2PGAN_DATA_DIR")
    assert is_original("mnist", "t10k-images-idx3-ubyte", data_dir)
    plain = read_plain(path, limit_bytes=10_000_000, name="mnist")
    assert hashlib.md5(plain, usedforsecurity=False).hexdigest() == MD5_T10K_IMAGES
