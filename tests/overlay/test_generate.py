import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pgan.errors import OverlayError
from p2pgan.overlay.generate import default_nodes, families, generate, names
from p2pgan.overlay.graph import Overlay

FAMILIES = [family.name for family in families()]


def drawn(spec: str, nodes: int, seed: int = 0) -> Overlay:
    return generate(spec, nodes, np.random.default_rng(seed))


def degrees(overlay: Overlay) -> list[int]:
    return [len(peers) for peers in overlay.neighbor_indices()]


def edges(overlay: Overlay) -> set[tuple[int, int]]:
    return {(i, j) for i, peers in enumerate(overlay.neighbor_indices()) for j in peers if i < j}


def test_families_and_the_alias_are_there() -> None:
    assert set(names()) == {
        "complete",
        "ring",
        "star",
        "grid",
        "torus",
        "random-regular",
        "erdos-renyi",
        "watts-strogatz",
        "small-world",
        "barabasi-albert",
    }


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "torus"])
@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5, 6, 7, 8, 13, 40])
def test_without_parameters_every_number_of_nodes_works(family: str, nodes: int) -> None:
    overlay = drawn(family, nodes)
    assert overlay.nodes == tuple(map(str, range(nodes)))
    assert overlay.name == f"{family}-{nodes}"
    assert overlay.description
    overlay.check_connected()


@settings(deadline=None)
@given(
    st.sampled_from(["random-regular:4", "erdos-renyi:0.3", "watts-strogatz", "barabasi-albert:3"]),
    st.integers(0, 2**32),
)
def test_the_seed_decides_everything(spec: str, seed: int) -> None:
    one, two = drawn(spec, 12, seed), drawn(spec, 12, seed)
    assert list(one.graph.edges) == list(two.graph.edges)
    assert one.graph.graph == two.graph.graph


@pytest.mark.parametrize("family", ["random-regular", "erdos-renyi", "watts-strogatz"])
def test_another_seed_draws_another_overlay(family: str) -> None:
    assert len({frozenset(edges(drawn(family, 20, seed))) for seed in range(5)}) == 5


def test_families_without_chance_leave_the_generator_alone() -> None:
    rng = np.random.default_rng(3)
    for family in ("complete", "ring", "star", "grid", "torus"):
        generate(family, 9, rng)
    assert rng.integers(2**60) == np.random.default_rng(3).integers(2**60)


def test_complete_ring_and_star_have_their_edges() -> None:
    assert edges(drawn("complete", 4)) == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    assert edges(drawn("ring", 4)) == {(0, 1), (1, 2), (2, 3), (0, 3)}
    assert edges(drawn("ring", 2)) == {(0, 1)}
    assert edges(drawn("star", 4)) == {(0, 1), (0, 2), (0, 3)}


def test_a_grid_is_numbered_row_by_row() -> None:
    assert edges(drawn("grid:2,3", 6)) == {(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5)}


@pytest.mark.parametrize(("nodes", "sides"), [(36, "6,6"), (12, "3,4"), (7, "1,7"), (1, "1,1")])
def test_a_grid_is_as_square_as_can_be(nodes: int, sides: str) -> None:
    assert drawn("grid", nodes).family == f"grid:{sides}"


def test_a_prime_grid_is_a_line() -> None:
    assert nx.is_isomorphic(drawn("grid", 7).graph, nx.path_graph(7))


@settings(deadline=None)
@given(st.integers(3, 7), st.integers(3, 7))
def test_everybody_on_a_torus_has_four_neighbors(rows: int, columns: int) -> None:
    overlay = drawn(f"torus:{rows},{columns}", rows * columns)
    assert set(degrees(overlay)) == {4}
    overlay.check_connected()


@settings(deadline=None)
@given(st.data())
def test_random_regular_gives_the_degree(data: st.DataObject) -> None:
    nodes = data.draw(st.integers(2, 30))
    degree = data.draw(st.integers(1, nodes - 1).filter(lambda d: d * nodes % 2 == 0))
    overlay = drawn(f"random-regular:{degree}", nodes, data.draw(st.integers(0, 99)))
    assert degrees(overlay) == [degree] * nodes


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(0, 99))
def test_barabasi_albert_is_always_connected(nodes: int, seed: int) -> None:
    overlay = drawn("barabasi-albert:1", nodes, seed)
    overlay.check_connected()
    assert len(edges(overlay)) == nodes - 1


def test_watts_strogatz_without_rewiring_is_the_ring_of_its_neighbors() -> None:
    ring = drawn("watts-strogatz:4,0", 9)
    assert edges(ring) == {
        (min(i, (i + step) % 9), max(i, (i + step) % 9)) for i in range(9) for step in (1, 2)
    }
    assert len(edges(drawn("watts-strogatz:4,0.5", 9))) == 18


def test_small_world_is_watts_strogatz() -> None:
    assert (
        drawn("small-world:4,0.3", 12).graph.graph == drawn("watts-strogatz:4,0.3", 12).graph.graph
    )


def test_erdos_renyi_follows_its_probability() -> None:
    assert edges(drawn("erdos-renyi:0", 8)) == set()
    assert len(edges(drawn("erdos-renyi:1", 8))) == 28
    assert len(edges(drawn("erdos-renyi:0.3", 100))) == pytest.approx(0.3 * 4950, rel=0.1)


def test_erdos_renyi_is_hardly_ever_disconnected_by_default() -> None:
    for nodes in (2, 5, 10, 50):
        connected = [nx.is_connected(drawn("erdos-renyi", nodes, s).graph) for s in range(40)]
        assert sum(connected) >= 39


@pytest.mark.parametrize(
    ("spec", "nodes", "used"),
    [
        ("watts-strogatz", 10, "watts-strogatz:4,0.1"),
        ("watts-strogatz", 4, "watts-strogatz:2,0.1"),
        ("small-world:6", 10, "watts-strogatz:6,0.1"),
        ("random-regular", 4, "random-regular:3"),
        ("random-regular", 3, "random-regular:2"),
        ("barabasi-albert", 2, "barabasi-albert:1"),
        ("erdos-renyi:0.3", 10, "erdos-renyi:0.3"),
        ("ring", 10, "ring"),
    ],
)
def test_the_values_that_were_used_are_kept(spec: str, nodes: int, used: str) -> None:
    assert drawn(spec, nodes).family == used


@pytest.mark.parametrize(
    ("spec", "nodes", "expected", "got"),
    [
        ("random-regular:9", 9, "DEGREE, a whole number from 1 to 8", "`9`"),
        ("random-regular:3", 9, "to be even", "`3 x 9 = 27`"),
        ("erdos-renyi:1.5", 9, "from 0 to 1", "`1.5`"),
        ("watts-strogatz:3", 9, "an even K", "`3`"),
        ("watts-strogatz:10", 9, "K, the neighbors before rewiring, a whole number", "`10`"),
        ("watts-strogatz:4,2", 9, "P, the probability of rewiring", "`2`"),
        ("barabasi-albert:0", 9, "M, the edges", "`0`"),
        ("barabasi-albert:9", 9, "from 1 to 8", "`9`"),
        ("grid:2,4", 9, "sides whose product is 9", "`2 x 4 = 8`"),
        ("grid:3", 9, "both sides", "`grid:3`"),
        ("grid:0,9", 9, "ROWS, a whole number from 1", "`0`"),
        ("torus:2,6", 12, "ROWS, a whole number from 3", "`2`"),
        ("torus", 7, "two sides of at least 3", "`7 = 1 x 7`"),
        ("torus", 8, "two sides of at least 3", "`8 = 2 x 4`"),
        ("ring:2", 9, "ring alone", "`ring:2`"),
        ("complete:", 9, "complete alone", "`complete:`"),
        ("star", 0, "at least 1 node", "`0`"),
    ],
)
def test_impossible_values_are_named(spec: str, nodes: int, expected: str, got: str) -> None:
    with pytest.raises(OverlayError) as caught:
        drawn(spec, nodes)
    assert expected in caught.value.expected
    assert caught.value.got == got
    assert f"overlay `{spec}`" in caught.value.at


@pytest.mark.parametrize(("nodes", "near"), [(7, "9"), (13, "12 or 15"), (17, "16 or 18")])
def test_a_torus_hints_at_the_sizes_that_work(nodes: int, near: str) -> None:
    with pytest.raises(OverlayError) as caught:
        drawn("torus", nodes)
    assert caught.value.hint == f"take {near} nodes, or `grid`"


def test_an_odd_regular_degree_gets_a_hint_that_works() -> None:
    with pytest.raises(OverlayError, match="take a degree of 2 or one node more"):
        drawn("random-regular:1", 5)
    drawn("random-regular:2", 5)
    drawn("random-regular:1", 6)


def test_an_unknown_family_gets_the_nearest() -> None:
    with pytest.raises(OverlayError, match="did you mean `barabasi-albert`"):
        drawn("barabasi:2", 9)


@pytest.mark.parametrize(
    ("spec", "nodes"), [("grid:4,5", 20), ("torus:3,3", 9), ("grid", 10), ("ring", 10)]
)
def test_sides_say_how_many_nodes(spec: str, nodes: int) -> None:
    assert default_nodes(spec) == nodes


def test_usage_shows_the_parameters() -> None:
    assert names()["small-world"].usage == "watts-strogatz:K,P"
    assert names()["ring"].usage == "ring"
