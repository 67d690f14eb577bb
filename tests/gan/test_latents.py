"""Latents follow from each node's stream, however nodes and draws are grouped."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.gan.latents import LatentSource


def streams(seeds: Sequence[int]) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in seeds]


def test_shapes_and_types() -> None:
    latents = LatentSource(streams([0, 1, 2]), 7).draw(4)
    assert (latents.z_NBZ.shape, latents.z_NBZ.dtype) == ((3, 4, 7), torch.float32)
    assert (latents.labels_NB.shape, latents.labels_NB.dtype) == ((3, 4), torch.int64)
    assert not latents.labels_NB.any()


def test_latents_are_standard_normal() -> None:
    z = LatentSource(streams([0]), 100).draw(1000).z_NBZ
    assert z.mean().item() == pytest.approx(0, abs=0.015)
    assert z.std().item() == pytest.approx(1, abs=0.015)
    assert z.pow(4).mean().item() == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("classes", [0, 3])
def test_a_node_draws_the_same_alone_as_among_others(classes: int) -> None:
    """A daemon and the simulator see the same latents."""
    together = LatentSource(streams([5, 6, 7]), 8, classes=classes)
    alone = LatentSource(streams([6]), 8, classes=classes)
    for batch in (4, 4, 2):
        one, all_ = alone.draw(batch), together.draw(batch)
        assert torch.equal(one.z_NBZ[0], all_.z_NBZ[1])
        assert torch.equal(one.labels_NB[0], all_.labels_NB[1])
        assert torch.equal(alone.proportions(batch)[0], together.proportions(batch)[1])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 5))
def test_unconditional_latents_do_not_depend_on_how_many_are_drawn_at_a_time(
    parts: list[int], latent: int
) -> None:
    """A large sample made in parts is a large sample made at once."""
    whole = LatentSource(streams([0]), latent).draw(sum(parts)).z_NBZ
    source = LatentSource(streams([0]), latent)
    assert torch.equal(torch.cat([source.draw(part).z_NBZ for part in parts], dim=1), whole)


def test_a_stream_goes_on_from_draw_to_draw_and_follows_from_its_seed() -> None:
    first, second, other = (LatentSource(streams([seed]), 5) for seed in (1, 1, 2))
    a, b = first.draw(3).z_NBZ, first.draw(3).z_NBZ
    assert not torch.equal(a, b)
    assert torch.equal(second.draw(3).z_NBZ, a)
    assert not torch.equal(other.draw(3).z_NBZ, a)


def test_the_wanted_class_is_a_one_hot_code_at_the_end() -> None:
    latents = LatentSource(streams([0, 1]), 9, classes=4).draw(50)
    code = latents.z_NBZ[..., 5:]
    assert torch.equal(code.argmax(-1), latents.labels_NB)
    assert torch.equal(code.sum(-1), torch.ones(2, 50))
    assert ((code == 0) | (code == 1)).all()
    noise = latents.z_NBZ[..., :5]
    assert noise.std().item() == pytest.approx(1, abs=0.15)
    assert not torch.equal(latents.labels_NB[0], latents.labels_NB[1])


def test_wanted_classes_are_uniform() -> None:
    labels = LatentSource(streams([0]), 20, classes=10).draw(5000).labels_NB
    counts = torch.bincount(labels.flatten(), minlength=10).double()
    assert (counts - 500).square().div(500).sum() < 27.9  # chi-square, 9 degrees, p = 0.001


def test_proportions_lie_evenly_between_zero_and_one() -> None:
    share_NB = LatentSource(streams([0, 1]), 5).proportions(2000)
    assert share_NB.shape == (2, 2000)
    assert share_NB.dtype == torch.float32
    assert share_NB.min() >= 0
    assert share_NB.max() < 1
    assert torch.allclose(share_NB.mean(1), torch.tensor(0.5), atol=0.03)
    assert torch.allclose(share_NB.var(1), torch.tensor(1 / 12), atol=0.01)
