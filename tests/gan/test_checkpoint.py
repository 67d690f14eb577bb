"""Checkpoints: what is saved comes back, and nothing else is taken for it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from p2pgan.errors import CheckpointError
from p2pgan.gan.checkpoint import METADATA_KEY, Checkpoint, load, save
from p2pgan.gan.models import model
from p2pgan.types import NETS, Net

DIGITS = model("mlp-digits")


def some_checkpoint(seed: int = 0) -> Checkpoint:
    rng = np.random.default_rng(seed)
    return Checkpoint(
        vectors={net: DIGITS.networks[net].initial_vector(rng, "he") for net in NETS},
        run="run-1",
        node="node-é",
        iterations=300,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nodes" / "0" / "checkpoint.safetensors"


def test_what_is_saved_comes_back(path: Path) -> None:
    saved = some_checkpoint()
    save(path, saved, DIGITS)
    loaded = load(path, DIGITS)
    assert (loaded.run, loaded.node, loaded.iterations) == ("run-1", "node-é", 300)
    assert all(torch.equal(loaded.vectors[net], saved.vectors[net]) for net in NETS)


def test_a_running_mean_is_the_generator_that_counts(path: Path) -> None:
    mean = torch.randn(DIGITS.generator.size)
    saved = dataclasses.replace(some_checkpoint(), ema=mean)
    save(path, saved, DIGITS)
    loaded = load(path, DIGITS)
    assert loaded.ema is not None
    assert torch.equal(loaded.ema, mean)
    assert torch.equal(loaded.generator, mean)
    assert all(torch.equal(loaded.vectors[net], saved.vectors[net]) for net in NETS)
    assert set(safetensors.torch.load_file(path)) == {"G", "D", "G_ema"}


def test_without_a_running_mean_the_generator_counts(path: Path) -> None:
    save(path, some_checkpoint(), DIGITS)
    loaded = load(path, DIGITS)
    assert loaded.ema is None
    assert torch.equal(loaded.generator, loaded.vectors["G"])


@pytest.mark.parametrize("net", NETS)
def test_one_network_alone_comes_back(path: Path, net: Net) -> None:
    """MD-GAN's coordinator has the generator, its workers a discriminator each."""
    both = some_checkpoint()
    save(path, dataclasses.replace(both, vectors={net: both.vectors[net]}), DIGITS)
    loaded = load(path, DIGITS)
    assert loaded.vectors.keys() == {net}
    assert torch.equal(loaded.vectors[net], both.vectors[net])
    assert set(safetensors.torch.load_file(path)) == {net}


def test_who_has_no_generator_says_who_has(path: Path) -> None:
    both = some_checkpoint()
    alone = dataclasses.replace(both, vectors={"D": both.vectors["D"]})
    with pytest.raises(CheckpointError, match="expected a generator") as caught:
        alone.generator  # noqa: B018
    assert caught.value.at == "checkpoint of node `node-é`"
    assert "coordinator" in caught.value.hint


def test_another_running_mean_is_noticed(path: Path) -> None:
    """The digest is of all vectors."""
    save(path, dataclasses.replace(some_checkpoint(), ema=torch.ones(SIZES["G"])), DIGITS)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(path)
    tensors["G_ema"][5] = 2
    safetensors.torch.save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match=r"SHA-256 .*, got others"):
        load(path, DIGITS)


def test_a_row_of_a_cohorts_matrix_is_saved_alone(path: Path) -> None:
    """Not the whole matrix that it is a view of."""
    matrices = {net: torch.randn(40, DIGITS.networks[net].size) for net in NETS}
    rows = {net: matrix[17] for net, matrix in matrices.items()}
    save(path, Checkpoint(vectors=rows, run="r", node="17", iterations=1), DIGITS)
    loaded = load(path, DIGITS)
    assert all(torch.equal(loaded.vectors[net], rows[net]) for net in NETS)
    assert path.stat().st_size < 4 * sum(len(row) for row in rows.values()) + 2000


def test_any_safetensors_reader_can_open_it(path: Path) -> None:
    saved = some_checkpoint()
    save(path, saved, DIGITS)
    tensors = safetensors.torch.load_file(path)
    assert set(tensors) == {"G", "D"}
    assert torch.equal(tensors["G"], saved.vectors["G"])


def test_saving_again_replaces_the_file_and_leaves_no_part(path: Path) -> None:
    save(path, some_checkpoint(0), DIGITS)
    newer = some_checkpoint(1)
    save(path, newer, DIGITS)
    assert torch.equal(load(path, DIGITS).vectors["G"], newer.vectors["G"])
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_refuses_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="--out"):
        save(tmp_path / "file" / "checkpoint.safetensors", some_checkpoint(), DIGITS)


def test_equal_networks_make_equal_files(path: Path) -> None:
    save(path, some_checkpoint(), DIGITS)
    first = path.read_bytes()
    save(path, some_checkpoint(), DIGITS)
    assert path.read_bytes() == first


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"got no file.*checkpoint\.safetensors"):
        load(path, DIGITS)


def test_every_truncation_is_noticed(path: Path) -> None:
    save(path, some_checkpoint(), DIGITS)
    data = path.read_bytes()
    for length in (0, 1, 7, 8, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="a readable checkpoint"):
            load(path, DIGITS)


@pytest.mark.parametrize("offset", [-1, -1000, -120_000])
def test_a_flipped_bit_in_a_weight_is_noticed(path: Path, offset: int) -> None:
    """The format itself checks no more than sizes."""
    save(path, some_checkpoint(), DIGITS)
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"SHA-256 .*, got others"):
        load(path, DIGITS)


def test_rubbish_is_noticed(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(CheckpointError, match="a readable checkpoint"):
        load(path, DIGITS)


def test_a_checkpoint_of_another_model_names_both(path: Path) -> None:
    save(path, some_checkpoint(), DIGITS)
    with pytest.raises(CheckpointError, match=r"of model `mlp-mnist`, .*got one of `mlp-digits`"):
        load(path, model("mlp-mnist"))


ABOUT = {
    "model": DIGITS.name,
    "layout": DIGITS.digest(),
    "run": "r",
    "node": "0",
    "iterations": 5,
    "sha256": "",
}


def metadata_of(**changes: object) -> dict[str, str]:
    return {METADATA_KEY: json.dumps(ABOUT | changes)}


GOOD = metadata_of()


def write(path: Path, sizes: dict[str, int], metadata: dict[str, str] | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: torch.zeros(size) for name, size in sizes.items()}
    safetensors.torch.save_file(tensors, path, metadata)


SIZES = {"G": DIGITS.generator.size, "D": DIGITS.discriminator.size}


@pytest.mark.parametrize(
    ("sizes", "metadata", "message"),
    [
        (SIZES, None, "a readable checkpoint"),
        (SIZES, metadata_of(layout="other"), "got one of `mlp-digits`, layout `other`"),
        (SIZES, metadata_of(iterations="many"), "a readable checkpoint"),
        (SIZES | {"G": 3}, GOOD, r"28992 float32 values, got \(3,\)"),
        (SIZES | {"G_ema": 3}, GOOD, r"28992 float32 values, got \(3,\)"),
        ({"other": 3}, GOOD, "expected a network"),
    ],
    ids=[
        "no-metadata",
        "other-layout",
        "bad-count",
        "short-vector",
        "short-mean",
        "missing-network",
    ],
)
def test_a_file_that_is_no_checkpoint_of_ours(
    path: Path, sizes: dict[str, int], metadata: dict[str, str] | None, message: str
) -> None:
    write(path, sizes, metadata)
    with pytest.raises(CheckpointError, match=message):
        load(path, DIGITS)


def test_other_number_types_are_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    tensors = {net: torch.zeros(SIZES[net], dtype=torch.float64) for net in NETS}
    safetensors.torch.save_file({str(n): t for n, t in tensors.items()}, path, GOOD)
    with pytest.raises(CheckpointError, match=r"float32 values, got .* of torch\.float64"):
        load(path, DIGITS)


def test_one_network_is_enough_and_what_goes_with_it_comes_back(path: Path) -> None:
    """A coordinator of MD-GAN has no discriminator, and goes on from more than its generator."""
    vectors: dict[Net, torch.Tensor] = {"G": some_checkpoint().vectors["G"]}
    kept = {"moments": torch.arange(6.0).view(2, 3), "a.b": torch.zeros(0)}
    saved = dataclasses.replace(
        some_checkpoint(), vectors=vectors, kept=kept, state=b"\x00\xff any bytes"
    )
    save(path, saved, DIGITS)
    loaded = load(path, DIGITS)
    assert set(loaded.vectors) == {"G"}
    assert loaded.state == saved.state
    assert loaded.kept.keys() == kept.keys()
    assert all(torch.equal(loaded.kept[name], kept[name]) for name in kept)


def test_a_discriminator_alone_has_no_images(path: Path) -> None:
    vectors: dict[Net, torch.Tensor] = {"D": some_checkpoint().vectors["D"]}
    save(path, dataclasses.replace(some_checkpoint(), vectors=vectors), DIGITS)
    with pytest.raises(CheckpointError, match="expected a generator, got a discriminator alone"):
        _ = load(path, DIGITS).generator


@pytest.mark.parametrize("change", [{"state": "AAAA"}, {"state": "no base 64"}])
def test_another_state_is_seen(path: Path, change: dict[str, str]) -> None:
    save(path, dataclasses.replace(some_checkpoint(), state=b"state"), DIGITS)
    with safetensors.safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()[METADATA_KEY])
        tensors = {name: file.get_tensor(name) for name in ("G", "D")}
    safetensors.torch.save_file(tensors, path, {METADATA_KEY: json.dumps(about | change)})
    with pytest.raises(CheckpointError, match=r"got others|a readable checkpoint"):
        load(path, DIGITS)
