"""Daemons that are stopped and started again compute what they would have computed."""

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.daemon import process
from p2pgan.daemons import DaemonConfig
from p2pgan.experiment import Experiment, prepare
from p2pgan.node.kept import previous_of
from p2pgan.record.rundir import RunDirectory, records_of
from p2pgan.record.schema import CheckpointFailed, CheckpointRestored, CheckpointSaved
from tests.daemon.test_process import plan_of
from tests.node.seats import contents

CONFIG = RunConfig(
    algorithm="standalone",
    nodes=2,
    iterations=230,
    exchange_every=50,
    device="cpu",
    score=ScoreConfig(samples=20, every=1),
    daemon=DaemonConfig(wait_s=0.0),
)


def experiment_of(tmp_path: Path, **changes: Any) -> Experiment:
    return prepare(msgspec.structs.replace(CONFIG, **changes), tmp_path)


def bodies(tmp_path: Path, kind: type) -> list[Any]:
    return [r.body for r in records_of(RunDirectory(tmp_path)) if isinstance(r.body, kind)]


def stopped_after(plan: process.NodePlan, experiment: Experiment, scores: int) -> None:
    """Runs it until it has told so many scores; then it trains its next round."""
    told = [0]

    def say(line: str) -> None:
        told[0] += "FID" in line
        if "FID" in line and told[0] == scores:
            os.kill(os.getpid(), signal.SIGTERM)

    assert process.run_node(plan, say, experiment) == process.EXIT_DONE


@pytest.mark.parametrize("algorithm", ["standalone", "gossip", "gosgd", "push-sum", "ad-psgd"])
def test_a_run_that_was_stopped_twice_ends_as_one_that_was_not(
    tmp_path: Path, algorithm: str
) -> None:
    """A node whose neighbor never comes; its draws, weight and streams are what it goes on with."""
    paths = [tmp_path / name for name in ("whole", "cut")]
    for path in paths:
        path.mkdir()
    experiment = experiment_of(tmp_path, algorithm=algorithm)
    overlay = experiment.overlay.with_addresses(
        {node: f"tcp://127.0.0.1:{9 + int(node)}" for node in "01"}
    )
    experiment = dataclasses.replace(experiment, overlay=overlay)
    whole, cut = (plan_of(experiment, path) for path in paths)
    assert process.run_node(whole, lambda line: None, experiment) == process.EXIT_DONE
    stopped_after(cut, experiment, 1)
    again = dataclasses.replace(cut, resume=True)
    stopped_after(again, experiment, 1)
    assert process.run_node(again, lambda line: None, experiment) == process.EXIT_DONE
    restored = [body.iterations for body in bodies(paths[1], CheckpointRestored)]
    assert len(restored) == 2
    assert 0 < restored[0] < restored[1] <= 230
    ends = [contents(RunDirectory(path).checkpoint("0"), experiment.model) for path in paths]
    assert ends[0] == ends[1]
    assert ends[0]["iterations"] == "230"


def test_who_cannot_read_its_last_checkpoint_takes_the_one_before(tmp_path: Path) -> None:
    daemon = DaemonConfig(wait_s=0.0, checkpoint_every=1)
    experiment = experiment_of(tmp_path, daemon=daemon)
    plan = plan_of(experiment, tmp_path)
    assert process.run_node(plan, lambda line: None, experiment) == process.EXIT_DONE
    path = RunDirectory(tmp_path).checkpoint("0")
    expected = contents(path, experiment.model)
    (tmp_path / "nodes" / "0" / ".checkpoint.safetensors.1.part").write_bytes(b"half")
    path.write_bytes(path.read_bytes()[:-1])
    said: list[str] = []
    again = dataclasses.replace(plan, resume=True)
    assert process.run_node(again, said.append, experiment) == process.EXIT_DONE
    assert f"goes on from {previous_of(path)}" in said[0]
    (restored,) = bodies(tmp_path, CheckpointRestored)
    assert restored.path == "nodes/0/checkpoint.previous.safetensors"
    assert restored.iterations == 200
    assert contents(path, experiment.model) == expected
    assert not list(path.parent.glob(".*"))


def test_time_saves_as_well(tmp_path: Path) -> None:
    daemon = DaemonConfig(wait_s=0.0, checkpoint_s=1e-6)
    experiment = experiment_of(tmp_path, daemon=daemon)
    assert process.run_node(plan_of(experiment, tmp_path), lambda line: None, experiment) == 0
    assert [body.iterations for body in bodies(tmp_path, CheckpointSaved)] == [
        *(50, 100, 150, 200),
        230,
    ]


def test_a_disk_that_fails_for_a_while_is_borne(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [2]
    fsync = os.fsync

    def refuse(number: int) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(5, "Input/output error")
        fsync(number)

    daemon = DaemonConfig(wait_s=0.0, checkpoint_every=1)
    experiment = experiment_of(tmp_path, daemon=daemon)
    plan = plan_of(experiment, tmp_path)
    monkeypatch.setattr(os, "fsync", refuse)
    assert process.run_node(plan, lambda line: None, experiment) == process.EXIT_DONE
    reasons = [body.reason for body in bodies(tmp_path, CheckpointFailed)]
    assert len(reasons) == 2
    assert all("Input/output error" in reason for reason in reasons)
    assert bodies(tmp_path, CheckpointSaved)[-1].iterations == 230
