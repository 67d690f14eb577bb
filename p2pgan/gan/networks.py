"""A network as a list of layers over one flat vector per node.

The rule for what a vector holds: all trained parameters in layer order, then all buffers
(batch-norm's running statistics) in layer order. Nothing else of a network has a state.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from p2pgan.gan.layers import LEAKY_SLOPE, Layer, Slot

Init = Literal["he", "glorot"]


@dataclass(frozen=True)
class Network:
    """Layers with the layout of their tensors in one float32 vector of `size` values.

    `vector` below is always `(N, P)`, one row per node; tensors are views into it.
    """

    layers: tuple[Layer, ...]

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """All slots in vector order: parameters first, then buffers."""
        slots = [slot for layer in self.layers for slot in layer.slots()]
        return tuple(sorted(slots, key=lambda slot: slot.is_buffer))

    @cached_property
    def trained(self) -> int:
        """Number of trained tensors; they come first among the slots."""
        return sum(not slot.is_buffer for slot in self.slots)

    @cached_property
    def parameters(self) -> int:
        """Trained values per node; they fill the head of the vector."""
        return sum(slot.size for slot in self.slots if not slot.is_buffer)

    @cached_property
    def size(self) -> int:
        """P: values per node, buffers included."""
        return sum(slot.size for slot in self.slots)

    @property
    def batch_min(self) -> int:
        """Smallest batch that it trains on: batch norm has no variance of a single sample."""
        return 2 if any(slot.is_buffer for slot in self.slots) else 1

    def digest(self) -> str:
        """A short hash of layers and layout; equal digests mean exchangeable vectors."""
        return hashlib.blake2b(repr(self.layers).encode(), digest_size=8).hexdigest()

    def views(self, vector_NP: Tensor) -> list[Tensor]:
        """One view per slot, in vector order, each `(N, *slot.shape)`, sharing the memory."""
        assert vector_NP.shape[1] == self.size, (vector_NP.shape, self.size)
        pieces = torch.split(vector_NP, [slot.size for slot in self.slots], dim=1)
        return [piece.view(-1, *slot.shape) for piece, slot in zip(pieces, self.slots, strict=True)]

    def apply(self, views: Sequence[Tensor], x: Tensor, *, training: bool) -> Tensor:
        """All layers in turn.

        Args:
            views: as `views` returns them.
            x: inputs, shape `(N, B, ...)`.
            training: see `Layer.apply`; updates the buffers in place when true.
        """
        for layer, positions in self.placed:
            x = layer.apply([views[i] for i in positions], x, training=training)
        return x

    @cached_property
    def placed(self) -> tuple[tuple[Layer, tuple[int, ...]], ...]:
        """Every layer with the positions of its slots in `slots`."""
        order = [
            (slot.is_buffer, number, place)
            for number, layer in enumerate(self.layers)
            for place, slot in enumerate(layer.slots())
        ]
        position = {(number, place): i for i, (_, number, place) in enumerate(sorted(order))}
        return tuple(
            (layer, tuple(position[number, place] for place in range(len(layer.slots()))))
            for number, layer in enumerate(self.layers)
        )

    @property
    def couples_samples(self) -> bool:
        """Whether the batch that a sample is in matters to it, as with batch norm."""
        return any(layer.couples_samples for layer in self.layers)

    def initial_vector(self, rng: np.random.Generator, init: Init) -> Tensor:
        """One node's initial vector, shape `(P,)`.

        Weights: `he` is normal with standard deviation `gain / sqrt(fan_in)`, the gain being that
        of the leaky ReLU (He et al. 2015, eq. 15); `glorot` is uniform in
        `±sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010, eq. 16). Biases and running means
        are 0; scales and running variances are 1.
        """
        pieces = [_initial(slot, rng, init).ravel() for slot in self.slots]
        return torch.from_numpy(np.concatenate(pieces).astype(np.float32))


def _initial(slot: Slot, rng: np.random.Generator, init: Init) -> np.ndarray:
    if slot.role in ("scale", "running_var"):
        return np.ones(slot.shape)
    if slot.role in ("bias", "running_mean"):
        return np.zeros(slot.shape)
    if init == "he":
        gain = math.sqrt(2 / (1 + LEAKY_SLOPE**2))
        return rng.normal(0.0, gain / math.sqrt(slot.fan_in), slot.shape)
    limit = math.sqrt(6 / (slot.fan_in + slot.fan_out))
    return rng.uniform(-limit, limit, slot.shape)
