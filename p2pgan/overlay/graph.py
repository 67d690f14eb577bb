"""The overlay: the graph of who may talk to whom.

A thin frozen value around a networkx graph. Node ids are text, the order of the nodes is that of
the file or generator and decides every index (row `i` of a matrix `[N, P]` is `nodes[i]`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import networkx as nx

from p2pgan.errors import OverlayError, unknown_name
from p2pgan.overlay.addresses import check_address
from p2pgan.overlay.parts import assemble, json_text, take_apart

DEFAULT_NODES = 10
"""Nodes of an overlay when nobody says how many."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """A named undirected graph without self loops, with at least one node, unchangeable.

    Any networkx graph may be given; ids become text, and the graph is copied, checked and frozen.

    Raises:
        OverlayError: on construction, for what `parts.assemble` refuses.
    """

    name: str
    graph: nx.Graph

    def __post_init__(self) -> None:
        at = f"overlay `{self.name}`"
        graph = assemble(take_apart(self.graph, at), at)
        graph.graph = {"name": self.name} | graph.graph | {"name": self.name}
        object.__setattr__(self, "graph", graph)

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Ids in the order of the file or generator."""
        return tuple(self.graph.nodes)

    @property
    def description(self) -> str:
        """What the overlay is for, in a line; empty if nobody said."""
        return str(self.graph.graph.get("description", ""))

    @property
    def family(self) -> str:
        """The specification it was drawn by, such as `watts-strogatz:4,0.1`; empty if unknown."""
        return str(self.graph.graph.get("family", ""))

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return {node: index for index, node in enumerate(self.nodes)}

    def neighbors(self, node: str) -> tuple[str, ...]:
        """The peers that `node` may talk to, in node order.

        Raises:
            OverlayError: if there is no such node; the hint is the nearest id.
        """
        self._check_known(node)
        return tuple(sorted(self.graph[node], key=self._index.__getitem__))

    def neighbor_indices(self) -> tuple[tuple[int, ...], ...]:
        """For each node in order, the ascending indices of its neighbors into `nodes`."""
        return self._neighbor_indices

    @cached_property
    def _neighbor_indices(self) -> tuple[tuple[int, ...], ...]:
        index = self._index.__getitem__
        return tuple(tuple(sorted(map(index, self.graph[node]))) for node in self.nodes)

    def edge_numbers(self, name: str) -> dict[tuple[str, str], float]:
        """An attribute of every edge, such as `latency_s`, by its ends in either order.

        Raises:
            OverlayError: if an edge has none, or one that is no number.
        """
        numbers: dict[tuple[str, str], float] = {}
        for source, target, attributes in self.graph.edges(data=True):
            value = attributes.get(name)
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise OverlayError(
                    expected=f"a number as attribute `{name}` of every edge",
                    got=f"`{json_text(value)}`" if name in attributes else "none",
                    at=f"overlay `{self.name}`: edge `{source}` - `{target}`",
                )
            numbers[source, target] = numbers[target, source] = float(value)
        return numbers

    def address(self, node: str) -> str | None:
        """Where `node` listens, such as `tcp://10.0.0.3:5550`; `None` if the overlay says nothing.

        Raises:
            OverlayError: if there is no such node.
        """
        self._check_known(node)
        address: str | None = self.graph.nodes[node].get("address")
        return address

    def with_addresses(self, addresses: Mapping[str, str]) -> "Overlay":
        """The same overlay with these addresses; nodes that are not named keep theirs.

        Raises:
            OverlayError: for an unknown node, or an address that cannot be one or comes twice.
        """
        graph = nx.Graph(self.graph)
        for node, address in addresses.items():
            self._check_known(node)
            graph.nodes[node]["address"] = check_address(address, f"node `{node}`")
        return Overlay(self.name, graph)

    def first(self, count: int) -> "Overlay":
        """The subgraph on the first `count` nodes, with all edges among them.

        Raises:
            OverlayError: if `count` is below 1 or above the number of nodes.
        """
        at = f"overlay `{self.name}`"
        if count < 1:
            raise OverlayError(expected="at least 1 node", got=f"`{count}`", at=at)
        if count > len(self.nodes):
            raise OverlayError(
                expected=f"an overlay of at least {count} nodes",
                got=f"{len(self.nodes)} nodes",
                at=at,
                hint=f"ask for {len(self.nodes)} nodes or fewer, or take a larger overlay",
            )
        if count == len(self.nodes):
            return self
        kept = self.nodes[:count]
        graph = nx.Graph()
        # A part of a ring is no ring: what described the whole no longer holds.
        graph.graph["description"] = f"The first {count} nodes of {self.name}."
        graph.add_nodes_from((node, self.graph.nodes[node]) for node in kept)
        graph.add_edges_from(self.graph.subgraph(kept).edges(data=True))
        return Overlay(self.name, graph)

    def without(self, node: str) -> "Overlay":
        """The subgraph on all other nodes, perhaps in several pieces.

        Raises:
            OverlayError: if there is no such node, or no other.
        """
        self._check_known(node)
        if len(self.nodes) == 1:
            raise OverlayError(
                expected="other nodes", got=f"`{node}` alone", at=f"overlay `{self.name}`"
            )
        graph = nx.Graph(self.graph)
        graph.remove_node(node)
        return Overlay(self.name, graph)

    def with_hub(self, hub: str) -> "Overlay":
        """A star: the same nodes, each joined to a further one and to no other.

        Raises:
            OverlayError: if a node has that id already.
        """
        if hub in self._index:
            raise OverlayError(expected=f"no node `{hub}`", got="one", at=f"overlay `{self.name}`")
        graph = nx.Graph()
        graph.graph["description"] = f"The nodes of {self.name} around `{hub}`."
        graph.add_node(hub)
        graph.add_nodes_from(self.graph.nodes(data=True))
        graph.add_edges_from((hub, node) for node in self.nodes)
        return Overlay(self.name, graph)

    def components(self) -> list[tuple[str, ...]]:
        """The connected pieces, each in node order, in the order of their first nodes."""
        pieces = (sorted(piece, key=self._index.__getitem__) for piece in self._pieces())
        return sorted(map(tuple, pieces), key=lambda piece: self._index[piece[0]])

    def _pieces(self) -> Iterable[set[str]]:
        pieces: Iterable[set[str]] = nx.connected_components(self.graph)
        return pieces

    def check_connected(self) -> None:
        """Does nothing if every node can be reached from every other.

        Raises:
            OverlayError: if not; it names the components, shortened where they are many or long.
        """
        components = self.components()
        if len(components) > 1:
            again = "draw with another seed, " if self.family else ""
            raise OverlayError(
                expected="a connected overlay",
                got=f"{len(components)} components: {_shortened_components(components)}",
                at=f"overlay `{self.name}`",
                hint=f"{again}add edges, or pass `--allow-disconnected`",
            )

    def _check_known(self, node: str) -> None:
        if node not in self._index:
            at = f"overlay `{self.name}`"
            raise unknown_name(OverlayError, "a node id", node, self.nodes, at)


_SHOWN = 5


def _shortened_components(components: list[tuple[str, ...]]) -> str:
    shown = "; ".join(_shortened(component) for component in components[:_SHOWN])
    return shown + (f"; … {len(components) - _SHOWN} more" if len(components) > _SHOWN else "")


def _shortened(component: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{node}`" for node in islice(component, _SHOWN))
    return shown + (f", … ({len(component)} nodes)" if len(component) > _SHOWN else "")
