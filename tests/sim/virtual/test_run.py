"""A run in virtual time from its configuration to its directory."""

import json
import os
import signal
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from p2pgan.config import CoordinatorConfig, ExchangeConfig, RunConfig, ScoreConfig, TrainConfig
from p2pgan.daemons import DaemonConfig
from p2pgan.errors import CheckFailed, ConfigError, P2PGanError, RecordError
from p2pgan.gan.checkpoint import load
from p2pgan.gan.models import model
from p2pgan.inspect.summary import summarise
from p2pgan.record.reader import read
from p2pgan.record.schema import (
    CheckpointSaved,
    Consensus,
    FaultInjected,
    NodeStopped,
    Record,
    Scores,
    VectorDropped,
    VectorReceived,
    VectorSent,
)
from p2pgan.sim.run import simulate as lockstep
from p2pgan.sim.virtual.invariants.waiting import Waiting
from p2pgan.sim.virtual.run import Finished, Progress, prepared
from p2pgan.sim.virtual.standin import StandIn
from p2pgan.sim.virtual.worker import VirtualWorker
from p2pgan.types import NETS
from p2pgan.virtual import VirtualConfig

Virtual = Callable[..., Finished]

MADE_UP: dict[str, Any] = {"train": "gradient-free"}
"""No data, no networks."""


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def log(finished: Finished) -> list[Record]:
    return list(read(finished.directory.events))


def of(finished: Finished, kind: type) -> list[Record]:
    return [record for record in log(finished) if isinstance(record.body, kind)]


def test_the_directory_is_as_contracted(virtual: Virtual) -> None:
    finished = virtual()
    assert files(finished.directory.path) == {
        "run.toml",
        "overlay.json",
        "events.jsonl",
        "summary.json",
        *(f"nodes/{node}/checkpoint.safetensors" for node in range(3)),
    }
    run_toml = finished.directory.read_run_toml()
    assert run_toml["run"]["clock"] == "virtual"
    assert run_toml["run"]["name"] == "run"
    assert run_toml["virtual"]["train"] == "networks"
    overlay = json.loads(finished.directory.overlay_json.read_text())
    assert [node["id"] for node in overlay["nodes"]] == ["0", "1", "2"]
    for record in of(finished, CheckpointSaved):
        assert isinstance(record.body, CheckpointSaved)
        assert (finished.directory.path / record.body.path).is_file()
    records = log(finished)
    assert len({(record.node, record.seq) for record in records}) == len(records)
    assert {record.run for record in records} == {"run"}
    times = [record.time_s for record in records]
    assert times == sorted(times)


def test_the_summary_says_what_the_log_says(virtual: Virtual) -> None:
    finished = virtual(made_up={"speeds": "lognormal:0.5"})
    summary = finished.summary
    assert summary == finished.directory.read_summary()
    assert (summary["rounds"], summary["iterations"], summary["interrupted"]) == (4, 40, False)
    assert summary["unaccounted"] == 0
    logged = summarise(finished.directory)
    assert summary["traffic"]["messages"] == logged.sent
    told = summary["virtual"]
    assert told.keys() == {
        *("duration_s", "events", "batched_calls", "trainings"),
        *("messages_lost", "faults", "survivors", "trace"),
    }
    assert told["duration_s"] == pytest.approx(log(finished)[-1].time_s)
    assert (told["trainings"], told["survivors"], told["messages_lost"]) == (12, 3, 0)
    assert told["faults"] == {}
    last = {r.node: r.body.fid or 0.0 for r in log(finished) if isinstance(r.body, Scores)}
    assert summary["scores"]["fid"]["mean"] == pytest.approx(statistics.mean(last.values()))


def networks(finished: Finished) -> dict[str, torch.Tensor]:
    pair = model("mlp-digits")
    saved = [load(finished.directory.checkpoint(str(n)), pair).vectors for n in range(3)]
    return {net: torch.stack([vectors[net] for vectors in saved]) for net in NETS}


@pytest.mark.parametrize("speeds", ["equal", "lognormal:1"])
def test_alone_all_learn_what_they_learn_in_lockstep(
    virtual: Virtual, tmp_path: Path, speeds: str
) -> None:
    """Nobody's pace matters to who exchanges nothing."""
    finished = virtual(algorithm="standalone", made_up={"speeds": speeds})
    config = RunConfig(
        algorithm="standalone",
        nodes=3,
        iterations=40,
        exchange_every=10,
        device="cpu",
        score=ScoreConfig(samples=50, every=0),
    )
    other = lockstep(config, Path("no-data-needed"), tmp_path / "lockstep", lambda simulation: None)
    ours, theirs = (networks(one) for one in (finished, other))  # type: ignore[arg-type]
    for net in NETS:
        torch.testing.assert_close(ours[net], theirs[net], atol=1e-5, rtol=0.0)
    assert finished.summary["scores"]["fid"]["mean"] == pytest.approx(
        other.summary["scores"]["fid"]["mean"], rel=1e-3
    )


@pytest.mark.parametrize("algorithm", ["fl-gan", "md-gan"])
def test_coordinators_and_workers_run(virtual: Virtual, algorithm: str) -> None:
    finished = virtual(algorithm=algorithm, iterations=9, exchange_every=3)
    assert finished.summary["iterations"] == 9
    assert finished.summary["virtual"]["survivors"] == 4
    assert finished.summary["scores"]["fid"]["mean"] > 0
    assert finished.directory.checkpoint("coordinator").is_file()


# -- looks at the nodes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every_s", "times"),
    [(0.1, [0.1, 0.2, 0.3, 0.4]), (None, [0.4 / 10 * n for n in range(1, 11)]), (0.0, [])],
)
def test_nodes_are_looked_at_in_virtual_time(
    virtual: Virtual, every_s: float | None, times: list[float]
) -> None:
    """But while they have done nothing yet. Their consensus is measured once more at the end."""
    finished = virtual(made_up={**MADE_UP, "score_every_s": every_s, "score_nodes": 2})
    *looks, end_s = [record.time_s for record in of(finished, Consensus)]
    assert end_s == log(finished)[-1].time_s
    assert looks == pytest.approx([at_s for at_s in times if at_s > 0.11])
    scored = of(finished, Scores)[: 2 * len(looks)]
    assert [record.time_s for record in scored] == pytest.approx(
        [at_s for at_s in looks for _ in range(2)]
    )
    assert {record.node for record in scored} <= {"0", "2"}


def test_the_end_comes_when_it_was_asked_for(virtual: Virtual) -> None:
    finished = virtual(iterations=10**6, made_up={**MADE_UP, "duration_s": 1.23, "score_nodes": 1})
    assert finished.summary["virtual"]["duration_s"] == pytest.approx(1.23)
    assert finished.summary["interrupted"] is False
    assert summarise(finished.directory).iterations == 123
    assert {node.stopped for node in summarise(finished.directory).nodes} == {"stopped"}


@pytest.mark.parametrize("pauses", [0.0, 36000.0])
def test_nobody_makes_more_than_it_has_time_for(
    virtual: Virtual, tmp_path: Path, pauses: float
) -> None:
    """Though others are done sooner, and what has begun is computed with them."""
    path = tmp_path / "speeds.csv"
    path.write_text("node,speed\n0,100\n1,1\n2,1\n")
    made_up = {"speeds": f"file:{path}", "duration_s": 1.0, "pauses": pauses, "pause_s": 0.05}
    finished = virtual(iterations=10**6, exchange_every=1000, made_up=MADE_UP | made_up)
    for node in "12":
        trained_s = 1.0
        for record in of(finished, FaultInjected):
            if record.node == node and record.time_s < 1.0:
                left_s = 1.0 - record.time_s
                trained_s += left_s if record.body.detail == "ends" else -left_s  # type: ignore[union-attr]
        assert (trained_s == 1.0) == (not pauses)
        (told,) = [r.body for r in of(finished, NodeStopped) if r.node == node]
        assert told.iterations == int(trained_s / 0.01 + 1e-6)  # type: ignore[union-attr]


def test_with_equal_machines_all_are_stopped_at_the_end_of_a_round(virtual: Virtual) -> None:
    """Whoever begins the next one has made nothing of it."""
    finished = virtual(iterations=10**6, made_up={"duration_s": 0.2, "score_every_s": 0.0})
    assert summarise(finished.directory).iterations == 20


def test_an_interrupt_stops_all_nodes_and_saves(virtual: Virtual) -> None:
    def interrupt(progress: Progress) -> None:
        assert progress.living == progress.nodes == 3
        assert 0 < progress.virtual_s < progress.horizon_s
        if not told:
            os.kill(os.getpid(), signal.SIGINT)
        told.append(progress)

    told: list[Progress] = []
    finished = virtual("run", interrupt, iterations=10**6, made_up=MADE_UP)
    assert told
    assert finished.summary["interrupted"] is True
    assert finished.summary["virtual"]["survivors"] == 3
    assert 0 < finished.summary["iterations"] < 10**6
    assert all(finished.directory.checkpoint(node).is_file() for node in "012")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# -- without networks, and with faults -------------------------------------------------------------


@pytest.mark.parametrize("train", ["gradient-free", "none"])
def test_the_protocol_is_tried_without_data(virtual: Virtual, train: str) -> None:
    finished = virtual(nodes=30, overlay="ring", dataset="mnist", made_up={"train": train})
    assert finished.summary["virtual"]["survivors"] == 30
    assert finished.summary["traffic"]["messages"] == 30 * 4


FAULTY: dict[str, Any] = {
    **MADE_UP,
    "crash": 0.01,
    "restart_s": 0.3,
    "joins": 0.3,
    "partitions": 7200.0,
    "partition_s": 0.2,
    "freezes": 3600.0,
    "freeze_s": 0.1,
    "loss": 0.05,
    "corruption": 0.02,
    "latency_s": "uniform:0.001,0.01",
}


def test_faults_are_written_and_counted(virtual: Virtual) -> None:
    finished = virtual(nodes=8, iterations=200, made_up=FAULTY)
    told = finished.summary["virtual"]["faults"]
    assert set(told) >= {"crash", "late", "partition", "freeze"}
    assert told == dict(sorted(told.items()))
    begun: dict[str, int] = {}
    for record in of(finished, FaultInjected):
        assert isinstance(record.body, FaultInjected)
        if not str(record.body.detail).startswith("ends"):
            begun[record.body.fault] = begun.get(record.body.fault, 0) + 1
    assert begun == told
    assert finished.summary["virtual"]["messages_lost"] > 0
    assert finished.summary["virtual"]["survivors"] == 8


@pytest.mark.parametrize("fault", [{"delay_rounds": 3.0}, {"duplication": 1.0}, {"loss": 0.4}])
def test_vectors_of_several_chunks_arrive_whole_or_not_at_all(
    virtual: Virtual, fault: dict[str, float]
) -> None:
    finished = virtual(
        nodes=4,
        overlay="complete",
        iterations=120,
        daemon=DaemonConfig(chunk_bytes=65_536),
        made_up=fault | {"score_every_s": 0.0},
    )
    assert of(finished, VectorReceived)
    reasons = {r.body.reason for r in of(finished, VectorDropped)}  # type: ignore[union-attr]
    assert "order" not in reasons
    sent, received = len(of(finished, VectorSent)), len(of(finished, VectorReceived))
    if "loss" in fault:
        assert received > sent / 3, "as likely as a vector of one chunk"


@pytest.mark.parametrize("duration_s", [0.0, 0.25])
def test_a_run_ends_though_a_node_sleeps_for_ever(
    virtual: Virtual, tmp_path: Path, duration_s: float
) -> None:
    """It is away after its last session."""
    path = tmp_path / "sessions.csv"
    path.write_text("node,on_s,off_s\n0,0,100\n1,0,0.05\n2,0,100\n")
    made_up = {**MADE_UP, "sessions": f"file:{path}", "duration_s": duration_s}
    finished = virtual(made_up=made_up)
    assert finished.summary["virtual"]["survivors"] == 2
    assert finished.summary["virtual"]["faults"] == {"absence": 1}


def test_who_is_forgotten_is_found(virtual: Virtual, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is due any more, and a node is left: a run does not go on for ever."""
    monkeypatch.setattr(VirtualWorker, "_trained", lambda worker: None)
    monkeypatch.setattr(Waiting, "sweep", lambda invariant: None)
    with pytest.raises(CheckFailed, match="expected everybody to leave, got 3 nodes left"):
        virtual(made_up=MADE_UP)


def test_if_all_crash_for_good_there_is_a_summary_without_scores(virtual: Virtual) -> None:
    finished = virtual(made_up={**MADE_UP, "crash": 1.0})
    assert finished.summary["virtual"]["survivors"] == 0
    assert finished.summary["virtual"]["faults"] == {"crash": 3}
    assert finished.summary["iterations"] == 0


# -- what cannot be run ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "at"),
    [
        ({"algorithm": "centralised"}, "--algorithm"),
        ({"algorithm": "fl-gan", "final": "agree"}, "--final"),
        ({"exchange": ExchangeConfig(draw="permutation")}, "exchange.draw"),
        ({"algorithm": "fl-gan", "train": TrainConfig(ema=0.9)}, "train.ema"),
        (
            {"algorithm": "md-gan", "coordinator": CoordinatorConfig(lose_every=20)},
            "coordinator.lose_every",
        ),
        ({"virtual": VirtualConfig(speeds="file:none.csv")}, "none.csv"),
        ({"virtual": VirtualConfig(sessions="file:none.csv")}, "none.csv"),
        ({"virtual": VirtualConfig(latency_s="overlay")}, "edge `0` - `1`"),
        ({"virtual": VirtualConfig(delay_rounds=1), "algorithm": "fl-gan"}, "virtual.delay_rounds"),
        ({"virtual": VirtualConfig(**MADE_UP), "algorithm": "md-gan"}, "--algorithm"),
        (
            {"virtual": VirtualConfig(**MADE_UP), "exchange": ExchangeConfig(draw="permutation")},
            "exchange.draw",
        ),
        (
            {"virtual": VirtualConfig(**MADE_UP), "score": ScoreConfig(final_samples=9)},
            "score.final_samples",
        ),
    ],
)
def test_what_cannot_be_run_is_one_line(
    virtual: Virtual, tmp_path: Path, settings: dict[str, Any], at: str
) -> None:
    with pytest.raises(P2PGanError) as caught:
        virtual(**settings)
    assert at in caught.value.at
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_an_earlier_run_is_not_written_over(virtual: Virtual) -> None:
    virtual(made_up=MADE_UP)
    with pytest.raises(RecordError, match="new or empty folder"):
        virtual(made_up=MADE_UP)


def test_a_preset_is_resolved_before_anything_is_made_of_it() -> None:
    config = RunConfig(nodes=2, virtual=VirtualConfig(preset="extreme", **MADE_UP), device="cpu")
    design = prepared(config, Path("none"))
    assert isinstance(design, StandIn)
    assert design.config.virtual.loss > 0
    assert design.config.exchange_every is not None
    with pytest.raises(ConfigError):
        prepared(RunConfig(algorithm="centralised", device="cpu"), Path("none"))
