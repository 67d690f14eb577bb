"""Images out of a finished generator."""

import numpy as np
import pytest
import torch
from torch import Tensor

from p2pgan.gan import sampling
from p2pgan.gan.latents import LatentSource, LatentStreams
from p2pgan.gan.layers import BatchNorm, Linear, Reshape, tanh
from p2pgan.gan.models import Model, model
from p2pgan.gan.networks import Network


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def normed() -> Model:
    """A tiny pair whose generator has batch norm, and classes."""
    generator = Network((Linear(5, 4), BatchNorm(4), tanh(), Reshape((1, 2, 2))))
    discriminator = Network((Reshape((4,)), Linear(4, 4)))
    return Model(
        name="normed",
        latent=5,
        image_shape=(1, 2, 2),
        classes=3,
        generator=generator,
        discriminator=discriminator,
        batch_size=4,
        learning_rate=1e-3,
    )


def draw(rng: np.random.Generator, latent: int, batch: int, classes: int = 0) -> Tensor:
    """Latents of one node whose draws all come from one stream."""
    source = LatentSource([LatentStreams(rng, rng, rng)], latent, classes=classes)
    return next(source.draws(range(1), 1, batch)).z_NBZ


def test_images_are_the_generators_of_the_streams_latents() -> None:
    pair = model("mlp-digits")
    vector_P = pair.generator.initial_vector(rng(), "he")
    z = draw(rng(3), pair.latent, 7)
    wanted = pair.generator.apply(pair.generator.views(vector_P.unsqueeze(0)), z, training=False)
    got = sampling.images(pair, vector_P, 7, rng(3))
    assert got.shape == (7, *pair.image_shape)
    assert got.dtype == torch.float32
    assert got.abs().max() <= 1
    assert torch.equal(got, wanted[0])


def test_a_large_sample_is_made_in_parts_and_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = model("mlp-digits")
    vector_P = pair.generator.initial_vector(rng(), "he")
    whole = sampling.images(pair, vector_P, 11, rng(3))
    monkeypatch.setattr(sampling, "IMAGES_AT_ONCE", 4)
    torch.testing.assert_close(sampling.images(pair, vector_P, 11, rng(3)), whole)
    torch.testing.assert_close(sampling.images(pair, vector_P, 8, rng(3)), whole[:8])


def test_sampling_changes_nothing_of_the_network(normed: Model) -> None:
    vector_P = normed.generator.initial_vector(rng(), "he")
    before = vector_P.clone()
    sampling.images(normed, vector_P, 9, rng())
    assert torch.equal(vector_P, before)


def test_an_image_does_not_depend_on_the_others_of_its_sample(normed: Model) -> None:
    """Running statistics, not those of the batch."""
    vector_P = normed.generator.initial_vector(rng(), "he")
    many = sampling.images(normed, vector_P, 9, rng(1))
    torch.testing.assert_close(sampling.images(normed, vector_P, 2, rng(1)), many[:2])


def test_conditional_images_ask_for_classes(normed: Model) -> None:
    vector_P = normed.generator.initial_vector(rng(), "he")
    z = draw(rng(1), 5, 6, classes=3)
    wanted = normed.generator.apply(normed.generator.views(vector_P[None]), z, training=False)[0]
    assert torch.equal(sampling.images(normed, vector_P, 6, rng(1), conditional=True), wanted)
    assert not torch.equal(sampling.images(normed, vector_P, 6, rng(1)), wanted)


def test_images_may_be_trained_on(normed: Model) -> None:
    """They are plain tensors, as another network's training data need to be."""
    images = sampling.images(normed, normed.generator.initial_vector(rng(), "he"), 2, rng())
    weight = torch.ones(4, requires_grad=True)
    torch.autograd.backward((images.flatten(1) * weight).sum())
    assert weight.grad is not None
    assert not images.requires_grad
