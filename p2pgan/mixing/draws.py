"""Who hears from whom at an exchange.

A draw looks at the overlay's neighbors and a stream of randomness and returns arrivals: for each
node, the indices of the nodes whose vectors reach it. What a node does with them is the mixing
rule's matter (`p2pgan.mixing.rules`).
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from p2pgan.errors import OverlayError

Neighbors = Sequence[Sequence[int]]
"""For each node, the indices of its neighbors."""

Arrivals = Sequence[Sequence[int]]
"""For each node, the indices of the nodes that it hears from, none twice.

Where everyone hears from everyone, it is one `range(N)` for all. A node's own vector counts once,
whether its index is among them, as there, or not, as in all other draws."""

T = TypeVar("T")

Draw = Callable[[Neighbors, np.random.Generator], Arrivals]


def push_targets(
    neighbors: Sequence[T], fanout: int, rng: np.random.Generator, probability: float = 1.0
) -> list[T]:
    """The neighbors that one node pushes to: `fanout` distinct ones, uniformly, or all if fewer;
    none at all but for that probability.

    Daemons call this each for itself; the simulator calls it for every node.
    """
    if probability < 1 and rng.random() >= probability:
        return []
    count = min(fanout, len(neighbors))
    return [neighbors[i] for i in rng.choice(len(neighbors), count, replace=False)] if count else []


def push(fanout: int, probability: float = 1.0) -> Draw:
    """Every node pushes to `fanout` random neighbors with that probability, so a node may hear from
    none or several."""

    def draw(neighbors: Neighbors, rng: np.random.Generator) -> Arrivals:
        arrivals: list[list[int]] = [[] for _ in neighbors]
        for sender, around in enumerate(neighbors):
            for receiver in push_targets(around, fanout, rng, probability):
                arrivals[receiver].append(sender)
        return arrivals

    return draw


def permutation(*, fixed_points: bool) -> Draw:
    """A random permutation along the overlay's edges: each node sends to one and hears from one.

    In the thesis's experiments a node hears from one neighbor or from itself (section 4.1.2); that
    it also sends to exactly one is our reading. On a complete overlay all such permutations are
    equally likely. On others each allowed pair gets a random cost, and the cheapest permutation is
    taken: close to uniform but not exactly so (an exactly uniform draw means counting perfect
    matchings, which is #P-hard).

    Raises (from the draw):
        OverlayError: without fixed points, if the overlay has no such permutation, as a star has
            none.
    """

    def draw(neighbors: Neighbors, rng: np.random.Generator) -> Arrivals:
        nodes = len(neighbors)
        is_complete = all(len(around) == nodes - 1 for around in neighbors)
        if is_complete and (fixed_points or nodes > 1):
            sources = _any_permutation(nodes, rng, fixed_points=fixed_points)
        else:
            sources = _cheapest_permutation(neighbors, rng, fixed_points=fixed_points)
        return [[source] if source != node else [] for node, source in enumerate(sources)]

    return draw


def _any_permutation(nodes: int, rng: np.random.Generator, *, fixed_points: bool) -> list[int]:
    """One of all permutations, or of those that move everybody, each as likely as the others."""
    own_N = np.arange(nodes)
    while True:
        sources_N = rng.permutation(nodes)
        # About one permutation in e = 2.7 moves everybody, however many nodes there are.
        if fixed_points or not (sources_N == own_N).any():
            sources: list[int] = sources_N.tolist()
            return sources


def _cheapest_permutation(
    neighbors: Neighbors, rng: np.random.Generator, *, fixed_points: bool
) -> list[int]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    own = [[node] if fixed_points else [] for node in range(len(neighbors))]
    columns = [np.array([*own[i], *around], dtype=np.int64) for i, around in enumerate(neighbors)]
    rows_E = np.repeat(np.arange(len(neighbors)), [len(c) for c in columns])
    costs_E = rng.random(len(rows_E)) + 1e-9  # a stored zero would be no edge
    size = (len(neighbors), len(neighbors))
    try:
        graph = coo_array((costs_E, (rows_E, np.concatenate(columns))), size).tocsr()
        _, sources_N = min_weight_full_bipartite_matching(graph)
    except ValueError:
        raise OverlayError(
            expected="an overlay in which every node can hear from another at once",
            got="one without a permutation free of fixed points",
            at="exchange.fixed_points",
            hint="leave `exchange.fixed_points` true, or draw by `push`",
        ) from None
    return [int(source) for source in sources_N]


def matching(probability: float) -> Draw:
    """Pairs of neighbors, each node in one at most: in random order, every node without a partner
    asks with that probability one neighbor that has none either.

    As daemons do, where who has answered one is busy for the others.
    """

    def draw(neighbors: Neighbors, rng: np.random.Generator) -> Arrivals:
        arrivals: list[list[int]] = [[] for _ in neighbors]
        for node in rng.permutation(len(neighbors)).tolist():
            free = [other for other in neighbors[node] if not arrivals[other]]
            if free and not arrivals[node]:
                for other in push_targets(free, 1, rng, probability):
                    arrivals[node], arrivals[other] = [other], [node]
        return arrivals

    return draw


def everyone(neighbors: Neighbors, rng: np.random.Generator) -> Arrivals:
    """Every node hears from all, as when a coordinator sends the mean back."""
    del rng
    return [range(len(neighbors))] * len(neighbors)
