"""Vectors are sent, taken and mixed once: a machine that says something else is found out."""

from dataclasses import replace
from pathlib import Path

import pytest

from p2pgan.config import ExchangeConfig
from p2pgan.errors import CheckFailed
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.messages import Hello, VectorAck, Welcome
from p2pgan.sim.virtual.invariants.vectors import parsed
from p2pgan.sim.virtual.world import Moment
from tests.sim.virtual.trials import Recorded, said, without


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """Three nodes after three rounds."""
    return Recorded(tmp_path).until(31.0)


def complaint(recorded: Recorded, *moments: Moment) -> CheckFailed:
    """What the check says of what comes now."""
    for moment in moments[:-1]:
        recorded.checkers.watch(moment)
    with pytest.raises(CheckFailed) as caught:
        recorded.checkers.watch(moments[-1])
    assert "python -m tools.dst --seed 0 --nodes 3" in caught.value.hint
    assert moments[-1].node in caught.value.at
    assert "events of" in caught.value.story
    return caught.value


def test_an_exchange_id_says_who_when_and_which() -> None:
    assert parsed("a.b.0000000c.17") == ("a.b", 12, 17)


def test_a_vector_is_taken_once(recorded: Recorded) -> None:
    moment, record = recorded.find("vector_received")
    error = complaint(recorded, moment)
    assert record.fields["exchange"] in error.got
    assert "again or too late" in error.got


def test_numbers_of_what_is_taken_rise(recorded: Recorded) -> None:
    moment, record = recorded.find("vector_received")
    sender, incarnation, number = parsed(record.fields["exchange"])
    assert number > 1
    older = f"{sender}.{incarnation:08x}.{number - 1}"
    assert "too late" in complaint(recorded, said(moment, record, exchange=older)).got


def test_nothing_of_an_earlier_life_is_taken(recorded: Recorded) -> None:
    moment, record = recorded.find("vector_received")
    sender, _, number = parsed(record.fields["exchange"])
    met = next(
        one
        for one in recorded.moments
        if one.node == moment.node
        and isinstance(one.event, ev.Received)
        and isinstance(one.event.message, Hello)
        and one.event.message.node == sender
    )
    assert isinstance(met.event, ev.Received)
    assert isinstance(met.event.message, Hello)
    hello = Hello(**{name: getattr(met.event.message, name) for name in Hello.__struct_fields__
                     if name != "boot"}, boot=f"{5:08x}")  # fmt: skip
    recorded.checkers.watch(replace(met, event=replace(met.event, message=hello)))
    late = said(moment, record, exchange=f"{sender}.00000001.{number + 1}")
    assert "life 5" in complaint(recorded, late).expected
    assert "life 1" in complaint(recorded, met).got


def test_whoever_answers_is_met_as_well(recorded: Recorded) -> None:
    met = next(
        one
        for one in recorded.moments
        if isinstance(one.event, ev.Answered) and isinstance(one.event.message, Welcome)
    )
    assert isinstance(met.event, ev.Answered)
    welcome = Welcome(clock=1, node=met.event.peer, boot=f"{7:08x}", round=0)
    recorded.checkers.watch(replace(met, event=replace(met.event, message=welcome)))
    assert "after 7" in complaint(recorded, met).got


def test_what_is_taken_is_acknowledged_at_once(recorded: Recorded) -> None:
    moment, record = recorded.find("vector_received")
    sender, incarnation, number = parsed(record.fields["exchange"])
    newer = {**record.fields, "exchange": f"{sender}.{incarnation:08x}.{number + 10}"}
    taken = do.Record(kind=record.kind, fields=newer, clock=record.clock)
    silent = replace(without(moment, do.Reply), instructions=[taken])
    assert "no acknowledgment" in complaint(recorded, silent).got


@pytest.mark.parametrize("kind", ["vector_mixed", "vector_judged", "vector_dropped"])
def test_a_vector_ends_once(recorded: Recorded, kind: str) -> None:
    moment, record = recorded.find("vector_mixed")
    again = replace(record, kind=kind, fields={**record.fields, "reason": "superseded"})
    assert "is not there" in complaint(recorded, said(moment, again)).got


def test_a_repetition_may_be_dropped_as_often_as_it_comes(recorded: Recorded) -> None:
    moment, record = recorded.find("vector_received")
    for _ in range(2):
        dropped = replace(record, kind="vector_dropped")
        recorded.checkers.watch(said(moment, dropped, reason="repeated"))


def test_an_id_is_ones_own_and_used_once(recorded: Recorded) -> None:
    moment, record = recorded.find("vector_sent")
    recorded.checkers.watch(said(moment, record, exchange=f"{moment.node}.00000001.99"))
    complaint(recorded, said(moment, record, exchange=f"{moment.node}.00000001.99"))
    complaint(recorded, said(moment, record, exchange=f"{moment.node}.00000002.100"))
    complaint(recorded, said(moment, record, exchange="x.00000001.100"))


def test_nobody_acknowledges_what_it_has_not_recorded(recorded: Recorded) -> None:
    moment, record = recorded.find("vector_sent")
    exchange = f"{moment.node}.00000001.99"
    recorded.checkers.watch(said(moment, record, exchange=exchange))
    ack = VectorAck(clock=1, exchange=exchange, accepted=True)
    answer = ev.Answered(peer=record.fields["peer"], message=ack)
    error = complaint(recorded, replace(moment, event=answer, instructions=[]))
    assert exchange in error.got


def test_whoever_leaves_has_accounted_for_all(recorded: Recorded) -> None:
    moment, record = recorded.find("vector_sent")
    stopped = do.Record(kind="node_stopped", fields={}, clock=record.clock)
    sent = said(moment, record, exchange=f"{moment.node}.00000001.99")
    both = replace(sent, instructions=[*sent.instructions, stopped])
    assert "without an end" in complaint(recorded, both).got


def test_what_is_on_its_way_to_nowhere_is_missed(recorded: Recorded) -> None:
    """It was sent, says the sender, and nothing is on its way."""
    moment, record = recorded.find("vector_sent")
    recorded.checkers.watch(said(moment, record, exchange=f"{moment.node}.00000001.99"))
    with pytest.raises(CheckFailed, match="nothing is on its way"):
        recorded.until(40.0)


def test_what_was_lost_on_the_way_is_not_missed(recorded: Recorded) -> None:
    moment, record = recorded.find("vector_sent")
    recorded.checkers.watch(said(moment, record, exchange=f"{moment.node}.00000001.99"))
    for connection in recorded.world.network._connections.values():
        connection.spoiled_s = recorded.world.timeline.now
    recorded.until(40.0)


def test_vectors_of_runs_with_a_coordinator_are_left_alone(recorded: Recorded) -> None:
    moment, record = recorded.find("vector_received")
    for kind in ("vector_sent", "vector_received", "vector_mixed", "vector_dropped"):
        recorded.checkers.watch(said(moment, replace(record, kind=kind), purpose="model"))


def test_long_delays_are_nobodys_fault(tmp_path: Path) -> None:
    """As in the preset `extreme`: most vectors are overtaken on their way."""
    virtual = {"delay_rounds": 10.0, "duration_s": 3000.0}
    run = Recorded(tmp_path, exchange=ExchangeConfig(fanout=2), virtual=virtual)
    run.play()
    records = [one for m in run.moments for one in m.instructions if isinstance(one, do.Record)]
    assert "peer_refused" not in {record.kind for record in records}
    reasons = [r.fields["reason"] for r in records if r.kind == "vector_dropped"]
    assert reasons.count("overtaken") > 1000
