"""What somebody at a node may wish while it runs: that it pauses, goes on, or scores; and hangs."""

from collections.abc import Callable
from typing import Any

import pytest

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do

PAIR = [("A", "B")]
WISHES = [ev.PauseRequested(), ev.ResumeRequested(), ev.ScoresRequested()]


def training_party(party_of: Callable[..., Any], **choices: Any) -> Any:
    """Two peers; A is amid its first round, which takes longer than anything else."""
    party = party_of(PAIR, **{"exchange_every": 10, "iterations": 20, **choices})
    party.work_s = {do.Train: 1.0}
    party.start()
    party.settle(until=lambda: isinstance(party.members["A"].work, do.Train))
    return party


def test_a_pause_ends_the_training_and_keeps_the_round(party_of: Callable[..., Any]) -> None:
    """The round goes on where it was: iterations, losses and seconds are of both parts."""
    party = training_party(party_of)
    a = party.members["A"]
    party.tell("A", ev.PauseRequested())
    assert a.stopped_training
    assert a.machine.statistics().is_paused
    party.settle(until=lambda: party.members["B"].close is not None)
    assert a.phase == "paused"
    assert not a.kinds("round_finished")
    assert a.kinds("vector_received"), "a node that pauses takes vectors"
    party.tell("A", ev.ResumeRequested())
    assert a.work == do.Train(iterations=5)
    party.settle()
    party.check_closed()
    party.check_accounts()
    first, second = a.kinds("round_finished")
    assert (first["iterations"], second["iterations"]) == (10, 20)
    assert first["loss_g"] == 0.5
    assert first["train_s"] == pytest.approx(0.2)
    assert second["train_s"] == pytest.approx(0.1)


def test_a_pause_amid_other_work_comes_after_it(party_of: Callable[..., Any]) -> None:
    party = training_party(party_of, iterations=100)
    a = party.members["A"]
    party.work_s = {do.Mix: 1.0}
    party.settle(until=lambda: a.phase == "mixing")
    rounds = len(a.kinds("round_finished"))
    party.tell("A", ev.PauseRequested())
    party.settle(until=lambda: a.phase == "paused")
    assert len(a.kinds("round_finished")) == rounds + 1
    party.tell("A", ev.ResumeRequested())
    party.settle()
    party.check_closed()
    party.check_accounts()


def test_a_pause_before_the_others_are_there_lasts(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR)
    party.start("A")
    party.tell("A", ev.PauseRequested())
    party.start("B")
    party.settle(until=lambda: party.members["A"].phase == "paused")
    assert party.members["A"].work is None


def test_whoever_goes_on_before_the_training_has_ended_loses_nothing(
    party_of: Callable[..., Any],
) -> None:
    party = training_party(party_of)
    for wish in (ev.PauseRequested(), ev.ResumeRequested()):
        party.tell("A", wish)
    party.settle()
    party.check_closed()
    assert [f["iterations"] for f in party.members["A"].kinds("round_finished")] == [10, 20]


@pytest.mark.parametrize("has_paused", [False, True])
def test_a_node_that_pauses_can_be_stopped(party_of: Callable[..., Any], has_paused: bool) -> None:
    party = training_party(party_of)
    party.tell("A", ev.PauseRequested())
    if has_paused:
        party.settle(until=lambda: party.members["A"].phase == "paused")
    party.tell("A", ev.StopRequested(reason="stopped"))
    party.settle()
    party.check_closed()
    stopped = party.members["A"].kinds("node_stopped")[0]
    assert stopped == {"reason": "stopped", "iterations": 5, "rounds": 0}
    assert party.members["A"].kinds("checkpoint_saved")


@pytest.mark.parametrize("exchange", ["push", "pair"])
def test_the_others_go_on_while_one_pauses(party_of: Callable[..., Any], exchange: str) -> None:
    party = training_party(party_of, exchange=exchange)
    party.tell("A", ev.PauseRequested())
    party.settle(until=lambda: len(party.members["B"].kinds("round_finished")) == 2)
    assert party.members["A"].phase == "paused"
    party.tell("A", ev.ResumeRequested())
    party.settle()
    party.check_closed()
    party.check_accounts()


@pytest.mark.parametrize("is_paused", [False, True])
def test_scores_come_amid_a_round(party_of: Callable[..., Any], is_paused: bool) -> None:
    party = training_party(party_of)
    a = party.members["A"]
    assert a.machine.statistics().scores is None
    if is_paused:
        party.tell("A", ev.PauseRequested())
        party.settle(until=lambda: a.phase == "paused")
    party.tell("A", ev.ScoresRequested())
    party.settle(until=lambda: a.kinds("scores"))
    scores = a.machine.statistics().scores
    assert (scores.round, scores.iterations, scores.fid, scores.ms) == (0, 5, 1.0, 2.0)
    assert a.phase == ("paused" if is_paused else "training")
    party.tell("A", ev.ResumeRequested())
    party.settle()
    party.check_closed()
    assert [f["iterations"] for f in a.kinds("round_finished")] == [10, 20]
    assert a.machine.statistics().scores.iterations == 20


@pytest.mark.parametrize("wish", WISHES, ids=lambda wish: type(wish).__name__)
def test_who_is_about_to_end_grants_nothing(party_of: Callable[..., Any], wish: Any) -> None:
    party = training_party(party_of)
    machine = party.members["A"].machine
    party.tell("A", ev.StopRequested())
    assert "about to end" in machine.objection(wish)
    party.tell("A", wish)
    party.settle()
    party.check_closed()
    assert "about to end" in machine.objection(wish)


def test_who_has_made_its_iterations_has_nothing_to_pause(
    party_of: Callable[..., Any], last_step: Any
) -> None:
    party = party_of(PAIR, last_step=last_step("agree", PAIR, rounds=2))
    party.start()
    party.settle(until=lambda: party.members["A"].phase == "settling")
    machine = party.members["A"].machine
    for wish in (ev.PauseRequested(), ev.ScoresRequested()):
        assert "iterations" in machine.objection(wish)
        party.tell("A", wish)
    party.settle()
    party.check_closed()


@pytest.mark.parametrize("wish", WISHES, ids=lambda wish: type(wish).__name__)
def test_nodes_with_a_coordinator_say_that_they_cannot(
    star_of: Callable[..., Any], wish: Any
) -> None:
    star = star_of(2, "fl")
    star.start()
    for node, member in star.members.items():
        assert "without a coordinator" in member.machine.objection(wish)
        star.tell(node, wish)
    star.settle()
    star.check_closed()


def test_hanging_work_is_told_once_and_so_is_its_end(party_of: Callable[..., Any]) -> None:
    party = training_party(party_of)
    machine = party.members["A"].machine
    for is_stalled in (True, True, False, False):
        party.tell("A", ev.WorkStalled(is_stalled=is_stalled))
        assert machine.statistics().is_degraded == is_stalled
    party.settle()
    party.check_closed()
    told = party.members["A"].kinds("node_degraded")
    assert told == [{"is_degraded": True}, {"is_degraded": False}]


@pytest.mark.parametrize("seed", range(20))
def test_wishes_at_any_moment_lose_nothing(party_of: Callable[..., Any], seed: int) -> None:
    """At random, by the party's own draws; in the end all is resumed."""
    party = party_of(PAIR, seed=seed, iterations=20, exchange_every=4)
    party.work_s = {do.Train: 1.0}
    party.start()
    for _ in range(60):
        party.settle(until=lambda: bool(party.rng.integers(2)))
        for node in party.members:
            if party.rng.integers(3) == 0:
                party.tell(node, WISHES[int(party.rng.integers(len(WISHES)))])
    for node in party.members:
        party.tell(node, ev.ResumeRequested())
    party.settle()
    party.check_closed()
    party.check_accounts()
    for node in party.members.values():
        assert node.kinds("node_stopped")[0] == {
            "reason": "finished", "iterations": 20, "rounds": 5
        }  # fmt: skip


def test_who_pauses_saves_at_once_and_pauses_on(party_of: Callable[..., Any]) -> None:
    party = party_of([("A", "B")], iterations=20)
    party.start()
    party.settle(until=lambda: party.members["A"].phase == "training")
    party.tell("A", ev.PauseRequested())
    party.settle(until=lambda: party.members["A"].phase == "paused")
    party.tell("A", ev.CheckpointRequested())
    party.settle(until=lambda: bool(party.members["A"].kinds("checkpoint_saved")))
    assert party.members["A"].phase == "paused"
