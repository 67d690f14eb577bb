"""Mixing against explicit matrices and numpy, and the properties that gossip rests on."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from torch import Tensor

from p2pgan.mixing import rules as rules_module
from p2pgan.mixing.draws import Arrivals, everyone
from p2pgan.mixing.rules import (
    Incoming,
    Rows,
    arrival_weight,
    consensus_distance,
    copying_rows,
    merge,
    mix,
    mixing_rows,
    unique_rows,
    weighted_sums,
)


def vectors(nodes: int, seed: int = 0, parameters: int = 7) -> Tensor:
    values = np.random.default_rng(seed).normal(size=(nodes, parameters))
    return torch.from_numpy(values.astype(np.float32))


def mixing_matrix(arrivals: Arrivals) -> csr_array:
    """`W` written out, `(N, N)`."""
    rows = mixing_rows(arrivals)
    return rows.w_MN[rows.row_of_N]


def mixed(w_NN: csr_array | Rows, vectors_NP: Tensor) -> Tensor:
    result = vectors_NP.clone()
    mix(w_NN if isinstance(w_NN, Rows) else unique_rows(w_NN), result)
    return result


def dense(arrivals: Arrivals) -> np.ndarray:
    """The mixing matrix by its definition, row by row."""
    w_NN = np.zeros((len(arrivals), len(arrivals)))
    for node, sources in enumerate(arrivals):
        present = {node, *sources}
        w_NN[node, list(present)] = 1 / len(present)
    return w_NN


@st.composite
def any_arrivals(draw: st.DrawFn) -> Arrivals:
    """For up to six nodes, any sets of others to hear from in any order, or everyone."""
    nodes = draw(st.integers(1, 6))
    others = [[j for j in range(nodes) if j != i] for i in range(nodes)]
    return [
        range(nodes)
        if draw(st.booleans())
        else draw(st.permutations(others[i]))[: draw(st.integers(0, nodes))]
        for i in range(nodes)
    ]


@st.composite
def symmetric_arrivals(draw: st.DrawFn) -> Arrivals:
    """Pairs that hear from each other: a symmetric doubly stochastic matrix."""
    order = draw(st.permutations(range(draw(st.integers(2, 7)))))
    arrivals: list[list[int]] = [[] for _ in order]
    for a, b in zip(order[::2], order[1::2], strict=False):
        arrivals[a], arrivals[b] = [b], [a]
    return arrivals


@pytest.mark.parametrize(("arrivals", "weight"), [(0, 1.0), (1, 0.5), (2, 1 / 3), (9, 0.1)])
def test_everyone_present_weighs_the_same(arrivals: int, weight: float) -> None:
    assert arrival_weight(arrivals) == pytest.approx(weight)


def test_no_arrivals_are_the_identity() -> None:
    np.testing.assert_array_equal(mixing_matrix([[], [], []]).toarray(), np.eye(3))


def test_a_permutation_is_half_oneself_and_half_the_other() -> None:
    """`(I + P_σ) / 2`, where a fixed point keeps its own."""
    p = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    w_NN = mixing_matrix([[1], [2], [0], []]).toarray()
    np.testing.assert_array_equal(w_NN, (np.eye(4) + p) / 2)


def test_everyone_is_the_coordinators_mean() -> None:
    arrivals = everyone([[]] * 5, np.random.default_rng(0))
    np.testing.assert_allclose(mixing_matrix(arrivals).toarray(), np.ones((5, 5)) / 5, rtol=1e-15)


def test_several_arrivals_and_none_in_one_exchange() -> None:
    wanted = np.array([[1 / 3, 1 / 3, 1 / 3], [0, 1, 0], [1 / 2, 0, 1 / 2]])
    np.testing.assert_allclose(mixing_matrix([[2, 1], [], [0]]).toarray(), wanted, rtol=1e-15)


@given(any_arrivals())
def test_the_matrix_is_its_definition_and_has_no_other_weights(arrivals: Arrivals) -> None:
    """Whether a node's own index is among its arrivals or not: its own vector counts once."""
    w_NN = mixing_matrix(arrivals)
    np.testing.assert_array_equal(w_NN.toarray(), dense(arrivals))
    assert w_NN.shape == (len(arrivals), len(arrivals))
    assert w_NN.nnz == np.count_nonzero(dense(arrivals))


@given(any_arrivals())
def test_equal_rows_are_held_once(arrivals: Arrivals) -> None:
    rows, wanted = unique_rows(mixing_matrix(arrivals)), dense(arrivals)
    assert rows.w_MN.shape[0] == len(np.unique(wanted, axis=0))
    np.testing.assert_array_equal(rows.w_MN.toarray()[rows.row_of_N], wanted)


@given(st.lists(st.integers(0, 5), min_size=6, max_size=6))
def test_a_vector_is_copied_bit_for_bit_and_one_that_diverged_reaches_its_takers_alone(
    sources: list[int],
) -> None:
    vectors_NP = vectors(6)
    vectors_NP[2] = float("nan")
    got = mixed(copying_rows(sources), vectors_NP)
    assert got.numpy().tobytes() == vectors_NP[sources].numpy().tobytes()


def test_everyone_is_one_row_however_many_they_are() -> None:
    """n² weights of a coordinator's mean would be gigabytes for 10,000 nodes."""
    rows = mixing_rows(everyone([[]] * 10_000, np.random.default_rng(0)))
    assert rows.w_MN.shape == (1, 10_000)
    assert not rows.row_of_N.any()


def test_a_range_of_others_leaves_the_own_vector_its_weight() -> None:
    wanted = [[1 / 3, 1 / 3, 1 / 3], [0, 1, 0], [0, 0, 1]]
    assert mixing_matrix([range(1, 3), [], []]).toarray().tolist() == wanted


def test_unique_rows_leave_out_stored_zeros_and_the_matrix_alone() -> None:
    """A zero that is stored would let a vector that is no number through."""
    given_w = csr_array(([0.0, 1.0, 1.0], [0, 1, 1], [0, 2, 3]), shape=(2, 2))
    rows = unique_rows(given_w)
    assert rows.w_MN.toarray().tolist() == [[0, 1]]
    assert rows.row_of_N.tolist() == [0, 0]
    assert (rows.w_MN.nnz, given_w.nnz) == (1, 3)


@given(any_arrivals(), st.integers(0, 2**32 - 1))
def test_weighted_sums_are_rows_of_the_product(arrivals: Arrivals, seed: int) -> None:
    """More vectors than rows, and rows on their own give what they give among others."""
    w_NN, given_NP = mixing_matrix(arrivals), vectors(len(arrivals), seed)
    sums_NP = weighted_sums(w_NN, given_NP)
    wanted = dense(arrivals) @ given_NP.double().numpy()
    np.testing.assert_allclose(sums_NP.numpy(), wanted, rtol=1e-5, atol=1e-6)
    for node in range(len(arrivals)):
        assert torch.equal(weighted_sums(w_NN[[node]], given_NP)[0], sums_NP[node])


@pytest.mark.parametrize("at_once", [1, 4, 12, 40, 41])
def test_long_vectors_are_mixed_to_their_last_value(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Vectors are mixed some columns at a time: 1, 1, 3, 10 and 10 of 10."""
    monkeypatch.setattr(rules_module, "VALUES_AT_ONCE", at_once)
    arrivals: Arrivals = [[1, 2], range(4), [], [0]]
    before = vectors(4, parameters=10)
    wanted = dense(arrivals) @ before.double().numpy()
    for after in (
        mixed(mixing_rows(arrivals), before),
        weighted_sums(mixing_matrix(arrivals), before),
    ):
        np.testing.assert_allclose(after.numpy(), wanted, rtol=1e-5, atol=1e-6)
    centred = before.double().numpy() - before.double().numpy().mean(0)
    distance = np.sqrt((centred**2).sum() / 4)
    assert consensus_distance(before) == pytest.approx(distance, rel=1e-12)


def test_a_part_of_the_columns_is_mixed_as_in_the_whole() -> None:
    """Several processes may share the columns among them."""
    rows, before = mixing_rows([[1], [2], [0, 1]]), vectors(3, parameters=10)
    parts = before.clone()
    for columns in (slice(0, 3), slice(3, 10)):
        mix(rows, parts[:, columns])
    assert torch.equal(parts, mixed(rows, before))


@given(any_arrivals())
def test_matrices_are_row_stochastic(arrivals: Arrivals) -> None:
    w_NN = mixing_matrix(arrivals)
    assert w_NN.dtype == np.float64
    np.testing.assert_allclose(w_NN.sum(1), 1, rtol=1e-12)
    assert (w_NN.data > 0).all()
    assert (w_NN.diagonal() > 0).all()  # nobody throws the own vector away


@given(any_arrivals(), st.integers(0, 2**32 - 1))
def test_mix_is_the_matrix_product(arrivals: Arrivals, seed: int) -> None:
    rows, before = mixing_rows(arrivals), vectors(len(arrivals), seed)
    wanted = dense(arrivals) @ before.double().numpy()
    np.testing.assert_allclose(mixed(rows, before).numpy(), wanted, rtol=1e-5, atol=1e-6)
    assert torch.equal(mixed(mixing_matrix(arrivals), before), mixed(rows, before))


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_mix_takes_any_matrix(nodes: int, seed: int) -> None:
    w_NN = np.random.default_rng(seed).dirichlet(np.ones(nodes), size=nodes)
    before = vectors(nodes, seed)
    wanted = w_NN @ before.double().numpy()
    after = mixed(csr_array(w_NN), before)
    np.testing.assert_allclose(after.numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_mix_works_in_place_for_those_who_hold_views() -> None:
    matrix = vectors(3)
    row = matrix[1]
    wanted = (matrix[1] + matrix[2]) / 2
    mix(mixing_rows([[], [2], []]), matrix)
    torch.testing.assert_close(row, wanted)


@given(any_arrivals())
def test_who_hears_nothing_keeps_every_bit(arrivals: Arrivals) -> None:
    before = vectors(len(arrivals))
    silent = [node for node, sources in enumerate(arrivals) if not {*sources} - {node}]
    after = mixed(mixing_rows(arrivals), before)
    assert torch.equal(after[silent], before[silent])


@given(any_arrivals())
def test_a_node_that_has_diverged_reaches_only_those_who_hear_from_it(arrivals: Arrivals) -> None:
    """As among daemons. In a plain product `0 * inf` would spoil everybody."""
    before = vectors(len(arrivals))
    before[0] = float("nan")
    after = mixed(mixing_rows(arrivals), before)
    for node, sources in enumerate(arrivals):
        assert bool(after[node].isnan().any()) == (0 in (node, *sources))


@given(any_arrivals(), st.integers(0, 2**32 - 1))
def test_a_daemons_merge_is_its_row_of_the_simulators_mix(arrivals: Arrivals, seed: int) -> None:
    before = vectors(len(arrivals), seed)
    together = mixed(mixing_rows(arrivals), before)
    for node, sources in enumerate(arrivals):
        own = before[node].clone()
        merge(own, [Incoming(before[source]) for source in sources if source != node])
        torch.testing.assert_close(own, together[node], rtol=1e-6, atol=1e-6)


@given(st.permutations(range(4)))
def test_a_merge_does_not_depend_on_who_came_first(order: list[int]) -> None:
    arrived = vectors(4)
    first, second = vectors(1, 9)[0], vectors(1, 9)[0]
    merge(first, [Incoming(vector) for vector in arrived])
    merge(second, [Incoming(arrived[i]) for i in order])
    torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6)


def test_a_merge_leaves_what_arrived_alone() -> None:
    own, arrived = vectors(1)[0], list(vectors(2, 1))
    before = [vector.clone() for vector in arrived]
    merge(own, [Incoming(vector) for vector in arrived])
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
    np.testing.assert_array_equal(w_NN.toarray(), w_NN.toarray().T)
    assert consensus_distance(mixed(w_NN, before)) <= consensus_distance(before) * (1 + 1e-6)


@given(any_arrivals(), st.integers(0, 2**32 - 1))
def test_relabelling_before_or_after_mixing_is_the_same(arrivals: Arrivals, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(arrivals))  # new i was order[i]
    new_name = {int(old): new for new, old in enumerate(order)}
    relabelled = [[new_name[source] for source in arrivals[old]] for old in order]
    before = vectors(len(arrivals), seed)
    after = mixed(mixing_rows(arrivals), before)
    wanted = mixed(mixing_rows(relabelled), before[torch.from_numpy(order)])
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@given(any_arrivals(), st.integers(0, 2**32 - 1))
def test_a_gpu_mixes_as_the_cpu_does(arrivals: Arrivals, seed: int) -> None:
    """On the vectors' own device, where parts of the columns are no tensor in one piece either."""
    rows, before = mixing_rows(arrivals), vectors(len(arrivals), seed)
    after = mixed(rows, before.cuda())
    assert after.is_cuda
    torch.testing.assert_close(after.cpu(), mixed(rows, before), rtol=1e-6, atol=1e-6)
    assert consensus_distance(before.cuda()) == pytest.approx(consensus_distance(before))


def test_after_the_coordinators_mean_everybody_agrees() -> None:
    before = vectors(10, parameters=1000)
    after = mixed(mixing_rows(everyone([[]] * 10, np.random.default_rng(0))), before)
    torch.testing.assert_close(after, before.mean(0).expand_as(before), rtol=1e-5, atol=1e-6)
    assert consensus_distance(after) < 1e-5


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_weights_are_those_of_a_mean(weights: list[float], seed: int) -> None:
    own, *others = vectors(len(weights) + 1, seed)
    expected = own.double() * 0.7
    for weight, other in zip(weights, others, strict=True):
        expected += weight * other.double()
    total = 0.7 + sum(weights)
    came = [Incoming(vector, weight) for vector, weight in zip(others, weights, strict=True)]
    given_ = merge(own, came, 0.7)
    torch.testing.assert_close(own.double(), expected / total, rtol=1e-5, atol=1e-5)
    assert given_ == pytest.approx([weight / total for weight in weights])


def test_weights_far_from_each_other_are_no_trouble() -> None:
    own, other = vectors(2)
    before = other.clone()
    assert merge(own, [Incoming(other, 1.0)], 2.0**-512) == [1.0]
    assert torch.equal(own, before)


def test_differences_keep_the_sum_though_both_have_moved() -> None:
    """Each adds half of what came less what it had sent; a third vector is averaged first."""
    sent_a, sent_b, moved_a, moved_b, third = vectors(5)
    a, b = sent_a + moved_a, sent_b + moved_b
    total = a + b
    assert merge(a, [Incoming(sent_b, base_P=sent_a)]) == [0.5]
    assert merge(b, [Incoming(sent_a, base_P=sent_b)]) == [0.5]
    torch.testing.assert_close(a + b, total)
    torch.testing.assert_close(a, (sent_a + sent_b) / 2 + moved_a)
    before = a.clone()
    shares_ = merge(a, [Incoming(sent_b, base_P=sent_a), Incoming(third)])
    assert shares_ == [0.5, 0.5]
    torch.testing.assert_close(a, (before + third) / 2 + (sent_b - sent_a) / 2)
