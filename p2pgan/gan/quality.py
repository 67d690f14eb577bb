"""The thorough measurement at the end of a run: many images, and more than MS and FID say of them.

FID says how far generated images are from real ones, but not in which way: images that do not look
real, real ones that are never generated, and training images learned by heart have figures of
their own here. All but the last rest on the scorer's view of the images.

Shape letters: K generated images, M real ones, C classes (or channels, before height and width),
F features.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from p2pgan.gan.manifold import Manifold, precision_recall
from p2pgan.gan.nearest import nearest_distances
from p2pgan.gan.scorer import Scorer
from p2pgan.gan.scores import Reference, activations, scores_of

COMPARED_MAX = 5_000
"""Images of each side that precision and recall take: their cost grows with the square. For
real MNIST images 10,000 give the same within 0.01; poor ones may differ by 0.1, as one
far-off real image has a large ball."""

NEAREST_MAX = 1_000
"""Images whose nearest training images are looked for, each among all of them: on MNIST 94 GFLOP.
The mean of so many is known to about 1 %."""

SEEN_SHARE = 1 / 1000
"""Of the images that a class must have to count as seen. MNIST's scorer misreads 0.4 % of real
images, so a class that is never generated gets about 0.04 % of them by mistake: less than this,
while a fair share is a hundred times as much."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What one set of images is worth. Every figure is NaN if an image is not finite."""

    samples: int
    """Images that FID, MS and the classes rest on."""
    fid: float
    """Frechet distance to the test images' features; 0 at best, no upper bound."""
    ms: float
    """Mode score; from 1 to the number of classes."""
    compared: int
    """Images of each side in precision and recall."""
    precision: float
    """Share of the images that look like test images, in [0, 1]."""
    recall: float
    """Share of test images that look like some of the images, in [0, 1]."""
    classes: float
    """Classes that at least one image in 1,000 belongs to, by the scorer. NaN if the scorer knows
    other classes than the data's; so are the two below."""
    class_kl: float
    """`KL(histogram || data)` against the training labels, in nats; 0 at best."""
    nearest: float
    """Mean Euclidean distance to the nearest training image, over the pixels in [-1, 1]."""
    nearest_samples: int
    """Images that `nearest` rests on."""
    histogram: tuple[float, ...]
    """Share of the images in each class, by the scorer."""

    @classmethod
    def of_numbers(cls, numbers: Sequence[float]) -> "Quality":
        """What gave these `numbers`."""
        figures = dict(zip(_FIGURES, numbers, strict=False))
        counts = {name: int(figures.pop(name)) for name in _COUNTS}
        return cls(**figures, **counts, histogram=tuple(numbers[len(_FIGURES) :]))  # type: ignore[arg-type]

    def numbers(self) -> list[float]:
        """All of it as `FIGURES + C` numbers in a row, which travel between processes."""
        return [*(getattr(self, name) for name in _FIGURES), *self.histogram]


_FIGURES = tuple(field.name for field in fields(Quality) if field.name != "histogram")
_COUNTS = ("samples", "compared", "nearest_samples")

FIGURES = len(_FIGURES)
"""Numbers of a `Quality`, its histogram left out."""


@dataclass(frozen=True, eq=False)
class Yardstick:
    """The real images that generated ones are held against."""

    scorer: Scorer
    test_MCHW: Tensor
    """Test images in [-1, 1], float32, at least 2, in random order; as many as are generated, where
    there are."""
    training: Callable[[], Iterable[Tensor]]
    """All training images, some at a time."""
    shares_C: Tensor
    """Share of each class among them, float64, by their labels."""

    def quality(self, images_KCHW: Tensor, *, probes_KCHW: Tensor | None = None) -> Quality:
        """What these images are worth.

        Args:
            images_KCHW: generated images in [-1, 1], float32; at least 2.
            probes_KCHW: those whose nearest training images are looked for; `None`: the same.
        Raises:
            ConfigError: for fewer than 2 images, or images of another shape than the scorer's.
        """
        probes_KCHW = (images_KCHW if probes_KCHW is None else probes_KCHW)[:NEAREST_MAX]
        compared = min(len(images_KCHW), self._compared)
        if not images_KCHW.isfinite().all():
            return self._diverged(len(images_KCHW), compared, len(probes_KCHW))
        probabilities_KC, features_KF = activations(self.scorer, images_KCHW)
        (scores,) = scores_of(self._reference, probabilities_KC[None], features_KF[None])
        precision, recall = precision_recall(self._manifold(compared), features_KF[:compared])
        histogram_C = self._histogram(probabilities_KC)
        nearest_K = nearest_distances(probes_KCHW, self.training(), self.scorer.device)
        return Quality(
            samples=len(images_KCHW),
            fid=scores.fid,
            ms=scores.ms,
            compared=compared,
            precision=precision,
            recall=recall,
            classes=classes_seen(histogram_C),
            class_kl=class_divergence(histogram_C, self.shares_C),
            nearest=float(nearest_K.mean()),
            nearest_samples=len(probes_KCHW),
            histogram=tuple(histogram_C.tolist()),
        )

    def real(self, images_MCHW: Tensor) -> Quality:
        """What training images get in place of generated ones; no generator should do better.

        `nearest` is that of the test images: training images have themselves.
        """
        return self.quality(images_MCHW, probes_KCHW=self.test_MCHW)

    @cached_property
    def _features_MF(self) -> Tensor:
        return activations(self.scorer, self.test_MCHW)[1]

    @cached_property
    def _reference(self) -> Reference:
        return Reference.of(self._features_MF)

    @property
    def _compared(self) -> int:
        return min(len(self.test_MCHW), COMPARED_MAX)

    @cached_property
    def _whole(self) -> Manifold:
        return Manifold.of(self._features_MF[: self._compared])

    def _manifold(self, count: int) -> Manifold:
        """Of so many test images: both sides take as many."""
        return self._whole if count == self._compared else Manifold.of(self._features_MF[:count])

    def _histogram(self, probabilities_KC: Tensor) -> Tensor:
        classes = len(self.shares_C)
        if probabilities_KC.shape[1] != classes:
            return torch.full((classes,), math.nan, dtype=torch.float64)
        return class_histogram(probabilities_KC)

    def _diverged(self, samples: int, compared: int, nearest_samples: int) -> Quality:
        return Quality(
            samples=samples,
            fid=math.nan,
            ms=math.nan,
            compared=compared,
            precision=math.nan,
            recall=math.nan,
            classes=math.nan,
            class_kl=math.nan,
            nearest=math.nan,
            nearest_samples=nearest_samples,
            histogram=(math.nan,) * len(self.shares_C),
        )


def class_histogram(probabilities_KC: Tensor) -> Tensor:
    """Share of the images whose likeliest class is each, `(C,)` float64."""
    samples, classes = probabilities_KC.shape
    counts_C = torch.bincount(probabilities_KC.argmax(1), minlength=classes)
    return counts_C.double() / samples


def classes_seen(histogram_C: Tensor) -> float:
    """Classes with at least `SEEN_SHARE` of the images; NaN if the histogram is."""
    return math.nan if histogram_C.isnan().any() else float((histogram_C >= SEEN_SHARE).sum())


def class_divergence(histogram_C: Tensor, shares_C: Tensor) -> float:
    """`KL(histogram || shares)` in nats: finite for lost classes, which the reverse is not.

    Of `C` equally frequent classes of which `c` are left, equally frequent, it is `ln(C / c)`.
    Infinite if there are images of a class that the data does not have.
    """
    has_any = histogram_C != 0  # 0 log 0 is 0, also where the data has none; NaN is not 0
    return float((histogram_C * (histogram_C / shares_C).log())[has_any].sum().clamp(min=0.0))
