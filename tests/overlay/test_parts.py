from typing import Any

import networkx as nx
import numpy as np
import pytest

from p2pgan.errors import OverlayError
from p2pgan.overlay.parts import EdgePart, NodePart, Parts, assemble, json_text, take_apart


def parts(
    nodes: list[Any],
    edges: list[tuple[Any, ...]] = [],  # noqa: B006 - never changed
    *,
    directed: bool = False,
) -> Parts:
    """Nodes as ids or (id, attributes), edges as (source, target) and maybe attributes."""
    pairs = [node if isinstance(node, tuple) else (node, {}) for node in nodes]
    return Parts(
        attributes={},
        nodes=[NodePart(node, data, f"n{i}") for i, (node, data) in enumerate(pairs)],
        edges=[
            EdgePart(edge[0], edge[1], edge[2] if len(edge) > 2 else {}, f"e{i}")
            for i, edge in enumerate(edges)
        ],
        directed=directed,
    )


def refused(wrong: Parts) -> OverlayError:
    with pytest.raises(OverlayError) as caught:
        assemble(wrong, "file")
    return caught.value


def test_ids_become_text_in_the_order_given() -> None:
    graph = assemble(parts([2, "b", 1.5, np.int64(7)], [("2", "b"), (1.5, 7)]), "file")
    assert list(graph.nodes) == ["2", "b", "1.5", "7"]
    assert sorted(map(sorted, graph.edges)) == [["1.5", "7"], ["2", "b"]]
    assert nx.is_frozen(graph)


@pytest.mark.parametrize(
    "node", ["", "a/b", "a\\b", "..", ".hidden", " a", "a\t", "a\nb", "x" * 65, True, None, [1, 2]]
)
def test_what_is_no_id_is_refused(node: object) -> None:
    """Ids name directories of a run: none may climb out of it or be unreadable in a log."""
    error = refused(parts(["fine", node]))
    assert error.at == "n1"
    assert "1 to 64 printable characters" in error.expected


@pytest.mark.parametrize("node", ["x" * 64, "node 1", "(0, 1)", "Ü-7", "a.b:c@d+e", "-1"])
def test_ids_may_be_what_people_and_networkx_write(node: str) -> None:
    assert list(assemble(parts([node]), "file").nodes) == [node]


def test_ids_that_only_differ_in_type_are_the_same() -> None:
    error = refused(parts(["1", "a", 1]))
    assert error.got == "`1` again (first at n0)"
    assert error.at == "n2"


def test_no_nodes_are_refused() -> None:
    error = refused(parts([]))
    assert (error.expected, error.got, error.at) == ("at least one node", "an empty graph", "file")


def test_an_edge_to_nobody_names_the_nearest_node() -> None:
    error = refused(parts(["node-1", "node-2"], [("node-1", "nod-2")]))
    assert (error.got, error.at) == ("`nod-2`", "e0")
    assert error.hint == "did you mean `node-2`?"


def test_a_self_loop_is_refused() -> None:
    error = refused(parts([0, 1], [(0, 1), (1, "1")]))
    assert (error.got, error.at) == ("a self loop at `1`", "e1")


def test_an_edge_said_twice_alike_counts_once() -> None:
    graph = assemble(parts([0, 1], [(0, 1, {"x": 1}), (1, 0, {"x": 1})]), "file")
    assert dict(graph.edges["0", "1"]) == {"x": 1}
    assert graph.number_of_edges() == 1


def test_an_edge_said_twice_differently_is_refused() -> None:
    error = refused(parts([0, 1], [(0, 1, {"x": 1}), (1, 0, {"x": 2})]))
    assert error.at == "e1"
    assert "as at e0" in error.expected
    assert "{'x': 1}" in error.expected
    assert "{'x': 2}" in error.got


def test_a_directed_graph_must_have_both_directions() -> None:
    both = [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert assemble(parts([0, 1, 2], both, directed=True), "file").number_of_edges() == 2
    error = refused(parts([0, 1, 2], both[:3], directed=True))
    assert error.got == "a directed edge `1` -> `2` without its reverse"
    assert error.at == "e2"


@pytest.mark.parametrize(
    ("name", "value"),
    [("x", float("nan")), ("x", float("inf")), ("x", {1, 2}), ("x", "\ud800"), (3, 1)],
)
def test_attributes_must_be_what_json_holds(name: Any, value: object) -> None:
    error = refused(parts([0, (1, {name: value})]))
    assert error.at == "n1"
    assert f"`{name}`" in error.got


@pytest.mark.parametrize("name", ["source", "target"])
def test_attributes_of_edges_must_leave_node_link_its_names(name: str) -> None:
    assert f"`{name}` = `9`" in refused(parts([0, 1], [(0, 1, {name: 9})])).got


def test_an_attribute_id_of_a_node_is_refused() -> None:
    assert "`id` = `9`" in refused(parts([(0, {"id": 9})])).got


def test_addresses_are_checked_and_belong_to_one_node() -> None:
    assert refused(parts([(0, {"address": "nowhere"})])).at == "n0"
    same = {"address": "tcp://h:1"}
    error = refused(parts([("a", same), ("b", same)]))
    assert error.got == "`tcp://h:1`, which is that of node `a`"
    assert error.at == "n1"


def test_no_address_may_be_said_in_words() -> None:
    graph = assemble(parts([(0, {"address": None}), (1, {"address": None})]), "file")
    assert len(graph) == 2


def test_take_apart_and_assemble_give_the_graph_again() -> None:
    graph = nx.karate_club_graph()
    again = assemble(take_apart(graph, "karate"), "karate")
    assert {frozenset(map(int, edge)) for edge in again.edges} == set(map(frozenset, graph.edges))
    assert again.nodes["33"] == graph.nodes[33]
    assert again.graph["name"] == "Zachary's Karate Club"


def test_take_apart_gives_each_parallel_edge_and_its_place() -> None:
    graph = nx.MultiGraph([("a", "b"), ("a", "b")])
    found = list(take_apart(graph, "file").edges)
    assert [edge.at for edge in found] == ["file: edge `a` - `b`"] * 2


def test_json_text_is_short() -> None:
    assert json_text([1, None]) == "[1, null]"
    assert json_text({1, 2}) == "set"
    assert len(json_text("x" * 500)) == 80
