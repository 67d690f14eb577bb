"""GraphML and GEXF, by networkx, with what it leaves undone.

On reading: documents that declare entities are refused before they are parsed (a few lines of them
expand to gigabytes), edges to unknown nodes are errors instead of new nodes, and default values
apply. On writing: `None` is left out, attributes named `id` stay behind (ids belong to the format),
and what would come back as something else is an error. GEXF has no attributes of the whole graph:
the name stands where GEXF has it and the description in the document's `meta`, the rest is lost;
its `weight` is always a float and its `label` a text.
"""

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import networkx as nx

from p2pgan.errors import OverlayError
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.parts import EdgePart, NodePart, Parts, json_text, take_apart

_NOT_XML = re.compile("[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DEFAULTS = ("node_default", "edge_default")
_GEXF_OWN = frozenset(
    {"start", "end", "pid", "viz", "parents", "spells", "slices", "type", "key", "networkx_key"}
)
"""Attributes that GEXF, or networkx in it, takes for something of its own."""

_MALFORMED = (
    nx.NetworkXException,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
)
"""What networkx raises for documents that are XML and yet not what they should be."""


def parse_graphml(data: bytes, at: str) -> Parts:
    """The parts of the first graph of a GraphML document.

    Raises:
        OverlayError: if it is no GraphML that an overlay can be made of.
    """
    root = _document(data, at)
    graph = _by_networkx(nx.read_graphml, data, "GraphML", at)
    return _parts(graph, _ids(root, at), at)


def parse_gexf(data: bytes, at: str) -> Parts:
    """The parts of a GEXF document; node ids are its ids, not its labels.

    Raises:
        OverlayError: if it is no GEXF that an overlay can be made of.
    """
    root = _document(data, at)
    graph = _by_networkx(nx.read_gexf, data, "GEXF", at)
    graph.graph.pop("mode", None)
    for node, attributes in graph.nodes.items():
        if attributes.get("label") in (None, node):
            attributes.pop("label", None)
    description = root.find("./{*}meta/{*}description")
    if description is not None and description.text:
        graph.graph["description"] = description.text
    return _parts(graph, _ids(root, at), at)


def render_graphml(overlay: Overlay) -> bytes:
    """The overlay as GraphML.

    Raises:
        OverlayError: if an attribute cannot be written.
    """
    written = io.BytesIO()
    nx.write_graphml_xml(_writable(overlay, "GraphML", frozenset(_DEFAULTS)), written)
    return written.getvalue() + b"\n"


def render_gexf(overlay: Overlay) -> bytes:
    """The overlay as GEXF 1.2.

    Raises:
        OverlayError: if an attribute cannot be written.
    """
    graph = _writable(overlay, "GEXF", _GEXF_OWN)
    for attributes in (graph.nodes, graph.edges):
        _unify_types(list(attributes.values()))
    written = io.BytesIO()
    nx.write_gexf(graph, written)
    # The same overlay gives the same file on any day.
    data = re.sub(rb' lastmodifieddate="[^"]*"', b"", written.getvalue(), count=1)
    description = escape(overlay.description).encode()
    meta = (
        b"  <description>%s</description>\n  </meta>" % description if description else b"</meta>"
    )
    return data.replace(b"</meta>", meta, 1) + b"\n"


def _unify_types(rows: list[dict[str, Any]]) -> None:
    """Gives each attribute one type over all rows: GEXF declares it once.

    Whole numbers among others become floats, any other mixture text.
    """
    kinds: dict[str, set[type]] = {}
    for row in rows:
        for name, value in row.items():
            kinds.setdefault(name, set()).add(type(value))
    for row in rows:
        for name, value in row.items():
            if kinds[name] == {int, float}:
                row[name] = float(value)
            elif len(kinds[name]) > 1:
                row[name] = value if isinstance(value, str) else json_text(value)


class _Builder(ET.TreeBuilder):
    """Builds the tree of a document that has no document type, hence no entities of its own.

    The parser reports the type before it reads the declarations in it, whatever the encoding.
    """

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise OverlayError(
            expected="XML without DOCTYPE and ENTITY declarations",
            got=f"`<!DOCTYPE {name}`",
            at=self._at,
            hint="save the graph again without a document type",
        )


def _document(data: bytes, at: str) -> ET.Element:
    parser = ET.XMLParser(target=_Builder(at))
    try:
        parser.feed(data)
        root: ET.Element = parser.close()
    except ET.ParseError as error:
        line, column = error.position
        raise OverlayError(
            expected="XML",
            got=str(error).partition(":")[0],
            at=f"{at}: line {line}, column {column + 1}",
        ) from None
    except (ValueError, LookupError) as error:  # an encoding that the parser does not have
        raise OverlayError(expected="XML", got=str(error), at=at) from None
    return root


def _by_networkx(read: Any, data: bytes, form: str, at: str) -> nx.Graph:
    try:
        with warnings.catch_warnings():  # of things that an overlay does not need
            warnings.simplefilter("ignore", UserWarning)
            return read(io.BytesIO(data))
    except _MALFORMED as error:
        got = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise OverlayError(expected=f"a graph in {form}", got=got or "none", at=at) from None


def _ids(root: ET.Element, at: str) -> list[NodePart]:
    """Every node that is declared, in order; networkx also makes nodes of what edges name."""
    graph = root.find("./{*}graph")
    assert graph is not None, "networkx has found one"
    nodes = (element for element in graph.iter() if element.tag.rpartition("}")[2] == "node")
    return [NodePart(_id(node, at), {}, f"{at}: node {i}") for i, node in enumerate(nodes)]


def _id(node: ET.Element, at: str) -> str:
    if "id" not in node.attrib:
        raise OverlayError(expected="an `id` for every node", got=f"`{node.attrib}`", at=at)
    return node.attrib["id"]


def _parts(graph: nx.Graph, declared: Iterable[NodePart], at: str) -> Parts:
    defaults = {scope: graph.graph.pop(scope, {}) for scope in _DEFAULTS}
    found = take_apart(graph, at)
    return Parts(
        attributes=found.attributes,
        nodes=[
            NodePart(part.id, _own(defaults["node_default"], graph.nodes.get(part.id, {})), part.at)
            for part in declared
        ],
        edges=[
            EdgePart(
                part.source, part.target, _own(defaults["edge_default"], part.attributes), part.at
            )
            for part in found.edges
        ],
        directed=found.directed,
    )


def _own(defaults: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**defaults, **attributes}.items() if name != "id"}


def _writable(overlay: Overlay, form: str, reserved: frozenset[str]) -> nx.Graph:
    """A copy with nothing in it that would not come back."""
    graph = nx.Graph(overlay.graph)
    if form == "GEXF":
        graph.graph = {"name": overlay.name, "description": overlay.description}
    for at, attributes in _places(graph, f"overlay `{overlay.name}`"):
        for name, value in list(attributes.items()):
            if value is None or name == "id":
                del attributes[name]
            elif name in reserved:
                raise _unwritable(f"attributes of names that {form} keeps free", name, value, at)
            elif not isinstance(value, str | int | float):
                raise _unwritable(f"text, numbers, true or false in {form}", name, value, at)
            elif _NOT_XML.search(name) or (isinstance(value, str) and _NOT_XML.search(value)):
                raise _unwritable("characters that XML can hold", name, value, at)
    return graph


def _places(graph: nx.Graph, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield at, graph.graph
    for node, attributes in graph.nodes.items():
        yield f"{at}: node `{node}`", attributes
    for (source, target), attributes in graph.edges.items():
        yield f"{at}: edge `{source}` - `{target}`", attributes


def _unwritable(expected: str, name: str, value: object, at: str) -> OverlayError:
    return OverlayError(
        expected=expected,
        got=f"`{name}` = `{json_text(value)}`",
        at=at,
        hint="write `.json`, or leave the attribute out",
    )
