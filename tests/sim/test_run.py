"""A simulated run from its configuration to its directory."""

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from p2pgan.config import ExchangeConfig, RunConfig, TrainConfig, config_from, read_settings
from p2pgan.errors import OverlayError, P2PGanError, RecordError
from p2pgan.gan.checkpoint import load
from p2pgan.gan.models import model
from p2pgan.record.reader import read
from p2pgan.record.schema import Consensus, NodeStopped, Record, Scores
from p2pgan.runs import Run
from p2pgan.sim.lockstep import Lockstep
from p2pgan.sim.run import Finished, simulate
from p2pgan.types import NETS

Simulate = Callable[..., Finished]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def timeless(finished: Finished) -> list[dict[str, Any]]:
    """The log without what a clock decides, and without the name of the run."""
    lines = finished.directory.events.read_text().splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [
        {key: v for key, v in record.items() if key not in ("wall", "run") and key[-2:] != "_s"}
        for record in records
    ]


def checkpoints(finished: Finished) -> list[bytes]:
    """The vectors of all nodes; the name of the run in the files' heads is left out."""
    pair = model("mlp-digits")
    saved = [load(finished.directory.checkpoint(str(node)), pair).vectors for node in range(3)]
    return [vectors[net].numpy().tobytes() for vectors in saved for net in NETS]


def log(finished: Finished) -> list[Record]:
    return list(read(finished.directory.events))


def after(rounds: int) -> Callable[[Lockstep], None]:
    """Interrupts after so many rounds."""

    def on_round(simulation: Lockstep) -> None:
        if simulation.round == rounds:
            raise KeyboardInterrupt

    return on_round


def test_the_directory_is_as_contracted(simulated: Simulate) -> None:
    finished = simulated()
    assert files(finished.directory.path) == {
        "run.toml",
        "overlay.json",
        "events.jsonl",
        "summary.json",
        *(f"nodes/{node}/checkpoint.safetensors" for node in range(3)),
    }
    overlay = json.loads(finished.directory.overlay_json.read_text())
    assert [node["id"] for node in overlay["nodes"]] == ["0", "1", "2"]
    run_toml = finished.directory.read_run_toml()
    assert run_toml["exchange_every"] == 10
    assert run_toml["run"]["name"] == "run"
    assert run_toml["run"]["versions"].keys() == {"p2pgan", "python", "torch", "numpy"}


def test_the_summary_is_as_contracted(simulated: Simulate) -> None:
    finished = simulated(partition="by-class:4", seed=3)
    summary = finished.summary
    assert summary == finished.directory.read_summary()
    contracted = {
        "run": "run",
        "algorithm": "gossip",
        "dataset": "digits",
        "partition": "by-class:4",
        "nodes": 3,
        "iterations": 40,
        "rounds": 4,
        "seed": 3,
    }
    assert {key: summary[key] for key in contracted} == contracted
    assert summary["interrupted"] is False
    for score in ("fid", "ms"):
        row = summary["scores"][score]
        assert row.keys() == {"mean", "std", "min", "max", "samples"}
        assert row["min"] <= row["mean"] <= row["max"]
        assert row["samples"] == 50
    assert summary["consensus"].keys() == {"g", "d"}
    assert summary["traffic"].keys() == {"messages", "bytes_total", "bytes_per_node"}
    speed = summary["speed"]
    assert 0 < 3 * 40 / speed["node_iterations_per_s"] < speed["wall_s"]


def test_the_summary_repeats_the_log(simulated: Simulate) -> None:
    finished = simulated()
    last = {r.node: r.body.fid for r in log(finished) if isinstance(r.body, Scores)}
    row = finished.summary["scores"]["fid"]
    assert set(last.values()) >= {row["min"], row["max"]}
    assert len(last) == 3
    consensus = [r.body for r in log(finished) if isinstance(r.body, Consensus)][-1]
    assert finished.summary["consensus"] == {"g": consensus.g, "d": consensus.d}


@pytest.mark.parametrize("algorithm", ["gossip", "gossip-ind", "fl-gan"])
def test_the_same_seed_is_the_same_run(simulated: Simulate, algorithm: str) -> None:
    one, again = (simulated(name, algorithm=algorithm, seed=4) for name in ("one", "again"))
    assert timeless(one) == timeless(again)
    assert checkpoints(one) == checkpoints(again)


def test_another_seed_is_another_run(simulated: Simulate) -> None:
    one, other = simulated("one", seed=1), simulated("other", seed=2)
    assert timeless(one)[1:] != timeless(other)[1:]
    assert all(a != b for a, b in zip(checkpoints(one), checkpoints(other), strict=True))


def test_a_run_toml_given_back_is_the_same_run(simulated: Simulate) -> None:
    first = simulated("first", seed=6, algorithm="gossip-ind")
    path = first.directory.run_toml
    config = config_from(read_settings(path), at=str(path))
    again = simulate(config, Path("nowhere"), path.parents[1] / "again", lambda simulation: None)
    assert checkpoints(again) == checkpoints(first)
    assert timeless(again) == timeless(first)


@pytest.mark.parametrize("rounds", [1, 2])
def test_an_interrupt_saves_what_there_is(simulated: Simulate, rounds: int) -> None:
    finished = simulated(on_round=after(rounds))
    summary = finished.directory.read_summary()
    assert (summary["interrupted"], summary["rounds"]) == (True, rounds)
    assert summary["iterations"] == 10 * rounds
    assert summary["scores"]["fid"]["mean"] > 0
    assert load(finished.directory.checkpoint("2"), model("mlp-digits")).iterations == 10 * rounds
    stops = [r.body for r in log(finished) if isinstance(r.body, NodeStopped)]
    assert [(b.reason, b.rounds) for b in stops] == [("interrupted", rounds)] * 3


def test_an_interrupted_run_is_scored_once(simulated: Simulate) -> None:
    """Scores are due after round 2; an interrupt right there does not repeat them."""
    scored = [r for r in log(simulated(on_round=after(2))) if r.kind == "scores"]
    assert len(scored) == 3


def test_interrupted_training_is_that_of_a_shorter_run(simulated: Simulate) -> None:
    assert checkpoints(simulated("cut", after(2))) == checkpoints(simulated("short", iterations=20))


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
def test_a_signal_ends_the_run_after_its_round(tmp_path: Path) -> None:
    told = []
    config = RunConfig(nodes=2, iterations=40, exchange_every=10, device="cpu")

    def on_round(simulation: Lockstep) -> None:
        if simulation.round == 2:
            signal.raise_signal(signal.SIGINT)

    finished = simulate(
        config, Path("nowhere"), tmp_path / "run", on_round, lambda: told.append("wait")
    )
    assert (finished.summary["interrupted"], finished.summary["rounds"]) == (True, 2)
    assert told == ["wait"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_diverged_networks_are_saved_and_said_so(simulated: Simulate) -> None:
    finished = simulated(train=TrainConfig(loss="lsgan", learning_rate_g=1e30))
    assert finished.directory.read_summary()["scores"]["fid"]["mean"] is None
    assert finished.directory.checkpoint("0").is_file()
    assert len(Run.open(finished.directory.path).draw_pictures()) == 3


def test_an_existing_directory_is_refused_and_untouched(
    simulated: Simulate, tmp_path: Path
) -> None:
    place = tmp_path / "run"
    place.mkdir()
    (place / "thesis.txt").write_text("years of work")
    with pytest.raises(RecordError, match="a new or empty folder"):
        simulated()
    assert files(place) == {"thesis.txt"}


def test_a_finished_run_is_not_overwritten(simulated: Simulate) -> None:
    before = simulated().directory.events.read_bytes()
    with pytest.raises(RecordError) as caught:
        simulated()
    assert "--out" in str(caught.value)
    assert simulated("other").directory.path.parent.joinpath("run/events.jsonl").read_bytes() == (
        before
    )


def test_the_log_is_written_round_by_round(simulated: Simulate, tmp_path: Path) -> None:
    """Who follows the log of a slow run sees each round as it ends."""
    seen = []

    def look(simulation: Lockstep) -> None:
        records = read(tmp_path / "run/events.jsonl")
        seen.append(sum(record.kind == "round_finished" for record in records))

    simulated(on_round=look)
    assert seen == [3, 6, 9, 12]


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "gosip"},
        {"overlay": "rign"},
        {"nodes": 101},
        {"overlay": "star", "exchange": ExchangeConfig(fixed_points=False)},
    ],
)
def test_what_cannot_run_writes_nothing(
    simulated: Simulate, tmp_path: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(P2PGanError):
        simulated(**settings)
    assert files(tmp_path) == set()


def test_a_star_runs_with_push(simulated: Simulate) -> None:
    exchange = ExchangeConfig(draw="push", fixed_points=False)
    assert simulated(overlay="star", exchange=exchange).summary["traffic"]["messages"] == 3 * 4
    with pytest.raises(OverlayError, match="draw by `push`"):
        simulated("other", overlay="star", exchange=ExchangeConfig(fixed_points=False))
