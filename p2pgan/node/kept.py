"""What a node keeps beside its networks, so that it can be started again where it was."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from p2pgan.errors import CheckpointError
from p2pgan.gan.checkpoint import Checkpoint, load
from p2pgan.gan.memory import Memory
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
    memory: Memory = Memory()
    """What a peer's training goes on from, less the moments, which are tensors."""

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """A checkpoint that a node goes on from."""

    path: Path
    checkpoint: Checkpoint
    kept: Kept
    sealed: Sealed
    passed_over: str = ""
    """Why it is not the newest; empty: it is."""

    @classmethod
    def newest(cls, path: Path, model: Model) -> "Resumption | None":
        """What was saved last, or before that, if the last file cannot be read; `None`: nothing.

        Raises:
            CheckpointError: if something was saved, and nobody can go on from it.
        """
        if not path.is_file() and not previous_of(path).is_file():
            return None
        try:
            return cls.read(path, model)
        except CheckpointError as error:
            try:
                return replace(cls.read(previous_of(path), model), passed_over=str(error))
            except CheckpointError:
                raise _with_way_out(error, path) from None

    @classmethod
    def read(cls, path: Path, model: Model) -> "Resumption":
        """What was saved there.

        Raises:
            CheckpointError: if there is no such file, or nobody can go on from it.
        """
        return cls.of(path, load(path, model))

    @classmethod
    def of(cls, path: Path, checkpoint: Checkpoint) -> "Resumption":
        """What was saved, or is to be gone on from as if it had been.

        Raises:
            CheckpointError: if nobody can go on from it.
        """
        try:
            kept = msgspec.msgpack.decode(checkpoint.state, type=Kept)
            sealed = msgspec.msgpack.decode(kept.sealed, type=Sealed)
        except msgspec.DecodeError:
            raise CheckpointError(
                expected="a checkpoint to go on from",
                got="one without a node's state",
                at=str(path),
                hint="simulations and workers do not keep what a daemon goes on from",
            ) from None
        return cls(path=path, checkpoint=checkpoint, kept=kept, sealed=sealed)


def _with_way_out(error: CheckpointError, path: Path) -> CheckpointError:
    """The error with what to do where nothing that was saved can be read."""
    there = " and ".join(str(file) for file in (path, previous_of(path)) if file.is_file())
    hints = [error.hint] if error.hint else []
    return CheckpointError(
        expected=error.expected,
        got=error.got,
        at=error.at,
        hint="; ".join([*hints, f"move {there} away to begin anew"]),
    )


def previous_of(path: Path) -> Path:
    """Where the checkpoint is that was saved before the one at this path."""
    return path.with_suffix(f".previous{path.suffix}")


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
