"""Work in virtual time: training lasts as long as the machine needs, and is computed together.

Between its begin and its end a training depends on nothing but its own node. So nobody's is
computed before somebody's is due, and then all that have begun are, in one batched call: exact,
however the machines differ in speed, and as large as can be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from p2pgan.gan.cohort import Trainees
from p2pgan.node.jobs import Job, JobDone, NodeWork, perform
from p2pgan.node.work import CohortWork
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.sim.virtual.timeline import Due, Timeline

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
    begun_s: float
    due: Due
    losses: Losses | None = None
    """Once it is computed."""
    held_s: float = 0.0
    """How long it has stood still."""


class Together:
    """Trainings that have begun and are not computed yet."""

    def __init__(self, compute: Computer) -> None:
        self._compute = compute
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
        """Those of one that is due; all that wait are computed with it."""
        if training.losses is None:
            waiting, self._waiting = self._waiting, []
            results = self._compute([(one.work, one.iterations) for one in waiting])
            for one, losses in zip(waiting, results, strict=True):
                one.losses = losses
            self.calls += 1
            self.trainings += len(waiting)
            self.trained += sum(one.iterations for one in waiting)
        assert training.losses is not None, "a training that never began"
        return training.losses


class VirtualWorker:
    """One node's work, as `p2pgan.node.host.Worker` wants it. Only training takes time.

    Args:
        timeline: virtual time.
        together: what computes.
        work: the node's networks, or what stands for them.
        iteration_s: seconds that an iteration takes.
        outcome: takes what comes of a job, and whether the machine is to look at it now: it is at
            work itself when it gives a job that takes no time.
    """

    def __init__(
        self,
        timeline: Timeline,
        together: Together,
        work: NodeWork,
        iteration_s: float,
        outcome: Callable[[JobDone, bool], None],
    ) -> None:
        self._timeline, self._together, self._work = timeline, together, work
        self._iteration_s, self._outcome = iteration_s, outcome
        self._training: Training | None = None
        self._stood_s: float | None = None
        """Since when it stands still, if it does."""

    def give(self, job: Job) -> None:
        """Does a job: training in time, anything else at once."""
        if isinstance(job, do.Train):
            self._train(job.iterations)
        else:
            self._outcome(perform(self._work, job), False)

    def stop_training(self) -> None:
        """Ends the running training where it is; all of it, if it is computed already."""
        training = self._training
        if training is None:
            return
        if training.losses is None:
            until_s = self._timeline.now if self._stood_s is None else self._stood_s
            spent_s = until_s - training.begun_s - training.held_s
            done = int(spent_s / self._iteration_s + 1e-9)
            training.iterations = min(training.iterations, max(0, done))
            if not training.iterations:  # others are perhaps computed before its end is told
                self._together.drop(training)
        training.due.call_off()
        training.due = self._timeline.after(0.0, self._done)

    def hold(self) -> None:
        """Stands still from now on."""
        if self._stood_s is None:
            self._stood_s = self._timeline.now
            if self._training is not None:
                self._training.due.call_off()

    def go_on(self) -> None:
        """Goes on; what was being trained ends that much later."""
        if self._stood_s is None:
            return
        stood_s, self._stood_s = self._timeline.now - self._stood_s, None
        training = self._training
        if training is not None and training.due.is_off:  # else it was stopped meanwhile
            training.held_s += stood_s
            training.due = self._timeline.at(training.due.at_s + stood_s, self._done)

    def vanish(self) -> None:
        """The process is gone."""
        if self._training is not None:
            self._training.due.call_off()
            self._together.drop(self._training)
            self._training = None

    def _train(self, iterations: int) -> None:
        now = self._timeline.now
        due = self._timeline.at(now + iterations * self._iteration_s, self._done)
        self._training = Training(self._work, iterations, now, due)
        self._together.begin(self._training)
        if self._stood_s is not None:  # paused between two rounds
            self._stood_s = now
            due.call_off()

    def _done(self) -> None:
        training, self._training = self._training, None
        assert training is not None
        loss_g, loss_d = (None, None)
        if training.iterations:
            loss_g, loss_d = self._together.losses_of(training)
        event = ev.TrainingDone(
            iterations=training.iterations,
            loss_g=loss_g,
            loss_d=loss_d,
            train_s=self._timeline.now - training.begun_s,
        )
        self._outcome(JobDone(event=event, snapshot=self._work.snapshot()), True)
