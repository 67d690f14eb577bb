"""The benchmark's command line: what it measures, keeps, writes and says at its end."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tools import bench
from tools.bench_jobs import Ceilings
from tools.bench_report import BEGIN, END, Machine, Report, load, save
from tools.bench_run import Measured
from tools.bench_workloads import WORKLOADS, Bar, Outcome, Row, Workload

ROOT = Path(__file__).parents[2]

GOOD = Row(workload="w1", title="W1: digits", bar=Bar(limit=8), value=9.0, low=8.0, high=10.0)
BAD = Row(workload="start-up", title="start-up", bar=Bar(limit=3), error="no disk")


def report(*rows: Row) -> Report:
    return Report(
        date="2026-01-01",
        machine=Machine(cpu="CPU", cores=2, caches=[], memory_gb=24, python="3", torch="2"),
        repeats=5,
        seconds=1.5,
        ceilings=[Ceilings(threads=2, gflops=50.0, gbytes_per_s=5.0)],
        outcomes={row.workload: Outcome(rows=[row]) for row in rows},
    )


FULL = report(GOOD, BAD)


def test_the_command_can_be_run() -> None:
    assert os.access(ROOT / "tools" / "bench", os.X_OK)


class Calls(list[tuple[list[str], int, float, Report | None]]):
    """What `run` was asked for."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = Calls()

    def run(
        workloads: list[Workload], repeats: int, seconds: float, before: Report | None
    ) -> Iterator[Report]:
        if workloads:
            found.append(([w.name for w in workloads], repeats, seconds, before))
            yield report(BAD)
            yield report(GOOD)

    monkeypatch.setattr(bench, "run", run)
    return found


def test_options_reach_the_measurement(calls: Calls, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    arguments = ["--only", "w2,start-up", "--repeats", "3", "--seconds", "0.5", "--json", str(path)]
    done = CliRunner().invoke(bench.app, arguments)
    assert (done.exit_code, list(calls)) == (0, [(["w2", "start-up"], 3, 0.5, None)])
    assert "W1: digits" in done.stdout
    assert load(path).rows == [GOOD]


def test_quick_measures_everything_shortly(calls: Calls) -> None:
    CliRunner().invoke(bench.app, ["--quick"])
    assert calls[0] == (list(WORKLOADS), *bench.QUICK, None)


def test_known_results_are_printed_without_measuring(calls: Calls, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save(FULL, path)
    done = CliRunner().invoke(bench.app, ["--from", str(path)])
    assert (done.exit_code, list(calls)) == (1, [])
    assert "failed: start-up: no disk" in done.stdout


def test_known_results_are_completed(calls: Calls, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save(FULL, path)
    CliRunner().invoke(bench.app, ["--from", str(path), "--only", "w1"])
    assert calls[0][0] == ["w1"]
    assert calls[0][3] == FULL


def test_a_page_is_written(calls: Calls, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}{END}")
    assert CliRunner().invoke(bench.app, ["--write", str(page)]).exit_code == 0
    assert "W1: digits" in page.read_text()


def test_a_page_without_block_is_refused_before_anything_is_measured(
    calls: Calls,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--write", str(tmp_path / "none.md")])
    with pytest.raises(SystemExit) as left:
        bench.main()
    assert (left.value.code, list(calls)) == (1, [])
    assert capsys.readouterr().err.startswith("bench: expected a page with a block")


def ceilings(gflops: float) -> dict[int, Ceilings]:
    return {n: Ceilings(threads=n or 2, gflops=gflops, gbytes_per_s=10.0) for n in (0, 1)}


def test_what_is_measured_replaces_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([ceilings(90.0), {}, ceilings(100.0)])
    monkeypatch.setattr(bench, "measure_ceilings", lambda seconds: next(found))
    measured = {name: Measured(per_s=[2.0, 1.0, 3.0]) for name in ("ours", "plain, 1 thread")}
    names = ("node-digits", "ranks", "start-up")
    monkeypatch.setattr(bench, "results_of", lambda w, *_: _results(w, measured))
    reports = list(bench.run([WORKLOADS[name] for name in names], 3, 1.0, FULL))
    assert [len(one.rows) for one in reports] == [3, 4, 4]
    rows = {row.workload: row for row in reports[-1].rows}
    assert rows["w1"] == GOOD
    assert rows["start-up"].value == 2.0
    assert rows["ranks"].error == "two ranks: late"
    assert [one.ceilings[0].gflops for one in reports] == [90.0, 90.0, 100.0]


def _results(workload: Workload, good: dict[str, Measured]) -> dict[str, Measured]:
    return (
        {name: Measured(error="late") for name in workload.runs}
        if workload.name == "ranks"
        else good
    )


def test_without_ceilings_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "measure_ceilings", lambda seconds: {})
    with pytest.raises(bench.BenchError, match="expected the ceilings"):
        list(bench.run([WORKLOADS["w1"]], 1, 1.0, None))


def test_runs_and_jobs_of_a_workload_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {"ours": Measured(per_s=[1.0])}
    monkeypatch.setattr(bench, "measure", lambda *_: dict(jobs))
    monkeypatch.setattr(bench, "measure_runs", lambda *_: {"two ranks": ([2.0], "late")})
    assert bench.results_of(WORKLOADS["ranks"], 1, 0.0) == {
        **jobs,
        "two ranks": Measured(per_s=[2.0], error="late"),
    }
