"""Messages counted by kind, from their frames alone."""

from typing import Any

import msgspec
import pytest

from p2pgan.node.tallies import Tallies, kind_of
from p2pgan.protocol.chunks import split
from p2pgan.protocol.instructions import SendVector
from p2pgan.protocol.messages import Leave, Message, Purpose, Trained
from p2pgan.protocol.wire import encode
from p2pgan.record.schema import Tally


def vector(
    purpose: Purpose, size: int, chunk_bytes: int = 1024
) -> list[tuple[Message, list[bytes]]]:
    order = SendVector(peer="b", exchange="a.1", nets=("D",), round=1, clock=1, purpose=purpose)
    return [
        (chunk, [bytes(frame) for frame in encode(chunk, payload)])
        for chunk, payload in split(bytes(size), order, chunk_bytes=chunk_bytes)
    ]


def test_a_vector_in_many_chunks_is_one_message_of_its_purpose() -> None:
    tallies, chunks = Tallies(), vector("move", 5000)
    assert len(chunks) == 5
    for chunk, frames in chunks:
        tallies.sent(chunk, frames)
    sent, received = tallies.take()
    whole = sum(len(frame) for _, frames in chunks for frame in frames)
    assert sent == {"move": Tally(messages=1, payload_bytes=5000, bytes=whole)}
    assert received == {}


def test_a_vector_that_is_not_over_counts_its_bytes_and_no_message() -> None:
    tallies = Tallies()
    for chunk, frames in vector("batches", 5000)[:2]:
        tallies.received(chunk, frames)
    _, received = tallies.take()
    assert (received["batches"].messages, received["batches"].payload_bytes) == (0, 2048)


def test_each_kind_and_direction_apart_and_each_message_once() -> None:
    tallies = Tallies()
    leave = Leave(clock=3)
    for _ in range(2):
        tallies.sent(leave, encode(leave))
    tallies.received(*vector("feedback", 8)[0])
    sent, received = tallies.take()
    assert sent == {"leave": Tally(messages=2, payload_bytes=0, bytes=2 * len(encode(leave)[0]))}
    assert received["feedback"].messages == 1
    assert tallies.take() == ({}, {}), "what was told is told once"


def test_an_order_is_not_taken_for_the_vector_that_it_asks_for() -> None:
    order: Any = msgspec.defstruct("Move", [("clock", int)], tag_field="type", tag="move")(1)
    assert kind_of(order) == "move_order"
    assert kind_of(vector("move", 8)[0][0]) == "move"


@pytest.mark.parametrize(
    ("message", "kind"),
    [(Leave(clock=1), "leave"), (Trained(clock=1, nodes=("a",), begun=True), "trained")],
)
def test_other_messages_go_by_their_names(message: Message, kind: str) -> None:
    assert kind_of(message) == kind
