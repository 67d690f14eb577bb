"""`p2pgan compare`, in this process: what the options mean, and what is shown."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from p2pgan.cli.compare import compare, grid_of
from p2pgan.cli.options import RUN_OPTIONS, Sources
from p2pgan.errors import ConfigError, P2PGanError
from p2pgan.grid import Grid
from p2pgan.recipes import Recipe, recipe
from p2pgan.sim.lockstep import Lockstep

TINY = ["-i", "4", "--exchange-every", "2", "--set", "score.samples=20", "--device", "cpu"]
SMALL = [*TINY, "--algorithms", "gossip,centralised", "--nodes", "1,2", "--out", "here"]

OWN = {"--algorithms", "--nodes", "--seeds", "--vary", "--out", "--json", "--draw-only"}
"""Beyond the options of `simulate`, of which `--algorithm` and `--nodes` are left out."""


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(compare)
    return app


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(app: typer.Typer, *arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def complaint(app: typer.Typer, *arguments: str) -> str:
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, P2PGanError)
    return str(error)


def grid(
    *vary: str,
    of: Recipe | None = None,
    algorithms: str | None = None,
    nodes: str | None = None,
    seeds: int | None = None,
    **options: Any,
) -> Grid:
    sources = Sources(options)
    layers = [] if of is None else [(of.settings, of.at)]
    base = sources.config(*layers)
    usual = None if of is None else of.grid
    return grid_of(base, sources.given(), usual, (algorithms, nodes, seeds, vary))


def test_its_own_options_are_these(app: typer.Typer) -> None:
    parameters = typer.main.get_command(app).params
    names = {n for p in parameters for n in (*p.opts, *p.secondary_opts) if n.startswith("--")}
    shared = {f"--{key.replace('_', '-')}" for key in RUN_OPTIONS} | {"--config", "--set"}
    shared -= {"--algorithm", "--nodes"}
    assert names - shared - {"--install-completion", "--show-completion"} == OWN


def test_tables_are_written_and_the_first_is_shown(app: typer.Typer, tmp_path: Path) -> None:
    result = run(app, *SMALL)
    assert result.exit_code == 0
    assert "| gossip |  |" in result.stdout
    assert "here/table.md" in result.stdout.splitlines()
    assert "2 runs to train" in result.stderr
    assert "[2/2] gossip-n2-s0: FID" in result.stderr
    config = (tmp_path / "here/runs/gossip-n2-s0/run.toml").read_text()
    assert "final_samples = 10000" in config


def test_again_nothing_is_trained_and_json_is_the_table(app: typer.Typer, tmp_path: Path) -> None:
    run(app, *SMALL)
    result = run(app, *SMALL, "--json")
    assert "0 runs to train; 2 runs already there" in result.stderr
    assert result.stdout == (tmp_path / "here/table.json").read_text()
    assert len(json.loads(result.stdout)["cells"]) == 2


def test_drawing_only_needs_no_settings_and_trains_nothing(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(app, *SMALL)
    table = (tmp_path / "here/table.md").read_text()
    (tmp_path / "here/table.md").unlink()
    monkeypatch.setattr(Lockstep, "run", None)
    result = run(app, "--out", "here", "--draw-only")
    assert (result.exit_code, "different code" in result.stderr) == (0, False)
    assert (tmp_path / "here/table.md").read_text() == table


def test_drawing_only_where_nothing_is(app: typer.Typer, tmp_path: Path) -> None:
    assert "no such folder" in complaint(app, "--out", "here", "--draw-only")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seeds", "7", "-i", "4"], "leave out --iterations, --seeds."),
        (["--set", "train.loss=hinge", "--vary", "images=9"], "leave out --set, --vary."),
        (["--config", "mine.toml", "--exchange-every", "2"], "--exchange-every, --config."),
    ],
)
def test_drawing_only_refuses_settings(app: typer.Typer, arguments: list[str], told: str) -> None:
    result = run(app, "--out", "here", "--draw-only", *arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", "").split())


def test_axes_alone_extend_what_is_there(app: typer.Typer, tmp_path: Path) -> None:
    run(app, *SMALL, "--seed", "3", "--vary", "exchange.fanout=1")
    result = run(app, "--out", "here", "--seeds", "2", "--device", "cpu")
    assert "2 runs to train; 2 runs already there" in result.stderr
    runs = {path.name for path in (tmp_path / "here/runs").iterdir()}
    gossip = {f"gossip-n2-exchange.fanout-1-s{seed}" for seed in (3, 4)}
    assert runs == {"centralised-n1-s3", "centralised-n1-s4", *gossip}
    assert "0 runs to train; 4 runs already there" in run(app, "--out", "here").stderr


def test_a_setting_beside_the_axes_is_of_another_comparison(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(app, *SMALL)
    told = complaint(app, "--out", "here", "--seeds", "2", "-i", "8")
    assert "expected `iterations` to be `4` and `exchange_every` to be `2` and `score." in told
    assert "as they are there, got `8` and `None` and `500` - at here/compare.toml" in told
    assert "with axes alone, the settings there are taken" in told
    monkeypatch.setenv("P2PGAN_ITERATIONS", "8")
    assert "expected `iterations` to be `4`" in complaint(app, "--out", "here", "--seeds", "2")


def test_one_node_that_has_no_run_is_told(app: typer.Typer) -> None:
    result = run(app, *TINY, "--algorithms", "gossip", "--nodes", "1,2", "--out", "here")
    assert "nothing is run with 1 node" in result.stderr
    assert "nothing is run" not in run(app, *SMALL).stderr


def test_runs_of_other_code_are_told(app: typer.Typer, tmp_path: Path) -> None:
    run(app, *SMALL)
    path = tmp_path / "here/runs/gossip-n2-s0/run.toml"
    path.write_text(re.sub('(?m)^torch = ".*"', 'torch = "older"', path.read_text()))
    assert "older (1 run)" in run(app, "--out", "here", "--draw-only").stderr
    told = run(app, *SMALL, "--seeds", "2").stderr
    assert "1 run there of other code than this (commit or versions), such as gossip-n2-s0" in told


def test_a_damaged_run_is_told_and_the_table_is_shown(app: typer.Typer, tmp_path: Path) -> None:
    run(app, *SMALL)
    (tmp_path / "here/runs/gossip-n2-s0/events.jsonl").unlink()
    for arguments in (SMALL, ["--out", "here", "--draw-only"]):
        result = run(app, *arguments)
        assert (result.exit_code, "| gossip |" in result.stdout) == (0, True)
        assert "gossip-n2-s0 is left out of figures" in result.stderr.splitlines()[-1]


def test_an_interrupt_leaves_tables_and_is_status_130(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(lockstep: Lockstep) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lockstep, "_play_round", interrupted)
        result = run(app, *SMALL)
    assert result.exit_code == 130
    assert (
        "interrupted; the same command goes on; the run that was interrupted starts again"
        in result.stderr
    )
    assert "1 interrupted, 1 missing" in (tmp_path / "here/table.md").read_text()
    again = run(app, *SMALL)
    assert again.exit_code == 0
    assert "centralised-n1-s0 is not finished: from the start" in again.stderr


def test_what_is_not_said_is_usual() -> None:
    assert grid() == Grid(
        algorithms=("standalone", "fl-gan", "gossip", "gossip-ind", "centralised"),
        nodes=(10,),
        seeds=(0,),
    )
    assert grid(overlay="small-world-50").nodes == (50,)


def test_lists_are_read() -> None:
    found = grid(algorithms="gossip, fl-gan", nodes="2,10", seeds=3, seed=5)
    assert found == Grid(algorithms=("gossip", "fl-gan"), nodes=(2, 10), seeds=(5, 6, 7))


def test_a_recipe_gives_what_nobody_says() -> None:
    usual = recipe("chapter4").grid
    assert grid(of=recipe("chapter4")) == usual
    assert grid(of=recipe("chapter4"), seeds=1).seeds == (0,)
    assert grid(of=recipe("chapter4"), seed=4).seeds == (4, 5, 6)
    assert grid(of=recipe("chapter4"), nodes="2").nodes == (2,)


def test_a_setting_for_a_single_run_is_an_axis_of_one_value() -> None:
    """As the environment or a file may give it."""
    found = grid(of=recipe("chapter4"), algorithm="gossip", nodes="3")
    assert (found.algorithms, found.nodes) == (("gossip",), (3,))


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("exchange_every=1,5,200", "exchange_every", (1, 5, 200)),
        ("overlay=ring;watts-strogatz:4,0.1", "overlay", ("ring", "watts-strogatz:4,0.1")),
        ("overlay=watts-strogatz:4,0.1;", "overlay", ("watts-strogatz:4,0.1",)),
        ("exchange.moments=stay, reset", "exchange.moments", ("stay", "reset")),
        ("train.conditional=true,false", "train.conditional", (True, False)),
    ],
)
def test_values_of_a_key(text: str, key: str, values: tuple[Any, ...]) -> None:
    assert grid(text).vary == {key: values}


def test_what_is_said_of_a_key_replaces_a_recipes_axis(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[recipe]\nabout = "."\n[recipe.grid.vary]\n"train.loss" = ["hinge", "lsgan"]')
    mine = Recipe(path)
    assert set(grid(of=mine).vary) == {"train.loss"}
    assert grid("train.loss=wgan-gp", of=mine).vary == {"train.loss": ("wgan-gp",)}
    assert grid(of=mine, train={"loss": "minimax"}).vary == {}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--nodes", "2,x"], "whole numbers of at least 1, got `x` - at --nodes"),
        (["--nodes", "2,,3"], "values with `,` between, got `2,,3` - at --nodes"),
        (["--algorithms", "gosip"], "did you mean `gossip`?"),
        (["--vary", "exchange.fanout"], "KEY=VALUE,VALUE"),
        (["--vary", "exchange.fan=1"], "did you mean `exchange.fanout`?"),
        (
            ["--vary", "overlay=ring,watts-strogatz:2,0.1"],
            "at --vary overlay (hint: put semicolons",
        ),
        (["--vary", "overlay=ring,star:x"], "in the run `"),
        (["--vary", "seed=1"], "`--seeds` gives its values"),
        (
            ["--vary", "images=9", "--vary", "images=8"],
            "each key once, got it twice - at --vary images",
        ),
        (["chapter45"], "did you mean `chapter"),
        (["--partition", "by-class:11"], "K from 1 to 10"),
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
    line = complaint(app, *TINY, "--out", "here", *arguments)
    assert told in line
    assert "\n" not in line
    assert list(tmp_path.iterdir()) == []


def test_several_processes_are_refused(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    several = {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "29500",
    }
    for name, value in several.items():
        monkeypatch.setenv(name, value)
    assert "several, started by `torchrun`" in complaint(app, *SMALL)


def test_a_wrong_list_is_told_with_its_option() -> None:
    with pytest.raises(ConfigError, match="at --vary overlay"):
        grid("overlay=ring;;star")
