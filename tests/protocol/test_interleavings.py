"""Any order of what can happen, and anything that a peer may say."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pgan.mixing.merging import SumWeights
from p2pgan.protocol import events as ev
from p2pgan.protocol.messages import (
    PROTOCOL_VERSION,
    Chunk,
    Hello,
    Leave,
    LeaveAck,
    Trained,
    VectorAck,
    Votes,
    Welcome,
)

PAIR = [("A", "B")]
RING = [("A", "B"), ("B", "C"), ("C", "D"), ("D", "A")]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_order_of_deliveries_losses_and_stops(
    party_of: Callable[..., Any], last_step: Any, data: st.DataObject
) -> None:
    """Connections break and come back, nodes stop or fail: the accounts are right at the end."""
    edges = data.draw(st.sampled_from([PAIR, RING]))
    name = data.draw(st.sampled_from([None, "agree", "average"]))
    steps = {} if name is None else {"last_step": last_step(name, edges, rounds=5)}
    way = data.draw(st.sampled_from(["push", "mass", "pair"]))
    own = {node: {"weighting": SumWeights(conserves=True)} for node in "ABCD" if way == "mass"}
    seed = data.draw(st.integers(0, 2**32 - 1))
    party = party_of(edges, seed=seed, wait_s=1.0, exchange=way, overrides=own, **steps)
    party.start()
    budget = data.draw(st.integers(0, 12), label="disturbances")
    for _ in range(budget):
        quiet = iter(range(data.draw(st.integers(0, 40))))
        party.settle(until=lambda quiet=quiet: next(quiet, None) is None)
        disturb(party, data)
    party.settle()
    party.check_closed()
    party.check_accounts()


def disturb(party: Any, data: st.DataObject) -> None:
    """One thing that goes wrong, or a wish to stop."""
    node = data.draw(st.sampled_from(sorted(party.members)))
    what = data.draw(st.sampled_from(["down", "down", "down", "stop", "abort", "timer"]))
    up = [key for key, c in party.connections.items() if c.is_up and key[0] == node]
    if what == "down" and up:
        party.take(("down", *data.draw(st.sampled_from(up))))
    elif what == "stop":
        party.tell(node, ev.StopRequested(reason="stopped"))
    elif what == "abort":
        party.tell(node, ev.Abort())
    elif what == "timer" and party.timers():
        party.take(party.timers()[0])


names = st.sampled_from(["A", "B", "Z"])
messages = st.one_of(
    st.builds(
        Hello,
        clock=st.integers(0, 2**62),
        protocol=st.sampled_from([1, PROTOCOL_VERSION]),
        run=st.sampled_from(["run", "other"]),
        node=names,
        architecture=st.sampled_from(["same", "other"]),
        boot=st.sampled_from(["B-boot-of-this-test", "x"]),
    ),
    st.builds(
        Chunk,
        clock=st.integers(0, 2**62),
        exchange=st.sampled_from(["B.B-boot-o.1", "B.B-boot-o.2", "B.x.3", "junk"]),
        nets=st.sampled_from([("G", "D"), ("G",), ("D", "D")]),
        round=st.integers(0, 2**62),
        begin=st.sampled_from([0, 12, 24, 2**31]),
        end=st.sampled_from([12, 24, 32, 2**31]),
        total_bytes=st.sampled_from([32, 31, 20, 2**31]),
        digest=st.just(b"\0" * 16),
        purpose=st.sampled_from(["mix", "mass", "pair", "answer", "judge", "adopt"]),
        weight=st.sampled_from([0.0, 0.5, 2.0**40]),
        answers=st.sampled_from(["", "A.A-boot-o.1", "x"]),
        origin=st.sampled_from(["", "A", "B", "Z"]),
    ),
    st.builds(
        Trained,
        clock=st.integers(0, 9),
        nodes=st.lists(names, max_size=3).map(tuple),
        begun=st.booleans(),
    ),
    st.builds(
        Votes,
        clock=st.integers(0, 9),
        votes=st.lists(st.tuples(names, names, st.floats(0, 1e9)), min_size=1).map(tuple),
    ),
    st.builds(Welcome, clock=st.integers(0, 9), node=names, boot=names, round=st.integers(0, 9)),
    st.builds(
        VectorAck,
        clock=st.integers(0, 9),
        exchange=st.sampled_from(["A.A-boot-o.1", "x"]),
        accepted=st.booleans(),
    ),
    st.builds(Leave, clock=st.integers(0, 9)),
    st.builds(LeaveAck, clock=st.integers(0, 9)),
)


@settings(max_examples=150, deadline=None)
@given(
    talk=st.lists(
        st.tuples(
            messages,
            st.sampled_from(["r1", "r2", "answer"]),
            st.sampled_from([b"", bytes(4), bytes(32), bytes(5)]),
            st.booleans(),
        ),
        max_size=60,
    )
)
@pytest.mark.parametrize(
    ("name", "way"),
    [(None, "push"), ("agree", "push"), ("average", "push"), (None, "mass"), (None, "pair")],
)
def test_nothing_that_a_peer_says_raises(
    party_of: Callable[..., Any], last_step: Any, name: str | None, way: str, talk: Any
) -> None:
    """Also out of turn, contradicting itself, under other names; and the accounts stay bounded."""
    steps = {} if name is None else {"last_step": last_step(name, PAIR, rounds=5)}
    if way == "mass":
        steps["weighting"] = SumWeights(conserves=True)
    party = party_of(PAIR, exchange=way, **steps)
    machine = party.members["A"].machine
    party.start("A")
    machine.handle(ev.LinkUp(peer="B"), 0.0)
    for message, source, payload, finite in talk:
        event: ev.Event = ev.Answered(peer="B", message=message)
        if source != "answer":
            event = ev.Received(
                route=source.encode(), message=message, payload=payload, finite=finite
            )
        machine.handle(event, 0.0)
        assert asdict(machine.statistics())["held_bytes"] <= 4 * 2 * 32
