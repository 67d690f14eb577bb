"""What the benchmark counts: by hand for small networks, and against PyTorch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from p2pgan.gan.convolutions import Conv, Deconv
from p2pgan.gan.layers import BatchNorm, Linear, Reshape, leaky_relu
from p2pgan.gan.models import model
from p2pgan.gan.networks import Network
from tools.bench_counts import Iteration, Products, iteration, products, state_bytes
from tools.bench_plain import PlainNode


def test_products_of_layers_by_hand() -> None:
    """3 → 50, then 2 x 5 x 5 → 4 x 10 x 10 by 4x4, then → 3 x 5 x 5 by 3x3, then 75 → 6."""
    network = Network(
        (
            *(Linear(3, 50), leaky_relu(), Reshape((2, 5, 5))),
            *(Deconv(2, 4, 4, 2, 1), BatchNorm(4), leaky_relu()),
            *(Conv(4, 3, 3, 2, 1), Reshape((75,)), Linear(75, 6)),
        )
    )
    weights = (150, 2 * 4 * 16, 4 * 3 * 9, 450)
    assert products(network, (3,)) == Products(
        weights=sum(weights),
        first_weights=150,
        macs=150 + 128 * 25 + 108 * 25 + 450,
        first_macs=150,
        parameters=sum(weights) + 50 + 4 + 8 + 3 + 6,
    )


def test_an_iteration_of_the_digits_by_hand() -> None:
    g = (32 * 128, 128 * 128, 128 * 64)
    d = (64 * 128, 128 * 128, 128)
    batch = 16
    macs_d_step = batch * sum(g) + 2 * batch * (sum(d) + sum(d) + sum(d[1:]))
    macs_g_step = batch * (sum(g) + sum(d) + sum(d) + sum(g) + sum(g[1:]))
    read = [*g, *d, *d[1:], *g, *d, *d, *g[1:]]
    parameters = sum(g) + 128 + 128 + 64 + sum(d) + 128 + 128 + 1
    assert iteration(model("mlp-digits"), batch) == Iteration(
        flops=2 * (macs_d_step + macs_g_step),
        bytes=28 * parameters + 4 * parameters + 4 * sum(read),
    )


@pytest.mark.parametrize("name", ["mlp-digits", "mlp-mnist", "cnn-mnist-ch4"])
def test_plain_training_computes_what_is_counted(name: str) -> None:
    pair = model(name)
    node = PlainNode(pair, torch.zeros(4, *pair.image_shape), batch=3)
    with FlopCounterMode(display=False) as counter:
        node.train(1)
    assert iteration(pair, 3).flops == counter.get_total_flops()


def test_work_grows_with_the_batch_and_traffic_does_not() -> None:
    pair = model("mlp-digits")
    small, large = iteration(pair, 4), iteration(pair, 12)
    assert (large.flops, large.bytes) == (3 * small.flops, small.bytes)


def test_the_state_is_four_floats_for_each_value() -> None:
    assert state_bytes(model("mlp-digits")) == 16 * (28_992 + 24_961)
