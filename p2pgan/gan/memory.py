"""What a node's training goes on from, beside its networks: optimisers and streams.

A cohort remembers it of each node, and recalls it. Together with the networks it is all that
training depends on: who recalls it trains on to the bit, as if nothing had happened.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
import torch
from torch import Tensor

from p2pgan.types import Net


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one node. Empty: it has nothing to go on from, and Adam begins."""

    moments: Mapping[Net, bytes] = {}
    """Adam's of each network: the first, then the second, each in the layout of a vector, in
    little-endian float32 bytes. Of a network that is not there all are 0."""
    steps: Mapping[Net, int] = {}
    """Of Adam."""
    followed: int = 0
    """Steps of the running mean."""
    streams: tuple[str, ...] = ()
    """Where those of the latents stand."""
    batches: str = ""
    """Where the sampler of real images stands."""


class Sampler(Protocol):
    """What one node's real images come from, as far as it can be set back."""

    @property
    def position(self) -> str:
        """Where it stands, as text that `go_to` takes."""

    def go_to(self, position: str) -> None:
        """Goes on where another stood; `ValueError` if it cannot have been there."""


def to_bytes(moments: Sequence[Tensor]) -> bytes:
    """Vectors of moments, one behind the other."""
    return torch.cat([part.detach().cpu() for part in moments]).numpy().astype("<f4").tobytes()


def to_tensor(moments: bytes) -> Tensor:
    """The same, back; copied."""
    return torch.from_numpy(np.frombuffer(moments, dtype="<f4").astype(np.float32))
