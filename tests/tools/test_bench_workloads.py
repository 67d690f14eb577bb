"""What the benchmark makes of its measurements."""

import msgspec
import pytest
import typer

from p2pgan.gan.models import model
from tools.bench_counts import iteration, state_bytes
from tools.bench_jobs import Ceilings, Job
from tools.bench_run import Measured
from tools.bench_workloads import (
    WORKLOADS,
    Bar,
    Limits,
    Workload,
    against_plain,
    allowed_bytes,
    best_plain,
    chosen,
    costs_at_most,
    ratios,
    run_ratio,
    run_value,
    share_of_ceiling,
    speed,
)

LIMITS: Limits = {
    0: Ceilings(threads=2, gflops=100, gbytes_per_s=20),
    1: Ceilings(threads=1, gflops=50, gbytes_per_s=10),
}
BAR = Bar(limit=8, aim=14)


def rates(*per_s: float, peak: int = 5) -> Measured:
    return Measured(per_s=list(per_s), peak_bytes=peak)


def broken(why: str) -> Measured:
    return Measured(error=why)


@pytest.mark.parametrize(
    ("bar", "text", "met", "missed"),
    [
        (Bar(limit=8, aim=14), "≥ 8x, aim 14", 8.0, 7.99),
        (Bar(limit=1.25, at_least=False), "≤ 1.25x", 1.25, 1.26),
        (Bar(limit=75, unit=" %"), "≥ 75 %", 80.0, 74.9),
        (Bar(limit=3, at_least=False, unit=" s"), "≤ 3 s", 2.0, 3.1),
    ],
)
def test_a_bar_says_what_it_asks(bar: Bar, text: str, met: float, missed: float) -> None:
    assert str(bar) == text
    assert bar.is_met(met)
    assert not bar.is_met(missed)


def test_the_ratio_is_that_of_medians_and_the_range_that_of_repetitions() -> None:
    assert ratios([10, 30, 20], [2, 3, 10]) == (20 / 3, 2.0, 10.0)


def test_plain_is_taken_at_its_best_setting_that_worked() -> None:
    results = {
        "plain, 1 thread": rates(1, 5, 3),
        "plain, all threads": rates(4, 4, 4),
        "plain, odd": broken("slow"),
        "ours": rates(99, 99, 99),
    }
    assert best_plain(results) == "plain, all threads"
    with pytest.raises(ValueError, match="plain, odd: slow"):
        best_plain({"plain, odd": broken("slow"), "ours": rates(1)})


def test_speed_is_counted_against_the_ceilings_of_as_many_threads() -> None:
    counted = iteration(model("mlp-digits"), 16)
    found = speed(Job(side="node", threads=1), rates(1000, 3000, 2000), LIMITS)
    assert found.per_s == 2000
    assert found.gflops == pytest.approx(2e-6 * counted.flops)
    assert found.gbytes_per_s == pytest.approx(2e-6 * counted.bytes)
    assert found.compute_share == pytest.approx(found.gflops / 50)
    assert found.memory_share == pytest.approx(found.gbytes_per_s / 10)
    assert (found.bound, found.share) == ("memory", found.memory_share)


def test_ours_against_plain() -> None:
    judge = against_plain("title", BAR)
    jobs = {"ours": Job(side="simulator"), "plain, 1 thread": Job(side="plain", threads=1)}
    workload = Workload(name="w", jobs=jobs, judge=judge)
    results = {"ours": rates(90, 100, 130), "plain, 1 thread": rates(10, 10, 10)}
    (row,) = judge(workload, results, LIMITS).rows
    assert (row.value, row.low, row.high) == (10, 9, 13)
    assert (row.plain_per_s, row.plain_setting, row.peak_bytes) == (10, "1 thread", 5)
    assert row.is_met
    assert row.ours is not None
    assert row.ours.per_s == 100


@pytest.mark.parametrize("side", ["ours", "plain, 1 thread"])
def test_a_side_that_failed_makes_a_row_that_says_so(side: str) -> None:
    judge = against_plain("title", BAR)
    jobs = {"ours": Job(side="simulator"), "plain, 1 thread": Job(side="plain", threads=1)}
    results = {"ours": rates(1), "plain, 1 thread": rates(1)} | {side: broken("no data")}
    (row,) = judge(Workload(name="w", jobs=jobs, judge=judge), results, LIMITS).rows
    assert (row.value, row.is_met, row.error) == (None, False, f"{side}: no data")


def test_costs_are_compared_at_the_costliest_of_the_others() -> None:
    bar = Bar(limit=1.15, at_least=False)
    judge = costs_at_most("title", bar, "ours, 10")
    jobs = {f"ours, {n}": Job(side="simulator", nodes=n) for n in (10, 100, 1000)}
    results = {"ours, 10": rates(100), "ours, 100": rates(80), "ours, 1000": rates(95)}
    (row,) = judge(Workload(name="w", jobs=jobs, judge=judge), results, LIMITS).rows
    assert row.value == pytest.approx(1.25)
    assert row.ours is not None
    assert row.ours.per_s == 80
    assert not row.is_met
    results["ours, 100"] = broken("gone")
    (row,) = judge(Workload(name="w", jobs=jobs, judge=judge), results, LIMITS).rows
    assert row.error == "ours, 100: gone"


def test_scaling_gives_the_cost_the_memory_and_the_figure() -> None:
    workload = WORKLOADS["scaling"]
    results = {name: rates(1000, 1000, 1000) for name in workload.jobs}
    results["ours, 10000"] = rates(900, 800, 1000, peak=10**10)
    results["plain, 10"] = rates(50, 40, 80)
    cost, memory = workload.judge(workload, results, LIMITS).rows
    assert cost.value == pytest.approx(1000 / 900)
    assert cost.is_met
    assert (memory.value, memory.peak_bytes) == (10, 10**10)
    assert memory.bar.limit == pytest.approx((1.3 * 863_248 * 10_000 + 1e9) / 1e9, abs=0.05)
    points = {(p.side, p.nodes): p for p in workload.judge(workload, results, LIMITS).points}
    assert sorted(n for side, n in points if side == "ours") == [1, 10, 100, 1000, 10_000]
    assert sorted(n for side, n in points if side == "plain") == [1, 10, 100]
    plain = points["plain", 10]
    assert (plain.ms, plain.low, plain.high) == (20, 12.5, 25)


def test_what_was_measured_of_scaling_outlives_what_failed() -> None:
    workload = WORKLOADS["scaling"]
    results = {name: rates(1000) for name in workload.jobs}
    results["ours, 10000"] = broken("no room")
    outcome = workload.judge(workload, results, LIMITS)
    assert ["no room" in row.error for row in outcome.rows] == [True, True]
    assert {p.nodes for p in outcome.points} == {1, 10, 100, 1000}


def test_memory_may_be_the_state_and_a_third_and_a_gigabyte() -> None:
    assert allowed_bytes(10 * state_bytes(model("mlp-digits"))) == 1.3 * 8_632_480 + 1e9


def test_the_share_is_that_of_the_tighter_ceiling() -> None:
    judge = share_of_ceiling("title", Bar(limit=75, unit=" %"))
    job = Job(side="simulator", model="mlp-mnist", batch=100)
    workload = Workload(name="w", jobs={"ours": job}, judge=judge)
    per_s = 80e9 / iteration(model("mlp-mnist"), 100).flops
    (row,) = judge(workload, {"ours": rates(per_s, per_s / 2, per_s * 1.1)}, LIMITS).rows
    assert (row.value, row.low, row.high) == pytest.approx((80, 40, 88))
    assert row.ours is not None
    assert row.ours.bound == "compute"
    assert judge(workload, {"ours": broken("why")}, LIMITS).rows[0].error == "why"


def test_whole_runs_are_compared_or_taken_as_they_are() -> None:
    compare = run_ratio("title", Bar(limit=0.9), "two", "one")
    workload = Workload(name="w", judge=compare)
    results = {"one": rates(100, 110, 90), "two": rates(95, 95, 99)}
    (row,) = compare(workload, results, LIMITS).rows
    assert (row.value, row.is_met) == (0.95, True)
    (row,) = compare(workload, results | {"two": broken("why")}, LIMITS).rows
    assert row.error == "two: why"
    value = run_value("title", Bar(limit=3, at_least=False, unit=" s"))
    (row,) = value(workload, {"ours": rates(2.5, 4.0, 2.0)}, LIMITS).rows
    assert (row.value, row.low, row.high, row.is_met) == (2.5, 2.0, 4.0, True)
    assert value(workload, {"ours": broken("why")}, LIMITS).rows[0].error == "why"


def test_every_workload_against_plain_tries_one_thread_and_all_with_both_ways_of_waiting() -> None:
    for name in ("w1", "w1-10", "w2", "w3"):
        jobs = WORKLOADS[name].jobs
        settings = {(j.threads, j.spins) for j in jobs.values() if j.side == "plain"}
        assert settings == {(1, False), (0, True), (0, False)}
        ours = jobs["ours"]
        assert (ours.side, ours.threads, ours.spins) == ("simulator", 0, False)
        for job in jobs.values():
            fixed = {"side": ours.side, "threads": 0, "spins": False}
            assert msgspec.structs.replace(job, **fixed) == ours


def test_a_single_node_is_compared_on_one_thread() -> None:
    for name in ("node-digits", "node-mnist"):
        jobs = WORKLOADS[name].jobs.values()
        assert {(job.side, job.nodes, job.threads) for job in jobs} == {
            ("node", 1, 1),
            ("plain", 1, 1),
        }


def test_workloads_are_chosen_by_name_in_the_order_of_the_table() -> None:
    assert [w.name for w in chosen(" w2, w1 ", WORKLOADS)] == ["w1", "w2"]
    assert [w.name for w in chosen("", WORKLOADS)] == list(WORKLOADS)
    with pytest.raises(typer.BadParameter, match="got `w9` - at --only"):
        chosen("w1,w9", WORKLOADS)
