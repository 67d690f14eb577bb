"""Latents follow from each node's stream, however nodes and draws are grouped."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.gan import latents as module
from p2pgan.gan.latents import Latents, LatentSource, LatentStreams


def streams(seeds: Sequence[int]) -> list[LatentStreams]:
    return [
        LatentStreams(*(np.random.default_rng((seed, purpose)) for purpose in range(3)))
        for seed in seeds
    ]


def draw(source: LatentSource, batch: int, nodes: int = 1) -> Latents:
    """One draw of the first nodes."""
    return next(source.draws(range(nodes), 1, batch))


def test_shapes_and_types() -> None:
    latents = draw(LatentSource(streams([0, 1, 2]), 7), 4, nodes=3)
    assert (latents.z_NBZ.shape, latents.z_NBZ.dtype) == ((3, 4, 7), torch.float32)
    assert (latents.labels_NB.shape, latents.labels_NB.dtype) == ((3, 4), torch.int64)
    assert not latents.labels_NB.any()


def test_latents_are_standard_normal() -> None:
    z = draw(LatentSource(streams([0]), 100), 1000).z_NBZ
    assert z.mean().item() == pytest.approx(0, abs=0.015)
    assert z.std().item() == pytest.approx(1, abs=0.015)
    assert z.pow(4).mean().item() == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("classes", [0, 3])
def test_a_node_draws_the_same_alone_as_among_others(classes: int) -> None:
    """A daemon and the simulator see the same latents."""
    together = LatentSource(streams([5, 6, 7]), 8, classes=classes)
    alone = LatentSource(streams([6]), 8, classes=classes)
    for batch in (4, 4, 2):
        one, all_ = draw(alone, batch), draw(together, batch, nodes=3)
        assert torch.equal(one.z_NBZ[0], all_.z_NBZ[1])
        assert torch.equal(one.labels_NB[0], all_.labels_NB[1])
        all_NB = together.proportions(range(3), batch)
        assert torch.equal(alone.proportions(range(1), batch)[0], all_NB[1])


def test_a_block_draws_for_its_own_nodes() -> None:
    """Blocks of a cohort share one source, each with its range of the nodes."""
    whole, cut = (LatentSource(streams([5, 6, 7]), 8, classes=3) for _ in range(2))
    for drawn, first, last in zip(
        whole.draws(range(3), 4, 2),
        cut.draws(range(1), 4, 2),
        cut.draws(range(1, 3), 4, 2),
        strict=True,
    ):
        assert torch.equal(drawn.z_NBZ, torch.cat([first.z_NBZ, last.z_NBZ]))
        assert torch.equal(drawn.labels_NB, torch.cat([first.labels_NB, last.labels_NB]))


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(4, 6),
    st.sampled_from([0, 3]),
    st.sampled_from([1, 20, 10_000]),
)
def test_latents_do_not_depend_on_how_many_are_drawn_at_a_time(
    parts: list[int], latent: int, classes: int, at_once: int
) -> None:
    """Neither on the calls nor on how many values one call draws in one go."""
    once = list(LatentSource(streams([0]), latent, classes=classes).draws(range(1), sum(parts), 2))
    source = LatentSource(streams([0]), latent, classes=classes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "VALUES_AT_ONCE", at_once)
        pieces = [drawn for part in parts for drawn in source.draws(range(1), part, 2)]
    assert len(pieces) == len(once) == sum(parts)
    for piece, wanted in zip(pieces, once, strict=True):
        assert torch.equal(piece.z_NBZ, wanted.z_NBZ)
        assert torch.equal(piece.labels_NB, wanted.labels_NB)


def test_a_stream_goes_on_from_draw_to_draw_and_follows_from_its_seed() -> None:
    first, second, other = (LatentSource(streams([seed]), 5) for seed in (1, 1, 2))
    a, b = draw(first, 3).z_NBZ, draw(first, 3).z_NBZ
    assert not torch.equal(a, b)
    assert torch.equal(draw(second, 3).z_NBZ, a)
    assert not torch.equal(draw(other, 3).z_NBZ, a)


def test_the_wanted_class_is_a_one_hot_code_at_the_end() -> None:
    latents = draw(LatentSource(streams([0, 1]), 9, classes=4), 50, nodes=2)
    code = latents.z_NBZ[..., 5:]
    assert torch.equal(code.argmax(-1), latents.labels_NB)
    assert torch.equal(code.sum(-1), torch.ones(2, 50))
    assert ((code == 0) | (code == 1)).all()
    noise = latents.z_NBZ[..., :5]
    assert noise.std().item() == pytest.approx(1, abs=0.15)
    assert not torch.equal(latents.labels_NB[0], latents.labels_NB[1])


def test_wanted_classes_are_uniform() -> None:
    labels = draw(LatentSource(streams([0]), 20, classes=10), 5000).labels_NB
    counts = torch.bincount(labels.flatten(), minlength=10).double()
    assert (counts - 500).square().div(500).sum() < 27.9  # chi-square, 9 degrees, p = 0.001


def test_proportions_lie_evenly_between_zero_and_one() -> None:
    share_NB = LatentSource(streams([0, 1]), 5).proportions(range(2), 2000)
    assert share_NB.shape == (2, 2000)
    assert share_NB.dtype == torch.float32
    assert share_NB.min() >= 0
    assert share_NB.max() < 1
    assert torch.allclose(share_NB.mean(1), torch.tensor(0.5), atol=0.03)
    assert torch.allclose(share_NB.var(1), torch.tensor(1 / 12), atol=0.01)
