"""What simulated runs have in common: costs, the log, and when to save."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from p2pgan.config import EngineConfig, RunConfig, ScoreConfig
from p2pgan.experiment import prepare
from p2pgan.gan.scores import Scores
from p2pgan.record import schema
from p2pgan.record.reader import read
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.writer import RecordWriter
from p2pgan.runs import Costs
from p2pgan.sim.ranks import Alone, Ranks
from p2pgan.sim.shares import Shares
from p2pgan.sim.simulation import Simulation

Make = Callable[..., "Idle"]


class Idle(Simulation):
    """Trains nothing, and says what it would do."""

    did: tuple[str, ...] = ()

    def _nodes(self) -> tuple[str, ...]:
        return self.experiment.nodes

    def _play_round(self) -> None:
        self.round += 1
        self.did += (f"round {self.round}",)

    def _save(self) -> None:
        self.did += ("save",)

    def _take_last_step(self) -> None:
        self.did += ("last step",)

    def score(self) -> None:
        self.did += ("score",)

    def measure(self) -> None:
        self.did += ("measure",)

    def save(self, reason: str) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def idle(tmp_path: Path) -> Make:
    """A run of three nodes for 4 rounds, whose clock ticks a second whenever it is looked at."""

    def make(records: RecordWriter | None = None, **settings: Any) -> Idle:
        defaults: dict[str, Any] = {"nodes": 3, "iterations": 40, "exchange_every": 10}
        experiment = prepare(RunConfig(**defaults | settings), tmp_path)
        ticks = itertools.count()
        return Idle(
            experiment,
            Shares(Ranks(Alone()), 3),
            RunDirectory(tmp_path),
            records,
            lambda: float(next(ticks)),
            lambda simulation: None,
        )

    return make


@pytest.fixture
def writer(tmp_path: Path) -> RecordWriter:
    return RecordWriter(
        tmp_path / "events.jsonl",
        "run",
        node="",
        wall=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        time_s=lambda: 0.0,
        flush_every=100,
    )


def test_time_is_added_to_its_part(idle: Make) -> None:
    run = idle()
    for _ in range(3):
        with run._timed("train_s"):
            pass
    with run._timed("log_s"), run._timed("score_s"):
        pass
    assert run.costs == Costs(train_s=3.0, exchange_s=0.0, score_s=1.0, log_s=3.0)
    assert run.busy_s == 3.0


@pytest.mark.parametrize(("every", "saved"), [(0, []), (1, [1, 2, 3]), (2, [2]), (3, [3]), (4, [])])
def test_the_last_rounds_checkpoint_is_not_saved_twice(
    idle: Make, every: int, saved: list[int]
) -> None:
    run = idle(engine=EngineConfig(checkpoint_every=every))
    due = []
    for run.round in range(1, 5):
        if run._is_saved_now():
            due.append(run.round)
    assert due == saved


def test_without_a_log_nothing_is_recorded(idle: Make) -> None:
    """Of several processes one keeps it."""
    run = idle()
    run._record(schema.NodeStarted(), "0")
    run._flush()


@pytest.mark.parametrize(
    ("final", "last_rounds", "after"), [("none", 0, None), ("agree", 2, "agree")]
)
def test_scores_say_when_and_after_what(
    idle: Make, writer: RecordWriter, tmp_path: Path, final: Any, last_rounds: int, after: Any
) -> None:
    with writer:
        run = idle(writer, final=final)
        run.round, run.last_rounds, run.iterations = 4, last_rounds, 40
        run.consensus = {"D": 0.5}
        run._record_scores({"coordinator": Scores(fid=3.0, ms=2.0, samples=20)})
        run._flush()
    scores, consensus = list(read(tmp_path / "events.jsonl"))
    assert scores.body == schema.Scores(
        fid=3.0, ms=2.0, samples=20, after=after, round=4 + last_rounds, iterations=40
    )
    assert (scores.node, scores.clock) == ("coordinator", 4 + last_rounds)
    assert consensus.body == schema.Consensus(g=None, d=0.5, round=4 + last_rounds, iterations=40)


def test_a_standing_can_leave_the_quality_out(idle: Make) -> None:
    run = idle()
    run.scores = [Scores(fid=3.0, ms=2.0, samples=20)]
    run.consensus = {"G": 1.0}
    run.quality = {"0": object()}  # type: ignore[dict-item]
    assert run.standing().quality.keys() == {"0"}
    assert run.standing(measured=False).quality == {}
    assert run.standing().scores == [(3.0, 2.0)]


def test_a_run_is_rounds_with_what_is_due_after_each(idle: Make) -> None:
    usual = idle(score=ScoreConfig(every=2))
    usual.run()
    assert usual.did == ("round 1", "round 2", "score", "round 3", "round 4", "score")
    more = idle(
        score=ScoreConfig(every=0, final_samples=5),
        engine=EngineConfig(checkpoint_every=3),
        final="average",
    )
    more.run()
    rounds = ("round 1", "round 2", "round 3", "save", "round 4", "score")
    assert more.did == (*rounds, "measure", "last step")
