"""The training thread: one piece of work at a time, so that the loop never waits for it.

The loop owns sockets and the machine; this thread owns the networks. A job goes in, an outcome
comes back: an event for the machine, and where networks are sent as they are, a snapshot of them,
taken here, so that nobody reads them while they change.

The thread gives a sign of life whenever it begins or ends something, and after each slice. Who
looks at the signs is the loop: a thread that hangs cannot say so. Silence is counted in the loop's
own turns, since a process that was stopped and goes on has not hung. A thread that hangs in foreign
code without giving up the interpreter's lock stops the loop as well; then only those outside
notice.
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

TURN_MAX_S: Final = 2.0
"""The loop looks at the signs about once a second; after a longer pause the whole process was
stopped, or had no processor."""

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
        self._seen: Sign | None = None
        """The one at the latest look of the loop, which was then."""
        self._looked_s = -math.inf
        self._silence_s = 0.0
        """How long it is the latest, without the time that the loop was not there either."""
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
        """Whether the thread has something to do and has not been heard of for too long.

        The loop asks in every turn; time in which it did not turn itself counts for nothing.
        """
        now, sign = time.monotonic(), self._sign
        if sign is not self._seen:
            self._seen, self._silence_s = sign, 0.0
            since_s = now if sign is None else max(sign.at_s, self._looked_s)
        else:
            since_s = self._looked_s
        if now - since_s <= TURN_MAX_S:
            self._silence_s += now - since_s
        self._looked_s = now
        return sign is not None and self._silence_s > sign.patience * self._stalled_s

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
