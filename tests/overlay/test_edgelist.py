import io
from typing import Any

import networkx as nx
import pytest

from p2pgan.errors import OverlayError
from p2pgan.overlay.edgelist import parse, render
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.parts import assemble


def read(text: str | bytes) -> nx.Graph:
    data = text.encode() if isinstance(text, str) else text
    return assemble(parse(data, "x.edges"), "x.edges")


def refused(text: str | bytes) -> OverlayError:
    with pytest.raises(OverlayError) as caught:
        read(text)
    return caught.value


def test_a_plain_list_is_read_in_order_of_appearance() -> None:
    graph = read("# any comment\n\n2 1\n1 0  # and another\r\n\t3 2 \n")
    assert list(graph.nodes) == ["2", "1", "0", "3"]
    assert sorted(map(sorted, graph.edges)) == [["0", "1"], ["1", "2"], ["2", "3"]]


@pytest.mark.parametrize(
    ("rest", "attributes"),
    [
        ("", {}),
        ("{}", {}),
        ("{'latency_ms': 2.5, 'site': 'a b'}", {"latency_ms": 2.5, "site": "a b"}),
        ("{'x': 1} # why", {"x": 1}),
        ("2.5", {"weight": 2.5}),
        ("3", {"weight": 3}),
    ],
)
def test_attributes_follow_the_ids(rest: str, attributes: dict[str, Any]) -> None:
    assert read(f"a b {rest}").edges["a", "b"] == attributes


@pytest.mark.parametrize("data", [True, False])
def test_what_networkx_writes_is_read(data: bool) -> None:
    graph = nx.karate_club_graph()
    written = io.BytesIO()
    nx.write_edgelist(graph, written, data=data)
    again = read(written.getvalue())
    assert again.number_of_edges() == 78
    assert again.edges["0", "1"] == ({"weight": 4} if data else {})


def test_networkx_reads_what_we_write() -> None:
    graph = nx.Graph([("a", "b", {"note": "no. #1\\", "x": 2}), ("b", "c")])
    graph.add_node("lonely", address="tcp://h:1")
    again = nx.read_edgelist(io.BytesIO(render(Overlay("o", graph))))
    assert set(again.nodes) == {"a", "b", "c"}
    assert again.edges["a", "b"] == {"note": "no. #1\\", "x": 2}


def test_what_has_no_place_stands_in_comments() -> None:
    graph = nx.Graph()
    graph.add_nodes_from(["b", "a", "lonely"])
    graph.add_edge("a", "b", latency_ms=20.0)
    graph.nodes["a"]["address"] = "tcp://h:1"
    text = render(Overlay("o", graph)).decode()
    assert text.splitlines() == [
        "# p2pgan graph: {'name': 'o'}",
        "# p2pgan nodes: b a lonely",
        "# p2pgan node: a {'address': 'tcp://h:1'}",
        "b a {'latency_ms': 20.0}",
    ]
    again = read(text)
    assert list(again.nodes) == ["b", "a", "lonely"]
    assert again.nodes["a"] == {"address": "tcp://h:1"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("alone", "two node ids"),
        ("alone # for sure", "two node ids"),
        ("a b c", "attributes such as"),
        ("a b {'x': open('y')}", "attributes such as"),
        ("a b {'x': ", "attributes such as"),
        ("a b [1, 2]", "attributes such as"),
        ("a b True", "attributes such as"),
        ("a b {'\\d': 1", "attributes such as"),
        ("a b " + "(" * 5000, "attributes such as"),
        ("a b {{}: 1}", "attributes such as"),
        ("a b {1: 1}", "attributes of text"),
        ("a a", "an edge between two nodes"),
        ("# p2pgan graph: x", "attributes such as"),
        ("# p2pgan node: a {'address': 7}", "an address"),
    ],
)
def test_errors_name_the_line(line: str, expected: str) -> None:
    error = refused(f"x y\n{line}\n")
    assert expected in error.expected
    assert error.at in ("x.edges: line 2", "x.edges: node `a`")


def test_files_without_edges_or_text_are_refused() -> None:
    assert refused("# nothing\n").got == "an empty graph"
    assert refused(b"a \xff\xfe\n").expected == "text in UTF-8"


@pytest.mark.parametrize("node", ["node 1", "a#b"])
def test_ids_that_would_be_cut_are_not_written(node: str) -> None:
    overlay = Overlay("o", nx.Graph([(node, "b")]))
    with pytest.raises(OverlayError, match=f"`{node}` - at overlay `o`"):
        render(overlay)
