"""Accounts of vectors, without a machine around them."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.mixing.merging import SumWeights
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival, VectorError, split
from p2pgan.protocol.core import Core, LastStepSettings, Settings
from p2pgan.protocol.exchanges import MAX_UNACKNOWLEDGED, Exchanges, Parcel
from p2pgan.protocol.links import Identity, Link
from p2pgan.protocol.messages import Nets, Purpose, VectorAck

G: Nets = ("G",)
D: Nets = ("D",)


@pytest.fixture
def core() -> Core:
    return core_of_a()


def core_of_a() -> Core:
    settings = Settings(
        identity=Identity(node="A", run="run", architecture="same", boot="0123456789"),
        neighbors=("B", "C"),
        groups=(G, D),
        net_bytes={"G": 8, "D": 4},
        iterations=1,
        exchange_every=1,
        draw=lambda ready: ready,
    )
    return Core(settings)


@pytest.fixture
def exchanges(core: Core) -> Exchanges:
    assert isinstance(core.settings, Settings)
    return Exchanges(core, core.settings)


def link(peer: str = "B") -> Link:
    return Link(peer=peer, route=peer.encode(), boot="theirs-and-more")


def order(counter: int, nets: Nets = G) -> do.SendVector:
    """To send a vector from B."""
    exchange = f"B.theirs-a.{counter}"
    return do.SendVector(peer="A", exchange=exchange, nets=nets, round=counter, clock=0)


def feed(exchanges: Exchanges, counter: int, nets: Nets = G, *, upto: int = 99) -> Arrival | None:
    """A vector from B in chunks of one number; the first `upto` of them."""
    data = bytes(8 if nets == G else 4)
    arrival = None
    for chunk, payload in list(split(data, order(counter, nets), chunk_bytes=4))[:upto]:
        exchanges.cut_off(link(), chunk)
        arrival = exchanges.chunk(link(), chunk, payload, finite=True)
        exchanges.validate({b"B": "B"})
        exchanges.validate_all({b"B": "B"})
    return arrival


def records(core: Core) -> list[tuple[str, Any]]:
    """Kind and reason of each record."""
    taken = [i for i in core.take() if isinstance(i, do.Record)]
    return [(record.kind, record.fields.get("reason")) for record in taken]


def test_ids_are_ours_and_never_come_twice(core: Core, exchanges: Exchanges) -> None:
    for peer in ("B", "C", "B"):
        exchanges.send(peer, G, round=1)
    exchanges.validate_all({})
    assert list(exchanges.outstanding) == ["A.01234567.1", "A.01234567.2", "A.01234567.3"]
    orders = [i for i in core.take() if isinstance(i, do.SendVector)]
    assert [order.exchange for order in orders] == list(exchanges.outstanding)
    assert exchanges.traffic["B"].sent_bytes == 16


def test_an_answer_ends_what_was_sent_to_that_peer_only(core: Core, exchanges: Exchanges) -> None:
    exchanges.send("B", G, round=1)
    ack = VectorAck(clock=0, exchange="A.01234567.1", accepted=True)
    exchanges.acknowledged("C", ack)
    assert len(exchanges.outstanding) == 1
    exchanges.acknowledged("B", ack)
    exchanges.acknowledged("B", ack)
    assert exchanges.outstanding == {}
    assert records(core) == [("vector_sent", None)]


def test_a_refusal_of_the_receiver_is_a_drop_of_the_sender(
    core: Core, exchanges: Exchanges
) -> None:
    exchanges.send("B", G, round=1)
    ack = VectorAck(clock=0, exchange="A.01234567.1", accepted=False, reason="not_finite")
    exchanges.acknowledged("B", ack)
    assert records(core)[-1] == ("vector_dropped", "not_finite")


def test_a_broken_connection_loses_what_went_over_it(core: Core, exchanges: Exchanges) -> None:
    exchanges.send("B", G, round=1)
    exchanges.send("C", G, round=1)
    exchanges.lose("B")
    assert [out.peer for out in exchanges.outstanding.values()] == ["C"]
    assert records(core)[-1] == ("vector_dropped", "peer_lost")


def test_a_peer_that_never_answers_costs_a_bounded_account(
    core: Core, exchanges: Exchanges
) -> None:
    exchanges.send("C", G, round=1)
    for _ in range(MAX_UNACKNOWLEDGED + 2):
        exchanges.send("B", G, round=1)
    assert len(exchanges.outstanding) == MAX_UNACKNOWLEDGED + 1
    dropped = [i for i in core.take() if isinstance(i, do.Record) and i.kind == "vector_dropped"]
    assert [(i.fields["exchange"], i.fields["reason"]) for i in dropped] == [
        ("A.01234567.2", "unacknowledged"),
        ("A.01234567.3", "unacknowledged"),
    ]


def test_one_vector_of_each_group_waits_the_latest(core: Core, exchanges: Exchanges) -> None:
    for counter, nets in ((1, G), (2, D), (3, G)):
        arrival = feed(exchanges, counter, nets)
        assert arrival is not None
        exchanges.keep(arrival)
    assert [(a.nets, a.round) for a in exchanges.take()] == [(D, 2), (G, 3)]
    assert exchanges.take() == ()
    assert records(core)[-1] == ("vector_dropped", "superseded")
    assert exchanges.held_bytes() == 0


def test_a_vector_in_the_middle_of_another_ends_that_one_alone(
    core: Core, exchanges: Exchanges
) -> None:
    """Its rest is lost, and its sender told; the later one is as good as any."""
    feed(exchanges, 1, upto=1)
    assert exchanges.held_bytes() == 4
    first, _ = next(split(bytes(8), order(2), chunk_bytes=4))
    assert exchanges.cut_off(link(), first)
    told = core.take()
    (ack,) = [i.message for i in told if isinstance(i, do.Reply)]
    assert isinstance(ack, VectorAck)
    assert (ack.exchange, ack.accepted, ack.reason) == ("B.theirs-a.1", False, "incomplete")
    assert [i.fields["reason"] for i in told if isinstance(i, do.Record)] == ["incomplete"]
    assert not exchanges.cut_off(link(), first)
    assert feed(exchanges, 2) is not None


def test_an_earlier_vector_does_not_end_the_one_that_comes_in(exchanges: Exchanges) -> None:
    """A chunk of it was on its way for longer, or came twice."""
    assert feed(exchanges, 1) is not None
    feed(exchanges, 2, upto=1)
    with pytest.raises(VectorError, match="more than 2"):
        feed(exchanges, 1, upto=1)
    assert exchanges.held_bytes() == 4
    _, (last, payload) = split(bytes(8), order(2), chunk_bytes=4)
    assert exchanges.chunk(link(), last, payload, finite=True) is not None


def test_an_unfinished_vector_goes_with_its_connection(core: Core, exchanges: Exchanges) -> None:
    feed(exchanges, 1, upto=1)
    exchanges.prune({b"B": "B"})
    assert exchanges.held_bytes() == 4
    exchanges.prune({b"new": "B"})
    assert exchanges.held_bytes() == 0
    assert records(core) == [("vector_dropped", "incomplete")]


@pytest.mark.parametrize("counter", [1, 2])
def test_a_counter_that_does_not_rise_is_a_repetition(exchanges: Exchanges, counter: int) -> None:
    feed(exchanges, 2)
    with pytest.raises(VectorError, match="more than 2"):
        feed(exchanges, counter)


def test_closing_accounts_for_everything(core: Core, exchanges: Exchanges) -> None:
    exchanges.send("C", G, round=1)
    arrival = feed(exchanges, 1)
    assert arrival is not None
    exchanges.keep(arrival)
    feed(exchanges, 2, upto=1)
    core.take()
    exchanges.close()
    assert sorted(records(core)) == [
        ("vector_dropped", "finished"),
        ("vector_dropped", "incomplete"),
        ("vector_dropped", "unacknowledged"),
    ]
    assert not exchanges.outstanding
    assert exchanges.held_bytes() == 0


# -- what lasts ------------------------------------------------------------------------------------

BOTH: Nets = ("G", "D")


@pytest.fixture
def lasting(core: Core) -> Exchanges:
    return lasting_of(core)


def lasting_of(core: Core) -> Exchanges:
    """Of a node that exchanges mass, averages in the end, and refuses round 9."""
    settings = core.settings
    assert isinstance(settings, Settings)
    weighed = replace(
        settings,
        groups=(BOTH,),
        exchange="mass",
        weighting=SumWeights(conserves=True),
        last_step=LastStepSettings(name="average", groups=(BOTH,), around={}, rounds=1),
    )
    return Exchanges(core, weighed, lambda arrival: "busy" if arrival.round == 9 else "")


def push(
    exchanges: Exchanges,
    counter: int,
    only: slice = slice(None),
    round: int = 1,
    purpose: Purpose = "mass",
) -> bool:
    """Some chunks of a piece of mass from B; whether it is now taken."""
    order = do.SendVector(
        peer="A",
        exchange=f"B.theirs-a.{counter}",
        nets=BOTH,
        round=round,
        clock=0,
        purpose=purpose,
        weight=0.5 if purpose == "mass" else 0.0,
    )
    arrival = None
    for chunk, payload in list(split(bytes(12), order, chunk_bytes=4))[only]:
        exchanges.cut_off(link(), chunk)
        arrival = exchanges.chunk(link(), chunk, payload, finite=True)
        exchanges.validate({b"B": "B"})
    return arrival is not None


def answers(core: Core) -> list[str]:
    """What was told the sender, and what was recorded of it."""
    told = []
    for instruction in core.take():
        if isinstance(instruction, do.Reply):
            assert isinstance(instruction.message, VectorAck)
            told.append(instruction.message.reason or "accepted")
        elif isinstance(instruction, do.Record):
            told.append(instruction.kind)
    return told


def test_what_comes_again_is_answered_as_before(core: Core, lasting: Exchanges) -> None:
    assert push(lasting, 1)
    assert answers(core) == ["vector_received", "accepted"]
    assert not push(lasting, 1)
    assert answers(core) == ["accepted"]
    assert not push(lasting, 2, round=9)
    assert answers(core) == ["vector_dropped", "busy"]
    assert not push(lasting, 2, round=1)
    assert answers(core) == ["busy"]
    assert push(lasting, 3)
    assert lasting.held_bytes() == 0


def test_what_cannot_be_used_is_refused_for_good(core: Core, lasting: Exchanges) -> None:
    """Its rest and its repetitions are no further faults."""
    with pytest.raises(VectorError):
        push(lasting, 1, slice(1, 2))
    assert answers(core) == ["vector_dropped", "order"]
    assert not push(lasting, 1)
    assert answers(core) == ["order"]


def test_a_repetition_takes_the_place_of_what_was_broken_off(
    core: Core, lasting: Exchanges
) -> None:
    """Over the same connection, or over the next one."""
    assert not push(lasting, 1, slice(0, 2))
    assert push(lasting, 1)
    assert answers(core) == ["vector_received", "accepted"]
    assert not push(lasting, 2, slice(0, 2))
    lasting.prune({})
    assert lasting.held_bytes() == 0
    assert push(lasting, 2)
    assert answers(core) == ["vector_received", "accepted"]


def test_what_lasts_survives_its_connection(core: Core, lasting: Exchanges) -> None:
    exchange = lasting.send("B", BOTH, round=1, parcel=Parcel(purpose="mass", weight=0.5))
    lasting.replaced("B", exchange)
    lasting.lose("B")
    assert list(lasting.outstanding) == [exchange]
    lasting.give_up(lasting.outstanding[exchange], "restarted")
    assert records(core) == [("vector_sent", None), ("vector_dropped", "restarted")]


START, REST = slice(0, 1), slice(1, None)


def test_an_earlier_piece_of_mass_is_refused_while_another_comes_in(
    core: Core, lasting: Exchanges
) -> None:
    """Nobody honest sends two before the first is decided about; the one that comes in stays."""
    push(lasting, 7, START)
    with pytest.raises(VectorError, match=r"B\.theirs-a\.7"):
        push(lasting, 6, START)
    assert answers(core) == ["vector_dropped", "order"]
    assert push(lasting, 7, REST)
    assert answers(core) == ["vector_received", "accepted"]
    assert not push(lasting, 6)
    assert answers(core) == ["order"]


@pytest.mark.parametrize("part", [START, REST])
def test_a_piece_that_is_sent_again_ends_what_has_lost_its_rest(
    core: Core, lasting: Exchanges, part: slice
) -> None:
    """All of it was lost the first time. What has no beginning again is refused for good."""
    push(lasting, 7, START, purpose="average")
    if part == START:
        assert not push(lasting, 6, START)
        assert answers(core) == ["vector_dropped", "incomplete"]
        assert push(lasting, 6, REST)
        assert answers(core) == ["vector_received", "accepted"]
    else:
        with pytest.raises(VectorError, match="byte 4 of"):
            push(lasting, 6, REST)
        assert answers(core) == ["vector_dropped", "order"]
        assert push(lasting, 7, REST, purpose="average")


def test_a_piece_that_was_decided_about_ends_nothing(core: Core, lasting: Exchanges) -> None:
    assert push(lasting, 6)
    push(lasting, 7, START, purpose="average")
    core.take()
    assert not push(lasting, 6)
    assert answers(core) == ["accepted"]
    assert push(lasting, 7, REST, purpose="average")


def test_a_piece_that_a_later_vector_cuts_off_is_refused_for_good(
    core: Core, lasting: Exchanges
) -> None:
    """Its sender is told, and merges it: a repetition that was on its way must not come in."""
    push(lasting, 6, START)
    assert push(lasting, 7, purpose="average")
    assert answers(core) == ["incomplete", "vector_received", "accepted"]
    assert not push(lasting, 6)
    assert answers(core) == ["incomplete"]


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([START, REST, slice(None)]), st.booleans()),
        max_size=12,
    )
)
def test_whatever_chunks_come_mass_is_decided_about_once(
    parts: list[tuple[int, slice, bool]],
) -> None:
    """A peer that sends anything in any order makes errors of its own, and gets one answer."""
    core = core_of_a()
    exchanges = lasting_of(core)
    decided: dict[str, bool] = {}
    for counter, part, is_mass in parts:
        with suppress(VectorError):
            push(exchanges, 2 * counter + is_mass, part, purpose="mass" if is_mass else "average")
        exchanges.validate_all({b"B": "B"})
        for instruction in core.take():
            if isinstance(instruction, do.Reply) and is_mass_of(instruction):
                ack = instruction.message
                assert isinstance(ack, VectorAck)
                if ack.reason != "repeated":  # its sender was told long ago
                    assert decided.setdefault(ack.exchange, ack.accepted) == ack.accepted


def is_mass_of(reply: do.Reply) -> bool:
    """Odd numbers are those of mass."""
    assert isinstance(reply.message, VectorAck)
    return reply.message.exchange[-1] in "13579"
