"""The nodes and edges of an overlay as a file or a graph gives them, and the checks they must pass.

Every reader turns its file into `Parts`, in which each node and edge knows its place; `assemble`
holds the one list of rules, so that every format refuses the same things in the same words.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import networkx as nx

from p2pgan.errors import OverlayError, unknown_name
from p2pgan.overlay.addresses import check_address

Attributes = Mapping[str, Any]

ID_LENGTH_MAX = 64
"""Characters of a node id: it names a directory of the run and travels in every message."""

_ID_REFUSED = re.compile(r"^\.|^\s|\s$|[/\\]")


@dataclass(frozen=True)
class NodePart:
    """A node as it was found: its id in whatever type, and its place for errors."""

    id: object
    attributes: Attributes
    at: str


@dataclass(frozen=True)
class EdgePart:
    """An edge as it was found: its ends in whatever type, and its place for errors."""

    source: object
    target: object
    attributes: Attributes
    at: str


@dataclass(frozen=True)
class Parts:
    """A graph taken apart. In a directed one, each edge must come in both directions."""

    attributes: Attributes
    nodes: Iterable[NodePart]
    edges: Iterable[EdgePart]
    directed: bool = False


def take_apart(graph: nx.Graph, at: str) -> Parts:
    """The parts of any networkx graph; multigraphs give each parallel edge."""
    return Parts(
        attributes=graph.graph,
        nodes=[NodePart(node, data, f"{at}: node `{node}`") for node, data in graph.nodes.items()],
        edges=[
            EdgePart(source, target, data, f"{at}: edge `{source}` - `{target}`")
            for source, target, data in graph.edges(data=True)
        ],
        directed=graph.is_directed(),
    )


def assemble(parts: Parts, at: str) -> nx.Graph:
    """A frozen undirected graph with text ids, of parts that pass every check.

    An edge that is listed again, in either direction, must say the same, and counts once.

    Args:
        parts: what was found.
        at: the file or the overlay's name, for errors.
    Raises:
        OverlayError: for no nodes, an id that is no id or comes twice, an edge to an unknown node
            or to itself, a repeated edge with other attributes, a one-way edge in a directed graph,
            an attribute that JSON cannot hold, or an address that cannot be one or comes twice.
    """
    graph = nx.Graph()
    graph.graph.update(_checked_attributes(parts.attributes, at))
    _add_nodes(graph, parts.nodes)
    if not graph:
        raise OverlayError(expected="at least one node", got="an empty graph", at=at)
    arcs = _add_edges(graph, parts.edges)
    if parts.directed:
        _check_symmetric(arcs)
    return nx.freeze(graph)


def _add_nodes(graph: nx.Graph, nodes: Iterable[NodePart]) -> None:
    places: dict[str, str] = {}
    owners: dict[str, str] = {}
    for part in nodes:
        node = _checked_id(part.id, part.at)
        if node in places:
            raise OverlayError(
                expected="node ids that differ as text",
                got=f"`{node}` again (first at {places[node]})",
                at=part.at,
            )
        places[node] = part.at
        attributes = _checked_attributes(part.attributes, part.at, ("id",))
        if attributes.get("address") is not None:
            address = check_address(attributes["address"], part.at)
            if owners.setdefault(address, node) != node:
                raise OverlayError(
                    expected="an address of the node's own",
                    got=f"`{address}`, which is that of node `{owners[address]}`",
                    at=part.at,
                )
        graph.add_nodes_from([(node, attributes)])


def _add_edges(graph: nx.Graph, edges: Iterable[EdgePart]) -> dict[tuple[str, str], str]:
    """Adds the edges; returns the place of each as it was written, from source to target."""
    arcs: dict[tuple[str, str], str] = {}
    for part in edges:
        source, target = (_known_end(graph, end, part.at) for end in (part.source, part.target))
        if source == target:
            raise OverlayError(
                expected="an edge between two nodes",
                got=f"a self loop at `{source}`",
                at=part.at,
            )
        attributes = _checked_attributes(part.attributes, part.at, ("source", "target"))
        if graph.has_edge(source, target) and graph.edges[source, target] != attributes:
            first = arcs.get((source, target)) or arcs[target, source]
            raise OverlayError(
                expected=f"the attributes of this edge as at {first}: "
                f"`{dict(graph.edges[source, target])}`",
                got=f"`{attributes}` for `{source}` - `{target}`",
                at=part.at,
                hint="an overlay has one undirected edge between two nodes",
            )
        arcs.setdefault((source, target), part.at)
        graph.add_edges_from([(source, target, attributes)])
    return arcs


def _check_symmetric(arcs: Mapping[tuple[str, str], str]) -> None:
    for (source, target), at in arcs.items():
        if (target, source) not in arcs:
            raise OverlayError(
                expected="an undirected graph, or each edge in both directions",
                got=f"a directed edge `{source}` -> `{target}` without its reverse",
                at=at,
                hint="save the graph as undirected",
            )


def _known_end(graph: nx.Graph, end: object, at: str) -> str:
    node = _checked_id(end, at)
    if node not in graph:
        raise unknown_name(OverlayError, "a node of the overlay", node, graph.nodes, at)
    return node


def is_id(text: str) -> bool:
    """Whether a node can be named so."""
    fits = text.isprintable() and not _ID_REFUSED.search(text)
    return fits and 1 <= len(text) <= ID_LENGTH_MAX


def _checked_id(given: object, at: str) -> str:
    if type(given) is not bool and isinstance(given, str | Real) and is_id(str(given)):
        return str(given)
    raise OverlayError(
        expected=f"a node id of 1 to {ID_LENGTH_MAX} printable characters, "
        "no slash and no dot or space at its start",
        got=f"`{json_text(given)}`",
        at=at,
    )


def _checked_attributes(
    attributes: Attributes, at: str, reserved: tuple[str, ...] = ()
) -> dict[str, Any]:
    for name, value in attributes.items():
        try:
            if not isinstance(name, str):
                raise TypeError(f"the name {name!r} is no text")
            if name in reserved:
                raise ValueError("node-link JSON needs the name for itself")
            json.dumps({name: value}, allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise OverlayError(
                expected="attributes of text, finite numbers, true, false or lists of them",
                got=f"`{name}` = `{str(value)[:80]}` ({error})",
                at=at,
            ) from None
    return dict(attributes)


def json_text(value: object) -> str:
    """A value as JSON for an error, shortened; its type's name where JSON cannot hold it."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 80 else text[:79] + "…"
