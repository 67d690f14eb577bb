"""The layout of a network in its vector, and its initial values."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from p2pgan.gan.convolutions import Conv, Deconv
from p2pgan.gan.layers import (
    BatchNorm,
    Linear,
    MinibatchDiscrimination,
    Reshape,
    relu,
    tanh,
)
from p2pgan.gan.models import model
from p2pgan.gan.networks import Init, Network

# Buffers in the middle: the layout has to bring them to the end.
NETWORK = Network(
    (
        *(Linear(3, 8), BatchNorm(8), relu(), Reshape((2, 2, 2))),
        *(Deconv(2, 3, 4, 2, 1), BatchNorm(3), relu(), Conv(3, 1, 3, 1, 1), tanh()),
    )
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_parameters_come_first_in_layer_order_then_buffers() -> None:
    roles = [(slot.role, slot.shape) for slot in NETWORK.slots]
    assert roles == [
        ("weight", (3, 8)),
        ("bias", (1, 8)),
        ("scale", (8,)),
        ("bias", (8,)),
        ("weight", (2, 3, 4, 4)),
        ("bias", (3,)),
        ("scale", (3,)),
        ("bias", (3,)),
        ("weight", (1, 3, 3, 3)),
        ("bias", (1,)),
        ("running_mean", (8,)),
        ("running_var", (8,)),
        ("running_mean", (3,)),
        ("running_var", (3,)),
    ]
    assert NETWORK.parameters == 24 + 8 + 16 + 96 + 3 + 6 + 27 + 1
    assert NETWORK.size == NETWORK.parameters + 2 * 8 + 2 * 3


def test_views_share_the_vectors_memory() -> None:
    vector_NP = torch.zeros(2, NETWORK.size)
    views = NETWORK.views(vector_NP)
    for number, view in enumerate(views):
        view.fill_(number)
    wanted = torch.cat(
        [torch.full((slot.size,), float(number)) for number, slot in enumerate(NETWORK.slots)]
    )
    assert torch.equal(vector_NP, wanted.repeat(2, 1))
    vector_NP[1] = -1.0
    assert all((view[1] == -1).all() and (view[0] >= 0).all() for view in views)


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_views_put_together_again_are_the_vector(nodes: int, seed: int) -> None:
    vector_NP = torch.from_numpy(rng(seed).normal(size=(nodes, NETWORK.size)))
    views = NETWORK.views(vector_NP)
    assert [view.shape for view in views] == [(nodes, *slot.shape) for slot in NETWORK.slots]
    assert torch.equal(torch.cat([view.flatten(1) for view in views], dim=1), vector_NP)


def test_a_vector_of_another_size_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        NETWORK.views(torch.zeros(2, NETWORK.size + 1))


def reference_module(views: list[torch.Tensor]) -> nn.Sequential:
    """`NETWORK` of one node as torch's own modules, filled from its views `(1, ...)`."""
    module = nn.Sequential(
        *(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Unflatten(1, (2, 2, 2))),
        *(nn.ConvTranspose2d(2, 3, 4, 2, 1), nn.BatchNorm2d(3), nn.ReLU()),
        *(nn.Conv2d(3, 1, 3, 1, 1), nn.Tanh()),
    )
    linear = module[0]
    assert isinstance(linear, nn.Linear)
    trained = [views[0][0].T, *(view[0] for view in views[1:10])]
    buffers = [b for name, b in module.named_buffers() if "num_batches" not in name]
    with torch.no_grad():
        for target, source in zip(
            [*module.parameters(), *buffers], trained + [v[0] for v in views[10:]], strict=True
        ):
            target.copy_(source.reshape(target.shape))
    return module


@pytest.mark.parametrize("training", [True, False])
def test_apply_gives_every_layer_its_own_tensors(training: bool) -> None:
    """Two nodes with batch norm in the middle against torch modules, buffers included."""
    vector_NP = torch.from_numpy(rng().uniform(0.1, 1, (2, NETWORK.size))).float()
    before = vector_NP.clone()
    x = torch.from_numpy(rng(1).normal(size=(2, 5, 3))).float()
    y = NETWORK.apply(NETWORK.views(vector_NP), x, training=training)
    for node in range(2):
        module = reference_module(NETWORK.views(before[node : node + 1]))
        module.train(training)
        torch.testing.assert_close(y[node], module(x[node]))
        buffers = [b.flatten() for n, b in module.named_buffers() if "num_batches" not in n]
        torch.testing.assert_close(vector_NP[node, NETWORK.parameters :], torch.cat(buffers))
    assert torch.equal(vector_NP[:, : NETWORK.parameters], before[:, : NETWORK.parameters])
    assert torch.equal(vector_NP, before) is not training


def test_digest_tells_shapes_and_order_apart_and_nothing_else() -> None:
    assert Network((Linear(3, 4), relu())).digest() == Network((Linear(3, 4), relu())).digest()
    others = [
        Network((Linear(3, 4), tanh())),
        Network((Linear(4, 3), relu())),
        Network((relu(), Linear(3, 4))),
        Network((Linear(3, 4), relu(), relu())),
        Network((Conv(1, 2, 3), relu())),
        Network((Conv(1, 2, 3, 2), relu())),
    ]
    digests = {network.digest() for network in others} | {Network((Linear(3, 4), relu())).digest()}
    assert len(digests) == len(others) + 1


def test_a_digest_is_the_same_on_every_machine() -> None:
    """Peers compare digests in the handshake: neither hash seeds nor addresses may enter."""
    assert Network((Linear(3, 4), relu())).digest() == "67dad8631b83d71d"


def test_a_network_is_a_value() -> None:
    assert dataclasses.replace(NETWORK) == NETWORK
    with pytest.raises(dataclasses.FrozenInstanceError):
        NETWORK.layers = ()  # type: ignore[misc]


WIDE = Network(
    (
        *(Linear(300, 300), Conv(8, 16, 5), Deconv(20, 12, 4, 2, 1)),
        *(MinibatchDiscrimination(50, 10, 8), BatchNorm(4)),
    )
)


def slots_of(init: Init) -> list[tuple[int, int, str, np.ndarray]]:
    vector = WIDE.initial_vector(rng(), init)
    views = WIDE.views(vector.unsqueeze(0))
    return [
        (slot.fan_in, slot.fan_out, slot.role, view.numpy().ravel())
        for slot, view in zip(WIDE.slots, views, strict=True)
    ]


def test_he_weights_are_normal_with_the_leaky_relus_gain() -> None:
    """He et al. 2015, eq. 15: variance 2 / ((1 + 0.2²) fan_in)."""
    for fan_in, _, role, values in slots_of("he"):
        if role == "weight":
            scaled = values / math.sqrt(2 / 1.04 / fan_in)
            error = 5 / math.sqrt(len(scaled))  # five standard errors
            assert scaled.mean() == pytest.approx(0, abs=error)
            assert scaled.std() == pytest.approx(1, abs=error / math.sqrt(2))
            assert (scaled**4).mean() == pytest.approx(3, abs=10 * error)


def test_glorot_weights_fill_their_interval_evenly() -> None:
    """Glorot and Bengio 2010, eq. 16."""
    for fan_in, fan_out, role, values in slots_of("glorot"):
        if role == "weight":
            scaled = values / math.sqrt(6 / (fan_in + fan_out))
            assert np.abs(scaled).max() <= 1
            counts, _ = np.histogram(scaled, bins=4, range=(-1, 1))
            assert np.abs(counts / len(scaled) - 0.25).max() < 2.5 / math.sqrt(len(scaled))


@pytest.mark.parametrize("init", ["he", "glorot"])
def test_what_is_no_weight_starts_at_zero_or_one(init: Init) -> None:
    constants = {role: set(values) for _, _, role, values in slots_of(init) if role != "weight"}
    assert constants == {"bias": {0.0}, "scale": {1.0}, "running_mean": {0.0}, "running_var": {1.0}}


@pytest.mark.parametrize("init", ["he", "glorot"])
def test_an_initial_vector_follows_from_its_stream(init: Init) -> None:
    vector = NETWORK.initial_vector(rng(7), init)
    assert (vector.shape, vector.dtype) == ((NETWORK.size,), torch.float32)
    assert torch.equal(vector, NETWORK.initial_vector(rng(7), init))
    assert not torch.equal(vector, NETWORK.initial_vector(rng(8), init))


def test_one_stream_gives_two_networks_different_values() -> None:
    """Generator and discriminator take turns on one stream."""
    shared = rng()
    first, second = (Network((Linear(3, 4),)).initial_vector(shared, "he") for _ in range(2))
    assert not torch.equal(first, second)


def test_only_batch_norm_asks_for_several_samples() -> None:
    pair = model("cnn-mnist-ch4")
    assert (pair.generator.batch_min, pair.discriminator.batch_min) == (2, 1)
