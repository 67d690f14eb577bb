"""The codec: what goes in comes out, and arbitrary bytes give a message or one kind of error."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import LocalProtocolError, RemoteProtocolError
from p2pgan.protocol.messages import (
    MAX_CHUNK_BYTES,
    MAX_EXCHANGE_CHARS,
    MAX_NAME_CHARS,
    MAX_TEXT_CHARS,
    Chunk,
    Hello,
    Leave,
    LeaveAck,
    Message,
    Refuse,
    VectorAck,
    Welcome,
)
from p2pgan.protocol.wire import (
    CHECKSUM_BYTES,
    MAX_FRAME_BYTES,
    MAX_HEADER_BYTES,
    decode,
    encode,
    sealed,
)

printable = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cf"))
names = st.text(printable, min_size=1, max_size=MAX_NAME_CHARS)
texts = st.text(printable, max_size=MAX_TEXT_CHARS)
counts = st.integers(0, 2**62)
exchanges = st.text(printable, min_size=1, max_size=MAX_EXCHANGE_CHARS)
plain: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Hello,
        clock=counts,
        protocol=st.integers(0, 65_535),
        run=names,
        node=names,
        architecture=names,
        boot=names,
    ),
    st.builds(Welcome, clock=counts, node=names, boot=names, round=counts),
    st.builds(Refuse, clock=counts, node=names, code=names, text=texts),
    st.builds(VectorAck, clock=counts, exchange=exchanges, accepted=st.booleans(), reason=texts),
    st.builds(Leave, clock=counts),
    st.builds(LeaveAck, clock=counts),
)
chunks = st.builds(
    Chunk,
    clock=counts,
    exchange=exchanges,
    nets=st.sampled_from([("G",), ("D",), ("G", "D")]),
    round=counts,
    begin=counts,
    end=st.integers(1, 2**31),
    total_bytes=st.integers(1, 2**31),
    digest=st.binary(min_size=16, max_size=16),
    asks=st.booleans(),
)


@given(message=plain)
def test_messages_come_out_as_they_went_in(message: Message) -> None:
    assert decode(encode(message)) == (message, b"")


@given(message=chunks, payload=st.binary(min_size=1, max_size=4096))
def test_chunks_come_out_with_their_bytes(message: Chunk, payload: bytes) -> None:
    frames = encode(message, payload)
    assert len(frames) == 2
    assert decode(frames) == (message, payload)


@given(frames=st.lists(st.binary(max_size=300), max_size=4))
def test_arbitrary_bytes_give_a_message_or_one_kind_of_error(frames: list[bytes]) -> None:
    for tried in (frames, [sealed(frame) for frame in frames[:1]] + frames[1:]):
        with suppress(RemoteProtocolError):
            assert isinstance(decode(tried)[0], Message)


@given(message=st.one_of(plain, chunks), data=st.data())
def test_mutated_messages_give_a_message_or_one_kind_of_error(
    message: Message, data: st.DataObject
) -> None:
    """With the checksum of what they are now: it keeps nobody out who means it."""
    whole = encode(message, b"1234" if isinstance(message, Chunk) else b"")[0]
    header = bytearray(whole[:-CHECKSUM_BYTES])
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(header) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "repeat"])):
            case "flip":
                header[place] = data.draw(st.integers(0, 255))
            case "cut":
                del header[place:]
                header += b"\xc0"
            case _:
                header[place:place] = header[place : place + 8]
    for frames in ([sealed(header)], [sealed(header), b"1234"]):
        with suppress(RemoteProtocolError):
            assert isinstance(decode(frames)[0], Message)


@given(message=st.one_of(plain, chunks), data=st.data())
def test_a_wrong_bit_is_noticed(message: Message, data: st.DataObject) -> None:
    payload = b"1234" if isinstance(message, Chunk) else b""
    header, *rest = encode(message, payload)
    bit = data.draw(st.integers(0, 8 * len(header) - 1))
    broken = bytearray(header)
    broken[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError, match="checksum"):
        decode([bytes(broken), *rest])


HELLO: dict[str, Any] = {
    "type": "hello",
    "clock": 1,
    "protocol": 1,
    "run": "r",
    "node": "A",
    "architecture": "a",
    "boot": "b",
}


def header_of(fields: dict[str, Any]) -> bytes:
    return sealed(msgspec.msgpack.encode(fields))


def test_fields_of_a_newer_peer_are_ignored() -> None:
    header = header_of({**HELLO, "since_version_2": [1, {"deep": [2]}]})
    message, _ = decode([header])
    assert isinstance(message, Hello)
    assert message.node == "A"


@pytest.mark.parametrize(
    "change",
    [
        {"type": "goodbye"},
        {"type": 3},
        {"node": ""},
        {"node": "x" * (MAX_NAME_CHARS + 1)},
        {"node": "two\nlines"},
        {"node": "trailing\n"},
        {"node": "\x1b[31mred"},
        {"node": "‮reversed"},
        {"clock": -1},
        {"clock": 2**63},
        {"clock": 1.5},
        {"protocol": 70_000},
    ],
    ids=str,
)
def test_fields_out_of_bounds_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        decode([header_of({**HELLO, **change})])


def test_an_error_never_shows_what_the_peer_sent() -> None:
    header = header_of({**HELLO, "type": "\x1b[2Jevil"})
    with pytest.raises(RemoteProtocolError) as caught:
        decode([header])
    assert "evil" not in str(caught.value)


def test_deep_nesting_is_refused_not_followed() -> None:
    with pytest.raises(RemoteProtocolError):
        decode([sealed(b"\x82\xa4type\xa5hello\xa1x" + b"\x91" * 8_000)])


def test_a_lying_length_allocates_nothing() -> None:
    with pytest.raises(RemoteProtocolError):
        decode([sealed(b"\xdf\xff\xff\xff\xff")])
    with pytest.raises(RemoteProtocolError):
        decode([sealed(b"\x81\xa4type\xc6\xff\xff\xff\xff")])


CHUNK = Chunk(clock=1, exchange="A.b.1", nets=("G",), round=1, begin=0, end=4, total_bytes=4,
              digest=bytes(16))  # fmt: skip


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [*encode(CHUNK, b"1234"), b"third"],
        [encode(CHUNK, b"1234")[0]],
        [*encode(Leave(clock=1)), b"payload"],
        [bytes(MAX_HEADER_BYTES + 1)],
        [encode(CHUNK, b"1234")[0], bytes(MAX_CHUNK_BYTES + 1)],
    ],
    ids=["none", "three", "chunk without bytes", "leave with bytes", "long header", "long payload"],
)
def test_wrong_frames_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(frames)


@pytest.mark.parametrize(
    ("message", "payload"),
    [(CHUNK, b""), (Leave(clock=1), b"1234"), (CHUNK, bytes(MAX_CHUNK_BYTES + 1))],
)
def test_our_own_mistakes_do_not_leave_the_house(message: Message, payload: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        encode(message, payload)


def test_the_longest_message_fits() -> None:
    """Bounds of fields and of frames agree: nothing that the types allow is too large."""
    longest = Refuse(clock=2**62, node="界" * MAX_NAME_CHARS, code="界" * MAX_NAME_CHARS,
                     text="界" * MAX_TEXT_CHARS)  # fmt: skip
    hello = Hello(clock=2**62, protocol=65_535, run="𝄞" * MAX_NAME_CHARS,
                  node="𝄞" * MAX_NAME_CHARS, architecture="𝄞" * MAX_NAME_CHARS,
                  boot="𝄞" * MAX_NAME_CHARS)  # fmt: skip
    for message in (longest, hello):
        assert decode(encode(message))[0] == message
    assert MAX_HEADER_BYTES + MAX_CHUNK_BYTES < MAX_FRAME_BYTES
