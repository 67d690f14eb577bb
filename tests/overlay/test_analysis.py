import json
import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pgan.overlay.analysis import (
    CONNECTIVITY_COST_MAX,
    metropolis_hastings,
    push_rounds,
    spectral_gap,
    stats,
)
from p2pgan.overlay.generate import generate
from p2pgan.overlay.graph import Overlay


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def family(spec: str, nodes: int) -> Overlay:
    return generate(spec, nodes, rng())


def gap_of(overlay: Overlay) -> float:
    return spectral_gap(metropolis_hastings(overlay))


def random_overlay(nodes: int, probability: float, seed: int) -> Overlay:
    return generate(f"erdos-renyi:{probability}", nodes, rng(seed))


def test_metropolis_hastings_of_a_path_by_hand() -> None:
    third = 1 / 3
    expected = [[1 - third, third, 0], [third, third, third], [0, third, 1 - third]]
    np.testing.assert_allclose(metropolis_hastings(family("grid", 3)), expected, atol=1e-15)


@settings(deadline=None)
@given(st.integers(1, 15), st.floats(0, 1), st.integers(0, 99))
def test_metropolis_hastings_is_symmetric_and_doubly_stochastic(
    nodes: int, probability: float, seed: int
) -> None:
    overlay = random_overlay(nodes, probability, seed)
    w_NN = metropolis_hastings(overlay)
    assert w_NN.dtype == np.float64
    np.testing.assert_array_equal(w_NN, w_NN.T)
    np.testing.assert_allclose(w_NN.sum(axis=0), 1, atol=1e-12)
    assert w_NN.min() >= 0
    off_diagonal = ~np.eye(nodes, dtype=bool)
    np.testing.assert_array_equal(
        (w_NN > 0) & off_diagonal, nx.to_numpy_array(overlay.graph, nodelist=overlay.nodes) > 0
    )


@pytest.mark.parametrize("nodes", [3, 4, 7, 20])
def test_the_gap_of_a_ring_has_a_closed_form(nodes: int) -> None:
    """The eigenvalues of its matrix are `(1 + 2 cos(2πk/n)) / 3`."""
    values = [abs(1 + 2 * math.cos(2 * math.pi * k / nodes)) / 3 for k in range(1, nodes)]
    assert gap_of(family("ring", nodes)) == pytest.approx(1 - max(values), abs=1e-12)


@pytest.mark.parametrize("nodes", [1, 2, 9])
def test_a_complete_overlay_agrees_in_one_round(nodes: int) -> None:
    overlay = family("complete", nodes)
    np.testing.assert_allclose(metropolis_hastings(overlay), 1 / nodes, atol=1e-15)
    assert gap_of(overlay) == pytest.approx(1)


def test_the_gap_of_a_star_is_one_over_n() -> None:
    assert gap_of(family("star", 8)) == pytest.approx(1 / 8)


def test_pieces_never_agree() -> None:
    assert gap_of(Overlay("apart", nx.empty_graph(3))) == 0.0


def test_a_negative_eigenvalue_counts() -> None:
    """Two nodes that swap never agree, though the second eigenvalue is -1, not 1."""
    assert spectral_gap(np.array([[0.0, 1.0], [1.0, 0.0]])) == 0.0


def test_the_gap_of_an_asymmetric_matrix() -> None:
    cycle = np.roll(np.eye(3), 1, axis=1)
    lazy = (np.eye(3) + cycle) / 2  # eigenvalues (1 + ω) / 2, of absolute value 1/2
    assert spectral_gap(cycle) == 0.0
    assert spectral_gap(lazy) == pytest.approx(0.5)


def naive_rounds(overlay: Overlay, start: int, draws: np.random.Generator) -> int:
    peers = overlay.neighbor_indices()
    knows = {start}
    rounds = 0
    while len(knows) < len(peers):
        knows |= {int(draws.choice(peers[teller])) for teller in sorted(knows)}
        rounds += 1
    return rounds


@pytest.mark.parametrize("spec", ["ring", "star", "complete"])
def test_push_rounds_agree_with_a_plain_loop(spec: str) -> None:
    overlay = family(spec, 8)
    draws = rng(1)
    naive = [naive_rounds(overlay, int(draws.integers(8)), draws) for _ in range(600)]
    fast = push_rounds(overlay, rng(2), trials=601)
    assert fast is not None
    assert abs(fast - float(np.median(naive))) <= 1


def test_push_rounds_of_the_smallest() -> None:
    assert push_rounds(family("complete", 1), rng()) == 0.0
    assert push_rounds(family("complete", 2), rng()) == 1.0
    assert push_rounds(Overlay("apart", nx.empty_graph(2)), rng()) is None


def test_push_takes_at_least_the_rounds_of_doubling() -> None:
    rounds = push_rounds(family("complete", 64), rng())
    assert rounds is not None
    assert math.log2(64) <= rounds <= 2 * (math.log2(64) + math.log(64))


def test_push_rounds_follow_the_seed() -> None:
    overlay = family("grid", 30)
    assert push_rounds(overlay, rng(5), trials=3) == push_rounds(overlay, rng(5), trials=3)


def test_stats_of_a_ring_by_hand() -> None:
    found = stats(family("ring", 10), rng())
    assert found.name == "ring-10"
    assert (found.nodes, found.edges) == (10, 10)
    assert (found.degree_min, found.degree_mean, found.degree_max) == (2, 2.0, 2)
    assert (found.components, found.connected, found.diameter) == (1, True, 5)
    assert (found.connectivity, found.clustering) == (2, 0.0)
    assert found.spectral_gap == pytest.approx(1 - (1 + 2 * math.cos(math.pi / 5)) / 3)
    assert found.push_rounds is not None
    assert found.push_rounds >= 5


def test_stats_of_two_cliques_with_a_bridge() -> None:
    found = stats(Overlay("barbell", nx.barbell_graph(4, 0)), rng())
    assert (found.edges, found.diameter, found.connectivity) == (13, 3, 1)
    assert found.clustering == pytest.approx((6 * 1 + 2 * 0.5) / 8)


def test_stats_of_pieces_leave_out_what_they_do_not_have() -> None:
    found = stats(Overlay("apart", nx.Graph([(0, 1), (2, 3)])), rng())
    assert (found.components, found.connected, found.connectivity) == (2, False, 0)
    assert found.diameter is None
    assert found.push_rounds is None
    assert found.spectral_gap == 0.0


@pytest.mark.parametrize("spec", ["complete", "star", "torus", "random-regular:3"])
def test_connectivity_is_that_of_networkx(spec: str) -> None:
    overlay = family(spec, 12)
    assert stats(overlay, rng()).connectivity == nx.node_connectivity(overlay.graph)


def test_connectivity_is_left_out_where_it_would_take_long() -> None:
    dense = family("erdos-renyi:0.3", 200)
    assert 199 * dense.graph.number_of_edges() < CONNECTIVITY_COST_MAX
    assert stats(dense, rng()).connectivity is None
    assert stats(family("complete", 60), rng()).connectivity == 59


def test_stats_are_json() -> None:
    found = stats(family("star", 5), rng())
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again == found.to_dict()
    assert again["degree_max"] == 4
