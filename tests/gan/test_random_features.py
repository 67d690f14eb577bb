"""Random filters order large differences between sets of images, which is all they promise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from p2pgan.data.datasets import load, to_float
from p2pgan.gan.random_features import FEATURES, RandomFeatures
from p2pgan.gan.scorer import RANDOM, load_scorer
from p2pgan.gan.scores import reference, score
from p2pgan.seeds import EVERYONE, stream


def test_features_of_images_of_any_size_and_channels() -> None:
    network = RandomFeatures(np.random.default_rng(0))
    for shape in ((1, 8, 8), (3, 32, 32), (3, 128, 128)):
        logits, features = network(torch.ones(2, *shape))
        assert features.shape == (2, FEATURES)
        assert logits.tolist() == [[0.0], [0.0]]
        assert features.std() > 0


def test_the_scorer_is_the_same_everywhere_and_draws_nothing_of_a_run() -> None:
    images = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8)
    one, two = load_scorer(RANDOM), load_scorer(RANDOM)
    assert torch.equal(one(images)[1], two(images)[1])
    expected = RandomFeatures(stream(0, EVERYONE, "scorer"))(images)[1]
    torch.testing.assert_close(one(images)[1], expected)
    assert (one.classes, one.image_shape, one.test_accuracy) == (1, None, None)


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return torch.from_numpy(to_float(load("digits", Path("none")).images[:800]))


def test_large_differences_are_ordered(digits: Tensor) -> None:
    scorer = load_scorer(RANDOM)
    real = reference(scorer, digits[:400])
    noise = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (400, 1, 8, 8))).float()
    few = digits[400:410].repeat(40, 1, 1, 1)
    blurred = functional.avg_pool2d(digits[400:], 3, 1, 1)
    fids = [score(scorer, real, images).fid for images in (digits[400:], few, noise)]
    assert fids == sorted(fids)
    assert fids[1] > 3 * fids[0]
    assert score(scorer, real, blurred).fid > 3 * fids[0]
    assert score(scorer, real, digits[400:]).ms == 1.0, "MS says nothing, and says so"
