"""Frames that came become events, whoever carried them."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from p2pgan.errors import RemoteProtocolError
from p2pgan.node.tallies import Tallies
from p2pgan.protocol import events as ev
from p2pgan.protocol.messages import NET_WORD_BYTES
from p2pgan.protocol.wire import decode

Frames = Sequence[bytes | memoryview]

INFINITY: Final = 0x7F800000
MINUS_INFINITY: Final = 0xFF800000
"""Bits of the two as float32; a NaN has more, with the same sign."""


def received(route: bytes, frames: Frames, tallies: Tallies) -> ev.Received | ev.Malformed:
    """What a caller said.

    Args:
        route: stands for its connection.
        frames: without the route.
        tallies: count it; what cannot be read is not counted.
    """
    try:
        message, payload = decode(frames)
    except RemoteProtocolError:
        return ev.Malformed(route=route)
    tallies.received(message, frames)
    return ev.Received(route=route, message=message, payload=payload, finite=is_finite(payload))


def answered(peer: str, frames: Frames, tallies: Tallies) -> ev.Answered | ev.Malformed:
    """What came back over our own connection to a peer; counted as `received`."""
    try:
        message, _ = decode(frames)
    except RemoteProtocolError:
        return ev.Malformed(peer=peer)
    tallies.received(message, frames)
    return ev.Answered(peer=peer, message=message)


def is_finite(payload: bytes | memoryview) -> bool:
    """Whether the bytes, read as float32, have neither NaN nor infinity."""
    whole = len(payload) - len(payload) % NET_WORD_BYTES
    if not whole:
        return True
    # Compared as integers, which float32 numbers of one sign are ordered as: nothing is copied.
    above_0 = np.frombuffer(payload, dtype="<i4", count=whole // NET_WORD_BYTES).max()
    below_0 = np.frombuffer(payload, dtype="<u4", count=whole // NET_WORD_BYTES).max()
    return bool(above_0 < INFINITY and below_0 < MINUS_INFINITY)
