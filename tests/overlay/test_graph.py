import pickle

import networkx as nx
import pytest

from p2pgan.errors import OverlayError
from p2pgan.overlay.graph import Overlay


@pytest.fixture
def house() -> Overlay:
    """A square d-c-b-a with a roof r over a and b; nodes in an order of their own."""
    graph = nx.Graph()
    graph.add_nodes_from(["d", "c", "b", "a", "r"])
    graph.add_edges_from([("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("r", "a"), ("r", "b")])
    graph.edges["a", "b"]["latency_ms"] = 3.5
    graph.nodes["a"]["address"] = "tcp://127.0.0.1:5550"
    return Overlay("house", graph)


def test_nodes_and_neighbors_are_in_node_order(house: Overlay) -> None:
    assert house.nodes == ("d", "c", "b", "a", "r")
    assert house.neighbors("a") == ("d", "b", "r")
    assert house.neighbors("c") == ("d", "b")


def test_neighbor_indices_agree_with_neighbors(house: Overlay) -> None:
    indices = house.neighbor_indices()
    assert indices == ((1, 3), (0, 2), (1, 3, 4), (0, 2, 4), (2, 3))
    for node, peers in zip(house.nodes, indices, strict=True):
        assert tuple(house.nodes[i] for i in peers) == house.neighbors(node)


def test_any_graph_becomes_canonical_and_the_given_one_stays() -> None:
    given = nx.path_graph(3)
    overlay = Overlay("path", given)
    assert overlay.nodes == ("0", "1", "2")
    assert overlay.graph.graph["name"] == "path"
    given.add_edge(0, 2)
    assert overlay.neighbors("0") == ("1",)


def test_numbers_of_edges_are_known_from_both_ends(house: Overlay) -> None:
    assert house.first(1).edge_numbers("latency_ms") == {}
    graph = nx.path_graph(["a", "b", "c"])
    nx.set_edge_attributes(graph, {("a", "b"): 3.5, ("b", "c"): 0}, "latency_ms")
    numbers = Overlay("path", graph).edge_numbers("latency_ms")
    assert numbers == {("a", "b"): 3.5, ("b", "a"): 3.5, ("b", "c"): 0, ("c", "b"): 0}


def test_an_edge_without_the_number_is_named(house: Overlay) -> None:
    with pytest.raises(
        OverlayError, match="attribute `latency_ms` of every edge, got none"
    ) as none:
        house.edge_numbers("latency_ms")
    assert none.value.at == "overlay `house`: edge `d` - `c`"
    graph = nx.path_graph(["a", "b"])
    graph.edges["a", "b"]["latency_ms"] = [1]
    with pytest.raises(OverlayError, match=r"got `\[1\]` - at overlay `path`: edge `a` - `b`"):
        Overlay("path", graph).edge_numbers("latency_ms")


def test_the_graph_is_frozen(house: Overlay) -> None:
    with pytest.raises(nx.NetworkXError, match="Frozen"):
        house.graph.add_edge("c", "r")


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (nx.Graph(), "overlay `bad`"),
        (nx.Graph([(0, 0)]), "a self loop at `0` - at overlay `bad`: edge `0` - `0`"),
        (nx.DiGraph([(0, 1)]), "`0` -> `1` without its reverse"),
        (nx.Graph([(1, "1")]), "`1` again"),
        (nx.Graph([((0, 0), (0, 1))]), "a node id"),
    ],
)
def test_what_cannot_serve_is_refused(graph: nx.Graph, message: str) -> None:
    with pytest.raises(OverlayError) as caught:
        Overlay("bad", graph)
    assert message in str(caught.value)


def test_an_unknown_node_gets_the_nearest_match() -> None:
    overlay = Overlay("pair", nx.Graph([("alice", "bob")]))
    for ask in (overlay.neighbors, overlay.address):
        with pytest.raises(OverlayError, match="`alcie`") as caught:
            ask("alcie")
        assert caught.value.hint == "did you mean `alice`?"
        assert caught.value.at == "overlay `pair`"


def test_addresses_are_read_and_replaced_by_node(house: Overlay) -> None:
    moved = house.with_addresses({"b": "tcp://10.0.0.2:5550"})
    assert (moved.address("a"), moved.address("b"), moved.address("c")) == (
        "tcp://127.0.0.1:5550",
        "tcp://10.0.0.2:5550",
        None,
    )
    assert house.address("b") is None
    assert moved.nodes == house.nodes
    assert moved.graph.edges["a", "b"] == {"latency_ms": 3.5}


def test_wrong_addresses_are_refused(house: Overlay) -> None:
    with pytest.raises(OverlayError, match="`here` - at node `b`"):
        house.with_addresses({"b": "here"})
    with pytest.raises(OverlayError, match="`x` - at overlay `house`"):
        house.with_addresses({"x": "tcp://10.0.0.2:5550"})
    with pytest.raises(OverlayError, match="which is that of node"):
        house.with_addresses({"b": "tcp://127.0.0.1:5550"})


def test_first_keeps_order_attributes_and_the_edges_within(house: Overlay) -> None:
    part = house.first(4)
    assert part.nodes == ("d", "c", "b", "a")
    assert part.neighbors("a") == ("d", "b")
    assert part.graph.edges["a", "b"] == {"latency_ms": 3.5}
    assert part.address("a") == "tcp://127.0.0.1:5550"
    assert part.description == "The first 4 nodes of house."
    assert house.first(5) is house


def test_a_part_of_a_family_is_none_of_it() -> None:
    ring = nx.cycle_graph(6)
    ring.graph["family"] = "ring"
    overlay = Overlay("ring-6", ring)
    assert overlay.family == "ring"
    assert overlay.first(4).family == ""


def test_first_asks_for_nodes_that_are_there(house: Overlay) -> None:
    with pytest.raises(OverlayError, match="at least 6 nodes, got 5 nodes - at overlay `house`"):
        house.first(6)
    with pytest.raises(OverlayError, match="at least 1 node, got `0`"):
        house.first(0)


def test_a_connected_overlay_passes(house: Overlay) -> None:
    house.check_connected()
    assert house.components() == [("d", "c", "b", "a", "r")]


def test_components_are_named_in_order() -> None:
    graph = nx.Graph([("b", "a"), ("d", "c")])
    graph.add_node("e")
    overlay = Overlay("apart", graph)
    assert overlay.components() == [("b", "a"), ("d", "c"), ("e",)]
    with pytest.raises(OverlayError) as caught:
        overlay.check_connected()
    assert caught.value.got == "3 components: `b`, `a`; `d`, `c`; `e`"
    assert caught.value.hint == "add edges, or pass `--allow-disconnected`"


def test_many_and_long_components_are_shortened() -> None:
    graph = nx.path_graph(30)
    graph.add_nodes_from(range(30, 50))
    with pytest.raises(OverlayError) as caught:
        Overlay("apart", graph).check_connected()
    assert caught.value.got.startswith(
        "21 components: `0`, `1`, `2`, `3`, `4`, … (30 nodes); `30`;"
    )
    assert caught.value.got.endswith("; … 16 more")
    assert len(caught.value.got) < 120


def test_a_drawn_overlay_in_pieces_hints_at_the_seed() -> None:
    graph = nx.empty_graph(2)
    graph.graph["family"] = "erdos-renyi:0.1"
    with pytest.raises(OverlayError) as caught:
        Overlay("drawn", graph).check_connected()
    assert caught.value.hint.startswith("draw with another seed")


def test_an_overlay_travels_between_processes(house: Overlay) -> None:
    again = pickle.loads(pickle.dumps(house))  # noqa: S301 - our own
    assert again.nodes == house.nodes
    assert again.neighbor_indices() == house.neighbor_indices()


def test_without_a_node_the_others_stay_as_they_were(house: Overlay) -> None:
    """Also where that leaves several pieces."""
    rest = house.without("b")
    assert rest.nodes == ("d", "c", "a", "r")
    assert rest.neighbors("a") == ("d", "r")
    assert rest.address("a") == "tcp://127.0.0.1:5550"
    assert house.nodes == ("d", "c", "b", "a", "r")
    assert len(rest.without("d").without("a").components()) == 2


def test_a_node_can_be_left_out_only_if_it_is_there_and_not_alone(house: Overlay) -> None:
    with pytest.raises(OverlayError, match="did you mean"):
        Overlay("named", nx.Graph([("hub", "leaf")])).without("hubb")
    with pytest.raises(OverlayError, match="expected other nodes, got `x` alone"):
        Overlay("alone", nx.empty_graph(["x"])).without("x")


def test_a_hub_joins_all_and_all_join_the_hub_alone(house: Overlay) -> None:
    """What daemons of FL-GAN and MD-GAN see of an overlay."""
    star = house.with_hub("coordinator")
    assert star.nodes == ("coordinator", "d", "c", "b", "a", "r")
    assert star.neighbors("coordinator") == house.nodes
    assert all(star.neighbors(node) == ("coordinator",) for node in house.nodes)
    assert star.address("a") == "tcp://127.0.0.1:5550"
    assert star.without("coordinator").nodes == house.nodes


def test_a_hub_is_a_new_node(house: Overlay) -> None:
    with pytest.raises(OverlayError, match="expected no node `a`"):
        house.with_hub("a")
