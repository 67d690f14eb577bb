"""A node's place in a run, and how it saves there."""

from pathlib import Path

import pytest
import torch

from p2pgan.errors import CheckpointError
from p2pgan.gan.checkpoint import Checkpoint, encode, load
from p2pgan.node.kept import previous_of
from p2pgan.node.seat import Seat, write_checkpoint
from p2pgan.sim.virtual.standin import stand_in_model
from tests.node.seats import seat_of

MODEL = stand_in_model()


def checkpoint(value: float) -> Checkpoint:
    vectors = {net: torch.full((MODEL.networks[net].size,), value) for net in MODEL.networks}
    return Checkpoint(vectors=vectors, run="run", node="a", iterations=3)


def test_what_is_saved_can_be_loaded(tmp_path: Path) -> None:
    seat = seat_of("a", tmp_path / "nodes" / "a" / "checkpoint.safetensors")
    assert seat.save(checkpoint(1.0), MODEL) == seat.checkpoint
    seat.save(checkpoint(2.0), MODEL)
    found = load(seat.checkpoint, MODEL)
    assert (found.node, found.run, found.iterations) == ("a", "run", 3)
    assert found.vectors["G"].eq(2.0).all()
    assert load(previous_of(seat.checkpoint), MODEL).vectors["G"].eq(1.0).all()
    assert sorted(path.name for path in seat.checkpoint.parent.iterdir()) == [
        "checkpoint.previous.safetensors",
        "checkpoint.safetensors",
    ]


def test_whoever_writes_gets_the_bytes() -> None:
    written: dict[Path, bytes] = {}
    path = Path("somewhere")
    seat = Seat(node="a", run="run", checkpoint=path, boot="b", write=written.__setitem__)
    seat.save(checkpoint(1.0), MODEL)
    assert written == {path: encode(checkpoint(1.0), MODEL)}


def test_a_disk_that_refuses_is_one_line_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        write_checkpoint(path / "below", b"data")
    assert "\n" not in str(caught.value)
    assert str(path) in caught.value.at
    assert path.read_bytes() == b""
