"""Curves of runs, and medians of several."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from p2pgan.inspect.comparison import read
from p2pgan.inspect.comparison_curves import (
    Curve,
    Point,
    Seen,
    after_last_step,
    iterations,
    over_seeds,
    read_curve,
    rounds,
)
from p2pgan.record.comparison import Cell, ComparisonDirectory
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import Consensus, Quality, Scores, Tally, Traffic, VectorSent


def test_a_curve_has_scores_distances_and_bytes_so_far(
    comparison: ComparisonDirectory, add: Callable[..., Cell]
) -> None:
    add("gossip", 2, summary={})
    [row] = read(comparison).rows
    curve = read_curve(comparison.run(row.cell), 2)
    first, second = curve.points
    assert (first.round, first.iterations, first.fid, first.ms) == (2, 20, 50.5, 5.0)
    assert (first.bytes_per_node, second.bytes_per_node) == (2 * 2**20, 4 * 2**20)
    assert second.g == pytest.approx(0.4)
    assert second.d == 0.0
    assert curve.at_end == {"fid": {"0": 25.0, "1": 26.0}, "ms": {"0": 5.0, "1": 5.0}}


def test_a_diverged_node_has_no_end_and_its_run_no_mean(run: RunDirectory) -> None:
    curve = read_curve(run, 3)
    assert [point.fid for point in curve.points] == [20.0, None]
    assert curve.at_end["fid"] == {"a": 10.0, "b": 10.0}


def test_batches_and_feedback_are_bytes_as_well(tmp_path: Path, write: Callable[..., None]) -> None:
    """Their moves have records of their own, and are not counted twice."""
    size = Tally(messages=2, payload_bytes=100)
    move: dict[str, Any] = {
        "round": 1,
        "nets": ["D"],
        "exchange": "1",
        "bytes": 30,
        "purpose": "move",
    }
    lines: list[tuple[str, Any]] = [
        ("coordinator", Traffic(round=1, sent={"batches": size}, received={"feedback": size})),
        ("0", VectorSent(peer="1", **move)),
        ("0", Traffic(round=1, sent={"feedback": size, "move": size}, received={"batches": size})),
        ("", Consensus(round=1, iterations=20)),
    ]
    write(tmp_path / "events.jsonl", lines)
    [point] = read_curve(tmp_path / "events.jsonl", 2).points
    assert point.bytes_per_node == (100 + 100 + 30) / 2


def test_scores_after_a_last_step_are_the_end(tmp_path: Path, write: Callable[..., None]) -> None:
    """It makes no iterations, but rounds."""
    lines = [
        (node, body)
        for round_, fid in ((1, 30.0), (5, 10.0))
        for node, body in (
            ("0", Scores(round=round_, iterations=20, fid=fid, ms=1.0, samples=5)),
            ("", Consensus(round=round_, iterations=20, g=1.0, d=1.0)),
        )
    ]
    write(tmp_path / "events.jsonl", lines)
    curve = read_curve(tmp_path / "events.jsonl", 1)
    assert curve.at_end["fid"] == {"0": 10.0}
    for axis in (iterations, rounds):
        [seen] = over_seeds([curve], axis, lambda point: point.fid)
        assert seen.middle == 30.0
    sent = over_seeds([curve], lambda point: point.bytes_per_node, lambda point: point.fid)
    assert [seen.middle for seen in sent] == [30.0, 10.0]


def test_the_end_is_judged_by_the_quality_where_there_is_one(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    """Only measured nodes have one; the last counts."""
    when: dict[str, Any] = {"round": 1, "iterations": 20}
    sizes: dict[str, Any] = {"samples": 50, "compared": 5, "nearest_samples": 5, "histogram": [50]}
    lines = [
        *((node, Scores(fid=30.0, ms=1.0, samples=5, **when)) for node in "01"),
        ("", Consensus(g=1.0, d=1.0, **when)),
        *(("1", Quality(fid=fid, ms=2.0, **sizes, **when)) for fid in (9.0, 8.0)),
    ]
    write(tmp_path / "events.jsonl", lines)
    log = tmp_path / "events.jsonl"
    assert read_curve(log, 2, "quality").at_end == {"fid": {"1": 8.0}, "ms": {"1": 2.0}}
    assert read_curve(log, 2).at_end["fid"] == {"0": 30.0, "1": 30.0}


def test_what_a_last_step_left_is_where_the_training_ended() -> None:
    """Its rounds differ from run to run."""
    runs = [
        msgspec.structs.replace(
            curve(9.0, 4.0),
            points=(
                *curve(9.0, 4.0).points,
                Point(round=end, iterations=20, is_trained=False, bytes_per_node=end, fid=fid),
            ),
        )
        for end, fid in ((5, 1.0), (7, 3.0))
    ]
    for axis, place in ((iterations, 20.0), (rounds, 2.0), (lambda p: p.bytes_per_node, 6.0)):
        seen = after_last_step([*runs, curve(8.0)], axis, lambda point: point.fid)
        assert seen == Seen(x=place, low=1.0, middle=2.0, high=3.0)
    assert after_last_step([curve(8.0)], iterations, lambda point: point.fid) is None


def curve(*fids: float | None) -> Curve:
    points = [
        Point(round=number, iterations=10 * number, bytes_per_node=1.0, fid=fid)
        for number, fid in enumerate(fids, 1)
    ]
    return Curve(points=tuple(points), at_end={})


def test_the_median_of_seeds_leaves_out_what_is_not_finite() -> None:
    curves = [curve(9.0, 4.0), curve(1.0, None), curve(5.0, 8.0), curve(None, None)]
    seen = over_seeds(curves, iterations, lambda point: point.fid)
    assert [(s.x, s.low, s.middle, s.high) for s in seen] == [(10, 1, 5, 9), (20, 4, 6, 8)]
