"""What the control socket of a node is asked, and what it answers: typed JSON of bounded size.

Only the user that a node runs as can ask it anything (`local_socket.py`).
"""

from dataclasses import asdict
from typing import Annotated, Final, get_args

import msgspec

from p2pgan.daemon.desk import ask
from p2pgan.errors import RemoteProtocolError
from p2pgan.protocol import events as ev
from p2pgan.protocol.statistics import PeerMachineStatistics, PeerStatistics

ANSWER_TIMEOUT_S: Final = 3.0
"""A node's loop never waits, so it answers within milliseconds unless the machine is overloaded."""


class StatusRequest(msgspec.Struct, frozen=True, tag="status"):
    """How is the node?"""


class PeersRequest(msgspec.Struct, frozen=True, tag="peers"):
    """How are its links?"""


class ScoresRequest(msgspec.Struct, frozen=True, tag="scores"):
    """What was its generator worth?"""

    now: bool = False
    """Whether it should be scored again."""


class PauseRequest(msgspec.Struct, frozen=True, tag="pause"):
    """Train no more for now."""


class ResumeRequest(msgspec.Struct, frozen=True, tag="resume"):
    """Go on training."""


class CheckpointRequest(msgspec.Struct, frozen=True, tag="checkpoint"):
    """Save soon."""


class StopRequest(msgspec.Struct, frozen=True, tag="stop"):
    """Stop in good order, as with SIGTERM."""


Wish = PauseRequest | ResumeRequest | CheckpointRequest | StopRequest
Request = StatusRequest | PeersRequest | ScoresRequest | Wish


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True, tag="status"):
    """A node at a glance."""

    node: str
    run: str
    pid: int
    address: str
    phase: str
    round: int
    iterations: int
    iterations_total: int
    uptime_s: float
    peers_ready: int
    peers: int
    sent: int
    received: int
    dropped: int
    unacknowledged: int
    waiting: int
    clock: int
    refusals: int
    malformed: int
    save_problem: str
    """Why the last checkpoint could not be saved; empty: it could."""
    records_lost: int
    """Lines of the log that could not be written."""
    is_paused: bool
    is_degraded: bool
    alive: int | None = None
    suspects: int | None = None
    dead: int | None = None
    left: int | None = None
    """Members of the run by what the node believes of them; `None`: they do not watch each other.
    """
    local_health: int | None = None
    """Lifeguard's score of the node's own senses, from 0, the best, to 8."""


class PeerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One neighbor of a node."""

    peer: str
    state: str
    greeted_us: bool
    sent: int
    received: int
    mixed: int
    judged: int
    dropped: int
    sent_bytes: int
    received_bytes: int
    faults: int


class PeersAnswer(msgspec.Struct, frozen=True, kw_only=True, tag="peers"):
    """The links of a node."""

    node: str
    peers: list[PeerRow]


class ScoresAnswer(msgspec.Struct, frozen=True, kw_only=True, tag="scores"):
    """What a node's generator was worth when it was scored last; nothing but the node's name, if it
    was not."""

    node: str
    round: int | None = None
    iterations: int | None = None
    fid: float | None = None
    ms: float | None = None
    samples: int | None = None


class Granted(msgspec.Struct, frozen=True, kw_only=True, tag="granted"):
    """It will."""

    node: str
    phase: str
    """Where it stands now."""


class Declined(msgspec.Struct, frozen=True, kw_only=True, tag="declined"):
    """It cannot."""

    node: str
    reason: str


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """The question was none."""

    error: Annotated[str, msgspec.Meta(max_length=500)]


Answer = StatusAnswer | PeersAnswer | ScoresAnswer | Granted | Declined | Refused

NAMES: Final = tuple(str(kind.__struct_config__.tag) for kind in get_args(Request))
"""What can be asked."""

GONE: Final = ("left", "dead", "detached")
"""States of peers that are no neighbors any more."""

_requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
encode = msgspec.json.encode


def decode_request(body: bytes) -> Request | Refused:
    """The question, or the answer to something that is none."""
    try:
        return _requests.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Refused(error=f"expected a request: {', '.join(f'`{name}`' for name in NAMES)}")


def request(address: str, question: Request, timeout_s: float = ANSWER_TIMEOUT_S) -> Answer:
    """Asks a node.

    Raises:
        TransportError: if it is gone, or does not answer in time.
        RemoteProtocolError: if it answers something else.
    """
    try:
        answer = _answers.decode(ask(address, encode(question), timeout_s))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        answer = Refused(error="no answer of a p2pgan node")
    if isinstance(answer, Refused):
        raise RemoteProtocolError(
            expected="an answer of a node of this version",
            got=answer.error,
            at=f"control socket `{address}`",
        )
    return answer


def status_answer(
    statistics: PeerMachineStatistics,
    *,
    pid: int,
    address: str,
    uptime_s: float,
    records_lost: int = 0,
) -> StatusAnswer:
    """A machine's statistics as an answer."""
    peers = statistics.peers
    return StatusAnswer(
        node=statistics.node,
        run=statistics.run,
        pid=pid,
        address=address,
        phase=statistics.phase,
        round=statistics.round,
        iterations=statistics.iterations,
        iterations_total=statistics.iterations_total,
        uptime_s=uptime_s,
        peers_ready=sum(peer.state == "ready" for peer in peers),
        peers=sum(peer.state not in GONE for peer in peers),
        sent=sum(peer.sent for peer in peers),
        received=sum(peer.received for peer in peers),
        dropped=sum(peer.dropped for peer in peers),
        unacknowledged=statistics.unacknowledged,
        waiting=statistics.waiting,
        clock=statistics.clock,
        refusals=statistics.refusals,
        malformed=statistics.malformed,
        save_problem=statistics.save_problem,
        records_lost=records_lost,
        is_paused=statistics.is_paused,
        is_degraded=statistics.is_degraded,
        **(asdict(statistics.members) if statistics.members is not None else {}),
    )


def peers_answer(statistics: PeerMachineStatistics) -> PeersAnswer:
    """A machine's links as an answer."""
    return PeersAnswer(node=statistics.node, peers=[_row(peer) for peer in statistics.peers])


def scores_answer(statistics: PeerMachineStatistics) -> ScoresAnswer:
    """A machine's latest scores as an answer."""
    known = {} if statistics.scores is None else asdict(statistics.scores)
    return ScoresAnswer(node=statistics.node, **known)


def event_of(wish: Wish) -> ev.Event:
    """What a wish is to the machine."""
    match wish:
        case PauseRequest():
            return ev.PauseRequested()
        case ResumeRequest():
            return ev.ResumeRequested()
        case CheckpointRequest():
            return ev.CheckpointRequested()
        case StopRequest():
            return ev.StopRequested(reason="stopped")


def _row(peer: PeerStatistics) -> PeerRow:
    return msgspec.convert(peer, PeerRow, from_attributes=True)
