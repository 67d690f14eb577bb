"""Edge lists: `u v` on each line, then the edge's attributes as networkx writes them.

The plain form has no place for node order, isolated nodes, addresses and a description. They stand
in comment lines, which other readers pass over:

    # p2pgan graph: {'name': 'pair', 'description': 'Two nodes.'}
    # p2pgan nodes: a b
    # p2pgan node: a {'address': 'tcp://127.0.0.1:5550'}
    a b {'latency_ms': 20.0}
"""

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from p2pgan.errors import OverlayError
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.parts import EdgePart, NodePart, Parts


def render(overlay: Overlay) -> bytes:
    """The overlay as an edge list.

    Raises:
        OverlayError: if an id has a space in it or a `#`, which would end it.
    """
    for node in overlay.nodes:
        if "#" in node or len(node.split()) != 1:
            raise OverlayError(
                expected="node ids without spaces and `#` in an edge list",
                got=f"`{node}`",
                at=f"overlay `{overlay.name}`",
                hint="write `.json`, `.graphml` or `.gexf`",
            )
    lines = [
        f"# p2pgan graph: {_literal(overlay.graph.graph)}",
        "# p2pgan nodes: " + " ".join(overlay.nodes),
    ]
    lines += [
        f"# p2pgan node: {node} {_literal(attributes)}"
        for node, attributes in overlay.graph.nodes.items()
        if attributes
    ]
    lines += [
        f"{source} {target} {_literal(attributes)}" if attributes else f"{source} {target}"
        for source, target, attributes in overlay.graph.edges(data=True)
    ]
    return ("\n".join(lines) + "\n").encode()


def parse(data: bytes, at: str) -> Parts:
    """The parts of an edge list; nodes come in the order in which they are first named.

    Raises:
        OverlayError: if a line is no edge; it names the line.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OverlayError(
            expected="text in UTF-8", got=f"another byte at offset {error.start}", at=at
        ) from None
    found = _Found()
    # Not `splitlines`, which also splits at characters that may stand in an attribute.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        found.read(line.strip(), f"{at}: line {number}")
    return Parts(found.graph, list(found.node_parts(at)), found.edges)


def _literal(attributes: dict[str, Any]) -> str:
    # networkx takes everything behind a `#` for a comment, even in the middle of a text.
    return repr(attributes).replace("#", r"\x23")


@dataclass
class _Found:
    graph: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    edges: list[EdgePart] = field(default_factory=list)

    def read(self, line: str, at: str) -> None:
        if line.startswith("#"):
            self._read_comment(line, at)
        elif line:
            self._read_edge(line, at)

    def node_parts(self, at: str) -> Iterator[NodePart]:
        for node, attributes in self.nodes.items():
            yield NodePart(node, attributes, f"{at}: node `{node}`")

    def _read_comment(self, line: str, at: str) -> None:
        kind, _, rest = line.removeprefix("#").strip().partition(":")
        if kind == "p2pgan graph":
            self.graph.update(_attributes(rest.strip(), at))
        elif kind == "p2pgan nodes":
            for node in rest.split():
                self.nodes.setdefault(node, {})
        elif kind == "p2pgan node":
            node, _, attributes = rest.strip().partition(" ")
            self.nodes.setdefault(node, {}).update(_attributes(attributes.strip(), at))

    def _read_edge(self, line: str, at: str) -> None:
        source, *others = line.split(None, 2)
        if not others or others[0].startswith("#"):
            raise OverlayError(expected="two node ids", got=f"`{line[:80]}`", at=at)
        attributes = _attributes(others[1], at) if len(others) > 1 else {}
        for node in (source, others[0]):
            self.nodes.setdefault(node, {})
        self.edges.append(EdgePart(source, others[0], attributes, at))


def _attributes(text: str, at: str) -> dict[str, Any]:
    """A dictionary as Python writes it, a single number as the weight, or nothing but a comment."""
    if not text or text.startswith("#"):
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"weight": value}
    if not isinstance(value, dict):
        raise OverlayError(
            expected="attributes such as `{'latency_ms': 20.0}`", got=f"`{text[:80]}`", at=at
        )
    return value
