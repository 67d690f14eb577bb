"""Latents: what a generator makes images from, drawn per node from the node's own streams."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

VALUES_AT_ONCE = 200_000
"""Normal numbers that are drawn in one go: enough to amortise the calls, few enough to stay in the
cache. What is drawn does not depend on it."""

GPU_AT_ONCE = 100
"""A GPU takes so many times more in one go: its memory is large, and each copy costs a call."""


@dataclass(frozen=True)
class Latents:
    """Latents `(N, B, Z)` and the classes `(N, B)` that they ask for (all 0 if unconditional)."""

    z_NBZ: Tensor
    labels_NB: Tensor


@dataclass(frozen=True)
class LatentStreams:
    """The streams of one node; their state advances with each draw."""

    latents: np.random.Generator
    labels: np.random.Generator
    proportions: np.random.Generator


class LatentSource:
    """Draws latents for N nodes, `z ~ N(0, I)`.

    With classes, the last `classes` of the Z dimensions hold the wanted class as a one-hot code.
    That keeps the thesis's input of 100 for conditional and unconditional models alike (it does
    not say how its ACGAN feeds the class).
    """

    def __init__(
        self,
        streams: Sequence[LatentStreams],
        latent: int,
        *,
        classes: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """A source over the streams of each node.

        Args:
            streams: the nodes' generators.
            latent: Z.
            classes: classes to draw from uniformly; 0 for unconditional latents.
            device: where the latents go.
            dtype: what they become there; they are drawn in float32.
        """
        self._streams = streams
        self._latent = latent
        self.classes = classes
        self._device = torch.device(device)
        self._dtype = dtype

    def draws(self, nodes: Sequence[int], count: int, batch: int) -> Iterator[Latents]:
        """`count` times `batch` latents of each of these nodes (by index)."""
        values = VALUES_AT_ONCE * (GPU_AT_ONCE if self._device.type == "cuda" else 1)
        at_once = max(1, values // (len(nodes) * batch * self._latent))
        for start in range(0, count, at_once):
            yield from self._drawn(nodes, min(at_once, count - start), batch)

    def proportions(self, nodes: Sequence[int], batch: int) -> Tensor:
        """Uniform numbers in [0, 1), `(N, B)`: where the gradient penalty looks."""
        rows = [self._streams[node].proportions.random(batch, "f") for node in nodes]
        return to_device(np.stack(rows), self._device).to(self._dtype)

    def streams_of(self, node: int) -> list[np.random.Generator]:
        """The streams of one node, for whoever saves where they stand."""
        streams = self._streams[node]
        return [streams.latents, streams.labels, streams.proportions]

    @property
    def generators(self) -> list[np.random.Generator]:
        """Those of all nodes."""
        return [stream for node in range(len(self._streams)) for stream in self.streams_of(node)]

    def _drawn(self, nodes: Sequence[int], count: int, batch: int) -> Iterator[Latents]:
        """As `draws`, all in memory at a time."""
        z_KNBZ = np.empty((count, len(nodes), batch, self._latent), np.float32)
        labels_KNB = np.zeros((count, len(nodes), batch), np.int64)
        for place, node in enumerate(nodes):
            streams = self._streams[node]
            z_KNBZ[:, place] = streams.latents.standard_normal(
                (count, batch, self._latent), np.float32
            )
            if self.classes:
                labels_KNB[:, place] = streams.labels.integers(self.classes, size=(count, batch))
        z = to_device(z_KNBZ, self._device).to(self._dtype)
        labels = to_device(labels_KNB, self._device)
        if self.classes:
            z[..., -self.classes :] = functional.one_hot(labels, self.classes)
        yield from map(Latents, z.unbind(), labels.unbind())


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """The values on a device; a GPU goes on with what it has to do while they are copied."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
