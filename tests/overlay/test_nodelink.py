import json
from typing import Any

import networkx as nx
import pytest

from p2pgan.errors import OverlayError
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.nodelink import parse, parts_of, render, to_node_link
from p2pgan.overlay.parts import assemble

PAIR = {"nodes": [{"id": "a"}, {"id": "b"}], "edges": [{"source": "a", "target": "b"}]}


def refused(tables: object) -> OverlayError:
    with pytest.raises(OverlayError) as caught:
        assemble(parts_of(tables, "x.json"), "x.json")
    return caught.value


def edges_of(tables: object) -> list[list[str]]:
    return sorted(map(sorted, assemble(parts_of(tables, "x.json"), "x.json").edges))


def test_networkx_reads_what_we_write() -> None:
    graph = nx.Graph([("a", "b", {"latency_ms": 2.5})])
    written = json.loads(render(Overlay("pair", graph)))
    again = nx.node_link_graph(written, edges="edges")
    assert again.edges["a", "b"] == {"latency_ms": 2.5}
    assert again.graph == {"name": "pair"}
    assert not again.is_directed()
    assert not again.is_multigraph()


@pytest.mark.parametrize("key", ["edges", "links"])
def test_old_and_new_files_of_networkx_are_read(key: str) -> None:
    graph = nx.karate_club_graph()
    tables = nx.node_link_data(graph, edges=key)
    again = assemble(parts_of(tables, "x.json"), "x.json")
    assert again.number_of_edges() == 78
    assert again.edges["0", "1"] == {"weight": 4}


def test_a_node_or_an_edge_stands_on_each_line() -> None:
    graph = nx.Graph([("a", "b", {"x": 1})])
    graph.nodes["a"]["label"] = "Zürich"
    assert render(Overlay("pair", graph)).decode() == (
        '{\n  "directed": false,\n  "multigraph": false,\n  "graph": {"name": "pair"},\n'
        '  "nodes": [\n    {"id": "a", "label": "Zürich"},\n    {"id": "b"}\n  ],\n'
        '  "edges": [\n    {"source": "a", "target": "b", "x": 1}\n  ]\n}\n'
    )


def test_no_edges_are_still_json() -> None:
    alone = Overlay("alone", nx.empty_graph(1))
    assert json.loads(render(alone)) == to_node_link(alone)


def test_a_directed_file_needs_both_directions() -> None:
    back = {"source": "b", "target": "a"}
    assert edges_of({**PAIR, "directed": True, "edges": [*PAIR["edges"], back]}) == [["a", "b"]]
    error = refused({**PAIR, "directed": True})
    assert error.at == "x.json: $.edges[0]"
    assert "without its reverse" in error.got


def test_parallel_edges_of_a_multigraph_must_agree() -> None:
    same = [{"source": "a", "target": "b", "key": key, "x": 1} for key in (0, 1)]
    assert edges_of({**PAIR, "multigraph": True, "edges": same}) == [["a", "b"]]
    other = [same[0], {**same[1], "x": 2}]
    assert refused({**PAIR, "multigraph": True, "edges": other}).at == "x.json: $.edges[1]"


@pytest.mark.parametrize(
    ("tables", "place", "expected"),
    [
        ([], "$", "an object"),
        ({}, "$", "the key `nodes`"),
        ({"nodes": []}, "$", "the key `edges`"),
        ({"nodes": {}, "edges": []}, "$.nodes", "a list"),
        ({"nodes": [], "edges": []}, "", "at least one node"),
        ({"nodes": ["a"], "edges": []}, "$.nodes[0]", "an object"),
        ({"nodes": [{"name": "a"}], "edges": []}, "$.nodes[0]", "the key `id`"),
        ({"nodes": [{"id": None}], "edges": []}, "$.nodes[0]", "a node id"),
        ({"nodes": [{"id": [0, 1]}], "edges": []}, "$.nodes[0]", "a node id"),
        ({"nodes": [{"id": 1}, {"id": "1"}], "edges": []}, "$.nodes[1]", "differ as text"),
        ({**PAIR, "edges": [{"source": "a"}]}, "$.edges[0]", "the key `target`"),
        ({**PAIR, "edges": 3}, "$.edges", "a list"),
        ({**PAIR, "links": PAIR["edges"], "edges": [7]}, "$.edges[0]", "an object"),
        ({**PAIR, "graph": []}, "$.graph", "an object"),
        ({**PAIR, "edges": [{"source": "a", "target": "c"}]}, "$.edges[0]", "a node of the"),
        ({**PAIR, "edges": [{"source": "a", "target": "a"}]}, "$.edges[0]", "two nodes"),
        ({**PAIR, "nodes": [{"id": "a", "address": "b:1"}]}, "$.nodes[0]", "tcp://HOST:PORT"),
    ],
)
def test_errors_name_the_place(tables: Any, place: str, expected: str) -> None:
    error = refused(tables)
    assert error.at == (f"x.json: {place}" if place else "x.json")
    assert expected in error.expected


@pytest.mark.parametrize(
    ("data", "place", "got"),
    [
        (b'{"nodes": [', "x.json: line 1, column 12", "Expecting value"),
        (b"", "x.json: line 1, column 1", "Expecting value"),
        (b'{"nodes":\n [}', "x.json: line 2, column 3", "Expecting value"),
        (b'{"a": "\xff"}', "x.json", "codec can't decode"),
        (b"[" * 200_000, "x.json", "nested too deeply"),
        (b'{"nodes": [' + b"9" * 5000 + b"]}", "x.json", "digits"),
    ],
)
def test_what_is_no_json_names_the_line(data: bytes, place: str, got: str) -> None:
    with pytest.raises(OverlayError) as caught:
        parse(data, "x.json")
    assert caught.value.at == place
    assert got in caught.value.got


def test_not_a_number_is_refused_where_it_stands() -> None:
    data = b'{"nodes": [{"id": "a"}, {"id": "b", "x": NaN}], "edges": []}'
    with pytest.raises(OverlayError, match=r"`x` = `nan`.*x.json: \$.nodes\[1\]"):
        assemble(parse(data, "x.json"), "x.json")
