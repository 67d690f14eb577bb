"""How good generated images are: MS and FID, on a small classifier's outputs.

Both depend on the number of samples and on the classifier, so only figures with the same of both
compare. Scoring draws nothing at random: the caller makes the images, from a stream of its own.

Shape letters: N nodes, K samples of one node, C classes (or channels, before height and width),
F features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from p2pgan.errors import ConfigError
from p2pgan.gan.scorer import Scorer

_BATCH = 100
"""Images per pass through the classifier: what it computes of them stays in the cache."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The real data's side of FID."""

    mean_F: Tensor
    """Mean of the features, float64."""
    covariance_FF: Tensor
    """Their covariance (divided by samples - 1), float64."""
    samples: int

    @classmethod
    def of(cls, features_KF: Tensor) -> "Reference":
        """Of the features of K real images, at least 2."""
        _check_samples(len(features_KF))
        return cls(*_statistics(features_KF), samples=len(features_KF))


@dataclass(frozen=True)
class Scores:
    """One generator's scores."""

    fid: float
    """Frechet distance to the real data's features; 0 at best, no upper bound."""
    ms: float
    """Mode score; from 1 (one class, or no idea) to the number of classes."""
    samples: int
    """Generated images that they rest on."""


def reference(scorer: Scorer, images_KCHW: Tensor, *, batch: int = _BATCH) -> Reference:
    """Feature statistics of real images, to be used for every generator of a run.

    Args:
        scorer: the classifier.
        images_KCHW: real images in [-1, 1], float32; test images, not those trained on.
        batch: images per pass.
    Raises:
        ConfigError: for fewer than 2 images, or images of another shape than the scorer's.
    """
    _check_samples(len(images_KCHW))
    return Reference.of(activations(scorer, images_KCHW, batch)[1])


def score(scorer: Scorer, real: Reference, images_KCHW: Tensor) -> Scores:
    """MS and FID of one generator's images.

    Args:
        scorer: the classifier that made `real`.
        real: statistics of the real data.
        images_KCHW: generated images in [-1, 1], float32.
    Raises:
        ConfigError: for fewer than 2 images, or images of another shape than the scorer's.
    """
    return score_nodes(scorer, real, images_KCHW[None])[0]


def score_nodes(scorer: Scorer, real: Reference, images_NKCHW: Tensor) -> list[Scores]:
    """MS and FID of each node's images, the classifier run once over all of them.

    Args:
        scorer: the classifier that made `real`.
        real: statistics of the real data.
        images_NKCHW: generated images in [-1, 1], float32, equally many per node.
    Raises:
        ConfigError: for fewer than 2 images, or images of another shape than the scorer's.
    """
    nodes, samples = images_NKCHW.shape[:2]
    _check_samples(samples)
    probabilities, features = activations(scorer, images_NKCHW.flatten(0, 1))
    return scores_of(
        real,
        torch.unflatten(probabilities, 0, (nodes, samples)),
        torch.unflatten(features, 0, (nodes, samples)),
    )


def scores_of(real: Reference, probabilities_NKC: Tensor, features_NKF: Tensor) -> list[Scores]:
    """MS and FID of each node's images, of which the classifier said this."""
    samples = probabilities_NKC.shape[1]
    _check_samples(samples)
    ms_N = mode_scores(probabilities_NKC)
    mean_NF, covariance_NFF = _statistics(features_NKF)
    fid_N = frechet_distances(mean_NF, covariance_NFF, real.mean_F, real.covariance_FF)
    return [
        Scores(fid=fid, ms=ms, samples=samples)
        for fid, ms in zip(fid_N.tolist(), ms_N.tolist(), strict=True)
    ]


def mode_score(probabilities_KC: Tensor) -> float:
    """MS of one set of samples; see `mode_scores`."""
    return float(mode_scores(probabilities_KC))


def mode_scores(probabilities: Tensor) -> Tensor:
    """`exp(E_x KL(p(y|x) || p(y)))`: samples each of one clear class, together of all classes.

    `p(y)` is the mean over the samples themselves, and `0 log 0` is 0.

    Args:
        probabilities: `p(y|x)`, shape `[..., K, C]`, each row summing to 1.
    Returns:
        One score per set, float64, shape `[...]`, in `1 ... C`.
    Source: Salimans et al. 2016, with a classifier of the data at hand in Inception's place, as
    in chapters 4 and 5 of the thesis.
    """
    conditional = probabilities.double()
    marginal = conditional.mean(dim=-2)
    # E KL(p(y|x) || p(y)) = H(y) - H(y|x), which needs no quotient of tiny numbers.
    divergence = _entropy(marginal) - _entropy(conditional).mean(dim=-1)
    return torch.exp(divergence.clamp(min=0.0))


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """FID of one pair of Gaussians; see `frechet_distances`."""
    return float(frechet_distances(mean_a, cov_a, mean_b, cov_b))


def frechet_distances(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    """`|m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2))`, between pairs of Gaussians.

    `A B` is similar to the symmetric `B^(1/2) A B^(1/2)`, so the trace of its root is the sum of
    the roots of that matrix's eigenvalues: no complex numbers, and singular covariances (fewer
    samples than features) are no special case.

    Args:
        mean_a, mean_b: means, shape `[..., F]`, broadcast against each other.
        cov_a, cov_b: covariances, symmetric, positive semidefinite, shape `[..., F, F]`.
    Returns:
        Distances, float64, shape `[...]`; rounding below 0 is cut off.
    Source: Heusel et al. 2017, equation of section 3; deviation: the root as said above.
    """
    a, b = cov_a.double(), cov_b.double()
    values, vectors = torch.linalg.eigh(b)
    root_b = (vectors * values.clamp(min=0.0).sqrt().unsqueeze(-2)) @ vectors.mT
    product = root_b @ a @ root_b
    roots = torch.linalg.eigvalsh((product + product.mT) / 2).clamp(min=0.0).sqrt()
    traces = _trace(a) + _trace(b) - 2 * roots.sum(dim=-1)
    apart = (mean_a.double() - mean_b.double()).square().sum(dim=-1)
    distances: Tensor = apart + traces
    return distances.clamp(min=0.0)


def activations(scorer: Scorer, images_KCHW: Tensor, batch: int = _BATCH) -> tuple[Tensor, Tensor]:
    """Probabilities `(K, C)` and features `(K, F)` of all images, float64, on the CPU."""
    outputs = [scorer(part) for part in torch.split(images_KCHW, batch)]
    probabilities, features = zip(*outputs, strict=True)
    return torch.cat(probabilities).double().cpu(), torch.cat(features).double().cpu()


def _statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased covariance over the samples of `[..., K, F]`."""
    mean = features.mean(dim=-2)
    centered = features - mean.unsqueeze(-2)
    return mean, centered.mT @ centered / (features.shape[-2] - 1)


def _entropy(probabilities: Tensor) -> Tensor:
    return -torch.xlogy(probabilities, probabilities).sum(dim=-1)


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).sum(dim=-1)


def _check_samples(samples: int) -> None:
    if samples < 2:
        raise ConfigError(
            expected="at least 2 images to score", got=f"`{samples}`", at="score.samples"
        )
