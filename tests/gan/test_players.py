"""A block's copy of its nodes' networks, and the layerwise descent."""

import numpy as np
import pytest
import torch
from torch import Tensor

from p2pgan.gan.adam import Adam
from p2pgan.gan.convolutions import Conv
from p2pgan.gan.layers import BatchNorm, Linear, Reshape, leaky_relu
from p2pgan.gan.networks import Network
from p2pgan.gan.players import Player, Team

NETWORK = Network(
    (
        *(Reshape((1, 4, 4)), Conv(1, 2, 3, 1, 1), BatchNorm(2), leaky_relu()),
        *(Reshape((32,)), Linear(32, 3)),
    )
)
NODES = 4


def team(nodes: int = NODES) -> Team:
    vectors = [NETWORK.initial_vector(np.random.default_rng(node), "he") for node in range(nodes)]
    return Team(NETWORK, torch.stack(vectors).double(), Adam(1e-2, 0.5, 0.999))


def inputs(nodes: int) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(nodes, 5, 16, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("rows", [slice(0, 4), slice(1, 3), slice(2, 3)], ids=str)
def test_a_player_takes_its_rows_and_gives_them_back(rows: slice) -> None:
    whole = team()
    before = whole.vector_NP.clone()
    player = Player(whole, rows)
    for tensor in player.tensors:
        assert tensor.is_contiguous()
        tensor.add_(1)
    player.store()
    expected = before.clone()
    expected[rows] += 1
    assert torch.equal(whole.vector_NP, expected)


def test_a_lone_node_is_trained_where_it_lies() -> None:
    """A daemon copies nothing."""
    alone = team(1)
    player = Player(alone, slice(0, 1))
    for tensor, view in zip(player.tensors, NETWORK.views(alone.vector_NP), strict=True):
        assert tensor.data_ptr() == view.data_ptr()


def test_moments_are_each_nodes_own_and_stay_with_it() -> None:
    whole = team()
    player = Player(whole, slice(1, 3))
    with torch.no_grad():
        y, tape = player(inputs(2))
        player.descend([(tape, torch.ones_like(y))])
    player.store()
    trained = NETWORK.parameters
    for moment in whole.moments:
        assert moment[1:3, :trained].any(1).all()
        assert not moment[[0, 3]].any()
        assert not moment[:, trained:].any(), "buffers have no gradient"


def test_descent_is_one_step_of_torchs_adam_on_the_sum_of_the_passes() -> None:
    """With a further gradient of every tensor; all of a layer's are taken before it moves."""
    whole, reference = team(), team()
    player = Player(whole, slice(0, NODES))
    xs = [inputs(NODES), 2 * inputs(NODES)]
    trained = NETWORK.trained
    extra = [torch.full_like(t, 0.1) for t in player.tensors[:trained]]
    with torch.no_grad():
        passes = [(tape, torch.ones_like(y)) for y, tape in map(player, xs)]
        player.descend(passes, [t.clone() for t in extra])
    player.store()
    leaves = [view.clone().requires_grad_() for view in NETWORK.views(reference.vector_NP)]
    loss = torch.stack([NETWORK.apply(leaves, x, training=True).sum() for x in xs]).sum()
    loss = loss + sum((0.1 * leaf).sum() for leaf in leaves[:trained])
    gradients = torch.autograd.grad(loss, leaves[:trained])
    adam = torch.optim.Adam(leaves[:trained], 1e-2, (0.5, 0.999), foreach=False)
    for leaf, gradient in zip(leaves, gradients, strict=False):
        leaf.grad = gradient
    adam.step()
    got = NETWORK.views(whole.vector_NP)[:trained]
    for mine, leaf in zip(got, leaves, strict=False):
        torch.testing.assert_close(mine, leaf.detach(), rtol=1e-6, atol=1e-6)


def test_steps_go_on_counting_from_round_to_round() -> None:
    """Adam's bias correction depends on them: two rounds of one step are one round of two."""

    def trained(*rounds: int) -> Tensor:
        whole = team()
        for steps in rounds:
            player = Player(whole, slice(0, NODES))
            for _ in range(steps):
                with torch.no_grad():
                    y, tape = player(inputs(NODES))
                    player.descend([(tape, torch.ones_like(y))])
            player.store()
            whole.steps += steps
        return whole.vector_NP

    torch.testing.assert_close(trained(1, 1), trained(2), rtol=0, atol=1e-12)


def test_pull_reaches_the_inputs_and_changes_no_weight() -> None:
    whole = team()
    player = Player(whole, slice(0, NODES))
    before = [tensor.clone() for tensor in player.tensors[: NETWORK.trained]]
    x = inputs(NODES).requires_grad_()
    views = [view.clone() for view in NETWORK.views(whole.vector_NP)]
    wanted_y = NETWORK.apply(views, x, training=True)
    (wanted,) = torch.autograd.grad(wanted_y.sum(), x)
    with torch.no_grad():
        y, tape = player(x.detach())
        got = player.pull(tape, torch.ones_like(y))
    torch.testing.assert_close(got, wanted)
    assert all(map(torch.equal, player.tensors, before))
