"""Stand-in."""

from collections.abc import Collection, Sequence

import networkx as nx

from p2pgan.overlay.graph import Overlay


def overlay_now(
    base: Overlay, joined: Sequence[tuple[int, str]], gone: Collection[str], *, mend: bool = True
) -> nx.Graph:
    """Stand-in."""
    graph = nx.Graph(base.graph)
    for _, node in joined:
        earlier = sorted(graph)[:2]
        graph.add_edges_from((node, other) for other in earlier)
    for node in sorted(gone):
        around = sorted(graph[node])
        graph.remove_node(node)
        if mend:
            graph.add_edges_from(zip(around, around[1:], strict=False))
    return graph
