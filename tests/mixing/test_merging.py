"""Weights of arrivals: by age, and by what they carry."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.config import ExchangeConfig
from p2pgan.mixing.draws import push
from p2pgan.mixing.merging import Averaging, SumWeights, weighted_rows, weighting
from p2pgan.mixing.rules import shares
from p2pgan.types import LEAST_WEIGHT, MOST_WEIGHT

RING = [[1, 4], [2, 0], [3, 1], [4, 2], [0, 3]]


def test_each_kind_has_its_weights() -> None:
    config = ExchangeConfig(staleness="polynomial:2")
    average = weighting("average", config)
    assert isinstance(average, Averaging)
    assert average.exponent == 2
    assert not average.travels
    for merging in ("sum-weights", "push-sum"):
        made = weighting(merging, config)
        assert isinstance(made, SumWeights)
        assert made.travels
    assert weighting("pairwise", config) is None


@pytest.mark.parametrize(("staleness", "weight"), [(-3, 1.0), (0, 1.0), (1, 0.25), (3, 0.0625)])
def test_what_is_old_counts_less(staleness: int, weight: float) -> None:
    """And who is ahead is not old."""
    assert Averaging(exponent=2.0).of(9.0, staleness) == weight
    assert Averaging().of(9.0, staleness) == 1.0


@given(st.integers(1, 9), st.floats(1e-100, 1e6))
def test_a_sender_keeps_as_much_as_each_gets(receivers: int, own: float) -> None:
    weights = SumWeights(conserves=True)
    weights.own = own
    piece = weights.give(receivers)
    assert piece == pytest.approx(own / (receivers + 1))
    assert math.fsum([weights.own, *[piece] * receivers]) == pytest.approx(own)


def test_one_that_conserves_stops_giving_before_nothing_is_left() -> None:
    weights = SumWeights(conserves=True)
    rounds = 0
    while weights.may_give(1):
        assert weights.give(1) >= LEAST_WEIGHT
        rounds += 1
    assert rounds == 512
    assert weights.own >= LEAST_WEIGHT


@pytest.mark.parametrize("conserves", [False, True])
def test_no_piece_carries_more_than_a_vector_may(conserves: bool) -> None:
    """Though others have lied; nothing of what came is lost."""
    weights = SumWeights(conserves=conserves)
    weights.take(6 * MOST_WEIGHT)
    assert [weights.give(1) for _ in range(2)] == [MOST_WEIGHT] * 2
    assert weights.own == 4 * MOST_WEIGHT + 1
    assert weights.give(7) == (4 * MOST_WEIGHT + 1) / 8


def test_others_average_as_equals_in_the_end() -> None:
    """Every message is lost for ten thousand rounds."""
    one, other = SumWeights(conserves=False), SumWeights(conserves=False)
    for weights in (one, other):
        for _ in range(10_000):
            assert weights.may_give(1)
            weights.give(1)
    assert shares(one.own, [other.give(1)]).tolist() == [0.5, 0.5]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2]), st.integers(1, 30))
def test_sums_of_mass_stay_as_they_were(seed: int, fanout: int, rounds: int) -> None:
    """Column sums of mass are 1, rows of `W` are means; against naive loops in float64."""
    rng = np.random.default_rng(seed)
    draw, nodes = push(fanout, 0.7), len(RING)
    weights_N = [SumWeights(conserves=True) for _ in range(nodes)]
    values_N = rng.normal(size=nodes)
    mass = values_N.sum()
    for _ in range(rounds):
        arrivals = draw(RING, rng)
        before_N = np.array([weights.own for weights in weights_N])
        heard, rows = weighted_rows(arrivals, weights_N)
        assert [list(sources) for sources in heard] == [list(sources) for sources in arrivals]
        assert rows.w_MN.sum(1) == pytest.approx(np.ones(nodes))
        expected_N = naive(arrivals, before_N, values_N)
        values_N = rows.w_MN[rows.row_of_N] @ values_N
        np.testing.assert_allclose(values_N, expected_N)
        own_N = np.array([weights.own for weights in weights_N])
        assert own_N.sum() == pytest.approx(nodes)
        assert own_N @ values_N == pytest.approx(mass)


def naive(arrivals: object, weights_N: np.ndarray, values_N: np.ndarray) -> np.ndarray:
    """The published update, node by node."""
    assert isinstance(arrivals, list)
    pieces = [
        weights_N[j] / (1 + sum(j in sources for sources in arrivals)) for j in range(len(arrivals))
    ]
    mixed = []
    for i, sources in enumerate(arrivals):
        of = [i, *sources]
        mixed.append(sum(pieces[j] * values_N[j] for j in of) / sum(pieces[j] for j in of))
    return np.array(mixed)


def test_all_go_to_the_exact_mean_along_one_direction() -> None:
    """Where plain averages end elsewhere."""
    rng = np.random.default_rng(1)
    one_way = [[(i + 1) % 5] for i in range(5)]
    weights_N = [SumWeights(conserves=True) for _ in range(5)]
    values_N = rng.normal(size=5)
    mean = values_N.mean()
    for _ in range(400):
        _, rows = weighted_rows(push(1, 0.5)(one_way, rng), weights_N)
        values_N = rows.w_MN @ values_N
    np.testing.assert_allclose(values_N, np.full(5, mean), atol=1e-12)


def test_who_has_too_little_sends_nothing() -> None:
    weights_N = [SumWeights(conserves=True) for _ in range(2)]
    weights_N[0].own = LEAST_WEIGHT
    heard, rows = weighted_rows([[1], [0]], weights_N)
    assert [list(sources) for sources in heard] == [[1], []]
    assert rows.w_MN.toarray()[1].tolist() == [0.0, 1.0]
    assert [weights.own for weights in weights_N] == [0.5, 0.5]
