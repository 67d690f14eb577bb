"""What simulated runs have in common: where a run stands, its log, and where its time goes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch

from p2pgan.experiment import Experiment
from p2pgan.gan.quality import Quality
from p2pgan.gan.scores import Scores
from p2pgan.record import schema
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.writer import RecordWriter
from p2pgan.runs import Costs, LastStep, Standing
from p2pgan.seeds import EVERYONE
from p2pgan.sim.shares import Shares
from p2pgan.types import Net

BYTES_PER_VALUE = 4
"""Vectors and images are float32."""


@dataclass
class Simulation(ABC):
    """One simulated run, and where it stands.

    `run` trains to the end and may be interrupted anywhere between two rounds' instructions;
    `save` then keeps what there is.
    """

    experiment: Experiment
    shares: Shares
    """Which nodes are trained here."""
    directory: RunDirectory
    records: RecordWriter | None
    """`None`: another process keeps the log."""
    time_s: Callable[[], float]
    """A monotonic clock, for the speed in the summary."""
    on_round: Callable[["Simulation"], None]
    """Told after every round."""

    round: int = 0
    """Rounds finished; those of the last step are not among them."""
    last_rounds: int = 0
    """Rounds of the last step, which are numbered on from the others."""
    last_step: LastStep | None = None
    """Once it is over, if there is one."""
    iterations: int = 0
    """Iterations of each node so far."""
    messages: int = 0
    """Vectors sent; counted where the log is kept."""
    bytes_total: int = 0
    """Their bytes."""
    kinds: dict[str, schema.Tally] = field(default_factory=dict)
    """The same by kind; counted where the log is kept."""
    costs: Costs = field(default_factory=Costs)
    """Where the time went so far."""
    saved_iterations: int | None = None
    """Iterations of each node in the checkpoints on disk; `None`: there are none."""
    scores: list[Scores] = field(default_factory=list)
    """The last ones, of everybody who has a generator."""
    scored_round: int | None = None
    """The round that `scores` and `consensus` belong to; `None`: nobody has been scored."""
    consensus: dict[Net, float] = field(default_factory=dict)
    quality: dict[str, Quality] = field(default_factory=dict)
    """The last one of every measured node; empty: nobody has been measured."""

    def run(self) -> None:
        """All rounds, from the first; scores after those that are due."""
        with self._timed("log_s"):
            for node in self._nodes():
                self._record(schema.NodeStarted(), node)
            self._flush()  # a first round may be long
        for _ in range(self.experiment.rounds):
            self._play_round()
            if self.experiment.is_scored(self.round):
                self.score()
            with self._timed("log_s"):
                if self._is_saved_now():
                    self._save()
                self._flush()  # who follows the log, now or after a crash, has the round
            self.on_round(self)
        if self.experiment.config.score.final_samples:
            self.measure()
        if self.experiment.config.final != "none":
            self._take_last_step()

    @abstractmethod
    def _nodes(self) -> Iterable[str]:
        """Who keeps a log."""

    @abstractmethod
    def _play_round(self) -> None:
        """The next round, but for its scores."""

    @abstractmethod
    def _save(self) -> None:
        """Saves all networks as they are now."""

    @abstractmethod
    def _take_last_step(self) -> None:
        """What is done once all iterations are made, if anything is."""

    @abstractmethod
    def measure(self) -> None:
        """Quality of those that are to be measured, as they are now, into the log."""

    @abstractmethod
    def score(self) -> None:
        """Scores and consensus distance, into the log."""

    @abstractmethod
    def save(self, reason: str) -> None:
        """Saves all networks and closes every node's story in the log.

        Raises:
            CheckpointError: if the disk refuses.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends the processes that train, if there are any."""

    @property
    def busy_s(self) -> float:
        """Seconds of training and exchanging; scoring, logging and start-up left out."""
        return self.costs.train_s + self.costs.exchange_s

    def standing(self, *, measured: bool = True) -> Standing:
        """What the nodes were worth when they were last looked at, with or without the quality."""
        return Standing(
            scores=[(scores.fid, scores.ms) for scores in self.scores],
            consensus=dict(self.consensus),
            quality=dict(self.quality) if measured else {},
        )

    def _is_saved_now(self) -> bool:
        """Whether a checkpoint is due after this round; the last round's is `save`'s."""
        every = self.experiment.config.engine.checkpoint_every
        return every > 0 and self.round % every == 0 and self.round < self.experiment.rounds

    def _record_scores(self, scores: Mapping[str, Scores]) -> None:
        """Of each node, and the consensus distance."""
        when = {"round": self.round + self.last_rounds, "iterations": self.iterations}
        final = self.experiment.config.final
        after = final if self.last_rounds and final != "none" else None
        for node, own in scores.items():
            body = schema.Scores(fid=own.fid, ms=own.ms, samples=own.samples, after=after, **when)
            self._record(body, node)
        g, d = self.consensus.get("G"), self.consensus.get("D")
        self._record(schema.Consensus(g=g, d=d, **when))

    def _record_quality(self) -> None:
        for node, quality in self.quality.items():
            figures: dict[str, Any] = asdict(quality)
            round_ = self.round + self.last_rounds
            body = schema.Quality(round=round_, iterations=self.iterations, **figures)
            self._record(body, node)

    def _record(self, body: schema.Body, node: str = EVERYONE) -> None:
        # All nodes step together, so one count of rounds is a Lamport clock for all of them.
        if self.records is not None:
            self.records.write(body, node=node, clock=self.round + self.last_rounds)

    def _flush(self) -> None:
        if self.records is not None:
            self.records.flush()

    @contextmanager
    def _timed(self, part: Literal["train_s", "exchange_s", "score_s", "log_s"]) -> Iterator[None]:
        """Adds the time of what is done within to a part of the costs."""
        start_s = self.time_s()
        yield
        if self.experiment.device.type == "cuda":
            torch.cuda.synchronize()  # what was asked of the GPU belongs here
        parts = asdict(self.costs)
        self.costs = Costs(**parts | {part: parts[part] + self.time_s() - start_s})
