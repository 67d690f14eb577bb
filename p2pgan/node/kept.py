"""What a coordinator keeps beside its networks, so that it can be started again where it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from p2pgan.errors import CheckpointError
from p2pgan.gan.checkpoint import Checkpoint, load
from p2pgan.gan.models import Model
from p2pgan.seeds import go_to, position


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What the loop keeps: the machine's state, and where the streams that it draws from stand."""

    machine: bytes
    draws: tuple[str, ...]

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What the work keeps on top: where its own streams stand, and its counters."""

    sealed: bytes
    streams: tuple[str, ...] = ()
    steps: int = 0
    """Of Adam."""
    rounds: int = 0
    """Means made."""

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """A checkpoint that a coordinator goes on from."""

    path: Path
    checkpoint: Checkpoint
    kept: Kept
    sealed: Sealed

    @classmethod
    def read(cls, path: Path, model: Model) -> "Resumption":
        """What was saved there.

        Raises:
            CheckpointError: if there is no such file, or nobody can go on from it.
        """
        checkpoint = load(path, model)
        try:
            kept = msgspec.msgpack.decode(checkpoint.state, type=Kept)
            sealed = msgspec.msgpack.decode(kept.sealed, type=Sealed)
        except msgspec.DecodeError:
            raise CheckpointError(
                expected="a coordinator's checkpoint, to go on from",
                got="one without a coordinator's state",
                at=str(path),
                hint="simulations and other nodes do not keep what a daemon goes on from",
            ) from None
        return cls(path=path, checkpoint=checkpoint, kept=kept, sealed=sealed)


def positions(streams: Sequence[np.random.Generator]) -> tuple[str, ...]:
    """Where streams stand."""
    return tuple(map(position, streams))


def set_positions(streams: Sequence[np.random.Generator], kept: Sequence[str]) -> None:
    """Sets streams to where they stood.

    Raises:
        CheckpointError: if it is not one position for each.
    """
    try:
        for generator, where in zip(streams, kept, strict=True):
            go_to(generator, where)
    except ValueError:
        raise CheckpointError(
            expected=f"the positions of {len(streams)} streams", got="others", at="checkpoint"
        ) from None
