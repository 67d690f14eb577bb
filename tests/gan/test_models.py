"""The published and our own parameter counts, and what goes in and comes out of every pair."""

import numpy as np
import pytest
import torch

from p2pgan.errors import ConfigError
from p2pgan.gan.models import MODELS, USUAL_MODEL, Model, model
from p2pgan.types import NETS

COUNTS = {
    "mlp-digits": (28_992, 24_961),
    "mlp-mnist": (716_560, 670_219),  # thesis, section 5.3.1
    "mlp-mnist-small": (125_968, 118_411),
    "cnn-mnist-small": (243_489, 67_883),
    "cnn-mnist-ch4": (6_740_417, 6_556_865),
    "cnn-mnist": (736_769, 2_711_355),
    "cnn-cifar10": (2_932_611, 2_711_643),
    "cnn-celeba": (1_715_971, 2_629_553),
}
"""Trained values of generator and discriminator."""

BUFFERS = {
    "cnn-mnist-small": 2 * (3136 + 32),
    "cnn-mnist-ch4": 2 * (1024 + 6272 + 64 + 32),
    "cnn-mnist": 2 * 32,
    "cnn-cifar10": 2 * (192 + 96),
    "cnn-celeba": 2 * 128,
}
"""Running statistics of the generator; discriminators have none."""


@pytest.mark.parametrize("name", MODELS)
def test_parameter_counts(name: str) -> None:
    pair = model(name)
    assert (pair.generator.parameters, pair.discriminator.parameters) == COUNTS[name]
    assert pair.generator.size - pair.generator.parameters == BUFFERS.get(name, 0)
    assert pair.discriminator.size == pair.discriminator.parameters


def pair_outputs(pair: Model, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and logits of two nodes for three latents each."""
    rng = np.random.default_rng(0)
    views = {
        net: pair.networks[net].views(
            pair.networks[net].initial_vector(rng, "he").repeat(2, 1).contiguous()
        )
        for net in NETS
    }
    z = 3 * torch.from_numpy(rng.standard_normal((2, 3, pair.latent), "f"))
    with torch.no_grad():
        images = pair.generator.apply(views["G"], z, training=training)
        return images, pair.discriminator.apply(views["D"], images, training=training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_images_and_logits(name: str, training: bool) -> None:
    pair = model(name)
    images, logits = pair_outputs(pair, training)
    assert images.shape == (2, 3, *pair.image_shape)
    assert logits.shape == (2, 3, 1 + pair.classes)
    assert images.abs().max() <= 1
    assert images.std() > 0.01  # neither black nor saturated
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_knows_its_name_and_usual_settings(name: str) -> None:
    pair = model(name)
    assert pair.name == name
    assert 1 < pair.batch_size <= 100
    assert 0 < pair.learning_rate < 0.01
    assert pair.classes in (0, 10)
    assert pair.networks == {"G": pair.generator, "D": pair.discriminator}


def test_digests_tell_the_models_apart_and_are_stable_between_calls() -> None:
    assert len({model(name).digest() for name in MODELS}) == len(MODELS)
    assert all(model(name).digest() == model(name).digest() for name in MODELS)


def test_every_data_set_has_a_usual_model() -> None:
    assert set(USUAL_MODEL) == {"digits", "mnist", "cifar10", "folder"}
    assert set(USUAL_MODEL.values()) <= set(MODELS)


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean `mlp-mnist`"):
        model("mlp-mnits")
