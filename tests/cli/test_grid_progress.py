"""A comparison tells how far it is."""

import io
from typing import Any

import pytest
from rich.console import Console

from p2pgan.cli.grid_progress import GOES_ON, GridProgress, grid_progress
from p2pgan.config import RunConfig
from p2pgan.grid import Grid, Planned, plan

RUNS = plan(RunConfig(iterations=50), Grid(algorithms=("centralised", "gossip"), nodes=(3,)))


def summary(fid: float | None = 12.3456, *, interrupted: bool = False) -> dict[str, Any]:
    scores = {"fid": {"mean": fid, "samples": 500}}
    return {"scores": scores, "interrupted": interrupted, "speed": {"wall_s": 61.6}}


@pytest.fixture
def text() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def progress(text: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> GridProgress:
    """Each look at the clock is a minute after the one before."""
    minutes = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: 60.0 * next(minutes))
    return GridProgress(Console(file=text, width=200))


def play(progress: GridProgress, planned: Planned, told: dict[str, Any]) -> None:
    progress.started(planned)
    progress.ended(planned, told)


def test_a_line_for_each_run_and_the_time_that_is_left(
    progress: GridProgress, text: io.StringIO
) -> None:
    """One node of four nodes' work took a minute."""
    progress.planned(RUNS, finished=1)
    play(progress, RUNS[0], summary())
    play(progress, RUNS[1], summary(None))
    assert text.getvalue().splitlines() == [
        "2 runs to train; 1 run already there",
        "[1/2] centralised-n1-s0: FID 12.35 on 500 samples; 62 s, about 0:03:00 left",
        "[2/2] gossip-n3-s0: FID - on 500 samples; 62 s, about 0:00:00 left",
    ]


def test_the_thorough_measurement_is_told_if_there_is_one(
    progress: GridProgress, text: io.StringIO
) -> None:
    """As the table has it."""
    progress.planned(RUNS, finished=0)
    quality = {"fid": {"mean": 7.0}, "samples": 10_000}
    play(progress, RUNS[0], {**summary(), "quality": quality})
    assert "FID 7 on 10,000 samples;" in text.getvalue()


def test_what_is_interrupted_or_replaced_is_told(progress: GridProgress, text: io.StringIO) -> None:
    progress.planned(RUNS, finished=0)
    progress.replaced(RUNS[0].cell)
    progress.on_interrupt()
    play(progress, RUNS[0], summary(interrupted=True))
    assert text.getvalue().splitlines()[1:] == [
        "centralised-n1-s0 is not finished: from the start",
        "Stopping after this round; Ctrl-C again stops at once.",
        f"[1/2] centralised-n1-s0: interrupted; {GOES_ON}",
    ]


def test_nothing_is_written_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with grid_progress() as progress:
        progress.planned(RUNS, finished=0)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "2 runs to train\n")
