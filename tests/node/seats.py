"""Seats of nodes, as tests fill them, and what they save there."""

import hashlib
from pathlib import Path
from typing import Final

import msgspec
from torch import Tensor

from p2pgan.gan.models import Model
from p2pgan.node.kept import Resumption, Sealed
from p2pgan.node.seat import Seat

SEALED: Final = Sealed(machine=b"", draws=()).encode()
"""The state of a machine that remembers nothing."""


def seat_of(node: str, path: Path, resumption: Resumption | None = None) -> Seat:
    """A node of run `run`, which saves to `path`."""
    return Seat(node=node, run="run", checkpoint=path, boot=f"{node}-boot", resumption=resumption)


def contents(path: Path, model: Model) -> dict[str, str]:
    """SHA-256 of all networks and optimisers that were saved, and where the streams stand."""
    found = Resumption.read(path, model)
    saved = found.checkpoint
    tensors: dict[str, Tensor] = dict(saved.kept)
    tensors.update((str(net), vector) for net, vector in saved.vectors.items())
    if saved.ema is not None:
        tensors["ema"] = saved.ema
    digests = {
        name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
        for name, tensor in tensors.items()
    }
    memory = msgspec.json.encode(found.kept.memory).decode()
    return {**digests, "memory": memory, "iterations": str(saved.iterations)}
