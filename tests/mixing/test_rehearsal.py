"""The rounds of a last step, against theory and against playing it again."""

import networkx as nx
import numpy as np
import pytest

from p2pgan.mixing import rehearsal
from p2pgan.mixing.draws import Arrivals, Draw, Neighbors, permutation, push
from p2pgan.mixing.rehearsal import averaging_rounds, spreading_rounds
from p2pgan.mixing.rules import mixing_rows


def neighbors_of(graph: nx.Graph) -> Neighbors:
    return [sorted(graph[node]) for node in sorted(graph)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def everybody(neighbors: Neighbors, stream: np.random.Generator) -> Arrivals:
    """All neighbors send: what spreads takes as many rounds as the diameter."""
    del stream
    return neighbors


@pytest.mark.parametrize("nodes", [2, 5, 9])
def test_without_chance_it_is_the_diameter_and_the_margin(nodes: int) -> None:
    path = nx.path_graph(nodes)
    wanted = -(-3 * nx.diameter(path) // 2)
    assert spreading_rounds(everybody, neighbors_of(path), rng()) == wanted


@pytest.mark.parametrize("draw", [permutation(fixed_points=True), push(1)])
@pytest.mark.parametrize("graph", [nx.cycle_graph(8), nx.star_graph(6), nx.complete_graph(16)])
def test_what_is_known_reaches_all_in_time(draw: Draw, graph: nx.Graph) -> None:
    """Played 20 times by a naive loop over sets."""
    neighbors = neighbors_of(graph)
    rounds = spreading_rounds(draw, neighbors, rng(1))
    for seed in range(20):
        stream = rng(100 + seed)
        knows = [{node} for node in range(len(neighbors))]
        for _ in range(rounds):
            before = [set(known) for known in knows]
            for receiver, sources in enumerate(draw(neighbors, stream)):
                knows[receiver] = before[receiver].union(*(before[source] for source in sources))
        assert all(len(known) == len(neighbors) for known in knows)


def test_averaging_on_the_complete_overlay_is_as_fast_as_in_theory() -> None:
    """`E‖Wx‖² = ‖x‖² / 2` for `W = (I + P) / 2` with a uniform permutation: 20 rounds for 1000."""
    rounds = averaging_rounds(
        permutation(fixed_points=True), neighbors_of(nx.complete_graph(30)), rng()
    )
    assert 19 <= rounds <= 26


@pytest.mark.parametrize("draw", [permutation(fixed_points=True), push(2)])
def test_averaging_gets_as_near_as_it_says(draw: Draw) -> None:
    neighbors = neighbors_of(nx.barabasi_albert_graph(12, 2, seed=1))
    rounds = averaging_rounds(draw, neighbors, rng(2))
    stream, values_N = rng(3), rng(4).normal(size=12)
    begin = np.std(values_N)
    for _ in range(rounds):
        rows = mixing_rows(draw(neighbors, stream))
        values_N = rows.w_MN.toarray()[rows.row_of_N] @ values_N
    assert np.std(values_N) <= begin / 100  # 1000 is what the slowest of the trials reached


def test_pieces_are_expected_to_agree_among_themselves_only() -> None:
    pieces = neighbors_of(nx.disjoint_union(nx.path_graph(2), nx.path_graph(3)))
    assert spreading_rounds(everybody, pieces, rng()) == 3
    assert 0 < averaging_rounds(everybody, pieces, rng()) < 50


def test_there_is_an_end_where_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "ROUNDS_MAX", 7)

    def nobody(neighbors: Neighbors, stream: np.random.Generator) -> Arrivals:
        del stream
        return [[] for _ in neighbors]

    pair = neighbors_of(nx.path_graph(2))
    assert spreading_rounds(nobody, pair, rng()) == 7
    assert averaging_rounds(nobody, pair, rng()) == 7


@pytest.mark.parametrize("rounds", [spreading_rounds, averaging_rounds])
def test_a_single_node_and_the_same_stream(rounds: object) -> None:
    assert callable(rounds)
    assert rounds(push(1), [[]], rng()) == 0
    ring = neighbors_of(nx.cycle_graph(7))
    assert rounds(push(1), ring, rng(5)) == rounds(push(1), ring, rng(5))
