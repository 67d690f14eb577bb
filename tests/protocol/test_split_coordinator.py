"""MD-GAN's coordinator, with workers that behave and workers that do not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import split
from p2pgan.protocol.messages import Holding
from p2pgan.protocol.roles import DeadlineSettings

StarOf = Callable[..., Any]

LIMITS = {"deadline": DeadlineSettings(first_s=4.0, min_s=1.0), "lost_after_s": 10.0}
STAY = {"moved": None}


def moves_of(star: Any, node: str | None = None) -> list[dict[str, Any]]:
    return [
        fields
        for name, fields in star.logged("vector_mixed")
        if fields["purpose"] == "move" and node in (None, name)
    ]


def test_the_generator_learns_from_all_in_order_of_slots(star_of: StarOf) -> None:
    star = star_of(3, "sync", seed=3)
    star.start()
    star.settle()
    assert star.coordinator.learned == [(t, (0, 1, 2)) for t in range(1, 7)]


def test_asynchronously_it_learns_from_one_at_a_time(star_of: StarOf) -> None:
    star = star_of(3, "async", seed=3, rule=STAY)
    star.start()
    star.settle()
    learned = star.coordinator.learned
    assert len(learned) == 6 * 3
    assert all(len(slots) == 1 for _, slots in learned)
    delays = [update + 1 - iteration for update, (iteration, _) in enumerate(learned)]
    assert min(delays) >= 0
    assert max(delays) > 0, "some feedback is about images of an older generator"
    first, *others = star.coordinator.served
    assert first == (0, 1, 2)
    assert others == [slots for _, slots in learned[:-1]], "who was heard is served, and alone"


@pytest.mark.parametrize("system", ["sync", "async"])
@pytest.mark.parametrize(("workers", "slots"), [(3, 3), (5, 3)])
def test_discriminators_move_from_worker_to_worker(
    star_of: StarOf, system: str, workers: int, slots: int
) -> None:
    star = star_of(workers, system, slots=slots, iterations=20, seed=1)
    star.start()
    star.settle()
    star.check_accounts()
    assert len(moves_of(star)) > 5
    assert not [f for f in star.logged("vector_sent") if f[0] == "coordinator"]
    assert {f["reason"] for _, f in star.logged("vector_dropped")} <= {"finished"}
    made = [f for n in star.names for f in [star.members[n].slot] if f is not None]
    assert {*made} == {*range(slots)}


def test_moves_in_a_ring_do_not_wait_for_each_other(star_of: StarOf) -> None:
    def ring(places: Any, workers: Any) -> Any:
        return {slot: workers[(slot + workers.index(places[0]) + 1) % 3] for slot in places}

    star = star_of(3, "sync", rule={"moved": ring}, exchange_every=1)
    star.start()
    star.settle()
    star.check_closed()
    assert len(moves_of(star)) == 5 * 3, "all move after every round but the last"
    assert star.now == 0


def test_a_frozen_worker_costs_the_deadline_once_and_then_nothing(star_of: StarOf) -> None:
    star = star_of(3, "sync", **LIMITS, iterations=30, exchange_every=30)
    star.start()
    star.settle(until=lambda: len(star.coordinator.learned) == 5)
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    star.frozen.add("w1")
    star.settle(until=lambda: len(star.coordinator.learned) == 20)
    assert star.now <= 4.0
    assert star.coordinator.learned[-1] == (20, (0, 2))
    star.frozen.clear()
    star.settle()
    star.check_closed()
    assert star.coordinator.learned[-1] == (30, (0, 1, 2)), "it serves again"
    reasons = [(f["purpose"], f["reason"]) for _, f in star.logged("vector_dropped")]
    assert reasons.count(("feedback", "late")) in (0, 2), "told on both sides"
    assert star.coordinator.kinds("peer_suspected") == [{"peer": "w1"}]


def test_one_that_is_silent_for_long_is_replaced_and_starts_anew(star_of: StarOf) -> None:
    star = star_of(3, "sync", slots=2, **LIMITS, iterations=40, exchange_every=40)
    star.start()
    star.settle(until=lambda: len(star.coordinator.learned) == 5)
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    star.frozen.add("w1")
    star.settle(until=lambda: star.now >= 1.0)
    while star.now < 10.0 and star.coordinator.close is None:
        due = next(t for t in star.timers() if t[2] == "silence")
        star.now = star.coordinator.timers["silence"]
        star.take(due)
    star.settle(until=lambda: star.members["w2"].slot is not None)
    assert star.members["w2"].slot == 1, "a copy under the lost one's number"
    (copied,) = [f for n, f in star.logged("vector_sent") if n == "w0"]
    assert (copied["purpose"], copied["peer"]) == ("move", "w2")
    star.frozen.clear()
    star.settle()
    star.check_closed()
    star.check_accounts()
    assert star.coordinator.learned[-1] == (40, (0, 1))


@pytest.mark.parametrize("system", ["sync", "async"])
def test_an_iteration_may_take_longer_than_the_first_deadline_and_any_patience(
    star_of: StarOf, system: str
) -> None:
    star = star_of(3, system, **LIMITS, alone_s=99.0, seed=1, work_s={do.Criticise: 50.0})
    star.start()
    star.settle()
    star.check_closed()
    assert star.coordinator.close.reason == "finished"
    assert star.coordinator.served[0] == (0, 1, 2)
    assert {*range(3)} == {slot for _, slots in star.coordinator.learned for slot in slots}
    assert {f["reason"] for _, f in star.logged("vector_dropped")} <= {"finished"}
    assert not [f for f in star.coordinator.kinds("peer_lost") if f["reason"] == "silent"]


@pytest.mark.parametrize("system", ["sync", "async"])
def test_with_workers_that_hang_it_does_not_wait_for_ever(star_of: StarOf, system: str) -> None:
    star = star_of(2, system, **LIMITS, alone_s=7.0, iterations=40, rule=STAY)
    star.start()
    star.settle(until=lambda: len(star.coordinator.learned) == 20)
    star.work_s[do.Criticise] = 1e9
    star.settle(until=lambda: star.coordinator.close is not None)
    assert star.coordinator.close.reason == "alone"
    assert star.now == 10.0 + 7.0
    assert star.coordinator.kinds("checkpoint_saved")


def test_what_was_lost_with_a_coordinator_is_copied_from_a_live_one(star_of: StarOf) -> None:
    star = star_of(3, "sync", seed=3, iterations=12, alone_s=500.0, rule=STAY)
    star.start()
    star.settle(until=lambda: len(star.coordinator.states) == 2)
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    member = star.coordinator
    star.kill("coordinator")
    star.kill("w1")
    star.restart("w1")
    star.restart("coordinator", member.states[-1])
    star.settle()
    star.check_closed()
    assert [f["peer"] for f in moves_of(star)] == ["w0"]
    assert star.members["w1"].slot == 1


def test_a_dead_worker_is_replaced_where_one_is_idle(star_of: StarOf) -> None:
    star = star_of(4, "sync", slots=3, iterations=30, exchange_every=30)
    star.start()
    star.settle(until=lambda: len(star.coordinator.learned) == 3)
    star.kill("w1")
    star.settle()
    star.check_accounts()
    assert star.coordinator.learned[-1] == (30, (0, 1, 2))
    assert star.members["w3"].slot == 1
    assert star.now == 0, "a broken link is no wait"


def test_without_an_idle_one_the_others_go_on(star_of: StarOf) -> None:
    star = star_of(3, "sync", iterations=9)
    star.start()
    star.settle(until=lambda: len(star.coordinator.learned) == 3)
    star.kill("w1")
    star.settle()
    star.check_accounts()
    assert star.coordinator.close.reason == "finished"
    assert len(star.coordinator.learned[-1][1]) == 2


def test_who_joins_or_returns_gets_the_lost_one(star_of: StarOf) -> None:
    star = star_of(3, "sync", wait_s=1.0, iterations=30, exchange_every=30)
    star.start("coordinator", "w0", "w1")
    star.settle(until=lambda: len(star.coordinator.learned) == 2)
    assert star.coordinator.learned[-1][1] == (0, 1)
    star.start("w2")
    star.settle(until=lambda: len(star.coordinator.learned) == 20)
    assert star.coordinator.learned[-1][1] == (0, 1, 2)
    star.kill("w0")
    star.settle(until=lambda: len(star.coordinator.learned) == 21)
    star.restart("w0")
    star.settle()
    assert star.coordinator.learned[-1][1] == (0, 1, 2)


def test_without_any_copy_a_discriminator_begins_anew(star_of: StarOf) -> None:
    star = star_of(2, "sync", slots=1, iterations=9, exchange_every=9)
    star.start()
    star.settle(until=lambda: len(star.coordinator.learned) == 3)
    star.kill("w0")
    star.settle()
    star.check_accounts()
    assert len(star.coordinator.learned) == 9
    assert not star.logged("vector_sent")


def test_without_anybody_it_saves_and_says_so(star_of: StarOf) -> None:
    star = star_of(1, "sync", alone_s=7.0)
    star.start()
    star.settle(until=lambda: len(star.coordinator.learned) == 1)
    star.kill("w0")
    star.settle()
    assert star.now == 7.0
    assert star.coordinator.close.reason == "alone"
    assert "no worker" in star.coordinator.close.failure
    assert star.coordinator.kinds("checkpoint_saved")


def test_a_move_that_is_late_is_left_alone(star_of: StarOf) -> None:
    work_s = {do.Criticise: 0.5}
    rule = {"moved": rotated}
    star = star_of(3, "sync", **LIMITS, iterations=40, exchange_every=20, rule=rule, work_s=work_s)
    star.start()
    star.settle(until=lambda: isinstance(star.members["w0"].work, do.Pack))
    star.members["w0"].done_s = star.now + 6.0
    star.settle()
    star.check_closed()
    star.check_accounts()
    assert len(moves_of(star)) == 3, "all have moved"
    assert not star.logged("vector_dropped"), "none came too late"
    learned = [slots for _, slots in star.coordinator.learned[20:]]
    assert learned[0] == (1,), "the others wait for w0, which sends its own before it takes another"
    assert learned[-1] == (0, 1, 2)


def test_a_late_move_does_not_hide_the_deadline_of_the_next(star_of: StarOf) -> None:
    work_s = {do.Criticise: 0.5}
    rule = {"moved": rotated}
    star = star_of(5, "sync", **LIMITS, iterations=40, exchange_every=2, rule=rule, work_s=work_s)
    star.start()
    star.settle(until=lambda: isinstance(star.members["w0"].work, do.Pack))
    star.members["w0"].done_s = star.now + 1e9
    star.settle(until=lambda: isinstance(star.members["w2"].work, do.Pack) and star.now > 5.0)
    began_s = star.now
    star.members["w2"].done_s = star.now + 1e9
    star.settle(until=lambda: star.coordinator.phase == "generating")
    assert star.now == began_s + 1.0, "moves usually take no time, and then this is the deadline"


def test_a_discriminator_that_does_not_arrive_is_lost_at_last(star_of: StarOf) -> None:
    def swap(places: Any, workers: Any) -> Any:
        return {0: places[1], 1: places[0]} if len(places) == 2 else dict(places)

    star = star_of(3, "sync", slots=2, rule={"moved": swap}, **LIMITS, iterations=20)
    star.start()
    star.settle(until=lambda: isinstance(star.members["w0"].work, do.Pack))
    star.frozen.add("w0")
    star.settle(until=lambda: len(star.coordinator.learned) > 2 or star.now > 60)
    assert star.now == 16.0, "four deadlines of moves"
    star.frozen.clear()
    star.settle()
    star.check_closed()
    star.check_accounts()
    assert star.coordinator.learned[-1][1] == (0, 1), "both are there again"


def test_feedback_that_cannot_be_used_is_refused_and_the_run_goes_on(star_of: StarOf) -> None:
    star = star_of(3, "sync", iterations=4, exchange_every=4)
    star.feedback["w1"] = np.array([1, np.nan, 0], np.float32).tobytes()
    star.start()
    star.settle()
    star.check_closed()
    assert star.coordinator.learned == [(t, (0, 2)) for t in range(1, 5)]
    for node, peer in (("coordinator", "w1"), ("w1", "coordinator")):
        told = star.members[node].kinds("vector_dropped")
        assert {(f["peer"], f["purpose"], f["reason"]) for f in told} == {
            (peer, "feedback", "not_finite")
        }
        assert len(told) == 4
    assert star.now == 0, "nobody waits for it"


def test_who_makes_too_many_faults_is_lost(star_of: StarOf) -> None:
    star = star_of(3, "sync", slots=2, iterations=30, exchange_every=30)
    star.feedback["w1"] = np.array([1, np.inf, 0], np.float32).tobytes()
    star.start()
    star.settle()
    assert star.coordinator.close.reason == "finished"
    assert star.members["w2"].slot == 1, "another has its discriminator"
    assert {"peer": "w1", "reason": "faults", "by": "us"} in star.coordinator.kinds("peer_refused")


def test_feedback_that_nobody_asked_for_is_a_fault(star_of: StarOf) -> None:
    star = star_of(2, "sync")
    star.start()
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    link = star.coordinator.machine._neighborhood.links["w0"]
    before = link.faults
    for counter, (round_, slot) in enumerate([(7, 0), (1, 1), (0, 0)]):
        order = do.SendVector(
            peer="coordinator",
            exchange=f"w0.{link.boot[:8]}.{900 + counter}",
            nets=(),
            round=round_,
            clock=1,
            purpose="feedback",
            slot=slot,
        )
        ((chunk, payload),) = split(bytes(12), order, chunk_bytes=64)
        star.tell("coordinator", ev.Received(route=link.route, message=chunk, payload=payload))
    assert link.faults == before + 3
    told = star.coordinator.kinds("vector_dropped")
    assert [f["reason"] for f in told] == ["unasked"] * 3


def test_an_unknown_discriminator_is_a_fault(star_of: StarOf) -> None:
    star = star_of(2, "sync")
    star.start()
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    link = star.coordinator.machine._neighborhood.links["w0"]
    message = Holding(clock=1, slot=2, order=99)
    star.tell("coordinator", ev.Received(route=link.route, message=message))
    assert link.faults == 1


@pytest.mark.parametrize("graceful", [True, False])
@pytest.mark.parametrize("system", ["sync", "async"])
def test_a_coordinator_goes_on_from_its_checkpoint(
    star_of: StarOf, system: str, graceful: bool
) -> None:
    star = star_of(3, system, iterations=8, rule=STAY)
    star.start()
    star.settle(until=lambda: len(star.coordinator.kinds("checkpoint_saved")) == 2)
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    member = star.coordinator
    if graceful:
        star.tell("coordinator", ev.StopRequested())
        star.settle(until=lambda: member.close is not None)
    else:
        star.kill("coordinator")
    held = {name: star.members[name].slot for name in star.names}
    star.restart("coordinator", member.states[-1])
    star.settle()
    star.check_closed()
    assert {name: star.members[name].slot for name in star.names} == held, "they keep theirs"
    per_iteration = 3 if system == "async" else 1
    assert len(star.coordinator.learned) == 4 * per_iteration
    assert [f["round"] for f in star.coordinator.kinds("round_finished")] == [3, 4]


def rotated(places: Any, workers: Any) -> dict[int, str]:
    """Every discriminator moves to the next worker."""
    return {slot: workers[(workers.index(w) + 1) % len(workers)] for slot, w in places.items()}


@pytest.mark.parametrize("seed", range(12))
def test_no_discriminator_is_lost_by_a_restart_of_the_coordinator(
    star_of: StarOf, seed: int
) -> None:
    star = star_of(3, "sync", seed=seed, iterations=12, alone_s=500.0, rule={"moved": rotated})
    star.start()
    star.settle(until=lambda: len(star.coordinator.states) == 2)
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    member = star.coordinator
    star.kill("coordinator")
    while ended := [step for step in star.steps() if step[0] != "up"]:
        star.take(ended[0])
    before = {name: len(star.members[name].kinds("vector_dropped")) for name in star.names}
    star.restart("coordinator", member.states[-1])
    star.settle()
    star.check_accounts()
    assert all(slots == (0, 1, 2) for slots in star.coordinator.served), "none is ever lost"
    after = {name: len(star.members[name].kinds("vector_dropped")) for name in star.names}
    assert after == before


def test_where_all_were_started_again_places_are_those_of_the_checkpoint(star_of: StarOf) -> None:
    star = star_of(3, "sync", slots=2, iterations=8, seed=2)
    star.start()
    star.settle(until=lambda: len(star.coordinator.kinds("checkpoint_saved")) == 2)
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    member = star.coordinator
    places = member.machine._placement.places()
    assert places != {0: "w0", 1: "w1"}, "they have moved"
    star.tell("coordinator", ev.StopRequested())
    star.settle(until=lambda: member.close is not None)
    for name in star.names:
        star.kill(name)
    star.restart("coordinator", member.states[-1])
    for name in star.names:
        star.restart(name)
    star.settle(until=lambda: star.coordinator.phase == "generating")
    assert {star.members[name].slot: name for name in places.values()} == places


def test_batches_must_be_as_many_as_were_asked_for(star_of: StarOf) -> None:
    star = star_of(2, "sync")
    star.start()
    star.settle(until=lambda: isinstance(star.coordinator.work, do.Generate))
    with pytest.raises(LocalProtocolError):
        star.coordinator.machine.handle(ev.Generated(payloads=(b"1234",)), star.now)
