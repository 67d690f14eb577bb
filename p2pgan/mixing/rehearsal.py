"""How many rounds a last step takes, found by playing its draw on the overlay beforehand.

Everybody knows the overlay and the seed, and so comes to the same number without a word. Bounds by
diameter and degree hold for every overlay, and are far too large for most.

Shape letters: N nodes, K things that spread or are averaged.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from p2pgan.mixing.draws import Arrivals, Draw, Neighbors
from p2pgan.mixing.rules import mixing_rows

TRIALS_MAX = 32
TRIALS_MIN = 3
AVERAGING_TRIALS = 8
"""At most for averages, which come about by many small steps and vary little."""

NODE_ROUNDS = 200_000
"""Nodes times rounds that are played before the trials end, beyond the first `TRIALS_MIN`: some
seconds. Those are played however long they take: minutes on a star of 1,000, where each is 2,000
rounds of 15 to 25 ms."""

COLUMNS = 64
"""K: things followed at once."""

MARGIN = 1.5
"""Rounds beyond those of the slowest trial: the real one may be slower than all of them."""

ROUNDS_MAX = 2000
"""Where a star of thousands would take days; the step then ends without having come so far."""

AVERAGING_FACTOR = 1000.0
"""What the consensus distance is divided by when averaging ends."""


def spreading_rounds(draw: Draw, neighbors: Neighbors, rng: np.random.Generator) -> int:
    """Rounds in which what any node knows reaches all that a path leads to.

    The slowest of `TRIALS_MIN` to `TRIALS_MAX` trials that follow up to `COLUMNS` things each, and
    half as many again, at most `ROUNDS_MAX`.

    Args:
        draw: who hears from whom.
        neighbors: the overlay.
        rng: for the draws, and where the things start.
    """
    nodes = len(neighbors)
    pieces_N = _pieces(neighbors)

    def play() -> int:
        starts_K = rng.permutation(nodes)[:COLUMNS]
        knows_NK = np.zeros((nodes, len(starts_K)), dtype=bool)
        knows_NK[starts_K, np.arange(len(starts_K))] = True
        target_NK = pieces_N[:, None] == pieces_N[starts_K]
        for round_ in range(ROUNDS_MAX):
            if (knows_NK == target_NK).all():
                return round_
            receivers, sources = _pairs(draw(neighbors, rng))
            heard_NK = np.zeros_like(knows_NK)
            np.logical_or.at(heard_NK, receivers, knows_NK[sources])
            knows_NK |= heard_NK
        return ROUNDS_MAX

    return min(ROUNDS_MAX, math.ceil(MARGIN * _slowest(play, nodes, TRIALS_MAX)))


def averaging_rounds(draw: Draw, neighbors: Neighbors, rng: np.random.Generator) -> int:
    """Rounds of averaging that divide the consensus distance by `AVERAGING_FACTOR`.

    The slowest of some trials with normal vectors, at most `ROUNDS_MAX`. For a draw of doubly
    stochastic matrices the spectral gap would tell as much; a push's do not keep the mean. Nodes
    that no path joins are not expected to agree.

    Args:
        as `spreading_rounds`.
    """
    nodes = len(neighbors)
    pieces_N = _pieces(neighbors)

    def play() -> int:
        values_NK = rng.normal(size=(nodes, COLUMNS))
        wanted = _distance(values_NK, pieces_N) / AVERAGING_FACTOR
        for round_ in range(ROUNDS_MAX):
            if _distance(values_NK, pieces_N) <= wanted:
                return round_
            rows = mixing_rows(draw(neighbors, rng))
            values_NK = (rows.w_MN @ values_NK)[rows.row_of_N]
        return ROUNDS_MAX

    return _slowest(play, nodes, AVERAGING_TRIALS)


def _slowest(play: Callable[[], int], nodes: int, most: int) -> int:
    """The most rounds of several trials, fewer of them where they take long."""
    taken: list[int] = []
    while len(taken) < TRIALS_MIN or (len(taken) < most and sum(taken) * nodes < NODE_ROUNDS):
        taken.append(play())
    return max(taken)


def _pieces(neighbors: Neighbors) -> np.ndarray:
    """For each node, which connected piece of the overlay it is in."""
    rows = np.repeat(np.arange(len(neighbors)), [len(around) for around in neighbors])
    columns = np.array([peer for around in neighbors for peer in around], dtype=np.int64)
    edges = csr_array((np.ones(len(rows)), (rows, columns)), (len(neighbors), len(neighbors)))
    pieces_N: np.ndarray = connected_components(edges, directed=False)[1]
    return pieces_N


def _pairs(arrivals: Arrivals) -> tuple[np.ndarray, np.ndarray]:
    """Receivers and senders, one of each for every arrival."""
    receivers = np.repeat(np.arange(len(arrivals)), [len(sources) for sources in arrivals])
    sources = np.array([source for sources in arrivals for source in sources], dtype=np.int64)
    return receivers, sources


def _distance(values_NK: np.ndarray, pieces_N: np.ndarray) -> float:
    """How far the nodes are from the mean of their piece, over all of them."""
    sums = np.zeros((pieces_N.max() + 1, values_NK.shape[1]))
    np.add.at(sums, pieces_N, values_NK)
    means = sums / np.bincount(pieces_N)[:, None]
    return float(np.sqrt(np.square(values_NK - means[pieces_N]).sum()))
