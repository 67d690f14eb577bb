"""MS and FID against plain loops, scipy's matrix root, and known cases."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from p2pgan.data.datasets import load, to_float
from p2pgan.errors import ConfigError
from p2pgan.gan.scorer import Scorer, load_scorer
from p2pgan.gan.scores import (
    Reference,
    frechet_distance,
    frechet_distances,
    mode_score,
    mode_scores,
    reference,
    score,
    score_nodes,
)

seeds = st.integers(0, 2**32 - 1)


def gaussian(seed: int, features: int, rank: int | None = None) -> tuple[Tensor, Tensor]:
    """A mean and a covariance, of full rank unless told otherwise."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(features, rank or features + 3))
    return torch.from_numpy(rng.normal(size=features)), torch.from_numpy(factor @ factor.T)


def by_scipy(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """The formula as it is printed, with a general matrix root."""
    root = scipy.linalg.sqrtm(cov_a.numpy() @ cov_b.numpy()).real
    trace = float(np.trace(cov_a.numpy() + cov_b.numpy() - 2 * root))
    return float(((mean_a - mean_b) ** 2).sum()) + trace


@given(seeds, st.integers(1, 12))
def test_frechet_distance_is_the_printed_formula(seed: int, features: int) -> None:
    a, b = gaussian(seed, features), gaussian(seed + 1, features)
    wanted = by_scipy(*a, *b)
    assert frechet_distance(*a, *b) == pytest.approx(wanted, rel=1e-6, abs=1e-6)


@given(seeds, st.integers(1, 10))
def test_frechet_distance_is_symmetric_and_zero_to_itself(seed: int, features: int) -> None:
    a, b = gaussian(seed, features), gaussian(seed + 1, features)
    assert frechet_distance(*a, *b) == pytest.approx(frechet_distance(*b, *a), rel=1e-9)
    assert frechet_distance(*a, *a) == pytest.approx(0, abs=1e-9 * float(a[1].trace()))


@given(seeds)
def test_frechet_distance_does_not_depend_on_the_basis(seed: int) -> None:
    (mean_a, cov_a), (mean_b, cov_b) = gaussian(seed, 6), gaussian(seed + 1, 6)
    turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0])
    turned = frechet_distance(
        turn @ mean_a, turn @ cov_a @ turn.T, turn @ mean_b, turn @ cov_b @ turn.T
    )
    assert turned == pytest.approx(frechet_distance(mean_a, cov_a, mean_b, cov_b), rel=1e-9)


@given(seeds, st.integers(1, 3))
def test_singular_covariances_are_no_special_case(seed: int, rank: int) -> None:
    """Fewer samples than features: the general matrix root breaks down there."""
    a, b = gaussian(seed, 8, rank), gaussian(seed + 1, 8, rank)
    distance = frechet_distance(*a, *b)
    assert math.isfinite(distance)
    assert distance >= 0
    assert frechet_distance(*a, *a) == pytest.approx(0, abs=1e-5)


def test_one_dimension_is_school_mathematics() -> None:
    """(m - n)^2 + (s - t)^2 for normal distributions with deviations s and t."""
    distance = frechet_distance(
        torch.tensor([1.0]), torch.tensor([[4.0]]), torch.tensor([4.0]), torch.tensor([[9.0]])
    )
    assert distance == pytest.approx(9 + 1)


def test_many_pairs_at_once_are_each_pair_alone() -> None:
    pairs = [gaussian(seed, 5) for seed in range(4)]
    means = torch.stack([mean for mean, _ in pairs])
    covs = torch.stack([cov for _, cov in pairs])
    real = gaussian(9, 5)
    together = frechet_distances(means, covs, *real)
    assert together.tolist() == pytest.approx([frechet_distance(*pair, *real) for pair in pairs])


def mode_score_by_loops(probabilities: list[list[float]]) -> float:
    classes = range(len(probabilities[0]))
    marginal = [sum(row[c] for row in probabilities) / len(probabilities) for c in classes]
    divergences = [
        sum(row[c] * math.log(row[c] / marginal[c]) for c in classes if row[c] > 0)
        for row in probabilities
    ]
    return math.exp(sum(divergences) / len(divergences))


@given(seeds, st.integers(1, 30), st.integers(1, 12))
def test_mode_score_is_the_printed_formula_within_its_bounds(
    seed: int, samples: int, classes: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(classes, 0.3), samples)
    got = mode_score(torch.from_numpy(rows))
    assert got == pytest.approx(mode_score_by_loops(rows.tolist()), rel=1e-9)
    assert 1 <= got <= classes * (1 + 1e-12)


def test_mode_score_knows_its_extremes() -> None:
    clear = torch.eye(10)
    assert mode_score(clear) == pytest.approx(10), "each sample one class, together all"
    assert mode_score(clear[:1].expand(50, 10)) == 1, "always the same class"
    assert mode_score(torch.full((50, 10), 0.1)) == pytest.approx(1), "no idea"
    assert mode_score(clear[:4].repeat(5, 1)) == pytest.approx(4), "four of the ten classes"


def test_mode_scores_of_many_sets_are_each_alone() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).dirichlet([0.2] * 5, (3, 40)))
    assert mode_scores(rows).tolist() == pytest.approx([mode_score(each) for each in rows])


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return load_scorer("digits")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tensor, Tensor]:
    """Training and test images as the scorer takes them."""
    dataset = load("digits", tmp_path_factory.getbasetemp())
    return (
        torch.from_numpy(to_float(dataset.images)),
        torch.from_numpy(to_float(dataset.test_images)),
    )


def test_a_reference_is_the_mean_and_covariance_of_the_features(
    scorer: Scorer, digits: tuple[Tensor, Tensor]
) -> None:
    _, test = digits
    real = reference(scorer, test, batch=50)
    features = scorer(test)[1].double().numpy()
    assert real.samples == 197
    assert real.mean_F.dtype == real.covariance_FF.dtype == torch.float64
    assert np.allclose(real.mean_F.numpy(), features.mean(axis=0), atol=1e-5)
    assert np.allclose(real.covariance_FF.numpy(), np.cov(features.T), atol=1e-4)


def test_real_images_score_best(scorer: Scorer, digits: tuple[Tensor, Tensor]) -> None:
    """Their MS is near the number of classes, their FID to themselves 0, noise far away."""
    train, test = digits
    real = reference(scorer, test)
    itself = score(scorer, real, test)
    assert itself.fid == pytest.approx(0, abs=1e-6)
    assert 9.5 < itself.ms <= 10
    assert itself.samples == 197
    others = score(scorer, real, train[:500])
    noise = score(scorer, real, torch.from_numpy(_noise(500)))
    assert itself.fid < others.fid < noise.fid / 20
    assert noise.ms < others.ms


def _noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, 1, 8, 8)).astype(np.float32)


def test_fewer_classes_lower_both_scores(scorer: Scorer, digits: tuple[Tensor, Tensor]) -> None:
    """What a generator that lost its modes gets."""
    train, test = digits
    real = reference(scorer, test)
    guesses = scorer(train)[0].argmax(dim=1)
    half = score(scorer, real, train[guesses < 5])
    assert half.ms == pytest.approx(5, abs=0.3)
    assert half.fid > 10 * score(scorer, real, train).fid


def test_nodes_together_score_as_each_alone(scorer: Scorer, digits: tuple[Tensor, Tensor]) -> None:
    train, test = digits
    real = reference(scorer, test)
    images = torch.stack([train[:300], train[300:600], torch.from_numpy(_noise(300))])
    together = score_nodes(scorer, real, images)
    for node, scores in enumerate(together):
        alone = score(scorer, real, images[node])
        assert scores.fid == pytest.approx(alone.fid, rel=1e-4)
        assert scores.ms == pytest.approx(alone.ms, rel=1e-5)


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(60)))
def test_the_order_of_images_does_not_matter(order: list[int]) -> None:
    scorer = load_scorer("digits")
    images = torch.from_numpy(_noise(60))
    real = reference(scorer, torch.from_numpy(_noise(90)[30:]))
    first, second = score(scorer, real, images), score(scorer, real, images[order])
    assert first.fid == pytest.approx(second.fid, rel=1e-5)
    assert first.ms == pytest.approx(second.ms, rel=1e-6)


def test_one_image_is_too_few(scorer: Scorer) -> None:
    real = Reference(torch.zeros(32), torch.eye(32), samples=10)
    with pytest.raises(ConfigError, match="at least 2 images to score, got `1`"):
        score(scorer, real, torch.zeros(1, 1, 8, 8))
    with pytest.raises(ConfigError, match="at least 2 images"):
        reference(scorer, torch.zeros(0, 1, 8, 8))
