"""What a peer machine asks of its shell; finished work comes back as an event.

Instructions are carried out in the order given.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from p2pgan.protocol.chunks import Arrival
from p2pgan.protocol.messages import Message, Nets, Purpose


class Instruction:
    """Base of all instructions, for type annotations."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Send(Instruction):
    """Send over our own connection to `peer`, behind everything already queued there."""

    peer: str
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Instruction):
    """Answer the caller behind `route`; it may be gone, which is no fault."""

    route: bytes
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class SendVector(Instruction):
    """Send our own networks to `peer` in chunks, as they are now (before any later `Mix`), or those
    that somebody else has trained."""

    peer: str
    exchange: str
    nets: Nets
    round: int
    clock: int
    purpose: Purpose = "mix"
    origin: str = ""
    """Who has trained them; empty where they are to be mixed."""
    slot: int = 0
    number: int = 0
    weight: float = 0.0
    answers: str = ""
    """As in `Chunk`."""
    data: bytes = field(default=b"", repr=False)
    """The bytes to send; empty: our own networks."""
    keep: bool = False
    """Whether the vector is needed again, until `Forget`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resend(Instruction):
    """Send a vector that was kept once more, as it was; it may have come, or not."""

    exchange: str
    clock: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(Instruction):
    """A vector that was kept is needed no more, but by instructions before this one."""

    exchange: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Train(Instruction):
    """Train for so many iterations, then tell `TrainingDone`."""

    iterations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTraining(Instruction):
    """Let the running `Train` end early; its `TrainingDone` says how far it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix(Instruction):
    """Mix the arrivals into our own networks, then tell `MixingDone`.

    Those without a base make a weighted mean with our own. Of one with a base half the difference
    is added: `x <- x + (arrival - base) / 2`.
    """

    arrivals: tuple[Arrival, ...]
    """One without data is a vector of ours that came back: it is among those that are kept."""
    own: float = 1.0
    """Weight of our own networks."""
    weights: tuple[float, ...] = ()
    """Of the arrivals, in their order, on the same scale as our own; empty: 1 each."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """By exchange id of an arrival: id of the vector of ours that is its base."""
    kept: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """By exchange id, the vectors of ours that are needed. The shell puts them in."""

    @property
    def came(self) -> tuple[Arrival, ...]:
        """Arrivals from others."""
        return tuple(arrival for arrival in self.arrivals if arrival.data)

    @property
    def needed(self) -> frozenset[str]:
        """Exchange ids of the vectors of ours that it takes."""
        returned = {arrival.exchange for arrival in self.arrivals if not arrival.data}
        return frozenset(returned.union(self.bases.values()))

    def with_kept(self, kept: Mapping[str, bytes]) -> "Mix":
        """The same with what it needs out of all that is kept."""
        return replace(self, kept={exchange: kept[exchange] for exchange in self.needed})


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge(Instruction):
    """Score the generator of an arrival on our own shard, then tell `JudgingDone`."""

    arrival: Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt(Instruction):
    """Replace our own networks by an arrival, then tell `AdoptingDone`."""

    arrival: Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack(Instruction):
    """Copy what is to be sent, then tell `Packed`: a worker's update of FL-GAN, or in MD-GAN its
    discriminator with its moments, if they travel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Average(Instruction):
    """FL-GAN's coordinator: make the next model of the updates, then tell `AveragingDone`."""

    updates: tuple[Arrival, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate(Instruction):
    """MD-GAN's coordinator: generate batches for these discriminators, then tell `Generated`.

    They are kept until their feedback is learned, or until batches are made for the same slots.
    """

    iteration: int
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What one discriminator says of the batch that it was sent to judge."""

    slot: int
    data: bytes = field(repr=False)
    """As it came: `B C H W` float32, or the largest values and then their positions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learn(Instruction):
    """MD-GAN's coordinator: one step of the generator, then tell `LearningDone`."""

    iteration: int
    """Of the batches that the feedback is about."""
    feedback: tuple[Feedback, ...]
    """In order of slots, at least one; the gradient is their mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeDiscriminator(Instruction):
    """MD-GAN's worker: begin with that discriminator's initial weights, then tell
    `DiscriminatorReady`."""

    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeDiscriminator(Instruction):
    """MD-GAN's worker: go on with a discriminator that came, then tell `DiscriminatorReady`."""

    arrival: Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Criticise(Instruction):
    """MD-GAN's worker: `L` steps of the discriminator and the feedback on the batches that came,
    then tell `CriticismDone`."""

    arrival: Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Instruction):
    """Score the generator, then tell `ScoringDone`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Save(Instruction):
    """Save the networks, then tell `SavingDone`."""

    state: bytes = b""
    """What the machine needs to go on from there; empty: nobody goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTimer(Instruction):
    """Tell `TimerFired(name)` at `at_s`, on the clock that `now` is read from."""

    name: str
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTimer(Instruction):
    """Forget the timer, if it is still set."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial(Instruction):
    """Connect to a peer, or to where it is now; what waits for it is given up."""

    peer: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp(Instruction):
    """Close our connection to a peer, once what waits for it is sent; its end is told to nobody."""

    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Instruction):
    """Write a line to the log, before any later instruction takes effect."""

    kind: str
    fields: Mapping[str, Any]
    clock: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Close(Instruction):
    """All is done: close the sockets and end."""

    reason: str
    failure: str = ""
    """What went wrong, for people; empty if nothing did."""
    hint: str = ""
