"""Summing up a run out of what it left on the disk."""

import dataclasses
import math
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import torch

from p2pgan.config import RunConfig, ScoreConfig, SplitConfig
from p2pgan.experiment import Experiment, prepare
from p2pgan.gan.checkpoint import Checkpoint, save
from p2pgan.inspect.summary import summarise
from p2pgan.node.results import consensus, last_step, sum_up
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import (
    Agreed,
    Body,
    NodeStopped,
    RoundFinished,
    Scores,
    VectorReceived,
    VectorSent,
)
from p2pgan.record.writer import RecordWriter
from p2pgan.runs import Standing
from p2pgan.types import NETS


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    config = RunConfig(nodes=2, iterations=40, device="cpu", score=ScoreConfig(samples=20))
    return prepare(config, tmp_path_factory.mktemp("data"))


def log(directory: RunDirectory, node: str, *bodies: Body) -> None:
    with RecordWriter(
        directory.node_events(node),
        "run",
        node,
        wall=lambda: datetime.now(UTC),
        time_s=lambda: 0.0,
    ) as writer:
        for body in bodies:
            writer.write(body)


def finished_round(round_: int, train_s: float, exchange_s: float | None) -> RoundFinished:
    return RoundFinished(
        round=round_, iterations=20 * round_, train_s=train_s, exchange_s=exchange_s
    )


def vector(peer: str, exchange: str) -> dict[str, object]:
    return {"peer": peer, "round": 1, "nets": ["G"], "exchange": exchange, "bytes": 100}


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    """Node 0 trained two rounds and sent two vectors, of which node 1 received one."""
    made = RunDirectory(tmp_path)
    made.run_toml.write_text("")
    log(
        made,
        "0",
        finished_round(1, 1.0, 0.5),
        VectorSent(**vector("1", "0.x.1")),  # type: ignore[arg-type]
        VectorSent(**vector("1", "0.x.2")),  # type: ignore[arg-type]
        finished_round(2, 2.0, None),
        Scores(round=2, iterations=40, fid=10.0, ms=4.0, samples=20),
        NodeStopped(reason="finished", iterations=40, rounds=2),
    )
    log(
        made,
        "1",
        finished_round(1, 3.0, 0.25),
        VectorReceived(**vector("0", "0.x.1")),  # type: ignore[arg-type]
        Scores(round=1, iterations=20, fid=20.0, ms=6.0, samples=20),
    )
    return made


def test_nodes_work_side_by_side(directory: RunDirectory) -> None:
    busy_s = [node.busy_s for node in summarise(directory).nodes]
    assert busy_s == pytest.approx([3.5, 3.25])


def test_the_summary_is_that_of_the_logs(experiment: Experiment, directory: RunDirectory) -> None:
    summary = sum_up(experiment, directory, wall_s=9.0, interrupted=True)
    kinds = summary["traffic"].pop("kinds")
    assert summary["traffic"] == {"messages": 2, "bytes_total": 200, "bytes_per_node": 100.0}
    assert (kinds["mix"]["messages"], kinds["mix"]["payload_bytes"]) == (2, 200)
    assert summary["unaccounted"] == 1
    assert summary["scores"]["fid"]["mean"] == 15.0
    assert summary["scores"]["ms"]["max"] == 6.0
    assert summary["interrupted"] is True
    assert (summary["rounds"], summary["iterations"]) == (2, 40)
    assert summary["speed"] == {
        "wall_s": 9.0,
        "node_iterations_per_s": pytest.approx(60 / 3.5),
    }
    assert summary["consensus"] == {"g": None, "d": None}, "nobody has saved"
    assert summary["quality"] is None, "nobody asked"


def test_a_diverged_node_is_not_left_out_of_the_scores(
    experiment: Experiment, directory: RunDirectory
) -> None:
    """The mean of those that did not diverge would look like success; the simulator says NaN."""
    nan = float("nan")
    log(directory, "1", Scores(round=2, iterations=40, fid=nan, ms=nan, samples=20))
    statistics = sum_up(experiment, directory, wall_s=9.0, interrupted=False)["scores"]
    assert math.isnan(statistics["fid"]["mean"])
    assert statistics["fid"]["samples"] == 20


def test_the_quality_is_that_of_the_saved_networks(directory: RunDirectory) -> None:
    """Of those who saved; nobody's if the run was interrupted."""
    score = ScoreConfig(samples=20, final_samples=30)
    experiment = prepare(
        RunConfig(nodes=2, iterations=40, device="cpu", score=score), directory.path
    )
    assert sum_up(experiment, directory, wall_s=9.0, interrupted=False)["quality"] is None
    vectors = {net: matrix[0] for net, matrix in experiment.initial_rows(1).items()}
    checkpoint = Checkpoint(vectors=vectors, run="run", node="1", iterations=1)
    save(directory.checkpoint("1"), checkpoint, experiment.model)
    measured = sum_up(experiment, directory, wall_s=9.0, interrupted=False)["quality"]
    assert measured["nodes"] == ["1"]
    expected = experiment.quality(vectors["G"], "1")
    assert measured["nearest"]["mean"] == pytest.approx(expected.nearest)
    assert measured["samples"] == measured["real"]["samples"] == 30
    assert sum_up(experiment, directory, wall_s=9.0, interrupted=True)["quality"] is None


def test_consensus_is_that_of_the_saved_networks(
    experiment: Experiment, directory: RunDirectory
) -> None:
    sizes = {net: experiment.model.networks[net].size for net in NETS}
    for node, value in (("0", 1.0), ("1", 3.0)):
        assert consensus(experiment, directory) == {}
        vectors = {net: torch.full((sizes[net],), value) for net in NETS}
        checkpoint = Checkpoint(vectors=vectors, run="run", node=node, iterations=1)
        save(directory.checkpoint(node), checkpoint, experiment.model)
    expected = {net: pytest.approx(sizes[net] ** 0.5) for net in NETS}
    assert consensus(experiment, directory) == expected


def test_what_came_of_the_last_step(experiment: Experiment, tmp_path: Path) -> None:
    """Two of three agree; who never took it counts in what was before only."""
    made = RunDirectory(tmp_path)
    made.run_toml.write_text("")
    for node, origin, fid in (("0", "1", 5.0), ("1", "1", 7.0)):
        log(
            made,
            node,
            Scores(round=1, iterations=20, fid=99.0, ms=2.0, samples=20),
            Scores(round=2, iterations=40, fid=fid, ms=3.0, samples=20),
            VectorSent(**{**vector("1", f"{node}.x.1"), "round": 11}),  # type: ignore[arg-type]
            Agreed(origin=origin, votes=3, merit=4.0),
            Scores(round=11, iterations=40, fid=4.0, ms=4.0, samples=20, after="agree"),
        )
    config = msgspec.structs.replace(experiment.config, final="agree")
    agreeing = dataclasses.replace(experiment, config=config)
    step = last_step(agreeing, made, 2)
    assert step is not None
    assert (step.step, step.rounds, step.agreed, step.origin) == ("agree", 9, 2, "1")
    assert step.before == Standing(scores=[(5.0, 3.0), (7.0, 3.0)], consensus={})
    assert last_step(experiment, made, 2) is None


def test_of_two_pairs_that_as_many_hold_the_first_nodes_is_told(
    experiment: Experiment, tmp_path: Path
) -> None:
    """As in lockstep, whoever wrote first."""
    made = RunDirectory(tmp_path)
    made.run_toml.write_text("")
    for node, origin in (("0", "1"), ("1", "0")):
        scores = Scores(round=11, iterations=40, fid=4.0, ms=4.0, samples=20, after="agree")
        log(made, node, Agreed(origin=origin, votes=3, merit=4.0), scores)
    config = msgspec.structs.replace(experiment.config, final="agree")
    step = last_step(dataclasses.replace(experiment, config=config), made, 2)
    assert step is not None
    assert (step.agreed, step.origin) == (1, "0")


def test_a_last_step_that_nobody_ended_is_none(
    experiment: Experiment, directory: RunDirectory
) -> None:
    config = msgspec.structs.replace(experiment.config, final="agree")
    assert last_step(dataclasses.replace(experiment, config=config), directory, 2) is None


def test_discriminators_may_be_of_another_model_than_the_generator(tmp_path: Path) -> None:
    """As with one other model in `md.models`."""
    md = SplitConfig(models=("mlp-digits",))
    config = RunConfig(algorithm="md-gan", nodes=2, iterations=40, device="cpu", md=md)
    usual = prepare(config, tmp_path)
    other = dataclasses.replace(usual.model, name="another")
    experiment = dataclasses.replace(usual, model=other)
    size = usual.model.discriminator.size
    for node, value in (("0", 1.0), ("1", 3.0)):
        vectors = {"D": torch.full((size,), value)}
        checkpoint = Checkpoint(vectors=vectors, run="run", node=node, iterations=1)  # type: ignore[arg-type]
        save(RunDirectory(tmp_path).checkpoint(node), checkpoint, usual.model)
    assert consensus(experiment, RunDirectory(tmp_path)) == {"D": pytest.approx(size**0.5)}
