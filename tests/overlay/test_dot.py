import networkx as nx

from p2pgan.overlay.dot import render
from p2pgan.overlay.graph import Overlay


def test_nodes_edges_and_attributes_are_quoted() -> None:
    graph = nx.Graph([("a", 'b "2"', {"latency_ms": 2.5, "near": True})])
    graph.nodes["a"]["site"] = "C:\\"
    assert render(Overlay("two", graph)).decode() == (
        'graph "two" {\n'
        '  "a" ["site"="C:\\\\"];\n'
        '  "b \\"2\\"";\n'
        '  "a" -- "b \\"2\\"" ["latency_ms"="2.5", "near"="true"];\n'
        "}\n"
    )


def test_a_node_without_edges_is_there() -> None:
    assert render(Overlay("one", nx.empty_graph(1))).decode() == 'graph "one" {\n  "0";\n}\n'
