"""The overlay after arrivals and departures."""

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import OverlayError
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.mending import adjacency_now, overlay_now


def overlay(graph: nx.Graph) -> Overlay:
    return Overlay("base", nx.relabel_nodes(graph, lambda node: f"n{node:02}"))


RING, STAR = overlay(nx.cycle_graph(6)), overlay(nx.star_graph(5))
COMPLETE, PAIR = overlay(nx.complete_graph(5)), overlay(nx.path_graph(2))


@st.composite
def connected(draw: st.DrawFn) -> Overlay:
    """A random tree and some edges more."""
    count = draw(st.integers(1, 12))
    graph = nx.Graph()
    graph.add_nodes_from(range(count))
    for node in range(1, count):
        graph.add_edge(node, draw(st.integers(0, node - 1)))
    for a, b in draw(st.lists(st.tuples(*[st.integers(0, count - 1)] * 2), max_size=12)):
        if a != b:
            graph.add_edge(a, b)
    return overlay(graph)


arrivals = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([f"j{i}" for i in range(8)])),
    max_size=8,
    unique_by=lambda arrival: arrival[1],
)


def edges(base: Overlay) -> set[frozenset[str]]:
    return {frozenset(edge) for edge in base.graph.edges}


def test_while_nobody_comes_or_goes_it_is_the_base() -> None:
    for base in (RING, STAR, COMPLETE, PAIR):
        now = overlay_now(base, [], [])
        assert (now.nodes, edges(now)) == (base.nodes, edges(base))


@given(base=connected(), joined=arrivals, data=st.data())
def test_what_was_connected_stays_so(
    base: Overlay, joined: list[tuple[int, str]], data: st.DataObject
) -> None:
    """Whoever comes and goes, but for all; and nobody has more links than those lost could give."""
    everybody = [*base.nodes, *(node for _, node in joined)]
    gone = data.draw(st.sets(st.sampled_from(everybody), max_size=len(everybody) - 1))
    now = overlay_now(base, joined, gone)
    assert {*now.nodes} == {*everybody} - gone
    assert len(now.components()) == 1
    whole = overlay_now(base, joined, [])
    for node in now.nodes:
        assert len(now.neighbors(node)) <= len(whole.neighbors(node)) + len(gone)


@given(base=connected(), joined=arrivals, data=st.data())
def test_the_order_in_which_it_is_heard_does_not_matter(
    base: Overlay, joined: list[tuple[int, str]], data: st.DataObject
) -> None:
    gone = data.draw(st.lists(st.sampled_from([*base.nodes, "j0", "j1", "x"]), unique=True))
    one = adjacency_now(base, joined, gone)
    other = adjacency_now(
        base, data.draw(st.permutations(joined)), data.draw(st.permutations(gone))
    )
    assert (list(one), one) == (list(other), other)


@given(base=connected(), joined=arrivals)
def test_who_comes_later_changes_nothing_among_the_earlier(
    base: Overlay, joined: list[tuple[int, str]]
) -> None:
    before = overlay_now(base, joined, [])
    after = overlay_now(base, [*joined, (4, "late")], [])
    assert after.nodes == (*before.nodes, "late")
    assert {edge for edge in edges(after) if "late" not in edge} == edges(before)


@pytest.mark.parametrize(("base", "links"), [(RING, 2), (STAR, 2), (COMPLETE, 4), (PAIR, 2)])
def test_who_comes_has_as_many_links_as_is_usual(base: Overlay, links: int) -> None:
    assert len(overlay_now(base, [(1, "new")], []).neighbors("new")) == links


def test_with_fewer_earlier_ones_there_are_fewer_links() -> None:
    now = overlay_now(overlay(nx.empty_graph(1)), [(1, "new"), (2, "newer")], [])
    assert [len(now.neighbors(node)) for node in now.nodes] == [2, 2, 2]


def test_arrivals_are_in_the_order_of_their_places_and_then_of_ids() -> None:
    now = overlay_now(RING, [(2, "a"), (1, "c"), (1, "b")], [])
    assert now.nodes[6:] == ("b", "c", "a")


def test_the_leaves_of_a_hub_that_is_gone_are_a_path() -> None:
    now = overlay_now(STAR, [], ["n00"])
    assert sorted(len(now.neighbors(node)) for node in now.nodes) == [1, 1, 2, 2, 2]


def test_without_mending_links_only_go() -> None:
    now = overlay_now(STAR, [], ["n00"], mend=False)
    assert not now.graph.edges


def test_ids_that_cannot_be_are_left_out() -> None:
    """They come from the network."""
    joined = [(1, ".hidden"), (1, "a/b"), (2, "n00"), (3, "x" * 65), (4, "a\nb"), (5, "good")]
    assert overlay_now(RING, joined, ["nobody"]).nodes == (*RING.nodes, "good")


def test_edges_of_the_base_keep_what_is_said_of_them() -> None:
    graph = nx.path_graph(["a", "b", "c"])
    graph.edges["a", "b"]["latency_s"] = 0.5
    graph.nodes["a"]["address"] = "tcp://127.0.0.1:5000"
    now = overlay_now(Overlay("base", graph), [], ["c"])
    assert now.graph.edges["a", "b"] == {"latency_s": 0.5}
    assert now.address("a") == "tcp://127.0.0.1:5000"


def test_of_two_one_may_stay_alone_and_nobody_is_no_overlay() -> None:
    assert overlay_now(PAIR, [], ["n00"]).nodes == ("n01",)
    assert adjacency_now(PAIR, [], PAIR.nodes) == {}
    with pytest.raises(OverlayError):
        overlay_now(PAIR, [], PAIR.nodes)
