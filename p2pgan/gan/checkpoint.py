"""Saved networks: both vectors of a node in one safetensors file, with what they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from p2pgan.errors import CheckpointError
from p2pgan.files import write_atomic
from p2pgan.gan.models import Model
from p2pgan.types import NETS, Net


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A node's networks at the end of an iteration; vectors are `(P,)` float32."""

    vectors: Mapping[Net, Tensor]
    run: str
    node: str
    iterations: int


def save(path: Path, checkpoint: Checkpoint, model: Model) -> None:
    """Writes a checkpoint, all of it or nothing.

    Raises:
        CheckpointError: if the disk refuses; the file that was there stays.
    """
    metadata = {
        "run": checkpoint.run,
        "node": checkpoint.node,
        "iterations": str(checkpoint.iterations),
        **_identity(model),
    }
    tensors = {str(net): vector.contiguous().cpu() for net, vector in checkpoint.vectors.items()}
    write_atomic(path, safetensors.torch.save(tensors, metadata), CheckpointError)


def load(path: Path, model: Model) -> Checkpoint:
    """Reads a checkpoint of that model.

    Raises:
        CheckpointError: if the file is missing, corrupt, or of another model.
    """
    if not path.is_file():
        raise CheckpointError(expected="a checkpoint", got="no file", at=str(path))
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            _check_identity(path, metadata, model)
            vectors: dict[Net, Tensor] = {net: file.get_tensor(net) for net in NETS}
        iterations = int(metadata.get("iterations", "0"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            expected="a readable checkpoint", got=f"`{error}`", at=str(path)
        ) from None
    for net in NETS:
        _check_vector(path, net, vectors[net], model)
    return Checkpoint(
        vectors=vectors,
        run=metadata.get("run", ""),
        node=metadata.get("node", ""),
        iterations=iterations,
    )


def _identity(model: Model) -> dict[str, str]:
    return {"model": model.name, "layout": model.digest()}


def _check_identity(path: Path, metadata: Mapping[str, str], model: Model) -> None:
    for key, wanted in _identity(model).items():
        if metadata.get(key) != wanted:
            raise CheckpointError(
                expected=f"a checkpoint of {key} `{wanted}`",
                got=f"one of {key} `{metadata.get(key, '')}`",
                at=str(path),
                hint="`run.toml` beside it names another model than the one that was trained",
            )


def _check_vector(path: Path, net: Net, vector: Tensor, model: Model) -> None:
    size = model.networks[net].size
    if vector.shape != (size,) or vector.dtype != torch.float32:
        raise CheckpointError(
            expected=f"{size} float32 values",
            got=f"{tuple(vector.shape)} of {vector.dtype}",
            at=f"{path}: {net}",
        )
