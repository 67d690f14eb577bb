"""`p2pgan sample` and `p2pgan score`, on a tiny run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from p2pgan.cli.results import sample, score
from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.errors import CheckpointError, ConfigError, P2PGanError, RecordError
from p2pgan.runs import Run
from p2pgan.sim.run import simulate

app = typer.Typer()
app.command()(sample)
app.command()(score)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = RunConfig(nodes=2, iterations=40, device="cpu", score=ScoreConfig(samples=50))
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return simulate(config, Path("nowhere"), out, lambda simulation: None).directory.path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def output(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def complaint(kind: type[P2PGanError], *arguments: object) -> str:
    error = invoke(*arguments).exception
    assert isinstance(error, kind)
    assert "\n" not in str(error)
    return str(error)


def test_images_as_contracted(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "images.npy"
    text = output("sample", run, "--node", 1, "--count", 5, "--seed", 3, "--out", out)
    assert text == f"5 images of node 1: {out}\n"
    images = np.load(out)
    assert (images.dtype, images.shape) == (np.float32, (5, 1, 8, 8))
    assert np.abs(images).max() <= 1


def test_the_same_seed_gives_the_same_images(run: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.npy" for number in range(3)]
    for path, seed in zip(paths, (3, 3, 4), strict=True):
        output("sample", run, "--node", 0, "--seed", seed, "--out", path)
    one, same, other = (path.read_bytes() for path in paths)
    assert one == same != other


def test_a_picture(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "images.png"
    output("sample", run, "--node", 0, "--out", out)
    assert out.read_bytes().startswith(b"\x89PNG")


def test_nothing_is_overwritten_unless_forced(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "images.npy"
    out.write_text("mine")
    assert "`--force`" in complaint(ConfigError, "sample", run, "--node", 0, "--out", out)
    assert out.read_text() == "mine"
    output("sample", run, "--node", 0, "--out", out, "--force")
    assert np.load(out).shape == (64, 1, 8, 8)


@pytest.mark.parametrize("name", ["images.npz", "images", "no-folder/images.npy"])
def test_places_that_will_not_do(run: Path, tmp_path: Path, name: str) -> None:
    assert name.split("/")[0] in complaint(
        ConfigError, "sample", run, "--node", 0, "--out", tmp_path / name
    )
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses(run: Path) -> None:
    """Neither half a file nor a traceback."""
    if not Path("/proc/self").is_dir():
        pytest.skip("no folder here that nobody can write to")
    text = complaint(RecordError, "sample", run, "--node", 0, "--out", "/proc/self/images.npy")
    assert "/proc/self/images.npy" in text


def test_unknown_nodes_and_runs(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "images.npy"
    assert "`7`" in complaint(RecordError, "sample", run, "--node", 7, "--out", out)
    assert "run.toml" in complaint(RecordError, "sample", tmp_path, "--node", 0, "--out", out)
    assert "run.toml" in complaint(RecordError, "score", tmp_path)
    assert not out.exists()


@pytest.mark.parametrize("arguments", [("--count", 0), ("--count", "x")])
def test_wrong_counts_are_usage_errors(run: Path, arguments: tuple[object, ...]) -> None:
    assert invoke("sample", run, "--node", 0, "--out", "x.npy", *arguments).exit_code == 2
    assert invoke("score", run, "--samples", 1).exit_code == 2


def test_scores_are_a_row_per_node(run: Path) -> None:
    lines = output("score", run).splitlines()
    assert lines[0].split() == ["node", "FID", "MS"]
    assert [line.split()[0] for line in lines[1:5]] == ["0", "1", "mean", "std"]
    assert lines[-1] == "50 samples per generator"


def test_scores_as_json_are_those_of_the_summary(run: Path) -> None:
    document = json.loads(output("score", run, "--json"))
    summary = json.loads((run / "summary.json").read_text())
    assert document["run"] == "tiny"
    assert document["nodes"].keys() == {"0", "1"}
    for name in ("fid", "ms"):
        for key in ("mean", "min", "max"):
            expected = summary["scores"][name][key]
            assert document["scores"][name][key] == pytest.approx(expected, rel=1e-6)


def test_scores_of_more_samples(run: Path) -> None:
    document = json.loads(output("score", run, "--samples", 80, "--json"))
    assert {row["samples"] for row in document["nodes"].values()} == {80}


def test_the_quality_is_a_row_per_node_and_one_of_real_data(run: Path) -> None:
    lines = output("score", run, "--quality", "--samples", 40).splitlines()
    assert lines[0].split() == [
        *("node", "fid", "ms", "precision", "recall"),
        *("classes", "class_kl", "nearest"),
    ]
    assert [line.split()[0] for line in lines[1:6]] == ["0", "1", "mean", "std", "real"]
    assert lines[-1] == (
        "quality of 2 nodes on 40 samples "
        "(precision and recall on 40, nearest training images of 40)"
    )


def test_the_quality_as_json_is_that_of_the_library(run: Path) -> None:
    document = json.loads(output("score", run, "--quality", "--samples", 40, "--json"))
    measured, summary = Run.open(run).quality(Path("nowhere"), 40)
    assert document["run"] == "tiny"
    assert document["quality"]["fid"] == pytest.approx(summary["fid"])
    assert document["quality"]["real"]["nearest"] == pytest.approx(summary["real"]["nearest"])
    for node, quality in measured.items():
        assert document["nodes"][node]["precision"] == pytest.approx(quality.precision)
        assert document["nodes"][node]["samples"] == 40
        assert sum(document["nodes"][node]["histogram"]) == pytest.approx(1)


def test_networks_that_are_not_those_of_run_toml(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    run_toml = copy / "run.toml"
    run_toml.write_text(run_toml.read_text().replace("mlp-digits", "mlp-mnist"))
    text = complaint(CheckpointError, "sample", copy, "--node", 0, "--out", tmp_path / "x.png")
    assert "`mlp-mnist`" in text
    assert "`mlp-digits`" in text


@pytest.mark.parametrize("options", [[], ["--quality"]])
def test_nodes_without_networks_are_named(run: Path, tmp_path: Path, options: list[str]) -> None:
    assert invoke("score", run, "--samples", 40, *options).stderr == ""
    there = shutil.copytree(run, tmp_path / "run")
    (there / "nodes/1/checkpoint.safetensors").unlink()
    result = invoke("score", there, "--samples", 40, "--json", *options)
    assert result.stderr == "without saved networks, and not scored: 1\n"
    assert json.loads(result.stdout)["nodes"].keys() == {"0"}
