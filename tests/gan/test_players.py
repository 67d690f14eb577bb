"""A block's copy of its nodes' networks, and the layerwise descent."""

import numpy as np
import pytest
import torch
from torch import Tensor

from p2pgan.gan.adam import Adam
from p2pgan.gan.convolutions import Conv
from p2pgan.gan.layers import BatchNorm, Linear, Reshape, leaky_relu
from p2pgan.gan.networks import Network
from p2pgan.gan.players import Player

NETWORK = Network(
    (
        *(Reshape((1, 4, 4)), Conv(1, 2, 3, 1, 1), BatchNorm(2), leaky_relu()),
        *(Reshape((32,)), Linear(32, 3)),
    )
)
NODES = 4


def vectors(nodes: int = NODES) -> Tensor:
    rows = [NETWORK.initial_vector(np.random.default_rng(node), "he") for node in range(nodes)]
    return torch.stack(rows).double()


def player_of(vector_NP: Tensor) -> Player:
    player = Player(NETWORK, vector_NP, Adam(1e-2, 0.5, 0.999))
    player.load()
    return player


def inputs(nodes: int) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(nodes, 5, 16, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("rows", [slice(0, 4), slice(1, 3), slice(2, 3)], ids=str)
def test_a_player_takes_its_rows_and_gives_them_back(rows: slice) -> None:
    whole = vectors()
    before = whole.clone()
    player = player_of(whole[rows])
    for tensor in player.tensors:
        assert tensor.is_contiguous()
        tensor.add_(1)
    player.store()
    expected = before.clone()
    expected[rows] += 1
    assert torch.equal(whole, expected)


def test_a_player_takes_its_rows_as_they_are_at_that_time() -> None:
    """Somebody may have mixed them since the last round."""
    whole = vectors()
    player = player_of(whole[1:3])
    player.store()
    whole[1:3] = 7
    player.load()
    assert all((tensor == 7).all() for tensor in player.tensors)


@pytest.mark.parametrize("places", [[1, 3], [0], [0, 1, 2, 3]], ids=str)
def test_a_player_takes_some_of_its_rows(places: list[int]) -> None:
    whole, expected = vectors(), vectors()
    player = Player(NETWORK, whole, Adam(1e-2, 0.5, 0.999))
    player.load(places)
    for tensor in player.tensors:
        assert tensor.is_contiguous()
        assert len(tensor) == len(places)
        tensor.add_(1)
    player.store()
    expected[places] += 1
    assert torch.equal(whole, expected)


def test_nodes_have_one_count_of_steps_until_some_train_without_the_others() -> None:
    player = player_of(vectors())
    player.store()
    player.steps = 5
    assert player.steps == 5
    player.load([0, 2])
    player.store()
    with pytest.raises(AssertionError):
        assert player.steps


def test_a_lone_node_is_trained_where_it_lies() -> None:
    """A daemon copies nothing."""
    alone = vectors(1)
    player = player_of(alone)
    for tensor, view in zip(player.tensors, NETWORK.views(alone), strict=True):
        assert tensor.data_ptr() == view.data_ptr()


def test_descent_is_one_step_of_torchs_adam_on_the_sum_of_the_passes() -> None:
    """With a further gradient of every tensor; all of a layer's are taken before it moves."""
    whole, reference = vectors(), vectors()
    player = player_of(whole)
    xs = [inputs(NODES), 2 * inputs(NODES)]
    trained = NETWORK.trained
    extra = [torch.full_like(t, 0.1) for t in player.tensors[:trained]]
    with torch.no_grad():
        passes = [(tape, torch.ones_like(y)) for y, tape in map(player, xs)]
        player.descend(passes, [t.clone() for t in extra])
    player.store()
    leaves = [view.clone().requires_grad_() for view in NETWORK.views(reference)]
    loss = torch.stack([NETWORK.apply(leaves, x, training=True).sum() for x in xs]).sum()
    loss = loss + sum((0.1 * leaf).sum() for leaf in leaves[:trained])
    gradients = torch.autograd.grad(loss, leaves[:trained])
    adam = torch.optim.Adam(leaves[:trained], 1e-2, (0.5, 0.999), foreach=False)
    for leaf, gradient in zip(leaves, gradients, strict=False):
        leaf.grad = gradient
    adam.step()
    got = NETWORK.views(whole)[:trained]
    for mine, leaf in zip(got, leaves, strict=False):
        torch.testing.assert_close(mine, leaf.detach(), rtol=1e-6, atol=1e-6)


def test_moments_and_steps_go_on_from_round_to_round() -> None:
    """Two rounds of one step are one round of two, whatever happens to the networks between."""

    def trained(*rounds: int) -> Tensor:
        whole = vectors()
        player = Player(NETWORK, whole, Adam(1e-2, 0.5, 0.999))
        for steps in rounds:
            player.load()
            for _ in range(steps):
                with torch.no_grad():
                    y, tape = player(inputs(NODES))
                    player.descend([(tape, torch.ones_like(y))])
            player.store()
        return whole

    torch.testing.assert_close(trained(1, 1), trained(2), rtol=0, atol=1e-12)
    assert not torch.equal(trained(2), trained(1))


def test_steps_that_are_set_are_those_that_training_goes_on_from() -> None:
    """A discriminator that moves takes them along: Adam's corrections depend on them."""
    rows = with_moments(vectors())
    player = Player(NETWORK, rows, Adam(1e-2, 0.5, 0.999))
    play(player, 3)
    assert player.steps == 3
    ends = []
    for steps in (3, 0):
        moved = rows.clone()
        other = Player(NETWORK, moved, Adam(1e-2, 0.5, 0.999))
        other.steps = steps
        play(other, 2)
        assert other.steps == steps + 2
        ends.append(moved)
    play(player, 2)
    assert torch.equal(ends[0], rows)
    assert not torch.equal(ends[1], rows)


def with_moments(vector_NP: Tensor) -> Tensor:
    """Rows that have Adam's moments, still 0, behind the vectors."""
    return torch.cat([vector_NP, vector_NP.new_zeros(len(vector_NP), 2 * NETWORK.size)], 1)


def play(player: Player, steps: int) -> None:
    """A round."""
    player.load()
    for _ in range(steps):
        with torch.no_grad():
            y, tape = player(inputs(NODES))
            player.descend([(tape, torch.ones_like(y))])
    player.store()


def test_moments_that_travel_lie_behind_the_vector() -> None:
    """Training is the same; those of running statistics stay 0."""
    plain_NP, rows_NE = vectors(), with_moments(vectors())
    for rows in (plain_NP, rows_NE):
        player = Player(NETWORK, rows, Adam(1e-2, 0.5, 0.999))
        play(player, 1)
        play(player, 2)
    vector_NP, first_NP, second_NP = torch.split(rows_NE, NETWORK.size, 1)
    assert torch.equal(vector_NP, plain_NP)
    for moment_NP in (first_NP, second_NP):
        assert moment_NP[:, : NETWORK.parameters].count_nonzero(1).min() > NETWORK.parameters / 2
        assert not moment_NP[:, NETWORK.parameters :].any()
    assert (second_NP >= 0).all()


def test_moments_that_were_changed_are_those_that_training_goes_on_with() -> None:
    """Whoever mixes changes them in place: with huge second moments, nothing moves."""
    rows_NE = with_moments(vectors())
    player = Player(NETWORK, rows_NE, Adam(1e-2, 0.5, 0.999))
    play(player, 1)
    vector_NP, _, second_NP = torch.split(rows_NE, NETWORK.size, 1)
    before_NP, second_NP[:] = vector_NP.clone(), 1e30
    play(player, 1)
    moved_NP = (vector_NP - before_NP)[:, : NETWORK.parameters]
    assert moved_NP.abs().max() < 1e-12
    assert (second_NP[:, : NETWORK.parameters] > 9e29).all()


def test_a_lone_nodes_moments_are_trained_where_they_lie() -> None:
    rows_1E = with_moments(vectors(1))
    player = player_of(rows_1E)
    for part_1P, moments in zip(
        torch.split(rows_1E, NETWORK.size, 1)[1:], player._loaded, strict=True
    ):
        views = NETWORK.views(part_1P)[: NETWORK.trained]
        assert [t.data_ptr() for t in moments] == [view.data_ptr() for view in views]


@pytest.mark.parametrize("travels", [False, True])
def test_who_forgets_is_as_new(travels: bool) -> None:
    rows = with_moments(vectors()) if travels else vectors()
    player = Player(NETWORK, rows, Adam(1e-2, 0.5, 0.999))
    play(player, 3)
    fresh_NP = rows[:, : NETWORK.size].clone()
    player.forget()
    assert not rows[:, NETWORK.size :].any()
    play(player, 2)
    play(Player(NETWORK, fresh_NP, Adam(1e-2, 0.5, 0.999)), 2)
    assert torch.equal(rows[:, : NETWORK.size], fresh_NP)


def test_a_running_mean_follows_what_is_trained_and_copies_statistics() -> None:
    """Against the recurrence, over two rounds; mixing in between moves the network alone.

    The first steps look back over less than the decay says.
    """
    plain_NP, start_NP = vectors(), vectors()
    rows_NE = torch.cat([start_NP, start_NP], 1)
    plain = Player(NETWORK, plain_NP, Adam(1e-2, 0.5, 0.999))
    player = Player(NETWORK, rows_NE, Adam(1e-2, 0.5, 0.999), ema=0.3)
    vector_NP, mean_NP = torch.split(rows_NE, NETWORK.size, 1)
    wanted_NP = start_NP.clone()
    decays = iter([1 / 10, 2 / 11, 3 / 12, 0.3])
    for steps in (1, 3):
        player.load()
        for _ in range(steps):
            with torch.no_grad():
                y, tape = player(inputs(NODES))
                player.descend([(tape, torch.ones_like(y))])
            player.follow()
            decay = next(decays)
            play(plain, 1)
            wanted_NP = decay * wanted_NP + (1 - decay) * plain_NP
            wanted_NP[:, NETWORK.parameters :] = plain_NP[:, NETWORK.parameters :]
        player.store()
        assert torch.equal(vector_NP, plain_NP)
        torch.testing.assert_close(mean_NP, wanted_NP)
        for mixed_NP in (vector_NP, plain_NP):
            mixed_NP.copy_(mixed_NP.flip(0))


def test_pull_reaches_the_inputs_and_changes_no_weight() -> None:
    whole = vectors()
    player = player_of(whole)
    before = [tensor.clone() for tensor in player.tensors[: NETWORK.trained]]
    x = inputs(NODES).requires_grad_()
    views = [view.clone() for view in NETWORK.views(whole)]
    wanted_y = NETWORK.apply(views, x, training=True)
    (wanted,) = torch.autograd.grad(wanted_y.sum(), x)
    with torch.no_grad():
        y, tape = player(x.detach())
        got = player.pull(tape, torch.ones_like(y))
    torch.testing.assert_close(got, wanted)
    assert all(map(torch.equal, player.tensors, before))
