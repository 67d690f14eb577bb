"""The simulated network: order, full queues, and what becomes of messages."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.node.connection import HIGH_WATER_MARK
from p2pgan.node.flow import PATIENCE_S, START_WINDOW
from p2pgan.protocol import events as ev
from p2pgan.protocol.instructions import SendVector
from p2pgan.protocol.messages import Chunk, Leave, Ping
from p2pgan.sim.virtual.network import RECONNECT_MAX_S
from tests.sim.virtual.party import LOST, Party, Way


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
    came = [event.message.begin // 64 for _, event in heard if isinstance(event.message, Chunk)]
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
    assert [one.begin // 64 for one in messages] == whole * 3
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


LARGE = bytes(3 * START_WINDOW)


def test_a_large_vector_needs_credit_and_a_small_one_does_not() -> None:
    party = Party(latency_s=0.1)
    party.ends["a"].send_vector(order("a.x.1"), LARGE, 262_144)
    party.ends["a"].send_vector(order("a.x.2"), bytes(1000), 262_144)
    assert party.in_flight() == START_WINDOW // 262_144
    party.run(5.0)
    heard = party.of("b", ev.Received)
    assert b"".join(event.payload for event in heard) == LARGE + bytes(1000)
    (_, answered), (credited, _) = (party.ends[node].tallies.take() for node in "ab")
    assert answered == credited
    assert 2 <= credited["credit"].messages <= 6


def test_a_vector_whose_credit_is_lost_goes_on_some_time() -> None:
    party = Party(latency_s=0.1)
    whole = START_WINDOW // 262_144
    # All chunks of the first window come, and nothing that is said of them.
    party.script.plan += [[(0.1, False, False)]] * whole + [LOST] * 2
    party.ends["a"].send_vector(order("a.x.1"), LARGE, 262_144)
    party.run(PATIENCE_S - 0.1)
    assert len(party.of("b", ev.Received)) == whole
    party.run(2.0)
    assert b"".join(event.payload for event in party.of("b", ev.Received)) == LARGE


def test_probes_overtake_a_vector_that_waits_for_credit() -> None:
    party = Party(latency_s=0.1)
    party.ends["a"].send_vector(order("a.x.1"), LARGE, 262_144)
    party.say(7)
    party.ends["a"].send("b", Ping(clock=8, number=1, digest=b""))
    party.run(5.0)
    kinds = [type(event.message) for event in party.of("b", ev.Received)]
    assert kinds.index(Ping) == START_WINDOW // 262_144
    assert kinds[-1] is Leave


def test_a_connection_that_is_made_again_owes_nothing() -> None:
    party = Party(latency_s=0.1)
    party.ends["a"].send_vector(order("a.x.1"), LARGE, 262_144)
    party.crash("b")
    party.run(1.0)
    party.start("b")
    party.run(RECONNECT_MAX_S + 1.0)
    party.ends["a"].send_vector(order("a.x.2"), LARGE, 262_144)
    party.run(3.0)
    heard = [event for event in party.of("b", ev.Received) if event.message.exchange == "a.x.2"]
    assert b"".join(event.payload for event in heard) == LARGE
