"""Virtual time: order, what is called off, and timers."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.sim.virtual.timeline import Due, Timeline, Timers

INSTANTS = st.integers(0, 5).map(float)


def play(timeline: Timeline) -> None:
    while timeline.step():
        pass


@given(st.lists(st.tuples(INSTANTS, st.booleans()), max_size=30))
def test_things_happen_in_order_unless_they_are_called_off(plan: list[tuple[float, bool]]) -> None:
    """Those of one instant in the order in which they were set."""
    timeline, happened = Timeline(), list[tuple[float, int]]()

    def happen(number: int) -> None:
        happened.append((timeline.now, number))

    dues = [timeline.at(at_s, partial(happen, n)) for n, (at_s, _) in enumerate(plan)]
    for due, (_, is_off) in zip(dues, plan, strict=True):
        if is_off:
            due.call_off()
    left = sorted((at_s, n) for n, (at_s, is_off) in enumerate(plan) if not is_off)
    assert timeline.next_s == (left[0][0] if left else None)
    play(timeline)
    assert happened == left
    assert timeline.actions == len(left)
    assert timeline.next_s is None
    assert all(due.is_off for due in dues)


def test_what_is_late_happens_now_and_behind_what_was_due() -> None:
    timeline, happened = Timeline(), list[str]()

    def first() -> None:
        timeline.at(1.0, lambda: happened.append(f"late at {timeline.now}"))
        timeline.after(0.0, lambda: happened.append("at once"))

    timeline.at(3.0, first)
    timeline.at(3.0, lambda: happened.append("second"))
    play(timeline)
    assert happened == ["second", "late at 3.0", "at once"]
    assert timeline.now == 3.0


def test_things_may_call_each_other_off() -> None:
    timeline, happened = Timeline(), list[int]()
    dues: list[Due] = []
    dues.append(timeline.at(1.0, lambda: dues[1].call_off()))
    dues.append(timeline.at(1.0, lambda: happened.append(1)))
    dues.append(timeline.at(1.0, lambda: dues[2].call_off()))  # itself, which is no fault
    play(timeline)
    assert happened == []
    assert timeline.actions == 2


# -- timers ----------------------------------------------------------------------------------------


@pytest.fixture
def fired() -> list[tuple[float, str]]:
    return []


@pytest.fixture
def timers(fired: list[tuple[float, str]]) -> Timers:
    timeline = Timeline()
    return Timers(timeline, lambda name: fired.append((timeline.now, name)))


def test_a_timer_fires_once_and_is_not_set_then(timers: Timers, fired: list[object]) -> None:
    timers["a"] = 2.0
    timers["b"] = 1.0
    assert dict(timers) == {"a": 2.0, "b": 1.0}
    play(timers.timeline)
    assert fired == [(1.0, "b"), (2.0, "a")]
    assert len(timers) == 0


@pytest.mark.parametrize("again_s", [1.0, 3.0])
def test_a_timer_that_is_set_again_counts_anew(
    timers: Timers, fired: list[object], again_s: float
) -> None:
    timers["a"] = 2.0
    timers["a"] = again_s
    assert timers["a"] == again_s
    play(timers.timeline)
    assert fired == [(again_s, "a")]


def test_a_timer_that_is_cancelled_does_not_fire(timers: Timers, fired: list[object]) -> None:
    timers["a"] = timers["b"] = timers["c"] = 2.0
    assert timers.pop("a", None) == 2.0
    assert timers.pop("a", None) is None
    timers["b"] = 1.0
    del timers["c"]
    play(timers.timeline)
    assert fired == [(1.0, "b")]


def test_timers_of_one_instant_may_cancel_each_other(fired: list[tuple[float, str]]) -> None:
    timeline = Timeline()

    def fire(name: str) -> None:
        fired.append((timeline.now, name))
        mine.clear()

    mine = Timers(timeline, fire)
    mine["a"] = mine["b"] = 1.0
    play(timeline)
    assert fired == [(1.0, "a")]


def test_a_timer_may_set_itself_again(fired: list[tuple[float, str]]) -> None:
    timeline = Timeline()

    def fire(name: str) -> None:
        fired.append((timeline.now, name))
        if len(fired) < 3:
            mine[name] = timeline.now + 1.0

    mine = Timers(timeline, fire)
    mine["a"] = 1.0
    play(timeline)
    assert fired == [(1.0, "a"), (2.0, "a"), (3.0, "a")]


def test_held_timers_fire_when_they_are_released_unless_they_are_taken_back() -> None:
    """As a daemon that wakes reads its messages first, one of which may end a deadline."""
    timeline, told = Timeline(), list[str]()
    timers = Timers(timeline, told.append)
    timers.update({"early": 1.0, "ended": 2.0, "moved": 3.0, "late": 9.0})
    timers.is_held = True
    while timeline.next_s is not None and timeline.next_s < 5.0:
        timeline.step()
    assert not told
    assert len(timers) == 4, "they are still set"
    del timers["ended"]
    timers["moved"] = 12.0
    timers.release()
    assert told == ["early"]
    while timeline.step():
        pass
    assert told == ["early", "late", "moved"]
    assert not timers
