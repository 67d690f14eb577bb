"""When a node saves amid its run, and what its machine goes on from.

A node saves after so many rounds, or so many seconds at the end of a round, or when somebody wants
it to. A save that fails is told and borne; where time counts, the next try comes soon, and later
the longer the disk takes nothing.
"""

from typing import Final, TypeVar

import msgspec

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol.decisions import Latest
from p2pgan.protocol.windows import Met

RETRY_FIRST_S: Final = 2.0
"""Wait after the first save that fails: a full disk is often emptied by whoever filled it."""

RETRY_MAX_S: Final = 60.0
"""Waits double, up to this."""

FINAL_TRIES: Final = 4
"""How often a node that ends tries to save, within its time to drain."""

S = TypeVar("S")


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer's machine goes on from."""

    round: int
    """Rounds finished."""
    iterations: int
    """Made so far, those of a round that was cut short among them."""
    clock: int
    lonely_rounds: int = 0
    weight: float = 1.0
    """How much its networks count, where weights travel."""
    sent: int = 0
    """Vectors that it has sent: exchange ids never come twice."""
    met: dict[str, Met] = {}
    """Which vectors of each neighbor have come."""
    decided: dict[str, Latest] = {}
    """What was said about those that their senders repeat."""


def decoded(data: bytes, kind: type[S]) -> S:
    """The state of a machine.

    Raises:
        LocalProtocolError: if it is none of that kind.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LocalProtocolError(
            expected="the state of such a node", got=f"`{error}`", at="checkpoint"
        ) from None


class Saves:
    """When the next save is due, and what came of the last one.

    Args:
        every: rounds between two; 0: rounds do not count.
        every_s: seconds between two; 0: time does not count.
    """

    __slots__ = ("_every", "_every_s", "_failed", "_last_s", "is_wanted", "problem")

    def __init__(self, every: int, every_s: float) -> None:
        self._every, self._every_s = every, every_s
        self._last_s = 0.0
        self._failed = 0
        """Saves since one went well."""
        self.is_wanted = False
        """Whether somebody waits for the next one."""
        self.problem = ""
        """Why the last one failed; empty: it did not."""

    def start(self, now: float) -> None:
        """The node is up."""
        self._last_s = now

    def is_due(self, round: int, now: float) -> bool:
        """Whether to save at the end of a round."""
        by_round = self._every > 0 and round % self._every == 0
        by_time = self._every_s > 0 and now - self._last_s >= self._every_s
        return self.is_wanted or by_round or by_time

    def done(self, now: float) -> None:
        """A save went well."""
        self._last_s, self._failed, self.problem = now, 0, ""

    def failed(self, text: str, now: float) -> None:
        """A save went wrong."""
        self._last_s, self.problem = now, text
        self._failed += 1

    @property
    def retry_s(self) -> float | None:
        """Wait before the next try; `None`: rounds tell."""
        if not self._every_s:
            return None
        wait_s = RETRY_FIRST_S * 2.0 ** min(self._failed - 1, 10)
        return min(wait_s, RETRY_MAX_S, max(self._every_s, RETRY_FIRST_S))
