"""What a run shows a person."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from p2pgan.cli import show
from p2pgan.record.rundir import RunDirectory
from p2pgan.runs import Costs

COSTS = {"train_s": 8.04, "exchange_s": 0.5, "score_s": 2.0, "log_s": 0.1}

ROW = {"mean": 1.0, "std": 0.25, "min": 0.5, "max": 1.5, "samples": 50}


@pytest.fixture
def summary() -> dict[str, Any]:
    return {
        "algorithm": "gossip",
        "dataset": "digits",
        "partition": "iid",
        "overlay": "a [bold] \x1b[1m name",
        "nodes": 50,
        "iterations": 3000,
        "rounds": 150,
        "exchange_every": 20,
        "seed": 7,
        "interrupted": True,
        "scores": {"fid": ROW, "ms": ROW},
        "real": {"fid": 0.1, "ms": 9.9, "samples": 50},
        "scorer": "digits",
        "quality": None,
        "consensus": {"g": 0.5, "d": None},
        "final": None,
        "traffic": {"messages": 7, "bytes_total": 2_500_000, "bytes_per_node": 1.0},
        "speed": {"wall_s": 12.34, "node_iterations_per_s": 1234.5, **COSTS},
    }


def printed(summary: dict[str, Any], path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    show.print_results(RunDirectory(path), summary, as_json=False, with_pictures=False)
    return capsys.readouterr().out


def test_all_of_it(
    summary: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(summary, tmp_path, capsys).splitlines()
    assert lines[:2] == [
        "gossip on digits (iid), 50 nodes, overlay a [bold] \\x1b[1m name, seed 7",
        "3000 iterations in 150 rounds of 20, interrupted",
    ]
    table = [line.split() for line in lines[4:6]]
    assert table == [
        ["FID", "(lower", "is", "better)", "1.00", "0.25", "0.50", "1.50", "0.10"],
        ["MS", "(higher", "is", "better)", "1.00", "0.25", "0.50", "1.50", "9.90"],
    ]
    assert lines[7:10] == [
        "7 vectors sent, 2.5 MB in all; consensus distance G 0.50",
        "12.3 s, 1234 node-iterations/s",
        "training 8.0 s, exchanges 0.5 s, scores 2.0 s, log and checkpoints 0.1 s",
    ]
    assert lines[-1] == str(tmp_path / "summary.json")


def test_scores_of_an_untrained_network_are_marked(
    summary: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = "by an untrained network"
    assert mark not in printed(summary, tmp_path, capsys)
    assert mark in printed({**summary, "scorer": "random"}, tmp_path, capsys)


def test_what_was_not_measured(
    summary: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary["consensus"] = {"g": None, "d": None}
    summary["scores"] = {}
    for part in COSTS:
        del summary["speed"][part]  # as after `up`
    text = printed(summary, tmp_path, capsys)
    assert "consensus distance not measured" in text
    assert "not scored" in text
    assert "FID" not in text
    assert "training" not in text


def test_the_quality_stands_beside_that_of_real_data(
    summary: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = dict.fromkeys(show.QUALITY_TITLES, ROW) | {"fid": dict.fromkeys(ROW)}
    sizes = {"samples": 10000, "nodes": ["0", "4"], "compared": 5000, "nearest_samples": 1000}
    summary["quality"] = {**sizes, **figures, "real": dict.fromkeys(show.QUALITY_TITLES, 0.875)}
    lines = printed(summary, tmp_path, capsys).splitlines()
    start = lines.index(
        "quality of 2 nodes on 10000 samples (precision and recall on 5000, nearest training "
        "images of 1000)"
    )
    table = [line.split() for line in lines[start + 3 : start + 10]]
    assert table[0] == ["FID", "(lower", "is", "better)", "-", "-", "-", "-", "0.875"]
    assert table[2] == ["precision", "1.000", "0.250", "0.500", "1.500", "0.875"]
    assert table[6][:4] == ["nearest", "training", "image", "1.000"]


def test_a_diverged_run_is_shown_as_such(
    summary: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its figures are `null` in the document that the processes of a run hand around."""
    summary["scores"] = {"fid": dict.fromkeys(ROW), "ms": dict.fromkeys(ROW, float("nan"))}
    lines = printed(summary, tmp_path, capsys).splitlines()
    assert [line.split()[-5:-1] for line in lines[4:6]] == [["-"] * 4] * 2


def test_places_are_shown_from_here_and_never_wrapped(
    summary: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "a" * 90 + "[x]"
    assert printed(summary, tmp_path / name, capsys).splitlines()[-1] == f"{name}/summary.json"


class Standing:
    """A simulation as far as the bar looks at it."""

    class experiment:  # noqa: N801
        rounds = 4
        nodes = ("a", "b", "c")
        round_nodes = 3

    class score:  # noqa: N801
        fid, ms = 20.0, 3.0

    costs = Costs(**COSTS)
    busy_s = 0.01
    iterations = 20

    def __init__(self, round_: int, scored: int) -> None:
        self.round = round_
        self.scores = [self.score] * scored


def bar(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, width: int = 80) -> list[str]:
    """All that is written on the way to the second of four rounds, line by line."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=width, _environ={})
    monkeypatch.setattr(show, "Console", lambda **_: console)
    with show.round_progress() as (on_round, _):
        for round_ in (1, 2):
            standing: Any = Standing(round_, scored=round_ - 1)
            on_round(standing)
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue()))


def test_the_bar_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bar(monkeypatch, is_terminal=False) == [""]
    assert "preparing" in "".join(bar(monkeypatch, is_terminal=True))


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_says_how_far_how_fast_how_good_and_how_long(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """On a line of 80 columns too; below it, where the time goes."""
    lines = bar(monkeypatch, is_terminal=True, width=width)
    (line,) = {line.strip() for line in lines if line.startswith("round 2/4")}
    assert "━━" in line
    assert line.endswith("FID 20.0  MS 3.00  6,000 node-iterations/s  0:00:11 left")
    assert "training 8.0 s, exchanges 0.5 s, scores 2.0 s, log and checkpoints 0.1 s" in map(
        str.strip, lines
    )


def test_a_narrow_terminal_shortens_the_bars_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(len(line) <= 40 for line in bar(monkeypatch, is_terminal=True, width=40))


def test_an_interrupt_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(show, "Console", lambda **_: Console(file=file, _environ={}))
    with show.round_progress() as (_, on_interrupt):
        on_interrupt()
    assert file.getvalue() == "Stopping after this round; Ctrl-C again stops at once.\n"


def test_before_and_after_the_last_step(
    summary: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {"scores": {key: {**ROW, "mean": 3.0} for key in ("fid", "ms")}}
    summary["final"] = {
        "step": "agree", "rounds": 23, "agreed": 49, "origin": "7", "before": before
    }  # fmt: skip
    lines = printed(summary, tmp_path, capsys).splitlines()
    assert "before it: FID 3.00, std 0.25, MS 3.00, std 0.25" in lines
    assert "`agree` took 23 rounds; 49 of 50 nodes hold the pair that node 7 has trained" in lines


@pytest.mark.parametrize(
    ("rounds", "told"),
    [
        (24, "`average` took 24 rounds"),
        (0, "`average` took 0 rounds: the nodes were equal already"),
    ],
)
def test_the_last_step_in_a_line(
    rounds: int,
    told: str,
    summary: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {"scores": {"fid": ROW, "ms": ROW}}
    summary["final"] = {
        "step": "average", "rounds": rounds, "agreed": None, "origin": None, "before": before
    }  # fmt: skip
    assert told in printed(summary, tmp_path, capsys).splitlines()
