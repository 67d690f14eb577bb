"""Every figure of a comparison is drawn, whatever the runs came to."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from p2pgan.inspect.comparison import read
from p2pgan.inspect.comparison_curves import read_curve
from p2pgan.inspect.comparison_pictures import COLOR_OF, STYLES, draw, file_name, title_of
from p2pgan.mixing.algorithms import ALGORITHMS
from p2pgan.record.comparison import Cell, ComparisonDirectory
from p2pgan.record.schema import Consensus, Quality, Scores, VectorSent

Add = Callable[..., Cell]


def summary(fid: float | None) -> dict[str, object]:
    return {"scores": {"fid": {"mean": fid, "std": 1.0, "samples": 50}}, "interrupted": False}


def drawn(directory: ComparisonDirectory) -> list[Path]:
    comparison = read(directory)
    curves = {
        group.key: [
            read_curve(directory.run(row.cell), group.nodes, comparison.judged)
            for row in group.whole
        ]
        for group in comparison.groups
    }
    return draw(comparison, curves, directory.figures)


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


def test_the_pooled_algorithm_alone_has_the_figures_that_can_show_something(
    comparison: ComparisonDirectory, add: Add
) -> None:
    """It sends nothing, and has nobody to differ from."""
    add("centralised", 1, summary=summary(30.0))
    assert names(drawn(comparison)) == {"scores.png", "nodes.png"}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """What is saved, by name."""
    kept: dict[str, Figure] = {}

    def keep(figure: Figure, path: Path) -> None:
        kept[path.stem] = figure

    monkeypatch.setattr("p2pgan.inspect.comparison_pictures.save", keep)
    return kept


Relog = Callable[[Cell, Iterable[tuple[str, object]]], None]


@pytest.fixture
def relog(comparison: ComparisonDirectory, write: Callable[..., None]) -> Relog:
    """Gives a run another log."""

    def to(cell: Cell, lines: Iterable[tuple[str, object]]) -> None:
        path = comparison.run(cell).events
        path.unlink()
        write(path, lines)

    return to


def of_seed(fids: Mapping[str, float | None], ms: float = 5.0, g: float = 1.0) -> list[Any]:
    """A log of one round of 10 iterations."""
    when: dict[str, Any] = {"round": 1, "iterations": 10}
    scores = [
        (node, Scores(fid=fid, ms=None if fid is None else ms, samples=50, **when))
        for node, fid in fids.items()
    ]
    return [*scores, ("", Consensus(g=g, d=1.0, **when))]


def title(figure: Figure) -> str:
    return figure.get_suptitle().replace("\n", " ")


def words(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_shared_axes_hold_what_every_panel_has(
    comparison: ComparisonDirectory, add: Add, relog: Relog, figures: dict[str, Figure]
) -> None:
    """Also if a later one has the greatest."""
    for nodes, ms in ((2, 2.0), (3, 9.0)):
        cell = add("gossip", nodes, summary=summary(50.0))
        fids = {str(node): 50.0 for node in range(nodes)}
        relog(cell, of_seed(fids, ms))
    drawn(comparison)
    for name in ("scores", "nodes"):
        for axes in figures[name].axes[:2]:
            bottom, top = axes.get_ylim()
            assert bottom == 0
            assert 9.0 < top < 10.0


@pytest.mark.parametrize(("periods", "unit"), [((5, 5), "rounds"), ((5, 20), "iterations")])
def test_rounds_that_differ_in_length_are_told_in_iterations(
    comparison: ComparisonDirectory,
    add: Add,
    figures: dict[str, Figure],
    periods: tuple[int, int],
    unit: str,
) -> None:
    for name, period in zip(("gossip", "standalone"), periods, strict=True):
        add(name, 2, summary={**summary(50.0), "exchange_every": period})
    drawn(comparison)
    axes = figures["consensus"].axes[0]
    assert axes.get_xlabel() == unit
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == (
        [2, 4] if unit == "rounds" else [20, 40]
    )
    assert all(tick == int(tick) for tick in axes.get_xticks())


def test_zeros_stand_at_the_floor_of_a_logarithmic_axis(
    comparison: ComparisonDirectory, add: Add, figures: dict[str, Figure]
) -> None:
    """The discriminators of the fixture have no distance."""
    add("gossip", 2, summary=summary(50.0))
    drawn(comparison)
    generators, discriminators = figures["consensus"].axes
    [zeros] = discriminators.lines
    assert zeros.get_transform() == discriminators.get_xaxis_transform()
    assert np.asarray(zeros.get_ydata()).tolist() == [0.0, 0.0]
    assert [line.get_marker() for line in generators.lines] == ["o"]
    assert words(discriminators) == []
    assert "at the floor: 0" in title(figures["consensus"])
    figures["consensus"].canvas.draw()


def test_what_a_last_step_left_is_a_diamond_in_the_key(
    comparison: ComparisonDirectory, add: Add, relog: Relog, figures: dict[str, Figure]
) -> None:
    cell = add("gossip", 2, summary=summary(50.0))
    left: dict[str, Any] = {"round": 4, "iterations": 10}
    lines = of_seed({"0": 50.0, "1": 60.0})
    lines += [(node, Scores(fid=20.0, ms=6.0, samples=50, **left)) for node in "01"]
    lines += [("0", VectorSent(peer="1", round=4, nets=["G"], bytes=2_000_000, exchange="x"))]
    relog(cell, [*lines, ("", Consensus(g=0.0, d=0.0, **left))])
    drawn(comparison)
    for name, x in (("scores", 10), ("consensus", 1), ("traffic", 1.0)):
        for axes in figures[name].axes:
            [diamond] = [line for line in axes.lines if line.get_marker() == "D"]
            assert np.asarray(diamond.get_xdata()).tolist() == [x]
        [key] = figures[name].legends
        assert [text.get_text() for text in key.get_texts()] == ["gossip", "after the last step"]


def test_the_end_is_that_of_the_tables_with_its_sample_size(
    comparison: ComparisonDirectory, add: Add, relog: Relog, figures: dict[str, Figure]
) -> None:
    thorough = {"fid": {"mean": 8.0}, "samples": 2000}
    cell = add("gossip", 2, summary={**summary(50.0), "quality": thorough}, fanout=1)
    sizes: dict[str, Any] = {
        "samples": 2000,
        "compared": 5,
        "nearest_samples": 5,
        "histogram": [2000],
    }
    quality = Quality(round=1, iterations=10, fid=8.0, ms=2.0, **sizes)
    measured = [(node, quality) for node in "01"]
    relog(cell, [*of_seed({"0": 50.0, "1": 60.0}), *measured])
    add("gossip", 2, summary={**summary(50.0), "quality": thorough}, fanout=2)
    drawn(comparison)
    dots = figures["nodes-fanout-1"].axes[1].lines[-1]
    assert np.asarray(dots.get_ydata()).tolist() == [8.0, 8.0]
    for name in ("nodes-fanout-1", "by-fanout"):
        assert "; 2,000 samples" in title(figures[name])
    for name in ("scores-fanout-1", "traffic-fanout-2"):
        assert "; 50 samples" in title(figures[name])


def test_a_band_is_explained_where_there_is_one(
    comparison: ComparisonDirectory, add: Add, figures: dict[str, Figure]
) -> None:
    add("gossip", 2, 0, summary=summary(50.0))
    drawn(comparison)
    assert not any("over seeds" in title(figure) for figure in figures.values())
    add("gossip", 2, 1, summary=summary(50.0))
    drawn(comparison)
    for name in ("scores", "traffic", "consensus"):
        assert "band: least to greatest over seeds" in title(figures[name])


@pytest.mark.parametrize(("values", "style"), [((1, 2), "-"), (("ring", "star"), "None")])
def test_bars_stand_side_by_side_and_only_numbers_are_joined(
    comparison: ComparisonDirectory,
    add: Add,
    figures: dict[str, Figure],
    values: tuple[object, ...],
    style: str,
) -> None:
    for value in values:
        for name in ("gossip", "fl-gan"):
            add(name, 2, summary=summary(50.0), key=value)
    drawn(comparison)
    lines = [line for line in figures["by-key"].axes[0].lines if line.get_marker() == "o"]
    places = np.array([line.get_xdata() for line in lines], dtype=float)
    assert (np.diff(places, axis=0) > 0.02).all()
    assert {line.get_linestyle() for line in lines} == {style}


def test_a_diverged_run_is_called_so_in_every_figure(
    comparison: ComparisonDirectory, add: Add, relog: Relog, figures: dict[str, Figure]
) -> None:
    for value in (1, 2):
        cell = add("gossip", 2, summary=summary(None), fanout=value)
        relog(cell, of_seed({"0": None, "1": None}))
    add("fl-gan", 2, summary=summary(30.0))
    drawn(comparison)
    assert len(figures) == 2 * 4 + 1
    for name, figure in figures.items():
        told = [axes.get_title(loc="left") + " ".join(words(axes)) for axes in figure.axes]
        assert all("diverged" in text for text in told), name
        assert "nothing recorded" not in str(told) or name.startswith("consensus")


def test_every_algorithm_has_a_color_of_its_own() -> None:
    assert COLOR_OF.keys() == ALGORITHMS.keys()
    assert len(set(COLOR_OF.values())) == len(COLOR_OF)


@pytest.mark.parametrize("value", ["watts-strogatz:4,0.1", "/home/me/x.json"])
def test_file_names_can_be_files(value: str) -> None:
    name = file_name("scores", {"overlay": value})
    assert name.startswith("scores-overlay-")
    assert not set(name) & set("/:, ")


def test_large_and_small_numbers_have_files_of_their_own() -> None:
    assert len({file_name("scores", {"rate": rate}) for rate in (1e30, 1e-30)}) == 2


def test_titles_have_the_values_below() -> None:
    assert title_of("FID", {"fanout": 2}) == "FID\nfanout = 2"
    assert title_of("FID", {}) == "FID"
