"""Deadlines against a plain computation."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.protocol.deadline import KNOWN_MIN, REMEMBERED, Deadline
from p2pgan.protocol.roles import DeadlineSettings

times = st.lists(st.floats(0, 1e4), min_size=KNOWN_MIN, max_size=2 * REMEMBERED)


def after(times_s: list[float], **settings: float) -> float:
    deadline = Deadline(DeadlineSettings(**settings))
    for time_s in times_s:
        deadline.observe(time_s)
    return deadline.limit_s


def test_at_first_it_is_a_constant() -> None:
    assert after([0.1] * (KNOWN_MIN - 1), first_s=30.0) == 30.0
    assert after([0.1] * KNOWN_MIN, first_s=30.0) < 30.0


@given(st.lists(st.floats(0, 1e4), max_size=KNOWN_MIN - 1), st.floats(0.1, 100))
def test_the_first_answers_make_it_longer_but_never_shorter(
    times_s: list[float], first_s: float
) -> None:
    assert after(times_s, first_s=first_s) == max([first_s, *(4 * time_s for time_s in times_s)])


@pytest.mark.parametrize("count", [0, 1, KNOWN_MIN - 1, KNOWN_MIN])
def test_it_knows_how_much_it_knows(count: int) -> None:
    deadline = Deadline(DeadlineSettings(min_s=2.0))
    for _ in range(count):
        deadline.observe(0.5)
    assert (deadline.is_begun, deadline.is_known) == (count > 0, count == KNOWN_MIN)
    assert deadline.patience_s == 4 * deadline.limit_s


@given(times, st.floats(0, 10), st.floats(0.01, 5))
def test_then_it_is_the_median_and_a_multiple_of_the_spread(
    times_s: list[float], spread: float, min_s: float
) -> None:
    last = times_s[-REMEMBERED:]
    middle = median(last)
    deviation = median([abs(time_s - middle) for time_s in last])
    expected = max(min_s, 1.5 * middle, middle + spread * 1.4826 * deviation)
    assert after(times_s, spread=spread, min_s=min_s) == expected


@given(times)
def test_it_is_never_below_the_minimum_nor_the_median(times_s: list[float]) -> None:
    limit_s = after(times_s, min_s=2.0)
    assert limit_s >= 2.0
    assert limit_s >= 1.5 * median(times_s[-REMEMBERED:])


@given(st.floats(0.5, 2.0), st.floats(0, 1e6))
def test_a_few_that_are_late_do_not_move_it_much(usual_s: float, late_s: float) -> None:
    usual = [usual_s] * 20
    assert after([*usual, late_s, late_s], min_s=0.1) == after(usual, min_s=0.1)


def test_it_follows_machines_that_become_slower() -> None:
    fast = [0.1, 0.2] * 40
    assert after([*fast, *([5.0] * REMEMBERED)], min_s=0.1) == 7.5


def test_a_time_below_nothing_is_none() -> None:
    assert after([-1.0] * KNOWN_MIN, min_s=0.5) == 0.5
