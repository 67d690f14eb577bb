"""Pictures are PNGs of a sensible size that show what they were given."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from p2pgan.errors import RecordError
from p2pgan.inspect.pictures import image_grid, image_rows, sample_grid, score_curves, tiles
from p2pgan.inspect.summary import ConsensusPoint, Curves, ScorePoint, spread, summarise
from p2pgan.record.rundir import RunDirectory


def pixels(path: Path) -> npt.NDArray[Any]:
    """The picture, read back."""
    from matplotlib.image import imread

    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture: npt.NDArray[Any] = imread(path)
    return picture[..., :3]


def curves(fid: list[float | None], ms: float = 5.0) -> Curves:
    return Curves(
        scores=[
            ScorePoint(
                iterations=100 * (index + 1),
                nodes=1,
                samples=500,
                fid=spread([value]),
                ms=spread([ms]),
            )
            for index, value in enumerate(fid)
        ],
        consensus=[ConsensusPoint(round=1, iterations=20, g=0.0, d=None)],
    )


def test_tiles_are_enlarged_by_a_whole_factor_and_set_apart() -> None:
    images_KCHW = np.full((3, 1, 8, 8), -1.0)
    images_KCHW[1] = 1.0
    canvas = tiles(images_KCHW, columns=2)
    assert canvas.shape == (4 + 2 * 52, 4 + 2 * 52, 3)
    assert (canvas[4:52, 4:52] == 0).all()
    assert (canvas[4:52, 56:104] == 1).all()
    assert (canvas[56:104, 4:52] == 0).all()
    assert (canvas[56:104, 56:104] == 1).all()
    assert (canvas[52:56] == 1).all()


def test_colors_keep_their_channels_and_rows_their_order() -> None:
    images_KCHW = np.zeros((1, 3, 48, 48))
    images_KCHW[0, 0, 0, :] = 1.0
    canvas = tiles(images_KCHW, columns=1)
    assert canvas[4, 4].tolist() == [1.0, 0.5, 0.5]
    assert canvas[5, 4].tolist() == [0.5, 0.5, 0.5]


def test_values_beyond_the_range_are_cut_and_nan_is_black() -> None:
    images_KCHW = np.array([math.nan, math.inf, -7.0, 0.0]).reshape(4, 1, 1, 1)
    assert tiles(images_KCHW, columns=4)[10, [10, 62, 114, 166], 0].tolist() == [0, 1, 0, 0.5]


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (5, 2, 3), (9, 3, 3)])
def test_an_image_grid_is_near_square(tmp_path: Path, count: int, rows: int, columns: int) -> None:
    image_grid(np.zeros((count, 1, 8, 8), dtype=np.float32), tmp_path / "x.png")
    picture = pixels(tmp_path / "x.png")
    assert picture.shape == (4 + rows * 52, 4 + columns * 52, 3)
    np.testing.assert_allclose(picture[10, 10], 0.5, atol=0.01)


def test_a_sample_grid_has_a_row_for_each_node_in_natural_order(tmp_path: Path) -> None:
    images = {f"n{index}": np.full((4, 1, 8, 8), level) for index, level in ((10, 0.9), (2, -0.9))}
    sample_grid(images, tmp_path / "x.png", "what they are")
    picture = pixels(tmp_path / "x.png")
    assert 2 * 52 < picture.shape[0] < 2 * 52 + 100
    assert 4 * 52 < picture.shape[1] < 4 * 52 + 150
    right = picture[:, 4 * 52].mean(axis=1)
    dark, bright = np.abs(right - 0.05) < 0.01, np.abs(right - 0.95) < 0.01
    assert dark.sum() == bright.sum() == 48
    assert np.flatnonzero(dark).max() < np.flatnonzero(bright).min()


def test_a_long_title_is_broken_and_does_not_widen_the_picture(tmp_path: Path) -> None:
    images = {"a": np.zeros((4, 1, 8, 8)), "b": np.zeros((4, 1, 8, 8))}
    for name, title in (("short", "what"), ("long", "what they are, at length, " * 4)):
        image_rows(images, tmp_path / f"{name}.png", title)
    short, long = (pixels(tmp_path / f"{name}.png").shape for name in ("short", "long"))
    assert long[1] == short[1]
    assert long[0] > short[0] + 40


def test_score_curves_of_a_run(tmp_path: Path, run: RunDirectory) -> None:
    """One of the two points has no FID, since a node diverged."""
    score_curves({"gossip": summarise(run).curves}, tmp_path / "deep" / "x.png", "a run")
    picture = pixels(tmp_path / "deep" / "x.png")
    height, width = picture.shape[:2]
    assert 300 < height < 600
    assert 900 < width < 1600
    for third in range(3):
        panel = picture[:, third * width // 3 : (third + 1) * width // 3]
        blue = (panel[..., 2] > 0.6) & (panel[..., 0] < 0.1)
        assert blue.sum() > 20


@pytest.mark.parametrize(
    "several",
    [
        {},
        {"nothing": Curves(scores=[], consensus=[])},
        {"one point": curves([20.0])},
        {"a narrow range": curves([20.0, 21.0, 22.0])},
        {"a wide range": curves([1e-3, 1e9])},
        {"diverged": curves([None, None], ms=math.nan), "fine": curves([5.0, 6.0])},
        {"no logarithm": curves([0.0, -1e-9])},
        {f"label {index}": curves([10.0 + index, 5.0]) for index in range(9)},
    ],
    ids=lambda several: next(iter(several), "no curve"),
)
def test_any_curves_can_be_drawn(tmp_path: Path, several: dict[str, Curves]) -> None:
    score_curves(several, tmp_path / "x.png")
    assert pixels(tmp_path / "x.png").std() > 0.01


def test_a_place_that_takes_no_picture_is_named() -> None:
    with pytest.raises(RecordError, match=r"at /proc/none/x\.png"):
        image_grid(np.zeros((1, 1, 8, 8)), Path("/proc/none/x.png"))


def test_nothing_global_is_used() -> None:
    """pyplot keeps figures, and may look for a display."""
    assert "matplotlib.pyplot" not in sys.modules
