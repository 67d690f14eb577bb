"""`p2pgan simulate --clock virtual`, in this process."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from p2pgan.cli import logs, results
from p2pgan.cli import virtual as cli
from p2pgan.cli.simulate import simulate
from p2pgan.errors import P2PGanError
from p2pgan.sim.virtual import run as sim

TINY = ["--clock", "virtual", "-n", "3", "-i", "40", "--exchange-every", "10", "--device", "cpu"]
NETWORKS = [*TINY, "--set", "score.samples=50"]
MADE_UP = [*TINY, "--train", "gradient-free"]


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(simulate)
    return app


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("P2PGAN_DATA_DIR", str(tmp_path / "no-data"))


def run(app: typer.Typer, *arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_it_prints_scores_faults_and_places(app: typer.Typer, tmp_path: Path) -> None:
    result = run(app, *NETWORKS, "--out", "here")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "gossip on digits (iid), 3 nodes, overlay complete-3, seed 0"
    assert any(line.startswith("virtual time 0.4 s, ") for line in lines)
    assert "outages: none; 0 messages lost; 3 nodes ended in good order" in lines
    assert lines[-1] == "here/summary.json"
    for line in lines[-4:]:
        assert (tmp_path / line).is_file()


@pytest.mark.parametrize("train", ["gradient-free", "none"])
def test_without_networks_there_is_nothing_to_draw(
    app: typer.Typer, tmp_path: Path, train: str
) -> None:
    result = run(app, *TINY, "--train", train, "--out", "here", "--json")
    assert json.loads(result.stdout)["virtual"]["survivors"] == 3
    assert result.stdout == (tmp_path / "here/summary.json").read_text()
    assert result.stderr == ""
    assert not (tmp_path / "here/pictures").exists()


def test_train_is_short_for_a_setting(app: typer.Typer, tmp_path: Path) -> None:
    run(app, *MADE_UP, "--out", "here")
    assert 'train = "gradient-free"' in (tmp_path / "here/run.toml").read_text()
    run(app, *TINY, "--set", "virtual.train=none", "--out", "there")
    assert 'train = "none"' in (tmp_path / "there/run.toml").read_text()


def test_logs_show_what_happened(app: typer.Typer) -> None:
    crash = ["--set", "virtual.crash=0.02", "--set", "virtual.restart_s=0.1"]
    run(app, *MADE_UP, *crash, "--out", "here")
    for command in ("summary", "exchanges", "tail"):
        result = CliRunner().invoke(logs.app, [command, "here"])
        assert result.exit_code == 0, result.output
        assert result.stdout


def test_nodes_can_be_sampled_and_scored(app: typer.Typer, tmp_path: Path) -> None:
    run(app, *NETWORKS, "--out", "here", "--no-pictures")
    tool = typer.Typer()
    tool.command()(results.sample)
    tool.command()(results.score)
    sampled = ["sample", "here", "--node", "1", "--count", "4", "--out", "images.npy"]
    assert CliRunner().invoke(tool, sampled).exit_code == 0
    assert (tmp_path / "images.npy").is_file()
    scored = CliRunner().invoke(tool, ["score", "here", "--json"])
    summary = json.loads((tmp_path / "here/summary.json").read_text())
    again = json.loads(scored.stdout)
    assert again["scores"]["fid"]["mean"] == pytest.approx(summary["scores"]["fid"]["mean"])


def test_an_interrupted_run_is_shown_and_is_status_130(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(stage: sim.Stage) -> sim.Progress:
        os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.undo()
        return stage.progress()

    monkeypatch.setattr(sim, "PROGRESS_EVERY_S", 0.0)
    monkeypatch.setattr(sim.Stage, "progress", interrupt)
    out = str(tmp_path / "here")
    result = CliRunner().invoke(app, [*MADE_UP, "--out", out])
    assert result.exit_code == 130
    assert "interrupted" in result.stdout
    assert cli.STOPPING in result.stderr
    assert json.loads((tmp_path / "here/summary.json").read_text())["interrupted"] is True


def test_processes_do_not_share_a_run_in_virtual_time(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each would play all of it, into one directory."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    for name, value in {"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    for arguments in (MADE_UP, ["--replay", "first"]):
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, P2PGanError)
        assert "one process, got `2` - at WORLD_SIZE" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


# -- once more -------------------------------------------------------------------------------------


def test_a_replay_is_the_same(app: typer.Typer, tmp_path: Path) -> None:
    faults = ["--set", "virtual.preset=random", "--set", "virtual.loss=0.1", "--seed", "3"]
    run(app, *MADE_UP, *faults, "--out", "first")
    result = run(app, "--replay", "first", "--out", "second")
    assert result.exit_code == 0
    count = len((tmp_path / "first/events.jsonl").read_text().splitlines())
    assert result.stderr.strip() == f"the same as first: {count} records"


def test_a_changed_log_is_noticed(app: typer.Typer, tmp_path: Path) -> None:
    run(app, *MADE_UP, "--out", "first")
    path = tmp_path / "first/events.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], lines[4].replace('"seq":', '"seq":9'), *lines[5:]]))
    result = CliRunner().invoke(app, ["--replay", "first", "--out", "second"])
    assert isinstance(result.exception, P2PGanError)
    assert "events.jsonl, record 5" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--train", "none"], "got `none` - at --replay"),
        (["-n", "5", "--set", "virtual.loss=0.1"], "no settings beside `--replay`"),
        (["quickstart"], "got `quickstart` - at --replay"),
        ([], "expected a run directory"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    app: typer.Typer, tmp_path: Path, arguments: list[str], told: str
) -> None:
    result = CliRunner().invoke(app, ["--replay", "first", *arguments])
    assert isinstance(result.exception, P2PGanError)
    assert told in str(result.exception)
    assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_bar_goes_to_terminals_only(capsys: pytest.CaptureFixture[str]) -> None:
    values: dict[str, Any] = {"virtual_s": 1.0, "horizon_s": 4.0, "living": 2, "nodes": 3}
    with cli.progress() as (on_progress, on_interrupt):
        on_progress(sim.Progress(**values, iterations=5, events=6, fid=None))
        on_progress(sim.Progress(**values, iterations=5, events=6, fid=7.25))
        assert capsys.readouterr().err == ""
        on_interrupt()
    assert capsys.readouterr().err.strip() == cli.STOPPING
