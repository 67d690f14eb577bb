"""What coordinators of both systems share."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol.coordinator import MAX_OPEN, Debtor, State
from p2pgan.protocol.federated_coordinator import FederatedCoordinator
from p2pgan.protocol.links import Identity
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
        )
    )


def test_it_goes_on_where_the_checkpoint_was_made() -> None:
    state = State(round=2, updates=4, clock=77, places={}, moves_due=False)
    restored = machine(msgspec.msgpack.encode(state)).statistics()
    assert (restored.round, restored.iterations, restored.clock) == (2, 4, 77)


@pytest.mark.parametrize("state", [b"junk", msgspec.msgpack.encode({"round": 1}), b"\xc1"])
def test_a_state_of_something_else_is_refused(state: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="the state of a coordinator"):
        machine(state)


def test_a_state_of_a_longer_run_is_refused() -> None:
    state = State(round=4, updates=8, clock=77, places={}, moves_due=False)
    with pytest.raises(LocalProtocolError, match="a run of 4 rounds or more"):
        machine(msgspec.msgpack.encode(state))


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
