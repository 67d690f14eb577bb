"""Node-link JSON, the form of ready overlays and of a run's `overlay.json`.

networkx has called the list of edges `links` and, since 3.4, `edges`; both are read, the latter is
written.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import networkx as nx

from p2pgan.errors import OverlayError
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.parts import EdgePart, NodePart, Parts, json_text

_OF_NODES = frozenset({"id"})
_OF_EDGES = frozenset({"source", "target", "key"})


def to_node_link(overlay: Overlay) -> dict[str, Any]:
    """The overlay as the dictionary of node-link JSON; all keys and ids are text."""
    tables: dict[str, Any] = nx.node_link_data(overlay.graph, edges="edges")
    # networkx puts ids behind the attributes, where nobody finds them.
    for rows in ("nodes", "edges"):
        tables[rows] = [dict(sorted(row.items(), key=_ids_first)) for row in tables[rows]]
    return tables


def _ids_first(item: tuple[str, Any]) -> bool:
    return item[0] not in ("id", "source", "target")


def parts_of(tables: object, at: str) -> Parts:
    """The parts of a node-link dictionary.

    Args:
        tables: what JSON gave; anything.
        at: the file, before `$` in errors.
    Raises:
        OverlayError: if something is missing or of another type.
    """
    root = _table(tables, f"{at}: $")
    edges = "links" if "edges" not in root and "links" in root else "edges"
    return Parts(
        attributes=_table(root.get("graph", {}), f"{at}: $.graph"),
        nodes=list(_nodes(root, at)),
        edges=list(_edges(root, edges, at)),
        directed=root.get("directed", False) is True,
    )


def parse(data: bytes, at: str) -> Parts:
    """The parts of a node-link JSON file.

    Raises:
        OverlayError: if it is no JSON, or as `parts_of`.
    """
    try:
        tables = json.loads(data)
    except json.JSONDecodeError as error:
        place = f"{at}: line {error.lineno}, column {error.colno}"
        raise OverlayError(expected="node-link JSON", got=error.msg, at=place) from None
    except (ValueError, RecursionError) as error:
        got = "values nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise OverlayError(expected="node-link JSON", got=got, at=at) from None
    return parts_of(tables, at)


def render(overlay: Overlay) -> bytes:
    """The overlay as a JSON file with a node or an edge on each line, to be read and compared."""
    tables = to_node_link(overlay)
    lines = [
        f'  "{key}": {_rows(value) if isinstance(value, list) else _json(value)}'
        for key, value in tables.items()
    ]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _rows(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "[]"
    return "[\n" + ",\n".join(f"    {_json(row)}" for row in rows) + "\n  ]"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _nodes(root: Mapping[str, Any], at: str) -> Iterator[NodePart]:
    for place, row in _listed(root, "nodes", at):
        yield NodePart(_key(row, "id", place), _without(row, _OF_NODES), place)


def _edges(root: Mapping[str, Any], name: str, at: str) -> Iterator[EdgePart]:
    # `key` tells parallel edges of a multigraph apart; in a simple graph it is an attribute.
    own = _OF_EDGES if root.get("multigraph") is True else _OF_EDGES - {"key"}
    for place, row in _listed(root, name, at):
        ends = _key(row, "source", place), _key(row, "target", place)
        yield EdgePart(*ends, _without(row, own), place)


def _listed(root: Mapping[str, Any], name: str, at: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    rows = _key(root, name, f"{at}: $")
    if not isinstance(rows, list):
        raise OverlayError(expected="a list", got=f"`{json_text(rows)}`", at=f"{at}: $.{name}")
    for index, row in enumerate(rows):
        place = f"{at}: $.{name}[{index}]"
        yield place, _table(row, place)


def _key(table: Mapping[str, Any], name: str, at: str) -> Any:
    if name not in table:
        keys = ", ".join(f"`{key}`" for key in list(table)[:10]) or "no key at all"
        raise OverlayError(expected=f"the key `{name}`", got=keys, at=at)
    return table[name]


def _table(value: object, at: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise OverlayError(expected="an object", got=f"`{json_text(value)}`", at=at)
    return value


def _without(row: Mapping[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in keys}
