"""What coordinators of both systems share."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.coordinator import MAX_OPEN, Debtor, State
from p2pgan.protocol.federated_coordinator import FederatedCoordinator
from p2pgan.protocol.links import Identity
from p2pgan.protocol.messages import Hello, Refuse, Welcome
from p2pgan.protocol.roles import CoordinatorSettings, Federated, Selection


def machine(state: bytes = b"") -> FederatedCoordinator:
    return FederatedCoordinator(
        CoordinatorSettings(
            identity=Identity(node="c", run="run", architecture="same", boot="boot-of-ours"),
            neighbors=("w0",),
            system=Federated(model_bytes=8),
            rule=Selection(select=lambda ready, round_: (ready, 1)),
            iterations=6,
            exchange_every=2,
            state=state,
            is_again=bool(state),
        )
    )


def test_it_goes_on_where_the_checkpoint_was_made() -> None:
    state = State(round=2, updates=4, clock=77, places={}, moves_due=False)
    restored = machine(msgspec.msgpack.encode(state)).statistics()
    assert (restored.round, restored.iterations, restored.clock) == (2, 4, 77)


@pytest.mark.parametrize("state", [b"junk", msgspec.msgpack.encode({"round": 1}), b"\xc1"])
def test_a_state_of_something_else_is_refused(state: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="the state of such a node"):
        machine(state)


def test_a_state_of_a_longer_run_is_refused() -> None:
    state = State(round=4, updates=8, clock=77, places={}, moves_due=False)
    with pytest.raises(LocalProtocolError, match="a run of 4 rounds or more"):
        machine(msgspec.msgpack.encode(state))


def said(instructions: list[do.Instruction]) -> list[do.Instruction]:
    """What is sent and what ends it, without timers and records."""
    return [i for i in instructions if isinstance(i, do.Send | do.Close)]


def is_hello(instructions: list[do.Instruction]) -> bool:
    return [type(i.message) for i in said(instructions) if isinstance(i, do.Send)] == [Hello]


TAKEN = ev.Answered(
    peer="w0", message=Refuse(clock=1, node="w0", code="identity_taken", text="taken")
)
GREET = ev.TimerFired(name="greet")


def greeting(*, is_resumed: bool) -> FederatedCoordinator:
    """One that has called its worker."""
    state = State(round=1, updates=2, clock=7, places={}, moves_due=False)
    coordinator = machine(msgspec.msgpack.encode(state) if is_resumed else b"")
    coordinator.handle(ev.Started(), 100.0)
    assert is_hello(coordinator.handle(ev.LinkUp(peer="w0"), 100.0))
    return coordinator


def test_one_that_comes_back_early_knocks_until_its_former_self_is_forgotten() -> None:
    coordinator = greeting(is_resumed=True)
    for second in range(1, 20):
        told = coordinator.handle(TAKEN, 99.5 + second)
        assert not said(told)
        assert is_hello(coordinator.handle(GREET, 100.5 + second))
    (close,) = said(coordinator.handle(TAKEN, 120.0))
    assert isinstance(close, do.Close)
    assert "already taken" in close.failure


def test_it_is_welcome_at_last() -> None:
    coordinator = greeting(is_resumed=True)
    coordinator.handle(TAKEN, 101.0)
    coordinator.handle(GREET, 102.0)
    welcome = Welcome(clock=3, node="w0", boot="boot-of-theirs", round=1)
    coordinator.handle(ev.Answered(peer="w0", message=welcome), 102.0)
    assert coordinator.statistics().peers[0].state == "ready"
    assert not said(coordinator.handle(GREET, 103.0))


def test_it_knocks_at_no_broken_connection() -> None:
    coordinator = greeting(is_resumed=True)
    coordinator.handle(TAKEN, 101.0)
    coordinator.handle(ev.LinkDown(peer="w0"), 101.5)
    assert not said(coordinator.handle(GREET, 102.0))


def test_a_second_one_that_has_no_past_ends_at_once() -> None:
    coordinator = greeting(is_resumed=False)
    (close,) = said(coordinator.handle(TAKEN, 101.0))
    assert isinstance(close, do.Close)


@given(
    st.lists(st.tuples(st.sampled_from(["ask", "forgive", "answer"]), st.integers(0, 20))),
)
def test_what_is_owed_was_asked_and_questions_are_bounded(steps: list[tuple[str, int]]) -> None:
    debtor = Debtor()
    for now, (kind, round_) in enumerate(steps):
        if kind == "ask":
            debtor.ask((round_, 0), float(now))
        elif kind == "forgive":
            debtor.forgive()
        elif debtor.owed is not None:
            debtor.open.pop(debtor.owed)
            debtor.forgive()
        assert debtor.owed is None or debtor.owed in debtor.open
        assert len(debtor.open) <= MAX_OPEN


def test_silence_lasts_over_new_questions() -> None:
    debtor = Debtor()
    debtor.ask((1, 0), 5.0)
    debtor.ask((2, 0), 9.0)
    assert debtor.since_s == 5.0
    debtor.forgive()
    debtor.ask((3, 0), 11.0)
    assert debtor.since_s == 11.0
