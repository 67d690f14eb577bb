"""The nodes of a run shared out over its ranks, and what they compute together.

Every rank owns a contiguous range of node indices. All prepare the same experiment and draw the
same arrivals from the same stream, so that each knows of every other what it needs.

Shape letters: N nodes, O nodes of one rank, P parameters, C some of these, U distinct rows of `W`
that a rank's nodes have, K distinct parts of such rows at one rank.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from p2pgan.errors import ConfigError
from p2pgan.mixing import rules
from p2pgan.sim.ranks import Ranks

Name = TypeVar("Name")

VALUES_AT_ONCE = 2**26
"""Of a rank's vectors that are mixed at a time, 256 MiB: bounds what is in memory twice."""


class Shares:
    """N nodes over the ranks of a run, seen from one rank."""

    def __init__(self, ranks: Ranks, nodes: int) -> None:
        """As even as it goes.

        Raises:
            ConfigError: if there are more ranks than nodes.
        """
        count = ranks.link.count
        if count > nodes:
            raise ConfigError(
                expected=f"no more processes than nodes, which are {nodes}",
                got=f"`{count}`",
                at="the processes of the run",
                hint="start fewer processes, or take more `--nodes`",
            )
        bounds = [rank * nodes // count for rank in range(count + 1)]
        self.nodes = nodes
        """N."""
        self.ranges = [range(*ends) for ends in pairwise(bounds)]
        """Node indices of every rank."""
        self.own = self.ranges[ranks.link.rank]
        """Node indices of this rank."""
        self._ranks, self._link = ranks, ranks.link

    @torch.no_grad()
    def mix(self, w: rules.Rows, vectors_OP: Tensor) -> None:
        """`X <- W X` in place, where each rank holds its own rows of `X`.

        A rank sends another the weighted sums of its own vectors that the other's rows need, equal
        ones once: a coordinator's mean costs one vector for each pair of ranks, gossip one for each
        arrival that crosses. Sums are added in the order of the ranks, so that nodes with equal
        rows get equal vectors wherever they are. A diverged node reaches those alone who hear from
        it.

        Args:
            w: `W` of all nodes, the same at every rank.
            vectors_OP: this rank's vectors, float32, on any device.
        """
        if self._ranks.is_alone:
            rules.mix(w, vectors_OP)
            return
        needs = [_rows_of(w, share) for share in self.ranges]
        mine = needs[self._link.rank]
        given = {rank: Part.of(need.w_MN, self.own) for rank, need in enumerate(needs)}
        taken = {rank: Part.of(mine.w_MN, share) for rank, share in enumerate(self.ranges)}
        given.pop(self._link.rank)
        most = max(len(share) for share in self.ranges)
        for columns_OC in torch.split(vectors_OP, max(1, VALUES_AT_ONCE // most), dim=1):
            mixed_UC = self._mixed(given, taken, columns_OC)
            columns_OC.copy_(mixed_UC[mine.row_of_N])

    def _mixed(
        self, given: dict[int, "Part"], taken: dict[int, "Part"], vectors_OC: Tensor
    ) -> Tensor:
        """The distinct rows of this rank, `(U, C)`: what it is given and what it has."""
        width = vectors_OC.shape[1]
        outgoing = {
            rank: rules.weighted_sums(part.sums.w_MN, vectors_OC)
            for rank, part in given.items()
            if part.count
        }
        incoming = {
            rank: part.count * width
            for rank, part in taken.items()
            if part.count and rank != self._link.rank
        }
        arrived = dict(zip(incoming, self._link.swap(outgoing, incoming), strict=True))
        mixed_UC = vectors_OC.new_zeros(taken[0].total, width)
        for rank, part in taken.items():
            if rank in arrived:
                part.add_to(mixed_UC, arrived[rank].view(part.count, width).to(vectors_OC))
            elif part.count:
                part.add_to(mixed_UC, rules.weighted_sums(part.sums.w_MN, vectors_OC))
        return mixed_UC

    def consensus_distance(self, vectors_OP: Tensor) -> float:
        """`sqrt(1/n Σ ‖x_i - x̄‖²)` over the nodes of all ranks."""
        if self._ranks.is_alone:
            return rules.consensus_distance(vectors_OP)
        sum_P = self._link.add(vectors_OP.sum(0, dtype=torch.float64).cpu())
        mean_P = (sum_P / self.nodes).to(vectors_OP.device)
        squares_O = torch.stack([(row_P - mean_P).square().sum() for row_P in vectors_OP])
        return float((self._link.add(squares_O.sum().cpu()) / self.nodes).sqrt())

    def fetch(self, sources_N: Sequence[int], vectors_OP: Tensor) -> Sequence[Tensor]:
        """For each own node a vector `(P,)` of any node; to be read only.

        Args:
            sources_N: for every node, the index of the one whose vector it gets.
            vectors_OP: this rank's vectors.
        """
        if self._ranks.is_alone:
            return [vectors_OP[source] for source in sources_N]
        copied_OP = vectors_OP.clone()
        self.mix(rules.copying_rows(sources_N), copied_OP)
        return list(copied_OP)

    def gather(self, values_OK: np.ndarray) -> np.ndarray:
        """A few numbers of every node, `(N, K)` float64, of which each rank gives its own rows."""
        values_NK = torch.zeros(self.nodes, values_OK.shape[1], dtype=torch.float64)
        values_NK[self.own.start : self.own.stop] = torch.from_numpy(values_OK)
        return self._link.add(values_NK).numpy()

    def collect(self, vectors: Mapping[Name, Tensor]) -> Iterator[tuple[int, dict[Name, Tensor]]]:
        """Every node's index and named vectors `(P,)` in turn at the first rank, nothing elsewhere.

        Node by node, so that the first rank never holds more than its own and one more. Where it
        ends, at every rank, the first one has taken them all.
        """
        for rank, share in enumerate(self.ranges):
            for place, node in enumerate(share):
                if self._ranks.is_first:
                    yield node, self._node_of(rank, place, vectors)
                elif rank == self._link.rank:
                    for matrix_OP in vectors.values():
                        self._link.swap({0: matrix_OP[place]}, {})
        self._ranks.agree(False)

    def _node_of(self, rank: int, place: int, vectors: Mapping[Name, Tensor]) -> dict[Name, Tensor]:
        if rank == self._link.rank:
            return {net: matrix_OP[place] for net, matrix_OP in vectors.items()}
        return {
            net: self._link.swap({}, {rank: matrix_OP.shape[1]})[0]
            for net, matrix_OP in vectors.items()
        }


def _rows_of(w: rules.Rows, share: range) -> rules.Rows:
    """The rows of `W` of one rank's nodes; every rank knows them of every other."""
    used, row_of_O = np.unique(w.row_of_N[share.start : share.stop], return_inverse=True)
    return rules.Rows(w.w_MN[used], row_of_O.ravel())


@dataclass(frozen=True)
class Part:
    """The weighted sums of one rank's vectors that go into the rows of another, or its own."""

    total: int
    """U: how many rows there are."""
    rows: np.ndarray
    """Those to which this rank contributes."""
    sums: rules.Rows
    """The weights of its vectors in these, equal ones once."""

    @classmethod
    def of(cls, w_UN: csr_array, share: range) -> "Part":
        """What of some rows of `W` is due to the nodes of one rank."""
        w_UO = w_UN[:, share.start : share.stop]
        rows = np.flatnonzero(np.diff(w_UO.indptr))
        return cls(w_UO.shape[0], rows, rules.unique_rows(w_UO[rows]))

    @property
    def count(self) -> int:
        """K: vectors that travel, if they do."""
        return int(self.sums.w_MN.shape[0])

    def add_to(self, mixed_UC: Tensor, sums_KC: Tensor) -> None:
        mixed_UC[self.rows] += sums_KC[self.sums.row_of_N]
