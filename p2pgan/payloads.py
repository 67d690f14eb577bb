"""What MD-GAN's two sides send each other, as bytes: float32 numbers, one part after another.

Batches are the one to learn from and the one to judge, each `B C H W` values and, if classes are
asked for, `B` labels. Feedback is `B C H W` values; where only a share is sent, those that are kept
and then their positions, as numbers, which float32 holds exactly below 2^24.

Shape letters: B batch, C H W image.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from p2pgan.errors import RemoteProtocolError
from p2pgan.gan.split import Fakes, dense, kept_values, sparse
from p2pgan.parties import Parties

WORD_BYTES = 4


@dataclass(frozen=True)
class Payloads:
    """The layout of a run's payloads."""

    shape: tuple[int, int, int, int]
    """`(B, C, H, W)`."""
    classes: int
    """0: no labels are sent."""
    share: float
    """Of a feedback's values."""

    @classmethod
    def of(cls, parties: Parties) -> "Payloads":
        """Those of a run."""
        classes = parties.experiment.model.classes if parties.config.train.conditional else 0
        return cls(parties.batch_shape, classes, parties.config.md.share)

    @property
    def values(self) -> int:
        """Of a batch of images."""
        return math.prod(self.shape)

    @property
    def batches_bytes(self) -> int:
        """Of the two batches that a discriminator is sent."""
        labels = self.shape[0] if self.classes else 0
        return 2 * WORD_BYTES * (self.values + labels)

    @property
    def feedback_bytes(self) -> int:
        """Of what comes back."""
        values = self.values if self.share == 1 else 2 * kept_values(self.values, self.share)
        return WORD_BYTES * values

    def batch(self, images: Tensor, labels_B: Tensor) -> bytes:
        """One batch `(B, C, H, W)`."""
        return words(images) + (words(labels_B) if self.classes else b"")

    def batches(self, data: bytes, device: torch.device) -> tuple[Fakes, Fakes]:
        """The batches to learn from and to judge, `(1, B, C, H, W)` each."""
        values = numbers(data, device)
        learnt, judged = values.chunk(2)
        return self._fakes(learnt), self._fakes(judged)

    def feedback(self, feedback: Tensor) -> bytes:
        """What a discriminator says, `(B, C, H, W)`, or the largest values of it."""
        if self.share == 1:
            return words(feedback)
        values, positions = sparse(feedback, self.share)
        return words(values) + words(positions)

    def received(self, data: bytes, device: torch.device) -> Tensor:
        """What a discriminator said, `(B, C, H, W)`; 0 where nothing was sent.

        Raises:
            RemoteProtocolError: for positions that are none, or do not rise.
        """
        values = numbers(data, device)
        if self.share == 1:
            return values.view(self.shape)
        kept, said = values.chunk(2)
        positions = said.long()
        is_whole = bool((positions == said).all()) and bool((positions.diff() > 0).all())
        if not (is_whole and int(positions[0]) >= 0 and int(positions[-1]) < self.values):
            raise RemoteProtocolError(
                expected=f"rising positions below {self.values}", got="others", at="feedback"
            )
        return dense(kept, positions, self.shape)

    def _fakes(self, values: Tensor) -> Fakes:
        images = values[: self.values].view(1, *self.shape)
        if not self.classes:
            return Fakes(images, torch.zeros(1, self.shape[0], dtype=torch.int64).to(images.device))
        # A class that there is not would end the worker: an index out of range.
        labels = values[self.values :].long().clamp_(0, self.classes - 1)
        return Fakes(images, labels[None])


def words(values: Tensor) -> bytes:
    """Numbers as they are sent, copied."""
    return values.detach().cpu().numpy().astype("<f4", copy=False).tobytes()


def numbers(data: bytes, device: torch.device | str = "cpu") -> Tensor:
    """Numbers that came, in memory of their own."""
    return torch.from_numpy(np.frombuffer(data, dtype="<f4").copy()).to(device)


def discriminator_bytes(parties: Parties, slot: int) -> int:
    """Of a discriminator that moves, with its moments if they go along."""
    travels = parties.config.md.moments == "travel"
    return WORD_BYTES * parties.network(slot).size * (3 if travels else 1)
