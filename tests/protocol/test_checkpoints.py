"""Nodes that save amid the run, with a disk that may be full, and go on from there."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.mixing.merging import SumWeights
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.keeping import State

PartyOf = Callable[..., Any]
PAIR = [("A", "B")]


def lives(party: Any, node: str, *kinds: str) -> list[str]:
    """The kinds of a node's records, of those that are asked for, in order."""
    return [record.kind for record in party.members[node].log if record.kind in kinds]


def test_a_peer_saves_every_so_many_rounds_and_at_the_end(party_of: PartyOf) -> None:
    party = party_of(PAIR, iterations=10, checkpoint_every=2, is_scored=lambda done: done == 4)
    party.start()
    party.settle()
    party.check_closed()
    party.check_accounts()
    saved = party.members["A"].kinds("checkpoint_saved")
    assert [fields["iterations"] for fields in saved] == [4, 8, 10]
    kinds = lives(party, "A", "round_finished", "scores", "checkpoint_saved")
    assert kinds[-6:] == [
        *("round_finished", "scores", "checkpoint_saved"),  # round 4
        *("round_finished", "scores", "checkpoint_saved"),
    ]


def test_without_checkpoints_it_saves_at_the_end_alone(party_of: PartyOf) -> None:
    party = party_of(PAIR)
    party.start()
    party.settle()
    assert len(party.members["A"].kinds("checkpoint_saved")) == 1


def test_a_full_disk_amid_the_run_is_told_and_borne(party_of: PartyOf) -> None:
    party = party_of(PAIR, checkpoint_every=1)
    party.members["A"].has_full_disk = True
    party.start()

    def is_last() -> bool:
        return len(party.members["A"].kinds("round_finished")) == 3

    party.settle(until=is_last)
    party.members["A"].has_full_disk = False
    party.settle()
    party.check_closed()
    party.check_accounts()
    failed = party.members["A"].kinds("checkpoint_failed")
    assert failed == [{"reason": "no room"}, {"reason": "no room"}]
    assert len(party.members["A"].kinds("checkpoint_saved")) == 1
    assert party.members["A"].close.failure == ""


def test_a_full_disk_at_the_end_is_a_failure(party_of: PartyOf) -> None:
    party = party_of(PAIR, checkpoint_every=1)
    party.members["A"].has_full_disk = True
    party.start()
    party.settle()
    party.check_closed()
    close = party.members["A"].close
    assert (close.reason, close.failure) == ("failed", "no room")
    assert party.members["A"].kinds("node_stopped")[0]["rounds"] == 3
    assert party.members["B"].close.reason == "finished"


def test_a_stop_while_it_saves_saves_again_and_leaves(party_of: PartyOf) -> None:
    party = party_of(PAIR, checkpoint_every=1)
    party.start()
    party.settle(until=lambda: party.members["A"].phase == "keeping")
    party.tell("A", ev.StopRequested())
    party.settle()
    party.check_closed()
    assert party.members["A"].close.reason == "stopped"
    assert len(party.members["A"].kinds("checkpoint_saved")) == 2


def test_room_that_is_made_at_the_end_is_found(party_of: PartyOf) -> None:
    party = party_of(PAIR)
    party.members["A"].has_full_disk = True
    party.start()
    party.settle(until=lambda: bool(party.members["A"].kinds("checkpoint_failed")))
    assert party.members["A"].phase == "saving"
    assert party.members["A"].machine.statistics().save_problem == "no room"
    party.members["A"].has_full_disk = False
    party.settle()
    party.check_closed()
    assert party.members["A"].close.reason == "finished"
    assert party.members["A"].machine.statistics().save_problem == ""
    assert len(party.members["A"].kinds("checkpoint_saved")) == 1


def test_where_time_counts_a_peer_saves_at_the_end_of_a_round(party_of: PartyOf) -> None:
    party = party_of(PAIR, iterations=20, checkpoint_s=25.0)
    party.work_s = {do.Train: 10.0}
    party.start()
    party.settle()
    saved = [fields["iterations"] for fields in party.members["A"].kinds("checkpoint_saved")]
    assert saved == [6, 12, 18, 20]


def test_after_a_failure_the_next_try_comes_soon_and_then_later(party_of: PartyOf) -> None:
    """It cuts a round short, which is gone on with."""
    party = party_of(PAIR, iterations=8, checkpoint_s=60.0)
    party.work_s = {do.Train: 100.0}
    party.members["A"].has_full_disk = True
    party.start()
    failed: list[float] = []

    def note() -> bool:
        if len(party.members["A"].kinds("checkpoint_failed")) > len(failed):
            failed.append(party.now)
        return len(failed) == 4

    party.settle(until=note)
    waits = [later - earlier for earlier, later in pairwise(failed)]
    assert waits == pytest.approx([2.0, 4.0, 8.0], abs=0.5)
    party.members["A"].has_full_disk = False
    party.settle()
    party.check_closed()
    party.check_accounts()
    assert party.members["A"].close.reason == "finished"
    (stopped,) = party.members["A"].kinds("node_stopped")
    assert (stopped["iterations"], stopped["rounds"]) == (8, 4)


def test_who_is_asked_for_a_checkpoint_saves_amid_a_round_and_goes_on(party_of: PartyOf) -> None:
    party = party_of(PAIR, iterations=6)
    party.start()
    party.settle(until=lambda: party.members["A"].phase == "training")
    party.tell("A", ev.CheckpointRequested())
    party.tell("A", ev.CheckpointRequested())
    assert party.members["A"].stopped_training
    party.settle()
    party.check_closed()
    party.check_accounts()
    saved = [fields["iterations"] for fields in party.members["A"].kinds("checkpoint_saved")]
    assert len(saved) == 2
    assert saved[0] < saved[1] == 6
    assert len(party.members["A"].kinds("round_finished")) == 3


@pytest.mark.parametrize("system", ["fl", "sync", "async"])
def test_a_coordinator_that_is_asked_saves_after_its_round(
    star_of: Callable[..., Any], system: str
) -> None:
    star = star_of(2, system, checkpoint_every=0)
    star.start()
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    star.tell("coordinator", ev.CheckpointRequested())
    star.settle()
    star.check_closed()
    assert len(star.coordinator.kinds("checkpoint_saved")) == 2


def test_a_peer_remembers_what_it_has_met_and_what_it_weighs(party_of: PartyOf) -> None:
    overrides = {node: {"weighting": SumWeights(conserves=False)} for node in "AB"}
    party = party_of(PAIR, iterations=20, checkpoint_every=1, overrides=overrides)
    party.start()
    party.settle(until=lambda: len(party.members["A"].kinds("vector_mixed")) == 3)
    party.settle(until=lambda: party.members["A"].phase == "keeping")
    first = party.members["A"]
    told = msgspec.msgpack.decode(first.states[-1], type=State)
    assert told.weight == first.machine.weight
    assert told.met["B"].latest > 0
    again = {"A": {"state": first.states[-1], "weighting": SumWeights(conserves=False)}}
    second = party_of(PAIR, iterations=20, overrides=again).members["A"].machine
    assert second.weight == first.machine.weight != 1.0
    after = msgspec.msgpack.decode(second._state(), type=State)
    assert after == told


@pytest.mark.parametrize("system", ["fl", "sync", "async"])
def test_a_coordinator_bears_a_full_disk_as_well(star_of: Callable[..., Any], system: str) -> None:
    star = star_of(2, system)
    star.members["coordinator"].has_full_disk = True
    star.start()
    star.settle(until=lambda: bool(star.coordinator.kinds("checkpoint_failed")))
    assert star.coordinator.phase not in ("leaving", "closed")
    star.members["coordinator"].has_full_disk = False
    star.settle()
    star.check_closed()
    assert star.coordinator.close.reason == "finished"
    assert star.coordinator.kinds("checkpoint_saved")


def state(round_: int, iterations: int) -> bytes:
    """What a peer has saved that has exchanged nothing."""
    return msgspec.msgpack.encode(State(round=round_, iterations=iterations, clock=9))


# -- going on --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("done", "asked", "rounds"),
    [
        (0, [2, 2, 2, 1], 4),
        (2, [2, 2, 1], 4),
        (3, [1, 2, 1], 4),
        (6, [1], 4),
        (7, [0], 4),
    ],
)
def test_a_peer_goes_on_where_it_was(
    party_of: PartyOf, done: int, asked: list[int], rounds: int
) -> None:
    """Rounds keep their length and their numbers, also where one was cut short, or was the last."""
    party = party_of(PAIR, iterations=7, overrides={"A": {"state": state(done // 2, done)}})
    party.start()
    trained: list[int] = []
    work: list[Any] = [None]

    def note() -> bool:
        now = party.members["A"].work
        if isinstance(now, do.Train) and now is not work[0]:
            trained.append(now.iterations)
        work[0] = now
        return False

    party.settle(until=note)
    party.check_closed()
    party.check_accounts()
    assert trained == asked
    (stopped,) = party.members["A"].kinds("node_stopped")
    assert stopped == {"reason": "finished", "iterations": 7, "rounds": rounds}
    numbers = [fields["round"] for fields in party.members["A"].kinds("round_finished")]
    assert numbers == list(range(rounds + 1 - len(asked), rounds + 1))
    assert party.members["A"].kinds("scores")[-1]["iterations"] == 7


@pytest.mark.parametrize("name", ["agree", "average"])
def test_one_that_had_finished_takes_the_last_step_with_the_others(
    party_of: PartyOf, last_step: Any, name: str
) -> None:
    edges = [("A", "B"), ("B", "C"), ("C", "A")]
    steps = last_step(name, edges, rounds=3)
    party = party_of(edges, last_step=steps, overrides={"A": {"state": state(3, 6)}})
    party.start()
    party.settle()
    party.check_closed()
    party.check_accounts()
    after = [fields["after"] for fields in party.members["A"].kinds("scores")]
    assert after == [None, name]


@pytest.mark.parametrize(("round_", "made"), [(3, 7), (4, 6), (1, 1), (0, 3), (-1, 0)])
def test_what_another_run_has_made_cannot_be_gone_on_from(
    party_of: PartyOf, round_: int, made: int
) -> None:
    with pytest.raises(LocalProtocolError, match="a run of 6 iterations in rounds of 2"):
        party_of(PAIR, state=state(round_, made))


@pytest.mark.parametrize("data", [b"garbage", b"\x80"])
def test_what_is_no_state_is_refused(party_of: PartyOf, data: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="the state of such a node"):
        party_of(PAIR, state=data)


def test_one_that_was_started_again_is_not_its_own_double(party_of: PartyOf) -> None:
    """B was killed, and is back before A has noticed: it knocks until A has."""
    party = party_of(PAIR)
    party.work_s = {do.Train: 100.0}
    party.start()
    party.settle(until=lambda: party.members["A"].machine.statistics().peers[0].state == "ready")
    again = party_of(PAIR, overrides={"B": {"boot": "second", "is_again": True}}).members["B"]
    party.members["B"] = again
    party.connections["B", "A"].cut()
    party.tell("B", ev.Started())
    party.settle(until=lambda: party.now >= 5.0)
    assert again.phase == "gathering"
    assert again.close is None
    party.connections["A", "B"].cut()
    party.tell("A", ev.LinkDown(peer="B"))
    party.settle(until=lambda: again.phase == "training")
    assert party.now < 7.0
    (peer,) = party.members["A"].machine.statistics().peers
    assert (peer.state, peer.greeted_us) == ("ready", True)
