"""Work in virtual time: training lasts as long as the machine needs, and is computed together.

Between its begin and its end a training depends on nothing but its own node. So nobody's is
computed before somebody's is due, and then all that have begun are, in one batched call: exact,
however the machines differ in speed, and as large as can be. Whoever may be stopped before its end
by a stop that is planned (`virtual.duration_s`) waits for that, and is computed as far as it comes;
a stop that nobody knew of finds some computed to their end, and they count in full.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from p2pgan.gan.cohort import Trainees
from p2pgan.node.jobs import Job, JobDone, NodeWork, perform
from p2pgan.node.work import CohortWork
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.sim.virtual.timeline import Action, Due, Timeline

SPLIT_SHARE: Final = 0.5
"""Of an iteration, what a step of MD-GAN takes: its workers have the discriminator's part, about
half of the work (thesis, section 5.2.3), and its coordinator the generator's."""

Losses = tuple[float | None, float | None]
"""Of a generator and a discriminator."""


class Computer(Protocol):
    """What computes trainings; `together` and `one_by_one` make one."""

    def __call__(self, orders: Sequence[tuple[NodeWork, int]]) -> Sequence[Losses]:
        """So many iterations of each of these; their losses."""


def one_by_one(orders: Sequence[tuple[NodeWork, int]]) -> Sequence[Losses]:
    """Each work trains itself."""
    return [work.train(iterations) for work, iterations in orders]


def together(cohort: Trainees) -> Computer:
    """Rows of this cohort are trained in one call for each number of iterations."""

    def compute(orders: Sequence[tuple[NodeWork, int]]) -> Sequence[Losses]:
        losses: list[Losses] = [(None, None)] * len(orders)
        counts: dict[int, list[int]] = {}
        for number, (work, iterations) in enumerate(orders):
            if isinstance(work, CohortWork) and work.row.cohort is cohort:
                work.begin(iterations)
                counts.setdefault(iterations, []).append(number)
            else:
                losses[number] = work.train(iterations)
        for iterations, numbers in counts.items():
            works = {n: work for n in numbers if isinstance(work := orders[n][0], CohortWork)}
            trained = cohort.train(iterations, [work.row.place for work in works.values()])
            for number, work in works.items():
                losses[number] = work.trained(iterations, trained)
        return losses

    return compute


@dataclass(slots=True, eq=False)
class Training:
    """A `Train` that has begun."""

    work: NodeWork
    iterations: int
    losses: Losses | None = None
    """Once it is computed."""
    ends_s: float = math.inf
    """When it ends; infinite while that is not certain, since its node stands still, or will."""


@dataclass(slots=True, eq=False)
class Task:
    """Something that takes time."""

    begun_s: float
    due: Due
    finish: Action
    held_s: float = 0.0
    """How long it has stood still."""


class Together:
    """Trainings that have begun and are not computed yet.

    Args:
        compute: computes them.
        until_s: when all nodes will be stopped; infinite: nobody plans to.
    """

    def __init__(self, compute: Computer, until_s: float = math.inf) -> None:
        self._compute, self._until_s = compute, until_s
        self._waiting: list[Training] = []
        self.calls = 0
        """Batched ones."""
        self.trainings = 0
        self.trained = 0
        """Iterations, of all nodes together."""

    def begin(self, training: Training) -> None:
        """Adds one."""
        self._waiting.append(training)

    def drop(self, training: Training) -> None:
        """Its node is gone; nobody needs it."""
        if training in self._waiting:
            self._waiting.remove(training)

    def losses_of(self, training: Training) -> Losses:
        """Those of one that is due; all that wait and will come to their end are computed with
        it."""
        if training.losses is None:
            ready: list[Training] = []
            later: list[Training] = []
            for one in self._waiting:
                is_ready = one is training or one.ends_s <= self._until_s
                (ready if is_ready else later).append(one)
            self._waiting = later
            results = self._compute([(one.work, one.iterations) for one in ready])
            for one, losses in zip(ready, results, strict=True):
                one.losses = losses
            self.calls += 1
            self.trainings += len(ready)
            self.trained += sum(one.iterations for one in ready)
        assert training.losses is not None, "a training that never began"
        return training.losses


class VirtualWorker:
    """One node's work, as `p2pgan.node.host.Worker` wants it. Training takes time, and so do the
    steps of MD-GAN; all else is done at once.

    Args:
        timeline: virtual time.
        together: what computes trainings.
        work: the node's networks, or what stands for them.
        iteration_s: seconds that an iteration takes.
        outcome: takes what has come of a job, and whether the machine has to be told: it is at work
            while it gives a job.
        standstills_s: when it will have to stand still, ascending.
    """

    def __init__(
        self,
        timeline: Timeline,
        together: Together,
        work: NodeWork,
        iteration_s: float,
        outcome: Callable[[JobDone, bool], None],
        standstills_s: Sequence[float] = (),
    ) -> None:
        self._timeline, self._together, self._work = timeline, together, work
        self._iteration_s, self._outcome = iteration_s, outcome
        self._standstills_s = standstills_s
        self._task: Task | None = None
        self._training: Training | None = None
        """What the task is, if it is that."""
        self._stood_s: float | None = None
        """Since when it stands still, if it does."""

    def give(self, job: Job) -> None:
        """Does a job, at once or in time."""
        match job:
            case do.Train():
                self._training = Training(self._work, job.iterations)
                self._together.begin(self._training)
                self._begin(job.iterations * self._iteration_s, self._trained)
            case do.Criticise() | do.Learn():
                self._begin(SPLIT_SHARE * self._iteration_s, partial(self._stepped, job))
            case _:
                self._outcome(perform(self._work, job), False)

    def stop_training(self) -> None:
        """Ends the running training where it is; all of it, if it is computed already, which can
        only be where the stop was not planned."""
        task, training = self._task, self._training
        if task is None or training is None:
            return
        if training.losses is None:
            until_s = self._timeline.now if self._stood_s is None else self._stood_s
            spent_s = until_s - task.begun_s - task.held_s
            done = int(spent_s / self._iteration_s + 1e-9)
            training.iterations = min(training.iterations, max(0, done))
            if not training.iterations:  # others are perhaps computed before its end is told
                self._together.drop(training)
        task.due.call_off()
        task.due = self._timeline.after(0.0, task.finish)
        self._foresee()

    def hold(self) -> None:
        """Stands still from now on."""
        if self._stood_s is None:
            self._stood_s = self._timeline.now
            if self._task is not None:
                self._task.due.call_off()
                self._foresee()

    def go_on(self) -> None:
        """Goes on; what was being done ends that much later."""
        if self._stood_s is None:
            return
        stood_s, self._stood_s = self._timeline.now - self._stood_s, None
        task = self._task
        if task is not None and task.due.is_off:  # else it was stopped meanwhile
            task.held_s += stood_s
            task.due = self._timeline.at(task.due.at_s + stood_s, task.finish)
            self._foresee()

    def vanish(self) -> None:
        """The process is gone."""
        if self._task is not None:
            self._task.due.call_off()
        if self._training is not None:
            self._together.drop(self._training)
        self._task = self._training = None

    def _begin(self, lasts_s: float, finish: Action) -> None:
        now = self._timeline.now
        self._task = Task(now, self._timeline.at(now + lasts_s, finish), finish)
        if self._stood_s is not None:  # it stood still between two jobs as well
            self._stood_s = now
            self._task.due.call_off()
        self._foresee()

    def _foresee(self) -> None:
        """Tells the training when it ends, if nothing holds it up until then."""
        task, training, planned = self._task, self._training, self._standstills_s
        if task is None or training is None:
            return
        place = bisect_left(planned, self._timeline.now)
        stands_s = planned[place] if place < len(planned) else math.inf
        is_certain = not task.due.is_off and task.due.at_s < stands_s
        training.ends_s = task.due.at_s if is_certain else math.inf

    def _end(self) -> float:
        """The task is over; seconds since it was begun."""
        task, self._task = self._task, None
        assert task is not None
        return self._timeline.now - task.begun_s

    def _stepped(self, job: Job) -> None:
        train_s = self._end()
        done = perform(self._work, job)
        if isinstance(done.event, ev.CriticismDone):  # it has looked at a real clock
            done = replace(done, event=replace(done.event, train_s=train_s))
        self._outcome(done, True)

    def _trained(self) -> None:
        train_s = self._end()
        training, self._training = self._training, None
        assert training is not None
        loss_g, loss_d = (None, None)
        if training.iterations:
            loss_g, loss_d = self._together.losses_of(training)
        event = ev.TrainingDone(
            iterations=training.iterations, loss_g=loss_g, loss_d=loss_d, train_s=train_s
        )
        self._outcome(JobDone(event=event, snapshot=self._work.snapshot()), True)
