"""Every figure of a comparison is drawn, whatever the runs came to."""

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from p2pgan.inspect.comparison import read
from p2pgan.inspect.comparison_curves import read_curves
from p2pgan.inspect.comparison_pictures import COLOR_OF, STYLES, draw, file_name, title_of
from p2pgan.mixing.algorithms import ALGORITHMS
from p2pgan.record.comparison import Cell, ComparisonDirectory

Add = Callable[..., Cell]


def summary(fid: float | None) -> dict[str, object]:
    return {"scores": {"fid": {"mean": fid, "std": 1.0, "samples": 50}}, "interrupted": False}


def drawn(directory: ComparisonDirectory) -> list[Path]:
    comparison = read(directory)
    return draw(comparison, read_curves(comparison, directory), directory.figures)


def names(paths: list[Path]) -> set[str]:
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return {path.name for path in paths}


def test_a_figure_for_each_question(comparison: ComparisonDirectory, add: Add) -> None:
    add("centralised", 1, summary=summary(30.0))
    for nodes in (2, 3):
        for seed in (0, 1):
            add("gossip", nodes, seed, summary=summary(50.0))
    paths = drawn(comparison)
    assert names(paths) == {"scores.png", "nodes.png", "traffic.png", "consensus.png"}
    assert {path.parent for path in paths} == {comparison.figures}


def test_varied_keys_and_partitions_have_figures_of_their_own(
    comparison: ComparisonDirectory, add: Add
) -> None:
    add("centralised", 1, summary=summary(30.0))
    for partition in ("iid", "by-class"):
        add("gossip", 2, summary=summary(50.0), partition=partition, fanout=1)
    found = names(drawn(comparison))
    assert {"scores-partition-by-class-fanout-1.png", "partitions-fanout-1.png"} <= found
    assert "by-partition-fanout-1.png" in found
    assert len(found) == 2 * 4 + 2


def test_more_partitions_than_styles_have_more_figures(
    comparison: ComparisonDirectory, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    monkeypatch.setattr(Figure, "suptitle", lambda figure, title, **how: titles.append(title))
    partitions = ["iid", *(f"by-class:{count}" for count in range(1, len(STYLES) + 1))]
    for partition in partitions:
        add("gossip", 2, summary=summary(50.0), partition=partition)
    found = names(drawn(comparison))
    assert {"partitions.png", "partitions-2.png"} <= found
    assert "partitions-3.png" not in found
    told = "; ".join(title for title in titles if "solid: " in title)
    assert all(f": {partition}" in told for partition in partitions)


def test_diverged_missing_and_lonely_runs_are_drawn(
    comparison: ComparisonDirectory, add: Add
) -> None:
    add("gossip", 2, 0, summary=summary(None), fanout=1)
    add("gossip", 2, 0, fanout=2)
    assert "by-fanout.png" in names(drawn(comparison))


def test_without_a_run_there_is_no_figure(comparison: ComparisonDirectory, add: Add) -> None:
    add("gossip", 2)
    assert drawn(comparison) == []


def test_the_pooled_algorithm_alone_has_figures(comparison: ComparisonDirectory, add: Add) -> None:
    add("centralised", 1, summary=summary(30.0))
    assert len(names(drawn(comparison))) == 4


def test_every_algorithm_has_a_color_of_its_own() -> None:
    assert COLOR_OF.keys() == ALGORITHMS.keys()
    assert len(set(COLOR_OF.values())) == len(COLOR_OF)


@pytest.mark.parametrize("value", ["watts-strogatz:4,0.1", "/home/me/x.json"])
def test_file_names_can_be_files(value: str) -> None:
    name = file_name("scores", {"overlay": value})
    assert name.startswith("scores-overlay-")
    assert not set(name) & set("/:, ")


def test_titles_have_the_values_below() -> None:
    assert title_of("FID", {"fanout": 2}) == "FID\nfanout = 2"
    assert title_of("FID", {}) == "FID"
