"""The measurement of asynchrony: what it asks for, and what it reads from logs."""

from pathlib import Path
from typing import Any

import pytest

from tools.measure_asynchrony import (
    ALGORITHMS,
    CONDITIONS,
    MEAN_SPEED,
    Curve,
    Point,
    config_of,
    draw,
    play,
    rows,
    write_table,
)

BASE: dict[str, Any] = {"nodes": 4, "iterations": 40, "seed": 1, "overlay": "ring"}


def test_all_nodes_together_make_the_same_iterations_under_every_condition() -> None:
    equal, classes = (config_of("push", name, BASE) for name in ("equal", "classes"))
    assert equal.virtual.duration_s == pytest.approx(40.0)
    assert classes.virtual.duration_s == pytest.approx(40.0 / MEAN_SPEED)
    assert equal.iterations > 40, "the time ends the run, not the count"
    assert config_of("lockstep", "classes", BASE).iterations == int(40 / MEAN_SPEED)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_combination_is_a_configuration(algorithm: str, condition: str) -> None:
    config = config_of(algorithm, condition, BASE)
    assert config.algorithm == ALGORITHMS[algorithm]["algorithm"]


def test_a_run_is_played_once_and_drawn(tmp_path: Path) -> None:
    curve = play("push", "equal", BASE, tmp_path)
    assert curve.points[-1].time_s <= 40.0
    assert [p.time_s for p in curve.points] == sorted(p.time_s for p in curve.points)
    assert curve.points[-1].megabytes <= curve.bytes_total / 1e6
    assert curve.survivors == 4
    before = (tmp_path / "equal-push-s1" / "summary.json").stat().st_mtime_ns
    assert play("push", "equal", BASE, tmp_path) == curve
    assert (tmp_path / "equal-push-s1" / "summary.json").stat().st_mtime_ns == before
    write_table([curve], tmp_path)
    assert "| equal | push | 1 |" in (tmp_path / "asynchrony.md").read_text()
    draw([curve], tmp_path / "asynchrony.png")
    assert (tmp_path / "asynchrony.png").read_bytes()[:4] == b"\x89PNG"


def test_rows_have_medians_over_seeds() -> None:
    def curve(seed: int, fid: float) -> Curve:
        return Curve(
            algorithm="push",
            condition="equal",
            seed=seed,
            points=[Point(time_s=1.0, fid=fid, megabytes=1.0)],
            final_fid=fid,
            bytes_total=10**9,
            survivors=4,
        )

    _, row = rows([curve(0, 10.0), curve(1, 30.0), curve(2, 11.0)])
    assert row == ["equal", "push", "3", "11.0", "10 to 30", "1.00", "4"]
