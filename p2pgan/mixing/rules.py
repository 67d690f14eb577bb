"""What a node does with the vectors that reach it.

A rule says with which weights a node averages its own vector and the arrivals. Everything else is
`W X`: the simulator applies the rule to all nodes at once, a daemon to its own row.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from p2pgan.mixing.draws import Arrivals


def arrival_weight(arrivals: int) -> float:
    """Weight of each arrival, and of the own vector, when so many arrived: `1 / (1 + arrivals)`.

    One arrival is the thesis's pairwise average (section 4.1.2); none leaves the vector as it is;
    all others is the coordinator's mean. With several, the uniform mean is our choice: it does not
    depend on the order in which they came.
    """
    return 1.0 / (1 + arrivals)


def mixing_matrix(arrivals: Arrivals) -> np.ndarray:
    """`W` of an exchange, `(N, N)` float64, rows summing to 1: `X <- W X` mixes all nodes.

    Identity without arrivals, `(I + P_σ) / 2` for a permutation, `11ᵀ / n` for everyone.
    """
    w_NN = np.zeros((len(arrivals), len(arrivals)))
    for node, sources in enumerate(arrivals):
        w_NN[node, [node, *sources]] = arrival_weight(len(sources))
    return w_NN


def mix(w_NN: np.ndarray, vectors_NP: Tensor) -> None:
    """`X <- W X` in place, for vectors `(N, P)`; rows that stay as they are are not touched.

    Equal rows of `W` are computed once, so that a coordinator's mean costs one average, not N.
    """
    moved = np.flatnonzero((w_NN != np.eye(len(w_NN))).any(axis=1))
    if not len(moved):
        return
    rows_MN, row_of = np.unique(w_NN[moved], axis=0, return_inverse=True)
    mixed_MP = torch.stack([_average(row_N, vectors_NP) for row_N in rows_MN])
    index = torch.from_numpy(moved).to(vectors_NP.device)
    vectors_NP[index] = mixed_MP[torch.from_numpy(row_of.ravel()).to(vectors_NP.device)]


def _average(w_N: np.ndarray, vectors_NP: Tensor) -> Tensor:
    """One row of `W X`, of the vectors that have a weight only.

    Less work than the whole product, and a node whose training has diverged reaches those alone who
    hear from it: a weight of 0 times infinity would be no number, at every node.
    """
    sources = np.flatnonzero(w_N)
    weights = torch.from_numpy(w_N[sources]).to(vectors_NP)
    if len(sources) < len(w_N):
        vectors_NP = vectors_NP[torch.from_numpy(sources).to(vectors_NP.device)]
    return weights @ vectors_NP


def merge(own_P: Tensor, arrivals: Sequence[Tensor]) -> None:
    """A daemon's share of `mix`: its own vector `(P,)` averaged in place with what arrived."""
    stacked = torch.stack([own_P, *arrivals])
    w_NN = np.eye(len(stacked))
    w_NN[0] = arrival_weight(len(arrivals))
    mix(w_NN, stacked)
    own_P.copy_(stacked[0])


def consensus_distance(vectors_NP: Tensor) -> float:
    """`sqrt(1/n Σ ‖x_i - x̄‖²)`: how far the nodes are from agreeing; 0 if they all agree."""
    centred = vectors_NP.double() - vectors_NP.double().mean(0)
    return float(centred.square().sum(1).mean().sqrt())
