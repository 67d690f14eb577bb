"""Frames that came become events, whoever carried them."""

from collections.abc import Sequence

import numpy as np

from p2pgan.errors import RemoteProtocolError
from p2pgan.node.tallies import Tallies
from p2pgan.protocol import events as ev
from p2pgan.protocol.messages import NET_WORD_BYTES
from p2pgan.protocol.wire import decode

Frames = Sequence[bytes | memoryview]


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
    return bool(np.isfinite(np.frombuffer(payload[:whole], dtype="<f4")).all())
