"""Snapshots of a peer machine for status pages; they change nothing and cannot be changed."""

from dataclasses import asdict, dataclass

from p2pgan.protocol.exchanges import Traffic
from p2pgan.protocol.links import Link


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatistics:
    """What a status page shows of one neighbor."""

    peer: str
    state: str
    """`down`, `greeted`, `ready`, `refused` or `left`; or what members believe of it, if it is not
    just there: `suspect`, `dead`, `degraded`, `detached`."""
    greeted_us: bool
    """Whether its own vectors can reach us."""
    faults: int
    sent: int
    sent_bytes: int
    received: int
    received_bytes: int
    mixed: int
    judged: int
    dropped: int

    @classmethod
    def of(cls, link: Link, traffic: Traffic, believed: str = "") -> "PeerStatistics":
        """From what the machine knows of the neighbor, and what members believe of it."""
        return cls(
            peer=link.peer,
            state="left" if link.left else believed or link.outward.value,
            greeted_us=link.route is not None,
            faults=link.faults,
            **asdict(traffic),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreStatistics:
    """What the generator was worth when it was scored last."""

    round: int
    iterations: int
    fid: float | None
    ms: float | None
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatistics:
    """Everybody who was ever there, as a node sees it."""

    alive: int
    suspects: int
    dead: int
    left: int
    local_health: int
    """Lifeguard's score of the node's own senses, from 0, the best, to 8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerMachineStatistics:
    """What a status page shows of a node."""

    node: str
    run: str
    phase: str
    round: int
    """Rounds finished."""
    iterations: int
    iterations_total: int
    clock: int
    unacknowledged: int
    """Vectors sent and not yet acknowledged."""
    waiting: int
    """Vectors received and not yet mixed."""
    held_bytes: int
    lonely_rounds: int
    """Rounds without anybody to send to."""
    refusals: int
    strangers: int
    """Messages of callers that were not welcomed."""
    malformed: int
    save_problem: str
    """Why the last save has failed; empty: it has not."""
    is_paused: bool
    """Whether somebody wants it to train no more for now; its phase may not say so yet."""
    is_degraded: bool
    """Whether its work shows no sign of life."""
    members: MemberStatistics | None
    """`None`: members do not watch each other."""
    scores: ScoreStatistics | None
    """The latest; `None`: it was not scored yet."""
    peers: tuple[PeerStatistics, ...]
