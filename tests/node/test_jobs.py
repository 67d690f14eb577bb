"""Jobs of the training thread: each becomes its own event."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from p2pgan.errors import CheckpointError
from p2pgan.node.jobs import Criticised, Job, NodeScores, NodeWork, perform
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival
from p2pgan.types import Net

ARRIVAL = Arrival(peer="b", exchange="b.1", nets=(), round=1, data=b"1234", slot=2, number=3)


class Told(NodeWork):
    """Does everything, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def snapshot(self) -> Mapping[Net, bytes]:
        return {"G": b"g"}

    def mix(self, order: do.Mix) -> Mapping[str, float]:
        return {arrival.exchange: 0.5 for arrival in order.arrivals}

    def average(self, updates: Sequence[Arrival]) -> Mapping[str, float]:
        return {update.exchange: 1.0 for update in updates}

    def judge(self, arrival: Arrival) -> float:
        return 4.0

    def adopt(self, arrival: Arrival) -> None:
        self.asked.append(arrival)

    def score(self) -> NodeScores:
        return NodeScores(fid=1.0, ms=2.0, samples=3)

    def save(self, state: bytes) -> Path:
        self.asked.append(state)
        return Path("there")

    def pack(self) -> tuple[bytes, int]:
        return b"packed", 9

    def generate(self, slots: Sequence[int]) -> tuple[bytes, ...]:
        return tuple(bytes([slot]) for slot in slots)

    def learn(self, feedback: Sequence[do.Feedback]) -> Sequence[int]:
        return [feedback[-1].slot]

    def make(self, slot: int) -> None:
        self.asked.append(slot)

    def take(self, arrival: Arrival) -> None:
        self.asked.append(arrival)

    def criticise(self, arrival: Arrival) -> Criticised:
        return Criticised(arrival.data, 1.0, 2.0, 0.5)


FEEDBACK = tuple(do.Feedback(slot=slot, data=b"") for slot in (0, 3))

CASES: list[tuple[Job, ev.Event, bool]] = [
    (do.Mix(arrivals=(ARRIVAL,)), ev.MixingDone(weights=(("b.1", 0.5),)), True),
    (do.Average(updates=(ARRIVAL,)), ev.AveragingDone(weights=(("b.1", 1.0),)), True),
    (do.Judge(arrival=ARRIVAL), ev.JudgingDone(score=4.0), False),
    (do.Adopt(arrival=ARRIVAL), ev.AdoptingDone(), False),
    (do.Pack(), ev.Packed(data=b"packed", number=9), False),
    (do.Score(), ev.ScoringDone(fid=1.0, ms=2.0, samples=3), True),
    (do.Save(state=b"state"), ev.SavingDone(path="there"), False),
    (
        do.Generate(iteration=1, slots=(2, 0)),
        ev.Generated(payloads=(b"\x02", b"\x00")),
        False,
    ),
    (do.Learn(iteration=1, feedback=FEEDBACK), ev.LearningDone(refused=(3,)), False),
    (do.MakeDiscriminator(slot=5), ev.DiscriminatorReady(), False),
    (do.TakeDiscriminator(arrival=ARRIVAL), ev.DiscriminatorReady(), False),
    (
        do.Criticise(arrival=ARRIVAL),
        ev.CriticismDone(data=b"1234", loss_g=1.0, loss_d=2.0, train_s=0.5),
        False,
    ),
]


@pytest.mark.parametrize(("job", "event", "is_sent"), CASES, ids=lambda v: type(v).__name__)
def test_a_job_becomes_its_event(job: Job, event: ev.Event, is_sent: bool) -> None:
    """And where networks are sent as they are, a snapshot of what has become of them."""
    done = perform(Told(), job)
    assert done.event == event
    assert done.snapshot == ({"G": b"g"} if is_sent else {})


def test_what_a_job_is_about_reaches_the_work() -> None:
    work = Told()
    for job in (do.Save(state=b"s"), do.MakeDiscriminator(slot=5), do.Adopt(arrival=ARRIVAL)):
        perform(work, job)
    assert work.asked == [b"s", 5, ARRIVAL]


def test_a_disk_that_is_full_is_told_and_not_raised() -> None:
    """Amid a run that is no reason to end; any other error is."""
    full = CheckpointError(expected="room", got="none", at="disk")

    class Full(Told):
        def save(self, state: bytes) -> Path:
            raise full if state else OSError("broken")

    done = perform(Full(), do.Save(state=b"s"))
    assert done.event == ev.SavingFailed(text=str(full))
    assert done.error is full
    with pytest.raises(OSError, match="broken"):
        perform(Full(), do.Save())


@pytest.mark.parametrize(("job", "event", "is_sent"), CASES, ids=lambda v: type(v).__name__)
def test_work_that_is_another_node_s_is_a_bug(job: Job, event: ev.Event, is_sent: bool) -> None:
    del event, is_sent
    with pytest.raises(AssertionError, match="NodeWork was asked for"):
        perform(NodeWork(), job)
