"""Saved networks: a node's vectors in one safetensors file, with what they belong to.

`G` and `D`, and `G_ema` where the generator has a running mean. In MD-GAN the coordinator has no
`D`, and workers have no `G`. Whoever is to go on from the file keeps more in it: named tensors,
such as Adam's moments, and a state in bytes.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

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

EMA: Final = "G_ema"
"""Name of the running mean in the file."""

KEPT: Final = "kept."
"""What the names of other tensors begin with in the file."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A node's networks at the end of an iteration; vectors are `(P,)` float32."""

    vectors: Mapping[Net, Tensor]
    run: str
    node: str
    iterations: int
    ema: Tensor | None = None
    """The generator's running mean, if it has one."""
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    """What else training goes on from, by names of whoever saves it; float32, of any shape."""
    state: bytes = b""
    """The same, of what is no tensor; empty: nobody goes on from here."""

    @property
    def generator(self) -> Tensor:
        """The generator that is sampled and scored.

        Raises:
            CheckpointError: if there is none, as at a worker of MD-GAN.
        """
        if "G" not in self.vectors:
            raise CheckpointError(
                expected="a generator",
                got="a discriminator alone",
                at=f"checkpoint of node `{self.node}`",
                hint="the coordinator has the generator",
            )
        return self.vectors["G"] if self.ema is None else self.ema


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
    """Of the bytes of G, D, G_ema, the other tensors by name, and the state: safetensors itself
    checks no more than sizes."""
    state: str = ""
    """In base 64."""


def save(path: Path, checkpoint: Checkpoint, model: Model) -> None:
    """Writes a checkpoint, all of it or nothing.

    Raises:
        CheckpointError: if the disk refuses; the file that was there stays.
    """
    write_atomic(path, encode(checkpoint, model), CheckpointError)


def encode(checkpoint: Checkpoint, model: Model) -> bytes:
    """The content of a checkpoint's file."""
    vectors: dict[str, Tensor] = {
        net: checkpoint.vectors[net] for net in NETS if net in checkpoint.vectors
    }
    if checkpoint.ema is not None:
        vectors[EMA] = checkpoint.ema
    vectors |= {KEPT + name: checkpoint.kept[name] for name in sorted(checkpoint.kept)}
    tensors = {name: vector.contiguous().cpu() for name, vector in vectors.items()}
    about = About(
        model=model.name,
        layout=model.digest(),
        run=checkpoint.run,
        node=checkpoint.node,
        iterations=checkpoint.iterations,
        sha256=_digest(tensors, checkpoint.state),
        state=base64.b64encode(checkpoint.state).decode(),
    )
    metadata = {METADATA_KEY: msgspec.json.encode(about).decode()}
    return safetensors.torch.save(tensors, metadata)


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
            there = file.keys()
            names = [name for name in (*NETS, EMA) if name in there]
            names += sorted(name for name in there if name.startswith(KEPT))
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
            state = base64.b64decode(about.state, validate=True)
    except (SafetensorError, OSError, msgspec.DecodeError, binascii.Error) as error:
        raise CheckpointError(
            expected="a readable checkpoint", got=f"`{error}`", at=str(path)
        ) from None
    if not tensors.keys() & {*NETS}:
        raise CheckpointError(expected="a network", got="none", at=str(path))
    for name, tensor in tensors.items():
        _check_vector(path, name, tensor, model)
    if _digest(tensors, state) != about.sha256:
        raise CheckpointError(
            expected=f"vectors of SHA-256 `{about.sha256[:12]}…`", got="others", at=str(path)
        )
    return Checkpoint(
        vectors={net: tensors[net] for net in NETS if net in tensors},
        run=about.run,
        node=about.node,
        iterations=about.iterations,
        ema=tensors.get(EMA),
        kept={
            name.removeprefix(KEPT): tensor
            for name, tensor in tensors.items()
            if name.startswith(KEPT)
        },
        state=state,
    )


def _digest(tensors: Mapping[str, Tensor], state: bytes) -> str:
    """In the order in which `save` and `load` list them."""
    digest = hashlib.sha256()
    for tensor in tensors.values():
        digest.update(tensor.numpy().data)
    digest.update(state)
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


def _check_vector(path: Path, name: str, vector: Tensor, model: Model) -> None:
    if name.startswith(KEPT):  # its reader knows the shape
        return
    size = model.networks["D" if name == "D" else "G"].size
    if vector.shape != (size,) or vector.dtype != torch.float32:
        raise CheckpointError(
            expected=f"{size} float32 values",
            got=f"{tuple(vector.shape)} of {vector.dtype}",
            at=f"{path}: {name}",
        )
