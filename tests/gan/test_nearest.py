"""Distance to the nearest training image, against plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from p2pgan.gan.nearest import nearest_distances

CPU = torch.device("cpu")


def pictures(seed: int, count: int) -> Tensor:
    """Images as data sets hold them: bytes as floats in [-1, 1]."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 2, 3, 3))
    return torch.from_numpy((pixels / 127.5 - 1).astype(np.float32))


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 20), st.integers(1, 20))
def test_the_nearest_of_all_parts_in_float64(seed: int, count: int, many: int, part: int) -> None:
    images, training = pictures(seed, count), pictures(seed + 1, many)
    wanted = [
        min(float((image.double() - each.double()).norm()) for each in training) for image in images
    ]
    got = nearest_distances(images, torch.split(training, part), CPU)
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx(wanted, rel=1e-6)


def test_a_copy_has_distance_0() -> None:
    """Exactly: products in float32 alone would leave a few hundredths."""
    training = pictures(0, 500)
    assert nearest_distances(training, torch.split(training, 64), CPU).tolist() == [0.0] * 500
    dark = torch.full((3, 2, 3, 3), -1.0)
    assert nearest_distances(dark, [dark], CPU).tolist() == [0.0] * 3


def test_it_is_not_divided_by_the_pixels() -> None:
    black, white = torch.full((1, 1, 4, 4), -1.0), torch.full((1, 1, 4, 4), 1.0)
    assert nearest_distances(black, [white], CPU).tolist() == [8.0]
