"""Several processes of one machine that train the nodes of a simulation.

Each worker is a copy of this process (a fork) with a cohort over its share of the nodes, one thread
of its own, and no lock of an interpreter to wait for. The networks lie in memory that all share, so
exchanges and scores work on them as if nobody else were there; and so do Adam's moments, if they
travel, and running means. All else of the optimisers, samplers and streams live in the workers.

Forks are safe here as they are for data loaders: a worker keeps to one thread and takes neither
locks nor files of its parent's. Where there are none, as on macOS and Windows, one process trains.
"""

import mmap
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Collection, Sequence
from multiprocessing.connection import Connection, wait
from typing import Final

import msgspec
import numpy as np
import torch
from torch import Tensor

from p2pgan.errors import RankLostError
from p2pgan.experiment import Experiment
from p2pgan.gan.cohort import Cohort, Losses, Parts, Trainees
from p2pgan.gan.memory import Memory
from p2pgan.gan.plan import even, workers
from p2pgan.types import NETS, Net

DONE: Final = b"\0"
FAILED: Final = b"\1"
"""First byte of a worker's answer: what was asked for follows, or what went wrong."""

FORGET: Final = 0
REMEMBER: Final = -1
RECALL: Final = -2
"""What an order says in the place of a number of iterations. What is to be recalled follows."""


def trainees(experiment: Experiment, nodes: Sequence[str]) -> Trainees:
    """These nodes, trained by as many processes as are worth it."""
    count = workers(experiment.model, len(nodes), experiment.machine)
    if count == 1 or not sys.platform.startswith("linux"):
        return experiment.cohort(nodes)
    return Crew(experiment, nodes, count)


class Crew:
    """N nodes trained by several processes, each with a share of consecutive ones."""

    def __init__(self, experiment: Experiment, nodes: Sequence[str], count: int) -> None:
        """Starts the workers.

        Args:
            experiment: what is run.
            nodes: ids.
            count: how many workers.
        """
        rows = _shared(experiment.initial_rows(1), len(nodes))
        parts = Parts.of(experiment.model, experiment.config.train, rows)
        self.vectors, self.exchanged, self.judged = parts
        self._workers: list[multiprocessing.process.BaseProcess] = []
        self._channels: list[Connection] = []
        self._shares = even(len(nodes), count)
        for share in self._shares:
            own = {net: matrix[share.start : share.stop] for net, matrix in rows.items()}
            self._start(experiment, [nodes[index] for index in share], own)

    def train(self, iterations: int, nodes: Collection[int] | None = None) -> Losses:
        """So many iterations (at least 1) of every node or of some, as `Cohort.train`.

        After an exception, a `KeyboardInterrupt` among them, the workers are gone.

        Raises:
            RankLostError: if a worker fails or dies.
        """
        assert iterations >= 1
        return self._everywhere(iterations, nodes)

    def forget(self, nodes: Collection[int] | None = None) -> None:
        """Starts Adam again at every node or at some, as `Cohort.forget`; raises as `train`."""
        self._everywhere(FORGET, nodes)

    def remember(self, node: int) -> Memory:
        """As `Cohort.remember`; raises as `train`."""
        return msgspec.msgpack.decode(self._at(node, REMEMBER), type=Memory)

    def recall(self, node: int, memory: Memory) -> None:
        """As `Cohort.recall`; raises as `train`, also for what is of another kind of node."""
        self._at(node, RECALL, msgspec.msgpack.encode(memory))

    def _at(self, node: int, order: int, *more: bytes) -> bytes:
        """Has one node's worker do something; what it answers."""
        index = next(i for i, share in enumerate(self._shares) if node in share)
        try:
            self._order(index, order, [node - self._shares[index].start])
            for part in more:
                self._channels[index].send_bytes(part)
            return self._heard(index)
        except BaseException:
            self.close()
            raise

    def _everywhere(self, iterations: int, nodes: Collection[int] | None) -> Losses:
        wanted = range(self._shares[-1].stop) if nodes is None else frozenset(nodes)
        try:
            for index, share in enumerate(self._shares):
                trained = [place for place, node in enumerate(share) if node in wanted]
                self._order(index, iterations, trained)
            return Losses.joined(self._answers())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the workers, whatever they are doing."""
        for worker, channel in zip(self._workers, self._channels, strict=True):
            worker.terminate()
            worker.join()
            channel.close()
        self._workers, self._channels = [], []

    def _start(self, experiment: Experiment, nodes: Sequence[str], rows: dict[Net, Tensor]) -> None:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        arguments = (experiment, nodes, rows, theirs, [*self._channels, ours])
        worker = context.Process(target=_work, args=arguments, name="p2pgan-worker", daemon=True)
        with warnings.catch_warnings():
            # Python 3.12 and later warn of forks beside threads; see above.
            warnings.simplefilter("ignore", DeprecationWarning)
            worker.start()
        theirs.close()
        self._workers.append(worker)
        self._channels.append(ours)

    def _order(self, index: int, iterations: int, trained: Sequence[int]) -> None:
        try:
            self._channels[index].send_bytes(np.array([iterations, *trained], np.int64).tobytes())
        except BrokenPipeError:
            raise self._lost(index, "") from None

    def _answers(self) -> list[Losses]:
        """Everybody's, taken as they come, so that a dead worker is noticed at once."""
        answers: dict[Connection, Losses] = {}
        while waiting := [channel for channel in self._channels if channel not in answers]:
            for ready in wait(waiting):
                assert isinstance(ready, Connection)
                answers[ready] = self._answer(self._channels.index(ready))
        return [answers[channel] for channel in self._channels]

    def _answer(self, index: int) -> Losses:
        d, g = np.frombuffer(self._heard(index), np.float32).reshape(2, -1)
        return Losses(d=d, g=g)

    def _heard(self, index: int) -> bytes:
        """A worker's answer, less its first byte."""
        try:
            answer = self._channels[index].recv_bytes()
        except (EOFError, ConnectionResetError):
            raise self._lost(index, "") from None
        if answer[:1] == FAILED:
            raise self._lost(index, answer[1:].decode())
        return answer[1:]

    def _lost(self, index: int, reason: str) -> RankLostError:
        self._workers[index].join(timeout=1)
        status = self._workers[index].exitcode
        end = signal.Signals(-status).name if status and status < 0 else f"status {status}"
        return RankLostError(
            expected=f"all {len(self._workers)} workers to go on",
            got=reason or f"one that ended with {end}",
            at=f"worker {index}",
            hint="is there enough memory? `engine.threads=1` trains without workers",
        )


def _shared(initial: dict[Net, Tensor], nodes: int) -> dict[Net, Tensor]:
    """A row of initial values for every node, in memory that forks share."""
    matrices: dict[Net, Tensor] = {}
    for net in NETS:
        (row_P,) = initial[net]
        memory = mmap.mmap(-1, nodes * len(row_P) * row_P.element_size())
        values = np.frombuffer(memory, np.float32).reshape(nodes, len(row_P))
        matrices[net] = torch.from_numpy(values)
        matrices[net][:] = row_P
    return matrices


def _work(
    experiment: Experiment,
    nodes: Sequence[str],
    rows: dict[Net, Tensor],
    channel: Connection,
    parents: Sequence[Connection],
) -> None:
    """A worker's life: it trains when it is told to, for as long as its parent lives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in parents:  # else the parent's end would not close with the parent
        other.close()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        torch.set_num_threads(1)
        cohort = experiment.cohort(nodes, threads=1, rows=rows)
        while True:
            iterations, *trained = np.frombuffer(channel.recv_bytes(), np.int64).tolist()
            channel.send_bytes(DONE + _obey(cohort, iterations, trained, channel))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    # Whatever went wrong has to reach the parent, which would otherwise know a status only.
    except BaseException as error:  # noqa: BLE001
        channel.send_bytes(FAILED + f"{type(error).__name__}: {error}".encode())


def _obey(cohort: Cohort, order: int, nodes: Sequence[int], channel: Connection) -> bytes:
    """Does what an order says; what is answered."""
    if order == REMEMBER:
        return msgspec.msgpack.encode(cohort.remember(nodes[0]))
    if order == RECALL:
        cohort.recall(nodes[0], msgspec.msgpack.decode(channel.recv_bytes(), type=Memory))
        return b""
    losses = Losses.missing(len(cohort.judged))
    if order == FORGET:
        cohort.forget(nodes)
    else:
        losses = cohort.train(order, nodes)
    return losses.d.tobytes() + losses.g.tobytes()


def _end_with_parent() -> None:
    """Waits, in a thread of its own, and ends the worker amid whatever it does."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
