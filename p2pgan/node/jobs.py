"""What a training thread can be asked to do, and how each job becomes an event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn

from p2pgan.errors import CheckpointError
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival
from p2pgan.types import Net

Judging = do.Judge | do.Adopt | do.Score | do.Save
"""Jobs of whoever has a generator, and of whoever saves."""

Federated = do.Pack | do.Average
Split = do.Generate | do.Learn | do.MakeDiscriminator | do.TakeDiscriminator | do.Criticise

Job = do.Train | do.Mix | Judging | Federated | Split


@dataclass(frozen=True, kw_only=True)
class NodeScores:
    """What a generator is worth."""

    fid: float
    ms: float
    samples: int


class Criticised(NamedTuple):
    """What a discriminator made of an iteration."""

    feedback: bytes
    loss_g: float
    loss_d: float
    train_s: float


class NodeWork:
    """What a node can do with its networks; called from the training thread only.

    Every kind of node does a part of it, and its machine asks for no more.
    """

    def train(self, iterations: int) -> tuple[float, float]:
        """So many iterations; mean losses of generator and discriminator."""
        self._cannot(iterations)

    def snapshot(self) -> Mapping[Net, bytes]:
        """Every network as it is exchanged, in little-endian float32 bytes, copied; empty where
        none is sent as it is."""
        return {}

    def mix(self, arrivals: Sequence[Arrival]) -> Mapping[str, float]:
        """Mixes arrivals in; the weight that each was given, by exchange id."""
        self._cannot(arrivals)

    def judge(self, arrival: Arrival) -> float:
        """Scores somebody else's generator on the own shard; less is better."""
        self._cannot(arrival)

    def adopt(self, arrival: Arrival) -> None:
        """Replaces the own networks by those of an arrival."""
        self._cannot(arrival)

    def score(self) -> NodeScores:
        """Scores the generator."""
        self._cannot()

    def save(self, state: bytes) -> Path | None:
        """Saves the networks, and what the machine says of itself; where, if there is anything."""
        self._cannot(state)

    def pack(self) -> tuple[bytes, int]:
        """What is to be sent, copied, and the number that goes with it."""
        self._cannot()

    def average(self, updates: Sequence[Arrival]) -> Mapping[str, float]:
        """Makes the next model; the weight of each update, by exchange id."""
        self._cannot(updates)

    def generate(self, slots: Sequence[int]) -> tuple[bytes, ...]:
        """What the discriminators of these slots are to be sent, in this order."""
        self._cannot(slots)

    def learn(self, feedback: Sequence[do.Feedback]) -> Sequence[int]:
        """One step of the generator; the slots whose feedback makes no sense, which is left out."""
        self._cannot(feedback)

    def make(self, slot: int) -> None:
        """Begins with a discriminator's initial weights."""
        self._cannot(slot)

    def take(self, arrival: Arrival) -> None:
        """Goes on with a discriminator that came."""
        self._cannot(arrival)

    def criticise(self, arrival: Arrival) -> Criticised:
        """An iteration of the discriminator on the batches that came."""
        self._cannot(arrival)

    def _cannot(self, *asked: object) -> NoReturn:
        raise AssertionError(f"{type(self).__name__} was asked for {asked}, which others do")


@dataclass(frozen=True, kw_only=True)
class JobDone:
    """A job's end, as an event for the machine."""

    event: ev.Event
    snapshot: Mapping[Net, bytes] = field(default_factory=dict, repr=False)
    """The networks as they are sent from now on; empty: they have not changed."""
    error: BaseException | None = None
    """What the job raised, if it failed."""


def perform(work: NodeWork, job: Job) -> JobDone:
    """Does a job other than training."""
    match job:
        case do.Train():
            raise AssertionError("training is sliced by whoever can stop it")
        case do.Mix():
            weights = work.mix(job.arrivals)
            return JobDone(
                event=ev.MixingDone(weights=tuple(weights.items())), snapshot=work.snapshot()
            )
        case do.Average():
            weights = work.average(job.updates)
            return JobDone(
                event=ev.AveragingDone(weights=tuple(weights.items())), snapshot=work.snapshot()
            )
        case do.Pack():
            data, number = work.pack()
            return JobDone(event=ev.Packed(data=data, number=number))
        case do.Generate() | do.Learn() | do.MakeDiscriminator() | do.TakeDiscriminator():
            return JobDone(event=_split(work, job))
        case do.Criticise():
            done = work.criticise(job.arrival)
            return JobDone(
                event=ev.CriticismDone(
                    data=done.feedback,
                    loss_g=done.loss_g,
                    loss_d=done.loss_d,
                    train_s=done.train_s,
                )
            )
        case _:
            return _judging(work, job)


def _split(
    work: NodeWork, job: do.Generate | do.Learn | do.MakeDiscriminator | do.TakeDiscriminator
) -> ev.Event:
    match job:
        case do.Generate():
            return ev.Generated(payloads=work.generate(job.slots))
        case do.Learn():
            return ev.LearningDone(refused=tuple(work.learn(job.feedback)))
        case do.MakeDiscriminator():
            work.make(job.slot)
        case do.TakeDiscriminator():
            work.take(job.arrival)
    return ev.DiscriminatorReady()


def _judging(work: NodeWork, job: Judging) -> JobDone:
    match job:
        case do.Judge():
            return JobDone(event=ev.JudgingDone(score=work.judge(job.arrival)))
        case do.Adopt():
            work.adopt(job.arrival)
            return JobDone(event=ev.AdoptingDone())
        case do.Score():
            scores = work.score()
            event = ev.ScoringDone(samples=scores.samples, fid=scores.fid, ms=scores.ms)
            return JobDone(event=event, snapshot=work.snapshot())
        case do.Save():
            return _saving(work, job)


def _saving(work: NodeWork, job: do.Save) -> JobDone:
    """A disk that takes nothing does not end a run; whoever asked to save decides what does."""
    try:
        path = work.save(job.state)
    except CheckpointError as error:
        return JobDone(event=ev.SavingFailed(text=str(error)), error=error)
    return JobDone(event=ev.SavingDone(path=str(path or "")))
