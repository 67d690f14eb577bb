"""What is read from the runs of a comparison, and medians over seeds."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from p2pgan.errors import RecordError
from p2pgan.inspect.comparison import Comparison, Group, fits, read
from p2pgan.inspect.comparison_tables import to_markdown
from p2pgan.record.comparison import Cell, ComparisonDirectory

Add = Callable[..., Cell]


def summary(fid: float | None, **more: Any) -> dict[str, Any]:
    spread = {"mean": fid, "std": 1.0, "min": fid, "max": fid, "samples": 50}
    return {
        "model": "mlp-digits",
        "interrupted": False,
        "scores": {"fid": spread, "ms": {**spread, "mean": 5.0}},
        "consensus": {"g": 0.5, "d": None},
        "traffic": {"messages": 12, "bytes_total": 600, "bytes_per_node": 200.0},
        "speed": {"wall_s": 3.0},
        **more,
    }


def only(comparison: Comparison) -> Group:
    [group] = comparison.groups
    return group


def test_medians_are_over_seeds(comparison: ComparisonDirectory, add: Add) -> None:
    for seed, fid in enumerate([30.0, 10.0, 23.0]):
        add("gossip", 3, seed, summary=summary(fid))
    found = read(comparison)
    assert found.judged == "scores"
    median = only(found).median("scores.fid.mean")
    assert median is not None
    assert (median.median, median.min, median.max, median.runs) == (23.0, 10.0, 30.0, 3)


def test_figures_are_those_that_do_not_depend_on_the_machine(
    comparison: ComparisonDirectory, add: Add
) -> None:
    add("gossip", 3, summary=summary(10.0))
    found = read(comparison)
    assert found.rows[0].figures["traffic.messages_per_node"] == 4
    assert found.rows[0].figures["consensus.d"] is None
    assert found.rows[0].settings["model"] == "mlp-digits"
    assert not any("_s" in figure or "speed" in figure for figure in found.figures)


def test_a_diverged_run_counts_and_is_told(comparison: ComparisonDirectory, add: Add) -> None:
    add("gossip", 3, 0, summary=summary(10.0))
    add("gossip", 3, 1, summary=summary(math.nan))
    group = only(read(comparison))
    assert [row.state for row in group.rows] == ["finished", "diverged"]
    assert (group.diverged, len(group.whole)) == (1, 2)
    median = group.median("scores.fid.mean")
    assert median is not None
    assert (median.median, median.runs) == (10.0, 1)


def test_what_is_not_whole_is_in_no_median(comparison: ComparisonDirectory, add: Add) -> None:
    add("gossip", 3, 0, summary=summary(10.0))
    add("gossip", 3, 1, summary=summary(99.0, interrupted=True))
    add("gossip", 3, 2)
    group = only(read(comparison))
    assert [row.state for row in group.rows] == ["finished", "interrupted", "missing"]
    median = group.median("scores.fid.mean")
    assert median is not None
    assert median.max == 10.0
    assert group.median("quality.fid.mean") is None


def test_the_thorough_measurement_is_what_the_end_is_judged_by(
    comparison: ComparisonDirectory, add: Add
) -> None:
    quality = {"samples": 10_000, "fid": {"mean": 7.0, "std": 0.5}, "real": {"fid": 2.0}}
    add("gossip", 3, 0, summary=summary(10.0, quality=quality, final=None))
    found = read(comparison)
    assert found.judged == "quality"
    assert found.rows[0].figures["quality.fid.mean"] == 7.0
    assert found.rows[0].figures["quality.real.fid"] == 2.0
    assert not any(figure.startswith("final") for figure in found.figures)


def test_what_differs_in_the_code_is_told(comparison: ComparisonDirectory, add: Add) -> None:
    for seed, torch in enumerate(["2.4", "2.5", "2.4", "2.6"]):
        cell = add("gossip", 3, seed, summary=summary(10.0, interrupted=seed == 3))
        about = f'[run]\nname = "{seed}"\ncommit = "abc"\n[run.versions]\ntorch = "{torch}"'
        comparison.run(cell).run_toml.write_text(about)
    assert read(comparison).mixed == ["torch 2.4 (2 runs), 2.5 (1 run)"]
    assert "- **Runs of different code**: torch 2.4 (2 runs), 2.5" in to_markdown(read(comparison))
    comparison.run(cell).run_toml.unlink()
    assert len(read(comparison).rows) == 4


def test_axes_values_and_combinations(comparison: ComparisonDirectory, add: Add) -> None:
    add("standalone", 10, overlay="ring")
    add("gossip", 10, overlay="ring", fanout=10)
    add("gossip", 2, overlay="star", fanout=2)
    found = read(comparison)
    assert found.axis("algorithm") == ["standalone", "gossip"]
    assert found.axis("nodes") == [2, 10]
    assert (found.values("fanout"), found.values("overlay")) == ([2, 10], ["ring", "star"])
    assert len(found.combinations()) == 4
    assert found.combinations("fanout") == [{"overlay": "ring"}, {"overlay": "star"}]
    groups = found.of({"overlay": "ring", "fanout": 2})
    assert [group.algorithm for group in groups] == ["standalone"]


def test_a_key_that_does_not_matter_fits_any_value() -> None:
    assert fits({}, {"fanout": 2})
    assert fits({"fanout": 2}, {"fanout": 2, "overlay": "ring"})
    assert not fits({"fanout": 1}, {"fanout": 2})


def test_no_comparison(comparison: ComparisonDirectory) -> None:
    with pytest.raises(RecordError, match="no such folder"):
        read(comparison)
