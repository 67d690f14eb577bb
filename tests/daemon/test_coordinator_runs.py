"""Runs with a coordinator: real processes, real sockets, and what goes wrong there."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from p2pgan.config import CoordinatorConfig, RunConfig, ScoreConfig, SplitConfig
from p2pgan.daemon import children, supervisor
from p2pgan.daemon.family import Progress
from p2pgan.daemon.node import NodeLoop
from p2pgan.daemon.restarts import RestartPolicy
from p2pgan.daemon.resuming import config_of as config_of_run
from p2pgan.daemon.supervisor import UpOptions
from p2pgan.daemon.trainer import Trainer
from p2pgan.daemon.transport import Transport, reserve_ports
from p2pgan.daemons import DaemonConfig
from p2pgan.experiment import prepare
from p2pgan.inspect.summary import unaccounted
from p2pgan.node.host import Ended
from p2pgan.node.roles import part_of, whole_overlay
from p2pgan.protocol import events as ev
from p2pgan.protocol.instructions import Record
from p2pgan.record.rundir import RunDirectory, records_of
from p2pgan.record.schema import (
    CheckpointRestored,
    NodeStarted,
    NodeStopped,
    PeerLost,
    PeerSuspected,
    RoundFinished,
    Scores,
    VectorMixed,
)
from p2pgan.runs import Run
from tests.node.seats import seat_of

HUB = "coordinator"

CONFIG = RunConfig(
    algorithm="md-gan",
    nodes=4,
    iterations=60,
    exchange_every=20,
    device="cpu",
    score=ScoreConfig(samples=20, every=0),
    daemon=DaemonConfig(wait_s=60.0, drain_s=20.0),
)

PLAIN = UpOptions()

PATIENT = CoordinatorConfig(deadline_first_s=100, deadline_min_s=100, lost_after_s=100)
"""On a busy machine a process may pause for longer than the usual deadline; then an iteration or a
move goes on without its worker, and computes something else."""


def config_of(**changes: Any) -> RunConfig:
    return msgspec.structs.replace(CONFIG, **changes)


def run(
    config: RunConfig,
    out: Path,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    options: UpOptions = PLAIN,
) -> Any:
    return supervisor.up(
        config, out.parent, out, on_progress=on_progress, say=lambda line: None, options=options
    )


def bodies(out: Path, kind: type, node: str | None = None) -> list[Any]:
    return [
        record.body
        for record in records_of(RunDirectory(out))
        if isinstance(record.body, kind) and node in (None, record.node)
    ]


def pid_of(out: Path, node: str) -> int:
    pid = bodies(out, NodeStarted, node)[-1].pid
    assert isinstance(pid, int)
    return pid


def started_again(out: Path, node: str) -> "subprocess.Popen[str]":
    """That node in a process by hand, where it was."""
    command = [
        *(sys.executable, "-m", "p2pgan", "node", "start", "--id", node, "--resume"),
        *("--config", str(out / "run.toml"), "--overlay", str(out / "overlay.json")),
        *("--run", "run", "--out", str(out)),
    ]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


class Once:
    """Does something when the coordinator has come so far."""

    def __init__(self, iterations: int, act: Callable[[], None]) -> None:
        self._iterations, self._act = iterations, act
        self.is_done = False

    def __call__(self, progress: Progress) -> None:
        if not self.is_done and progress.iterations >= self._iterations:
            self.is_done = True
            self._act()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fl-gan", "md-gan"])
def test_a_run_ends_well_and_its_generator_is_the_coordinator_s(
    tmp_path: Path, algorithm: str
) -> None:
    seen: list[Progress] = []
    out = tmp_path / "run"
    config = config_of(algorithm=algorithm, coordinator=PATIENT)
    outcome = run(config, out, seen.append)
    assert outcome.failed == {}
    summary = outcome.summary
    assert (summary["nodes"], summary["iterations"], summary["rounds"]) == (4, 60, 3)
    assert {body.reason for body in bodies(out, NodeStopped)} == {"finished"}
    assert unaccounted(RunDirectory(out)) == []
    assert [body.iterations for body in bodies(out, Scores)] == [60]
    assert len(bodies(out, Scores, HUB)) == 1
    assert summary["scores"]["fid"]["std"] == 0
    assert (summary["consensus"]["d"] is not None) == (algorithm == "md-gan")
    assert (seen[-1].iterations, seen[-1].iterations_total, seen[-1].nodes) == (60, 60, 5)
    done = Run.open(out)
    assert (done.saved_nodes, done.unsaved_nodes) == ([HUB], [])
    assert done.images(HUB, 3, 0).shape == (3, 1, 8, 8)
    assert done.scores(tmp_path)[HUB].fid == pytest.approx(summary["scores"]["fid"]["mean"])
    if algorithm == "md-gan":
        moves = [body for body in bodies(out, VectorMixed) if body.purpose == "move"]
        assert len(moves) == 2 * 4


@pytest.mark.slow
def test_daemons_compute_what_the_simulator_computes(tmp_path: Path) -> None:
    """Discriminator by discriminator, as daemons do: in larger blocks sums round otherwise, which
    a long training amplifies."""
    from p2pgan.config import EngineConfig
    from p2pgan.sim.run import simulate

    engine = EngineConfig(block_nodes=1)
    config = config_of(iterations=300, engine=engine, coordinator=PATIENT)
    run(config, tmp_path / "real")
    simulate(config, tmp_path, tmp_path / "simulated", lambda simulation: None)

    def losses(out: Path) -> dict[tuple[str, int], tuple[float, float]]:
        return {
            (record.node, record.body.round): (record.body.loss_d or 0, record.body.loss_g or 0)
            for record in records_of(RunDirectory(out))
            if isinstance(record.body, RoundFinished) and record.node != HUB
        }

    real, simulated = losses(tmp_path / "real"), losses(tmp_path / "simulated")
    assert len(real) == 15 * 4
    assert real.keys() == simulated.keys()
    for key in real:
        assert real[key] == pytest.approx(simulated[key], abs=1e-4)


@pytest.mark.slow
def test_each_feedback_counts_as_it_comes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    md = SplitConfig(asynchronous=True, staleness="parameter", share=0.2)
    assert run(config_of(md=md, iterations=30), out).failed == {}
    assert bodies(out, NodeStopped, HUB)[0].iterations == 30


@pytest.mark.slow
def test_a_killed_worker_costs_a_deadline_and_no_more(tmp_path: Path) -> None:
    """The others make all iterations, and an idle worker gets a copy of a live discriminator."""
    out = tmp_path / "run"
    limits = CoordinatorConfig(deadline_first_s=5.0, deadline_min_s=0.3, lost_after_s=100.0)
    config = config_of(
        nodes=10, iterations=120, coordinator=limits, md=SplitConfig(discriminators=9)
    )
    kill = Once(40, lambda: os.kill(pid_of(out, "3"), signal.SIGKILL))
    outcome = run(config, out, kill)
    assert list(outcome.failed) == ["3"]
    stopped = {
        record.node: record.body
        for record in records_of(RunDirectory(out))
        if isinstance(record.body, NodeStopped)
    }
    assert stopped[HUB].iterations == 120
    assert {body.reason for body in stopped.values()} == {"finished"}
    assert stopped.keys() == {HUB, *map(str, range(10))} - {"3"}
    assert "3" in {body.peer for body in bodies(out, PeerLost, HUB)}
    rounds = bodies(out, RoundFinished, HUB)
    usual_s = max(body.exchange_s for body in rounds if body.iterations <= 40)
    longest_s = max(body.exchange_s for body in rounds if body.iterations > 40)
    assert longest_s < limits.deadline_first_s + 10 * usual_s  # far from `lost_after_s`


@pytest.mark.slow
def test_a_frozen_worker_is_waited_for_no_longer_than_the_deadline(tmp_path: Path) -> None:
    """The run does not end before the worker thaws, so it must go on without it; then it has it
    back."""
    out = tmp_path / "run"
    limits = CoordinatorConfig(deadline_first_s=5.0, deadline_min_s=0.2, lost_after_s=60.0)
    config = config_of(iterations=10**6, coordinator=limits, md=SplitConfig(moves=False))
    frozen: list[int] = []

    def on_progress(progress: Progress) -> None:
        if not frozen and progress.iterations >= 40:
            frozen.append(pid_of(out, "2"))
            frozen.append(progress.iterations)
            os.kill(frozen[0], signal.SIGSTOP)
        elif len(frozen) == 2 and progress.iterations >= frozen[1] + 100:
            frozen.append(0)
            os.kill(frozen[0], signal.SIGCONT)
            os.kill(os.getpid(), signal.SIGTERM)

    outcome = run(config, out, on_progress)
    assert outcome.interrupted
    assert outcome.failed == {}
    assert "2" in {body.peer for body in bodies(out, PeerSuspected, HUB)}


@pytest.mark.slow
def test_a_worker_that_stays_frozen_is_killed_when_all_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else could end it, and the supervisor waits for all."""
    monkeypatch.setattr(children, "STOP_EXTRA_S", 0.5)
    out = tmp_path / "run"
    limits = CoordinatorConfig(
        deadline_first_s=5.0, deadline_min_s=0.2, lost_after_s=1.0, wait_s=4.0
    )
    daemon = DaemonConfig(wait_s=60.0, drain_s=1.0)
    config = config_of(iterations=100, coordinator=limits, daemon=daemon)
    freeze = Once(40, lambda: os.kill(pid_of(out, "2"), signal.SIGSTOP))
    outcome = run(config, out, freeze)
    assert outcome.failed == {"2": "still there 5.5 s after its coordinator had ended: killed"}
    assert [body.reason for body in bodies(out, NodeStopped, HUB)] == ["finished"]
    assert outcome.summary["iterations"] == 100


@pytest.mark.slow
def test_a_coordinator_that_was_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """Workers wait; the run ends with all iterations, and one log tells of both starts."""
    out = tmp_path / "run"
    config = config_of(iterations=300, exchange_every=10)
    again: list[subprocess.Popen[str]] = []

    def restart() -> None:
        os.kill(pid_of(out, HUB), signal.SIGKILL)
        again.append(started_again(out, HUB))

    outcome = run(config, out, Once(50, restart))
    _, said = again[0].communicate(timeout=60)
    assert again[0].returncode == 0, said
    assert list(outcome.failed) == [HUB]
    (restored,) = bodies(out, CheckpointRestored, HUB)
    assert restored.iterations >= 40
    assert [body.reason for body in bodies(out, NodeStopped, HUB)] == ["finished"]
    ends = [body.iterations for body in bodies(out, RoundFinished, HUB)]
    assert ends[-1] == 300
    assert {*ends} == {*range(10, 301, 10)}
    numbers = [r.seq for r in records_of(RunDirectory(out)) if r.node == HUB]
    assert sorted(numbers) == list(range(len(numbers)))
    workers = {body.reason for node in "0123" for body in bodies(out, NodeStopped, node)}
    assert workers == {"finished"}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fl-gan", "md-gan"])
def test_a_supervisor_can_start_a_killed_coordinator_again(tmp_path: Path, algorithm: str) -> None:
    """Workers wait for it, and no round is left out."""
    out = tmp_path / "run"
    config = config_of(algorithm=algorithm, iterations=300, exchange_every=10)
    kill = Once(50, lambda: os.kill(pid_of(out, HUB), signal.SIGKILL))
    options = UpOptions(policy=RestartPolicy(when="on-failure"))
    outcome = run(config, out, kill, options)
    assert outcome.failed == {}
    assert outcome.summary["restarts"] == {HUB: 1}
    (restored,) = bodies(out, CheckpointRestored, HUB)
    assert restored.iterations >= 40
    assert {body.iterations for body in bodies(out, RoundFinished, HUB)} == {*range(10, 301, 10)}
    assert len({body.address for body in bodies(out, NodeStarted, HUB)}) == 1
    assert {body.reason for body in bodies(out, NodeStopped)} == {"finished"}


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_where_it_lies(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = config_of(algorithm="fl-gan", iterations=300, exchange_every=10)
    stop = Once(50, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert run(config, out, stop).interrupted
    moved = tmp_path / "moved"
    out.rename(moved)
    options = UpOptions(resume=RunDirectory(moved))
    outcome = run(config_of_run(RunDirectory(moved), {}), moved, options=options)
    assert (outcome.failed, outcome.interrupted) == ({}, False)
    assert outcome.summary["iterations"] == 300
    assert {body.iterations for body in bodies(moved, RoundFinished, HUB)} == {*range(10, 301, 10)}
    assert {record.run for record in records_of(RunDirectory(moved))} == {"run"}
    for node in (HUB, *"0123"):
        assert len({body.address for body in bodies(moved, NodeStarted, node)}) == 1


@pytest.mark.slow
def test_a_coordinator_that_has_saved_nothing_begins_anew(tmp_path: Path) -> None:
    """With workers that are further on; the run ends with all iterations."""
    out = tmp_path / "run"
    again: list[subprocess.Popen[str]] = []

    def restart() -> None:
        os.kill(pid_of(out, HUB), signal.SIGKILL)
        again.append(started_again(out, HUB))

    limits = CoordinatorConfig(checkpoint_every=0)
    config = config_of(iterations=100, exchange_every=10, coordinator=limits)
    outcome = run(config, out, Once(30, restart))
    _, said = again[0].communicate(timeout=60)
    assert again[0].returncode == 0, said
    assert "the run begins anew" in said
    assert list(outcome.failed) == [HUB]
    ends = [body.iterations for body in bodies(out, RoundFinished, HUB)]
    assert ends[-10:] == [*range(10, 101, 10)]
    assert {body.reason for body in bodies(out, NodeStopped)} == {"finished"}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fl-gan", "md-gan"])
def test_a_worker_that_was_killed_comes_back_into_its_log(tmp_path: Path, algorithm: str) -> None:
    """It is given the current model, or a discriminator, and makes rounds again."""
    out = tmp_path / "run"
    again: list[subprocess.Popen[str]] = []
    stopped: list[bool] = []

    def on_progress(progress: Progress) -> None:
        if not again and progress.iterations >= 40:
            os.kill(pid_of(out, "2"), signal.SIGKILL)
            again.append(started_again(out, "2"))
        elif again and not stopped and (again[0].poll() is not None or is_back()):
            stopped.append(True)
            again[0].terminate()
            os.kill(os.getpid(), signal.SIGTERM)

    def is_back() -> bool:
        log = [r for r in records_of(RunDirectory(out)) if r.node == "2"]
        starts = [r.seq for r in log if isinstance(r.body, NodeStarted)]
        return len(starts) == 2 and any(
            r.seq > starts[1] for r in log if isinstance(r.body, RoundFinished)
        )

    config = config_of(algorithm=algorithm, nodes=3, iterations=10**7, exchange_every=5)
    outcome = run(config, out, on_progress)
    _, said = again[0].communicate(timeout=60)
    assert again[0].returncode == 0, said
    assert list(outcome.failed) == ["2"]
    numbers = [record.seq for record in records_of(RunDirectory(out)) if record.node == "2"]
    assert sorted(numbers) == list(range(len(numbers)))


class Node:
    """A node with real networks in a thread of its own; its records."""

    def __init__(self, config: RunConfig, node: str, addresses: dict[str, str], out: Path) -> None:
        experiment = prepare(config, out)
        seat = seat_of(node, out / node / "checkpoint.safetensors")
        part = part_of(experiment, whole_overlay(experiment), seat)
        self.transport = Transport(addresses[node], {n: addresses[n] for n in part.neighbors})
        self.trainer = Trainer(part.make_work, self.transport.wake)
        self.records: list[Record] = []
        self.ended: Ended | None = None
        self.loop = NodeLoop(
            part.machine, self.transport, self.trainer, self.records.append, chunk_bytes=65_536
        )
        self.loop.provide(part.snapshot, part.seal)
        self.thread = threading.Thread(target=self._run, name=node, daemon=True)

    def _run(self) -> None:
        try:
            self.ended = self.loop.run(1)
        finally:
            self.trainer.close(30.0)
            self.transport.close()

    def refusals(self) -> set[tuple[str, str, str]]:
        return {
            (r.fields["peer"], r.fields["reason"], r.fields["by"])
            for r in self.records
            if r.kind == "peer_refused"
        }


@pytest.mark.parametrize(
    "other", [{"md": SplitConfig(batches=1)}, {"batch_size": 5}, {"md": SplitConfig(share=0.5)}]
)
def test_a_worker_with_other_settings_is_refused_on_both_sides(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    """And the run goes on with the others."""
    names = (HUB, "0", "1", "2")
    held, ports = reserve_ports(len(names))
    addresses = {node: f"tcp://127.0.0.1:{p}" for node, p in zip(names, ports, strict=True)}
    usual = config_of(
        nodes=3,
        iterations=30,
        exchange_every=10,
        md=SplitConfig(batches=2),
        daemon=DaemonConfig(wait_s=1.0),  # for who was refused, and may come again
    )
    nodes = {
        name: Node(
            msgspec.structs.replace(usual, **other) if name == "1" else usual,
            name,
            addresses,
            tmp_path,
        )
        for name in names
    }
    for reserved in held:
        reserved.close()
    for node in nodes.values():
        node.thread.start()
    for node in nodes.values():
        node.thread.join(60.0)
    assert nodes["1"].ended is not None
    assert "refuses this node" in nodes["1"].ended.failure
    assert ("1", "architecture", "us") in nodes[HUB].refusals()
    assert (HUB, "architecture", "them") in nodes["1"].refusals()
    hub = nodes[HUB].ended
    assert hub is not None
    assert hub.reason == "finished"


@pytest.mark.parametrize("algorithm", ["fl-gan", "md-gan"])
def test_a_worker_that_comes_late_is_just_started(
    tmp_path: Path, algorithm: str, until: Callable[[Callable[[], Any]], Any]
) -> None:
    """The others have begun without it; it gets the current model, or a discriminator."""
    names = (HUB, "0", "1")
    held, ports = reserve_ports(len(names))
    addresses = {node: f"tcp://127.0.0.1:{p}" for node, p in zip(names, ports, strict=True)}
    config = config_of(
        algorithm=algorithm,
        nodes=2,
        iterations=10**7,
        exchange_every=5,
        md=SplitConfig(moves=False),
        daemon=DaemonConfig(wait_s=0.2),
    )
    hub, early, late = (Node(config, name, addresses, tmp_path) for name in names)
    for reserved in held:
        reserved.close()
    for node in (hub, early):
        node.thread.start()
    until(lambda: any(record.kind == "round_finished" for record in early.records))
    late.thread.start()
    until(lambda: any(record.kind == "round_finished" for record in late.records))
    for node in (hub, early, late):
        node.loop.wish(ev.StopRequested())
    for node in (hub, early, late):
        node.thread.join(30.0)
        assert node.ended is not None
        assert node.ended.reason == "stopped"
