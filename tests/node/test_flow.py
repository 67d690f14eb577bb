"""How much may be on its way."""

from collections import deque
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.node.flow import (
    LEAST_PATIENCE_S,
    LEAST_WINDOW,
    MOST_WINDOW,
    PATIENCE_S,
    PIECES,
    START_WINDOW,
    WINDOW_S,
    Flow,
)
from p2pgan.protocol.messages import DIGEST_BYTES, Chunk, Credit, VectorAck

CHUNK_BYTES = 262_144


def chunk(exchange: str, begin: int, end: int, *, total: int = 2**31, asks: bool = False) -> Chunk:
    return Chunk(
        clock=1,
        exchange=exchange,
        nets=("G",),
        round=1,
        begin=begin,
        end=end,
        total_bytes=total,
        digest=bytes(DIGEST_BYTES),
        asks=asks,
    )


def credit(exchange: str, end: int) -> Credit:
    return Credit(clock=1, exchange=exchange, bytes=end)


def ack(exchange: str) -> VectorAck:
    return VectorAck(clock=1, exchange=exchange, accepted=False, reason="busy")


class Way(NamedTuple):
    """A link with a rate and a latency, there and back."""

    rate: float
    latency_s: float = 0.0


def play(flow: Flow, way: Way, seconds: float, lose: tuple[int, ...] = ()) -> float:
    """An endless vector over a link; the longest that a chunk was on its way in the second half.

    Args:
        flow: decides.
        way: the link.
        seconds: how long.
        lose: numbers of credits that are lost.
    """
    now = free_s = longest_s = 0.0
    sent, credits = 0, 0
    coming: deque[tuple[float, Credit]] = deque()
    while now < seconds:
        size = flow.size(CHUNK_BYTES)
        if flow.has_room(size, now):
            piece = chunk("a", sent, sent + size, asks=flow.asks(size))
            flow.send(piece, now)
            sent += size
            free_s = max(free_s, now) + size / way.rate
            comes_s = free_s + 2 * way.latency_s
            if now > seconds / 2:
                longest_s = max(longest_s, comes_s - now)
            credits += piece.asks
            if piece.asks and credits not in lose:
                coming.append((comes_s, credit("a", piece.end)))
        elif coming and coming[0][0] <= flow.resumes_s:
            now, answer = coming.popleft()
            flow.credit(answer, now)
        else:
            now = flow.resumes_s
        assert 0 <= flow.on_the_way <= max(flow.window, START_WINDOW)
        assert LEAST_WINDOW <= flow.window <= MOST_WINDOW
    assert longest_s
    return longest_s


def test_half_a_second_of_a_slow_link_is_on_its_way() -> None:
    flow = Flow()
    longest_s = play(flow, Way(rate=400_000), 60.0)
    assert longest_s < 1.2 * WINDOW_S
    assert 100_000 < flow.window < 250_000
    assert flow.size(CHUNK_BYTES) == flow.window // PIECES


def test_a_very_slow_link_has_the_least_window() -> None:
    flow = Flow()
    longest_s = play(flow, Way(rate=20_000), 300.0)
    assert flow.window == LEAST_WINDOW
    assert longest_s == pytest.approx(LEAST_WINDOW / 20_000, rel=0.1)


def test_a_fast_link_has_the_largest_window_soon() -> None:
    flow = Flow()
    play(flow, Way(rate=1e9, latency_s=1e-4), 0.1)
    assert flow.window == MOST_WINDOW
    assert flow.size(CHUNK_BYTES) == CHUNK_BYTES


def test_a_link_that_becomes_fast_is_filled_again() -> None:
    flow = Flow(window=LEAST_WINDOW)
    play(flow, Way(rate=1e8, latency_s=0.02), 2.0)
    assert flow.window > 1_000_000


@given(
    rate=st.floats(10_000, 3e6),
    latency_s=st.floats(0, 0.4),
    lose=st.sets(st.integers(1, 40), max_size=20).map(lambda lost: tuple(sorted(lost))),
)
def test_lost_credit_stops_nothing_for_good(
    rate: float, latency_s: float, lose: tuple[int, ...]
) -> None:
    """Something goes out again and again until the end, within all bounds."""
    play(Flow(), Way(rate, latency_s), 8 * PATIENCE_S, lose)


def test_small_vectors_ask_for_nothing_as_long_as_they_are_acknowledged() -> None:
    flow = Flow()
    for number in range(100):
        name = f"{number}"
        assert flow.has_room(100_000, number)
        assert not flow.asks(100_000)
        flow.send(chunk(name, 0, 100_000, total=100_000), number)
        flow.credit(ack(name), number + 0.01)
    assert flow.on_the_way == 0


def test_small_vectors_that_nobody_acknowledges_ask() -> None:
    """Batches and feedback are answered by what comes next."""
    flow, asked = Flow(), []
    for number in range(20):
        asks = flow.asks(100_000)
        asked.append(asks)
        flow.send(chunk(f"{number}", 0, 100_000, total=100_000, asks=asks), number)
    assert asked.index(True) == START_WINDOW // 2 // 100_000
    assert sum(asked) == 3


def test_credit_is_for_all_that_went_before() -> None:
    flow = Flow()
    for number in range(3):
        flow.send(chunk("a", number, number + 1, asks=True), 0.0)
    flow.send(chunk("b", 0, 1, total=1), 0.0)
    flow.credit(credit("a", 2), 0.1)
    assert flow.on_the_way == 2
    flow.credit(credit("a", 1), 0.1)
    assert flow.on_the_way == 2, "it says nothing new"
    flow.credit(ack("b"), 0.1)
    assert flow.on_the_way == 0


@pytest.mark.parametrize("answer", [credit("a", 2**31), credit("x", 1), credit("a", 0), ack("a")])
def test_credit_for_what_was_not_sent_is_none(answer: Credit | VectorAck) -> None:
    flow = Flow()
    flow.send(chunk("a", 0, 1, asks=True), 0.0)
    flow.credit(answer, 0.1)
    assert flow.on_the_way == 1


def test_patience_follows_what_is_usual() -> None:
    flow = Flow()
    assert flow.resumes_s == PATIENCE_S
    for at_s, took_s, patience_s in ((0, 0.01, LEAST_PATIENCE_S), (9, 1, 4), (20, 9, PATIENCE_S)):
        flow.send(chunk("a", at_s, at_s + 1, asks=True), at_s)
        flow.credit(credit("a", at_s + 1), at_s + took_s)
        assert flow.resumes_s == at_s + took_s + patience_s
