"""A simulated run from its configuration to its directory."""

import json
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pgan.config import (
    EngineConfig,
    ExchangeConfig,
    RunConfig,
    ScoreConfig,
    TrainConfig,
    config_from,
    read_settings,
)
from p2pgan.errors import ConfigError, OverlayError, P2PGanError, RankLostError, RecordError
from p2pgan.gan.checkpoint import load
from p2pgan.gan.models import model
from p2pgan.record.reader import read
from p2pgan.record.schema import CheckpointSaved, Consensus, NodeStopped, Record, Scores
from p2pgan.runs import Run
from p2pgan.sim.lockstep import Lockstep
from p2pgan.sim.ranks import Ranks
from p2pgan.sim.run import Finished, simulate
from p2pgan.sim.simulation import Simulation
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
    nodes = range(finished.summary["nodes"])
    saved = [load(finished.directory.checkpoint(str(node)), pair).vectors for node in nodes]
    return [vectors[net].numpy().tobytes() for vectors in saved for net in NETS]


def log(finished: Finished) -> list[Record]:
    return list(read(finished.directory.events))


def after(rounds: int) -> Callable[[Simulation], None]:
    """Interrupts after so many rounds."""

    def on_round(simulation: Simulation) -> None:
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
    assert summary["traffic"].keys() == {"messages", "bytes_total", "bytes_per_node", "kinds"}
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

    def on_round(simulation: Simulation) -> None:
        if simulation.round == 2:
            signal.raise_signal(signal.SIGINT)

    finished = simulate(
        config, Path("nowhere"), tmp_path / "run", on_round, lambda: told.append("wait")
    )
    assert (finished.summary["interrupted"], finished.summary["rounds"]) == (True, 2)
    assert told == ["wait"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("when", ["measure", "save", "_save"])
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
def test_a_signal_after_the_last_round_leaves_a_whole_run(
    simulated: Simulate, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Whoever has more to run is told that somebody wants to stop."""
    usual = getattr(Lockstep, when)

    def signalled(simulation: Lockstep, *arguments: str) -> None:
        signal.raise_signal(signal.SIGINT)
        usual(simulation, *arguments)

    monkeypatch.setattr(Lockstep, when, signalled)
    finished = simulated(score=ScoreConfig(samples=50, every=0, final_samples=40))
    assert finished.is_stop_wanted
    assert finished.directory.read_summary()["interrupted"] is False
    assert finished.summary["quality"]["samples"] == 40
    assert finished.directory.checkpoint("2").is_file()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("final_samples", [0, 40])
def test_an_interrupt_at_the_last_round_cuts_off_what_comes_after(
    simulated: Simulate, final_samples: int
) -> None:
    score = ScoreConfig(samples=50, every=0, final_samples=final_samples)
    finished = simulated(on_round=after(4), score=score)
    assert finished.is_stop_wanted
    assert finished.summary["interrupted"] is (final_samples > 0)


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


@pytest.mark.parametrize(
    ("every", "expected"), [(0, [40]), (1, [10, 20, 30, 40]), (3, [30, 40]), (4, [40])]
)
def test_checkpoints_are_saved_on_the_way(
    simulated: Simulate, every: int, expected: list[int]
) -> None:
    """A long run that dies is not lost; the last round's are saved once."""
    finished = simulated(engine=EngineConfig(checkpoint_every=every))
    saved = [
        (r.node, r.body.iterations) for r in log(finished) if isinstance(r.body, CheckpointSaved)
    ]
    assert saved == [(node, iterations) for iterations in expected for node in "012"]


def test_a_checkpoint_on_the_way_can_be_loaded_there_and_then(
    simulated: Simulate, tmp_path: Path
) -> None:
    found: list[list[int]] = []

    def look(simulation: Lockstep) -> None:
        paths = sorted(tmp_path.glob("run/nodes/*/checkpoint.safetensors"))
        found.append([load(path, model("mlp-digits")).iterations for path in paths])
        assert simulation.saved_iterations == (found[-1][0] if found[-1] else None)

    simulated(on_round=look, engine=EngineConfig(checkpoint_every=2))
    assert found == [[], [20] * 3, [20] * 3, [20] * 3]


RoomOf = Callable[[int], Any]


def assert_close(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """The same records in the same order, rounding apart."""
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        numbers = [key for key, value in a.items() if isinstance(value, float)]
        assert {key: a[key] for key in numbers} == pytest.approx(
            {key: b[key] for key in numbers}, rel=1e-3, abs=1e-6
        )
        assert {k: v for k, v in a.items() if k not in numbers} == (
            {k: v for k, v in b.items() if k not in numbers}
        )


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    "algorithm", ["standalone", "gossip", "gossip-ind", "push-sum", "ad-psgd", "fl-gan"]
)
def test_several_ranks_are_one_run(
    simulated: Simulate, room: RoomOf, algorithm: str, count: int
) -> None:
    """Log, networks and summary are those of one process: five nodes do not divide evenly."""
    settings: dict[str, Any] = {
        "nodes": 5,
        "algorithm": algorithm,
        "overlay": "ring",
        "engine": EngineConfig(checkpoint_every=3),
    }
    alone = simulated("alone", **settings)
    finished = room(count).run(lambda ranks: simulated("shared", ranks=ranks, **settings))
    first = finished[0]
    assert_close(timeless(alone), timeless(first))
    for ours, theirs in zip(checkpoints(first), checkpoints(alone), strict=True):
        ours_P, theirs_P = (np.frombuffer(vector, np.float32) for vector in (ours, theirs))
        assert np.linalg.norm(ours_P - theirs_P) < 1e-3 * np.linalg.norm(theirs_P)
    assert [one.summary for one in finished] == [first.summary] * count
    assert first.directory.read_summary() == first.summary
    for key in ("algorithm", "rounds", "iterations", "traffic", "interrupted", "nodes"):
        assert first.summary[key] == alone.summary[key]
    assert files(first.directory.path) == files(alone.directory.path)


@pytest.mark.parametrize("count", [2, 3])
def test_several_ranks_measure_as_one(simulated: Simulate, room: RoomOf, count: int) -> None:
    """Also where the middle rank has nobody to measure."""
    settings: dict[str, Any] = {
        "nodes": 7,
        "algorithm": "standalone",
        "score": ScoreConfig(samples=50, every=0, final_samples=40, final_nodes=2),
    }
    alone = simulated("alone", **settings)
    finished = room(count).run(lambda ranks: simulated("shared", ranks=ranks, **settings))
    first = finished[0].summary["quality"]
    expected = alone.summary["quality"]
    assert first["nodes"] == expected["nodes"] == ["0", "6"]
    assert first["real"] == expected["real"]
    assert first["histogram"] == pytest.approx(expected["histogram"], abs=0.03)
    for name in ("fid", "ms", "nearest"):
        assert first[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-3)
    assert [one.summary["quality"] for one in finished] == [first] * count


def test_one_generator_is_not_shared_out(simulated: Simulate, room: RoomOf, tmp_path: Path) -> None:
    """All ranks are told, before anything is written."""
    first, second = room(2).run(lambda ranks: simulated(algorithm="md-gan", ranks=ranks))
    assert isinstance(first, ConfigError)
    assert (first.got, first.at) == ("`2`", "the processes of the run")
    assert "without `torchrun`" in first.hint
    assert first.expected in str(second)
    assert files(tmp_path) == set()


def test_fl_gan_over_ranks_ends_with_equal_bits(simulated: Simulate, room: RoomOf) -> None:
    first, _ = room(2).run(
        lambda ranks: simulated(ranks=ranks, algorithm="fl-gan", score=ScoreConfig(samples=50))
    )
    assert len(set(checkpoints(first))) == 2  # a generator and a discriminator
    assert first.summary["consensus"]["g"] < 1e-6


def test_an_interrupt_of_one_rank_ends_all_after_the_same_round(
    simulated: Simulate, room: RoomOf
) -> None:
    def play(ranks: Ranks) -> Finished:
        here = after(3) if ranks.link.rank == 1 else lambda simulation: None
        return simulated(on_round=here, ranks=ranks)

    first, second = room(2).run(play)
    assert (first.summary["interrupted"], first.summary["rounds"]) == (True, 3)
    assert first.summary == second.summary
    stops = [r.body for r in log(first) if isinstance(r.body, NodeStopped)]
    assert [(b.reason, b.rounds) for b in stops] == [("interrupted", 3)] * 3
    assert [r.body.iterations for r in log(first) if isinstance(r.body, CheckpointSaved)] == [
        30
    ] * 3


def test_a_second_interrupt_amid_a_round_leaves_without_a_word(
    simulated: Simulate, room: RoomOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are where nobody can tell them to save."""

    def interrupted(lockstep: Lockstep) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lockstep, "_play_round", interrupted)
    found = room(2).run(lambda ranks: simulated(ranks=ranks))
    assert [type(one) for one in found] == [KeyboardInterrupt] * 2


def test_more_ranks_than_nodes_write_nothing(
    simulated: Simulate, room: RoomOf, tmp_path: Path
) -> None:
    errors = room(3).run(lambda ranks: simulated(ranks=ranks, nodes=2))
    assert all(
        "no more processes than nodes, which are 2, got `3`" in str(error) for error in errors
    )
    assert files(tmp_path) == set()


def test_ranks_with_other_settings_write_nothing(
    simulated: Simulate, room: RoomOf, tmp_path: Path
) -> None:
    errors = room(2).run(lambda ranks: simulated(ranks=ranks, seed=ranks.link.rank))
    assert all(isinstance(error, ConfigError) for error in errors)
    assert files(tmp_path) == set()


def test_a_place_that_is_taken_is_told_by_all(simulated: Simulate, room: RoomOf) -> None:
    simulated()
    errors = room(2).run(lambda ranks: simulated(ranks=ranks))
    assert all("a new or empty folder" in str(error) for error in errors)


def test_costs_are_measured_apart(simulated: Simulate) -> None:
    seen: list[Lockstep] = []
    finished = simulated(on_round=seen.append)
    costs = seen[-1].costs
    assert min(costs.train_s, costs.exchange_s, costs.score_s, costs.log_s) > 0
    assert seen[-1].busy_s == costs.train_s + costs.exchange_s
    parts = costs.train_s + costs.exchange_s + costs.score_s + costs.log_s
    assert parts <= finished.summary["speed"]["wall_s"]


@pytest.mark.parametrize("failing", [False, True])
def test_no_worker_outlives_its_run(simulated: Simulate, failing: bool) -> None:
    """However it ends; and the run is the same as one that a single process trained."""
    seen: list[int] = []

    def look(simulation: Lockstep) -> None:
        seen.append(len(multiprocessing.active_children()))
        if failing:
            raise RuntimeError("somebody who looks on has failed")

    settings: dict[str, Any] = {"nodes": 10, "engine": EngineConfig(threads=2)}
    if failing:
        with pytest.raises(RuntimeError, match="looks on"):
            simulated("two", look, **settings)
    else:
        two = simulated("two", look, **settings).summary
        one = simulated("one", nodes=10, engine=EngineConfig(threads=1)).summary
        assert two["scores"]["fid"]["mean"] == pytest.approx(one["scores"]["fid"]["mean"], rel=0.01)
        assert two["traffic"] == one["traffic"]
    assert seen[0] == (2 if sys.platform.startswith("linux") else 0)
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no workers here")
def test_a_lost_worker_ends_the_run_and_says_what_is_saved(simulated: Simulate) -> None:
    """As after a night that ended with the memory full."""

    def kill(simulation: Lockstep) -> None:
        multiprocessing.active_children()[0].kill()

    engine = EngineConfig(threads=2, checkpoint_every=1)
    with pytest.raises(RankLostError, match="one that ended with SIGKILL") as caught:
        simulated("run", kill, nodes=10, engine=engine)
    assert "after 1 round" in caught.value.at
    assert "every node's networks after 10 iterations or later are in" in caught.value.hint
    assert "engine.threads=1" in caught.value.hint
    assert not multiprocessing.active_children()
