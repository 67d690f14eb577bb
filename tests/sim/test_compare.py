"""A grid is run once, gone on with, extended, and never mixed with another."""

import fcntl
import re
import shutil
import signal
import sys
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from p2pgan.config import EngineConfig, RunConfig, ScoreConfig
from p2pgan.errors import P2PGanError, RecordError
from p2pgan.grid import Grid, Planned, irrelevant, varied
from p2pgan.mixing.algorithms import algorithm
from p2pgan.record.comparison import Cell, ComparisonDirectory
from p2pgan.sim import compare as compare_module
from p2pgan.sim.compare import LOCK, compare
from p2pgan.sim.lockstep import Lockstep
from p2pgan.sim.run import simulate
from p2pgan.sim.simulation import Simulation

BASE = RunConfig(
    iterations=4, exchange_every=2, device="cpu", score=ScoreConfig(samples=20, every=0)
)
GRID = Grid(algorithms=("gossip", "centralised"), nodes=(2,), seeds=(0, 1))
ALL = ["centralised-n1-s0", "gossip-n2-s0", "centralised-n1-s1", "gossip-n2-s1"]


class Log:
    """Remembers what it is told."""

    def __init__(self, on_round: Callable[[Simulation], None] = lambda _: None) -> None:
        self.on_round = on_round
        self.todo: list[str] = []
        self.finished = -1
        self.was_mixed: list[str] = []
        self.was_replaced: list[str] = []
        self.was_started: list[str] = []
        self.was_ended: list[str] = []

    def planned(self, todo: Sequence[Planned], finished: int) -> None:
        self.todo, self.finished = [planned.cell.run for planned in todo], finished

    def mixed(self, runs: Sequence[str]) -> None:
        self.was_mixed += runs

    def replaced(self, cell: Cell) -> None:
        self.was_replaced.append(cell.run)

    def started(self, planned: Planned) -> None:
        self.was_started.append(planned.cell.run)

    def on_interrupt(self) -> None:
        raise AssertionError("nobody sent a signal")

    def ended(self, planned: Planned, summary: Mapping[str, Any]) -> None:
        self.was_ended.append(summary["run"])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(out: Path, grid: Grid = GRID, base: RunConfig = BASE, log: Log | None = None) -> Log:
    log = log or Log()
    assert not compare(base, grid, ComparisonDirectory(out), Path("no-data-needed"), log)
    return log


def complaint(out: Path, grid: Grid = GRID, base: RunConfig = BASE) -> str:
    before = snapshot(out)
    with pytest.raises(P2PGanError) as caught:
        run(out, grid, base)
    assert snapshot(out) == before
    return str(caught.value)


def snapshot(out: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != LOCK
    }


def test_it_runs_every_cell_and_then_none_again(out: Path) -> None:
    first = run(out)
    assert first.todo == first.was_started == first.was_ended == ALL
    there = snapshot(out)
    again = run(out)
    assert (again.todo, again.finished, again.was_started) == ([], 4, [])
    assert snapshot(out) == there


def test_an_interrupted_run_is_replaced_and_the_rest_follows(out: Path) -> None:
    def stop_in_the_second(simulation: Simulation) -> None:
        if simulation.directory.path.name == ALL[1]:
            raise KeyboardInterrupt

    log = Log(stop_in_the_second)
    assert compare(BASE, GRID, ComparisonDirectory(out), Path(), log)
    assert log.was_ended == ALL[:2]
    again = run(out)
    assert (again.finished, again.was_replaced, again.was_started) == (1, [ALL[1]], ALL[1:])
    assert run(out).finished == 4


@pytest.mark.parametrize("left", ["no summary", "nothing", "a torn one"])
def test_what_a_crash_left_is_replaced(out: Path, left: str) -> None:
    grid = Grid(algorithms=("centralised",))
    run(out, grid)
    there = ComparisonDirectory(out).run(ComparisonDirectory(out).read().cells[0])
    if left == "a torn one":
        there.summary.write_text('{"run"')
    else:
        there.summary.unlink()
    if left == "nothing":
        for path in (p for p in there.path.rglob("*") if p.is_file()):
            path.unlink()
        (there.path / "nodes/0").rmdir()
        (there.path / "nodes").rmdir()
    assert run(out, grid).was_replaced == ["centralised-n1-s0"]


def test_a_removal_that_was_interrupted_is_gone_on_with(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = Grid(algorithms=("centralised",))
    run(out, grid)
    (out / "runs/centralised-n1-s0/summary.json").unlink()

    def interrupted(path: Path) -> None:
        (path / "run.toml").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        assert compare(BASE, grid, ComparisonDirectory(out), Path(), Log())
    assert run(out, grid).was_started == ["centralised-n1-s0"]
    assert [path.name for path in (out / "runs").iterdir()] == ["centralised-n1-s0"]


def test_a_run_whose_summary_cannot_be_read_is_not_removed(out: Path) -> None:
    grid = Grid(algorithms=("centralised",))
    run(out, grid)
    summary = out / "runs/centralised-n1-s0/summary.json"
    summary.unlink()
    summary.mkdir()
    assert "a summary that can be read" in complaint(out, grid)


def test_more_seeds_nodes_algorithms_and_values_extend_it(out: Path) -> None:
    def grid(**axes: Any) -> Grid:
        usual = {"algorithms": ("gossip",), "nodes": (2,), "vary": {"exchange.fanout": (1,)}}
        return Grid(**{**usual, **axes})

    run(out, grid())
    assert run(out, grid(nodes=(3, 2))).was_started == ["gossip-n3-exchange.fanout-1-s0"]
    assert run(out, grid(algorithms=("fl-gan",))).was_started == ["fl-gan-n2-s0"]
    assert len(run(out, grid(vary={"exchange.fanout": (2,)})).was_started) == 1
    cells = [cell.run for cell in ComparisonDirectory(out).read().cells]
    assert cells == [
        "gossip-n2-exchange.fanout-1-s0",
        "gossip-n2-exchange.fanout-2-s0",
        "gossip-n3-exchange.fanout-1-s0",
        "fl-gan-n2-s0",
    ]


def test_another_comparison_is_refused_and_the_key_is_named(out: Path) -> None:
    run(out, Grid(algorithms=("centralised",)))
    other = varied(BASE, {"train.loss": "hinge"})
    told = complaint(out, base=other)
    assert "expected `train.loss` to be `nonsaturating`, as it is there, got `hinge`" in told
    assert "compare.toml" in told
    told = complaint(out, Grid(vary={"exchange.fanout": (1,)}))
    assert "expected `exchange.fanout` to be the same in all runs" in told


def test_an_algorithm_that_nobody_knows_is_refused(out: Path) -> None:
    run(out, Grid(algorithms=("centralised",)))
    path = out / "compare.toml"
    text = path.read_text().replace('algorithm = "centralised"', 'algorithm = "oldone"')
    path.write_text(text)
    told = complaint(out, Grid(algorithms=("centralised",), seeds=(1,)))
    assert "got `oldone`" in told
    assert "compare.toml" in told


def test_a_run_of_another_configuration_is_refused(out: Path) -> None:
    grid = Grid(algorithms=("centralised",))
    run(out, grid)
    path = out / "runs/centralised-n1-s0/run.toml"
    path.write_text(path.read_text().replace("iterations = 4", "iterations = 5"))
    assert "expected `iterations` to be `5`, as it is there, got `4`" in complaint(out, grid)


def test_the_machine_may_be_another(out: Path) -> None:
    grid = Grid(algorithms=("centralised",))
    run(out, grid)
    base = varied(BASE, {"device": "auto", "engine.threads": 1, "daemon.wait_s": 3})
    assert base.engine != EngineConfig()
    assert run(out, grid, base).finished == 1


def test_rounding_is_not_the_machines_affair(out: Path) -> None:
    grid = Grid(algorithms=("centralised",))
    run(out, grid)
    told = complaint(out, grid, varied(BASE, {"engine.precision": "tf32"}))
    assert "expected `engine.precision` to be `float32`" in told


@pytest.mark.parametrize("what", ["commit", "torch"])
def test_going_on_with_other_code_is_told(out: Path, what: str) -> None:
    run(out, Grid(algorithms=("centralised",)))
    path = out / "runs/centralised-n1-s0/run.toml"
    path.write_text(re.sub(f'(?m)^{what} = ".*"', f'{what} = "older"', path.read_text()))
    assert run(out, Grid(algorithms=("centralised",))).was_mixed == []
    log = run(out, Grid(algorithms=("centralised",), seeds=(0, 1)))
    assert log.was_mixed == ["centralised-n1-s0"]


def test_what_cannot_be_run_is_told_before_anything_is_written(out: Path) -> None:
    """Also if it is the last cell."""
    told = complaint(out, Grid(algorithms=("centralised", "gossip"), nodes=(2, 5000)))
    assert "in the run `gossip-n5000-s0`" in told
    assert not out.exists()


def test_a_folder_with_something_else_is_refused(out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert "one with something else in it" in complaint(out)


def test_what_compare_has_not_made_is_never_removed(out: Path) -> None:
    """A folder of somebody's, where a new cell would go; and one behind a link."""
    run(out, Grid(algorithms=("centralised",)))
    mine = out / "runs/gossip-n2-s0"
    mine.mkdir()
    (mine / "notes").write_text("mine")
    assert "something that no comparison has made" in complaint(out)
    link = out / "runs/centralised-n1-s0"
    link.rename(out / "elsewhere")
    link.symlink_to(out / "elsewhere")
    (link / "summary.json").unlink()
    told = complaint(out, Grid(algorithms=("centralised",)))
    assert "something that no comparison has made" in told


def test_two_at_a_time_are_refused(out: Path) -> None:
    out.mkdir()
    with (out / LOCK).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "one that is in use" in complaint(out)
    run(out, Grid(algorithms=("centralised",)))


def test_without_fcntl_it_locks_as_windows_does(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown with stand-ins; nobody has run it there."""
    locked: list[int] = []

    def locking(descriptor: int, mode: int, size_bytes: int) -> None:
        if locked:
            raise OSError
        locked.append(size_bytes)

    monkeypatch.setitem(sys.modules, "fcntl", None)
    windows = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    spec: Any = spec_from_file_location("there", str(compare_module.__file__))
    there: Any = module_from_spec(spec)
    spec.loader.exec_module(there)
    monkeypatch.setattr(there, "sys", types.SimpleNamespace(platform="win32"))
    with there._alone(ComparisonDirectory(out)):
        assert locked == [1]
        with (
            pytest.raises(RecordError, match="one that is in use"),
            there._alone(ComparisonDirectory(out)),
        ):
            raise AssertionError("two at a time")


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
@pytest.mark.parametrize(("number", "is_cut_short"), [(1, True), (3, False)])
def test_a_signal_after_the_last_round_of_a_run_ends_it_too(
    out: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_cut_short: bool
) -> None:
    """The run is whole; what follows is not run, if anything does."""

    class Warned(Log):
        def on_interrupt(self) -> None:
            self.was_replaced.append("told")

    def signalled(simulation: Lockstep, reason: str) -> None:
        if simulation.directory.path.name == ALL[number]:
            signal.raise_signal(signal.SIGINT)
        usual(simulation, reason)

    usual, log = Lockstep.save, Warned()
    with monkeypatch.context() as patch:
        patch.setattr(Lockstep, "save", signalled)
        assert compare(BASE, GRID, ComparisonDirectory(out), Path(), log) is is_cut_short
    assert log.was_replaced == ["told"]
    assert log.was_ended == ALL[: number + 1]
    assert run(out).finished == number + 1


def test_an_interrupt_between_runs_ends_it_too(out: Path) -> None:
    class Impatient(Log):
        def started(self, planned: Planned) -> None:
            raise KeyboardInterrupt

    assert compare(BASE, GRID, ComparisonDirectory(out), Path(), Impatient())
    assert run(out).finished == 0


@pytest.mark.parametrize("name", ["standalone", "fl-gan", "centralised"])
def test_what_a_grid_leaves_at_its_base_value_changes_no_run(tmp_path: Path, name: str) -> None:
    """Else a comparison would show one run under settings that it did not have."""
    others = {
        "exchange_every": 4,
        "overlay": "ring",
        "partition": "by-class",
        "exchange.draw": "push",
        "exchange.fanout": 2,
        "exchange.moments": "reset",
        "fl.send": "deltas",
        "fl.over_selection": 2.0,
        "md.batches": 2,
        "coordinator.lose_every": 3,
    }
    chosen = algorithm(name)
    spared = irrelevant(chosen, BASE) & others.keys()
    assert len(spared) >= 3
    base = varied(BASE, {"algorithm": name, "nodes": 3})
    other = varied(base, {key: others[key] for key in spared})
    ends = [
        simulate(config, tmp_path, tmp_path / str(number), lambda simulation: None).summary
        for number, config in enumerate((base, other))
    ]
    assert ends[0]["scores"] == ends[1]["scores"]
    assert ends[0]["consensus"] == ends[1]["consensus"]
