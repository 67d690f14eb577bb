"""What a node does with the vectors that reach it.

A rule says with which weights a node averages its own vector and the arrivals. Everything else is
`W X`: the simulator applies the rule to all nodes at once, a daemon to its own row.

`W` is sparse, as a node hears from few others, and equal rows are held once (`Rows`): a
coordinator's mean is one row for everybody, and costs one average.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn.functional import embedding_bag

from p2pgan.mixing.draws import Arrivals

VALUES_AT_ONCE = 4_000_000
"""Bounds what mixing needs beside the vectors, to a few parts of 16 MB.

Larger parts cost more memory and, from 32 MiB on, come fresh from the system each time, which took
longer than the mixing itself; in smaller ones the rows of a part lie far apart and little of each
is used. Both were measured on 10,000 vectors of 54,000 values.
"""


DIFFERENCE_SHARE = 0.5
"""Of a difference that is added: two nodes that have not changed meanwhile meet in the middle."""


class Rows(NamedTuple):
    """A matrix with equal rows held once: row `i` is row `row_of_N[i]` of `w_MN`."""

    w_MN: csr_array
    row_of_N: np.ndarray


def arrival_weight(arrivals: int) -> float:
    """Weight of each arrival, and of the own vector, when so many arrived: `1 / (1 + arrivals)`.

    One arrival is the thesis's pairwise average (section 4.1.2); none leaves the vector as it is;
    all others is the coordinator's mean. With several, the uniform mean is our choice: it does not
    depend on the order in which they came.
    """
    return 1.0 / (1 + arrivals)


def shares(own: float, weights: Sequence[float]) -> np.ndarray:
    """Weights of the own vector and of arrivals, divided by their sum; float64.

    Any number may be far smaller than another, as long as one is not 0.
    """
    weights_M = np.array([own, *weights], dtype=np.float64)
    weights_M /= weights_M.max()
    scaled_M: np.ndarray = weights_M / weights_M.sum()
    return scaled_M


def mixing_rows(arrivals: Arrivals) -> Rows:
    """`W` of an exchange, float64, rows summing to 1: `X <- W X` mixes all nodes.

    Identity without arrivals, `(I + P_σ) / 2` for a permutation, `11ᵀ / n` for everyone: that is
    one row of `n` weights, whatever `n`.
    """
    row_of_N = np.empty(len(arrivals), dtype=np.int64)
    known: dict[Sequence[int], int] = {}
    for node, sources in enumerate(arrivals):
        # A range is its own key: nodes that all hear from everyone are not listed for each.
        is_listed = not (isinstance(sources, range) and node in sources)
        present = tuple(sorted({node, *sources})) if is_listed else sources
        row_of_N[node] = known.setdefault(present, len(known))
    counts_M = [len(present) for present in known]
    starts = np.concatenate([[0], np.cumsum(counts_M, dtype=np.int64)])
    columns = np.concatenate([np.asarray(present, dtype=np.int64) for present in known])
    weights = np.repeat([arrival_weight(count - 1) for count in counts_M], counts_M)
    w_MN = csr_array((weights, columns, starts), shape=(len(known), len(arrivals)))
    return Rows(w_MN, row_of_N)


def copying_rows(sources_N: Sequence[int]) -> Rows:
    """`W` by which node `i` takes the vector of node `sources_N[i]` in place of its own."""
    taken, row_of_N = np.unique(np.asarray(sources_N, dtype=np.int64), return_inverse=True)
    starts = np.arange(len(taken) + 1)
    shape = (len(taken), len(sources_N))
    return Rows(csr_array((np.ones(len(taken)), taken, starts), shape=shape), row_of_N.ravel())


def unique_rows(w_NN: csr_array) -> Rows:
    """A matrix with equal rows held once, in the order in which they first come."""
    w_NN = csr_array(w_NN, copy=True)
    w_NN.sum_duplicates()
    w_NN.eliminate_zeros()  # a stored zero would let a vector that is no number through
    known: dict[tuple[bytes, bytes], int] = {}
    first: list[int] = []
    row_of_N = np.empty(w_NN.shape[0], dtype=np.int64)
    for i, (start, end) in enumerate(zip(w_NN.indptr, w_NN.indptr[1:], strict=False)):
        key = w_NN.indices[start:end].tobytes(), w_NN.data[start:end].tobytes()
        if key not in known:
            known[key] = len(first)
            first.append(i)
        row_of_N[i] = known[key]
    return Rows(w_NN[first], row_of_N)


@torch.no_grad()
def mix(rows: Rows, vectors_NP: Tensor) -> None:
    """`X <- W X` in place, for vectors `(N, P)`; rows that stay as they are are not touched.

    Columns do not depend on each other: mixing parts of the columns one by one is the same.

    Args:
        rows: `W`, with equal rows held once.
        vectors_NP: the vectors, on any device.
    """
    moved = np.flatnonzero(~_stays(rows))
    if not len(moved):
        return
    needed, sum_of = np.unique(rows.row_of_N[moved], return_inverse=True)
    if 2 * len(needed) > len(moved):  # handing equal sums out would cost more than it saves
        needed, sum_of = rows.row_of_N[moved], np.arange(len(moved))
    bags = _bags(rows.w_MN[needed], vectors_NP)
    index, source = (torch.from_numpy(i).to(vectors_NP.device) for i in (moved, sum_of.ravel()))
    for columns in _parts(vectors_NP.shape[1], len(needed)):
        part_NC = vectors_NP[:, columns]
        sums_MC = _sums(bags, part_NC)
        if len(needed) == len(moved):
            part_NC.index_copy_(0, index, sums_MC)
            continue
        for some in _parts(len(moved), part_NC.shape[1]):
            part_NC.index_copy_(0, index[some], sums_MC[source[some]])


@torch.no_grad()
def weighted_sums(w_MN: csr_array, vectors_NP: Tensor) -> Tensor:
    """`W X`, `(M, P)`: each row's weighted sum, of the vectors that have a weight only.

    A row's result does not depend on the other rows. A node whose training has diverged reaches
    those alone who hear from it: a weight of 0 times infinity would be no number, at every node.

    Args:
        w_MN: weights, without stored zeros.
        vectors_NP: the vectors, on any device.
    """
    bags = _bags(w_MN, vectors_NP)
    sums_MP = vectors_NP.new_empty(w_MN.shape[0], vectors_NP.shape[1])
    for columns in _parts(vectors_NP.shape[1], len(sums_MP)):
        sums_MP[:, columns] = _sums(bags, vectors_NP[:, columns])
    return sums_MP


class _Bags(NamedTuple):
    """Weights as `embedding_bag` takes them."""

    sources: Tensor
    starts: Tensor
    weights: Tensor


@torch.no_grad()
def _one_sum(weights_N: np.ndarray, vectors_NP: Tensor) -> Tensor:
    """`weighted_sums` of one full row, to the bit, without the cost of a sparse matrix: that is
    many times the sum's where vectors are small."""
    count, device = len(weights_N), vectors_NP.device
    bag = _Bags(
        torch.arange(count, device=device),
        torch.tensor([0, count], device=device),
        torch.from_numpy(weights_N).to(vectors_NP),
    )
    return _sums(bag, vectors_NP)[0]


def _bags(w_MN: csr_array, vectors_NP: Tensor) -> _Bags:
    sources, starts = (i.astype(np.int64) for i in (w_MN.indices, w_MN.indptr))
    device = vectors_NP.device
    return _Bags(
        torch.from_numpy(sources).to(device),
        torch.from_numpy(starts).to(device),
        torch.from_numpy(w_MN.data).to(vectors_NP),
    )


def _sums(bags: _Bags, vectors_NC: Tensor) -> Tensor:
    """A bag of vectors with weights is a row of `W X`, and its kernel runs at memory speed."""
    return embedding_bag(
        bags.sources,
        vectors_NC,
        bags.starts,
        mode="sum",
        per_sample_weights=bags.weights,
        include_last_offset=True,
    )


def _parts(total: int, each: int) -> Iterator[slice]:
    """So many columns or rows in parts of at most `VALUES_AT_ONCE` values, `each` in every one."""
    size = max(1, VALUES_AT_ONCE // max(1, each))
    for start in range(0, total, size):
        yield slice(start, start + size)


def _stays(rows: Rows) -> np.ndarray:
    """For each node, whether its row is that of the identity."""
    w_MN, row_of_N = rows
    starts = w_MN.indptr[:-1]
    alone_M = np.diff(w_MN.indptr) == 1
    own_M = np.full(len(alone_M), -1, dtype=np.int64)
    own_M[alone_M] = np.where(w_MN.data[starts[alone_M]] == 1, w_MN.indices[starts[alone_M]], -1)
    stays: np.ndarray = own_M[row_of_N] == np.arange(len(row_of_N))
    return stays


class Incoming(NamedTuple):
    """A vector that came to a node."""

    vector_P: Tensor
    weight: float = 1.0
    """How much it counts in the mean, on the scale of the node's own weight."""
    base_P: Tensor | None = None
    """What the node has sent for it, if it is mixed by difference."""


def merge(own_P: Tensor, incoming: Sequence[Incoming], own_weight: float = 1.0) -> list[float]:
    """A node's own share of `mix`: its vector `(P,)` with what arrived, in place.

    Those without a base go into a weighted mean with the own vector; half the difference of the
    others from their bases is added: `x <- x + (x_k - b_k) / 2`. If both ends of a pair do that,
    each with the other's base, the sum of their vectors stays what it was, whatever has become of
    them since they sent.

    Returns:
        The share of each arrival in the result, in order.
    """
    means = [came for came in incoming if came.base_P is None]
    weights = shares(own_weight, [came.weight for came in means])
    if means:
        stacked = torch.stack([own_P, *(came.vector_P for came in means)])
        own_P.copy_(_one_sum(weights, stacked))
    for came in incoming:
        if came.base_P is not None:
            own_P.add_(came.vector_P - came.base_P, alpha=DIFFERENCE_SHARE)
    of_means = iter(weights[1:].tolist())
    return [next(of_means) if came.base_P is None else DIFFERENCE_SHARE for came in incoming]


@torch.no_grad()
def consensus_distance(vectors_NP: Tensor) -> float:
    """`sqrt(1/n Σ ‖x_i - x̄‖²)`: how far the nodes are from agreeing; 0 if they all agree."""
    total = 0.0
    for columns in _parts(vectors_NP.shape[1], 2 * len(vectors_NP)):  # float64 takes twice as much
        part_NC = vectors_NP[:, columns].double()
        total += float((part_NC - part_NC.mean(0)).square().sum())
    return math.sqrt(total / len(vectors_NP))
