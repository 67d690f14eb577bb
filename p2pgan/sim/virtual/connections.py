"""What connections of the simulated network are: lanes, sessions, and what is on its way there."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from p2pgan.node.outbox import Frames, Outbox, QueuedVector
from p2pgan.sim.virtual.links import Delivery
from p2pgan.sim.virtual.timeline import Due


class Copy(NamedTuple):
    """A chunk of a vector that comes a second time."""

    frames: Frames
    delivery: Delivery


@dataclass(slots=True)
class Lane:
    """One direction of a session."""

    ends: tuple[str, str]
    """Who sends there, and who receives."""
    is_open: bool = True
    """Whether what is on its way still arrives."""
    last_s: float = 0.0
    """When the latest message arrives that keeps the order."""
    in_flight: int = 0
    """Messages on their way."""
    vector: str | None = None
    """The latest vector that was sent there."""
    vector_s: float = 0.0
    """When its latest chunk arrives: chunks keep their order, even those of what overtakes."""
    doubled: list["Copy"] = field(default_factory=list)
    """Its chunks so far, if it comes twice."""
    copies: deque["Copy"] = field(default_factory=deque)
    """What is left to send of its second copy: that follows the whole first one."""
    stuck: list["Passage"] = field(default_factory=list)
    """What has arrived where nobody takes it, in order."""


@dataclass(slots=True, eq=False)
class Session:
    """A connection from its making to its end."""

    caller: str
    callee: str
    route: bytes
    forward: Lane = field(init=False)
    back: Lane = field(init=False)

    def __post_init__(self) -> None:
        self.forward = Lane((self.caller, self.callee))
        self.back = Lane((self.callee, self.caller))


@dataclass(slots=True)
class Passage:
    """A message on its way."""

    session: Session
    lane: Lane
    frames: Frames


@dataclass(slots=True, eq=False)
class Connection:
    """What a node has to reach one neighbor: a queue, and a session while it stands."""

    caller: str
    callee: str
    outbox: Outbox = field(default_factory=Outbox)
    sessions: int = 0
    session: Session | None = None
    dialling: Due | None = None
    silence: Due | None = None
    """When it will be cut, if nothing is heard until then."""
    spoiled_s: float = -1.0
    """When something on it was last lost or changed; negative: never."""
    under_way: QueuedVector | None = None
    """The latest that was begun to be sent."""
    begun: int = 0
    """Vectors that were, one that is sent again counted again."""
    resuming: Due | None = None
    """When a vector that waits for credit goes on without it."""

    def begins(self, vector: QueuedVector) -> None:
        """A chunk of it is sent, the first perhaps."""
        if vector is not self.under_way:
            self.under_way = vector
            self.begun += 1


class Backlog(NamedTuple):
    """What a connection has to carry."""

    messages: int
    """That wait in the caller's own queue, vectors apart."""
    vectors: int
    """That wait there, or have begun."""
    in_flight: int
    """Messages on their way, in the busier direction."""
