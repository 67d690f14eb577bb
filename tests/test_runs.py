"""A run directory opened again: networks, images, scores and pictures out of it alone."""

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from p2pgan import runs
from p2pgan.config import RunConfig, ScoreConfig, TrainConfig
from p2pgan.errors import CheckpointError, ConfigError, P2PGanError, RecordError
from p2pgan.experiment import prepare
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import Tally
from p2pgan.runs import Outcome, Run, Standing, commit, versions
from p2pgan.sim.run import simulate
from p2pgan.types import NETS

NOWHERE = Path("no-data-needed")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nodes after 40 iterations."""
    config = RunConfig(nodes=2, iterations=40, device="cpu", score=ScoreConfig(samples=50))
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return simulate(config, NOWHERE, out, lambda simulation: None).directory.path


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The same, to be tampered with."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def complaint(kind: type[P2PGanError], run: Run, node: str = "0") -> str:
    with pytest.raises(kind) as caught:
        run.images(node, 2, 0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_knows_its_settings(finished: Path) -> None:
    run = Run.open(finished)
    assert (run.config.nodes, run.config.iterations, run.model.name) == (2, 40, "mlp-digits")
    assert run.overlay.nodes == ("0", "1")
    assert run.saved_nodes == ["0", "1"]


def test_a_summary_says_where_the_time_went(finished: Path) -> None:
    speed = Run.open(finished).directory.read_summary()["speed"]
    parts = [speed[part] for part in ("train_s", "exchange_s", "score_s", "log_s")]
    assert all(part > 0 for part in parts)
    assert sum(parts) < speed["wall_s"]
    assert speed["node_iterations_per_s"] == pytest.approx(2 * 40 / sum(parts[:2]))


def test_a_folder_of_images_is_trained_on_and_scored_by_random_features(tmp_path: Path) -> None:
    """Its path is in the configuration, and not in the run's name."""
    pictures = tmp_path / "my pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        pixels = rng.integers(0, 256, (9, 12), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{number}.png")
    config = RunConfig(
        algorithm="standalone",
        dataset="folder:my pictures",
        model="mlp-digits",
        nodes=2,
        iterations=2,
        device="cpu",
        score=ScoreConfig(samples=4, final_samples=4),
    )
    out = tmp_path / "run"
    summary = simulate(config, tmp_path, out, lambda simulation: None).summary
    assert summary["scorer"] == "random"
    assert summary["scores"]["ms"]["mean"] == 1
    assert summary["scores"]["fid"]["mean"] > 0
    assert summary["quality"]["classes"]["mean"] == 1
    opened = Run.open(out)
    assert opened.config.dataset == "folder:my pictures"
    assert opened.scores(tmp_path).keys() == {"0", "1"}


def test_a_run_that_nobody_named_is_named_without_the_path_of_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = prepare(RunConfig(nodes=2, device="cpu"), NOWHERE)
    dataset = replace(experiment.dataset, name="folder")
    config = msgspec.structs.replace(experiment.config, dataset="folder:/a/b")
    moved = replace(experiment, dataset=dataset, config=config)
    assert runs.begin(moved, None, moved.overlay).path.name == "gossip-folder-n2-s0"


def test_traffic_of_md_gan_is_batches_feedback_and_moves(finished: Path) -> None:
    """Batches and feedback are no networks, which the other algorithms' shells count."""
    experiment = prepare(RunConfig(algorithm="md-gan", nodes=2, device="cpu"), NOWHERE)
    outcome = Outcome(
        rounds=1,
        iterations=20,
        node_iterations=40,
        standing=Standing(scores=[], consensus={}),
        messages=1,
        bytes_total=70,
        wall_s=2.0,
        busy_s=1.0,
        interrupted=False,
        kinds={
            "batches": Tally(messages=40, payload_bytes=800, bytes=900),
            "feedback": Tally(messages=40, payload_bytes=400, bytes=500),
            "move": Tally(messages=1, payload_bytes=70, bytes=80),
            "hello": Tally(messages=6, payload_bytes=0, bytes=60),
        },
    )
    traffic = runs.summary(RunDirectory(finished), experiment, outcome)["traffic"]
    assert (traffic["messages"], traffic["bytes_total"]) == (81, 1270)
    assert traffic["kinds"]["batches"] == {
        "direction": "coordinator to worker",
        "messages": 40,
        "payload_bytes": 800,
        "bytes": 900,
    }


def test_images_are_as_contracted(finished: Path) -> None:
    images = Run.open(finished).images("1", 7, 3)
    assert images.dtype == np.float32
    assert images.shape == (7, 1, 8, 8)
    assert images.min() >= -1
    assert images.max() <= 1
    assert images.std() > 0.05


def test_the_seed_and_the_node_decide_the_images(finished: Path) -> None:
    run = Run.open(finished)
    images = run.images("0", 5, 1)
    assert np.array_equal(images, Run.open(finished).images("0", 5, 1))
    assert not np.array_equal(images, run.images("0", 5, 2))
    assert not np.array_equal(images, run.images("1", 5, 1))


def test_scores_are_those_of_the_summary(finished: Path) -> None:
    run = Run.open(finished)
    scores = run.scores(NOWHERE)
    row = run.directory.read_summary()["scores"]["fid"]
    fids = sorted(score.fid for score in scores.values())
    assert scores.keys() == {"0", "1"}
    assert fids == pytest.approx([row["min"], row["max"]], rel=1e-6)
    assert next(iter(scores.values())).samples == 50


def test_a_running_mean_is_what_is_scored_and_sampled(finished: Path, tmp_path: Path) -> None:
    """Training is the same with and without it; scores and images are not."""
    plain = Run.open(finished)
    config = msgspec.structs.replace(plain.config, train=TrainConfig(ema=0.9))
    made = simulate(config, NOWHERE, tmp_path / "mean", lambda simulation: None).directory
    run = Run.open(made.path)
    with_mean, without = run.checkpoint("0"), plain.checkpoint("0")
    assert with_mean.ema is not None
    assert all(torch.equal(with_mean.vectors[net], without.vectors[net]) for net in NETS)
    assert not np.array_equal(run.images("0", 5, 1), plain.images("0", 5, 1))
    row = made.read_summary()["scores"]["fid"]
    fids = sorted(score.fid for score in run.scores(NOWHERE).values())
    assert fids == pytest.approx([row["min"], row["max"]], rel=1e-6)
    assert fids != sorted(score.fid for score in plain.scores(NOWHERE).values())


def test_scores_of_more_samples(finished: Path) -> None:
    scores = Run.open(finished).scores(NOWHERE, samples=80)
    assert {score.samples for score in scores.values()} == {80}


@pytest.mark.parametrize(("asked", "final", "samples"), [(30, 0, 30), (None, 40, 40), (30, 40, 30)])
def test_quality_on_as_many_images_as_asked_for(
    copy: Path, asked: int | None, final: int, samples: int
) -> None:
    run_toml = copy / "run.toml"
    text = run_toml.read_text()
    assert "final_samples = 0" in text
    run_toml.write_text(text.replace("final_samples = 0", f"final_samples = {final}"))
    measured, summary = Run.open(copy).quality(NOWHERE, asked)
    assert measured.keys() == {"0", "1"}
    assert {quality.samples for quality in measured.values()} == {samples}
    assert (summary["samples"], summary["real"]["samples"]) == (samples, samples)
    assert summary["nodes"] == ["0", "1"]


def test_quality_on_ten_thousand_images_unless_told_otherwise(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runs.QUALITY_SAMPLES == 10_000
    monkeypatch.setattr(runs, "QUALITY_SAMPLES", 25)
    measured, _ = Run.open(finished).quality(NOWHERE)
    assert measured["0"].samples == 25


def test_pictures(copy: Path) -> None:
    drawn = Run.open(copy).draw_pictures()
    assert [path.name for path in drawn] == ["samples.png", "scores.png", "overlay.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    assert {path.parent for path in drawn} == {copy / "pictures"}


def test_pictures_of_a_run_without_networks(copy: Path) -> None:
    shutil.rmtree(copy / "nodes")
    assert "samples.png" not in {path.name for path in Run.open(copy).draw_pictures()}


def test_pictures_that_have_no_place(copy: Path) -> None:
    (copy / "pictures").write_text("a file")
    with pytest.raises(RecordError, match="expected a folder that can be made"):
        Run.open(copy).draw_pictures()


def test_an_unknown_node_comes_with_the_nearest(finished: Path, copy: Path) -> None:
    assert "a node of the run (`0`, `1`), got `7`" in complaint(RecordError, Run.open(copy), "7")
    overlay = copy / "overlay.json"
    overlay.write_text(overlay.read_text().replace('"1"', '"attic"'))
    text = complaint(RecordError, Run.open(copy), "atic")
    assert "did you mean `attic`?" in text


def test_a_node_that_saved_nothing(copy: Path) -> None:
    (copy / "nodes/1/checkpoint.safetensors").unlink()
    run = Run.open(copy)
    assert run.saved_nodes == ["0"]
    assert "expected a checkpoint, got no file" in complaint(CheckpointError, run, "1")
    assert run.scores(NOWHERE).keys() == {"0"}


def test_nothing_saved_at_all(copy: Path) -> None:
    shutil.rmtree(copy / "nodes")
    with pytest.raises(RecordError, match="expected saved networks, got none"):
        Run.open(copy).scores(NOWHERE)


def test_a_checkpoint_of_another_model(copy: Path) -> None:
    run_toml = copy / "run.toml"
    run_toml.write_text(run_toml.read_text().replace("mlp-digits", "mlp-mnist"))
    text = complaint(CheckpointError, Run.open(copy))
    assert "expected a checkpoint of model `mlp-mnist`" in text
    assert "checkpoint.safetensors" in text


@pytest.mark.parametrize("kept", [0, 5, 1000])
def test_a_truncated_checkpoint(copy: Path, kept: int) -> None:
    path = copy / "nodes/0/checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert str(path) in complaint(CheckpointError, Run.open(copy))


@pytest.mark.parametrize("made", [False, True])
def test_what_is_no_run(tmp_path: Path, made: bool) -> None:
    place = tmp_path / "nothing"
    if made:
        place.mkdir()
    with pytest.raises(RecordError, match="expected a run directory"):
        Run.open(place)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("model = [", "expected TOML"),
        ("iterations = 0", "run.toml: iterations"),
        ("itertions = 5", "did you mean `iterations`?"),
    ],
)
def test_a_run_toml_that_is_not_ours(copy: Path, content: str, told: str) -> None:
    (copy / "run.toml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        Run.open(copy)
    assert told in str(caught.value)


def test_versions_and_commit() -> None:
    assert all(versions().values())
    found = commit()
    assert found is None or (len(found) == 40 and set(found) <= set("0123456789abcdef"))
