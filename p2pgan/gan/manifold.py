"""Precision and recall of generated images: how many look real, how much of the real is covered.

A set of feature vectors stands for all images of its kind by its manifold: the union of balls, one
around each vector, that reach to its k-th nearest neighbor in the set.

Shape letters: K and M vectors, F features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBORS = 3
"""k: the authors' choice, which they found to be a fair trade of recall against precision."""

ROWS_AT_ONCE = 1000
"""Of a matrix of distances; with 5,000 columns it takes 40 MB."""

ROUNDING = 1e-10
"""Of the largest squared length: what squared distances are allowed to be off by. A ball of radius
0 (equal vectors: a generator that lost its modes) must hold its own center."""


@dataclass(frozen=True, eq=False)
class Manifold:
    """A set of vectors with their balls."""

    centers_MF: Tensor
    """float64."""
    squared_radii_M: Tensor
    """Squared distance of each to its k-th nearest neighbor, rounding allowed for."""

    @classmethod
    def of(cls, vectors_MF: Tensor) -> "Manifold":
        """The manifold of these vectors; up to `NEIGHBORS` of them reach to the furthest."""
        vectors_MF = vectors_MF.double()
        squares_M = vectors_MF.square().sum(1)
        radii = [
            # The nearest of all is the vector itself.
            _less_own_square(part, vectors_MF, squares_M)
            .topk(min(NEIGHBORS + 1, len(vectors_MF)), largest=False, sorted=False)
            .values.amax(1)
            for part in torch.split(vectors_MF, ROWS_AT_ONCE)
        ]
        squared_radii_M = (torch.cat(radii) + squares_M).clamp(min=0.0)
        return cls(vectors_MF, squared_radii_M + ROUNDING * squares_M.max())

    def share_within(self, vectors_KF: Tensor) -> float:
        """Share of these vectors that lie in at least one ball."""
        squares_M = self.centers_MF.square().sum(1)
        # Within the ball of `m`: |v - m|^2 - r_m^2 <= 0. The least of these over `m` decides.
        return sum(
            int((self._excess(part, squares_M) <= 0).sum())
            for part in torch.split(vectors_KF.double(), ROWS_AT_ONCE)
        ) / len(vectors_KF)

    def _excess(self, vectors_KF: Tensor, squares_M: Tensor) -> Tensor:
        least_K = _less_own_square(
            vectors_KF, self.centers_MF, squares_M - self.squared_radii_M
        ).amin(1)
        return least_K + vectors_KF.square().sum(1)


def precision_recall(real: Manifold, generated_KF: Tensor) -> tuple[float, float]:
    """Share of generated vectors in the real manifold, and of real ones in the generated manifold.

    Args:
        real: of features of real images.
        generated_KF: features of generated images; as many, since the more there are of a kind,
            the smaller its balls.
    Returns:
        Precision and recall in [0, 1].
    Source: Kynkaanniemi et al. 2019, section 3, equations 1 and 2; deviation: features of a small
    classifier of the data at hand, in VGG-16's place.
    """
    recall = Manifold.of(generated_KF).share_within(real.centers_MF)
    return real.share_within(generated_KF), recall


def _less_own_square(vectors_KF: Tensor, others_MF: Tensor, squares_M: Tensor) -> Tensor:
    """`squares_m - 2 v m`, shape `(K, M)`: squared distances, the square of `v` still to come."""
    return torch.addmm(squares_M, vectors_KF, others_MF.mT, alpha=-2.0)
