"""What a machine may do of its own at the moments of every life."""

from p2pgan.protocol import events as ev
from p2pgan.protocol.chunks import Arrival
from p2pgan.protocol.exchanges import Outgoing
from p2pgan.protocol.links import Link
from p2pgan.protocol.messages import Message
from p2pgan.protocol.statistics import ScoreStatistics


class Moments:
    """Moments at which a machine may have something to do of its own; by default it has not."""

    __slots__ = ()

    def _go_on(self) -> None:
        """Something came from the network, or changed there."""

    def _let_go(self) -> None:
        """The node leaves: accounts for the vectors that it has in hand."""

    def _hear(self, link: Link, message: Message) -> bool:
        """A caller says something of its own kind; `False` if it cannot."""
        del link, message
        return False

    def _called(self, link: Link) -> None:
        """A peer said hello, and was welcomed."""

    def _welcomed(self, link: Link) -> None:
        """A peer takes our vectors."""

    def _left(self, link: Link) -> None:
        """A peer is about to stop."""

    def _lost(self, peer: str) -> None:
        """Our connection to a peer broke."""

    def _spoiled(self, link: Link, reason: str) -> None:
        """A vector could not be taken."""

    def _unwanted(self, arrival: Arrival) -> str:
        """Why a vector that came whole is not taken now; empty: it is."""
        del arrival
        return ""

    def _accepted(self, out: Outgoing) -> None:
        """A vector of ours was taken."""

    def _returned(self, out: Outgoing, reason: str) -> None:
        """A vector of ours was refused."""

    def _objection(self, wish: ev.Event) -> str:
        """Why a wish that a running node could grant cannot be; empty: it can."""
        del wish
        return "only a node of a run without a coordinator can do that"

    def _grant(self, wish: ev.Event) -> None:
        """Does what somebody wishes, now or as soon as can be."""

    def _saved(self) -> None:
        """The last `Save` is done; the node is about to leave."""

    def _kept(self) -> None:
        """A `Save` amid the run is done, or has failed; the node goes on."""

    def _save_soon(self) -> None:
        """Somebody wants a checkpoint, before the next one would be due."""

    def _state(self) -> bytes:
        """What goes into a checkpoint beside the networks."""
        return b""

    def _held_bytes(self) -> int:
        """Bytes of vectors in hand."""
        return 0

    def _is_paused(self) -> bool:
        """Whether somebody wants it to train no more for now."""
        return False

    def _scores(self) -> ScoreStatistics | None:
        """The latest ones, if there are any."""
        return None
