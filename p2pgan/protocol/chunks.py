"""A vector's bytes <-> chunk messages.

Frames of a few hundred KiB keep heartbeats alive on slow links and memory bounded: a receiver holds
at most one unfinished vector per sender and group of networks, of a size that it knows beforehand.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import xxhash

from p2pgan.errors import RemoteProtocolError
from p2pgan.protocol.messages import NET_WORD_BYTES, Chunk, Nets, Purpose


class VectorError(RemoteProtocolError):
    """A vector that cannot be taken; `reason` is the word that goes to the log and to its sender.

    Reasons: `size` (not what our layout needs), `order` (a chunk is missing or repeated),
    `changed` (chunks of one vector contradict each other), `digest` (the bytes are not those that
    were sent), `not_finite` (NaN or infinity).
    """

    def __init__(self, reason: str, *, expected: str, got: str, at: str) -> None:
        self.reason = reason
        super().__init__(expected=expected, got=got, at=at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A whole vector from a peer, checked."""

    peer: str
    exchange: str
    nets: Nets
    round: int
    data: bytes = field(repr=False)
    """float32, little-endian, the networks of `nets` one after the other."""
    purpose: Purpose = "mix"
    origin: str = ""
    """Who has trained them; empty where they are to be mixed."""
    slot: int = 0
    number: int = 0
    weight: float = 0.0
    answers: str = ""
    """As in `Chunk`."""


def digest_of(data: bytes | memoryview) -> bytes:
    """XXH3-128."""
    return xxhash.xxh3_128_digest(data)


class Order(Protocol):
    """What is to be said of a vector; `SendVector` says it."""

    @property
    def exchange(self) -> str: ...
    @property
    def nets(self) -> Nets: ...
    @property
    def round(self) -> int: ...
    @property
    def clock(self) -> int: ...
    @property
    def purpose(self) -> Purpose: ...
    @property
    def origin(self) -> str: ...
    @property
    def slot(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def weight(self) -> float: ...
    @property
    def answers(self) -> str: ...


class Splitter:
    """Cuts a vector into chunk messages, each as large as whoever sends it wants it by then.

    Args:
        data: float32 bytes of the whole vector, not empty.
        order: what the chunks say of it.
    """

    __slots__ = ("_data", "_digest", "_order", "_sent")

    def __init__(self, data: bytes, order: Order) -> None:
        self._data, self._order = memoryview(data), order
        self._digest = b""
        self._sent = 0

    @property
    def left(self) -> int:
        """Bytes that no chunk has yet."""
        return len(self._data) - self._sent

    def cut(self, chunk_bytes: int, *, asks: bool = False) -> tuple[Chunk, memoryview]:
        """The next chunk, and its payload, which is a view into the data.

        Args:
            chunk_bytes: its size, if so much is left; rounded down to whole float32 numbers.
            asks: whether it wants an answer.
        """
        assert self.left, "the vector is sent"
        self._digest = self._digest or digest_of(self._data)
        order, begin = self._order, self._sent
        step = max(NET_WORD_BYTES, chunk_bytes - chunk_bytes % NET_WORD_BYTES)
        self._sent = min(begin + step, len(self._data))
        head = Chunk(
            clock=order.clock,
            exchange=order.exchange,
            nets=order.nets,
            round=order.round,
            begin=begin,
            end=self._sent,
            total_bytes=len(self._data),
            digest=self._digest,
            purpose=order.purpose,
            origin=order.origin,
            slot=order.slot,
            number=order.number,
            weight=order.weight,
            answers=order.answers,
            asks=asks,
        )
        return head, self._data[begin : self._sent]


def split(data: bytes, order: Order, *, chunk_bytes: int) -> Iterator[tuple[Chunk, memoryview]]:
    """All chunks of a vector with their payloads, of one size; as `Splitter`."""
    splitter = Splitter(data, order)
    while splitter.left:
        yield splitter.cut(chunk_bytes)


class Assembler:
    """Joins the chunks of one vector from one peer.

    Invariants: no more than `total_bytes` bytes are held; chunks came in order without a gap; all
    chunks agree on everything but their place, clock and whether they ask.
    """

    __slots__ = ("_first", "_hash", "_parts", "held_bytes", "peer")

    def __init__(self, peer: str, first: Chunk, *, expected_bytes: int) -> None:
        """Starts with the first chunk's header (its bytes come through `add` like all others).

        Raises:
            VectorError: if the vector cannot have the size that our own layout needs.
        """
        self.peer = peer
        self._first, self._parts = first, list[bytes | memoryview]()
        self._hash = xxhash.xxh3_128()
        self.held_bytes = 0
        """Bytes in memory so far."""
        if first.total_bytes != expected_bytes:
            raise self._error("size", f"a vector of {expected_bytes} bytes", f"{first.total_bytes}")

    @property
    def exchange(self) -> str:
        """Id of the vector in the making."""
        return self._first.exchange

    @property
    def head(self) -> Chunk:
        """What the first chunk said of the vector."""
        return self._first

    def add(self, chunk: Chunk, payload: bytes | memoryview, *, finite: bool) -> Arrival | None:
        """Takes the next chunk; the whole vector once it is complete, else `None`.

        Args:
            chunk: header of the chunk.
            payload: its bytes, which nobody changes any more.
            finite: whether they are finite numbers (found out by the shell, which has numpy).
        Raises:
            VectorError: if the chunk does not continue the vector, or completes a wrong one.
        """
        self._check(chunk, len(payload), finite)
        self._parts.append(payload)
        self._hash.update(payload)
        self.held_bytes += len(payload)
        return self._complete() if chunk.is_last else None

    def _check(self, chunk: Chunk, size: int, finite: bool) -> None:
        first = self._first
        # Everything that a chunk says of its vector; what it says of itself may differ.
        place = {"begin": first.begin, "end": first.end}
        if first != msgspec.structs.replace(chunk, clock=first.clock, asks=first.asks, **place):
            raise self._error("changed", "the header of the first chunk", "another")
        if chunk.begin != self.held_bytes:
            raise self._error("order", f"byte {self.held_bytes}", f"{chunk.begin}")
        is_whole = 0 < size == chunk.end - chunk.begin and size % NET_WORD_BYTES == 0
        if not is_whole or chunk.end > first.total_bytes:
            raise self._error("size", "whole float32 numbers within the vector", f"{size} bytes")
        if not finite:
            raise self._error("not_finite", "finite numbers", "NaN or infinity")

    def _complete(self) -> Arrival:
        first = self._first
        if self._hash.digest() != first.digest:
            raise self._error("digest", "the declared digest", "another")
        return Arrival(
            peer=self.peer,
            exchange=first.exchange,
            nets=first.nets,
            round=first.round,
            data=b"".join(self._parts),
            purpose=first.purpose,
            origin=first.origin,
            slot=first.slot,
            number=first.number,
            weight=first.weight,
            answers=first.answers,
        )

    def _error(self, reason: str, expected: str, got: str) -> VectorError:
        at = f"peer `{self.peer}`, exchange `{self.exchange}`"
        return VectorError(reason, expected=expected, got=got, at=at)
