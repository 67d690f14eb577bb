"""Graphviz DOT, for drawing only: it is written, never read."""

import json
from collections.abc import Mapping
from typing import Any

from p2pgan.overlay.graph import Overlay


def render(overlay: Overlay) -> bytes:
    """The overlay as an undirected DOT graph; attributes become DOT's, as text."""
    lines = [f"graph {_quoted(overlay.name)} {{"]
    lines += [
        f"  {_quoted(node)}{_listed(attributes)};"
        for node, attributes in overlay.graph.nodes.items()
    ]
    lines += [
        f"  {_quoted(source)} -- {_quoted(target)}{_listed(attributes)};"
        for source, target, attributes in overlay.graph.edges(data=True)
    ]
    return ("\n".join([*lines, "}"]) + "\n").encode()


def _listed(attributes: Mapping[str, Any]) -> str:
    pairs = ", ".join(
        f"{_quoted(name)}={_quoted(value if isinstance(value, str) else json.dumps(value))}"
        for name, value in attributes.items()
    )
    return f" [{pairs}]" if pairs else ""


def _quoted(text: str) -> str:
    # In a quoted string of DOT only the quote itself needs escaping, and a last backslash.
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
