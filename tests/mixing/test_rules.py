"""Mixing against explicit matrices and numpy, and the properties that gossip rests on."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from p2pgan.mixing.draws import Arrivals, everyone
from p2pgan.mixing.rules import arrival_weight, consensus_distance, merge, mix, mixing_matrix


def vectors(nodes: int, seed: int = 0, parameters: int = 7) -> Tensor:
    values = np.random.default_rng(seed).normal(size=(nodes, parameters))
    return torch.from_numpy(values.astype(np.float32))


def mixed(w_NN: np.ndarray, vectors_NP: Tensor) -> Tensor:
    result = vectors_NP.clone()
    mix(w_NN, result)
    return result


@st.composite
def any_arrivals(draw: st.DrawFn) -> Arrivals:
    """For up to six nodes, any sets of others to hear from, in any order."""
    nodes = draw(st.integers(1, 6))
    return [
        draw(st.permutations([j for j in range(nodes) if j != i]))[: draw(st.integers(0, nodes))]
        for i in range(nodes)
    ]


@st.composite
def symmetric_arrivals(draw: st.DrawFn) -> Arrivals:
    """Pairs that hear from each other: a symmetric doubly stochastic matrix."""
    order = draw(st.permutations(range(draw(st.integers(2, 7)))))
    arrivals: Arrivals = [[] for _ in order]
    for a, b in zip(order[::2], order[1::2], strict=False):
        arrivals[a], arrivals[b] = [b], [a]
    return arrivals


@pytest.mark.parametrize(("arrivals", "weight"), [(0, 1.0), (1, 0.5), (2, 1 / 3), (9, 0.1)])
def test_everyone_present_weighs_the_same(arrivals: int, weight: float) -> None:
    assert arrival_weight(arrivals) == pytest.approx(weight)


def test_no_arrivals_are_the_identity() -> None:
    np.testing.assert_array_equal(mixing_matrix([[], [], []]), np.eye(3))


def test_a_permutation_is_half_oneself_and_half_the_other() -> None:
    """`(I + P_σ) / 2`, where a fixed point keeps its own."""
    p = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(mixing_matrix([[1], [2], [0], []]), (np.eye(4) + p) / 2)


def test_everyone_is_the_coordinators_mean() -> None:
    arrivals = everyone([[]] * 5, np.random.default_rng(0))
    np.testing.assert_allclose(mixing_matrix(arrivals), np.ones((5, 5)) / 5, rtol=1e-15)


def test_several_arrivals_and_none_in_one_exchange() -> None:
    wanted = np.array([[1 / 3, 1 / 3, 1 / 3], [0, 1, 0], [1 / 2, 0, 1 / 2]])
    np.testing.assert_allclose(mixing_matrix([[2, 1], [], [0]]), wanted, rtol=1e-15)


@given(any_arrivals())
def test_matrices_are_row_stochastic(arrivals: Arrivals) -> None:
    w_NN = mixing_matrix(arrivals)
    assert w_NN.dtype == np.float64
    np.testing.assert_allclose(w_NN.sum(1), 1, rtol=1e-12)
    assert (w_NN >= 0).all()
    assert (w_NN.diagonal() > 0).all()  # nobody throws the own vector away


@given(any_arrivals(), st.integers(0, 2**32 - 1))
def test_mix_is_the_matrix_product(arrivals: Arrivals, seed: int) -> None:
    w_NN, before = mixing_matrix(arrivals), vectors(len(arrivals), seed)
    wanted = w_NN @ before.double().numpy()
    np.testing.assert_allclose(mixed(w_NN, before).numpy(), wanted, rtol=1e-5, atol=1e-6)


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_mix_takes_any_matrix(nodes: int, seed: int) -> None:
    w_NN = np.random.default_rng(seed).dirichlet(np.ones(nodes), size=nodes)
    before = vectors(nodes, seed)
    wanted = w_NN @ before.double().numpy()
    np.testing.assert_allclose(mixed(w_NN, before).numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_mix_works_in_place_for_those_who_hold_views() -> None:
    matrix = vectors(3)
    row = matrix[1]
    wanted = (matrix[1] + matrix[2]) / 2
    mix(mixing_matrix([[], [2], []]), matrix)
    torch.testing.assert_close(row, wanted)


@given(any_arrivals())
def test_who_hears_nothing_keeps_every_bit(arrivals: Arrivals) -> None:
    before = vectors(len(arrivals))
    silent = [node for node, sources in enumerate(arrivals) if not sources]
    after = mixed(mixing_matrix(arrivals), before)
    assert torch.equal(after[silent], before[silent])


@given(any_arrivals())
def test_a_node_that_has_diverged_reaches_only_those_who_hear_from_it(arrivals: Arrivals) -> None:
    """As among daemons. In a plain product `0 * inf` would spoil everybody."""
    before = vectors(len(arrivals))
    before[0] = float("nan")
    after = mixed(mixing_matrix(arrivals), before)
    for node, sources in enumerate(arrivals):
        assert bool(after[node].isnan().any()) == (0 in (node, *sources))


@given(any_arrivals(), st.integers(0, 2**32 - 1))
def test_a_daemons_merge_is_its_row_of_the_simulators_mix(arrivals: Arrivals, seed: int) -> None:
    before = vectors(len(arrivals), seed)
    together = mixed(mixing_matrix(arrivals), before)
    for node, sources in enumerate(arrivals):
        own = before[node].clone()
        merge(own, [before[source] for source in sources])
        torch.testing.assert_close(own, together[node], rtol=1e-6, atol=1e-6)


@given(st.permutations(range(4)))
def test_a_merge_does_not_depend_on_who_came_first(order: list[int]) -> None:
    arrived = vectors(4)
    first, second = vectors(1, 9)[0], vectors(1, 9)[0]
    merge(first, list(arrived))
    merge(second, [arrived[i] for i in order])
    torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6)


def test_a_merge_leaves_what_arrived_alone() -> None:
    own, arrived = vectors(1)[0], list(vectors(2, 1))
    before = [vector.clone() for vector in arrived]
    merge(own, arrived)
    assert all(torch.equal(a, b) for a, b in zip(arrived, before, strict=True))


def test_a_merge_of_nothing_keeps_every_bit() -> None:
    own = vectors(1)[0]
    before = own.clone()
    merge(own, [])
    assert torch.equal(own, before)


@given(st.permutations(range(6)), st.integers(0, 2**32 - 1))
def test_a_permutation_keeps_the_mean_of_all(order: list[int], seed: int) -> None:
    """Its matrix is doubly stochastic: nothing of what the nodes learned is lost."""
    w_NN = mixing_matrix([[j] if i != j else [] for i, j in enumerate(order)])
    np.testing.assert_allclose(w_NN.sum(0), 1)
    before = vectors(6, seed)
    torch.testing.assert_close(mixed(w_NN, before).mean(0), before.mean(0), rtol=1e-5, atol=1e-6)


@given(symmetric_arrivals(), st.integers(0, 2**32 - 1))
def test_consensus_distance_never_grows_under_symmetric_mixing(
    arrivals: Arrivals, seed: int
) -> None:
    w_NN, before = mixing_matrix(arrivals), vectors(len(arrivals), seed)
    np.testing.assert_array_equal(w_NN, w_NN.T)
    assert consensus_distance(mixed(w_NN, before)) <= consensus_distance(before) * (1 + 1e-6)


@given(any_arrivals(), st.integers(0, 2**32 - 1))
def test_relabelling_before_or_after_mixing_is_the_same(arrivals: Arrivals, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(arrivals))  # new i was order[i]
    new_name = {int(old): new for new, old in enumerate(order)}
    relabelled = [[new_name[source] for source in arrivals[old]] for old in order]
    before = vectors(len(arrivals), seed)
    after = mixed(mixing_matrix(arrivals), before)
    wanted = mixed(mixing_matrix(relabelled), before[torch.from_numpy(order)])
    torch.testing.assert_close(after[torch.from_numpy(order)], wanted, rtol=1e-6, atol=1e-6)


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_consensus_distance_is_its_formula(nodes: int, seed: int) -> None:
    rows = vectors(nodes, seed).double().numpy()
    centre = sum(rows) / nodes
    wanted = np.sqrt(sum(((row - centre) ** 2).sum() for row in rows) / nodes)
    assert consensus_distance(vectors(nodes, seed)) == pytest.approx(wanted, rel=1e-9)


def test_consensus_distance_of_those_who_agree_is_zero() -> None:
    same = vectors(1).repeat(5, 1)
    assert consensus_distance(same) == pytest.approx(0, abs=1e-12)


def test_consensus_distance_sees_small_differences_of_large_values() -> None:
    """Computed in float64: weights may agree to their last digits."""
    near = torch.full((2, 3), 1000.0)
    near[1] += 2**-10
    assert consensus_distance(near) == pytest.approx(np.sqrt(3) * 2**-11, rel=1e-9)


def test_after_the_coordinators_mean_everybody_agrees() -> None:
    before = vectors(10, parameters=1000)
    after = mixed(mixing_matrix(everyone([[]] * 10, np.random.default_rng(0))), before)
    torch.testing.assert_close(after, before.mean(0).expand_as(before), rtol=1e-5, atol=1e-6)
    assert consensus_distance(after) < 1e-5
