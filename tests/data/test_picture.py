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


def test_another_suffix_is_refused_with_those_that_can_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a suffix of pictures \(`\.png`.*got `\.pgn`.*`\.png`\?"):
        draw_shards(SHARDS, "title", tmp_path / "shards.pgn")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="in a folder that can be written") as caught:
        draw_shards(SHARDS, "title", tmp_path / "file" / "shards.png")
    assert "\n" not in str(caught.value)
