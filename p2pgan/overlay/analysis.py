"""How well an overlay spreads what its nodes know.

Shape letters: N nodes, T trials.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from p2pgan.overlay.graph import Overlay

PUSH_TRIALS = 101
"""Odd, so that the median is a whole number of rounds."""

CONNECTIVITY_COST_MAX = 2_000_000
"""Flows times edges that the node connectivity may cost, some seconds; above, it is left out."""


@dataclass(frozen=True)
class OverlayStats:
    """What `p2pgan topology stats` shows. `None`: undefined while disconnected, or left out."""

    name: str
    nodes: int
    edges: int
    degree_min: int
    degree_mean: float
    degree_max: int
    components: int
    connected: bool
    diameter: int | None
    """Edges on the longest of all shortest paths."""
    connectivity: int | None
    """Nodes that must go before the rest falls apart; left out where it would take long."""
    clustering: float
    """Mean over nodes of the share of a node's neighbors' pairs that are joined."""
    spectral_gap: float
    """Of the Metropolis-Hastings matrix: 1 mixes in one round, 0 never."""
    push_rounds: float | None
    """Median rounds for a rumor to reach everybody by push."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, all of them JSON values."""
        return dataclasses.asdict(self)


def stats(overlay: Overlay, rng: np.random.Generator) -> OverlayStats:
    """The figures of an overlay.

    Args:
        overlay: connected or not.
        rng: for the trials of `push_rounds`.
    """
    graph = overlay.graph
    degrees = [degree for _, degree in graph.degree]
    components = nx.number_connected_components(graph)
    connected = components == 1
    return OverlayStats(
        name=overlay.name,
        nodes=len(overlay.nodes),
        edges=graph.number_of_edges(),
        degree_min=min(degrees),
        degree_mean=sum(degrees) / len(degrees),
        degree_max=max(degrees),
        components=components,
        connected=connected,
        diameter=nx.diameter(graph) if connected else None,
        connectivity=_connectivity(graph, connected),
        clustering=float(nx.average_clustering(graph)),
        spectral_gap=spectral_gap(metropolis_hastings(overlay)),
        push_rounds=push_rounds(overlay, rng),
    )


def metropolis_hastings(overlay: Overlay) -> npt.NDArray[np.float64]:
    """The mixing matrix `W[i, j] = 1 / (1 + max(d_i, d_j))` along edges, the rest on the diagonal.

    Returns:
        Shape (N, N), float64, symmetric, doubly stochastic, in node order.
    Source: the Metropolis-Hastings weights of Xiao, Boyd and Kim 2007, "Distributed average
    consensus with least-mean-square deviation".
    """
    degrees = [degree for _, degree in overlay.graph.degree]
    w_NN = np.zeros((len(degrees), len(degrees)))
    for i, peers in enumerate(overlay.neighbor_indices()):
        for j in peers:
            w_NN[i, j] = 1 / (1 + max(degrees[i], degrees[j]))
        w_NN[i, i] = 1 - w_NN[i].sum()
    return w_NN


def spectral_gap(w_NN: npt.NDArray[np.float64]) -> float:
    """`1 - |λ₂|`, by the second largest absolute eigenvalue; rounding below 0 is cut off.

    Args:
        w_NN: row-stochastic matrix, shape (N, N); symmetric ones are solved as such.
    Returns:
        From 0 (the nodes never agree, as when disconnected) to 1 (they agree in one round; N = 1).
    """
    if len(w_NN) == 1:
        return 1.0
    symmetric = np.allclose(w_NN, w_NN.T, rtol=0, atol=1e-12)
    values_N = np.linalg.eigvalsh(w_NN) if symmetric else np.linalg.eigvals(w_NN)
    gap = 1 - float(np.sort(np.abs(values_N))[-2])
    return gap if gap > 1e-12 else 0.0


def push_rounds(
    overlay: Overlay, rng: np.random.Generator, *, trials: int = PUSH_TRIALS
) -> float | None:
    """Median rounds until a rumor from a random node has reached everybody.

    In each round every node that knows it tells one neighbor drawn evenly; those who hear it tell
    from the next round on.

    Args:
        overlay: the graph that it spreads on.
        rng: draws starts and neighbors.
        trials: independent spreads, advanced together.
    Returns:
        The median over the trials; `None` if the overlay is disconnected.
    Source: the push rule of Frieze and Grimmett 1985, "The shortest-path problem for graphs with
    random arc-lengths", which studies the complete graph; here on any graph.
    """
    if not nx.is_connected(overlay.graph):
        return None
    count = len(overlay.nodes)
    if count == 1:
        return 0.0
    peers = overlay.neighbor_indices()
    degree_N = np.array([len(indices) for indices in peers])
    first_N = np.cumsum(degree_N) - degree_N
    peer_E = np.concatenate([np.array(indices) for indices in peers])
    knows_TN = np.zeros((trials, count), dtype=bool)
    knows_TN[np.arange(trials), rng.integers(count, size=trials)] = True
    rounds_T = np.zeros(trials)
    while len(unfinished := np.flatnonzero(~knows_TN.all(axis=1))):
        rounds_T[unfinished] += 1
        told_TN = peer_E[first_N + rng.integers(degree_N, size=(len(unfinished), count))]
        rows, tellers = np.nonzero(knows_TN[unfinished])
        knows_TN[unfinished[rows], told_TN[rows, tellers]] = True
    return float(np.median(rounds_T))


def _connectivity(graph: nx.Graph, connected: bool) -> int | None:
    """The node connectivity, unless its flows would take too long.

    networkx runs one flow for each stranger of a node of least degree, and one for each pair of
    its neighbors that are strangers.
    """
    if not connected:
        return 0
    _, node = min((degree, index) for index, (_, degree) in enumerate(graph.degree))
    lowest = list(graph)[node]
    degree = graph.degree[lowest]
    strangers = len(graph) - 1 - degree
    pairs = math.comb(degree, 2) - nx.triangles(graph, lowest)
    if (strangers + pairs) * graph.number_of_edges() > CONNECTIVITY_COST_MAX:
        return None
    value: int = nx.node_connectivity(graph)
    return value
