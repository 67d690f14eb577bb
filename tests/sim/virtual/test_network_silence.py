"""The simulated network: silence, partitions and crashes."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.node.connection import HIGH_WATER_MARK
from p2pgan.protocol import events as ev
from p2pgan.protocol.messages import LeaveAck
from p2pgan.sim.virtual.network import RECONNECT_MAX_S, SILENCE_S
from tests.sim.virtual.party import Party

# -- silence ---------------------------------------------------------------------------------------

SILENCES = ["the caller", "the callee", "the network", "all of it"]


def fall_silent(party: Party, how: str) -> None:
    if how in ("the caller", "all of it"):
        party.suspend("a")
    if how in ("the callee", "all of it"):
        party.suspend("b")
    if how in ("the network", "all of it"):
        party.network.part(frozenset("b"))


def speak_again(party: Party, how: str) -> None:
    if how in ("the caller", "all of it"):
        party.resume("a")
    if how in ("the callee", "all of it"):
        party.resume("b")
    if how in ("the network", "all of it"):
        party.network.heal(frozenset("b"))


@pytest.mark.parametrize("how", SILENCES)
@given(
    times=st.lists(st.integers(2, 30), max_size=20),
    from_s=st.integers(2, 12),
    lasts_s=st.integers(1, int(SILENCE_S) - 1),
)
def test_a_short_silence_only_delays(how: str, times: list[int], from_s: int, lasts_s: int) -> None:
    """In order. At whole seconds, so that much is due when the silence ends. What somebody has sent
    who sleeps now arrives all the same."""
    party = Party(latency_s=1.0)
    party.say(0)
    party.run(1.0)
    to_s = from_s + lasts_s
    party.timeline.at(from_s, partial(fall_silent, party, how))
    party.timeline.at(to_s, partial(speak_again, party, how))
    for number, at_s in enumerate(sorted(times), 1):
        party.timeline.at(at_s, partial(party.say, number))
        party.timeline.at(at_s, partial(party.answer, number))
    party.run(60.0)
    due_s = [at_s + 1.0 for at_s in sorted(times)]
    late_s = [to_s if from_s <= at_s < to_s else at_s for at_s in due_s]
    for node, kind, asleep in (("b", ev.Received, "the caller"), ("a", ev.Answered, "the callee")):
        expected = due_s if how == asleep else late_s
        heard = [at_s for at_s, event in party.heard[node] if isinstance(event, kind)]
        assert heard[-len(times) :] == expected or not times
        assert (
            party.clocks(node, kind)[-len(times) :] == list(range(1, len(times) + 1)) or not times
        )
        assert party.of(node, ev.LinkDown) == []
    assert party.network.messages_lost == 0
    assert party.in_flight() == 0


@pytest.mark.parametrize("how", SILENCES)
def test_a_long_silence_cuts_connections(how: str) -> None:
    """What was on its way to who hears nothing is lost; who is awake gets it."""
    to_b = HIGH_WATER_MARK if how != "the caller" else 0
    to_a = 2 if how != "the callee" else 0
    party = Party(latency_s=1.0)
    party.say(0)
    party.run(1.0)
    first = party.route()
    begun_s = party.timeline.now
    fall_silent(party, how)
    party.say(*range(1, HIGH_WATER_MARK + 4))
    party.answer(1, 2)
    party.run(SILENCE_S - 0.5)
    assert party.is_linked()
    party.run(SILENCE_S)
    for node in "ab":
        downs = [at_s for at_s, event in party.heard[node] if isinstance(event, ev.LinkDown)]
        assert downs == [begun_s + SILENCE_S]
    assert not party.is_linked()
    assert party.network.messages_lost == to_b + to_a
    party.answer(3)
    assert party.network.messages_lost == to_b + to_a + 1
    speak_again(party, how)
    party.say(100)
    party.run(RECONNECT_MAX_S + 2.0)
    assert [len(party.of(node, ev.LinkUp)) for node in "ab"] == [2, 2]
    came = [] if to_b else list(range(1, HIGH_WATER_MARK + 4))
    assert party.clocks() == [0, *came, 100], "nothing of the old connection has come late"
    assert party.clocks("a", ev.Answered) == ([] if to_a else [1, 2])
    assert party.route() != first


def test_silence_counts_from_its_beginning_whatever_its_causes() -> None:
    """Suspended, and before that is over, on another side: at no time in between was it heard."""
    party = Party()
    party.suspend("b")
    party.run(10.0)
    party.network.part(frozenset("b"))
    party.resume("b")
    party.run(SILENCE_S - 10.5)
    assert party.is_linked()
    party.run(1.0)
    assert not party.is_linked()


def test_silence_begins_anew_once_something_was_heard() -> None:
    party = Party()
    for _ in range(3):
        party.suspend("b")
        party.run(SILENCE_S - 1.0)
        party.resume("b")
        party.run(0.0)
    assert party.is_linked()


def test_a_partition_is_between_its_sides_only() -> None:
    party = Party("abc")
    party.network.part(frozenset("ab"))
    party.say(1)
    party.say(2, to="c")
    party.run(2 * SILENCE_S)
    assert party.clocks("b") == [1]
    assert party.clocks("c") == []
    assert party.of("b", ev.LinkDown) == party.of("a", ev.LinkDown) == [ev.LinkDown(peer="c")]
    assert {event.peer for event in party.of("c", ev.LinkDown)} == {"a", "b"}


def test_of_two_partitions_each_keeps_its_own() -> None:
    party = Party("abc")
    party.network.part(frozenset("a"))
    party.network.part(frozenset("ab"))
    party.network.heal(frozenset("a"))
    party.say(1)
    party.say(2, to="c")
    party.run(1.0)
    assert (party.clocks("b"), party.clocks("c")) == ([1], [])
    party.network.heal(frozenset("ab"))
    party.run(0.0)
    assert party.clocks("c") == [2]


# -- crashes ---------------------------------------------------------------------------------------


def test_what_the_dead_have_said_still_arrives() -> None:
    party = Party(latency_s=1.0)
    party.say(0)
    party.run(1.0)
    party.say(1, 2)
    party.say(3, by="b", to="a")
    party.answer(4)
    party.crash("b")
    party.say(5)
    party.run(60.0)
    assert party.clocks() == [0]
    assert party.clocks("a") == [3]
    assert party.clocks("a", ev.Answered) == [4]
    downs = [at_s for at_s, event in party.heard["a"] if isinstance(event, ev.LinkDown)]
    assert downs == [3.0], "after the last answer"
    assert isinstance(party.heard["a"][-1][1], ev.LinkDown)
    assert party.network.messages_lost == 3
    assert party.in_flight() == 0


def test_answers_to_the_dead_are_lost_and_counted() -> None:
    party = Party(latency_s=1.0)
    party.say(0)
    party.run(1.0)
    party.answer(1)
    party.crash("a")
    party.answer(2)
    party.run(60.0)
    assert party.of("a", ev.Answered) == []
    assert party.network.messages_lost == 2
    sent, _ = party.ends["b"].tallies.take()
    assert sent["leave_ack"].messages == 1, "the second was never sent"


@pytest.mark.parametrize("dead", ["a", "b"])
@pytest.mark.parametrize("after_s", [0.0, 0.5, 20.0])
def test_who_comes_back_has_a_new_connection(dead: str, after_s: float) -> None:
    """What it had queued is gone with it, and nobody answers its former life."""
    party = Party(latency_s=1.0)
    party.say(0)
    party.run(1.0)
    first = party.route()
    if dead == "a":
        party.say(*range(1, HIGH_WATER_MARK + 9))
    party.crash(dead)
    party.run(after_s)
    party.start(dead)
    party.run(30.0)
    said = party.clocks()
    party.say(1000)
    party.run(1.0)
    assert party.clocks() == [*said, 1000]
    assert said == list(range(HIGH_WATER_MARK + 1)) if dead == "a" else said == [0]
    assert party.route() != first
    assert [len(party.of(node, ev.LinkUp)) for node in "ab"] == [2, 2]
    assert [len(party.of(node, ev.LinkDown)) for node in "ab"] == [dead == "b", dead == "a"]
    lost = party.network.messages_lost
    party.answer(1, route=first)
    assert party.network.messages_lost == lost + 1
    party.answer(2)
    party.run(1.0)
    assert party.clocks("a", ev.Answered) == [2]


def test_nobody_answers_for_another() -> None:
    """A route belongs to who was called."""
    party = Party("abc")
    party.say(1)
    party.run(0.0)
    party.ends["c"].reply(party.route(), LeaveAck(clock=1))
    party.run(0.0)
    assert party.of("a", ev.Answered) == []
    assert party.network.messages_lost == 1


@pytest.mark.parametrize("how", ["the callee", "the network"])
def test_who_dies_unheard_takes_along_what_nobody_took(how: str) -> None:
    """Everything that was sent has arrived or is counted."""
    party = Party(latency_s=1.0)
    fall_silent(party, how)
    party.say(1)
    party.run(1.0)
    party.say(2)
    party.crash("a")
    party.run(1.0)
    speak_again(party, how)
    party.run(60.0)
    assert party.of("b", ev.Received) == []
    assert party.network.messages_lost == 2


def test_what_waits_for_a_lost_peer_can_be_forgotten() -> None:
    party = Party(late="b")
    party.say(1, 2)
    party.ends["a"].forget("b")
    party.say(3)
    party.start("b")
    party.run(RECONNECT_MAX_S)
    assert party.clocks() == [3]


@pytest.mark.parametrize("heals", [True, False])
def test_a_crash_where_nobody_hears_of_it_is_silence(heals: bool) -> None:
    """Its caller is told when the network is whole again, or when the silence lasts too long."""
    party = Party()
    party.run(1.0)
    side = frozenset("b")
    party.timeline.at(2.0, partial(party.network.part, side))
    party.timeline.at(3.0, partial(party.crash, "b"))
    if heals:
        party.timeline.at(9.0, partial(party.network.heal, side))
    party.run(60.0)
    (down_s,) = [at_s for at_s, event in party.heard["a"] if isinstance(event, ev.LinkDown)]
    assert down_s == (9.0 if heals else 2.0 + SILENCE_S)
