"""What was decided about vectors that their senders repeat until somebody answers.

An answer may be lost, and the question comes again. Who says yes to one and no to the other leaves
both with the same mass, or neither; so whatever was answered first is answered for ever.
"""

from dataclasses import dataclass, field

from p2pgan.protocol.windows import REPEATED


@dataclass(slots=True)
class Latest:
    """Of one life of a peer."""

    prefix: str
    """What ids of that life begin with."""
    accepted: int = 0
    """Counter of the latest vector that was accepted."""
    refused: int = 0
    """Counter of the latest vector that was refused."""
    reason: str = ""


@dataclass(slots=True)
class Decisions:
    """The latest decisions about each peer's vectors.

    A peer repeats one vector at a time, and begins the next one when that is settled: no more has
    to be remembered.
    """

    latest: dict[str, Latest] = field(default_factory=dict)

    def of(self, peer: str, prefix: str, counter: int) -> str | None:
        """Why a vector was refused; empty: it was accepted; `None`: it is new.

        Args:
            peer: its sender.
            prefix: what ids of the sender's present life begin with.
            counter: its own number in that life.
        """
        latest = self.latest.get(peer)
        if latest is None or latest.prefix != prefix:
            return None
        if counter == latest.accepted:
            return ""
        if counter == latest.refused:
            return latest.reason
        # Settled long ago: its sender has heard the answer, and does not listen.
        return REPEATED if counter < max(latest.accepted, latest.refused) else None

    def decide(self, peer: str, prefix: str, counter: int, reason: str) -> None:
        """Remembers why a vector was refused; an empty reason: that it was accepted."""
        latest = self.latest.get(peer)
        if latest is None or latest.prefix != prefix:
            latest = self.latest[peer] = Latest(prefix)
        if reason:
            latest.refused, latest.reason = counter, reason
        else:
            latest.accepted = counter
