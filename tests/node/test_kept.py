"""What a coordinator goes on from."""

from pathlib import Path

import numpy as np
import pytest

from p2pgan.errors import CheckpointError
from p2pgan.gan.checkpoint import Checkpoint, save
from p2pgan.gan.models import model
from p2pgan.node.kept import Kept, Resumption, Sealed, positions, previous_of, set_positions
from p2pgan.seeds import stream

DIGITS = model("mlp-digits")


def saved(path: Path, state: bytes) -> Path:
    vector = DIGITS.generator.initial_vector(np.random.default_rng(0), "he")
    kept = {"G.moments": vector[:3].clone()}
    checkpoint = Checkpoint(
        vectors={"G": vector}, run="r", node="coordinator", iterations=7, kept=kept, state=state
    )
    save(path, checkpoint, DIGITS)
    return path


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    sealed = Sealed(machine=b"\x00\xff", draws=("a", "b"))
    state = Kept(sealed=sealed.encode(), streams=("c",), steps=5, rounds=2).encode()
    found = Resumption.read(saved(tmp_path / "c", state), DIGITS)
    assert found.sealed == sealed
    assert (found.kept.streams, found.kept.steps, found.kept.rounds) == (("c",), 5, 2)
    assert found.checkpoint.iterations == 7
    assert found.checkpoint.kept["G.moments"].shape == (3,)


@pytest.mark.parametrize("state", [b"", b"garbage", Kept(sealed=b"x").encode()])
def test_nobody_goes_on_from_a_checkpoint_without_a_state(tmp_path: Path, state: bytes) -> None:
    with pytest.raises(CheckpointError, match="a checkpoint to go on from"):
        Resumption.read(saved(tmp_path / "c", state), DIGITS)


def test_the_newest_that_can_be_read_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    previous = previous_of(path)
    assert previous.name == "checkpoint.previous.safetensors"
    assert Resumption.newest(path, DIGITS) is None
    state = Kept(sealed=Sealed(machine=b"", draws=()).encode()).encode()
    saved(previous, state)
    found = Resumption.newest(path, DIGITS)
    assert found is not None
    assert (found.path, bool(found.passed_over)) == (previous, True)
    saved(path, state)
    found = Resumption.newest(path, DIGITS)
    assert found is not None
    assert (found.path, found.passed_over) == (path, "")
    path.write_bytes(b"torn")
    found = Resumption.newest(path, DIGITS)
    assert found is not None
    assert found.path == previous
    assert str(path) in found.passed_over
    previous.write_bytes(b"torn, too")
    with pytest.raises(CheckpointError, match=f"hint: move {path} and {previous} away"):
        Resumption.newest(path, DIGITS)
    previous.unlink()
    with pytest.raises(CheckpointError, match=f"hint: move {path} away to begin anew"):
        Resumption.newest(path, DIGITS)


def test_streams_go_on_where_they_stood() -> None:
    streams = [stream(0, node, "latents") for node in "ab"]
    for number, generator in enumerate(streams):
        generator.standard_normal(5 + number, np.float32)
        generator.integers(3, size=3, dtype=np.int32)  # half of a 64-bit draw is left over
    where = positions(streams)
    expected = [generator.integers(1000, size=20, dtype=np.int32) for generator in streams]
    fresh = [stream(0, node, "latents") for node in "ab"]
    set_positions(fresh, where)
    for generator, numbers in zip(fresh, expected, strict=True):
        assert (generator.integers(1000, size=20, dtype=np.int32) == numbers).all()


@pytest.mark.parametrize("kept", [("1 2",), ("x y z w",), (), ("1 1 0 0", "1 1 0 0")])
def test_positions_that_make_no_sense_are_refused(kept: tuple[str, ...]) -> None:
    with pytest.raises(CheckpointError, match="the positions of 1 streams"):
        set_positions([stream(0, "a", "latents")], kept)
