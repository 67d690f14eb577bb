"""Saved networks: both vectors of a node in one safetensors file, with what they belong to."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from p2pgan.errors import CheckpointError
from p2pgan.files import write_atomic
from p2pgan.gan.models import Model
from p2pgan.types import NETS, Net

METADATA_KEY: Final = "p2pgan"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A node's networks at the end of an iteration; vectors are `(P,)` float32."""

    vectors: Mapping[Net, Tensor]
    run: str
    node: str
    iterations: int


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of its vectors, as JSON in one metadata value.

    One value, since safetensors writes several in no fixed order: equal networks make equal files.
    """

    model: str
    layout: str
    run: str
    node: str
    iterations: int
    sha256: str
    """Of both vectors' bytes, G before D: safetensors itself checks no more than sizes."""


def save(path: Path, checkpoint: Checkpoint, model: Model) -> None:
    """Writes a checkpoint, all of it or nothing.

    Raises:
        CheckpointError: if the disk refuses; the file that was there stays.
    """
    tensors = {str(net): vector.contiguous().cpu() for net, vector in checkpoint.vectors.items()}
    about = About(
        model=model.name,
        layout=model.digest(),
        run=checkpoint.run,
        node=checkpoint.node,
        iterations=checkpoint.iterations,
        sha256=_digest(tensors),
    )
    metadata = {METADATA_KEY: msgspec.json.encode(about).decode()}
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
            told = (file.metadata() or {}).get(METADATA_KEY, "")
            about = msgspec.json.decode(told, type=About)
            _check_model(path, about, model)
            vectors: dict[Net, Tensor] = {net: file.get_tensor(net) for net in NETS}
    except (SafetensorError, OSError, msgspec.DecodeError) as error:
        raise CheckpointError(
            expected="a readable checkpoint", got=f"`{error}`", at=str(path)
        ) from None
    for net in NETS:
        _check_vector(path, net, vectors[net], model)
    if _digest(vectors) != about.sha256:
        raise CheckpointError(
            expected=f"vectors of SHA-256 `{about.sha256[:12]}…`", got="others", at=str(path)
        )
    return Checkpoint(vectors=vectors, run=about.run, node=about.node, iterations=about.iterations)


def _digest(vectors: Mapping[Any, Tensor]) -> str:
    digest = hashlib.sha256()
    for net in NETS:
        digest.update(vectors[net].numpy().data)
    return digest.hexdigest()


def _check_model(path: Path, about: About, model: Model) -> None:
    ours, theirs = (model.name, model.digest()), (about.model, about.layout)
    if ours != theirs:
        raise CheckpointError(
            expected=f"a checkpoint of model `{ours[0]}`, layout `{ours[1]}`",
            got=f"one of `{theirs[0]}`, layout `{theirs[1]}`",
            at=str(path),
            hint="the run's `run.toml` names another model than the one that was trained",
        )


def _check_vector(path: Path, net: Net, vector: Tensor, model: Model) -> None:
    size = model.networks[net].size
    if vector.shape != (size,) or vector.dtype != torch.float32:
        raise CheckpointError(
            expected=f"{size} float32 values",
            got=f"{tuple(vector.shape)} of {vector.dtype}",
            at=f"{path}: {net}",
        )
