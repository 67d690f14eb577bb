"""The training thread."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from p2pgan.daemon.trainer import OTHER_WORK, SLICE_S, Trainer
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival

Until = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def work(tiny_work: Callable[..., Any]) -> Any:
    return tiny_work(1.0)


@pytest.fixture
def trainer(work: Any) -> Iterator[Trainer]:
    made = Trainer(lambda: work, lambda: None)
    yield made
    made.close(30.0)


def test_every_job_comes_back_as_an_event(trainer: Trainer, until: Until) -> None:
    for job in (do.Train(iterations=9), do.Mix(arrivals=()), do.Score(), do.Save()):
        trainer.give(job)
    events: list[ev.Event] = []

    def all_done() -> bool:
        events.extend(done.event for done in trainer.outcomes())
        return len(events) == 4

    until(all_done)
    trained, mixed, scored, saved = events
    assert isinstance(trained, ev.TrainingDone)
    assert (trained.iterations, trained.loss_g, trained.loss_d) == (9, 1.0, 2.0)
    assert mixed == ev.MixingDone(weights=())
    assert scored == ev.ScoringDone(samples=4, fid=10.0, ms=5.0)
    assert saved == ev.SavingDone(path="checkpoint.safetensors")


def test_a_pair_is_judged_and_adopted(trainer: Trainer, work: Any, until: Until) -> None:
    data = np.arange(3500, dtype="<f4").tobytes()
    pair = Arrival(peer="b", exchange="b.1", nets=("G", "D"), round=1, data=data, origin="b")
    trainer.give(do.Judge(arrival=pair))
    trainer.give(do.Adopt(arrival=pair))
    events: list[ev.Event] = []

    def both_done() -> bool:
        events.extend(done.event for done in trainer.outcomes())
        return len(events) == 2

    until(both_done)
    assert events == [ev.JudgingDone(score=0.0), ev.AdoptingDone()]
    assert work.vectors["D"].tolist() == list(range(3000, 3500))


def test_what_is_sent_after_mixing_is_what_was_mixed(
    trainer: Trainer, work: Any, until: Until
) -> None:
    work.vectors["G"][:] = 2.0
    trainer.give(do.Mix(arrivals=()))
    (done,) = until(trainer.outcomes)
    assert done.snapshot["G"] == b"\x00\x00\x00\x40" * 3000


def test_the_snapshot_is_of_the_end_of_training(trainer: Trainer, work: Any, until: Until) -> None:
    """It is a copy: what mixing does afterwards does not reach what is being sent."""
    trainer.give(do.Train(iterations=1))
    (done,) = until(trainer.outcomes)
    work.vectors["G"][:] = 99.0
    assert done.snapshot["G"] == b"\x00\x00\x80\x3f" * 3000


def test_the_outcome_wakes_the_loop(work: Any) -> None:
    awake = threading.Event()
    trainer = Trainer(lambda: work, awake.set)
    trainer.give(do.Score())
    assert awake.wait(30.0)
    assert trainer.outcomes()
    trainer.close(30.0)


def test_a_stop_ends_training_after_a_slice(trainer: Trainer, work: Any, until: Until) -> None:
    begun = threading.Event()
    go_on = threading.Event()

    def gate() -> None:
        begun.set()
        assert go_on.wait(30.0)

    work.gate = gate
    trainer.give(do.Train(iterations=1_000_000))
    assert begun.wait(30.0)
    trainer.stop_training()
    go_on.set()
    (done,) = until(trainer.outcomes)
    assert 0 < done.event.iterations < 1000
    assert done.event.iterations == work.iterations


def test_a_stop_does_not_touch_the_next_job(trainer: Trainer, until: Until) -> None:
    trainer.stop_training()
    trainer.give(do.Train(iterations=50))
    (done,) = until(trainer.outcomes)
    assert done.event.iterations == 50


def test_slices_follow_from_how_long_they_take(
    trainer: Trainer, work: Any, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """A clock that jumps by 10 ms an iteration: slices grow to about `SLICE_S` and no further."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    inner = work.train

    def train(iterations: int) -> Any:
        now[0] += 0.01 * iterations
        return inner(iterations)

    work.train = train
    trainer.give(do.Train(iterations=500))
    done: list[Any] = []
    while not done:
        done = trainer.outcomes()
    assert sum(work.slices) == 500
    assert max(work.slices) <= SLICE_S / 0.01 + 1
    assert max(work.slices) >= 40
    assert work.slices[0] == 4


def test_a_failure_reaches_the_loop(trainer: Trainer, work: Any, until: Until) -> None:
    def gate() -> None:
        raise MemoryError("not enough\nof it")

    work.gate = gate
    trainer.give(do.Train(iterations=1))
    (done,) = until(trainer.outcomes)
    assert done.event == ev.WorkFailed(text="MemoryError: not enough of it")
    assert isinstance(done.error, MemoryError)


def test_networks_that_cannot_be_built_reach_the_loop(until: Until) -> None:
    def make() -> Any:
        raise RuntimeError("no such device")

    trainer = Trainer(make, lambda: None)
    trainer.give(do.Train(iterations=1))
    (done,) = until(trainer.outcomes)
    assert isinstance(done.event, ev.WorkFailed)
    trainer.close(30.0)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def stalls(trainer: Trainer, clock: Clock, turns: int) -> bool:
    """Whether it has stalled after so many turns of a loop, of a second each."""
    for _ in range(turns):
        clock.now += 1.0
        trainer.is_stalled()
    return trainer.is_stalled()


@pytest.mark.parametrize(
    ("job", "patience"), [(do.Train(iterations=1), 1), (do.Score(), OTHER_WORK)]
)
def test_a_thread_that_gives_no_sign_has_stalled(
    work: Any, monkeypatch: pytest.MonkeyPatch, until: Until, job: Any, patience: int
) -> None:
    """Idle threads have nothing to give a sign of; other work than training may take longer."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait()

    trainer = Trainer(lambda: work, lambda: None, stalled_s=2.0)
    trainer.give(do.Mix(arrivals=()))  # the first job builds the networks
    while not trainer.outcomes():
        pass
    clock.now = 1000.0
    assert not trainer.is_stalled()  # idle
    if isinstance(job, do.Train):
        work.gate = hang
    else:
        monkeypatch.setattr(work, "score", hang)
    trainer.give(job)
    begun.wait()
    assert not stalls(trainer, clock, turns=2 * patience)
    clock.now += 0.1
    assert trainer.is_stalled()
    go_on.set()
    while not trainer.outcomes():
        pass
    assert not trainer.is_stalled()
    trainer.close(30.0)


def building(work: Any) -> tuple[Trainer, threading.Event]:
    """A trainer whose networks are being built, and what lets that go on."""
    begun, go_on = threading.Event(), threading.Event()

    def make() -> Any:
        begun.set()
        go_on.wait()
        return work

    trainer = Trainer(make, lambda: None, stalled_s=2.0)
    trainer.give(do.Train(iterations=1))
    begun.wait()
    return trainer, go_on


def test_a_process_that_was_stopped_has_not_stalled(
    work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with SIGSTOP, or a laptop that sleeps: the loop did not turn either."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    trainer, go_on = building(work)
    assert not stalls(trainer, clock, turns=2 * OTHER_WORK)
    clock.now += 3600.0
    assert not trainer.is_stalled()
    clock.now += 0.1
    assert trainer.is_stalled(), "what came before still counts"
    go_on.set()
    trainer.close(30.0)


def test_the_networks_take_longer_to_build_than_a_slice_to_train(
    work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    trainer, go_on = building(work)
    assert not stalls(trainer, clock, turns=2 * OTHER_WORK)
    go_on.set()
    trainer.close(30.0)
