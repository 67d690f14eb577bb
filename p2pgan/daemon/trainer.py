"""The training thread: one piece of work at a time, so that the loop never waits for it.

The loop owns sockets and the machine; this thread owns the networks. A job goes in, an outcome
comes back: an event for the machine, and where networks are sent as they are, a snapshot of them,
taken here, so that nobody reads them while they change.

The thread gives a sign of life whenever it begins or ends something, and after each slice. Who
looks at the signs is the loop: a thread that hangs cannot say so. One that hangs in foreign code
without giving up the interpreter's lock stops the loop as well; then only those outside notice.
"""

import math
import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final, NamedTuple

from p2pgan.node.jobs import Job, JobDone, NodeWork, perform
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do

SLICE_S: Final = 0.5
"""Training looks up so often to see whether it should stop."""

THREAD_NAME: Final = "trainer"

OTHER_WORK: Final = 12
"""So many times as long as a slice of training may any other job take, building the networks for
the first one included: scoring takes seconds, and none of it is sliced."""

FIRST_SLICE: Final = 4
"""Iterations of the first slice, before anybody knows how long one takes."""


class Sign(NamedTuple):
    """That the thread lived, and what it was about to do."""

    at_s: float
    patience: int
    """How many times as long as amid training its next sign may take."""


class Trainer:
    """Runs jobs in a thread of its own.

    Args:
        make_work: builds the networks; called in the thread, which is theirs.
        wake: called (in the thread) when an outcome is there.
        stalled_s: seconds between two signs, amid training, that are too many.
    """

    def __init__(
        self,
        make_work: Callable[[], NodeWork],
        wake: Callable[[], None],
        stalled_s: float = math.inf,
    ) -> None:
        self._make_work, self._wake, self._stalled_s = make_work, wake, stalled_s
        self._sign: Sign | None = None
        """The latest, replaced as a whole; `None`: there is nothing to do."""
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[JobDone] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._slice = FIRST_SLICE
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def give(self, job: Job) -> None:
        """Adds a job."""
        self._stop.clear()
        self._jobs.put(job)

    def stop_training(self) -> None:
        """Lets the running `Train` end after its current slice."""
        self._stop.set()

    def is_stalled(self) -> bool:
        """Whether the thread has something to do and has not been heard of for too long."""
        sign = self._sign
        if sign is None:
            return False
        return time.monotonic() - sign.at_s > sign.patience * self._stalled_s

    def outcomes(self) -> list[JobDone]:
        """Jobs that have ended since the last call."""
        ended = []
        while not self._outcomes.empty():
            ended.append(self._outcomes.get())
        return ended

    def close(self, timeout_s: float) -> None:
        """Ends the thread after its current slice or job; it is left behind if that takes longer
        (it is a daemon thread, and dies with the process)."""
        self._stop.set()
        self._jobs.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        work: NodeWork | None = None
        while (job := self._jobs.get()) is not None:
            is_training = work is not None and isinstance(job, do.Train)
            self._sign = Sign(time.monotonic(), 1 if is_training else OTHER_WORK)
            try:
                work = work or self._make_work()
                outcome = (
                    self._train(work, job) if isinstance(job, do.Train) else perform(work, job)
                )
            # Whatever goes wrong in here (out of memory, a bug) has to reach the loop: a silent
            # death of this thread would leave a node that answers and never trains.
            except BaseException as error:  # noqa: BLE001
                outcome = JobDone(event=ev.WorkFailed(text=_in_a_line(error)), error=error)
            self._sign = None
            self._outcomes.put(outcome)
            self._wake()

    def _train(self, work: NodeWork, job: do.Train) -> JobDone:
        """Trains in slices of about `SLICE_S`, whose lengths follow from how long they take."""
        begun_s, done, losses = time.monotonic(), 0, (0.0, 0.0)
        while done < job.iterations and not self._stop.is_set():
            count = min(self._slice, job.iterations - done)
            slice_s = time.monotonic()
            self._sign = Sign(slice_s, 1)
            loss_g, loss_d = work.train(count)
            losses = (losses[0] + count * loss_g, losses[1] + count * loss_d)
            done += count
            self._resize(count, time.monotonic() - slice_s)
        event = ev.TrainingDone(
            iterations=done,
            loss_g=losses[0] / done if done else None,
            loss_d=losses[1] / done if done else None,
            train_s=time.monotonic() - begun_s,
        )
        return JobDone(event=event, snapshot=work.snapshot())

    def _resize(self, count: int, took_s: float) -> None:
        """At most doubles, so that one quick slice does not make a long one."""
        fitting = int(count * SLICE_S / max(took_s, 1e-6))
        self._slice = max(1, min(fitting, 2 * max(count, self._slice)))


def _in_a_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip().replace("\n", " ")
