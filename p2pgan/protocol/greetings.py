"""When a neighbor is to be greeted again: one timer for all of them.

A part of the peer machine. An answer may be lost on its way (ZeroMQ drops what a full queue does
not take), and a handshake that waits for it would wait for ever.
"""

from typing import Final

from p2pgan.protocol.alarms import Alarms
from p2pgan.protocol.core import Core

GREET_TIMER: Final = "greet"

GREET_AGAIN_S: Final = 1.0
"""Until the second hello: far above the round trip of any network, far below what people notice."""

GREET_AGAIN_MAX_S: Final = 16.0
"""The wait doubles up to this, about the time after which heartbeats end a dead connection."""

REFUSED_S: Final = 60.0
"""How long a refusal lasts before the two try again: long against what a hostile peer could do in a
try, short against a run."""


class Greetings(Alarms[str]):
    """Peers that are to be greeted, and when."""

    __slots__ = ()

    def __init__(self, core: Core) -> None:
        super().__init__(core, GREET_TIMER)
