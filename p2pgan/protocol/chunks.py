"""A vector's bytes <-> chunk messages.

Frames of a few hundred KiB keep heartbeats alive on slow links and memory bounded: a receiver holds
at most one unfinished vector per sender and group of networks, of a size that it knows beforehand.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from p2pgan.errors import RemoteProtocolError
from p2pgan.protocol.messages import DIGEST_BYTES, NET_WORD_BYTES, Chunk, Nets, Purpose


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
    """BLAKE2b-256."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


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


def split(data: bytes, order: Order, *, chunk_bytes: int) -> Iterator[tuple[Chunk, memoryview]]:
    """The chunk messages of a vector with their payloads, which are views into `data`.

    Args:
        data: float32 bytes of the whole vector, not empty.
        order: what they say of it.
        chunk_bytes: size of a chunk; rounded down to whole float32 numbers.
    """
    step = max(NET_WORD_BYTES, chunk_bytes - chunk_bytes % NET_WORD_BYTES)
    count = -(-len(data) // step)
    digest = digest_of(data)
    for index in range(count):
        head = Chunk(
            clock=order.clock,
            exchange=order.exchange,
            nets=order.nets,
            round=order.round,
            index=index,
            count=count,
            total_bytes=len(data),
            digest=digest,
            purpose=order.purpose,
            origin=order.origin,
            slot=order.slot,
            number=order.number,
            weight=order.weight,
            answers=order.answers,
        )
        yield head, memoryview(data)[index * step : (index + 1) * step]


class Assembler:
    """Joins the chunks of one vector from one peer.

    Invariants: no more than `total_bytes` bytes are held; chunks came in order without a gap; all
    chunks agree on everything but index and clock.
    """

    __slots__ = ("_data", "_first", "_next", "peer")

    def __init__(self, peer: str, first: Chunk, *, expected_bytes: int) -> None:
        """Starts with the first chunk's header (its bytes come through `add` like all others).

        Raises:
            VectorError: if the vector cannot have the size that our own layout needs.
        """
        self.peer = peer
        self._first, self._next, self._data = first, 0, bytearray()
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

    @property
    def held_bytes(self) -> int:
        """Bytes in memory so far."""
        return len(self._data)

    def add(self, chunk: Chunk, payload: bytes | memoryview, *, finite: bool) -> Arrival | None:
        """Takes the next chunk; the whole vector once it is complete, else `None`.

        Args:
            chunk: header of the chunk.
            payload: its bytes.
            finite: whether they are finite numbers (found out by the shell, which has numpy).
        Raises:
            VectorError: if the chunk does not continue the vector, or completes a wrong one.
        """
        self._check(chunk, len(payload), finite)
        self._data += payload
        self._next += 1
        if self._next < self._first.count:
            return None
        return self._complete()

    def _check(self, chunk: Chunk, size: int, finite: bool) -> None:
        first, total = self._first, self._first.total_bytes
        # Everything that a chunk says of its vector; what it says of itself may differ.
        if first != msgspec.structs.replace(chunk, index=first.index, clock=first.clock):
            raise self._error("changed", "the header of the first chunk", "another")
        if chunk.index != self._next:
            raise self._error("order", f"chunk {self._next}", f"{chunk.index}")
        if size == 0 or size % NET_WORD_BYTES or self.held_bytes + size > total:
            raise self._error("size", "whole float32 numbers within the vector", f"{size} bytes")
        if not finite:
            raise self._error("not_finite", "finite numbers", "NaN or infinity")

    def _complete(self) -> Arrival:
        first, data = self._first, bytes(self._data)
        if len(data) != first.total_bytes:
            raise self._error("size", f"{first.total_bytes} bytes", f"{len(data)}")
        if digest_of(data) != first.digest:
            raise self._error("digest", "the declared digest", "another")
        return Arrival(
            peer=self.peer,
            exchange=first.exchange,
            nets=first.nets,
            round=first.round,
            data=data,
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
