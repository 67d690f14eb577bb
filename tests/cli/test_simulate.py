"""`p2pgan simulate`, in this process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from p2pgan.cli.simulate import place_from, simulate
from p2pgan.errors import ConfigError, P2PGanError
from p2pgan.sim.lockstep import Lockstep
from p2pgan.sim.processes import Place

TINY = ["-n", "2", "-i", "20", "--set", "score.samples=50", "--device", "cpu"]

OWN = {
    *("--clock", "--train", "--replay"),
    *("--list", "--out", "--json", "--pictures", "--no-pictures"),
}
"""Beyond the options that `up` and `node start` have as well; scripts rely on these names."""


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(simulate)
    return app


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(app: typer.Typer, *arguments: str) -> Result:
    result = CliRunner().invoke(app, [*TINY, *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_its_own_options_are_these(app: typer.Typer) -> None:
    from p2pgan.cli.options import RUN_OPTIONS

    parameters = typer.main.get_command(app).params
    names = {n for p in parameters for n in (*p.opts, *p.secondary_opts) if n.startswith("--")}
    shared = {f"--{key.replace('_', '-')}" for key in RUN_OPTIONS} | {"--config", "--set"}
    assert names - shared - {"--install-completion", "--show-completion"} == OWN


def test_it_prints_scores_costs_and_places(app: typer.Typer, tmp_path: Path) -> None:
    result = run(app, "--out", "here", "--no-pictures")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "gossip on digits (iid), 2 nodes, overlay complete-2, seed 0"
    assert lines[1] == "20 iterations in 1 round of 20"
    assert lines[3].split() == ["mean", "std", "min", "max", "real", "data"]
    assert lines[4].startswith("FID (lower is better)")
    assert lines[-1] == "here/summary.json"
    assert "\x1b" not in result.output
    assert not (tmp_path / "here/pictures").exists()


def test_pictures_are_drawn_and_named(app: typer.Typer, tmp_path: Path) -> None:
    lines = run(app, "--out", "here").stdout.splitlines()
    for line in lines[-4:]:
        assert (tmp_path / line).is_file()
    assert lines[-4] == "here/pictures/samples.png"


def test_json_is_the_summary_and_nothing_else(app: typer.Typer, tmp_path: Path) -> None:
    result = run(app, "--out", "here", "--json")
    assert result.stdout == (tmp_path / "here/summary.json").read_text()
    assert json.loads(result.stdout)["nodes"] == 2
    assert result.stderr == ""
    assert (tmp_path / "here/pictures/samples.png").is_file()


def test_without_a_place_runs_get_names_of_their_own(app: typer.Typer, tmp_path: Path) -> None:
    for _ in range(2):
        run(app, "--no-pictures")
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["gossip-digits-n2-s0", "gossip-digits-n2-s0-2"]


def test_settings_come_from_everywhere(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my.toml").write_text('algorithm = "standalone"\nseed = 5\n')
    monkeypatch.setenv("P2PGAN_ALGORITHM", "fl-gan")
    result = run(app, "--config", "my.toml", "--exchange-every", "4", "--no-pictures", "--json")
    summary = json.loads(result.stdout)
    found = {key: summary[key] for key in ("algorithm", "seed", "exchange_every", "rounds")}
    assert found == {"algorithm": "fl-gan", "seed": 5, "exchange_every": 4, "rounds": 5}


def test_an_interrupted_run_is_shown_and_is_status_130(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(lockstep: Lockstep) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lockstep, "_play_round", interrupted)
    result = run(app, "--out", "here", "--no-pictures")
    assert result.exit_code == 130
    assert "0 iterations in 0 rounds of 20, interrupted" in result.stdout


def test_a_recipe_is_refined_by_options(app: typer.Typer) -> None:
    summary = json.loads(run(app, "quickstart", "-n", "6", "--no-pictures", "--json").stdout)
    found = {key: summary[key] for key in ("overlay", "iterations", "nodes", "exchange_every")}
    assert found == {
        "overlay": "watts-strogatz-6",
        "iterations": 20,
        "nodes": 6,
        "exchange_every": 20,
    }


def test_recipes_are_listed_and_nothing_is_run(app: typer.Typer, tmp_path: Path) -> None:
    assert "quickstart: " in run(app, "--list").stdout
    assert json.loads(run(app, "--list", "--json").stdout)[0]["name"] == "chapter4"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["quickstrat"], "did you mean `quickstart`?"),
        (["--train", "none"], "expected `--clock virtual`, got `--clock lockstep` - at --train"),
        (["--clock", "virtual", "--train", "none", "--algorithm", "md-gan"], "`gossip`"),
        (["--clock", "virtual", "--final", "agree", "--algorithm", "fl-gan"], "at --final"),
        (["--clock", "virtual", "--set", "virtual.loss=-0.1"], "a share in [0, 1], got `-0.1`"),
        (["--clock", "virtual", "--set", "virtual.los=0.1"], "did you mean `virtual.loss`"),
        (
            ["--clock", "virtual", "--set", "virtual.preset=extrem"],
            "one of `none`, `extreme`, `random`",
        ),
        (["--clock", "virtual", "--set", "virtual.speeds=fast"], "at --set: virtual.speeds"),
        (["--clock", "virtual", "--set", "virtual.speeds=file:no.csv"], "no.csv"),
        (["--clock", "virtual", "--set", "virtual.sessions=file:no.csv"], "no.csv"),
        (["--clock", "virtual", "--set", "virtual.latency_s=overlay"], "`latency_s`"),
        (["--clock", "virtual", "--dataset", "mnist"], "p2pgan data download mnist"),
        (["--overlay", "rign"], "did you mean `ring`?"),
        (["--partition", "by-class:11"], "K from 1 to 10"),
        (["--nodes", "0"], "at --nodes"),
        (["--exchange-every", "5", "--exchange-epochs", "1"], "got both"),
        (["--set", "train.loss=hing"], "did you mean `hinge`?"),
        (["--dataset", "mnist"], "p2pgan data download mnist"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    app: typer.Typer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.setenv("P2PGAN_DATA_DIR", str(tmp_path / "no-data"))
    result = CliRunner().invoke(app, [*TINY, "--out", "here", *arguments])
    assert isinstance(result.exception, P2PGanError)
    assert told in str(result.exception)
    assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_config_that_is_not_there(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["--config", "none.toml"])
    assert isinstance(result.exception, ConfigError)


PROCESS = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
}


def test_a_place_is_what_torchrun_says() -> None:
    assert place_from(PROCESS) == Place(rank=3, count=4, local_rank=1, local_count=2)


@pytest.mark.parametrize(
    "environment",
    [{}, {"RANK": "0", "WORLD_SIZE": "4"}, PROCESS | {"WORLD_SIZE": "1"}, {"MASTER_ADDR": "x"}],
)
def test_without_others_there_is_no_place(environment: dict[str, str]) -> None:
    """A cluster's leftover variables do not make a run wait for nobody."""
    assert place_from(environment) is None


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("RANK", "x", "got `x` - at RANK"),
        ("RANK", "4", "a number below 4, got `4` - at RANK"),
        ("LOCAL_RANK", "", "got nothing - at LOCAL_RANK"),
        ("MASTER_PORT", "", "got nothing - at MASTER_PORT"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused(name: str, value: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        place_from(PROCESS | {name: value})


def torchrun(count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    package = str(Path(__file__).parents[2])
    environment = os.environ | {"GLOO_SOCKET_IFNAME": loopback, "PYTHONPATH": package}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = ["--nproc-per-node", str(count), "-m", "p2pgan", "simulate", *TINY, *arguments]
    return subprocess.run(
        [*launcher, *command], env=environment, capture_output=True, text=True, timeout=200
    )


@pytest.mark.slow
def test_torchrun_shares_the_nodes_and_one_process_speaks(tmp_path: Path) -> None:
    done = torchrun(2, "--out", "here", "--json", "-n", "3", "--algorithm", "fl-gan")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "here/summary.json").read_text()
    assert json.loads(done.stdout)["nodes"] == 3
    assert "p2pgan" not in done.stderr
    assert (tmp_path / "here/pictures/samples.png").is_file()
    assert len(list(tmp_path.glob("here/nodes/*/checkpoint.safetensors"))) == 3


@pytest.mark.slow
def test_torchrun_with_more_processes_than_nodes_is_one_line(tmp_path: Path) -> None:
    done = torchrun(3, "--out", "here")
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("p2pgan: ")]
    assert len(told) == 1
    assert "expected no more processes than nodes, which are 2, got `3`" in told[0]
    assert list(tmp_path.iterdir()) == []
