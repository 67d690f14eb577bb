"""Deadlines against a plain computation."""

from statistics import median

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


@given(times, st.floats(0, 10), st.floats(0.01, 5))
def test_then_it_is_the_median_and_a_multiple_of_the_spread(
    times_s: list[float], spread: float, min_s: float
) -> None:
    last = times_s[-REMEMBERED:]
    middle = median(last)
    deviation = median([abs(time_s - middle) for time_s in last])
    expected = max(min_s, middle + spread * 1.4826 * deviation)
    assert after(times_s, spread=spread, min_s=min_s) == expected


@given(times)
def test_it_is_never_below_the_minimum_nor_the_median(times_s: list[float]) -> None:
    limit_s = after(times_s, min_s=2.0)
    assert limit_s >= 2.0
    assert limit_s >= median(times_s[-REMEMBERED:])


@given(st.floats(0.5, 2.0), st.floats(0, 1e6))
def test_a_few_that_are_late_do_not_move_it_much(usual_s: float, late_s: float) -> None:
    usual = [usual_s] * 20
    assert after([*usual, late_s, late_s], min_s=0.1) == after(usual, min_s=0.1)


def test_it_follows_machines_that_become_slower() -> None:
    fast = [0.1, 0.2] * 40
    assert after([*fast, *([5.0] * REMEMBERED)], min_s=0.1) == 5.0


def test_a_time_below_nothing_is_none() -> None:
    assert after([-1.0] * KNOWN_MIN, min_s=0.5) == 0.5
