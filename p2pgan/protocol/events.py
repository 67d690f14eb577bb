"""What can happen to a peer machine: time, messages, finished work, a wish to stop.

Everything that happened carries plain data; the machine never asks the world for more.
"""

from dataclasses import dataclass, field
from typing import Final

from p2pgan.protocol.messages import Message


class Event:
    """Base of all events, for type annotations."""

    __slots__ = ()


class WorkDone(Event):
    """Base of what ends a piece of work."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """The shell is up: sockets are bound, the networks are built."""

    pid: int | None = None
    address: str | None = None
    control: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp(Event):
    """Our connection to `peer` is there (and says nothing of who answers at its address)."""

    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDown(Event):
    """Our connection to `peer` broke; whatever was queued for it is lost."""

    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Event):
    """Somebody who called us said something. `route` stands for their connection, not for who
    they are."""

    route: bytes
    message: Message
    payload: bytes | memoryview = field(default=b"", repr=False)
    finite: bool = True
    """Whether the payload, read as float32, has neither NaN nor infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Event):
    """Whoever listens at the address of `peer` said something over the connection we made. Nothing
    comes over a connection after its `LinkDown`."""

    peer: str
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed(Event):
    """Bytes came that are no message: from a caller (`route`) or over our own link (`peer`)."""

    route: bytes | None = None
    peer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorReplaced(Event):
    """A newer vector to `peer` took the place of one that still waited to be sent."""

    peer: str
    exchange: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired(Event):
    """The timer of that name is over."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingDone(WorkDone):
    """`Train` is done, or was cut short by `StopTraining`."""

    iterations: int
    """Iterations really made."""
    loss_g: float | None = None
    loss_d: float | None = None
    train_s: float | None = None
    """Seconds that they took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixingDone(WorkDone):
    """`Mix` is done."""

    weights: tuple[tuple[str, float], ...]
    """Share of each arrival in the mixture, by exchange id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingDone(WorkDone):
    """`Judge` is done."""

    score: float
    """Less is better; infinity for networks that have diverged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptingDone(WorkDone):
    """`Adopt` is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed(WorkDone):
    """`Pack` is done."""

    data: bytes = field(repr=False)
    number: int = 0
    """Adam's steps so far of a discriminator; images that an update rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragingDone(WorkDone):
    """`Average` is done."""

    weights: tuple[tuple[str, float], ...]
    """Share of each update in the mean, by exchange id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated(WorkDone):
    """`Generate` is done."""

    payloads: tuple[bytes, ...] = field(repr=False)
    """What each slot of the instruction is to be sent, in its order: the batch to learn from and
    the batch to judge, each `B C H W` float32 and, if conditional, `B` labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningDone(WorkDone):
    """`Learn` is done."""

    refused: tuple[int, ...] = ()
    """Slots whose feedback made no sense (positions out of range), and was left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscriminatorReady(WorkDone):
    """`MakeDiscriminator` or `TakeDiscriminator` is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticismDone(WorkDone):
    """`Criticise` is done."""

    data: bytes = field(repr=False)
    """The feedback, as it is to be sent."""
    loss_g: float
    """Of the batch that was judged."""
    loss_d: float
    """Mean over the `L` steps."""
    train_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringDone(WorkDone):
    """`Score` is done."""

    samples: int
    fid: float | None = None
    ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingDone(WorkDone):
    """`Save` is done."""

    path: str
    """Empty: there was nothing to save."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingFailed(WorkDone):
    """`Save` could not write: the disk is full, say. What was saved before is still there."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkFailed(Event):
    """Some work raised; there is no way to go on."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested(Event):
    """Somebody wants this node to stop in good order."""

    reason: str = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort(Event):
    """Stop now: save nothing, wait for nobody."""

    reason: str = "aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRequested(Event):
    """Somebody wants this node to train no more for now, and to go on answering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRequested(Event):
    """Somebody wants this node to go on training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRequested(Event):
    """Somebody wants this node to save soon, and to go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresRequested(Event):
    """Somebody wants this node to score its generator soon, and to go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkStalled(Event):
    """Whoever does the work shows no sign of life, or shows one again."""

    is_stalled: bool


_HEARD: Final = (Received, Answered)

Kinds = tuple[type[Event], type[Message] | None]
"""What an event is, and the message that it brings: all that is told of it later, without a peer's
text or a vector's bytes."""


def kinds(event: Event) -> Kinds:
    """What an event is."""
    return type(event), type(event.message) if isinstance(event, _HEARD) else None


def in_short(kinds: Kinds) -> str:
    """The same in a few words."""
    event, message = kinds
    return event.__name__ if message is None else f"{event.__name__}({message.__name__})"
