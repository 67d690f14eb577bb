"""Whole machines talking to each other, without sockets."""

from collections.abc import Callable
from typing import Any

import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import digest_of
from p2pgan.protocol.links import MAX_FAULTS
from p2pgan.protocol.messages import (
    PROTOCOL_VERSION,
    Chunk,
    Hello,
    Leave,
    LeaveAck,
    Refuse,
    VectorAck,
    Welcome,
)

PAIR = [("A", "B")]
RING = [("A", "B"), ("B", "C"), ("C", "D"), ("D", "A")]
COMPLETE = [(a, b) for i, a in enumerate("ABCDE") for b in "ABCDE"[i + 1 :]]


@pytest.mark.parametrize("edges", [PAIR, RING, COMPLETE], ids=["pair", "ring", "complete"])
@pytest.mark.parametrize("seed", range(5))
def test_a_run_ends_in_good_order(party_of: Callable[..., Any], edges: Any, seed: int) -> None:
    party = party_of(edges, seed=seed)
    party.start()
    party.settle()
    party.check_closed()
    party.check_accounts()
    for member in party.members.values():
        (stopped,) = member.kinds("node_stopped")
        assert stopped == {"reason": "finished", "iterations": 6, "rounds": 3}
        assert [fields["round"] for fields in member.kinds("round_finished")] == [1, 2, 3]
        assert member.log[-1].kind == "node_stopped"
        assert [record.clock for record in member.log] == sorted(
            {record.clock for record in member.log}
        )
    assert party.logged("vector_sent")
    assert not {fields["reason"] for _, fields in party.logged("vector_dropped")} - {
        "finished",
        "superseded",
    }


def test_groups_draw_their_own_targets(party_of: Callable[..., Any], independent: Any) -> None:
    party = party_of(COMPLETE, groups=independent, iterations=40)
    party.start()
    party.settle()
    party.check_accounts()
    sent = party.logged("vector_sent")
    assert {tuple(fields["nets"]) for _, fields in sent} == {("G",), ("D",)}
    by_round: dict[tuple[str, int], set[str]] = {}
    for node, fields in sent:
        by_round.setdefault((node, fields["round"]), set()).add(fields["peer"])
    assert any(len(peers) == 2 for peers in by_round.values())


def test_without_groups_nobody_waits_or_sends(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR, groups=())
    party.start("A")
    party.settle()
    assert party.members["A"].close.reason == "finished"
    assert not party.logged("vector_sent")


def test_training_starts_when_all_neighbors_have_answered(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR)
    party.start("A")
    party.settle(until=lambda: not party.steps())
    assert party.members["A"].phase == "gathering"
    party.start("B")
    party.settle(until=lambda: party.members["A"].work is not None)
    assert isinstance(party.members["A"].work, do.Train)
    assert party.members["A"].timers == {}
    assert party.now == 0.0


def test_nobody_waits_for_who_has_left(party_of: Callable[..., Any]) -> None:
    """B is done before A has even reached it: A hears of it and goes on alone."""
    party = party_of(PAIR, overrides={"B": {"wait_s": 0.0}})
    party.start()
    late = ("up", "A", "B")
    party.settle(lambda steps: next((s for s in steps if s != late), late))
    party.check_closed()
    party.check_accounts()
    assert party.now == 0.0
    assert party.members["A"].kinds("node_stopped")[0]["rounds"] == 3


def test_training_starts_without_the_missing_when_the_wait_is_over(
    party_of: Callable[..., Any],
) -> None:
    party = party_of(PAIR, wait_s=7.0)
    party.start("A")
    party.settle()
    member = party.members["A"]
    assert party.now == 7.0
    assert member.kinds("node_stopped")[0]["rounds"] == 3
    assert member.machine.statistics().lonely_rounds == 3


def test_staleness_is_own_round_less_the_sender_s(party_of: Callable[..., Any]) -> None:
    """B trains one round only while A makes three: A's later vectors are ahead of B."""
    party = party_of(PAIR)
    party.start()

    def a_first(steps: list[Any]) -> Any:
        return next((step for step in steps if step != ("work", "B")), steps[0])

    party.settle(a_first)
    party.check_accounts()
    (mixed,) = party.members["B"].kinds("vector_mixed")
    assert (mixed["round"], mixed["staleness_rounds"], mixed["weight"]) == (3, -2, 0.5)
    superseded = party.members["B"].kinds("vector_dropped")
    assert [(f["round"], f["reason"]) for f in superseded] == [(1, "superseded"), (2, "superseded")]


def test_scores_come_every_so_many_rounds_and_at_the_end(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR, iterations=9, is_scored=lambda done: done % 2 == 0)
    party.start()
    party.settle()
    rounds = [fields["round"] for fields in party.members["A"].kinds("scores")]
    assert rounds == [2, 4, 5]
    assert party.members["A"].kinds("round_finished")[-1]["iterations"] == 9


# -- the handshake ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "code"), [({"run": "other"}, "run"), ({"architecture": "other"}, "architecture")]
)
def test_a_disagreement_is_refused_on_both_sides(
    party_of: Callable[..., Any], override: dict[str, str], code: str
) -> None:
    party = party_of(PAIR, overrides={"B": override})
    party.start()
    party.settle()
    party.check_closed()
    for node, peer in (("A", "B"), ("B", "A")):
        refused = party.members[node].kinds("peer_refused")
        assert sorted(fields["by"] for fields in refused) == ["them", "us"]
        assert {(fields["peer"], fields["reason"]) for fields in refused} == {(peer, code)}
        assert party.members[node].close.reason == "finished"
    assert party.now == 0.0, "a refusal ends the wait for a neighbor"
    assert not party.logged("vector_sent")


def hello(node: str = "B", **changes: Any) -> Hello:
    fields = {
        "clock": 1,
        "protocol": PROTOCOL_VERSION,
        "run": "run",
        "node": node,
        "architecture": "same",
    }
    return Hello(**{**fields, "boot": f"{node}-boot-of-this-test", **changes})


def answer(party: Any, route: bytes, message: Any, node: str = "A", **payload: Any) -> list[Any]:
    """What a machine replies to a message over a route of its own."""
    event = ev.Received(route=route, message=message, **payload)
    found = party.members[node].machine.handle(event, party.now)
    party.members[node].log += [i for i in found if isinstance(i, do.Record)]
    return [i.message for i in found if isinstance(i, do.Reply)]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (hello(protocol=1), "protocol"),
        (hello(run="other"), "run"),
        (hello(architecture="other"), "architecture"),
        (hello(boot="another"), "identity_taken"),
        (hello("A", boot="another"), "identity_taken"),
        (hello("A"), "own_address"),
        (hello("Z"), "not_neighbor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_refusal_has_its_reason(
    party_of: Callable[..., Any], message: Hello, code: str
) -> None:
    party = party_of(PAIR)
    party.start()
    party.settle(until=lambda: party.members["A"].machine.statistics().peers[0].state == "ready")
    (refuse,) = answer(party, b"stranger", message)
    assert refuse.code == code
    assert refuse.text
    assert party.members["A"].kinds("peer_refused") == [
        {"peer": message.node, "reason": code, "by": "us"}
    ]
    party.settle()
    party.check_accounts()


def test_a_second_process_under_a_taken_id_gives_up(party_of: Callable[..., Any]) -> None:
    """The double cannot have the overlay's address, so it only calls; its first call ends it."""
    party = party_of(PAIR)
    party.start()
    party.settle(until=lambda: party.members["A"].machine.statistics().peers[0].state == "ready")
    double = party_of(PAIR, overrides={"B": {"boot": "double"}}).members["B"].machine
    double.handle(ev.Started(), 0.0)
    greeting, _ = double.handle(ev.LinkUp(peer="A"), 0.0)
    (refuse,) = answer(party, b"double", greeting.message)
    last = double.handle(ev.Answered(peer="A", message=refuse), 0.0)[-1]
    assert isinstance(last, do.Close)
    assert "`B` is already taken" in last.failure
    assert "--id" in last.hint
    assert double.phase.value == "closed"
    party.settle()
    party.check_accounts()


def test_a_taken_id_does_not_cost_what_was_trained(party_of: Callable[..., Any]) -> None:
    """Whoever answers at a neighbor's address can say so at any time, also by mistake."""
    party = party_of(PAIR)
    party.start()
    party.settle(until=lambda: isinstance(party.members["A"].work, do.Train))
    refuse = Refuse(clock=1, node="B", code="identity_taken", text="")
    party.tell("A", ev.Answered(peer="B", message=refuse))
    party.tell("A", ev.Answered(peer="B", message=refuse))
    party.settle()
    party.check_accounts()
    close = party.members["A"].close
    assert (close.reason, "already taken" in close.failure) == ("refused", True)
    assert "--id" in close.hint
    assert len(party.members["A"].kinds("checkpoint_saved")) == 1


def test_a_restarted_peer_takes_its_place_once_the_old_connection_is_gone(
    party_of: Callable[..., Any],
) -> None:
    party = party_of(PAIR)
    party.start()
    party.settle(until=lambda: party.members["A"].machine.statistics().peers[0].state == "ready")
    party.connections["A", "B"].is_up = False
    party.tell("A", ev.LinkDown(peer="B"))
    (welcome,) = answer(party, b"new", hello(boot="second"))
    assert isinstance(welcome, Welcome)


def test_the_address_is_right_when_two_claim_one_id(party_of: Callable[..., Any]) -> None:
    """An impostor that calls before our own connection stands is found out by the welcome."""
    party = party_of(PAIR)
    machine = party.members["A"].machine
    party.start("A")
    assert isinstance(answer(party, b"impostor", hello(boot="false"))[0], Welcome)
    party.tell("A", ev.LinkUp(peer="B"))
    found = machine.handle(
        ev.Answered(peer="B", message=Welcome(clock=1, node="B", boot="true", round=0)), 0.0
    )
    (reply,) = [instruction for instruction in found if isinstance(instruction, do.Reply)]
    assert isinstance(reply.message, Refuse)
    assert (reply.route, reply.message.code) == (b"impostor", "identity_taken")
    assert isinstance(answer(party, b"real", hello(boot="true"))[0], Welcome)


def test_another_node_at_the_address_is_refused(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR)
    party.start("A")
    party.tell("A", ev.LinkUp(peer="B"))
    party.tell("A", ev.Answered(peer="B", message=Welcome(clock=1, node="C", boot="x", round=0)))
    assert party.members["A"].kinds("peer_refused") == [
        {"peer": "B", "reason": "wrong_node", "by": "us"}
    ]
    assert party.members["A"].phase == "training"


def test_a_leaving_node_refuses_newcomers(party_of: Callable[..., Any]) -> None:
    party = party_of([("A", "B"), ("A", "C")], wait_s=0.0)
    party.start("A", "B")
    party.settle(lambda steps: steps[0], until=lambda: party.members["A"].phase == "leaving")
    (refuse,) = answer(party, b"late", hello("C"))
    assert refuse.code == "leaving"


def test_strangers_are_counted_not_heard(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR)
    party.start("A")
    assert answer(party, b"x", Leave(clock=1)) == []
    assert answer(party, b"x", chunk(end=4, total_bytes=8), payload=b"1234") == []
    (ack,) = answer(party, b"x", chunk(begin=4, end=8, total_bytes=8), payload=b"1234")
    assert ack == VectorAck(clock=ack.clock, exchange=ack.exchange, accepted=False,
                            reason="not_welcomed")  # fmt: skip
    party.tell("A", ev.Malformed(route=b"x"))
    statistics = party.members["A"].machine.statistics()
    assert (statistics.strangers, statistics.malformed) == (4, 1)
    assert party.members["A"].kinds("vector_dropped") == []


# -- unusable vectors ------------------------------------------------------------------------------


def chunk(exchange: str = "B.B-boot-o.1", **changes: Any) -> Chunk:
    fields = {"clock": 1, "nets": ("G", "D"), "round": 1, "begin": 0}
    size = {"total_bytes": 32, **changes}["total_bytes"]
    more = {"end": size, "total_bytes": size, "digest": b"\0" * 16}
    return Chunk(exchange=exchange, **{**fields, **more, **changes})


@pytest.mark.parametrize(
    ("message", "payload", "reason"),
    [
        (chunk(), bytes(32), "digest"),
        (chunk(total_bytes=2**30, end=32), bytes(32), "size"),
        (chunk(total_bytes=36), bytes(36), "size"),
        (chunk(nets=("D", "G")), bytes(32), "nets"),
        (chunk(nets=("G",), total_bytes=20), bytes(20), "nets"),
        (chunk(begin=12, end=24), bytes(12), "order"),
        (chunk(exchange="C.C-boot-o.1"), bytes(32), "exchange"),
        (chunk(exchange="B.B-boot-o.x"), bytes(32), "exchange"),
    ],
)
def test_an_unusable_vector_is_dropped_with_its_reason_and_its_peer_refused_in_the_end(
    party_of: Callable[..., Any], message: Chunk, payload: bytes, reason: str
) -> None:
    party = party_of(PAIR)
    party.start("A")
    answer(party, b"B", hello())
    for attempt in range(1, MAX_FAULTS + 1):
        exchange = message.exchange[:-1] + (str(attempt) if reason != "exchange" else f"-{attempt}")
        sent = Chunk(**{**{f: getattr(message, f) for f in message.__struct_fields__},
                        "exchange": exchange})  # fmt: skip
        ack, *refusal = answer(party, b"B", sent, payload=payload)
        assert (ack.exchange, ack.accepted, ack.reason) == (exchange, False, reason)
        dropped = party.members["A"].kinds("vector_dropped")[-1]
        assert (dropped["exchange"], dropped["reason"], dropped["peer"]) == (exchange, reason, "B")
        assert [refuse.code for refuse in refusal] == (["faults"] if attempt == MAX_FAULTS else [])
    (refuse,) = answer(party, b"again", hello())
    assert refuse.code == "faults"
    assert party.members["A"].machine.statistics().held_bytes == 0
    assert isinstance(answer(party, b"again", hello(boot="restarted"))[0], Welcome)


def test_not_finite_vectors_never_reach_the_mixing(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR, iterations=2)
    party.members["B"].vector["D"][1] = float("nan")
    party.start()
    party.settle()
    party.check_closed()
    assert party.members["A"].mixed == []
    (dropped,) = party.members["A"].kinds("vector_dropped")
    refused = party.members["B"].kinds("vector_dropped")
    assert dropped["reason"] == "not_finite"
    assert (dropped["exchange"], "not_finite") in {(f["exchange"], f["reason"]) for f in refused}


def test_the_rest_of_a_wrong_vector_is_one_fault_only(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR)
    party.start("A")
    answer(party, b"B", hello())
    for begin in range(4, 400, 4):
        piece = chunk(begin=begin, end=begin + 4, total_bytes=400)
        answer(party, b"B", piece, payload=bytes(4))
    assert party.members["A"].machine.statistics().peers[0].faults == 1


def test_a_repeated_exchange_is_taken_once(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR)
    party.start("A")
    answer(party, b"B", hello())
    data = bytes(range(32))
    whole = chunk(digest=digest_of(data))
    (ack,) = answer(party, b"B", whole, payload=data)
    assert ack.accepted
    (ack,) = answer(party, b"B", whole, payload=data)
    assert (ack.accepted, ack.reason) == (False, "repeated")
    assert len(party.members["A"].kinds("vector_received")) == 1


def test_a_clock_from_the_far_future_moves_ours_a_little_and_blames_nobody(
    party_of: Callable[..., Any],
) -> None:
    """Blame would hit honest peers whose clock somebody else has pushed."""
    party = party_of(PAIR)
    party.start("A")
    answer(party, b"B", hello())
    answer(party, b"B", LeaveAck(clock=2**62))
    statistics = party.members["A"].machine.statistics()
    assert 2**32 <= statistics.clock < 2**32 + 100
    assert statistics.peers[0].faults == 0


def test_a_stranger_moves_no_clock(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR)
    party.start("A")
    (refuse,) = answer(party, b"Z", hello(node="Z", clock=2**31))
    assert refuse.code == "not_neighbor"
    assert party.members["A"].machine.statistics().clock < 100


def test_vectors_that_are_begun_and_never_finished_are_faults(party_of: Callable[..., Any]) -> None:
    """Or a small message each would fill the log for ever."""
    party = party_of(PAIR)
    party.start("A")
    answer(party, b"B", hello())
    for attempt in range(1, 1000):
        begun = chunk(exchange=f"B.B-boot-o.{attempt}", end=4)
        answer(party, b"B", begun, payload=bytes(4))
    assert len(party.members["A"].kinds("vector_dropped")) <= 2 * MAX_FAULTS
    assert party.members["A"].machine.statistics().held_bytes == 0


# -- leaving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", range(0, 120, 7))
def test_a_stop_at_any_moment_leaves_in_good_order(
    party_of: Callable[..., Any], after: int
) -> None:
    """All are told to stop, as by Ctrl-C of the supervisor, after so many steps."""
    party = party_of(COMPLETE, seed=after, iterations=30)
    party.start()
    count = iter(range(after))
    party.settle(until=lambda: next(count, None) is None)
    for node in party.members:
        party.tell(node, ev.StopRequested(reason="interrupted"))
    party.settle()
    party.check_closed()
    party.check_accounts()
    assert party.now == 0.0, "nobody had to wait for a timer"
    for member in party.members.values():
        assert [fields["reason"] for fields in member.kinds("node_stopped")] == ["interrupted"]
        assert len(member.kinds("checkpoint_saved")) == 1


def test_who_has_left_is_chosen_no_more(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR, overrides={"A": {"iterations": 2}})
    party.start()
    party.settle(
        lambda steps: next((s for s in steps if s != ("work", "B")), steps[0]),
        until=lambda: party.members["A"].close is not None,
    )
    party.settle()
    assert party.members["B"].kinds("vector_sent") == []
    assert party.members["B"].kinds("peer_lost") == [{"peer": "A", "reason": "left"}]


def test_a_leaver_takes_what_is_still_on_the_way(party_of: Callable[..., Any]) -> None:
    """B's vector to A travels when A is done: it is received, acknowledged and dropped."""
    party = party_of(PAIR, overrides={"A": {"iterations": 2}})
    party.start()
    held = ("forward", "B", "A")
    party.settle(until=lambda: all(m.work is not None for m in party.members.values()))
    party.take(("work", "B"))
    party.settle(
        lambda steps: next((s for s in steps if s != held), held),
        until=lambda: party.members["A"].phase == "leaving",
    )
    assert party.members["B"].kinds("vector_sent")
    party.settle()
    party.check_accounts()
    assert "finished" in [f["reason"] for f in party.members["A"].kinds("vector_dropped")]
    assert party.members["A"].kinds("vector_received")
    assert party.now == 0.0


def test_the_drain_timer_ends_the_wait_for_a_silent_peer(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR, overrides={"A": {"iterations": 2}}, drain_s=3.0)
    party.start()

    def b_is_frozen(steps: list[Any]) -> Any:
        return next(s for s in steps if s not in (("work", "B"), ("forward", "A", "B")))

    party.settle(until=lambda: all(m.work is not None for m in party.members.values()))
    while party.members["A"].phase != "leaving":
        party.take(b_is_frozen(party.steps()))
    party.tell("A", ev.TimerFired(name="drain"))
    (dropped,) = party.members["A"].kinds("vector_dropped")
    assert dropped["reason"] == "unacknowledged"
    assert party.members["A"].close.reason == "finished"


def test_a_failure_of_the_work_is_told_and_left_in_good_order(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR)
    party.start()
    party.settle(
        lambda steps: next((s for s in steps if s != ("work", "A")), steps[0]),
        until=lambda: isinstance(party.members["A"].work, do.Mix),
    )
    party.members["A"].work = None
    party.tell("A", ev.WorkFailed(text="out of memory"))
    party.settle()
    party.check_closed()
    party.check_accounts()
    close = party.members["A"].close
    assert (close.reason, close.failure) == ("failed", "out of memory")
    assert party.members["A"].kinds("checkpoint_saved") == []
    assert party.members["B"].close.reason == "finished"


def test_an_abort_accounts_for_everything_at_once(party_of: Callable[..., Any]) -> None:
    party = party_of(COMPLETE, seed=3)
    party.start()
    party.settle(until=lambda: len(party.logged("vector_sent")) >= 5)
    for node in party.members:
        party.tell(node, ev.Abort(reason="interrupted"))
        party.tell(node, ev.Abort(reason="interrupted"))
    party.check_closed()
    party.check_accounts()


def test_a_replaced_vector_is_recorded(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR)
    party.start()
    party.settle(until=lambda: bool(party.members["A"].kinds("vector_sent")))
    (sent,) = party.members["A"].kinds("vector_sent")
    party.connections["A", "B"].forward.clear()
    party.tell("A", ev.VectorReplaced(peer="B", exchange=sent["exchange"]))
    party.tell("A", ev.VectorReplaced(peer="B", exchange=sent["exchange"]))
    (dropped,) = party.members["A"].kinds("vector_dropped")
    assert (dropped["exchange"], dropped["reason"]) == (sent["exchange"], "superseded")
    party.settle()
    party.check_accounts()


# -- our own mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        ev.TrainingDone(iterations=2),
        ev.MixingDone(weights=()),
        ev.ScoringDone(samples=1),
        ev.SavingDone(path="x"),
        ev.Started(),
        ev.LinkUp(peer="Z"),
        ev.WorkFailed(text="x"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_cannot_have_happened_is_an_error_with_its_story(
    party_of: Callable[..., Any], event: ev.Event
) -> None:
    party = party_of(PAIR)
    party.start("A")
    with pytest.raises(LocalProtocolError):
        party.tell("A", event)


def test_the_story_names_the_last_events(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR)
    party.start()
    party.settle(until=lambda: isinstance(party.members["A"].work, do.Train))
    with pytest.raises(LocalProtocolError, match=r"training.*MixingDone.*Answered\(Welcome\)"):
        party.tell("A", ev.MixingDone(weights=()))
