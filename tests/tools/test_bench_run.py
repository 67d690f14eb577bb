"""How the benchmark starts its processes and lets them take turns."""

import json
import os
import resource
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from tools import bench_run
from tools.bench_jobs import Ceilings, Failure, Job, Sample
from tools.bench_run import (
    Bystanders,
    Measured,
    Simulation,
    Worker,
    best_ceilings,
    busy_seconds,
    environment,
    first_round_s,
    hopeless,
    measure,
    measure_ceilings,
    measure_runs,
    speed_of,
)


def test_the_environment_is_changed_and_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("HOME", "/somewhere")
    spinning = environment(Job(side="plain", spins=True).environment)
    sleeping = environment(Job(side="plain", threads=3).environment)
    assert "OMP_WAIT_POLICY" not in spinning
    assert (sleeping["OMP_WAIT_POLICY"], sleeping["OMP_NUM_THREADS"]) == ("PASSIVE", "3")
    assert sleeping["HOME"] == "/somewhere"


def test_samples_become_rates_and_the_most_memory() -> None:
    measured = Measured()
    for iterations, peak in ((10, 7), (40, 9), (20, 9)):
        measured.add(Sample(node_iterations=iterations, busy_s=2.0, peak_bytes=peak))
    assert (measured.per_s, measured.median_per_s, measured.peak_bytes) == ([5, 20, 10], 10, 9)
    assert measured.costs_ms == [200, 50, 100]


def test_a_failure_is_kept() -> None:
    measured = Measured()
    measured.add(Failure("no room"))
    assert measured.error == "no room"


def test_only_plain_settings_of_the_same_work_are_left_out() -> None:
    one = Job(side="plain", threads=1)
    jobs = {
        "plain, 1": one,
        "plain, all": msgspec.structs.replace(one, threads=0, spins=True),
        "plain, larger": msgspec.structs.replace(one, nodes=100),
        "ours": Job(side="simulator"),
    }
    rates = {"plain, 1": 100.0, "plain, all": 49.0, "plain, larger": 1.0, "ours": 1.0}
    assert hopeless(jobs, rates) == ["plain, all"]
    assert hopeless(jobs, rates | {"plain, all": 51.0}) == []
    assert hopeless(jobs, {"ours": 1.0}) == []


class FakeWorker:
    """Answers by script, and writes down who was asked."""

    asked: list[str]
    script: Mapping[str, list[Sample | Failure]]

    def __init__(self, job: Job, seconds: float) -> None:
        self._model = job.model
        self._left = iter(self.script[job.model])

    def __enter__(self) -> "FakeWorker":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def again(self) -> None:
        self.asked.append(self._model)

    def sample(self) -> Sample | Failure:
        return next(self._left)


def test_sides_take_turns_and_a_failing_one_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def good(iterations: int) -> Sample:
        return Sample(node_iterations=iterations, busy_s=1.0, peak_bytes=1)

    asked: list[str] = []
    monkeypatch.setattr(FakeWorker, "asked", asked, raising=False)
    script: dict[str, list[Sample | Failure]] = {
        "a": [good(999), good(1), good(2), good(3)],
        "b": [good(999), good(4), Failure("lost")],
        "c": [Failure("never came")],
    }
    monkeypatch.setattr(FakeWorker, "script", script, raising=False)
    monkeypatch.setattr(bench_run, "Worker", FakeWorker)
    results = measure({name: Job(side="node", model=name) for name in "abc"}, 3, 1.0)
    assert asked == ["a", "b", "a", "b", "a"]
    assert results["a"] == Measured(per_s=[1, 2, 3], peak_bytes=1)
    assert (results["b"].error, results["c"].error) == ("lost", "never came")


@pytest.mark.slow
def test_a_real_process_answers_twice() -> None:
    job = Job(side="plain", nodes=2, batch=2, exchange_every=1, threads=1)
    measured = measure({"plain": job}, repeats=2, seconds=0.0)["plain"]
    assert (len(measured.per_s), measured.error) == (2, "")
    assert measured.peak_bytes > 2**20


def test_a_process_that_does_not_answer_in_time_is_ended() -> None:
    with Worker(Job(side="node"), seconds=0.0, patience_s=0.0) as worker:
        answer = worker.sample()
    assert isinstance(answer, Failure)
    assert "no answer in 0 s" in answer.why


def test_a_process_that_breaks_leaves_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_run, "WORKER", "tools.no_such_worker")
    with Worker(Job(side="node"), seconds=0.0) as worker:
        answer = worker.sample()
        worker.again()  # the pipe is broken by now
    assert isinstance(answer, Failure)
    assert "no_such_worker" in answer.why


def test_the_best_ceilings_are_the_best_of_each_kind() -> None:
    first = {0: Ceilings(threads=2, gflops=10, gbytes_per_s=5)}
    second = {0: Ceilings(threads=2, gflops=8, gbytes_per_s=7)}
    best = {0: Ceilings(threads=2, gflops=10, gbytes_per_s=7)}
    assert best_ceilings(first, second) == best_ceilings(second, first) == best
    assert best_ceilings(first, {}) == best_ceilings({}, first) == first
    assert best_ceilings({}, {}) == {}


def test_ceilings_that_cannot_be_measured_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_run, "WORKER", "tools.no_such_worker")
    assert measure_ceilings(0.0) == {}


def test_the_first_round_is_found_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    records = [
        {"kind": "node_started", "wall": "2026-01-01T00:00:01Z"},
        {"kind": "round_finished", "wall": "2026-01-01T00:00:02.5Z"},
        {"kind": "round_finished", "wall": "2026-01-01T00:00:09Z"},
    ]
    log.write_text("\n".join(map(json.dumps, records)))
    assert first_round_s(log) == 1_767_225_602.5
    log.write_text(json.dumps(records[0]))
    with pytest.raises(ValueError, match="no round"):
        first_round_s(log)


def test_runs_take_turns_and_one_that_fails_is_not_run_again(tmp_path: Path) -> None:
    order: list[str] = []

    def good(folder: Path) -> float:
        assert not folder.exists()
        order.append("good")
        return 2.0

    def bad(folder: Path) -> float:
        order.append("bad")
        raise subprocess.TimeoutExpired("run", 1)

    found = measure_runs({"good": good, "bad": bad}, 2)
    assert order == ["good", "bad", "good"]
    assert found["good"] == ([2.0, 2.0], "")
    assert found["bad"][0] == []
    assert "timed out" in found["bad"][1]


@pytest.mark.slow
def test_a_run_as_users_type_it_gives_its_speed_and_its_start(tmp_path: Path) -> None:
    started_s = Simulation(iterations=1, exchange_every=1, nodes=2).run(tmp_path / "run", threads=1)
    assert started_s > 0
    assert speed_of(tmp_path / "run") > 0


def test_a_run_that_is_refused_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"^p2pgan: expected"):
        Simulation(iterations=1, nodes=2).run(tmp_path / "file", threads=1)


def test_ranks_are_started_by_torchrun_and_share_the_threads() -> None:
    several = Simulation(iterations=1, ranks=2)
    assert several.launcher()[-1] == "2"
    assert several.environment(threads=4)["OMP_NUM_THREADS"] == "2"
    assert Simulation(iterations=1).launcher()[1:] == []
    assert Simulation(iterations=1).environment(threads=0)["OMP_NUM_THREADS"] is None


STAT = "cpu  100 20 30 4000 500 6 7 80 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n"


def test_busy_is_all_but_idle_and_waiting_for_disks() -> None:
    ticks = 100 + 20 + 30 + 6 + 7 + 80
    assert busy_seconds(STAT) == ticks / os.sysconf("SC_CLK_TCK")


def test_bystanders_are_what_is_busy_without_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat, ticks = tmp_path / "stat", os.sysconf("SC_CLK_TCK")
    clock, own = iter([100.0, 110.0]), iter([1.0, 1.0, 2.0, 3.0])
    usages = (SimpleNamespace(ru_utime=seconds, ru_stime=0) for seconds in own)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(resource, "getrusage", lambda kind: next(usages))
    stat.write_text("cpu  0 0 0 0 0 0 0 0 0 0\n")
    bystanders = Bystanders(stat)
    stat.write_text(f"cpu  {18 * ticks} 0 0 9 9 0 0 0 0 0\n")
    assert bystanders.cores() == pytest.approx((18 - 3) / 10)


def test_without_the_kernels_count_nobody_is_seen(tmp_path: Path) -> None:
    assert Bystanders(tmp_path / "none").cores() == 0
