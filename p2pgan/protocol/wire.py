"""Message <-> list of frames: a msgpack header with its checksum and, for a chunk, its bytes.

Sizes and the checksum are checked before anything is decoded, and decoding goes into the closed
union of `messages`, never into free-form objects.
"""

import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from p2pgan.errors import LocalProtocolError, RemoteProtocolError
from p2pgan.protocol.messages import MAX_CHUNK_BYTES, Chunk, Message

MAX_HEADER_BYTES: Final = 8_192
"""The longest legal header (all texts full, four bytes a character) needs about 3 KiB."""

MAX_FRAMES: Final = 2
"""Header and payload."""

MAX_FRAME_BYTES: Final = 1_048_576
"""What the transport lets through at all: a chunk and generous room for its header."""

CHECKSUM_BYTES: Final = 4
"""CRC-32 of the header, behind it, big-endian. TCP's own sum of 16 bits lets one broken message in
65,536 through, and a header with a wrong bit may still be a message; a vector has its digest."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message, payload: bytes | memoryview = b"") -> list[bytes | memoryview]:
    """The frames of a message.

    Args:
        message: any message of the protocol.
        payload: bytes of a `Chunk`; empty for all others.
    Raises:
        LocalProtocolError: if payload and message do not belong together, or are too large.
    """
    header = sealed(_encoder.encode(message))
    if isinstance(message, Chunk) != bool(len(payload)):
        raise _local("a payload with a chunk and with nothing else", f"{len(payload)} bytes")
    if len(payload) > MAX_CHUNK_BYTES or len(header) > MAX_HEADER_BYTES:
        raise _local("a message within its bounds", f"{len(header)} and {len(payload)} bytes")
    return [header, payload] if len(payload) else [header]


def sealed(body: bytes | bytearray) -> bytes:
    """A header: msgpack and its checksum."""
    return bytes(body) + zlib.crc32(body).to_bytes(CHECKSUM_BYTES)


def decode(frames: Sequence[bytes | memoryview]) -> tuple[Message, bytes | memoryview]:
    """The message in `frames`, and its payload (empty but for a `Chunk`).

    Raises:
        RemoteProtocolError: for anything else than one well-formed message; nothing else is raised
            whatever the bytes are. The error names the frame, and never shows its bytes.
    """
    if not 1 <= len(frames) <= MAX_FRAMES:
        raise _remote("one or two frames", f"{len(frames)}", "message")
    header, payload = frames[0], frames[1] if len(frames) == MAX_FRAMES else b""
    if len(header) > MAX_HEADER_BYTES:
        raise _remote(f"at most {MAX_HEADER_BYTES} bytes", f"{len(header)}", "frame 0")
    if len(payload) > MAX_CHUNK_BYTES:
        raise _remote(f"at most {MAX_CHUNK_BYTES} bytes", f"{len(payload)}", "frame 1")
    body = memoryview(header)[:-CHECKSUM_BYTES]
    if zlib.crc32(body) != int.from_bytes(header[-CHECKSUM_BYTES:]):
        raise _remote("a header with its checksum", "another checksum", "frame 0")
    try:
        message = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _remote("a message of this protocol", _place_of(error), "frame 0") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _remote("a message of this protocol", "broken msgpack", "frame 0") from None
    if isinstance(message, Chunk) != bool(len(payload)):
        raise _remote("a payload with a chunk and with nothing else", f"{len(payload)}", "frame 1")
    return message, payload


def _place_of(error: msgspec.ValidationError) -> str:
    """Where the message is wrong, without the value: a peer's text does not enter our errors."""
    _, _, path = str(error).rpartition(" - at ")
    return f"something else at {path}" if path.startswith("`$") else "something else"


def _remote(expected: str, got: str, at: str) -> RemoteProtocolError:
    return RemoteProtocolError(expected=expected, got=got, at=at)


def _local(expected: str, got: str) -> LocalProtocolError:
    return LocalProtocolError(expected=expected, got=got, at="wire.encode")
