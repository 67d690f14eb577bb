"""Tables say what the runs came to, and what is wrong with some."""

import csv
import io
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from p2pgan.inspect.comparison import read
from p2pgan.inspect.comparison_tables import overview, to_csv, to_document, to_markdown
from p2pgan.record.comparison import Cell, ComparisonDirectory, Manifest

Add = Callable[..., Cell]


def scores(fid: float, std: float = 1.0) -> dict[str, Any]:
    return {
        "fid": {"mean": fid, "std": std, "min": fid, "max": fid, "samples": 500},
        "ms": {"mean": 5.0, "std": 0.1, "min": 5.0, "max": 5.0, "samples": 500},
    }


def summary(fid: float, **more: Any) -> dict[str, Any]:
    settings = {
        "model": "mlp-digits",
        "dataset": "digits",
        "partition": "iid",
        "iterations": 40,
        "exchange_every": 10,
        "interrupted": False,
    }
    traffic = {"messages": 6, "bytes_total": 6 * 2**20, "bytes_per_node": 2 * 2**20}
    return {**settings, "scores": scores(fid), "real": {"fid": 9.0}, "traffic": traffic, **more}


@pytest.fixture
def grid(comparison: ComparisonDirectory, add: Add) -> ComparisonDirectory:
    """Two seeds of three algorithms: one diverges once, one always, one is not finished."""
    for seed in (0, 1):
        add("centralised", 1, seed, summary=summary(40.0 + seed))
        add("gossip", 3, seed, summary=summary(100.0 if seed else math.nan))
        add("fl-gan", 3, seed, summary=summary(math.nan))
        add("standalone", 3, seed)
        add("gossip-ind", 3, seed, summary=summary(99.0, interrupted=True))
    return comparison


def rows(markdown: str, title: str) -> list[list[str]]:
    """Cells of the first table below a title."""
    text = markdown.partition(title)[2].partition("\n\n|")[2].partition("\n\n")[0]
    lines = ("|" + text).strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_pivot_has_algorithms_by_nodes(grid: ComparisonDirectory) -> None:
    header, _, *body = rows(to_markdown(read(grid)), "## FID at the end, on 500 samples")
    assert header == ["", "n = 1", "n = 3"]
    assert body == [
        ["centralised", "40.5 (40 to 41)", ""],
        ["gossip", "", "100, 1 diverged"],
        ["fl-gan", "", "diverged"],
        ["standalone", "", "not run"],
        ["gossip-ind", "", "not finished"],
    ]


def test_a_median_says_how_many_seeds_it_is_without(
    comparison: ComparisonDirectory, add: Add
) -> None:
    for fanout in (1, 2):
        add("gossip", 3, 0, summary=summary(40.0), fanout=fanout)
        add("gossip", 3, 1, summary=summary(99.0, interrupted=True), fanout=fanout)
        add("gossip", 3, 2, fanout=fanout)
        add("gossip", 3, 3, fanout=fanout)
    text = to_markdown(read(comparison))
    told = "40, 1 not finished, 2 not run"
    assert rows(text, "## FID at the end")[2] == ["gossip", told]
    assert rows(text, "## By `fanout`, on 500 samples\n\nFID:")[2] == ["gossip", "3", told, told]
    assert rows(text, "## All figures")[2][3:5] == ["1 of 4", "40"]


def test_the_grid_in_words_comes_first(grid: ComparisonDirectory) -> None:
    text = to_markdown(read(grid))
    assert text.startswith(
        "# Comparison\n\n- `mlp-digits` on digits, iid, overlay `ring`, 40 iterations, an exchange "
        "every 10\n- centralised, gossip, fl-gan, standalone, gossip-ind; nodes 1, 3; seeds 0, 1\n"
        "- 10 runs: 3 finished, 3 diverged, 2 missing, 2 interrupted\n"
    )
    assert "in place of generated ones: FID 9." in text
    assert overview(read(grid)) in text


def first_line(comparison: ComparisonDirectory, vary: tuple[str, ...] = (), **base: Any) -> str:
    manifest = comparison.read()
    usual = {"overlay": "ring", "iterations": 40, "partition": "iid", "train": {"loss": "hinge"}}
    comparison.write(Manifest(vary=vary, cells=manifest.cells, base={**usual, **base}))
    return to_markdown(read(comparison)).splitlines()[2]


def test_only_what_is_the_same_in_all_runs_is_told_of_them_all(
    comparison: ComparisonDirectory, add: Add
) -> None:
    add("gossip", 2, summary=summary(40.0, exchange_every=10))
    add("gossip", 4, summary=summary(40.0, exchange_every=5, model="other"))
    told = "- digits, iid, overlay `ring`, 40 iterations"
    assert first_line(comparison) == f"{told}, `train.loss` hinge"
    told = first_line(comparison, ("model",), exchange_epochs=0.1, final="agree", images=90)
    assert told.endswith("`images` 90, `exchange_epochs` 0.1, `final` agree, `train.loss` hinge")


def test_what_a_varied_key_replaces_and_the_machine_are_not_told(
    comparison: ComparisonDirectory, add: Add
) -> None:
    add("gossip", 2, summary=summary(40.0))
    vary = ("exchange_every", "train.loss")
    told = first_line(comparison, vary, exchange_epochs=2.0, device="cpu", engine={"threads": 2})
    assert told == "- `mlp-digits` on digits, iid, overlay `ring`, 40 iterations"


def test_all_figures_have_a_row_per_cell(grid: ComparisonDirectory) -> None:
    header, _, *body = rows(to_markdown(read(grid)), "## All figures")
    assert header[:5] == ["algorithm", "nodes", "runs", "FID", "sd of FID"]
    assert header[-1] == "bytes per node"
    by_name = {row[0]: row for row in body}
    assert by_name["centralised"][2:5] == ["2", "40.5 (40 to 41)", "-"]
    assert by_name["gossip"][4] == "1"
    assert by_name["gossip"][2] == "2, 1 diverged"
    assert by_name["gossip"][-1] == "2.1 MB"
    assert by_name["standalone"][2] == "0 of 2"


def test_csv_has_a_row_per_run(grid: ComparisonDirectory) -> None:
    table = list(csv.DictReader(io.StringIO(to_csv(read(grid)))))
    assert len(table) == 10
    by_run = {row["run"]: row for row in table}
    assert by_run["centralised-n1-s1"]["scores.fid.mean"] == "41"
    assert by_run["gossip-n3-s0"]["state"] == "diverged"
    assert by_run["gossip-n3-s0"]["scores.fid.mean"] == ""
    assert by_run["standalone-n3-s0"]["state"] == "missing"


def test_json_has_medians_and_runs(grid: ComparisonDirectory) -> None:
    document = json.loads(to_document(read(grid)))
    first, second = document["cells"][:2]
    assert first["figures"]["scores.fid.mean"] == {"median": 40.5, "min": 40, "max": 41, "runs": 2}
    assert [run["seed"] for run in first["runs"]] == [0, 1]
    assert (second["finished"], second["diverged"]) == (2, 1)
    assert second["runs"][0]["figures"]["scores.fid.mean"] is None


def test_values_of_a_varied_key_stand_side_by_side(
    comparison: ComparisonDirectory, add: Add
) -> None:
    add("standalone", 3, summary=summary(300.0))
    for fanout in (4, 1):
        for overlay in ("ring", "star"):
            fid = 100.0 / fanout + (overlay == "star")
            add("gossip", 3, summary=summary(fid), overlay=overlay, fanout=fanout)
    text = to_markdown(read(comparison))
    header, _, *body = rows(text, "## By `fanout`, on 500 samples\n\nFID:")
    assert header == ["algorithm", "nodes", "`overlay`", "1", "4"]
    assert body == [
        ["standalone", "3", "any", "300", "same"],
        ["gossip", "3", "ring", "100", "25"],
        ["gossip", "3", "star", "101", "26"],
    ]
    assert "## FID at the end, on 500 samples (`overlay` = star, `fanout` = 4)" in text
    assert "overlay `ring`" not in text


def test_the_last_step_is_shown_before_and_after(comparison: ComparisonDirectory, add: Add) -> None:
    final = {
        "step": "agree",
        "rounds": 9,
        "agreed": 3,
        "before": {"scores": scores(50.0, 8.0), "quality": None},
        "after": {"scores": scores(40.0, 0.0), "quality": None},
    }
    add("gossip", 3, summary=summary(40.0, final=final))
    add("fl-gan", 3, summary=summary(40.0, final={**final, "step": "average", "agreed": None}))
    add("centralised", 1, summary=summary(30.0, final=None))
    header, _, *body = rows(to_markdown(read(comparison)), "## The last step")
    assert header[2:] == [
        *("rounds", "nodes that agree", "FID before", "after", "sd of FID before", "after"),
        *("MS before", "after", "sd of MS before", "after"),
    ]
    told = ["50", "40", "8", "0", "5", "5", "0.1", "0.1"]
    assert body == [["gossip", "3", "9", "3", *told], ["fl-gan", "3", "9", "-", *told]]


def test_the_thorough_measurement_has_its_sample_size(
    comparison: ComparisonDirectory, add: Add
) -> None:
    quality = {
        "samples": 10_000,
        "fid": {"mean": 7.0, "std": 0.5},
        "ms": {"mean": 8.0, "std": 0.5},
        "precision": {"mean": 0.75},
        "real": {"fid": 2.0, "precision": 0.9},
    }
    add("gossip", 3, summary=summary(40.0, quality={**quality, "nodes": ["0", "1", "2"]}))
    text = to_markdown(read(comparison))
    assert rows(text, "## FID at the end, on 10,000 samples")[2] == ["gossip", "7"]
    header, _, body, _ = rows(text, "## All figures at the end, on 10,000 samples")
    assert dict(zip(header, body, strict=True))["precision"] == "0.75"
    assert "in place of generated ones: FID 2." in text
    assert "sd is over the nodes. Real" in text
    add("gossip", 9, summary=summary(40.0, quality={**quality, "nodes": ["0", "8"]}))
    add("gossip", 5, summary=summary(40.0, quality={**quality, "nodes": ["0", "4"]}))
    assert "last step too, are over 2 of 5, 2 of 9 nodes." in to_markdown(read(comparison))


def test_one_node_has_no_spread_and_no_distance(comparison: ComparisonDirectory, add: Add) -> None:
    distances = {"consensus": {"g": 0.0, "d": 0.0}}
    add("centralised", 1, summary=summary(40.0, **distances))
    add("fl-gan", 3, summary=summary(50.0, **distances))
    header, _, one, several, _ = rows(to_markdown(read(comparison)), "## All figures")
    by_title = dict(zip(header, zip(one, several, strict=True), strict=True))
    for title in ("consensus G", "consensus D"):
        assert by_title[title] == ("-", "0")
    for title in ("sd of FID", "sd of MS"):
        assert by_title[title][0] == "-" != by_title[title][1]


def test_the_last_row_is_of_real_images(comparison: ComparisonDirectory, add: Add) -> None:
    add("gossip", 3, 0, summary=summary(40.0, real={"fid": 9.0, "ms": 9.5, "samples": 400}))
    header, *_, last = rows(to_markdown(read(comparison)), "## All figures")
    found = dict(zip(header, last, strict=True))
    assert found["algorithm"] == "real images (400 samples)"
    assert (found["FID"], found["MS"], found["sd of FID"], found["nodes"]) == ("9", "9.5", "", "")
    quality = {
        "samples": 10_000,
        "fid": {"mean": 7.0, "std": 0.5},
        "class_kl": {"mean": 0.5},
        "real": {"fid": 2.0, "class_kl": 0.01, "samples": 1_797},
    }
    add("gossip", 3, 1, summary=summary(40.0, quality=quality))
    header, *_, last = rows(to_markdown(read(comparison)), "## All figures")
    found = dict(zip(header, last, strict=True))
    assert found["algorithm"] == "real images (1,797 samples)"
    assert (found["FID"], found["class KL"]) == ("2", "0.01")


@pytest.mark.parametrize(("seeds", "is_told"), [(1, False), (2, True), (3, False), (4, True)])
def test_the_middle_of_an_even_number_is_told(
    comparison: ComparisonDirectory, add: Add, seeds: int, is_told: bool
) -> None:
    for seed in range(seeds):
        add("gossip", 3, seed, summary=summary(40.0))
    text = to_markdown(read(comparison))
    assert ("the median is the mean of the two in the middle" in text) == is_told
    assert "`docs/concepts/scores.md`" in text


def test_what_a_coordinator_sends_is_told(comparison: ComparisonDirectory, add: Add) -> None:
    told = "fl-gan: messages and bytes per node hold what the coordinator sends"
    add("gossip", 3, summary=summary(40.0))
    assert told not in to_markdown(read(comparison))
    add("fl-gan", 3, summary=summary(40.0))
    assert told in to_markdown(read(comparison))
