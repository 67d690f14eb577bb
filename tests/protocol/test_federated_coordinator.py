"""FL-GAN's coordinator, with workers that behave and workers that do not."""

from collections.abc import Callable
from typing import Any

import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import digest_of, split
from p2pgan.protocol.messages import PROTOCOL_VERSION, Chunk, Hello
from p2pgan.protocol.roles import DeadlineSettings, Federated

StarOf = Callable[..., Any]

LIMITS = {"deadline": DeadlineSettings(first_s=4.0, min_s=1.0), "lost_after_s": 10.0}


def mixed_by_round(star: Any) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for fields in star.coordinator.kinds("vector_mixed"):
        found.setdefault(fields["round"], []).append(fields["peer"])
    return found


def test_everybody_trains_every_round_and_sums_are_in_the_run_s_order(star_of: StarOf) -> None:
    star = star_of(3, "fl", seed=4)
    star.start()
    star.settle()
    assert mixed_by_round(star) == {r: ["w0", "w1", "w2"] for r in (1, 2, 3)}
    for fields in star.coordinator.kinds("vector_mixed"):
        assert fields["purpose"] == "update"
        assert fields["staleness_rounds"] == 0
        assert fields["weight"] == pytest.approx(1 / 3)
    for name in star.names:
        taken = star.members[name].kinds("vector_mixed")
        assert [(f["round"], f["weight"], f["purpose"]) for f in taken] == [
            (r, 1.0, "model") for r in (1, 2, 3)
        ]
        (stopped,) = star.members[name].kinds("node_stopped")
        assert stopped == {"reason": "finished", "iterations": 6, "rounds": 3}


def test_the_last_round_may_be_shorter(star_of: StarOf) -> None:
    star = star_of(2, "fl", iterations=5, exchange_every=3)
    star.start()
    star.settle()
    counts = [f["iterations"] for f in star.coordinator.kinds("round_finished")]
    assert counts == [3, 5]
    assert star.members["w0"].kinds("node_stopped")[0]["iterations"] == 5


def test_of_more_than_are_needed_the_last_is_late(star_of: StarOf) -> None:
    star = star_of(3, "fl", seed=1, rule={"select": lambda ready, round_: (ready, 2)})
    star.start()
    star.settle()
    star.check_accounts()
    assert all(len(workers) == 2 for workers in mixed_by_round(star).values())
    assert star.coordinator.close.reason == "finished"


def test_a_choice_is_of_some(star_of: StarOf) -> None:
    chosen: list[int] = []

    def select(ready: Any, round_: int) -> Any:
        chosen.append(round_)
        return [ready[round_ % len(ready)]], 1

    star = star_of(3, "fl", rule={"select": select})
    star.start()
    star.settle()
    assert chosen == [1, 2, 3]
    assert mixed_by_round(star) == {1: ["w1"], 2: ["w2"], 3: ["w0"]}


def test_a_frozen_worker_costs_the_deadline_and_its_update_is_late(star_of: StarOf) -> None:
    star = star_of(3, "fl", **LIMITS, alone_s=99.0)
    star.start()
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    star.frozen.add("w1")
    star.settle(until=lambda: star.coordinator.kinds("round_finished") != [])
    assert star.now == 4.0, "the first deadline, and no more"
    assert mixed_by_round(star) == {1: ["w0", "w2"]}
    assert star.coordinator.kinds("peer_suspected") == [{"peer": "w1"}]
    star.frozen.clear()
    star.settle()
    star.check_accounts()
    star.check_closed()
    assert star.now == 4.0, "it is asked again, and answers"


def test_who_stays_silent_is_asked_no_more(star_of: StarOf) -> None:
    star = star_of(2, "fl", **LIMITS, iterations=20, wait_s=1.0)
    star.start()
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    star.frozen.add("w1")
    star.settle(until=lambda: len(star.coordinator.kinds("round_finished")) == 9)
    assert star.now == 4.0, "one deadline, not one of each round"
    star.now = star.coordinator.timers["silence"]
    star.take(("timer", "coordinator", "silence"))
    assert star.now == 10.0
    assert star.coordinator.kinds("peer_lost") == [{"peer": "w1", "reason": "silent"}]
    star.settle(until=lambda: star.coordinator.close is not None)
    assert star.coordinator.close.reason == "finished"
    sent = [f["peer"] for f in star.coordinator.kinds("vector_sent")]
    assert (sent.count("w0"), sent.count("w1")) == (10, 1)


def test_a_round_may_take_longer_than_the_first_deadline_and_any_patience(star_of: StarOf) -> None:
    star = star_of(3, "fl", **LIMITS, alone_s=99.0, seed=1, work_s={do.Train: 50.0})
    star.start()
    star.settle()
    assert star.now == 150.0
    assert mixed_by_round(star) == {r: ["w0", "w1", "w2"] for r in (1, 2, 3)}
    assert not star.logged("vector_dropped")
    assert not star.coordinator.kinds("peer_suspected")


def test_a_worker_that_is_slower_than_the_first_is_waited_for(star_of: StarOf) -> None:
    star = star_of(2, "fl", **LIMITS, alone_s=99.0, work_s={do.Train: 20.0}, slower={"w1": 3.0})
    star.start()
    star.settle()
    assert mixed_by_round(star) == {r: ["w0", "w1"] for r in (1, 2, 3)}


def test_when_all_become_slow_none_of_their_work_is_lost(star_of: StarOf) -> None:
    """The first that answers is not the whole round, though all were given up."""
    star = star_of(3, "fl", **LIMITS, alone_s=99.0, iterations=20)
    star.start()
    star.settle(until=lambda: len(star.coordinator.kinds("round_finished")) == 5)
    star.work_s[do.Train] = 50.0
    star.settle()
    lost = [f for f in star.coordinator.kinds("peer_lost") if f["reason"] == "silent"]
    assert len(lost) >= 3
    assert mixed_by_round(star) == {r: ["w0", "w1", "w2"] for r in range(1, 11)}
    assert not star.logged("vector_dropped")


def test_with_workers_that_hang_it_does_not_wait_for_ever(star_of: StarOf) -> None:
    star = star_of(2, "fl", **LIMITS, alone_s=7.0, iterations=40)
    star.start()
    star.settle(until=lambda: len(star.coordinator.kinds("round_finished")) == 9)
    star.work_s[do.Train] = 1e9
    star.settle(until=lambda: star.coordinator.close is not None)
    assert star.coordinator.close.reason == "alone"
    assert star.now == 10.0 + 7.0
    assert star.coordinator.kinds("checkpoint_saved")


def test_one_that_was_asked_twice_may_answer_twice(star_of: StarOf) -> None:
    star = star_of(1, "fl", **LIMITS, iterations=2)
    star.start()
    star.settle(until=lambda: star.members["w0"].phase == "training")
    star.take(("down", "coordinator", "w0"))
    star.take(("up", "coordinator", "w0"))
    link = star.coordinator.machine._neighborhood.links["w0"]
    round_one = do.SendVector(
        peer="coordinator",
        exchange=f"w0.{link.boot[:8]}.900",
        nets=("G", "D"),
        round=1,
        clock=1,
        purpose="update",
    )
    star.settle(until=lambda: isinstance(star.coordinator.work, do.Average))
    ((chunk, payload),) = split(bytes(32), round_one, chunk_bytes=64)
    star.tell("coordinator", ev.Received(route=link.route, message=chunk, payload=payload))
    assert star.coordinator.kinds("vector_dropped")[-1]["reason"] == "late"
    assert link.faults == 0


def test_a_round_that_nobody_answers_is_played_again(star_of: StarOf) -> None:
    star = star_of(1, "fl", **LIMITS)
    star.start()
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    star.take(("down", "coordinator", "w0"))
    assert star.coordinator.phase == "assembling"
    star.settle()
    star.check_closed()
    star.check_accounts()
    assert set(mixed_by_round(star)) == {1, 2, 3}


def test_who_joins_late_takes_part_in_the_next_round(star_of: StarOf) -> None:
    star = star_of(3, "fl", wait_s=1.0, iterations=8)
    star.start("coordinator", "w0", "w1")
    star.settle(until=lambda: star.coordinator.kinds("round_finished") != [])
    star.start("w2")
    star.settle()
    star.check_closed()
    assert mixed_by_round(star)[1] == ["w0", "w1"]
    assert mixed_by_round(star)[4] == ["w0", "w1", "w2"]


def test_a_model_of_another_size_is_refused_on_both_sides(star_of: StarOf) -> None:
    star = star_of(2, "fl", overrides={"w1": {"system": Federated(model_bytes=28)}}, **LIMITS)
    star.start()
    star.settle()
    star.check_accounts()
    assert star.coordinator.close.reason == "finished"
    ours = [(f["peer"], f["reason"]) for f in star.coordinator.kinds("vector_dropped")]
    theirs = [(f["peer"], f["reason"]) for f in star.members["w1"].kinds("vector_dropped")]
    assert ("w1", "size") in ours
    assert ("coordinator", "size") in theirs


def test_another_architecture_is_refused_on_both_sides(star_of: StarOf) -> None:
    star = star_of(2, "fl", overrides={"w1": {"architecture": "other"}}, wait_s=1.0)
    star.start()
    star.settle()
    assert star.coordinator.close.reason == "finished"
    assert star.members["w1"].close.reason == "refused"
    assert "refuses this node" in star.members["w1"].close.failure
    reasons = {(f["peer"], f["reason"]) for f in star.coordinator.kinds("peer_refused")}
    assert ("w1", "architecture") in reasons


@pytest.mark.parametrize("graceful", [True, False])
def test_a_coordinator_goes_on_from_its_checkpoint(star_of: StarOf, graceful: bool) -> None:
    star = star_of(2, "fl", iterations=8)
    star.start()
    star.settle(until=lambda: len(star.coordinator.kinds("round_finished")) == 2)
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    member = star.coordinator
    if graceful:
        star.tell("coordinator", ev.StopRequested())
        star.settle(until=lambda: member.close is not None)
    else:
        star.kill("coordinator")
    assert all(star.members[name].close is None for name in star.names)
    star.restart("coordinator", member.states[-1])
    star.settle()
    star.check_closed()
    star.check_accounts()
    rounds = [f["round"] for f in star.coordinator.kinds("round_finished")]
    assert rounds == [3, 4]
    assert star.coordinator.log[0].clock > 1, "the clock goes on"
    assert all(star.members[name].close.reason == "finished" for name in star.names)


def test_a_finished_run_that_is_resumed_has_nothing_to_do(star_of: StarOf) -> None:
    star = star_of(1, "fl")
    star.start()
    star.settle()
    star.restart("coordinator", star.coordinator.states[-1])
    star.restart("w0")
    star.settle()
    star.check_closed()
    assert star.coordinator.kinds("round_finished") == []
    assert star.coordinator.close.reason == "finished"


def test_weights_must_be_of_the_updates(star_of: StarOf) -> None:
    star = star_of(1, "fl")
    star.start()
    star.settle(until=lambda: isinstance(star.coordinator.work, do.Average))
    with pytest.raises(LocalProtocolError):
        star.coordinator.machine.handle(ev.AveragingDone(weights=(("x", 1.0),)), star.now)


def round_of(star: Any) -> int:
    """The round that is played."""
    return 1 + int(star.coordinator.machine.statistics().round)


def test_what_comes_twice_is_no_answer_and_no_new_call(star_of: StarOf) -> None:
    """A hello that was said again, or an update of the last round: the answer is still waited for,
    and nobody takes the worker's silence for its end."""
    star = star_of(2, "fl", iterations=6)
    star.start()
    held = ("work", "w0")
    star.settle(
        lambda steps: next((s for s in steps if s != held or round_of(star) == 1), held),
        until=lambda: star.coordinator.phase == "collecting" and round_of(star) == 2,
    )
    machine = star.coordinator.machine
    owed = machine._debtors["w0"].owed
    assert owed == (2, 0)
    link = machine._neighborhood.links["w0"]
    hello = Hello(
        clock=1,
        protocol=PROTOCOL_VERSION,
        run="run",
        node="w0",
        architecture="same",
        boot=link.boot,
    )
    star.tell("coordinator", ev.Received(route=link.route, message=hello))
    update = Chunk(
        clock=1,
        exchange=f"w0.{link.boot[:8]}.1",
        nets=("G", "D"),
        round=1,
        begin=0,
        end=32,
        total_bytes=32,
        digest=digest_of(bytes(32)),
        purpose="update",
    )
    star.tell("coordinator", ev.Received(route=link.route, message=update, payload=bytes(32)))
    assert star.coordinator.kinds("vector_dropped")[-1]["reason"] == "repeated"
    assert machine._debtors["w0"].owed == owed
    star.settle()
    star.check_closed()
