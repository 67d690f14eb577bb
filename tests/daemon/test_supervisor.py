"""N real processes under one supervisor."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from safetensors.torch import load_file

from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.daemon import supervisor
from p2pgan.daemon.family import Family, Progress, error_line
from p2pgan.daemon.restarts import RestartPolicy
from p2pgan.daemon.supervisor import UpOptions
from p2pgan.daemons import DaemonConfig
from p2pgan.errors import ConfigError, RecordError
from p2pgan.experiment import prepare
from p2pgan.inspect.summary import unaccounted
from p2pgan.record.rundir import RunDirectory, records_of
from p2pgan.record.schema import Agreed, NodeStarted, NodeStopped, VectorSent
from p2pgan.runs import Run

CONFIG = RunConfig(
    nodes=3,
    iterations=60,
    exchange_every=10,
    device="cpu",
    score=ScoreConfig(samples=20, every=3),
    daemon=DaemonConfig(wait_s=60.0, drain_s=20.0),
)
ENDLESS = RunConfig(**{**{f: getattr(CONFIG, f) for f in CONFIG.__struct_fields__},
                       "iterations": 10**8, "score": ScoreConfig(samples=20, every=0)})  # fmt: skip


def run(config: RunConfig, out: Path, on_progress: Callable[[Progress], None]) -> Any:
    said: list[str] = []
    outcome = supervisor.up(config, out.parent, out, on_progress=on_progress, say=said.append)
    return outcome, said


def bodies(out: Path, kind: type) -> list[Any]:
    return [r.body for r in records_of(RunDirectory(out)) if isinstance(r.body, kind)]


def check_gone(out: Path) -> None:
    """No process of the run is left."""
    started = bodies(out, NodeStarted)
    assert started
    for body in started:
        with pytest.raises(ProcessLookupError):
            os.kill(body.pid, 0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[Progress]]:
    out = tmp_path_factory.mktemp("up") / "run"
    seen: list[Progress] = []
    outcome, said = run(CONFIG, out, seen.append)
    assert said == []
    return out, outcome, seen


@pytest.mark.slow
def test_a_run_is_summed_up_as_the_contract_says(finished: Any) -> None:
    out, outcome, _ = finished
    summary = outcome.summary
    assert not outcome.interrupted
    assert outcome.failed == {}
    assert (summary["run"], summary["nodes"], summary["iterations"], summary["rounds"]) == (
        "run",
        3,
        60,
        6,
    )
    assert summary["scores"]["fid"]["samples"] == 20
    assert summary["scores"]["fid"]["max"] >= summary["scores"]["fid"]["mean"] > 0
    assert summary["consensus"]["g"] > 0
    assert summary["consensus"]["d"] > 0
    sent = bodies(out, VectorSent)
    assert summary["traffic"]["messages"] == len(sent) > 0
    assert summary["traffic"]["bytes_total"] == sum(body.bytes for body in sent)
    assert summary["speed"]["node_iterations_per_s"] > 0
    assert RunDirectory(out).read_summary()["unaccounted"] == 0
    assert summary["restarts"] == {}
    assert Run.open(out).config.membership.preset == "local"
    check_gone(out)


@pytest.mark.slow
def test_every_vector_is_accounted_for_and_every_node_saved(finished: Any) -> None:
    out, _, _ = finished
    directory = RunDirectory(out)
    assert unaccounted(directory) == []
    assert {body.reason for body in bodies(out, NodeStopped)} == {"finished"}
    assert all(directory.checkpoint(str(node)).is_file() for node in range(3))


@pytest.mark.slow
@pytest.mark.parametrize("step", ["agree", "average"])
def test_four_processes_take_the_last_step_together(tmp_path: Path, step: Any) -> None:
    """What they agree on is one pair, to the bit; nothing that was sent is lost."""
    daemon = DaemonConfig(wait_s=60.0, drain_s=20.0, final_round_s=0.05)
    config = msgspec.structs.replace(CONFIG, nodes=4, iterations=20, final=step, daemon=daemon)
    outcome, said = run(config, tmp_path / "run", lambda progress: None)
    assert said == []
    assert outcome.failed == {}
    directory = RunDirectory(tmp_path / "run")
    assert unaccounted(directory) == []
    told = outcome.summary["final"]
    assert (told["step"], told["before"]["consensus"]) == (step, {"g": None, "d": None})
    assert told["before"]["scores"]["fid"]["mean"] > 0
    assert told["after"]["scores"] == outcome.summary["scores"]
    assert told["rounds"] > 5
    assert outcome.summary["rounds"] == 2
    consensus = outcome.summary["consensus"]
    if step == "agree":
        assert told["agreed"] == 4
        paths = [directory.checkpoint(str(node)) for node in range(4)]
        saved = {load_file(path)["G"].numpy().tobytes() for path in paths}
        assert len(saved) == 1
        assert consensus == {"g": 0.0, "d": 0.0}
        assert {body.origin for body in bodies(tmp_path / "run", Agreed)} == {told["origin"]}
    else:
        assert told["agreed"] is None
        assert consensus["g"] < 0.01


@pytest.mark.slow
def test_progress_counts_all_nodes(finished: Any) -> None:
    _, _, seen = finished
    assert seen[0].nodes == 3
    assert seen[-1].iterations == seen[-1].iterations_total == 180
    assert seen[-1].ready == 3
    assert seen[-1].fid is not None
    assert [p.iterations for p in seen] == sorted(p.iterations for p in seen)


@pytest.mark.slow
def test_a_killed_node_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    killed: list[int] = []

    def on_progress(progress: Progress) -> None:
        if progress.iterations >= 100 and not killed:
            pid = next(r.body.pid for r in records_of(RunDirectory(out))
                       if r.node == "1" and isinstance(r.body, NodeStarted))  # fmt: skip
            assert pid is not None
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    config = RunConfig(
        **{f: getattr(ENDLESS, f) for f in ENDLESS.__struct_fields__ if f != "iterations"},
        iterations=1_000,
    )
    outcome, said = run(config, out, on_progress)
    assert list(outcome.failed) == ["1"]
    assert any("`1` failed: ended by signal 9" in line for line in said)
    stopped = {r.node: r.body.reason for r in records_of(RunDirectory(out))
               if isinstance(r.body, NodeStopped)}  # fmt: skip
    assert stopped == {"0": "finished", "2": "finished"}
    check_gone(out)
    lost = unaccounted(RunDirectory(out))
    assert all(sent.sender == "1" for sent in lost), "only the killed node's log is cut short"


@pytest.mark.slow
def test_a_killed_node_can_be_started_again(tmp_path: Path) -> None:
    """At its own address; what stays down after too many starts has failed."""
    out = tmp_path / "run"
    killed: list[int] = []

    def on_progress(progress: Progress) -> None:
        if progress.iterations < 100:  # there may be no log yet
            return
        starts = [r.body.pid for r in records_of(RunDirectory(out))
                  if r.node == "1" and isinstance(r.body, NodeStarted)]  # fmt: skip
        if len(starts) > len(killed):
            assert starts[-1] is not None
            killed.append(starts[-1])
            os.kill(killed[-1], signal.SIGKILL)

    config = msgspec.structs.replace(ENDLESS, iterations=10_000)
    options = UpOptions(policy=RestartPolicy(when="on-failure", most=1))
    said: list[str] = []
    outcome = supervisor.up(
        config, tmp_path, out, on_progress=on_progress, say=said.append, options=options
    )
    assert len(killed) == 2
    assert outcome.summary["restarts"] == {"1": 1}
    told = "ended by signal 9 (Killed), after 1 restart within 60 s"
    assert outcome.failed == {"1": told}
    assert any("`1` failed" in line and "started again in 1 s" in line for line in said)
    assert sum("warning: no checkpoint" in line for line in said) == 1
    addresses = {r.body.address for r in records_of(RunDirectory(out))
                 if r.node == "1" and isinstance(r.body, NodeStarted)}  # fmt: skip
    assert len(addresses) == 1
    check_gone(out)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_stops_all_in_good_order_and_a_second_one_at_once(
    tmp_path: Path, times: int
) -> None:
    out = tmp_path / "run"
    left = [times]

    def on_progress(progress: Progress) -> None:
        if progress.iterations >= 100 and left[0]:
            left[0] -= 1
            signal.raise_signal(signal.SIGINT)

    outcome, _ = run(ENDLESS, out, on_progress)
    assert outcome.interrupted
    assert outcome.failed == {}
    assert unaccounted(RunDirectory(out)) == []
    assert len(bodies(out, NodeStopped)) == 3
    if times == 1:
        assert all(RunDirectory(out).checkpoint(str(node)).is_file() for node in range(3))
        assert outcome.summary["interrupted"]
    check_gone(out)


@pytest.mark.parametrize("before", [0, 1])
def test_an_interrupt_in_the_middle_of_starting_forgets_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """Nodes that start after the interrupt have to hear of it too."""
    plan, calls = Family._plan, iter(range(10))

    def interrupted_plan(family: Any, node: str, **options: Any) -> Any:
        if next(calls) == before:
            signal.raise_signal(signal.SIGINT)
        return plan(family, node, **options)

    monkeypatch.setattr(Family, "_plan", interrupted_plan)
    with suppress(KeyboardInterrupt):  # as it is if no node has come as far as its log
        outcome, _ = run(ENDLESS, tmp_path / "run", lambda progress: None)
        assert outcome.interrupted
        assert outcome.failed == {}
    assert len(list(tmp_path.glob("run/nodes/*"))) == before + 1, "no more nodes are started"
    assert multiprocessing.active_children() == []


def test_a_directory_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RecordError, match="something in it"):
        run(CONFIG, tmp_path, lambda progress: None)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_pooled_algorithms_are_refused_before_anything_starts(tmp_path: Path) -> None:
    config = RunConfig(algorithm="centralised", nodes=3)
    with pytest.raises(ConfigError, match="simulate --algorithm centralised"):
        run(config, tmp_path / "run", lambda progress: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("peer `1` joined\np2pgan: expected X, got Y - at Z\n", "expected X, got Y - at Z"),
        ("Traceback\n  File x\nRuntimeError: broken\n\n", "RuntimeError: broken"),
        ("\x1b[31mred\n", "?[31mred"),
        ("", ""),
    ],
)
def test_the_error_of_a_node_is_its_last_line(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "stderr.log").write_text(text)
    assert error_line(tmp_path / "stderr.log") == line
    assert error_line(tmp_path / "missing.log") == ""


def test_signal_handlers_are_left_alone_outside_the_main_thread(tmp_path: Path) -> None:
    """A program that runs `up` in a thread keeps its own handlers, and gets the same errors."""
    caught: list[BaseException] = []

    def in_thread() -> None:
        try:
            run(RunConfig(algorithm="centralised"), tmp_path / "run", lambda progress: None)
        except ConfigError as error:
            caught.append(error)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("http", "places"),
    [("", ["", ""]), ("9464", ["127.0.0.1:9464", "127.0.0.1:9465"]), ("h:0", ["h:0", "h:0"])],
)
def test_every_node_has_a_port_of_its_own_for_questions(
    tmp_path: Path, http: str, places: list[str]
) -> None:
    config = msgspec.structs.replace(CONFIG, daemon=DaemonConfig(http=http))
    family = Family(
        experiment=prepare(config, tmp_path),
        directory=RunDirectory(tmp_path),
        run="run",
        data_dir=tmp_path,
    )
    found = [family._plan(node, resume=False).config.daemon.http for node in "01"]
    assert found == places
