"""Latents: what a generator makes images from, drawn per node from the node's own stream."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Latents:
    """Latents `(N, B, Z)` and the classes `(N, B)` that they ask for (all 0 if unconditional)."""

    z_NBZ: Tensor
    labels_NB: Tensor


class LatentSource:
    """Draws latents for N nodes, `z ~ N(0, I)`.

    With classes, the last `classes` of the Z dimensions hold the wanted class as a one-hot code.
    That keeps the thesis's input of 100 for conditional and unconditional models alike (it does
    not say how its ACGAN feeds the class).
    """

    def __init__(
        self,
        streams: Sequence[np.random.Generator],
        latent: int,
        *,
        classes: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """A source over one stream per node.

        Args:
            streams: the nodes' generators; their state advances with each draw.
            latent: Z.
            classes: classes to draw from uniformly; 0 for unconditional latents.
            device: where the latents go.
        """
        self._streams = streams
        self._latent = latent
        self.classes = classes
        self._device = device

    def draw(self, batch: int) -> Latents:
        """`batch` latents per node."""
        z_NBZ = self._gather([s.standard_normal((batch, self._latent), "f") for s in self._streams])
        if not self.classes:
            labels_NB = torch.zeros(z_NBZ.shape[:2], dtype=torch.int64, device=z_NBZ.device)
            return Latents(z_NBZ, labels_NB)
        labels_NB = self._gather([s.integers(self.classes, size=batch) for s in self._streams])
        z_NBZ[..., -self.classes :] = functional.one_hot(labels_NB, self.classes)
        return Latents(z_NBZ, labels_NB)

    def proportions(self, batch: int) -> Tensor:
        """Uniform numbers in [0, 1), `(N, B)`: where the gradient penalty looks."""
        return self._gather([s.random(batch, "f") for s in self._streams])

    def _gather(self, rows: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(rows)).to(self._device)
