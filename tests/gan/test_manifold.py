"""Precision and recall against plain loops, and where they must be 0 or 1."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from p2pgan.gan import manifold
from p2pgan.gan.manifold import NEIGHBORS, Manifold, precision_recall

seeds = st.integers(0, 2**32 - 1)


def vectors(seed: int, count: int, features: int = 3, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, size=(count, features)))


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().sum().sqrt())


def radius_by_loops(centers: Tensor, index: int) -> float:
    others = [distance(centers[index], other) for i, other in enumerate(centers) if i != index]
    return sorted(others)[NEIGHBORS - 1]


def share_by_loops(points: Tensor, centers: Tensor) -> float:
    """As the paper prints it: one comparison of two distances at a time."""
    radii = [radius_by_loops(centers, index) for index in range(len(centers))]
    within = [
        any(distance(point, c) <= r for c, r in zip(centers, radii, strict=True))
        for point in points
    ]
    return sum(within) / len(points)


@given(seeds, st.integers(NEIGHBORS + 1, 20), st.floats(0, 2))
def test_precision_and_recall_are_what_the_paper_prints(
    seed: int, count: int, shift: float
) -> None:
    real, generated = vectors(seed, count), vectors(seed + 1, count, shift=shift)
    wanted = share_by_loops(generated, real), share_by_loops(real, generated)
    assert precision_recall(Manifold.of(real), generated) == pytest.approx(wanted, abs=1e-12)


def test_what_is_in_memory_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = vectors(0, 50), vectors(1, 50, shift=1.0)
    at_once = precision_recall(Manifold.of(real), generated)
    monkeypatch.setattr(manifold, "ROWS_AT_ONCE", 7)
    assert precision_recall(Manifold.of(real), generated) == at_once
    assert 0 < at_once[0] < 1


@given(seeds, st.integers(1, 40), st.floats(-1e3, 1e3), st.integers(1, 3))
def test_a_set_covers_itself(seed: int, count: int, shift: float, times: int) -> None:
    """Far from the origin, and with repeated vectors, whose balls may have radius 0."""
    real = vectors(seed, count, shift=shift).repeat(times, 1)
    assert precision_recall(Manifold.of(real), real) == (1.0, 1.0)


@given(seeds)
def test_sets_far_apart_share_nothing(seed: int) -> None:
    near, far = vectors(seed, 12), vectors(seed + 1, 12, shift=100.0)
    assert precision_recall(Manifold.of(near), far) == (0.0, 0.0)


def test_a_generator_of_one_good_image_is_precise_and_recalls_nothing() -> None:
    real = vectors(0, 30)
    precision, recall = precision_recall(Manifold.of(real), real[:1].repeat(30, 1))
    assert precision == 1
    assert recall == 1 / 30, "that very image"


def test_a_generator_that_also_makes_nonsense_recalls_all_and_is_less_precise() -> None:
    real = vectors(0, 40)
    generated = torch.cat([real[:20], vectors(1, 20, shift=50.0)])
    precision, recall = precision_recall(Manifold.of(real), generated)
    assert precision == 0.5
    assert recall > 0.5


def test_few_vectors_reach_to_the_furthest() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0]])
    radii = Manifold.of(line).squared_radii_M.sqrt()
    assert radii.tolist() == pytest.approx([3.0, 2.0, 3.0])
