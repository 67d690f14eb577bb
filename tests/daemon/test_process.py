"""One daemon, from a plan to an exit status."""

import dataclasses
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from p2pgan.config import CoordinatorConfig, RunConfig, ScoreConfig, TrainConfig
from p2pgan.daemon import process
from p2pgan.daemon.sole import sole
from p2pgan.daemon.transport import Transport
from p2pgan.daemons import DaemonConfig
from p2pgan.errors import CheckpointError, ConfigError, P2PGanError, RecordError, TransportError
from p2pgan.experiment import Experiment, prepare
from p2pgan.node import roles
from p2pgan.node.work import CohortWork
from p2pgan.overlay import files as overlay_files
from p2pgan.protocol.instructions import Record
from p2pgan.record.rundir import RunDirectory

CONFIG = RunConfig(
    algorithm="standalone",
    nodes=2,
    iterations=6,
    exchange_every=2,
    device="cpu",
    score=ScoreConfig(samples=20, every=0),
)


def experiment_of(tmp_path: Path, **changes: Any) -> Experiment:
    return prepare(msgspec.structs.replace(CONFIG, **changes), tmp_path)


def plan_of(experiment: Experiment, tmp_path: Path, **changes: Any) -> process.NodePlan:
    overlay_file = tmp_path / "overlay.json"
    overlay_files.write(experiment.overlay, overlay_file)
    fields: dict[str, Any] = {
        "config": experiment.config,
        "node": "0",
        "run": "test",
        "directory": tmp_path,
        "data_dir": tmp_path,
        "overlay_file": overlay_file,
        "address": "tcp://127.0.0.1:*",
    }
    return process.NodePlan(**{**fields, **changes})


def logged(tmp_path: Path) -> list[dict[str, Any]]:
    lines = (tmp_path / "nodes" / "0" / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_node_runs_logs_scores_and_saves(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path)
    said: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    status = process.run_node(plan_of(experiment, tmp_path), said.append, experiment)
    assert status == 0
    assert signal.getsignal(signal.SIGINT) is before
    kinds = [record["kind"] for record in logged(tmp_path)]
    assert kinds[:2] == ["run_started", "node_started"]
    assert kinds.count("round_finished") == 3
    assert kinds[-3:] == ["scores", "checkpoint_saved", "node_stopped"]
    saved = next(record for record in logged(tmp_path) if record["kind"] == "checkpoint_saved")
    assert saved["path"] == "nodes/0/checkpoint.safetensors"
    assert (tmp_path / saved["path"]).is_file()
    started = logged(tmp_path)[1]
    assert started["pid"] == os.getpid()
    assert started["control"] in said[0]
    assert started["address"] in said[0]


@pytest.mark.parametrize(
    ("signals", "status", "reason", "is_saved"),
    [
        ([signal.SIGINT], 0, "interrupted", True),
        ([signal.SIGTERM], 0, "terminated", True),
        ([signal.SIGTERM, signal.SIGTERM], 0, "terminated", True),
        ([signal.SIGINT, signal.SIGINT], 130, "aborted", False),
        ([signal.SIGTERM, signal.SIGINT], 130, "aborted", False),
    ],
)
def test_signals(
    tmp_path: Path, signals: list[signal.Signals], status: int, reason: str, is_saved: bool
) -> None:
    """The first stops in good order; an interrupt after that at once; a second SIGTERM is none."""
    every = ScoreConfig(samples=20, every=1)
    experiment = experiment_of(tmp_path, iterations=10**8, score=every)

    def say(line: str) -> None:
        if line.startswith("round 1,"):
            for number in signals:
                os.kill(os.getpid(), number)

    assert process.run_node(plan_of(experiment, tmp_path), say, experiment) == status
    kinds = [record["kind"] for record in logged(tmp_path)]
    assert logged(tmp_path)[-1]["reason"] == reason
    assert ("checkpoint_saved" in kinds) == is_saved


def test_systemd_and_whoever_asks_are_told_how_the_node_is(tmp_path: Path) -> None:
    """From the first word to the last; the metrics are those of this node."""
    daemon = msgspec.structs.replace(CONFIG.daemon, http="0")
    experiment = experiment_of(tmp_path, iterations=60, daemon=daemon)
    asked: list[str] = []
    urls: list[str] = []

    def say(line: str) -> None:
        if "health and metrics at" in line:
            urls.append(line.split()[-1])
        elif line.startswith("round") and not asked:
            asked.append(urllib.request.urlopen(f"{urls[0]}/metrics", timeout=30).read().decode())

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        plan = plan_of(experiment, tmp_path, environment=variables)
        assert process.run_node(plan, say, experiment) == process.EXIT_DONE
        systemd.setblocking(False)
        told = [systemd.recv(4096).decode()]
        with suppress(BlockingIOError):
            while True:
                told.append(systemd.recv(4096).decode())
    assert told[0].startswith("READY=1\n")
    assert sum("STOPPING=1" in text for text in told) == 1
    assert "p2pgan_iterations_wanted 60.0" in asked[0]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{urls[0]}/healthz", timeout=30)


def test_a_fault_in_the_work_is_told_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, iterations: int) -> tuple[float, float]:
        raise ZeroDivisionError("in the middle")

    monkeypatch.setattr(CohortWork, "train", broken)
    experiment = experiment_of(tmp_path)
    said: list[str] = []
    with pytest.raises(P2PGanError, match="in the middle"):
        process.run_node(plan_of(experiment, tmp_path), said.append, experiment)
    assert "Traceback" in said[-1]
    assert logged(tmp_path)[-1]["reason"] == "failed"


def test_an_error_of_ours_in_the_work_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, state: bytes) -> Path:
        del state
        raise RecordError(expected="room", got="none", at="disk")

    monkeypatch.setattr(CohortWork, "save", full)
    experiment = experiment_of(tmp_path)
    with pytest.raises(RecordError, match="expected room"):
        process.run_node(plan_of(experiment, tmp_path), lambda line: None, experiment)


@pytest.mark.parametrize("failures", [1, 3, 6])
def test_a_full_disk_ends_a_run_only_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """Two checkpoints amid three rounds, and the last one, which is tried four times."""
    left = [failures]
    save = CohortWork.save

    def full(self: CohortWork, state: bytes) -> Path:
        left[0] -= 1
        if left[0] >= 0:
            raise CheckpointError(expected="room", got="none", at="disk")
        return save(self, state)

    monkeypatch.setattr(CohortWork, "save", full)
    daemon = msgspec.structs.replace(CONFIG.daemon, checkpoint_every=1, drain_s=0.5)
    experiment = experiment_of(tmp_path, iterations=6, exchange_every=2, daemon=daemon)
    plan = plan_of(experiment, tmp_path)
    if failures < 6:
        assert process.run_node(plan, lambda line: None, experiment) == process.EXIT_DONE
    else:
        with pytest.raises(CheckpointError, match="expected room"):
            process.run_node(plan, lambda line: None, experiment)
    kinds = [record["kind"] for record in logged(tmp_path)]
    assert kinds.count("checkpoint_failed") == min(failures, 5)
    assert kinds.count("checkpoint_saved") == {1: 2, 3: 1, 6: 0}[failures]
    assert kinds.count("round_finished") == 3


def test_an_address_in_use_leaves_no_log(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path)
    used = Transport("tcp://127.0.0.1:*", {})
    plan = plan_of(experiment, tmp_path, address=used.address)
    with pytest.raises(TransportError, match="in use"):
        process.run_node(plan, lambda line: None, experiment)
    used.close(0)
    assert not RunDirectory(tmp_path).node_events("0").exists()


def test_who_is_there_already_is_not_started_beside_itself(tmp_path: Path) -> None:
    """Whoever comes second has no other address that is in use, and touches nothing."""
    experiment = experiment_of(tmp_path)
    plan = plan_of(experiment, tmp_path)
    part = RunDirectory(tmp_path).checkpoint("0").with_name(".checkpoint.1.part")
    with sole(RunDirectory(tmp_path), "0"):
        part.touch()
        with pytest.raises(RecordError, match="no other process that is node `0`"):
            process.run_node(plan, lambda line: None, experiment)
    assert part.exists()
    assert process.run_node(plan, lambda line: None, experiment) == process.EXIT_DONE


def test_a_listener_that_is_gone_does_not_stop_the_node(tmp_path: Path) -> None:
    """As when the terminal is closed, or the disk with the node's words is full."""

    def gone(line: str) -> None:
        raise BrokenPipeError

    experiment = experiment_of(tmp_path)
    assert process.run_node(plan_of(experiment, tmp_path), gone, experiment) == 0
    assert logged(tmp_path)[-1]["reason"] == "finished"


ABORTED = """
import threading, torch
from p2pgan.daemon import process
from p2pgan.daemon.trainer import THREAD_NAME

busy = threading.Event()

def train():
    x = torch.ones(500, 500, requires_grad=True)
    while True:
        (x @ x @ x).sum().backward()
        busy.set()

threading.Thread(target=train, name=THREAD_NAME, daemon=True).start()
busy.wait()
process.leave_process(130)
"""


def test_a_training_thread_that_is_left_behind_does_not_spoil_the_exit_status() -> None:
    done = subprocess.run([sys.executable, "-c", ABORTED], capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (130, b"")


def test_a_neighbor_without_an_address_is_named(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, algorithm="gossip")
    for address, missing in ((None, "`0`"), ("tcp://127.0.0.1:*", "`1`")):
        with pytest.raises(ConfigError, match=missing):
            process.check_addresses(experiment, experiment.overlay, "0", address)
    with pytest.raises(ConfigError, match="`1`"):
        process.run_node(plan_of(experiment, tmp_path), lambda line: None, experiment)


def test_without_its_address_a_coordinator_cannot_be_found(tmp_path: Path) -> None:
    """A family has no coordinator; the hint says how a file with one is made."""
    experiment = experiment_of(tmp_path, algorithm="md-gan")
    overlay = roles.whole_overlay(experiment)
    assert overlay.nodes == ("coordinator", "0", "1")
    with pytest.raises(ConfigError, match=r"topology new complete .* --hub") as caught:
        process.check_addresses(experiment, overlay, "0", "tcp://127.0.0.1:*")
    assert caught.value.expected == "an address of node `coordinator`"


def test_the_overlay_s_file_says_where_the_coordinator_is(tmp_path: Path) -> None:
    star = experiment_of(tmp_path).overlay.with_hub("coordinator")
    star = star.with_addresses(
        {node: f"tcp://127.0.0.1:{5550 + i}" for i, node in enumerate(star.nodes)}
    )
    overlay_files.write(star, tmp_path / "hub.json")
    config = {"algorithm": "fl-gan", "overlay": str(tmp_path / "hub.json"), "nodes": None}
    experiment = experiment_of(tmp_path, **config)
    assert experiment.nodes == ("0", "1")
    overlay = roles.whole_overlay(experiment)
    assert overlay.address("coordinator") == "tcp://127.0.0.1:5550"
    for node in overlay.nodes:
        process.check_addresses(experiment, overlay, node, None)


@pytest.mark.parametrize("node", ["coordinator", "0"])
def test_only_who_has_a_log_can_go_on(tmp_path: Path, node: str) -> None:
    experiment = experiment_of(tmp_path, algorithm="fl-gan")
    path = tmp_path / "run"
    with pytest.raises(RecordError, match=r"a run directory, with a `run.toml`"):
        process.share_directory(experiment, path, "name", node, resume=True)
    directory = process.share_directory(experiment, path, "name", node)
    with pytest.raises(RecordError, match=f"the log of node `{node}`.*without `--resume`"):
        process.share_directory(experiment, path, "name", node, resume=True)
    log = directory.node_events(node)
    log.parent.mkdir(parents=True)
    log.write_text("")
    process.share_directory(experiment, path, "name", node, resume=True)
    with pytest.raises(RecordError, match="or go on in it with `--resume`"):
        process.share_directory(experiment, path, "name", node)


@pytest.mark.parametrize("node", ["coordinator", "0"])
def test_who_has_no_checkpoint_begins_anew_in_its_log(tmp_path: Path, node: str) -> None:
    """As after a kill in the first round; a worker keeps nothing at any time. Both start without
    the others, and give up soon."""
    experiment = experiment_of(
        tmp_path,
        algorithm="md-gan",
        coordinator=CoordinatorConfig(wait_s=0.1),
        daemon=DaemonConfig(wait_s=0.1),
    )
    star = roles.whole_overlay(experiment)
    overlay_files.write(
        star.with_addresses(
            {name: f"tcp://127.0.0.1:{9 + i}" for i, name in enumerate(star.nodes)}
        ),
        tmp_path / "star.json",
    )
    plan = plan_of(experiment, tmp_path, node=node, overlay_file=tmp_path / "star.json")
    said: list[str] = []
    for resume in (False, True):
        with pytest.raises(TransportError):
            process.run_node(dataclasses.replace(plan, resume=resume), said.append, experiment)
        RunDirectory(tmp_path).checkpoint(node).unlink(missing_ok=True)  # who is killed saves none
    log = (tmp_path / "nodes" / node / "events.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in log]
    starts = [record for record in records if record["kind"] == "run_started"]
    assert [record.get("is_anew", False) for record in starts] == [False, node == "coordinator"]
    assert [record["seq"] for record in records] == list(range(len(records)))
    assert sum("begins anew" in line for line in said) == (node == "coordinator")


# -- runs that nobody named, and directories that several nodes share ------------------------------


def test_equal_settings_give_equal_names(tmp_path: Path) -> None:
    name = process.run_name(experiment_of(tmp_path))
    assert name.startswith("standalone-digits-n2-s0-")
    local = {"daemon": DaemonConfig(wait_s=1.0), "score": ScoreConfig(samples=30)}
    assert process.run_name(experiment_of(tmp_path, **local)) == name
    for change in ({"seed": 1}, {"iterations": 7}, {"nodes": 3}, {"batch_size": 8}):
        assert process.run_name(experiment_of(tmp_path, **change)) != name


def test_the_second_node_joins_the_directory_of_the_first(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path)
    first = process.share_directory(experiment, tmp_path / "run", "name", "0")
    written = first.run_toml.read_bytes()
    second = process.share_directory(experiment, tmp_path / "run", "name", "1")
    assert second.run_toml.read_bytes() == written
    assert RunDirectory.open(tmp_path / "run").overlay_json.is_file()


@pytest.mark.parametrize(
    ("changes", "name", "message"),
    [
        ({"seed": 5}, "name", "settings: `seed = 5`, got run `name`: `seed = 0` - at"),
        (
            {"seed": 5, "train": TrainConfig(beta1=0.1, beta2=0.9), "partition": "by-class"},
            "name",
            "`partition = by-class`, `seed = 5`, `train.beta1 = 0.1` and 1 more, got",
        ),
        ({}, "another", "run `name`"),
    ],
)
def test_another_run_in_the_directory_is_refused(
    tmp_path: Path, changes: dict[str, Any], name: str, message: str
) -> None:
    process.share_directory(experiment_of(tmp_path), tmp_path / "run", "name", "0")
    before = (tmp_path / "run" / "run.toml").read_bytes()
    with pytest.raises(RecordError, match=message):
        process.share_directory(experiment_of(tmp_path, **changes), tmp_path / "run", name, "1")
    assert (tmp_path / "run" / "run.toml").read_bytes() == before


def test_an_earlier_log_of_the_node_is_not_written_over(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path)
    directory = process.share_directory(experiment, tmp_path / "run", "name", "0")
    log = directory.node_events("0")
    log.parent.mkdir(parents=True)
    log.write_text("precious\n")
    with pytest.raises(RecordError, match="`0`"):
        process.share_directory(experiment, tmp_path / "run", "name", "0")
    assert log.read_text() == "precious\n"


@pytest.mark.parametrize("is_written", [False, True], ids=["half made", "made meanwhile"])
def test_two_nodes_may_make_the_directory_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    """As `node start … & node start …` do: the other comes between our look and our making."""
    experiment = experiment_of(tmp_path)
    create = RunDirectory.create

    def late(path: Path, *, name: str) -> RunDirectory:
        monkeypatch.undo()
        if is_written:
            process.share_directory(experiment, path, name, "0")
        else:
            overlay_files.write(experiment.overlay, create(path, name=name).overlay_json)
        return create(path, name=name)

    monkeypatch.setattr(RunDirectory, "create", late)
    directory = process.share_directory(experiment, tmp_path / "run", "name", "1")
    assert directory.overlay_json.is_file()
    assert directory.run_toml.is_file()


def test_something_else_in_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(RecordError):
        process.share_directory(experiment_of(tmp_path), tmp_path / "run", "name", "0")


# -- records ---------------------------------------------------------------------------------------

VECTOR = {"peer": "1", "round": 1, "nets": ["G", "D"], "exchange": "0.x.1"}


class Written:
    """A writer that keeps bodies, or fails."""

    def __init__(self, fails: bool = False) -> None:
        self.bodies: list[Any] = []
        self.fails = fails

    def write(self, body: Any, *, clock: int) -> None:
        if self.fails:
            raise RecordError(expected="room", got="none", at="disk")
        self.bodies.append((body, clock))


@pytest.fixture
def log(tmp_path: Path) -> Callable[[Written], tuple[process.Log, list[str]]]:
    def make(writer: Written) -> tuple[process.Log, list[str]]:
        said: list[str] = []
        return process.Log(writer, RunDirectory(tmp_path), said.append), said  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize(
    ("kind", "fields", "line"),
    [
        ("vector_sent", {**VECTOR, "bytes": 4}, None),
        ("vector_dropped", {**VECTOR, "bytes": 4, "reason": "superseded"}, None),
        ("vector_mixed", {**VECTOR, "bytes": 4, "weight": 0.5, "staleness_rounds": -1}, None),
        ("peer_joined", {"peer": "1"}, "peer `1` joined"),
        ("peer_lost", {"peer": "1", "reason": "left"}, "peer `1` lost: left"),
        ("peer_refused", {"peer": "1", "reason": "run", "by": "us"}, "`1` refused: it is"),
        ("peer_refused", {"peer": "1", "reason": "new", "by": "them"}, "`1` refuses us: new"),
        ("scores", {"round": 2, "iterations": 4, "fid": 7.0, "ms": 3.0, "samples": 9}, "FID 7.0"),
        ("checkpoint_failed", {"reason": "no room"}, "warning: not saved: no room"),
        ("node_stopped", {"reason": "finished", "iterations": 4, "rounds": 2}, None),
    ],
)
def test_records_are_written_as_bodies_and_some_are_shown(
    log: Any, kind: str, fields: dict[str, Any], line: str | None
) -> None:
    writer = Written()
    write, said = log(writer)
    write(Record(kind=kind, fields=fields, clock=8))
    ((body, clock),) = writer.bodies
    assert clock == 8
    assert {name: getattr(body, name) for name in fields} == fields
    assert bool(said) == (line is not None)
    assert line is None or line in said[0]


def test_what_is_saved_in_every_round_is_told_once(log: Any) -> None:
    write, said = log(Written())
    for iterations in (2, 4):
        fields = {"path": f"nodes/a/{iterations}", "iterations": iterations}
        write(Record(kind="checkpoint_saved", fields=fields, clock=iterations))
    stopped = {"reason": "finished", "iterations": 4, "rounds": 2}
    write(Record(kind="node_stopped", fields=stopped, clock=5))
    assert [line.rpartition("/")[2] for line in said] == ["4"]


def test_scores_that_are_not_finite_can_be_shown(log: Any) -> None:
    write, said = log(Written())
    nan = float("nan")
    fields = {"round": 1, "iterations": 2, "fid": nan, "ms": nan, "samples": 9}
    write(Record(kind="scores", fields=fields, clock=1))
    assert "nan" in said[0]


def test_a_full_disk_is_a_warning_not_the_end(log: Any) -> None:
    write, said = log(Written(fails=True))
    write(Record(kind="peer_joined", fields={"peer": "1"}, clock=1))
    assert said[0].startswith("warning: expected room")


def test_a_full_disk_keeps_nobody_from_starting_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on file sizes, up to the first scores, stands for the disk."""
    experiment = experiment_of(tmp_path)
    plan = plan_of(experiment, tmp_path)
    process.run_node(plan, lambda line: None, experiment)
    before = logged(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    score = CohortWork.score

    def freed(self: CohortWork) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return score(self)

    monkeypatch.setattr(CohortWork, "score", freed)
    RunDirectory(tmp_path).checkpoint("0").unlink()
    size = (tmp_path / "nodes" / "0" / "events.jsonl").stat().st_size
    said: list[str] = []
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        again = dataclasses.replace(plan, resume=True)
        assert process.run_node(again, said.append, experiment) == process.EXIT_DONE
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sum("warning: expected a log that can be written" in line for line in said) == 1
    after = logged(tmp_path)
    assert after[: len(before)] == before
    assert "run_started" not in [record["kind"] for record in after[len(before) :]]
    assert after[-1]["kind"] == "node_stopped"


def test_plans_are_plain_data(tmp_path: Path) -> None:
    import pickle

    plan = plan_of(experiment_of(tmp_path), tmp_path)
    assert pickle.loads(pickle.dumps(plan)) == plan  # noqa: S301
    assert dataclasses.is_dataclass(plan)


def test_a_worker_without_its_coordinator_gives_up(tmp_path: Path) -> None:
    """After `coordinator.wait_s`; it has saved, and its user is told what to do."""
    limits = CoordinatorConfig(wait_s=0.3)
    experiment = experiment_of(tmp_path, algorithm="fl-gan", coordinator=limits)
    overlay_file = tmp_path / "hub.json"
    star = roles.whole_overlay(experiment)
    overlay_files.write(star.with_addresses({"coordinator": "tcp://127.0.0.1:9"}), overlay_file)
    plan = plan_of(experiment, tmp_path, overlay_file=overlay_file)
    with pytest.raises(TransportError, match="coordinator gone") as caught:
        process.run_node(plan, lambda line: None, experiment)
    assert caught.value.hint == "start `coordinator` again, then this node"
    kinds = [record["kind"] for record in logged(tmp_path)]
    assert kinds[-2:] == ["checkpoint_saved", "node_stopped"]
