"""Bandwidth: arithmetic against naive models, one message after the other."""

from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import OverlayError
from p2pgan.overlay.graph import Overlay
from p2pgan.sim.virtual.capacity import Capacity, Line, PerMachine, Unlimited, capacity
from p2pgan.virtual import VirtualConfig

TRIANGLE = Overlay("triangle", nx.complete_graph(["a", "b", "c"]))
MEGABYTE = 1_000_000
"""8 s over a line of 1 Mbit/s."""

Call = tuple[str, str, int, float]
"""Sender, receiver, size in bytes, and time."""


def of(text: str, overlay: Overlay = TRIANGLE, seed: int = 0) -> Capacity:
    return capacity(VirtualConfig(bandwidth_mbps=text), overlay, seed)


def through(lines: Capacity, call: Call, latency_s: float = 0.0) -> float:
    sender, receiver, size, now = call
    first_s, last_s = lines.send((sender, receiver), size, now)
    there = first_s + latency_s, last_s + latency_s
    return lines.receive((sender, receiver), size, there, now)


@st.composite
def calls(draw: st.DrawFn) -> list[Call]:
    """Messages between three nodes, in the order of their times."""
    pairs = st.sampled_from([(a, b) for a in "abc" for b in "abc" if a != b])
    one = st.tuples(pairs, st.integers(1, 3 * MEGABYTE), st.integers(0, 40))
    found = draw(st.lists(one, max_size=25))
    return [(*ends, size, now / 2) for ends, size, now in sorted(found, key=lambda call: call[2])]


def test_unlimited_connections_take_no_time() -> None:
    lines = of("unlimited")
    assert isinstance(lines, Unlimited)
    assert [through(lines, ("a", "b", 10**12, now)) for now in (0.1, 0.1, 7.3)] == [0.1, 0.1, 7.3]


@given(calls(), st.sampled_from([1, 2.5]))
def test_a_connection_sends_one_message_after_the_other(sent: list[Call], mbps: float) -> None:
    """Against a naive model: each direction of each connection is busy until it is not."""
    lines, busy_until = of(f"{mbps}"), dict[tuple[str, str], float]()
    for call in sent:
        sender, receiver, size, now = call
        start = max(now, busy_until.get((sender, receiver), 0.0))
        busy_until[sender, receiver] = start + size * 8 / (mbps * 1e6)
        assert through(lines, call) == pytest.approx(busy_until[sender, receiver])


def test_directions_and_connections_do_not_share() -> None:
    lines = of("1")
    pairs = [("a", "b"), ("b", "a"), ("a", "c"), ("c", "b")]
    assert [through(lines, (*pair, MEGABYTE, 0.0)) for pair in pairs] == [8.0] * 4


def test_a_machines_connections_share_its_uplink() -> None:
    lines = of("home:100,1")
    assert through(lines, ("a", "b", MEGABYTE, 0.0)) == pytest.approx(8)
    assert through(lines, ("a", "c", MEGABYTE, 0.0)) == pytest.approx(16)
    assert through(lines, ("b", "c", MEGABYTE, 0.0)) == pytest.approx(8)


def test_a_machines_connections_share_its_downlink() -> None:
    lines = of("home:1,100")
    assert through(lines, ("a", "c", MEGABYTE, 0.0)) == pytest.approx(8)
    assert through(lines, ("b", "c", MEGABYTE, 0.0)) == pytest.approx(16)
    assert through(lines, ("b", "a", MEGABYTE, 0.0)) == pytest.approx(8.08)


@pytest.mark.parametrize(("down", "up"), [(10, 1), (1, 10), (2, 2)])
def test_alone_a_message_takes_as_long_as_the_slower_line(down: int, up: int) -> None:
    """It is on both at once, and takes its latency besides."""
    lines = of(f"home:{down},{up}")
    took = through(lines, ("a", "b", MEGABYTE, 3.0), latency_s=0.25) - 3
    assert took == pytest.approx(8 / min(down, up) + 0.25)


def test_who_waits_at_home_does_not_hold_up_the_others_downlink() -> None:
    """The second megabyte of `a` is not on its way yet when that of `c` arrives."""
    lines = of("home:2,1")
    assert through(lines, ("a", "c", MEGABYTE, 0.0)) == pytest.approx(8)
    assert through(lines, ("a", "b", MEGABYTE, 0.0)) == pytest.approx(16)
    assert through(lines, ("c", "b", MEGABYTE, 0.5)) == pytest.approx(8.5)


@given(calls(), st.sampled_from([(1, 2), (2, 1), (1, 1), (5, 1)]))
def test_no_line_carries_more_than_it_can(sent: list[Call], home: tuple[int, int]) -> None:
    """Whatever the order of the calls: every downlink's times are apart, and none is too early."""
    down, up = home
    lines = of(f"home:{down},{up}")
    uplink_until, taken = dict[str, float](), dict[str, list[tuple[float, float]]]()
    for call in sent:
        sender, receiver, size, now = call
        at = through(lines, call)
        sent_at = max(now, uplink_until.get(sender, 0.0))
        uplink_until[sender] = sent_at + size * 8 / (up * 1e6)
        length = size * 8 / (down * 1e6)
        assert at >= max(uplink_until[sender], sent_at + length) - 1e-9
        taken.setdefault(receiver, []).append((at - length, at))
    for spans in taken.values():
        spans.sort()
        for (_, end), (start, _) in pairwise(spans):
            assert start >= end - 1e-9


def test_a_gap_is_used_only_by_what_fits() -> None:
    line = Line()
    assert line.take(2, 10, 0) == 10
    assert line.take(4, 5, 0) == 5
    assert line.take(2, 5, 0) == 12
    assert line.take(1, 5, 0) == 9
    assert line.take(1, 0, 0) == 0
    assert line.take(3, 0, 0) == 1
    assert line.take(1, 0, 0) == 4
    assert line.take(1, 0, 0) == 14


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 30), st.integers(0, 3)), max_size=30))
def test_a_line_gives_the_first_gap(orders: list[tuple[int, int, int]]) -> None:
    """Against a naive model that looks at every second."""
    line, taken, now = Line(), set[int](), 0
    for length, ahead, later in orders:
        now += later
        start = now + ahead
        while taken & set(range(start, start + length)):
            start += 1
        taken |= set(range(start, start + length))
        assert line.take(length, now + ahead, now) == start


def test_a_connection_has_one_bandwidth_for_both_directions() -> None:
    """And keeps it: drawn once, from the seed and its ends alone."""
    lines, others = of("uniform:1,50"), of("uniform:1,50")
    there = through(lines, ("a", "b", MEGABYTE, 0.0))
    assert through(lines, ("b", "a", MEGABYTE, 100.0)) - 100 == pytest.approx(there)
    assert through(others, ("a", "c", MEGABYTE, 0.0)) != pytest.approx(there)
    assert through(others, ("a", "b", MEGABYTE, 0.0)) == pytest.approx(there)
    assert through(of("uniform:1,50", seed=1), ("a", "b", MEGABYTE, 0.0)) != pytest.approx(there)
    assert 8 / 50 <= there <= 8


def joined(attributes: dict[str, object]) -> Overlay:
    graph = nx.Graph()
    graph.add_edge("a", "b", bandwidth_mbps=2)
    graph.add_edge("b", "c", **attributes)
    return Overlay("net", graph)


def test_edges_say_their_bandwidth() -> None:
    lines = of("overlay", joined({"bandwidth_mbps": 8.0}))
    assert through(lines, ("b", "a", MEGABYTE, 0.0)) == pytest.approx(4)
    assert through(lines, ("b", "c", MEGABYTE, 0.0)) == pytest.approx(1)
    with pytest.raises(OverlayError, match=r"got one from `a` to `c` - at virtual\.bandwidth_mbps"):
        through(lines, ("a", "c", 1, 0.0))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "`bandwidth_mbps` of every edge, got none"),
        ({"bandwidth_mbps": "fast"}, 'got `"fast"`'),
        ({"bandwidth_mbps": True}, "got `true`"),
        ({"bandwidth_mbps": 0}, "expected a `bandwidth_mbps` above 0, got `0`"),
    ],
)
def test_edges_that_do_not_say_it_are_named(attributes: dict[str, object], message: str) -> None:
    with pytest.raises(OverlayError, match=message) as caught:
        of("overlay", joined(attributes))
    assert caught.value.at == "overlay `net`: edge `b` - `c`"


def test_a_home_belongs_to_every_machine() -> None:
    assert isinstance(of("home:100,10"), PerMachine)
