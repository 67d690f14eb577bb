"""Vectors in pieces."""

from typing import Any

import msgspec
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.protocol.chunks import Assembler, VectorError, digest_of, split
from p2pgan.protocol.instructions import SendVector
from p2pgan.protocol.messages import Chunk

DATA = bytes(range(200))


def pieces(data: bytes = DATA, chunk_bytes: int = 64) -> list[tuple[Chunk, memoryview]]:
    order = SendVector(
        peer="B", exchange="A.b.1", nets=("G", "D"), round=3, clock=7, purpose="judge", origin="A"
    )
    return list(split(data, order, chunk_bytes=chunk_bytes))


def assembler(first: Chunk, expected_bytes: int = len(DATA)) -> Assembler:
    return Assembler("A", first, expected_bytes=expected_bytes)


@given(words=st.integers(1, 300), chunk_bytes=st.integers(4, 500))
def test_what_was_split_is_joined(words: int, chunk_bytes: int) -> None:
    data = bytes(i % 251 for i in range(4 * words))
    sent = pieces(data, chunk_bytes)
    joined = assembler(sent[0][0], len(data))
    *early, last = [joined.add(chunk, payload, finite=True) for chunk, payload in sent]
    assert early == [None] * len(early)
    assert last is not None
    assert (last.data, last.peer, last.exchange, last.round) == (data, "A", "A.b.1", 3)
    assert (last.purpose, last.origin) == ("judge", "A")
    assert all(len(payload) <= chunk_bytes and len(payload) % 4 == 0 for _, payload in sent)


def test_the_digest_is_xxh3_128() -> None:
    assert digest_of(DATA) == xxhash.xxh3_128(DATA).digest()
    assert pieces()[0][0].digest == digest_of(DATA)


def test_the_pieces_are_views_not_copies() -> None:
    assert all(payload.obj is DATA for _, payload in pieces())


def reason_of(change: dict[str, Any], payload: bytes | None = None) -> str:
    """Why a vector is not taken whose second chunk is changed."""
    sent = pieces()
    joined = assembler(sent[0][0])

    def take_all() -> None:
        for i, (chunk, view) in enumerate(sent):
            changed = msgspec.structs.replace(chunk, **change) if i == 1 else chunk
            joined.add(changed, payload if payload is not None and i == 1 else view, finite=True)

    with pytest.raises(VectorError) as caught:
        take_all()
    assert "`A`" in str(caught.value)
    assert "A.b.1" in str(caught.value)
    assert joined.held_bytes <= len(DATA)
    return caught.value.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"begin": 128}, "order"),
        ({"begin": 0}, "order"),
        ({"end": 132}, "size"),
        ({"end": 200}, "size"),
        ({"round": 4}, "changed"),
        ({"nets": ("G",)}, "changed"),
        ({"total_bytes": 204}, "changed"),
        ({"digest": bytes(16)}, "changed"),
        ({"exchange": "A.b.2"}, "changed"),
    ],
)
def test_a_chunk_that_does_not_continue_is_refused(change: dict[str, Any], reason: str) -> None:
    assert reason_of(change) == reason


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "size"),
        (b"odd", "size"),
        (bytes(1000), "size"),
        (bytes(64), "digest"),
        (bytes(60), "size"),
    ],
    ids=["empty", "odd", "too long", "other bytes", "too short"],
)
def test_wrong_bytes_are_refused(payload: bytes, reason: str) -> None:
    assert reason_of({}, payload=payload) == reason


def test_a_size_that_we_do_not_expect_is_refused_before_any_byte() -> None:
    with pytest.raises(VectorError, match="196"):
        assembler(pieces()[0][0], expected_bytes=196)


def test_all_bytes_in_the_first_chunk_are_not_all_chunks() -> None:
    """A place that lies does not complete a vector, nor let it grow."""
    head = msgspec.structs.replace(pieces(DATA, 1000)[0][0], end=4)
    joined = assembler(head)
    with pytest.raises(VectorError):
        joined.add(head, DATA, finite=True)
    assert joined.add(head, DATA[:4], finite=True) is None
    for begin, end in ((4, 204), (4, 4), (8, 200), (0, 4)):
        with pytest.raises(VectorError):
            joined.add(
                msgspec.structs.replace(head, begin=begin, end=end), bytes(end - begin), finite=True
            )
    assert joined.held_bytes == 4


def test_numbers_that_are_not_finite_are_refused() -> None:
    (chunk, payload), *_ = pieces()
    with pytest.raises(VectorError) as caught:
        assembler(chunk).add(chunk, payload, finite=False)
    assert caught.value.reason == "not_finite"
