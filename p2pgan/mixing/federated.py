"""FL-GAN's rules: which workers make a round, what each weighs, and the coordinator's own step.

Federated averaging (McMahan et al. 2017, algorithm 1) with generator and discriminator as one
model (thesis, section 4.1.2). Daemons and the simulator use the same functions: a daemon has the
vectors that came, the simulator a matrix with the vectors of all nodes.

Shape letters: N nodes, K those that make a round, P values of a network.
"""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from p2pgan.mixing.rules import Rows, weighted_sums

T = TypeVar("T")


def count(fraction: float, workers: int) -> int:
    """K: how many of so many workers make a round, `max(1, round(C n))`.

    McMahan et al. write `max(C n, 1)` and leave open how it becomes a whole number; a half goes to
    the even one.
    """
    return max(1, round(fraction * workers))


def asked(made_of: int, over_selection: float, workers: int) -> int:
    """How many workers a coordinator asks, so that enough answer in time: rounded up, at most all.

    Bonawitz et al. 2019 (section 3.1) ask 1.3 times as many as they need.

    Args:
        made_of: K, as `count` tells.
        over_selection: how many times as many.
        workers: how many there are.
    """
    wanted = round(over_selection * made_of, 6)  # else 1.1 times 30 would be 34
    return min(workers, math.ceil(wanted))


def select(workers: Sequence[T], number: int, rng: np.random.Generator) -> list[T]:
    """So many of the workers (all, if fewer), each as likely as the others, in their own order.

    Args:
        workers: those who are there, in the run's order.
        number: K, or as many as are asked.
        rng: the stream `selection` of the run; one draw a round, also where all take part.
    """
    taken = min(number, len(workers))
    chosen = rng.choice(len(workers), taken, replace=False)
    return [workers[index] for index in sorted(chosen.tolist())]


def shares(samples: Sequence[int], weighting: str) -> np.ndarray:
    """Weights in the mean of those who make a round, float64 `(K,)`, summing to 1.

    Args:
        samples: sizes of their shards, at least 1 each.
        weighting: `samples`, in proportion to them, or `uniform`. Equal shards make them the same
            to the bit.
    """
    assert samples
    assert min(samples) >= 1, "who has no data cannot have trained"
    sizes_K = np.array(samples if weighting == "samples" else [1] * len(samples), dtype=np.float64)
    weights_K: np.ndarray = sizes_K / sizes_K.sum()
    return weights_K


def mean(updates: Sequence[Tensor], weights_K: np.ndarray) -> Tensor:
    """The weighted mean of what came, `(P,)`.

    Of networks or of what a round has changed in them: the mean network is the old one plus the
    mean change, since weights sum to 1.

    Args:
        updates: vectors `(P,)`, float32.
        weights_K: as `shares` tells.
    """
    w_1K = csr_array(np.asarray(weights_K)[None])
    return weighted_sums(w_1K, torch.stack(list(updates)))[0]


def mean_rows(chosen: Sequence[int], weights_K: np.ndarray, nodes: int) -> Rows:
    """`W` by which all nodes get the mean of some: one row for everybody.

    Args:
        chosen: indices of those who make the round, rising.
        weights_K: as `shares` tells.
        nodes: N.
    """
    columns = np.asarray(chosen, dtype=np.int64)
    starts = np.array([0, len(columns)])
    w_1N = csr_array((np.asarray(weights_K), columns, starts), shape=(1, nodes))
    return Rows(w_1N, np.zeros(nodes, dtype=np.int64))


class Server:
    """The coordinator's copy of a network, and its step once the mean of a round is there.

    Without momentum the mean is the next network. With it the network moves along a running sum of
    mean changes, `v <- β v + Δ`, `x <- x + v` (FedAvgM, Hsu et al. 2019, section 5; their Δ has the
    other sign). Running statistics of batch norm always take the plain mean, and so do Adam's
    moments that travel: a variance that overshoots may become negative.
    """

    def __init__(
        self,
        model_P: Tensor,
        momentum: float = 0.0,
        trained: int | None = None,
        velocity_T: Tensor | None = None,
    ) -> None:
        """A coordinator before its first round, or that goes on where another ended.

        Args:
            model_P: the network, float32; changed in place.
            momentum: β, in [0, 1).
            trained: T, how many values at the head have momentum; `None`: all.
            velocity_T: `v` of the one that it goes on from; `None`: 0.
        """
        self.model_P = model_P
        """The network as it is now."""
        self.momentum = momentum
        size = (len(model_P) if trained is None else trained) if momentum else 0
        self.velocity_T = model_P.new_zeros(size) if velocity_T is None else velocity_T
        """`v`; empty without momentum. Whoever saves the coordinator saves this with the model."""
        assert self.velocity_T.shape == (size,), (self.velocity_T.shape, size)

    @torch.no_grad()
    def step(self, mean_P: Tensor, *, deltas: bool = False) -> None:
        """Makes the next network of the mean of a round.

        Args:
            mean_P: mean of the workers' networks, or of what the round has changed in them.
            deltas: which of the two. They differ by rounding.
        """
        moved = len(self.velocity_T)
        head_T, tail = self.model_P[:moved], self.model_P[moved:]
        change_T = mean_P[:moved] if deltas else mean_P[:moved] - head_T
        self.velocity_T.mul_(self.momentum).add_(change_T)
        head_T.add_(self.velocity_T)
        if deltas:
            tail.add_(mean_P[moved:])
        else:
            tail.copy_(mean_P[moved:])
