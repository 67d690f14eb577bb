"""The lockstep simulator: all nodes train one round, exchange at one instant, and mix.

A round of N nodes is one call of the cohort and, per group of networks, one product `W X`. Draws,
rules and the training step are those of the daemons.
"""

from collections.abc import Callable
from dataclasses import dataclass

from p2pgan.experiment import Experiment
from p2pgan.gan.checkpoint import Checkpoint, save
from p2pgan.gan.cohort import Losses
from p2pgan.gan.scores import Scores
from p2pgan.mixing.rules import consensus_distance, mix, mixing_matrix
from p2pgan.record import schema
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.writer import RecordWriter
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim.exchange_log import ExchangeLog
from p2pgan.types import Net

BYTES_PER_VALUE = 4
"""Vectors are float32."""


@dataclass
class Lockstep:
    """One simulated run, and where it stands.

    `run` trains to the end and may be interrupted anywhere between two rounds' instructions;
    `save` then keeps what there is.
    """

    experiment: Experiment
    directory: RunDirectory
    records: RecordWriter
    time_s: Callable[[], float]
    """A monotonic clock, for the speed in the summary."""
    on_round: Callable[["Lockstep"], None]
    """Told after every round."""

    round: int = 0
    """Rounds finished."""
    iterations: int = 0
    """Iterations of each node so far."""
    messages: int = 0
    """Vectors sent."""
    bytes_total: int = 0
    """Their bytes."""
    busy_s: float = 0.0
    """Seconds of training and exchanging; scoring and start-up left out."""

    def __post_init__(self) -> None:
        experiment = self.experiment
        self.cohort = experiment.cohort(experiment.nodes)
        self.scores: list[Scores] = []
        self.scored_round: int | None = None
        """The round that `scores` and `consensus` belong to; `None`: nobody has been scored."""
        self.consensus: dict[Net, float] = {}
        self._draw = experiment.algorithm.draw(experiment.config.exchange, lockstep=True)
        self._rng = stream(experiment.config.seed, EVERYONE, "draws")

    def run(self) -> None:
        """All rounds, from the first; scores after those that are due."""
        for node in self.experiment.nodes:
            self._record(schema.NodeStarted(), node)
        for _ in range(self.experiment.rounds):
            self._play_round()
            if self.experiment.is_scored(self.round):
                self.score()
            self.records.flush()  # who follows the log, or looks at it after a crash, has the round
            self.on_round(self)

    def score(self) -> None:
        """Scores of every node and the consensus distance, into the log."""
        vectors = self.cohort.vectors
        self.scores = [
            self.experiment.score(vectors["G"][index], node)
            for index, node in enumerate(self.experiment.nodes)
        ]
        when = {"round": self.round, "iterations": self.iterations}
        for node, scores in zip(self.experiment.nodes, self.scores, strict=True):
            self._record(
                schema.Scores(fid=scores.fid, ms=scores.ms, samples=scores.samples, **when), node
            )
        self.consensus = {net: consensus_distance(vectors[net]) for net in vectors}
        self._record(schema.Consensus(g=self.consensus["G"], d=self.consensus["D"], **when))
        self.scored_round = self.round

    def save(self, reason: str) -> None:
        """Saves every node's networks and closes its story in the log.

        Raises:
            CheckpointError: if the disk refuses.
        """
        for index, node in enumerate(self.experiment.nodes):
            path = self.directory.checkpoint(node)
            checkpoint = Checkpoint(
                vectors={net: matrix[index] for net, matrix in self.cohort.vectors.items()},
                run=self.directory.path.name,
                node=node,
                iterations=self.iterations,
            )
            save(path, checkpoint, self.experiment.model)
            place = str(path.relative_to(self.directory.path))
            self._record(schema.CheckpointSaved(path=place, iterations=self.iterations), node)
            self._record(
                schema.NodeStopped(reason=reason, iterations=self.iterations, rounds=self.round),
                node,
            )

    def _play_round(self) -> None:
        start_s = self.time_s()
        left = self.experiment.config.iterations - self.iterations
        losses = self.cohort.train(min(self.experiment.exchange_every, left))
        trained_s = self.time_s()
        self.iterations += min(self.experiment.exchange_every, left)
        self.round += 1
        for group in self.experiment.algorithm.groups:
            self._exchange(group)
        end_s = self.time_s()
        self.busy_s += end_s - start_s
        self._record_round(losses, train_s=trained_s - start_s, exchange_s=end_s - trained_s)

    def _exchange(self, nets: tuple[Net, ...]) -> None:
        """One group of networks changes hands: draw, mix, log."""
        experiment = self.experiment
        arrivals = self._draw(experiment.overlay.neighbor_indices(), self._rng)
        w_NN = mixing_matrix(arrivals)
        for net in nets:
            mix(w_NN, self.cohort.vectors[net])
        size = BYTES_PER_VALUE * sum(experiment.model.networks[net].size for net in nets)
        log = ExchangeLog(experiment.nodes, self.round, nets, size)
        entries = (
            log.through_coordinator()
            if experiment.algorithm.has_coordinator
            else log.between_nodes(arrivals)
        )
        for node, body in entries:
            self._record(body, node)
        self.messages += log.messages
        self.bytes_total += log.messages * size

    def _record_round(self, losses: Losses, *, train_s: float, exchange_s: float) -> None:
        for index, node in enumerate(self.experiment.nodes):
            body = schema.RoundFinished(
                round=self.round,
                iterations=self.iterations,
                loss_d=float(losses.d[index]),
                loss_g=float(losses.g[index]),
                train_s=train_s,
                exchange_s=exchange_s,
            )
            self._record(body, node)

    def _record(self, body: schema.Body, node: str = EVERYONE) -> None:
        # All nodes step together, so one count of rounds is a Lamport clock for all of them.
        self.records.write(body, node=node, clock=self.round)
