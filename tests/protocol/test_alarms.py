"""Things that are due, with one timer for all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.protocol import instructions as do
from p2pgan.protocol.alarms import Alarms
from p2pgan.protocol.core import Core, Settings
from p2pgan.protocol.links import Identity

PEERS = ("B", "C", "D")
TIMER = "alarm"


def new_core() -> Core:
    return Core(
        Settings(
            identity=Identity(node="A", run="run", architecture="same", boot="boot"),
            neighbors=PEERS,
            groups=(),
            net_bytes={"G": 8, "D": 4},
            iterations=1,
            exchange_every=1,
            draw=lambda ready: ready,
        )
    )


@pytest.fixture
def core() -> Core:
    return new_core()


def test_one_timer_serves_all_and_ends_with_the_last(core: Core) -> None:
    alarms = Alarms[str](core, TIMER)
    alarms.put("B", 3.0)
    alarms.put("C", 5.0)
    alarms.put("D", 2.0)
    assert core.take() == [
        do.SetTimer(name=TIMER, at_s=3.0),
        do.SetTimer(name=TIMER, at_s=2.0),
    ]
    for peer in ("B", "D", "D"):
        alarms.drop(peer)
    assert core.take() == []
    alarms.drop("C")
    alarms.drop("C")
    assert core.take() == [do.CancelTimer(name=TIMER)]


def test_those_that_are_due_come_in_order_and_the_others_later(core: Core) -> None:
    alarms = Alarms[str](core, TIMER)
    for peer, delay_s in (("B", 3.0), ("C", 5.0), ("D", 2.0)):
        alarms.put(peer, delay_s)
    core.take()
    core.now = 3.5
    assert alarms.take() == ["D", "B"]
    assert core.take() == [do.SetTimer(name=TIMER, at_s=5.0)]
    assert [alarms.has(peer) for peer in PEERS] == [False, True, False]
    core.now = 5.0
    assert alarms.take() == ["C"]
    assert core.take() == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "drop", "pass"]), st.sampled_from(PEERS), st.integers(1, 9)
        )
    )
)
def test_nothing_is_forgotten_and_nothing_due_in_vain(steps: list[tuple[str, str, int]]) -> None:
    """Against a plain table of times; the shell's timer is played as a shell would."""
    core = new_core()
    alarms = Alarms[str](core, TIMER)
    due_s: dict[str, float] = {}
    timer_s: float | None = None
    for what, peer, number in steps:
        if what == "put":
            alarms.put(peer, number)
            due_s[peer] = core.now + number
        elif what == "drop":
            alarms.drop(peer)
            due_s.pop(peer, None)
        else:
            core.now += number
            if timer_s is not None and timer_s <= core.now:
                timer_s = None
                expected = sorted((at_s, p) for p, at_s in due_s.items() if at_s <= core.now)
                assert alarms.take() == [p for _, p in expected]
                for _, p in expected:
                    del due_s[p]
            assert all(at_s > core.now for at_s in due_s.values())
        for instruction in core.take():
            timer_s = instruction.at_s if isinstance(instruction, do.SetTimer) else None
        assert (timer_s is None) == (not due_s)
        for p in PEERS:
            alarms.validate(p)
            assert alarms.has(p) == (p in due_s)


def test_all_can_be_dropped_at_once(core: Core) -> None:
    alarms = Alarms[str](core, TIMER)
    alarms.put("B", 1.0)
    alarms.put("C", 2.0)
    alarms.clear()
    assert core.take()[-1] == do.CancelTimer(name=TIMER)
    assert not any(alarms.has(peer) for peer in PEERS)
