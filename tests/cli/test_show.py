"""What a run shows a person."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from p2pgan.cli import show
from p2pgan.record.rundir import RunDirectory

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
        "consensus": {"g": 0.5, "d": None},
        "traffic": {"messages": 7, "bytes_total": 2_500_000, "bytes_per_node": 1.0},
        "speed": {"wall_s": 12.34, "node_iterations_per_s": 1234.5},
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
    assert lines[7:9] == [
        "7 vectors sent, 2.5 MB in all; consensus distance G 0.50",
        "12.3 s, 1234 node-iterations/s",
    ]
    assert lines[-1] == str(tmp_path / "summary.json")


def test_what_was_not_measured(
    summary: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary["consensus"] = {"g": None, "d": None}
    summary["scores"] = {}
    text = printed(summary, tmp_path, capsys)
    assert "consensus distance not measured" in text
    assert "not scored" in text
    assert "FID" not in text


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

    class score:  # noqa: N801
        fid, ms = 20.0, 3.0

    def __init__(self, round_: int, scored: int) -> None:
        self.round = round_
        self.scores = [self.score] * scored


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_bar_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=80, _environ={})
    monkeypatch.setattr(show, "Console", lambda **_: console)
    with show.round_progress() as (on_round, _):
        for round_ in (1, 2):
            standing: Any = Standing(round_, scored=round_ - 1)
            on_round(standing)
    text = file.getvalue()
    assert ("preparing" in text) is is_terminal
    assert ("round 2/4" in text, "FID 20.0  MS 3.00" in text) == (is_terminal, is_terminal)
    assert is_terminal or text == ""


def test_an_interrupt_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(show, "Console", lambda **_: Console(file=file, _environ={}))
    with show.round_progress() as (_, on_interrupt):
        on_interrupt()
    assert file.getvalue() == "Stopping after this round; Ctrl-C again stops at once.\n"
