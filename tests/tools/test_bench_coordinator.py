"""The benchmark of coordinators: a tiny run, and how its numbers are read."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import RoundFinished
from p2pgan.record.writer import RecordWriter
from tools.bench_coordinator import Stopwatch, speed, table, timers


class Work:
    def do(self, times: int) -> int:
        return sum(range(times))


def test_a_stopwatch_counts_calls_and_changes_nothing() -> None:
    watch = Stopwatch()
    watch.watch(Work, "do", lambda self, times: f"do {times}")
    assert [Work().do(times) for times in (3, 3, 1000)] == [3, 3, sum(range(1000))]
    assert {name: calls for name, (calls, _) in watch.parts.items()} == {"do 3": 2, "do 1000": 1}
    assert all(seconds >= 0 for _, seconds in watch.parts.values())


def test_speed_is_of_the_rounds_after_the_first(tmp_path: Path) -> None:
    """Start-up is no part of it."""
    directory = RunDirectory(tmp_path)
    now = iter([5.0, 6.0, 8.0])
    with RecordWriter(
        directory.node_events("coordinator"),
        "run",
        "coordinator",
        wall=lambda: datetime.now(UTC),
        time_s=lambda: next(now),
    ) as writer:
        for round_ in (1, 2, 3):
            writer.write(RoundFinished(round=round_, iterations=20 * round_))
    per_s, iterations = speed(directory)
    assert per_s == pytest.approx(40 / 3)
    assert iterations == 60


def test_timers_are_means_over_nodes(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    for node, seconds in (("0", 1.0), ("1", 3.0)):
        path = directory.node_events(node).with_name("timers.json")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"machine": [10, seconds]}))
    parts = timers(directory, ["0", "1"])
    assert parts == {"machine": (10, 2.0)}
    assert "1.00" in table("a worker", parts, 10)
    assert "200000" in table("a worker", parts, 10)
