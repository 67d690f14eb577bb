"""How the training images are cut into shards, one per node; all cuts are seeded.

A scheme is named as on the command line, such as `by-class:2`. Every image goes to exactly one
node, but where `by-class` leaves a class that nobody holds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from p2pgan.data.formats import Labels
from p2pgan.errors import DataError, unknown_name

Indices = npt.NDArray[np.int64]
Shards = list[Indices]

SCHEMES = ("iid", "by-class:K", "dirichlet:ALPHA", "quantity:ALPHA")
"""What `partition` understands; `by-class` alone is `by-class:1`."""


@dataclass(frozen=True)
class Shard:
    """What one node holds, for people to look at."""

    node: str
    size: int
    counts: tuple[int, ...]
    """Images of each class."""


def partition(spec: str, labels: Labels, nodes: int, rng: np.random.Generator) -> Shards:
    """Cuts a data set into one shard per node.

    - `iid`: a shuffled deck dealt out; sizes differ by one at most.
    - `by-class:K`: node `i` holds the `K` classes from `i K` on, counted round; a class that
      several nodes hold is shared evenly among them (the thesis's non-i.i.d. split, chapter 4).
    - `dirichlet:ALPHA`: each class is divided in proportions drawn from a symmetric Dirichlet
      distribution (Hsu et al. 2019; Yurochkin et al. 2019). Small `ALPHA`: few classes per node;
      large: nearly i.i.d. Deviation: no redrawing until every shard is large; `check_shards` tells.
    - `quantity:ALPHA`: classes mixed as in `iid`, sizes in proportions drawn likewise.

    Args:
        spec: one of those.
        labels: class of every image, int64, shape `[M]`.
        nodes: number of shards, at least 1.
        rng: the run's stream `partition`.
    Returns:
        For each node the sorted positions of its images, int64; disjoint; possibly empty.
    Raises:
        DataError: for an unknown scheme, a parameter that is none, or no nodes.
    """
    if nodes < 1:
        raise DataError(expected="at least 1 node", got=f"`{nodes}`", at="nodes")
    scheme, _, parameter = spec.partition(":")
    if scheme not in _CUTS:
        raise unknown_name(DataError, "a known partition", spec, SCHEMES, "--partition")
    shards = _CUTS[scheme](parameter, labels, nodes, rng)
    return [np.sort(shard).astype(np.int64) for shard in shards]


def check_shards(shards: Sequence[Indices], batch_size: int, nodes: Sequence[str]) -> None:
    """Refuses shards of which one cannot fill a batch.

    Args:
        shards: as `partition` gives them.
        batch_size: images per step.
        nodes: ids of the nodes, in the shards' order.
    Raises:
        DataError: naming the smallest shard, its node and its size.
    """
    sizes = [len(shard) for shard in shards]
    smallest = int(np.argmin(sizes))
    if sizes[smallest] < batch_size:
        raise DataError(
            expected=f"at least {batch_size} images in every shard, one batch",
            got=f"`{sizes[smallest]}`",
            at=f"node {nodes[smallest]}, the smallest of {len(shards)} shards",
            hint="take fewer nodes, a smaller `--batch-size` or a more even `--partition`",
        )


def describe(
    shards: Sequence[Indices], labels: Labels, classes: int, nodes: Sequence[str] | None = None
) -> list[Shard]:
    """Size and class counts of each shard.

    Args:
        shards: as `partition` gives them.
        labels: class of every image, shape `[M]`.
        classes: number of classes.
        nodes: ids of the nodes, in the shards' order; `"0", "1", …` by default.
    """
    names = nodes if nodes is not None else [str(index) for index in range(len(shards))]
    return [
        Shard(
            node=node,
            size=len(shard),
            counts=tuple(np.bincount(labels[shard], minlength=classes).tolist()),
        )
        for node, shard in zip(names, shards, strict=True)
    ]


def _iid(parameter: str, labels: Labels, nodes: int, rng: np.random.Generator) -> Shards:
    _no_parameter("iid", parameter)
    return np.array_split(rng.permutation(len(labels)), nodes)


def _by_class(parameter: str, labels: Labels, nodes: int, rng: np.random.Generator) -> Shards:
    classes = int(labels.max()) + 1 if len(labels) else 0
    held = _classes_per_node(parameter, classes)
    owners: list[list[int]] = [[] for _ in range(classes)]
    for node in range(nodes):
        for turn in range(held):
            owners[(node * held + turn) % classes].append(node)
    shards: list[list[Indices]] = [[] for _ in range(nodes)]
    for label, sharing in enumerate(owners):
        if sharing:
            deck = rng.permutation(np.flatnonzero(labels == label))
            for node, piece in zip(sharing, np.array_split(deck, len(sharing)), strict=True):
                shards[node].append(piece)
    return [np.concatenate(pieces) for pieces in shards]


def _dirichlet(parameter: str, labels: Labels, nodes: int, rng: np.random.Generator) -> Shards:
    alpha = _alpha("dirichlet", parameter)
    shards: list[list[Indices]] = [[] for _ in range(nodes)]
    for label in np.unique(labels):
        deck = rng.permutation(np.flatnonzero(labels == label))
        for node, piece in enumerate(_cut(deck, _proportions(alpha, nodes, rng))):
            shards[node].append(piece)
    return [np.concatenate(pieces) if pieces else _NOTHING for pieces in shards]


def _quantity(parameter: str, labels: Labels, nodes: int, rng: np.random.Generator) -> Shards:
    alpha = _alpha("quantity", parameter)
    deck = rng.permutation(len(labels))
    return _cut(deck, _proportions(alpha, nodes, rng))


def _proportions(alpha: float, nodes: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A draw from the symmetric Dirichlet distribution, also where `alpha` is so small that all
    its gamma variables underflow: then one node gets everything, as in the limit."""
    drawn = rng.dirichlet(np.full(nodes, alpha))
    if np.isfinite(drawn).all() and np.isclose(drawn.sum(), 1.0):
        return drawn
    everything = np.zeros(nodes)
    everything[rng.integers(nodes)] = 1.0
    return everything


def _cut(deck: Indices, proportions: npt.NDArray[np.float64]) -> Shards:
    """A deck cut at the rounded cumulative proportions, so that nothing is lost."""
    ends = np.rint(np.cumsum(proportions)[:-1] * len(deck)).astype(np.int64)
    return np.split(deck, ends)


def _no_parameter(scheme: str, parameter: str) -> None:
    if parameter:
        raise DataError(
            expected=f"`{scheme}` alone", got=f"`{scheme}:{parameter}`", at="--partition"
        )


def _classes_per_node(parameter: str, classes: int) -> int:
    text = parameter or "1"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= classes):
        raise DataError(
            expected=f"`by-class:K` with K from 1 to {classes}",
            got=f"`by-class:{parameter}`",
            at="--partition",
        )
    return int(text)


def _alpha(scheme: str, parameter: str) -> float:
    try:
        alpha = float(parameter)
    except ValueError:
        alpha = 0.0
    if not 0 < alpha < float("inf"):
        got = f"`{scheme}:{parameter}`" if parameter else f"`{scheme}`"
        raise DataError(
            expected=f"`{scheme}:ALPHA` with ALPHA above 0, such as `{scheme}:0.5`",
            got=got,
            at="--partition",
        )
    return alpha


_NOTHING = np.empty(0, dtype=np.int64)

_CUTS: dict[str, Callable[[str, Labels, int, np.random.Generator], Shards]] = {
    "iid": _iid,
    "by-class": _by_class,
    "dirichlet": _dirichlet,
    "quantity": _quantity,
}
