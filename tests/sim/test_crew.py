"""Worker processes: the same result as one process, and clear ends of every kind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from p2pgan.config import EngineConfig, RunConfig, TrainConfig
from p2pgan.errors import RankLostError
from p2pgan.experiment import Experiment, ShardBatches, prepare
from p2pgan.gan.cohort import Cohort
from p2pgan.sim.crew import Crew, trainees
from p2pgan.types import NETS

ENDLESS = 10**9
"""Iterations that nobody waits for."""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no forks here")


def experiment(**settings: Any) -> Experiment:
    return prepare(RunConfig(nodes=5, seed=3, **settings), Path())


@pytest.fixture
def crew() -> Iterator[Crew]:
    prepared = experiment()
    crew = Crew(prepared, prepared.nodes, 2)
    yield crew
    crew.close()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def pids(crew: Crew) -> list[int]:
    return [worker.pid for worker in crew._workers if worker.pid is not None]


@pytest.mark.parametrize("loss", ["nonsaturating", "wgan-gp"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_crew_equals_a_cohort(loss: str, ema: float) -> None:
    """In its vectors and losses, over several rounds, with mixing in between, up to rounding."""
    prepared = experiment(train=TrainConfig(loss=loss, ema=ema))
    cohort, crew = prepared.cohort(prepared.nodes), Crew(prepared, prepared.nodes, 2)
    try:
        for iterations in (3, 1, 2):
            mine, wanted = crew.train(iterations), cohort.train(iterations)
            np.testing.assert_allclose(mine.d, wanted.d, rtol=1e-4)
            np.testing.assert_allclose(mine.g, wanted.g, rtol=1e-4)
            for net in NETS:
                torch.testing.assert_close(
                    crew.vectors[net], cohort.vectors[net], rtol=0, atol=1e-4
                )
                for vectors in (crew.vectors[net], cohort.vectors[net]):
                    vectors[0].copy_(vectors.mean(0))
            torch.testing.assert_close(crew.judged, cohort.judged, rtol=0, atol=1e-4)
    finally:
        crew.close()


def test_a_crew_trains_some_of_its_nodes_as_a_cohort_does() -> None:
    """Also where a worker has none of them."""
    prepared = experiment()
    cohort, crew = prepared.cohort(prepared.nodes), Crew(prepared, prepared.nodes, 2)
    try:
        for chosen in ([0, 1], [1, 3, 4], [4]):
            mine, wanted = crew.train(2, chosen), cohort.train(2, chosen)
            still = [node not in chosen for node in range(5)]
            assert np.isnan(mine.d).tolist() == np.isnan(mine.g).tolist() == still
            np.testing.assert_allclose(mine.d, wanted.d, rtol=1e-4)
            for net in NETS:
                torch.testing.assert_close(
                    crew.vectors[net], cohort.vectors[net], rtol=0, atol=1e-4
                )
    finally:
        crew.close()


def test_two_crews_of_one_seed_are_the_same_to_the_bit() -> None:
    def trained() -> torch.Tensor:
        prepared = experiment()
        crew = Crew(prepared, prepared.nodes, 2)
        crew.train(4)
        crew.close()
        return crew.vectors["G"].clone()

    assert torch.equal(trained(), trained())


def test_closing_ends_the_workers_at_once(crew: Crew) -> None:
    workers = pids(crew)
    assert len(workers) == 2
    crew.close()
    assert all(map(is_gone, workers))


def test_a_worker_that_dies_ends_the_training_with_one_error(crew: Crew) -> None:
    workers = pids(crew)
    os.kill(workers[1], signal.SIGKILL)
    with pytest.raises(RankLostError, match="worker 1") as caught:
        crew.train(1)
    assert "SIGKILL" in caught.value.got
    assert all(map(is_gone, workers))


@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_that_dies_amid_a_long_round_is_noticed_at_once(crew: Crew, index: int) -> None:
    """The others would train for hours; nobody waits for them."""
    workers = pids(crew)
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(crew.train, ENDLESS)
        os.kill(workers[index], signal.SIGKILL)
        with pytest.raises(RankLostError, match=f"worker {index}"):
            training.result(timeout=60)
    assert all(map(is_gone, workers))


def test_what_goes_wrong_in_a_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: ShardBatches, nodes: range, count: int) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(ShardBatches, "__call__", full)
    prepared = experiment()
    crew = Crew(prepared, prepared.nodes, 2)
    with pytest.raises(RankLostError, match="MemoryError: no room"):
        crew.train(1)


def test_workers_leave_ctrl_c_to_their_parent(crew: Crew) -> None:
    """A terminal sends it to all of them; the round goes on to its end."""
    crew.train(1)  # they are certainly at work by now
    for pid in pids(crew):
        os.kill(pid, signal.SIGINT)
    assert crew.train(1).d.shape == (5,)


def test_an_interrupt_of_the_parent_ends_the_workers(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = pids(crew)

    def interrupted() -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(crew, "_answers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        crew.train(ENDLESS)
    assert all(map(is_gone, workers))


ORPHANS = """
import os, sys, threading
from pathlib import Path
from p2pgan.config import RunConfig
from p2pgan.experiment import prepare
from p2pgan.sim.crew import Crew
experiment = prepare(RunConfig(nodes=5), Path())
crew = Crew(experiment, experiment.nodes, 2)
print(*[worker.pid for worker in crew._workers], flush=True)
threading.Thread(target=crew.train, args=(10**9,), daemon=True).start()
os.kill(os.getpid(), 9)
"""


def test_workers_end_with_a_parent_that_is_killed() -> None:
    """At once, and not after a round that may take hours."""
    done = subprocess.run([sys.executable, "-c", ORPHANS], capture_output=True, timeout=120)
    orphans = [int(pid) for pid in done.stdout.split()]
    assert len(orphans) == 2
    deadline_s = time.monotonic() + 60
    while not all(map(is_gone, orphans)):  # nobody tells us when
        assert time.monotonic() < deadline_s, "workers outlive their parent"
        time.sleep(0.01)


@pytest.mark.parametrize(("nodes", "threads", "kind"), [(5, 2, Cohort), (10, 2, Crew)])
def test_small_simulations_train_in_one_process(nodes: int, threads: int, kind: type) -> None:
    prepared = prepare(RunConfig(nodes=nodes, engine=EngineConfig(threads=threads)), Path())
    chosen = trainees(prepared, prepared.nodes)
    assert type(chosen) is kind
    if isinstance(chosen, Crew):
        chosen.close()


def test_a_crew_remembers_and_recalls_as_a_cohort_does() -> None:
    prepared = experiment()
    cohort, crew = prepared.cohort(prepared.nodes), Crew(prepared, prepared.nodes, 2)
    try:
        node = len(prepared.nodes) - 1
        for trained in (cohort, crew):
            trained.train(3)
        memory = crew.remember(node)
        assert memory == cohort.remember(node)
        assert memory.moments.keys() == {"G", "D"}
        saved = {net: vectors[node].clone() for net, vectors in crew.vectors.items()}
        crew.train(2)
        for net, vector in saved.items():
            crew.vectors[net][node].copy_(vector)
        crew.recall(node, memory)
        crew.train(2, [node])
        cohort.train(2)
        for net in NETS:
            torch.testing.assert_close(crew.vectors[net][node], cohort.vectors[net][node])
        assert crew.remember(node).streams == cohort.remember(node).streams
    finally:
        crew.close()
