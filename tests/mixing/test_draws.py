"""Who hears from whom: every draw keeps to the overlay's edges and is as random as it says."""

import itertools
from collections import Counter

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import OverlayError
from p2pgan.mixing import draws
from p2pgan.mixing.draws import (
    Draw,
    Neighbors,
    everyone,
    matching,
    permutation,
    push,
    push_targets,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def neighbors_of(graph: "nx.Graph[int]") -> Neighbors:
    return [sorted(graph[node]) for node in sorted(graph)]


def complete(nodes: int) -> Neighbors:
    return neighbors_of(nx.complete_graph(nodes))


@st.composite
def graphs(draw: st.DrawFn, least: int = 1) -> Neighbors:
    """Any graph of up to eight nodes, connected or not."""
    nodes = draw(st.integers(least, 8))
    pairs = list(itertools.combinations(range(nodes), 2))
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    graph: nx.Graph[int] = nx.empty_graph(nodes)
    graph.add_edges_from(chosen)
    return neighbors_of(graph)


ALL_DRAWS = {
    "permutation": permutation(fixed_points=True),
    "push-1": push(1),
    "push-3": push(3),
    "everyone": everyone,
}

seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("name", [name for name in ALL_DRAWS if name != "everyone"])
@given(neighbors=graphs(), seed=seeds)
def test_nobody_hears_from_itself_or_twice_from_another(
    name: str, neighbors: Neighbors, seed: int
) -> None:
    arrivals = ALL_DRAWS[name](neighbors, rng(seed))
    assert len(arrivals) == len(neighbors)
    for node, sources in enumerate(arrivals):
        assert node not in sources
        assert len(set(sources)) == len(sources)
        assert all(type(source) is int for source in sources)


@pytest.mark.parametrize("name", [name for name in ALL_DRAWS if name != "everyone"])
@given(neighbors=graphs(), seed=seeds)
def test_vectors_travel_along_edges_only(name: str, neighbors: Neighbors, seed: int) -> None:
    arrivals = ALL_DRAWS[name](neighbors, rng(seed))
    assert all(node in neighbors[s] for node, sources in enumerate(arrivals) for s in sources)


@pytest.mark.parametrize("name", ALL_DRAWS)
def test_a_draw_follows_from_its_stream(name: str) -> None:
    def drawn(seed: int) -> list[str]:
        stream = rng(seed)
        return [str(ALL_DRAWS[name](complete(6), stream)) for _ in range(5)]

    assert drawn(1) == drawn(1)
    if name != "everyone":
        assert drawn(1) != drawn(2)
        assert len(set(drawn(1))) > 1  # another one at every exchange


@given(graphs(), seeds)
def test_a_permutation_lets_everyone_send_once_and_hear_once(
    neighbors: Neighbors, seed: int
) -> None:
    arrivals = permutation(fixed_points=True)(neighbors, rng(seed))
    heard = [sources[0] if sources else node for node, sources in enumerate(arrivals)]
    assert sorted(heard) == list(range(len(neighbors)))
    assert all(len(sources) <= 1 for sources in arrivals)


@given(graphs(), seeds)
def test_without_fixed_points_everyone_hears_or_the_overlay_is_refused(
    neighbors: Neighbors, seed: int
) -> None:
    """Refused exactly if a group of nodes has fewer neighbors than members (Hall's condition)."""
    nodes = range(len(neighbors))
    possible = all(
        len(set().union(*(neighbors[i] for i in group))) >= size
        for size in range(1, len(neighbors) + 1)
        for group in itertools.combinations(nodes, size)
    )
    if not possible:
        with pytest.raises(OverlayError):
            permutation(fixed_points=False)(neighbors, rng(seed))
        return
    arrivals = permutation(fixed_points=False)(neighbors, rng(seed))
    assert sorted(source for sources in arrivals for source in sources) == list(nodes)


@pytest.mark.parametrize("nodes", [1, 3, 6])
def test_a_star_has_no_permutation_without_fixed_points(nodes: int) -> None:
    star = neighbors_of(nx.star_graph(nodes - 1))
    with pytest.raises(OverlayError, match=r"exchange\.fixed_points.*draw by `push`"):
        permutation(fixed_points=False)(star, rng())


def test_two_nodes_without_fixed_points_swap() -> None:
    for seed in range(5):
        assert permutation(fixed_points=False)([[1], [0]], rng(seed)) == [[1], [0]]


def draw_counts(draw: Draw, neighbors: Neighbors, times: int) -> Counter[str]:
    stream = rng(11)
    return Counter(str(draw(neighbors, stream)) for _ in range(times))


def chi_square(counts: Counter[str], cells: int) -> float:
    expected = counts.total() / cells
    seen = sum((count - expected) ** 2 / expected for count in counts.values())
    return seen + (cells - len(counts)) * expected


def test_on_a_complete_overlay_all_permutations_are_equally_likely() -> None:
    counts = draw_counts(permutation(fixed_points=True), complete(4), 2400)
    assert chi_square(counts, 24) < 49.7  # 23 degrees of freedom, p = 0.001


def test_without_fixed_points_on_a_complete_overlay_all_derangements_are_equally_likely() -> None:
    counts = draw_counts(permutation(fixed_points=False), complete(4), 900)
    assert "[]" not in "".join(counts)
    assert chi_square(counts, 9) < 26.1  # 8 degrees of freedom, p = 0.001


@pytest.mark.parametrize("fixed_points", [True, False])
def test_many_nodes_on_a_complete_overlay_cost_no_matching(
    monkeypatch: pytest.MonkeyPatch, fixed_points: bool
) -> None:
    """A matching among all pairs of 1,000 nodes took longer than some rounds of training."""
    monkeypatch.setattr(draws, "_cheapest_permutation", None)
    arrivals = permutation(fixed_points=fixed_points)(complete(300), rng())
    assert {len(sources) for sources in arrivals} == ({0, 1} if fixed_points else {1})


def test_on_a_ring_every_permutation_is_drawn() -> None:
    """All six of a ring of four that keep to its edges and move everybody or some."""
    ring = neighbors_of(nx.cycle_graph(4))
    allowed = [
        order
        for order in itertools.permutations(range(4))
        if all(i == j or j in ring[i] for i, j in enumerate(order))
    ]
    counts = draw_counts(permutation(fixed_points=True), ring, 1500)
    assert len(counts) == len(allowed)
    assert min(counts.values()) > 0.3 * 1500 / len(allowed)


@given(st.lists(st.text(max_size=3), unique=True, max_size=6), st.integers(1, 8), seeds)
def test_push_targets_are_distinct_neighbors(neighbors: list[str], fanout: int, seed: int) -> None:
    targets = push_targets(neighbors, fanout, rng(seed))
    assert len(targets) == len(set(targets)) == min(fanout, len(neighbors))
    assert set(targets) <= set(neighbors)


def test_nobody_to_push_to() -> None:
    assert push_targets([], 3, rng()) == []
    assert push(2)([[], []], rng()) == [[], []]


def test_no_neighbors_cost_no_randomness() -> None:
    """A node that is alone for a while goes on with the same stream afterwards."""
    lonely = rng()
    push_targets([], 1, lonely)
    assert lonely.random() == rng().random()


@pytest.mark.parametrize("fanout", [1, 2])
def test_push_targets_are_uniform(fanout: int) -> None:
    stream = rng(3)
    counts = Counter(t for _ in range(3000) for t in push_targets("abcdef", fanout, stream))
    expected = 3000 * fanout / 6
    assert sum((counts[t] - expected) ** 2 / expected for t in "abcdef") < 20.5  # p = 0.001


@given(graphs(), st.integers(1, 4), seeds)
def test_the_simulators_push_is_every_daemons_in_turn(
    neighbors: Neighbors, fanout: int, seed: int
) -> None:
    arrivals = push(fanout)(neighbors, rng(seed))
    stream = rng(seed)
    for sender, around in enumerate(neighbors):
        targets = push_targets(around, fanout, stream)
        assert {node for node, sources in enumerate(arrivals) if sender in sources} == set(targets)


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_everyone_hears_from_everyone_whatever_the_overlay(nodes: int) -> None:
    arrivals = everyone([[]] * nodes, rng())
    assert [list(sources) for sources in arrivals] == [list(range(nodes))] * nodes


def test_a_push_is_left_out_with_the_probability_that_is_missing() -> None:
    neighbors, stream = [[1, 2], [0, 2], [0, 1]], rng()
    pushed = sum(len(sources) for _ in range(1000) for sources in push(2, 0.25)(neighbors, stream))
    assert pushed / 6000 == pytest.approx(0.25, abs=0.03)


def test_probability_one_draws_nothing_for_itself() -> None:
    """Runs of before it was there stay as they are."""
    one, other = rng(3), rng(3)
    neighbors = [[1, 2, 3], [0, 2], [0, 1], [0]]
    for _ in range(20):
        assert push(1, 1.0)(neighbors, one) == push(1)(neighbors, other)
    assert one.random() == other.random()


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.5]))
def test_pairs_are_neighbors_and_nobody_has_two(seed: int, probability: float) -> None:
    neighbors = [[1, 5], [0, 2], [1, 3], [2, 4], [3, 5], [4, 0], []]
    pairs = matching(probability)(neighbors, rng(seed))
    for node, partners in enumerate(pairs):
        assert len(partners) <= 1
        for partner in partners:
            assert partner in neighbors[node]
            assert list(pairs[partner]) == [node]
    if probability == 1.0:
        alone = [node for node, partners in enumerate(pairs) if not partners]
        assert all(set(neighbors[node]).isdisjoint(alone) for node in alone)


def test_every_edge_is_drawn_for_a_pair() -> None:
    neighbors, stream = [[1, 2], [0, 2], [0, 1]], rng()
    pairs = {tuple(map(tuple, matching(1.0)(neighbors, stream))) for _ in range(100)}
    assert len(pairs) == 3
