"""Work in virtual time: when trainings end, how far they came, and that batches change nothing."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.config import ExchangeConfig, RunConfig, ScoreConfig
from p2pgan.experiment import Experiment, prepare
from p2pgan.node.jobs import JobDone, NodeScores, NodeWork
from p2pgan.node.work import CohortWork, Row
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.sim.virtual.timeline import Timeline
from p2pgan.sim.virtual.worker import Losses, Together, VirtualWorker, one_by_one, together
from p2pgan.types import NETS, Net
from tests.node.seats import seat_of


class Counting(NodeWork):
    """Work that counts its iterations."""

    def __init__(self) -> None:
        self.iterations = 0
        self.scored_at: list[int] = []

    def train(self, iterations: int) -> tuple[float, float]:
        assert iterations >= 1
        self.iterations += iterations
        return float(iterations), 0.5

    def snapshot(self) -> Mapping[Net, bytes]:
        return {"G": bytes([self.iterations]), "D": b""}

    def score(self) -> NodeScores:
        self.scored_at.append(self.iterations)
        return NodeScores(fid=1.0, ms=2.0, samples=3)


class Shop:
    """Workers, with what has come of their jobs and when."""

    def __init__(
        self, until_s: float = math.inf, standstills_s: Sequence[float] = (), **iteration_s: float
    ) -> None:
        self.timeline = Timeline()
        self.computed: list[list[int]] = []
        self.together = Together(self._compute, until_s)
        self.works = {node: Counting() for node in iteration_s}
        self.done: dict[str, list[tuple[float, Any]]] = {node: [] for node in iteration_s}
        self.is_new: list[bool] = []
        self.workers = {
            node: VirtualWorker(
                self.timeline,
                self.together,
                self.works[node],
                seconds,
                partial(self._take, node),
                standstills_s if node == "a" else (),
            )
            for node, seconds in iteration_s.items()
        }

    def _compute(self, orders: Sequence[tuple[NodeWork, int]]) -> Sequence[Losses]:
        self.computed.append([iterations for _, iterations in orders])
        return one_by_one(orders)

    def _take(self, node: str, done: JobDone, is_new: bool) -> None:
        self.done[node].append((self.timeline.now, done.event))
        self.is_new.append(is_new)

    def train(self, iterations: int, *nodes: str) -> None:
        for node in nodes or self.workers:
            self.workers[node].give(do.Train(iterations=iterations))

    def at(self, at_s: float, what: str, node: str = "a") -> None:
        self.timeline.at(at_s, getattr(self.workers[node], what))

    def play(self) -> None:
        while self.timeline.step():
            pass

    def ends(self, node: str = "a") -> list[tuple[float, int]]:
        """When its trainings ended, and how far they came."""
        return [(at_s, event.iterations) for at_s, event in self.done[node]]


def test_training_lasts_as_long_as_the_machine_needs() -> None:
    shop = Shop(a=0.5, b=2.0)
    shop.train(4)
    assert shop.works["a"].iterations == 0, "nothing is computed before it is due"
    shop.play()
    assert shop.ends("a") == [(2.0, 4)]
    assert shop.ends("b") == [(8.0, 4)]
    event = shop.done["a"][0][1]
    assert (event.loss_g, event.loss_d, event.train_s) == (4.0, 0.5, 2.0)
    assert shop.is_new == [True, True]


def test_all_that_have_begun_are_computed_with_the_first_that_is_due() -> None:
    shop = Shop(a=1.0, b=2.0, c=3.0)
    shop.train(2, "a", "b")
    shop.timeline.at(1.0, lambda: shop.train(3, "c"))
    shop.timeline.at(2.5, lambda: shop.train(1, "a"))
    shop.play()
    assert shop.computed == [[2, 2, 3], [1]]
    assert (shop.together.calls, shop.together.trainings, shop.together.trained) == (2, 4, 8)
    assert [shop.ends(node)[-1] for node in "abc"] == [(3.5, 1), (4.0, 2), (10.0, 3)]


def test_everything_else_takes_no_time_and_the_machine_is_at_work() -> None:
    shop = Shop(a=1.0)
    shop.workers["a"].give(do.Score())
    assert shop.done["a"] == [(0.0, ev.ScoringDone(samples=3, fid=1.0, ms=2.0))]
    assert shop.is_new == [False]
    assert shop.timeline.next_s is None


# -- pauses ----------------------------------------------------------------------------------------

PAUSES = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), max_size=5)
"""Seconds until the next pause, and its length."""


@given(st.integers(1, 20), PAUSES)
def test_pauses_shift_the_end_by_their_length(
    iterations: int, pauses: list[tuple[int, int]]
) -> None:
    shop = Shop(a=1.0)
    end_s, now = float(iterations), 0.0
    for gap_s, length_s in pauses:
        now += gap_s
        shop.at(now, "hold")
        if now <= end_s:  # at one instant the pause comes first, since it was planned before
            end_s += length_s
        now += length_s
        shop.at(now, "go_on")
    shop.train(iterations)
    shop.play()
    assert shop.ends() == [(end_s, iterations)]


def test_who_begins_while_it_stands_still_begins_when_it_goes_on() -> None:
    shop = Shop(a=1.0)
    shop.at(1.0, "hold")
    shop.timeline.at(3.0, lambda: shop.train(2))
    shop.at(10.0, "go_on")
    shop.play()
    assert shop.ends() == [(12.0, 2)]


def test_holding_twice_is_holding_once() -> None:
    shop = Shop(a=1.0)
    shop.train(2)
    for at_s, what in ((1.0, "hold"), (2.0, "hold"), (3.0, "go_on"), (3.5, "go_on")):
        shop.at(at_s, what)
    shop.play()
    assert shop.ends() == [(4.0, 2)]


# -- stops -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at_s", "made"), [(0.0, 0), (0.9, 0), (1.0, 1), (2.7, 2), (4.0, 4)])
def test_a_stop_cuts_short_to_what_time_has_allowed(at_s: float, made: int) -> None:
    shop = Shop(a=1.0)
    shop.at(at_s, "stop_training")
    shop.train(4)
    shop.play()
    assert shop.ends() == [(at_s, made)]
    assert shop.works["a"].iterations == made
    event = shop.done["a"][0][1]
    assert (event.loss_g, event.train_s) == (made or None, at_s)


def test_a_stop_counts_in_iterations_not_in_what_floats_make_of_them() -> None:
    shop = Shop(a=0.1)
    shop.train(10)
    shop.at(0.1 * 3, "stop_training")
    shop.play()
    assert shop.ends()[0][1] == 3


def test_a_stop_without_training_is_no_fault() -> None:
    shop = Shop(a=1.0)
    shop.at(0.0, "stop_training")
    shop.play()
    assert shop.ends() == []


def test_who_will_be_stopped_is_computed_then_as_far_as_it_came() -> None:
    shop = Shop(until_s=5.0, a=1.0, b=2.0, c=1.25)
    shop.train(4)
    for node in "bc":
        shop.at(5.0, "stop_training", node)
    shop.play()
    assert shop.computed == [[4, 4], [2]], "c ends at the stop, which is no sooner than its end"
    assert [shop.ends(node) for node in "abc"] == [[(4.0, 4)], [(5.0, 2)], [(5.0, 4)]]
    assert shop.works["b"].iterations == 2


def test_all_that_are_stopped_as_planned_are_computed_together() -> None:
    shop = Shop(until_s=5.0, a=1.0, b=2.0, c=0.5)
    shop.train(20)
    for node in "abc":
        shop.at(5.0, "stop_training", node)
    shop.play()
    assert shop.computed == [[5, 2, 10]]


MANY_PAUSES = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), max_size=4)
"""Seconds after the one before, and how long."""


@given(MANY_PAUSES, st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))
def test_a_planned_stop_is_exact_whatever_holds_a_node_up(
    pauses: list[tuple[int, int]], iterations: int, until_s: int, others: int
) -> None:
    """Others, whose trainings are due before, change nothing."""
    spans, now = [], 0
    for gap_s, length_s in pauses:
        spans.append((now + gap_s, now + gap_s + length_s))
        now = spans[-1][1]
    shop = Shop(until_s=until_s, standstills_s=[from_s for from_s, _ in spans], a=1.0, b=1.0)
    for from_s, to_s in spans:
        shop.at(from_s, "hold")
        shop.at(to_s, "go_on")
    shop.train(others, "b")
    shop.train(iterations, "a")
    for node in "ab":
        shop.at(until_s, "stop_training", node)
    shop.play()
    stood_s = sum(max(0, min(to_s, until_s) - from_s) for from_s, to_s in spans)
    assert shop.ends("a")[0][1] == min(iterations, until_s - stood_s)
    assert shop.ends("b")[0][1] == min(others, until_s)
    assert shop.works["a"].iterations == min(iterations, until_s - stood_s)


def test_what_is_computed_already_counts() -> None:
    """Nobody can take an iteration back where the stop was not planned."""
    shop = Shop(a=1.0, b=2.0)
    shop.train(4)
    shop.at(5.0, "stop_training", "b")
    shop.play()
    assert shop.ends("b") == [(5.0, 4)]
    assert shop.works["b"].iterations == 4


def test_time_that_it_stood_still_is_no_time_to_train() -> None:
    shop = Shop(a=1.0)
    shop.train(9)
    shop.at(1.0, "hold")
    shop.at(3.0, "go_on")
    shop.at(5.0, "hold")
    shop.at(8.0, "stop_training")
    shop.play()
    assert shop.ends() == [(8.0, 3)]


def test_who_is_stopped_in_the_instant_in_which_it_goes_on_ends_once() -> None:
    shop = Shop(a=1.0)
    shop.train(9)
    shop.at(2.0, "hold")
    shop.at(5.0, "stop_training")
    shop.at(5.0, "go_on")
    shop.play()
    assert shop.ends() == [(5.0, 2)]


def test_who_has_made_nothing_is_not_computed_with_the_others() -> None:
    """As at the end of `duration_s`, when all are stopped and some had only just begun."""
    shop = Shop(a=1.0, b=1.0)
    shop.train(2, "a")
    shop.timeline.at(1.5, lambda: shop.train(2, "b"))
    shop.timeline.at(1.5, shop.workers["b"].stop_training)
    shop.timeline.at(1.5, shop.workers["a"].stop_training)
    shop.play()
    assert shop.computed == [[1]]
    assert (shop.ends("a"), shop.ends("b")) == ([(1.5, 1)], [(1.5, 0)])


def test_who_vanishes_leaves_nothing() -> None:
    shop = Shop(a=1.0, b=1.0)
    shop.train(3)
    shop.timeline.at(2.0, lambda: shop.workers["a"].vanish())
    shop.play()
    assert shop.done["a"] == []
    assert shop.computed == [[3]]
    assert shop.works["a"].iterations == 0


# -- networks --------------------------------------------------------------------------------------

SPEEDS = {"0": 1.0, "1": 0.3, "2": 0.07}
ROUNDS, ROUND = 4, 5


def small(**settings: Any) -> Experiment:
    defaults: dict[str, Any] = {
        "nodes": 3,
        "iterations": ROUNDS * ROUND,
        "exchange_every": ROUND,
        "device": "cpu",
        "score": ScoreConfig(samples=20),
    }
    return prepare(RunConfig(**defaults | settings), Path("no-data-needed"))


def trained(experiment: Experiment, *, batched: bool) -> tuple[dict[Net, torch.Tensor], int]:
    """All networks after some rounds of nodes at their own pace, and how many calls there were."""
    cohort = experiment.cohort(list(experiment.nodes))
    computer = together(cohort) if batched else one_by_one
    timeline, all_ = Timeline(), Together(computer)
    rounds = dict.fromkeys(SPEEDS, 0)
    workers: dict[str, VirtualWorker] = {}

    def outcome(node: str, done: JobDone, is_new: bool) -> None:
        assert isinstance(done.event, ev.TrainingDone)
        assert done.event.loss_g is not None
        rounds[node] += 1
        if rounds[node] < ROUNDS:
            workers[node].give(do.Train(iterations=ROUND))

    for place, (node, speed) in enumerate(SPEEDS.items()):
        work = CohortWork(experiment, seat_of(node, Path("none")), Row(cohort, place))
        workers[node] = VirtualWorker(timeline, all_, work, 1 / speed, partial(outcome, node))
        workers[node].give(do.Train(iterations=ROUND))
    while timeline.step():
        pass
    assert set(rounds.values()) == {ROUNDS}
    return {net: cohort.exchanged[net].clone() for net in NETS}, all_.calls


@pytest.mark.parametrize("moments", ["stay", "reset", "travel"])
def test_batches_change_nothing_however_speeds_differ(moments: Any) -> None:
    experiment = small(algorithm="gossip", exchange=ExchangeConfig(moments=moments))
    (batched, calls), (single, all_) = (trained(experiment, batched=flag) for flag in (True, False))
    assert calls == all_ < ROUNDS * len(SPEEDS)
    for net in NETS:
        # By node, not by value: Adam's first steps make much of gradients that are almost 0.
        distances_N = (batched[net] - single[net]).norm(dim=1) / single[net].norm(dim=1)
        assert distances_N.max() < 1e-6


def test_what_is_no_row_of_the_cohort_trains_itself() -> None:
    experiment = small()
    cohort = experiment.cohort(list(experiment.nodes))
    row = CohortWork(experiment, seat_of("0", Path("none")), Row(cohort, 0))
    before = cohort.vectors["G"].clone()
    other = Counting()
    losses = together(cohort)([(other, 3), (row, 2)])
    assert losses[0] == (3.0, 0.5)
    assert other.iterations == 3
    assert losses[1][0] is not None
    moved = (cohort.vectors["G"] != before).any(1).tolist()
    assert moved == [True, False, False]
