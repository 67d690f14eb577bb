"""What a set of images is worth: real, lost, copied and diverged ones."""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from p2pgan.data.datasets import Dataset, load, to_float
from p2pgan.errors import ConfigError
from p2pgan.gan import quality as module
from p2pgan.gan.quality import (
    FIGURES,
    Quality,
    Yardstick,
    class_divergence,
    class_histogram,
    classes_seen,
)
from p2pgan.gan.scorer import Scorer, load_scorer
from p2pgan.gan.scores import reference, score


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load("digits", tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def train(digits: Dataset) -> Tensor:
    return torch.from_numpy(to_float(digits.images))


@pytest.fixture(scope="module")
def yardstick(digits: Dataset, train: Tensor) -> Yardstick:
    return Yardstick(
        load_scorer("digits"),
        torch.from_numpy(to_float(digits.test_images)),
        lambda: torch.split(train, 700),
        torch.from_numpy(np.bincount(digits.labels) / len(digits.labels)),
    )


def test_test_images_are_as_good_as_themselves(yardstick: Yardstick) -> None:
    itself = yardstick.quality(yardstick.test_MCHW)
    assert itself.fid == pytest.approx(0, abs=1e-6)
    assert (itself.precision, itself.recall) == (1, 1)
    assert (itself.samples, itself.compared, itself.nearest_samples) == (197, 197, 197)
    assert itself.classes == 10
    assert itself.nearest > 1


def test_training_images_are_copies(yardstick: Yardstick, train: Tensor) -> None:
    """Their nearest training images are themselves; `real` asks for those of the test images."""
    copies, real = yardstick.quality(train[:400]), yardstick.real(train[:400])
    assert copies.nearest == 0
    assert copies.nearest_samples == 400
    assert real == dataclasses.replace(
        copies,
        nearest=yardstick.quality(yardstick.test_MCHW).nearest,
        nearest_samples=197,
    )


def test_fid_and_ms_are_those_of_score(yardstick: Yardstick, train: Tensor) -> None:
    images = train[:300]
    plain = score(yardstick.scorer, reference(yardstick.scorer, yardstick.test_MCHW), images)
    quality = yardstick.quality(images)
    assert (quality.fid, quality.ms, quality.samples) == (plain.fid, plain.ms, plain.samples)


def test_both_sides_of_precision_and_recall_are_as_many(
    yardstick: Yardstick, train: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert yardstick.quality(train[:50]).compared == 50
    assert yardstick.quality(train[:300]).compared == 197
    monkeypatch.setattr(module, "COMPARED_MAX", 30)
    fresh = dataclasses.replace(yardstick)
    few = fresh.quality(fresh.test_MCHW)
    assert few.compared == 30
    assert few.samples == 197
    assert (few.precision, few.recall) == (1, 1)


def test_lost_classes_are_missed(yardstick: Yardstick, digits: Dataset, train: Tensor) -> None:
    """FID says only that something is wrong; these say what."""
    whole = yardstick.quality(train)
    half = yardstick.quality(train[torch.from_numpy(digits.labels) < 5])
    assert (whole.classes, half.classes) == (10, 5)
    assert whole.class_kl < 1e-3
    assert half.class_kl == pytest.approx(math.log(2), abs=0.02)
    assert sum(half.histogram[5:]) < 0.01
    assert half.recall < 0.6 < whole.recall
    assert half.precision > 0.9


def test_noise_is_neither_precise_nor_near(yardstick: Yardstick) -> None:
    """One of only 197 real digits lies far off, and its ball holds some of the noise."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.uniform(-1, 1, (200, 1, 8, 8)).astype(np.float32))
    noise, real = yardstick.quality(images), yardstick.quality(yardstick.test_MCHW)
    assert noise.precision < 0.5
    assert noise.recall < 0.5
    assert noise.nearest > 2 * real.nearest


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_image_that_is_not_finite_spoils_every_figure(
    yardstick: Yardstick, train: Tensor, value: float
) -> None:
    images = train[:20].clone()
    images[3, 0, 2, 2] = value
    quality = yardstick.quality(images)
    figures = dataclasses.asdict(quality)
    counts = {name: figures.pop(name) for name in ("samples", "compared", "nearest_samples")}
    assert counts == {"samples": 20, "compared": 20, "nearest_samples": 20}
    assert len(figures["histogram"]) == 10
    assert all(math.isnan(share) for share in figures.pop("histogram"))
    assert all(math.isnan(figure) for figure in figures.values())


def test_a_scorer_of_other_classes_says_nothing_of_them(
    yardstick: Yardstick, train: Tensor
) -> None:
    """Inception knows a thousand things, and no digit."""
    nine = dataclasses.replace(yardstick, shares_C=torch.full((9,), 1 / 9, dtype=torch.float64))
    quality = nine.quality(train[:50])
    assert math.isnan(quality.classes)
    assert math.isnan(quality.class_kl)
    assert math.isfinite(quality.fid)


def test_one_image_is_too_few(yardstick: Yardstick, train: Tensor) -> None:
    with pytest.raises(ConfigError, match="at least 2 images"):
        yardstick.quality(train[:1])


def test_real_images_are_looked_at_once(yardstick: Yardstick, train: Tensor) -> None:
    """Of a hundred nodes each is held against the same test images: their features are kept."""
    looked: list[int] = []

    class Counting(torch.nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            looked.append(len(images))
            return yardstick.scorer.network(images)  # type: ignore[no-any-return]

    scorer: Scorer = dataclasses.replace(yardstick.scorer, network=Counting())
    counted = dataclasses.replace(yardstick, scorer=scorer)
    for _ in range(3):
        counted.quality(train[:20])
    assert sum(looked) == 197 + 3 * 20


numbers = st.floats(allow_nan=False)
counts = st.integers(2, 10**5)


@given(st.lists(numbers, min_size=7, max_size=7), counts, st.lists(numbers, max_size=12))
def test_numbers_in_a_row_and_back(figures: list[float], count: int, shares: list[float]) -> None:
    names = ("fid", "ms", "precision", "recall", "classes", "class_kl", "nearest")
    quality = Quality(
        **dict(zip(names, figures, strict=True)),
        samples=count,
        compared=count + 1,
        nearest_samples=count + 2,
        histogram=tuple(shares),
    )
    row = quality.numbers()
    assert len(row) == FIGURES + len(shares)
    again = Quality.of_numbers([float(number) for number in row])
    assert again == quality
    assert isinstance(again.samples, int)


def one_hot(classes: Iterable[int]) -> Tensor:
    return torch.eye(4)[list(classes)]


def test_the_histogram_counts_the_likeliest_classes() -> None:
    assert class_histogram(one_hot([0, 0, 2, 0])).tolist() == [0.75, 0, 0.25, 0]
    unsure = torch.tensor([[0.4, 0.3, 0.3], [0.1, 0.5, 0.4]])
    assert class_histogram(unsure).tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize(("misread", "seen"), [(0, 1), (1, 1), (9, 1), (10, 2)])
def test_a_few_misread_images_are_no_class(misread: int, seen: int) -> None:
    histogram = class_histogram(one_hot([0] * (10_000 - misread) + [1] * misread))
    assert classes_seen(histogram) == seen


def test_of_few_images_one_is_enough() -> None:
    assert classes_seen(class_histogram(one_hot([0] * 999 + [3]))) == 2


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_the_divergence_is_the_printed_sum(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.multinomial(20, rng.dirichlet([1.0] * classes)) / 20, rng.dirichlet([1.0] * classes)
    wanted = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)
    got = class_divergence(torch.from_numpy(p), torch.from_numpy(q))
    assert got == pytest.approx(wanted, abs=1e-9)
    assert class_divergence(torch.from_numpy(q), torch.from_numpy(q)) == 0


def test_the_divergence_knows_its_extremes() -> None:
    fair = torch.full((4,), 0.25, dtype=torch.float64)
    one = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    assert class_divergence(one, fair) == pytest.approx(math.log(4))
    assert class_divergence(fair, one) == math.inf
    assert class_divergence(one, one) == 0
