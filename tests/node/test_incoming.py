"""Frames that came become events; what cannot be read is no message, and is not counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.node.incoming import answered, is_finite, received
from p2pgan.node.tallies import Tallies
from p2pgan.protocol import events as ev
from p2pgan.protocol.messages import DIGEST_BYTES, Chunk, Leave, LeaveAck
from p2pgan.protocol.wire import encode


def chunk(payload: bytes) -> Chunk:
    return Chunk(
        clock=1,
        exchange="a.x.1",
        nets=("G",),
        round=1,
        begin=0,
        end=len(payload),
        total_bytes=len(payload),
        digest=bytes(DIGEST_BYTES),
    )


def test_what_a_caller_says_is_received_and_counted() -> None:
    tallies = Tallies()
    payload = np.ones(3, dtype="<f4").tobytes()
    event = received(b"route", encode(chunk(payload), payload), tallies)
    assert event == ev.Received(
        route=b"route", message=chunk(payload), payload=payload, finite=True
    )
    sent, came = tallies.take()
    assert sent == {}
    assert (came["mix"].messages, came["mix"].payload_bytes) == (1, 12)


def test_what_comes_back_is_an_answer_and_counted() -> None:
    tallies = Tallies()
    assert answered("b", encode(LeaveAck(clock=2)), tallies) == ev.Answered(
        peer="b", message=LeaveAck(clock=2)
    )
    assert tallies.take()[1]["leave_ack"].messages == 1


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_garbage_is_malformed_and_not_counted(frames: list[bytes]) -> None:
    tallies = Tallies()
    assert received(b"route", frames, tallies) == ev.Malformed(route=b"route")
    assert answered("b", frames, tallies) == ev.Malformed(peer="b")
    assert tallies.take() == ({}, {})


def test_a_message_with_a_payload_too_many_is_malformed() -> None:
    frames = [*encode(Leave(clock=1)), b"payload"]
    assert received(b"r", frames, Tallies()) == ev.Malformed(route=b"r")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 4])
def test_a_number_that_is_none_is_noticed(value: float, place: int) -> None:
    numbers = np.zeros(5, dtype="<f4")
    assert is_finite(numbers.tobytes())
    assert is_finite(memoryview(numbers.tobytes()))
    numbers[place] = value
    assert not is_finite(numbers.tobytes())
    payload = numbers.tobytes()
    event = received(b"r", encode(chunk(payload), payload), Tallies())
    assert isinstance(event, ev.Received)
    assert not event.finite


@given(st.binary(max_size=40))
def test_bytes_behind_the_last_whole_number_say_nothing(data: bytes) -> None:
    whole = data[: len(data) // 4 * 4]
    expected = all(np.isfinite(np.frombuffer(whole, dtype="<f4")))
    assert is_finite(data) == expected
