import io
from collections.abc import Callable
from typing import Any

import networkx as nx
import pytest

from p2pgan.errors import OverlayError
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.parts import Parts, assemble
from p2pgan.overlay.xml import parse_gexf, parse_graphml, render_gexf, render_graphml

GRAPHML = 'xmlns="http://graphml.graphdrawing.org/xmlns"'
GEXF = 'xmlns="http://www.gexf.net/1.2draft" version="1.2"'
Parse = Callable[[bytes, str], Parts]
both = pytest.mark.parametrize(
    ("parse", "render"), [(parse_graphml, render_graphml), (parse_gexf, render_gexf)]
)


def graphml(body: str, keys: str = "", edgedefault: str = "undirected") -> str:
    return f'<graphml {GRAPHML}>{keys}<graph edgedefault="{edgedefault}">{body}</graph></graphml>'


def gexf(nodes: str, edges: str = "", attributes: str = "", kind: str = "undirected") -> str:
    return (
        f'<gexf {GEXF}><graph defaultedgetype="{kind}">{attributes}'
        f"<nodes>{nodes}</nodes><edges>{edges}</edges></graph></gexf>"
    )


def read(parse: Parse, text: str | bytes) -> nx.Graph:
    return assemble(parse(text.encode() if isinstance(text, str) else text, "x.xml"), "x.xml")


def refused(parse: Parse, text: str | bytes) -> OverlayError:
    with pytest.raises(OverlayError) as caught:
        read(parse, text)
    return caught.value


@both
def test_types_of_attributes_come_back(parse: Parse, render: Callable[[Overlay], bytes]) -> None:
    attributes: dict[str, Any] = {
        "a": 1,
        "b": 1.0,
        "c": True,
        "d": "x <&> \"'\n",
        "e": "",
        "f": " ",
    }
    graph = nx.Graph([("u", "v", attributes)])
    graph.nodes["u"].update(attributes)
    again = read(parse, render(Overlay("o", graph)))
    for found in (again.nodes["u"], again.edges["u", "v"]):
        assert found == attributes
        assert {name: type(value) for name, value in found.items()} == {
            name: type(value) for name, value in attributes.items()
        }
    assert again.nodes["v"] == {}


@both
def test_name_and_description_come_back(parse: Parse, render: Callable[[Overlay], bytes]) -> None:
    graph = nx.empty_graph(1)
    graph.graph["description"] = "One <lonely> node & nothing else."
    again = read(parse, render(Overlay("alone", graph)))
    assert again.graph["name"] == "alone"
    assert again.graph["description"] == "One <lonely> node & nothing else."


@both
def test_none_and_ids_stay_behind(parse: Parse, render: Callable[[Overlay], bytes]) -> None:
    graph = nx.Graph([("a", "b", {"x": None, "id": "e7"})])
    graph.nodes["a"]["address"] = None
    again = read(parse, render(Overlay("o", graph)))
    assert again.edges["a", "b"] == {}
    assert again.nodes["a"] == {}


@both
@pytest.mark.parametrize(
    ("value", "expected"),
    [([1, 2], "text, numbers"), ({"x": 1}, "text, numbers"), ("\x01", "XML"), ("a\rb", "XML")],
)
def test_what_would_not_come_back_is_not_written(
    parse: Parse, render: Callable[[Overlay], bytes], value: object, expected: str
) -> None:
    del parse
    graph = nx.Graph([("a", "b", {"pos": value})])
    with pytest.raises(OverlayError, match=expected) as caught:
        render(Overlay("o", graph))
    assert "`pos` = " in caught.value.got
    assert caught.value.at == "overlay `o`: edge `a` - `b`"


@pytest.mark.parametrize("name", ["start", "viz", "pid", "key", "type", "spells"])
def test_names_that_gexf_keeps_are_not_written(name: str) -> None:
    overlay = Overlay("o", nx.Graph([("a", "b", {name: 3})]))
    with pytest.raises(OverlayError, match=f"`{name}` = `3`"):
        render_gexf(overlay)
    assert read(parse_graphml, render_graphml(overlay)).edges["a", "b"] == {name: 3}


def test_gexf_gives_each_attribute_one_type() -> None:
    graph = nx.Graph([("a", "b", {"x": 1, "y": 1}), ("b", "c", {"x": 1.5, "y": "two"})])
    graph.edges["a", "b"]["z"] = True
    graph.edges["b", "c"]["z"] = 0.5
    again = read(parse_gexf, render_gexf(Overlay("o", graph)))
    assert again.edges["a", "b"] == {"x": 1.0, "y": "1", "z": "true"}
    assert again.edges["b", "c"] == {"x": 1.5, "y": "two", "z": "0.5"}


def test_gexf_is_the_same_on_any_day() -> None:
    assert b"lastmodified" not in render_gexf(Overlay("o", nx.path_graph(2)))


def test_gexf_keeps_ids_where_labels_differ() -> None:
    text = gexf(
        '<node id="7" label="Ann"/><node id="8" label="8"/>', '<edge source="7" target="8"/>'
    )
    graph = read(parse_gexf, text)
    assert dict(graph.nodes(data=True)) == {"7": {"label": "Ann"}, "8": {}}


def test_graphml_of_networkx_is_read() -> None:
    written = io.BytesIO()
    nx.write_graphml(nx.les_miserables_graph(), written)
    graph = read(parse_graphml, written.getvalue())
    assert (len(graph), graph.number_of_edges()) == (77, 254)
    assert graph.edges["Napoleon", "Myriel"] == {"weight": 1}


def test_defaults_apply_where_nothing_else_is_said() -> None:
    keys = (
        '<key id="k" for="node" attr.name="site" attr.type="string"><default>here</default></key>'
        '<key id="l" for="edge" attr.name="ms" attr.type="double"><default>2</default></key>'
    )
    body = (
        '<node id="a"/><node id="b"><data key="k">there</data></node><edge source="a" target="b"/>'
    )
    graph = read(parse_graphml, graphml(body, keys))
    assert dict(graph.nodes(data="site")) == {"a": "here", "b": "there"}
    assert graph.edges["a", "b"] == {"ms": 2.0}


def test_an_edge_id_is_no_attribute() -> None:
    body = '<node id="a"/><node id="b"/><edge id="e0" source="a" target="b"/>'
    assert read(parse_graphml, graphml(body)).edges["a", "b"] == {}


def test_a_directed_graph_needs_both_directions() -> None:
    nodes = '<node id="a"/><node id="b"/>'
    there, back = '<edge source="a" target="b"/>', '<edge source="b" target="a"/>'
    both_ways = graphml(nodes + there + back, edgedefault="directed")
    assert read(parse_graphml, both_ways).number_of_edges() == 1
    one_way = graphml(nodes + there, edgedefault="directed")
    assert "`a` -> `b` without its reverse" in refused(parse_graphml, one_way).got
    assert "without its reverse" in refused(parse_gexf, gexf(nodes, there, kind="directed")).got


def test_only_the_first_graph_counts() -> None:
    one = '<graph edgedefault="undirected"><node id="a"/></graph>'
    other = '<graph edgedefault="undirected"><node id="b"/></graph>'
    assert list(read(parse_graphml, f"<graphml {GRAPHML}>{one}{other}</graphml>").nodes) == ["a"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("parse", [parse_graphml, parse_gexf])
def test_entities_are_refused_unexpanded(parse: Parse, encoding: str) -> None:
    """A few lines of them would fill the memory."""
    declared = encoding.replace("-be", "")
    text = f'<?xml version="1.0" encoding="{declared}"?><!DOCTYPE graphml [<!ENTITY a "ha">'
    for here, before in zip("bcdefghij", "abcdefghi", strict=True):
        text += f'<!ENTITY {here} "{f"&{before};" * 10}">'
    bomb = (text + f"]><graphml {GRAPHML}>&j;</graphml>").encode(encoding)
    error = refused(parse, bomb)
    assert error.expected == "XML without DOCTYPE and ENTITY declarations"
    assert error.got == "`<!DOCTYPE graphml`"


@pytest.mark.parametrize(
    ("text", "got", "place"),
    [
        ("", "no element found", "x.xml: line 1, column 1"),
        ("<a>\n<b></a>", "mismatched tag", "x.xml: line 2, column 6"),
        ("nodes: 3", "syntax error", "x.xml: line 1, column 1"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "unknown encoding", "x.xml"),
        ('<?xml version="1.0" encoding="utf-7"?><a/>', "multi-byte", "x.xml"),
    ],
)
@pytest.mark.parametrize("parse", [parse_graphml, parse_gexf])
def test_what_is_no_xml_names_the_place(parse: Parse, text: str, got: str, place: str) -> None:
    error = refused(parse, text)
    assert error.expected == "XML"
    assert got in error.got
    assert error.at.startswith(place)


@pytest.mark.parametrize(
    ("body", "got"),
    [
        ('<node id="a"/><node id="a"/>', "`a` again (first at x.xml: node 0)"),
        ('<node id="a"/><edge source="a" target="c"/>', "`c`"),
        ('<node id="a"/><edge source="a" target="a"/>', "a self loop at `a`"),
        ("", "an empty graph"),
        ('<node id="a"><data key="nokey">1</data></node>', "Bad GraphML data: no key nokey"),
        ("<node/>", "`{}`"),
        ("<hyperedge/>", "hyperedges"),
    ],
)
def test_graphml_that_cannot_serve(body: str, got: str) -> None:
    error = refused(parse_graphml, graphml(body))
    assert got in error.got
    assert error.at.startswith("x.xml")


def test_a_number_that_is_none_is_refused() -> None:
    keys = '<key id="k" for="node" attr.name="n" attr.type="int"/>'
    error = refused(parse_graphml, graphml('<node id="a"><data key="k">x</data></node>', keys))
    assert (error.expected, error.at) == ("a graph in GraphML", "x.xml")
    assert "'x'" in error.got


@pytest.mark.parametrize(
    ("nodes", "edges", "attributes", "got"),
    [
        ('<node id="a"/><node id="a"/>', "", "", "`a` again"),
        ('<node id="a"/>', '<edge source="a" target="c"/>', "", "`c`"),
        ('<node id="a"/>', '<edge source="a" target="a"/>', "", "a self loop at `a`"),
        ("", "", "", "an empty graph"),
        ("<node/>", "", "", "None cannot be a node"),
        ('<node id="a"/>', "", '<attributes class="other"/>', "No active exception"),
        (
            '<node id="a"><attvalues><attvalue for="9" value="1"/></attvalues></node>',
            "",
            "",
            "No attribute defined for=9",
        ),
    ],
)
def test_gexf_that_cannot_serve(nodes: str, edges: str, attributes: str, got: str) -> None:
    assert got in refused(parse_gexf, gexf(nodes, edges, attributes)).got


@pytest.mark.parametrize("parse", [parse_graphml, parse_gexf])
def test_other_xml_is_refused(parse: Parse) -> None:
    error = refused(parse, "<html><body/></html>")
    assert error.expected.startswith("a graph in G")
    assert error.at == "x.xml"
