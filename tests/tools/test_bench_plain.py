"""The plain side of the benchmark trains the same networks as we do."""

import itertools

import pytest
import torch
from torch import Tensor

from p2pgan.gan.layers import Linear, MinibatchDiscrimination
from p2pgan.gan.models import model
from p2pgan.gan.networks import Network
from p2pgan.seeds import EVERYONE, stream
from tools.bench_plain import PlainNode, module, train_plain


def same_network(network: Network) -> tuple[torch.nn.Sequential, list[Tensor]]:
    """A module and our views of one node with the same weights."""
    vector_P = network.initial_vector(stream(0, EVERYONE, "initial-weights"), "he")
    views = network.views(vector_P.unsqueeze(0))
    plain, left = module(network), iter(views)
    for layer, part in zip(network.layers, plain, strict=True):
        for parameter in part.parameters():
            value = next(left)[0]
            value = value.T if isinstance(layer, Linear) else value
            parameter.data.copy_(value.reshape(parameter.shape))
    return plain, views


@pytest.mark.parametrize("name", ["mlp-digits", "mlp-mnist", "cnn-mnist-ch4"])
@pytest.mark.parametrize("net", ["G", "D"])
def test_modules_are_the_same_functions(name: str, net: str) -> None:
    pair = model(name)
    network = pair.generator if net == "G" else pair.discriminator
    shape = (pair.latent,) if net == "G" else pair.image_shape
    plain, views = same_network(network)
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    ours = network.apply(views, x.unsqueeze(0), training=True)[0]
    torch.testing.assert_close(plain(x), ours, rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in plain.parameters()) == network.parameters


def test_a_layer_without_counterpart_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="MinibatchDiscrimination"):
        module(Network((MinibatchDiscrimination(4, 2, 2),)))


def test_each_step_moves_its_own_network_only() -> None:
    pair = model("mlp-digits")
    node = PlainNode(pair, torch.zeros(16, *pair.image_shape), batch=4)

    def weights() -> list[Tensor]:
        parts = (node._g, node._d)
        return [torch.cat([p.detach().flatten() for p in part.parameters()]) for part in parts]

    start = weights()
    node._step_d()
    after_d = weights()
    node._step_g()
    after_g = weights()
    assert torch.equal(start[0], after_d[0])
    assert not torch.equal(start[1], after_d[1])
    assert not torch.equal(after_d[0], after_g[0])
    assert torch.equal(after_d[1], after_g[1])


def test_nodes_train_a_round_each_in_turn_after_one_iteration_each() -> None:
    pair = model("mlp-digits")
    nodes = [PlainNode(pair, torch.zeros(4, *pair.image_shape), batch=2) for _ in range(2)]
    assert list(itertools.islice(train_plain(nodes, 3), 5)) == [1, 2, 5, 8, 11]
