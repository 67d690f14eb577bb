"""The picture of who holds what."""

from pathlib import Path

import pytest

from p2pgan.data.partition import Shard
from p2pgan.data.picture import draw_shards
from p2pgan.errors import DataError

SHARDS = [Shard("a", 3, (1, 2)), Shard("b", 0, (0, 0))]


def test_the_suffix_decides_the_format(tmp_path: Path) -> None:
    draw_shards(SHARDS, "title", tmp_path / "shards.png")
    draw_shards(SHARDS, "title", tmp_path / "shards.svg")
    assert (tmp_path / "shards.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "shards.svg").read_bytes()


@pytest.mark.parametrize("name", ["shards.nonsense", "absent/shards.png"])
def test_a_name_that_cannot_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"such as `shards\.png`") as caught:
        draw_shards(SHARDS, "title", tmp_path / name)
    assert "\n" not in str(caught.value)
