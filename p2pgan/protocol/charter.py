"""What a newcomer has to know of a run, and how a member tells it in parts.

Anybody is told who can reach a member: neither configuration nor overlay is a secret. Members
answer from what they have and remember nothing of who asks.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec

from p2pgan.errors import RemoteProtocolError
from p2pgan.protocol.messages import (
    MAX_INVITATION_BYTES,
    PROTOCOL_VERSION,
    TABLE_DIGEST_BYTES,
    Inquire,
    Invitation,
    Member,
    Name,
)

MAX_CHARTER_BYTES: Final = 2**24
"""A configuration, an overlay of thousands of nodes and their addresses are a twentieth of it."""

AT: Final = "what a member says of its run"


class Charter(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as its members know it."""

    run: Name
    config: str
    """The shared settings, TOML."""
    overlay: str
    """Where the overlay began, node-link JSON."""
    members: Annotated[tuple[Member, ...], msgspec.Meta(max_length=65_536)]
    """Everybody that was ever there."""

    def encode(self) -> bytes:
        """To be cut into parts."""
        return msgspec.msgpack.encode(self)


_decoder: msgspec.msgpack.Decoder[Charter] = msgspec.msgpack.Decoder(Charter)


def answer(inquire: Inquire, charter: bytes, clock: int) -> Invitation:
    """The part that is asked for; the last one, if there is no such part."""
    parts = max(1, -(-len(charter) // MAX_INVITATION_BYTES))
    part = min(inquire.part, parts - 1)
    begin = part * MAX_INVITATION_BYTES
    return Invitation(
        clock=clock,
        protocol=PROTOCOL_VERSION,
        digest=hashlib.blake2b(charter, digest_size=TABLE_DIGEST_BYTES).digest(),
        part=part,
        parts=parts,
        data=charter[begin : begin + MAX_INVITATION_BYTES],
    )


def read(ask: Callable[[Inquire], Invitation]) -> Charter:
    """The whole of it, part by part.

    Args:
        ask: asks one member, and returns its answer.
    Raises:
        RemoteProtocolError: if that is of another version, or no charter, or changes all the time.
    """
    for _ in range(_TRIES):
        parts = _parts(ask)
        if parts is not None:
            return _decoded(b"".join(parts))
    raise RemoteProtocolError(
        expected="one answer", got=f"{_TRIES} that changed in between", at=AT, hint="try again"
    )


_TRIES: Final = 5


def _parts(ask: Callable[[Inquire], Invitation]) -> Sequence[bytes] | None:
    """All parts; `None`: members came or went in between."""
    first = _asked(ask, 0)
    if first.parts * MAX_INVITATION_BYTES > MAX_CHARTER_BYTES:
        raise RemoteProtocolError(
            expected=f"at most {MAX_CHARTER_BYTES} bytes", got=f"{first.parts} parts", at=AT
        )
    found = [first.data]
    for part in range(1, first.parts):
        invitation = _asked(ask, part)
        if (invitation.digest, invitation.part) != (first.digest, part):
            return None
        found.append(invitation.data)
    return found


def _asked(ask: Callable[[Inquire], Invitation], part: int) -> Invitation:
    invitation = ask(Inquire(clock=0, protocol=PROTOCOL_VERSION, part=part))
    if invitation.protocol != PROTOCOL_VERSION:
        raise RemoteProtocolError(
            expected=f"protocol {PROTOCOL_VERSION}", got=f"{invitation.protocol}", at=AT,
            hint="install the same version of p2pgan on both sides",
        )  # fmt: skip
    return invitation


def _decoded(data: bytes) -> Charter:
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RemoteProtocolError(expected="a run", got="other bytes", at=AT) from None
