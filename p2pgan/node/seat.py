"""A node's place in a run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from p2pgan.errors import CheckpointError
from p2pgan.files import Reached, unwatched, write_atomic
from p2pgan.gan.checkpoint import Checkpoint, encode
from p2pgan.gan.models import Model
from p2pgan.node.kept import Resumption, previous_of


def write_checkpoint(path: Path, data: bytes, reached: Reached = unwatched) -> None:
    """Writes a file of a checkpoint to the disk, all of it or nothing; the one before is kept.

    Raises:
        CheckpointError: if the disk refuses; the files that were there stay.
    """
    write_atomic(path, data, CheckpointError, previous=previous_of(path), reached=reached)


@dataclass(frozen=True, kw_only=True)
class Seat:
    """Who a node is, and where it keeps what it has learned."""

    node: str
    run: str
    checkpoint: Path
    """Where its networks are saved."""
    boot: str
    """Tells this start of the node from all others."""
    resumption: Resumption | None = None
    """What it goes on from; `None`: it begins."""
    write: Callable[[Path, bytes], None] = write_checkpoint
    """Writes a file, all of it or nothing; raises `CheckpointError` if the disk refuses."""

    def save(self, checkpoint: Checkpoint, model: Model) -> Path:
        """Saves networks; where.

        Raises:
            CheckpointError: if the disk refuses; the file that was there stays.
        """
        self.write(self.checkpoint, encode(checkpoint, model))
        return self.checkpoint
