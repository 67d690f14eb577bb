"""The world: lives, sleep, outages, and that it is the same twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from p2pgan.daemons import DaemonConfig
from p2pgan.protocol import events as ev
from p2pgan.sim.virtual.network import RECONNECT_MAX_S, SILENCE_S
from p2pgan.sim.virtual.world import Moment
from tests.sim.virtual.worlds import Played, outage

Play = Callable[..., Played]
NODES = "0123"
NEVER_SAVES = DaemonConfig(checkpoint_every=0)
RUN_S = 20.0
"""200 iterations of 0.1 s."""

ROUGH = {
    "latency_s": "lognormal:0.05,0.5",
    "loss": 0.05,
    "duplication": 0.05,
    "reordering": 0.05,
    "corruption": 0.02,
}


@pytest.fixture
def prepared(tmp_path: Path) -> Play:
    """A world that has not begun."""
    made: list[Played] = []

    def make(*planned: Any, **settings: Any) -> Played:
        made.append(Played(tmp_path / str(len(made)), planned, **settings))
        return made[-1]

    return make


@pytest.fixture
def played(prepared: Play) -> Play:
    """A world, played to its end."""

    def play(*planned: Any, **settings: Any) -> Played:
        one = prepared(*planned, **settings)
        one.world.run()
        return one

    return play


def test_all_make_their_iterations_and_end_in_good_order(played: Play) -> None:
    one = played()
    assert one.world.is_over
    assert one.world.living == []
    assert one.reasons() == dict.fromkeys(NODES, "finished")
    assert one.world.timeline.now == pytest.approx(RUN_S)
    for node, member in one.world.members.items():
        assert member.statistics().iterations == 200
        assert len(one.told(node, "round_finished")) == 20
        assert one.of(node)[0].event == ev.Started()
    assert one.world.events == len(one.moments)
    assert one.injected == []
    assert one.world.network.messages_lost == 0


def test_everybody_goes_at_its_own_pace(played: Play) -> None:
    one = played(iteration_s={"2": 0.05, "3": 1.0})
    times = {node: one.told(node, "round_finished")[-1][0] for node in NODES}
    assert times == pytest.approx({"0": 20.0, "1": 20.0, "2": 10.0, "3": 200.0})
    assert one.reasons() == dict.fromkeys(NODES, "finished")


def everything(one: Played) -> list[str]:
    """All that has happened and was written, whatever the folder."""
    lines = [repr(it) for it in (*one.moments, *one.records, *one.injected)]
    return [line.replace(str(one.directory.path), "run") for line in lines]


EVENTFUL = (
    outage("crash", "1", 3.0, 7.0),
    outage("freeze", "2", 5.0, 9.0),
    outage("partition", "01", 11.0, 13.0),
    outage("pause", "3", 2.0, 4.0),
    outage("late", "3", 0.0, 1.0),
)


def test_the_same_seed_is_the_same_world(played: Play) -> None:
    """Moment by moment and record by record, with everything that can happen."""
    first, second = (played(*EVENTFUL, virtual=ROUGH) for _ in range(2))
    assert len(first.moments) > 300
    assert everything(first) == everything(second)
    for net, rows in first.cohort.vectors.items():
        assert torch.equal(rows, second.cohort.vectors[net])
    other = played(*EVENTFUL, virtual=ROUGH, seed=1)
    assert everything(other) != everything(first)


# -- lives -----------------------------------------------------------------------------------------


def test_who_crashes_comes_back_as_another_incarnation(played: Play) -> None:
    """From its checkpoint: it makes no iteration of a finished round twice."""
    one = played(outage("crash", "1", 5.05, 8.0))
    starts = [(m.now, m.incarnation) for m in one.of("1", ev.Started)]
    assert starts == [(0.0, 1), (8.0, 2)]
    assert [m for m in one.of("1") if 5.05 <= m.now < 8.0] == []
    assert one.reasons() == dict.fromkeys(NODES, "finished")
    saved = [f["iterations"] for at_s, f in one.told("1", "checkpoint_saved") if at_s < 6.0]
    assert saved[-1] == 50
    made = [(m.incarnation, m.event.iterations) for m in one.of("1", ev.TrainingDone)]  # type: ignore[attr-defined]
    assert made == [(1, 10)] * 5 + [(2, 10)] * 15
    assert one.told("1", "node_stopped")[-1][0] >= 8.0 + 15.0
    boots = [
        m.event.message.boot  # type: ignore[attr-defined]
        for m in one.of("0", ev.Received)
        if getattr(m.event.message, "node", None) == "1"  # type: ignore[attr-defined]
    ]
    assert boots == ["00000001", "00000002"]
    assert one.injected == [(5.05, "crash", "begins"), (8.0, "crash", "ends")]


def test_who_has_saved_nothing_begins_where_it_began(played: Play) -> None:
    one = played(outage("crash", "1", 5.05, 8.0), algorithm="standalone", daemon=NEVER_SAVES)
    assert one.told("1", "node_stopped")[-1][0] == pytest.approx(8.0 + RUN_S)
    whole = played(algorithm="standalone", daemon=NEVER_SAVES)
    for net, rows in whole.cohort.vectors.items():
        torch.testing.assert_close(one.cohort.vectors[net][1], rows[1])


def test_who_crashes_for_good_is_waited_for_by_nobody(played: Play) -> None:
    one = played(outage("crash", "13", 5.0))
    assert one.world.is_over
    assert one.reasons() == {"0": "finished", "1": None, "2": "finished", "3": None}
    assert {m.event.peer for m in one.of("0", ev.LinkDown)} >= {"1", "3"}  # type: ignore[attr-defined]


def test_a_crash_of_who_has_ended_is_none(played: Play) -> None:
    one = played(outage("crash", "1", 12.0, 13.0), iteration_s={"1": 0.01})
    assert one.reasons() == dict.fromkeys(NODES, "finished")
    assert one.world.members["1"].incarnation == 1


def test_who_comes_late_starts_then(played: Play) -> None:
    one = played(outage("late", "2", 0.0, 6.0))
    assert one.of("2")[0] == one.of("2", ev.Started)[0]
    assert one.of("2")[0].now == 6.0
    assert one.injected == [(6.0, "late", "joins")]
    ups = [m.now for m in one.of("0", ev.LinkUp) if m.event == ev.LinkUp(peer="2")]
    assert 6.0 <= ups[0] <= 6.0 + RECONNECT_MAX_S
    assert one.reasons() == dict.fromkeys(NODES, "finished")


# -- sleep -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["freeze", "absence"])
def test_who_is_suspended_hears_everything_once_it_is_awake(played: Play, kind: Any) -> None:
    """In the order in which it happened; a training ends that much later."""
    latency = {"latency_s": "0.01"}
    one = played(outage(kind, "2", 5.05, 9.05), virtual=latency)
    assert [m for m in one.of("2") if 5.05 <= m.now < 9.05] == []
    awake = [m.event for m in one.of("2") if m.now == 9.05]
    heard = [event for event in awake if isinstance(event, ev.Received)]
    assert len({event.route for event in heard}) > 1
    for route in {event.route for event in heard}:
        clocks = [event.message.clock for event in heard if event.route == route]
        assert clocks == sorted(clocks)
    assert [m for m in one.of("2", ev.LinkDown) if m.now < RUN_S] == []
    ends = [m.now for m in one.of("2", ev.TrainingDone)]
    assert ends[4:6] == pytest.approx([5.0, 10.0], abs=0.1)
    assert one.reasons() == dict.fromkeys(NODES, "finished")


def test_who_is_suspended_for_too_long_is_given_up_and_found_again(played: Play) -> None:
    end_s = 3.0 + SILENCE_S + 10.0
    one = played(outage("freeze", "2", 3.0, end_s), iterations=500)
    for node in "013":
        downs = [m.now for m in one.of(node, ev.LinkDown) if m.event == ev.LinkDown(peer="2")]
        assert downs[0] == pytest.approx(3.0 + SILENCE_S)
    awake = [m.event for m in one.of("2") if m.now == end_s]
    assert {event.peer for event in awake if isinstance(event, ev.LinkDown)} == {*"013"}
    assert len(one.of("2", ev.LinkUp)) == 6
    assert one.reasons() == dict.fromkeys(NODES, "finished")


def test_who_sleeps_twice_at_once_wakes_up_after_both(played: Play) -> None:
    one = played(outage("freeze", "2", 3.0, 8.0), outage("absence", "2", 5.0, 12.0))
    assert [m for m in one.of("2") if 3.0 < m.now < 12.0] == []
    assert one.told("2", "node_stopped")[-1][0] == pytest.approx(RUN_S + 9.0)


def test_who_crashes_in_its_sleep_is_suspended_still_when_it_starts(played: Play) -> None:
    one = played(outage("freeze", "2", 3.0, 9.0), outage("crash", "2", 5.0, 7.0))
    assert [(m.now, m.incarnation) for m in one.of("2", ev.Started)] == [(0.0, 1), (9.0, 2)]
    assert one.reasons() == dict.fromkeys(NODES, "finished")


def test_a_pause_keeps_from_training_alone(played: Play) -> None:
    one = played(outage("pause", "2", 5.05, 9.05), virtual={"latency_s": "0.01"})
    there = [m.event for m in one.of("2") if 5.05 <= m.now < 9.05]
    assert any(isinstance(event, ev.Received) for event in there)
    assert not any(isinstance(event, ev.TrainingDone) for event in there)
    assert one.of("2", ev.TrainingDone)[5].now == pytest.approx(10.0, abs=0.1)
    assert one.told("2", "node_stopped")[-1][0] >= RUN_S + 4.0


def test_wishes_are_granted_in_virtual_time(prepared: Play) -> None:
    """A pause that somebody wants: the round stops where it is, 5 iterations in, and goes on."""
    one = prepared(virtual={"latency_s": "0.01"})
    at = one.world.timeline.at
    at(5.6, lambda: one.world.tell("2", ev.PauseRequested()))
    at(6.52, lambda: one.world.tell("2", ev.ScoresRequested()))
    at(9.52, lambda: one.world.tell("2", ev.ResumeRequested()))
    one.world.run()
    assert one.reasons() == dict.fromkeys(NODES, "finished")
    assert [fields["iterations"] for at_s, fields in one.told("2", "scores") if at_s < 9.0] == [55]
    rounds = one.told("2", "round_finished")
    assert not [at_s for at_s, _ in rounds if 5.6 <= at_s < 9.52]
    assert [fields["iterations"] for _, fields in rounds] == list(range(10, 201, 10))
    assert [m for m in one.of("2", ev.Received) if 6.0 <= m.now < 9.0], "it takes vectors meanwhile"
    assert one.told("2", "node_stopped")[-1][0] >= RUN_S + 3.9


def test_sides_of_a_partition_hear_nothing_of_each_other(played: Play) -> None:
    one = played(outage("partition", "01", 5.05, 9.05), virtual={"latency_s": "0.01"})
    heard = {(m.node, by) for m in one.moments if 5.05 <= m.now < 9.05 if (by := sender(m))}
    assert heard
    assert heard <= {("0", "1"), ("1", "0"), ("2", "3"), ("3", "2")}
    after = {(m.node, by) for m in one.moments if m.now >= 9.05 if (by := sender(m))}
    assert ("0", "2") in after
    assert one.injected == [(5.05, "partition", "begins"), (9.05, "partition", "ends")]


def sender(moment: Moment) -> str:
    """Who called, by the route that the network has made up; empty if nobody has."""
    event = moment.event
    return event.route.decode().split(">")[0] if isinstance(event, ev.Received) else ""


def test_a_full_disk_is_for_its_node_and_its_time(played: Play) -> None:
    one = played(outage("full_disk", "2", 5.05, 9.05))
    failed = [at_s for at_s, _ in one.told("2", "checkpoint_failed")]
    assert failed == pytest.approx([6.0, 7.0, 8.0, 9.0])
    assert [one.told(node, "checkpoint_failed") for node in "013"] == [[], [], []]
    assert one.reasons() == dict.fromkeys(NODES, "finished")


# -- the end ---------------------------------------------------------------------------------------


def test_a_stop_reaches_all_and_nobody_comes_any_more(prepared: Play) -> None:
    one = prepared(
        outage("late", "0", 0.0, 15.0),
        outage("crash", "1", 5.0, 15.0),
        outage("freeze", "2", 9.0, 15.0),
        outage("freeze", "3", 12.0, 15.0),
        virtual={"latency_s": "0.01"},
    )
    one.world.run(until_s=10.0)
    assert one.world.timeline.now <= 10.0
    assert one.world.living == ["2", "3"]
    one.world.stop()
    one.world.run()
    assert one.world.is_over
    assert one.reasons() == {"0": None, "1": None, "2": "stopped", "3": "stopped"}
    stopped = {node: one.told(node, "node_stopped")[0][0] for node in "23"}
    assert stopped["2"] >= 15.0 > stopped["3"], "who sleeps hears of it once it is awake"
    begun = [(at_s, kind) for at_s, kind, what in one.injected if what != "ends"]
    assert begun == [(5.0, "crash"), (9.0, "freeze")], "nothing befalls anybody after a stop"


@pytest.mark.parametrize("kind", ["absence", "freeze"])
@pytest.mark.parametrize("stops", [True, False])
def test_nobody_waits_for_who_sleeps_for_ever(prepared: Play, kind: Any, stops: bool) -> None:
    """Whether it runs, has crashed or has not come yet, and whatever comes then."""
    one = prepared(
        outage(kind, "0", 5.0),
        outage("crash", "1", 4.0, 7.0),
        outage(kind, "1", 5.0),
        outage("late", "2", 0.0, 6.0),
        outage(kind, "2", 5.0),
        outage("crash", "0", 9.0, 11.0),
        virtual={"latency_s": "0.01"},
    )
    if stops:
        one.world.timeline.at(10.0, one.world.stop)
    one.world.run()
    assert one.world.is_over
    assert one.world.living == []
    if stops:
        assert one.world.timeline.now == pytest.approx(10.0, abs=1.0)
    assert one.reasons() == {**dict.fromkeys("012"), "3": "stopped" if stops else "finished"}


def test_an_unsaved_vector_is_empty_and_a_saved_one_is_the_network(prepared: Play) -> None:
    one = prepared()
    assert one.world.members["0"].vectors(one.design) == {}
    one.world.run(until_s=1.0)
    one.world.run(until_s=1.95)
    vectors = one.world.members["0"].vectors(one.design)
    assert torch.equal(vectors["G"], one.cohort.vectors["G"][0])
    one.world.run()
    left = one.world.members["0"].vectors(one.design)
    assert torch.equal(left["G"], one.cohort.vectors["G"][0]), "it has ended with them"
