"""The measured process of the benchmark: its samples, and the experiments that it builds."""

import itertools
import multiprocessing
import resource
import warnings
from pathlib import Path

import msgspec
import pytest
import torch

from tools import bench_worker
from tools.bench_jobs import Ceilings, Failure, Job, Sample
from tools.bench_worker import Enough, Meter, prepared


def test_samples_last_as_long_as_asked_and_leave_nothing_out() -> None:
    answers: list[Sample] = []
    wanted = iter([True, True, False])
    meter = Meter(1.0, answers.append, lambda: next(wanted))
    told = [(10, 0.4), (20, 1.2), (30, 1.9), (40, 2.3), (50, 3.3)]
    for total in told[:-1]:
        meter(*total)
    with pytest.raises(Enough):
        meter(*told[-1])
    assert [a.node_iterations for a in answers] == [20, 20, 10]
    assert [a.busy_s for a in answers] == pytest.approx([1.2, 1.1, 1.0])
    assert all(a.peak_bytes > 2**20 for a in answers)


@pytest.mark.parametrize("side", ["plain", "node", "simulator"])
def test_every_side_tells_its_node_iterations(side: str) -> None:
    nodes = 1 if side == "node" else 2
    job = Job(side=side, nodes=nodes, exchange_every=2, batch=4, threads=1)  # type: ignore[arg-type]
    told: list[tuple[int, float]] = []

    def tell(node_iterations: int, busy_s: float) -> None:
        told.append((node_iterations, busy_s))
        if len(told) == 4:
            raise Enough

    with pytest.raises(Enough):
        bench_worker.SIDES[side](job, tell)
    expected = {"plain": [1, 2, 4, 6], "node": [2, 4, 6, 8], "simulator": [4, 8, 12, 16]}
    assert [done for done, _ in told] == expected[side]
    assert all(a[1] < b[1] for a, b in itertools.pairwise(told))


@pytest.mark.parametrize(("nodes", "degree"), [(3, 2), (12, 8)])
def test_resampled_nodes_have_a_batch_each_on_a_sparse_overlay(nodes: int, degree: int) -> None:
    experiment = prepared(Job(side="simulator", nodes=nodes, batch=5, resampled=True))
    assert [len(experiment.shards[node]) for node in experiment.nodes] == [5] * nodes
    assert {len(peers) for peers in experiment.overlay.neighbor_indices()} == {degree}
    assert experiment.config.exchange.draw == "push"


def test_a_single_resampled_node_trains() -> None:
    told: list[int] = []

    def tell(node_iterations: int, busy_s: float) -> None:
        told.append(node_iterations)
        raise Enough

    job = Job(side="simulator", nodes=1, exchange_every=2, resampled=True)
    with pytest.raises(Enough):
        bench_worker.run_simulator(job, tell)
    assert told == [2]


def test_a_job_that_cannot_be_done_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    job = msgspec.json.encode(Job(side="simulator", dataset="digots")).decode()
    assert bench_worker.main([job, "0"]) == 1
    failure = msgspec.json.decode(capsys.readouterr().out, type=Failure)
    assert "digots" in failure.why
    assert "\n" not in failure.why


def test_ceilings_are_printed_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_worker, "PRODUCT_SIDE", 8)
    monkeypatch.setattr(bench_worker, "COPY_BYTES", 64)
    threads = torch.get_num_threads()
    try:
        assert bench_worker.main([msgspec.json.encode(Job(side="ceilings")).decode(), "0"]) == 0
    finally:
        torch.set_num_threads(threads)
    found = msgspec.json.decode(capsys.readouterr().out, type=dict[int, Ceilings])
    assert [found[1].threads, set(found)] == [1, {0, 1}]
    assert min(found[0].gflops, found[0].gbytes_per_s) > 0


def test_memory_of_children_is_counted_and_what_is_shared_once(tmp_path: Path) -> None:
    rollup = tmp_path / "smaps_rollup"
    rollup.write_text("0-f ---p 0 [rollup]\nRss:   900 kB\nPss:   300 kB\nPss_Dirty: 7 kB\n")
    assert bench_worker._share_bytes(rollup) == 300 * 1024


def test_a_child_that_shares_everything_costs_little() -> None:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=there.recv)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads beside a fork
        child.start()
    try:
        assert 0 < bench_worker.peak_bytes() < 2 * _peak_of_self()
    finally:
        here.send(None)
        child.join()


def _peak_of_self() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
