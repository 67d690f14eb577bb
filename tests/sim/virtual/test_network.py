"""The simulated network: order, full queues, silence, crashes, and what becomes of messages."""

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.node.connection import HIGH_WATER_MARK
from p2pgan.protocol import events as ev
from p2pgan.protocol.instructions import SendVector
from p2pgan.protocol.messages import Chunk, Leave, LeaveAck
from p2pgan.sim.virtual.links import Delivery
from p2pgan.sim.virtual.network import HELLO_BYTES, RECONNECT_MAX_S, SILENCE_S, Network
from p2pgan.sim.virtual.timeline import Timeline

Way = tuple[float, bool, bool]
"""How long a message takes, whether it is corrupted, whether it overtakes."""

LOST: Sequence[Way] = ()


class Script:
    """Links that do with each message what they are told to; the rest takes `latency_s`."""

    def __init__(self, latency_s: float = 0.0) -> None:
        self.latency_s = latency_s
        self.plan: deque[Sequence[Way]] = deque()
        self.hellos: deque[Sequence[Way]] = deque()
        self.vectors: list[str | None] = []
        """What each message was said to be a chunk of."""

    def passage(
        self, sender: str, receiver: str, size_bytes: int, now: float, *, vector: str | None
    ) -> list[Delivery]:
        plan = self.hellos if size_bytes == HELLO_BYTES else self.plan
        if plan is self.plan:
            self.vectors.append(vector)
        ways = plan.popleft() if plan else [(self.latency_s, False, False)]
        return [Delivery(now + takes_s, *rest) for takes_s, *rest in ways]


class Party:
    """Nodes that all know each other, and all that they have heard, with its time."""

    def __init__(self, nodes: str = "ab", latency_s: float = 0.0, late: str = "") -> None:
        self.timeline, self.script = Timeline(), Script(latency_s)
        self.heard: dict[str, list[tuple[float, ev.Event]]] = {node: [] for node in nodes}
        self.up: set[str] = set()
        self.suspended: set[str] = set()
        around = {node: [other for other in nodes if other != node] for node in nodes}
        rng = np.random.default_rng(0)
        self.network = Network(self.timeline, self.script, around, self, rng)  # type: ignore[arg-type]
        self.ends: dict[str, Any] = {}
        for node in nodes:
            if node not in late:
                self.start(node)
        self.run(latency_s)

    def is_up(self, node: str) -> bool:
        return node in self.up

    def is_suspended(self, node: str) -> bool:
        return node in self.suspended

    def tell(self, node: str, event: ev.Event) -> None:
        assert node in self.up
        self.heard[node].append((self.timeline.now, event))
        if isinstance(event, ev.LinkDown):  # as the host does
            self.ends[node].forget(event.peer)

    def start(self, node: str) -> None:
        self.up.add(node)
        self.ends[node] = self.network.start(node)

    def crash(self, node: str) -> None:
        self.up.remove(node)
        self.network.crash(node)

    def suspend(self, node: str) -> None:
        self.suspended.add(node)
        self.network.suspend(node)

    def resume(self, node: str) -> None:
        self.suspended.remove(node)
        self.network.resume(node)

    def run(self, seconds: float) -> None:
        """Lets all happen that is due until so many seconds from now, which it is then."""
        is_over: list[bool] = []
        self.timeline.after(seconds, lambda: is_over.append(True))
        while not is_over:
            self.timeline.step()
        while self.timeline.next_s == self.timeline.now:
            self.timeline.step()

    def say(self, *numbers: int, by: str = "a", to: str = "b") -> None:
        for number in numbers:
            self.ends[by].send(to, Leave(clock=number))

    def answer(self, *numbers: int, route: bytes | None = None) -> None:
        """`b` to the latest that has said anything."""
        for number in numbers:
            self.ends["b"].reply(route or self.route(), LeaveAck(clock=number))

    def is_linked(self) -> bool:
        """Whether `a` is connected to `b`, as far as it has heard."""
        turns = [
            event for _, event in self.heard["a"] if isinstance(event, ev.LinkUp | ev.LinkDown)
        ]
        about = [event for event in turns if event.peer == "b"]
        return bool(about) and isinstance(about[-1], ev.LinkUp)

    def in_flight(self) -> int:
        """Messages on their way from `a` to `b`, or back, whichever are more."""
        return self.network.backlog("a", "b").in_flight

    def of(self, node: str, kind: type) -> list[Any]:
        return [event for _, event in self.heard[node] if isinstance(event, kind)]

    def clocks(self, node: str = "b", kind: type = ev.Received) -> list[int]:
        return [event.message.clock for event in self.of(node, kind)]

    def route(self, node: str = "b") -> bytes:
        route: bytes = self.of(node, ev.Received)[-1].route
        return route


def test_neighbors_that_start_together_are_connected_at_once() -> None:
    party = Party("abc")
    for node in "abc":
        peers = [event.peer for event in party.of(node, ev.LinkUp)]
        assert sorted(peers) == sorted({*"abc"} - {node})
        assert {at_s for at_s, _ in party.heard[node]} == {0.0}
    assert party.is_linked()


def test_messages_go_there_and_answers_come_back() -> None:
    party = Party(latency_s=0.25)
    party.say(7)
    party.run(0.25)
    assert party.clocks() == [7]
    party.answer(8)
    party.run(0.25)
    assert party.clocks("a", ev.Answered) == [8]
    assert party.of("a", ev.Answered)[0].peer == "b"
    assert party.heard["a"][-1][0] == 0.75


WAYS = st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans())
"""Seconds until it is sent, seconds on its way, and whether it overtakes. Whole ones, so that much
happens at one instant."""


def check_order(sent: Sequence[tuple[float, Way]], arrived: Sequence[tuple[float, int]]) -> None:
    """Everything comes once; what overtakes at its time, the rest in order, never too early and
    never later than what it waits for."""
    assert sorted(number for _, number in arrived) == list(range(len(sent)))
    at_s = {number: when for when, number in arrived}
    kept = [number for _, number in arrived if not sent[number][1][2]]
    assert kept == sorted(kept)
    latest_s = 0.0
    for number, (sent_s, (takes_s, _, overtakes)) in enumerate(sent):
        due_s = sent_s + takes_s
        if not overtakes:
            due_s = latest_s = max(latest_s, due_s)
        assert at_s[number] == due_s


@given(st.lists(WAYS, max_size=30), st.booleans())
def test_only_who_overtakes_leaves_the_order(ways: list[tuple[int, int, bool]], back: bool) -> None:
    party = Party()
    party.say(99)
    party.run(0.0)
    sent = []
    for number, (gap_s, takes_s, overtakes) in enumerate(ways):
        party.run(gap_s)
        way = (float(takes_s), False, overtakes)
        sent.append((party.timeline.now, way))
        party.script.plan.append([way])
        if back:
            party.answer(number)
        else:
            party.say(number)
    party.run(100.0)
    node, kind = ("a", ev.Answered) if back else ("b", ev.Received)
    arrived = [
        (at_s, event.message.clock) for at_s, event in party.heard[node] if isinstance(event, kind)
    ]
    check_order(sent, arrived[0 if back else 1 :])
    assert party.network.messages_lost == 0


def test_so_many_are_on_their_way_and_the_others_wait_in_the_queue() -> None:
    count = 2 * HIGH_WATER_MARK + 1
    party = Party(latency_s=1.0)
    party.say(*range(count))
    assert party.in_flight() == HIGH_WATER_MARK
    party.run(20.0)
    assert party.clocks() == list(range(count))
    times = [at_s for at_s, event in party.heard["b"] if isinstance(event, ev.Received)]
    assert [times.count(at_s) for at_s in (2.0, 3.0, 4.0)] == [64, 64, 1]
    assert party.in_flight() == 0


def test_answers_to_who_does_not_read_are_lost_and_not_counted() -> None:
    """As a router of ZeroMQ does, which has no queue of ours behind it."""
    party = Party(latency_s=1.0)
    party.say(0)
    party.run(1.0)
    party.answer(*range(HIGH_WATER_MARK + 3))
    party.run(1.0)
    assert party.clocks("a", ev.Answered) == list(range(HIGH_WATER_MARK))
    assert party.network.messages_lost == 3
    sent, _ = party.ends["b"].tallies.take()
    assert sent["leave_ack"].messages == HIGH_WATER_MARK


def order(exchange: str) -> SendVector:
    return SendVector(peer="b", exchange=exchange, nets=("G", "D"), round=1, clock=1)


def test_vectors_go_in_chunks_and_both_ends_count_the_same() -> None:
    party = Party(latency_s=1.0)
    data = bytes(range(100)) * 4
    assert party.ends["a"].send_vector(order("a.x.1"), data, 64) is None
    party.say(3)
    party.run(5.0)
    heard = party.of("b", ev.Received)
    assert b"".join(event.payload for event in heard[:-1]) == data
    assert [type(event.message) for event in heard] == [Chunk] * 7 + [Leave]
    (sent, _), (_, received) = (party.ends[node].tallies.take() for node in "ab")
    assert sent == received
    assert (sent["mix"].messages, sent["mix"].payload_bytes) == (1, len(data))


def test_a_vector_that_waits_gives_way_to_a_newer_one() -> None:
    party = Party(latency_s=1.0)
    party.say(*range(HIGH_WATER_MARK))
    assert party.ends["a"].send_vector(order("a.x.1"), bytes(8), 64) is None
    assert party.ends["a"].send_vector(order("a.x.2"), bytes(8), 64) == "a.x.1"
    party.run(5.0)
    assert party.of("b", ev.Received)[-1].message.exchange == "a.x.2"


# -- what the links do -----------------------------------------------------------------------------


def test_what_is_lost_is_counted_and_what_is_doubled_comes_twice() -> None:
    party = Party()
    party.script.plan += [LOST, [(1.0, False, False), (2.0, False, True)]]
    party.say(1, 2, 3)
    party.run(5.0)
    assert party.clocks() == [2, 3, 2]
    assert party.network.messages_lost == 1
    assert party.in_flight() == 0


@given(st.integers(0, 2**32 - 1))
def test_a_changed_bit_makes_a_header_malformed_and_is_not_counted(seed: int) -> None:
    """The other copy is whole."""
    party = Party()
    party.network._rng = np.random.default_rng(seed)
    party.script.plan.append([(1.0, True, False), (1.0, False, False)])
    party.say(1)
    party.run(1.0)
    assert [event.route for event in party.of("b", ev.Malformed)] == [party.route()]
    assert party.clocks() == [1]
    party.script.plan.append([(1.0, True, False)])
    party.answer(2)
    party.run(1.0)
    assert party.of("a", ev.Malformed) == [ev.Malformed(peer="b")]
    assert party.of("a", ev.Answered) == []
    counts = [party.ends[node].tallies.take()[1] for node in "ba"]
    assert counts[0]["leave"].messages == 1
    assert counts[1] == {}


CHUNKS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9
)
"""Of each chunk: seconds on its way, the same of its copy, and until it is sent."""


@given(CHUNKS, st.booleans(), st.booleans())
def test_chunks_keep_their_order_and_copies_come_after_the_whole(
    chunks: list[tuple[int, int, int]], overtakes: bool, doubled: bool
) -> None:
    """Even of a vector that overtakes, which what is sent after it does not wait for."""
    party = Party()
    ways = [(float(first), False, overtakes) for first, _, _ in chunks]
    copies = [(float(second), False, overtakes) for _, second, _ in chunks]
    party.script.plan += [[a, b] if doubled else [a] for a, b in zip(ways, copies, strict=True)]
    data = bytes(range(len(chunks))) * 64
    party.ends["a"].send_vector(order("a.x.1"), data, 64)
    party.say(1000)
    party.run(100.0)
    heard = [(at_s, e) for at_s, e in party.heard["b"] if isinstance(e, ev.Received)]
    came = [event.message.index for _, event in heard if isinstance(event.message, Chunk)]
    assert came == list(range(len(chunks))) * (2 if doubled else 1)
    (said_s,) = [at_s for at_s, event in heard if isinstance(event.message, Leave)]
    assert said_s == (0.0 if overtakes else heard[-1][0])
    assert party.network.messages_lost == party.in_flight() == 0


def test_no_more_are_on_their_way_for_a_vector_that_is_doubled() -> None:
    """Its second copy waits for room; what is sent next comes after it."""
    count = HIGH_WATER_MARK + 9
    party = Party(latency_s=1.0)
    party.script.plan += [[(1.0, False, False), (1.0, False, False)]] * count
    for number in (1, 2):
        party.ends["a"].send_vector(order(f"a.x.{number}"), bytes(64 * count), 64)
        assert party.in_flight() == HIGH_WATER_MARK
    party.run(20.0)
    messages = [event.message for event in party.of("b", ev.Received)]
    whole = list(range(count))
    assert [one.index for one in messages] == whole * 3
    assert [one.exchange for one in messages] == ["a.x.1"] * 2 * count + ["a.x.2"] * count


def test_links_know_which_messages_are_one_vector() -> None:
    party = Party()
    party.ends["a"].send_vector(order("a.x.1"), bytes(192), 64)
    party.say(1)
    party.ends["a"].send_vector(order("a.x.2"), bytes(64), 64)
    assert party.script.vectors == ["1"] * 3 + [None, "2"]


def test_a_changed_bit_may_lie_in_any_frame() -> None:
    """In a payload it is for the digest of the whole vector to tell."""
    party = Party()
    data = bytes(400)
    party.script.plan += [[(0.0, True, False)]] * 200
    for number in range(200):
        party.ends["a"].send_vector(order(f"a.x.{number}"), data, 512)
        party.run(0.0)
    found = [sum(bytes(event.payload)) for event in party.of("b", ev.Received)]
    assert found
    assert all(total in {1 << bit for bit in range(8)} for total in found)
    assert len(party.of("b", ev.Malformed)) == 200 - len(found) > 0


def test_who_is_not_heard_when_it_calls_calls_again() -> None:
    party = Party(late="b")
    party.script.hellos += [LOST, LOST, LOST]
    party.start("b")
    party.run(3 * RECONNECT_MAX_S)
    assert len(party.of("a", ev.LinkUp)) == len(party.of("b", ev.LinkUp)) == 1


def test_who_comes_late_is_found_soon() -> None:
    party = Party(late="b")
    party.say(1)
    party.run(50.0)
    assert party.heard["a"] == []
    party.start("b")
    party.run(0.0)
    assert party.of("b", ev.LinkUp), "who comes knows that it has come"
    party.run(RECONNECT_MAX_S)
    ((at_s, _),) = party.heard["a"]
    assert 50.0 < at_s < 50.0 + RECONNECT_MAX_S
    assert party.clocks() == [1], "what was queued has waited"


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


def test_a_vector_that_is_sent_again_has_another_fate() -> None:
    """Under its own id, as mass is until somebody has taken it; else what was lost once would be
    lost for ever."""
    party = Party()
    party.script.vectors.clear()
    for _ in range(2):
        party.ends["a"].send_vector(order("a.x.1"), bytes(128), 64)
        party.run(1.0)
    first, again = party.script.vectors[:2], party.script.vectors[2:]
    assert len(set(first)) == len(set(again)) == 1, "chunks share it"
    assert first[0] != again[0]
