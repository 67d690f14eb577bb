"""The lockstep simulator: all nodes train one round, exchange at one instant, and mix.

A round of N nodes is one call of the cohort and, per group of networks, one product `W X`. Draws,
rules and the training step are those of the daemons.

Several processes may play it together, each with a share of the nodes; for one it is the same code.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from p2pgan.experiment import Experiment
from p2pgan.gan.checkpoint import Checkpoint, save
from p2pgan.gan.cohort import Losses
from p2pgan.gan.quality import FIGURES, Quality
from p2pgan.gan.scores import Scores
from p2pgan.inspect.traffic import count_vector
from p2pgan.mixing.agreement import Schedule, judging
from p2pgan.mixing.draws import Arrivals, Draw, Neighbors, push
from p2pgan.mixing.merging import SumWeights, weighted_rows, weighting
from p2pgan.mixing.rehearsal import averaging_rounds, spreading_rounds
from p2pgan.mixing.rules import Rows, copying_rows, mixing_rows
from p2pgan.record import schema
from p2pgan.runs import LastStep
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim.crew import Crew, trainees
from p2pgan.sim.election import Election
from p2pgan.sim.exchange_log import Entry, ExchangeLog
from p2pgan.sim.federation import Federation, Weights
from p2pgan.sim.simulation import BYTES_PER_VALUE, Simulation
from p2pgan.types import NETS, Net


class Heard(NamedTuple):
    """Whom each node heard from, and `W`."""

    arrivals: Arrivals
    rows: Rows


Exchanged = Heard | Weights
"""What came of an exchange, or who made the mean that all nodes got."""


class Lockstep(Simulation):
    """A run in which every node has a generator and a discriminator.

    Its arguments are those of `Simulation`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        experiment = self.experiment
        self.cohort = trainees(experiment, [experiment.nodes[i] for i in self.shares.own])
        self._draw = experiment.algorithm.draw(experiment.config.exchange, lockstep=True)
        self._rng = stream(experiment.config.seed, EVERYONE, "draws")
        self._weights = _sum_weights(experiment)
        self._iterations_N = np.zeros(len(experiment.nodes), dtype=np.int64)
        self._federation = (
            Federation(experiment, self.shares, self.cohort.exchanged)
            if experiment.algorithm.is_federated
            else None
        )

    def _nodes(self) -> Iterable[str]:
        return self.experiment.nodes

    def score(self) -> None:
        """Scores of every node and the consensus distance, into the log."""
        vectors, nodes = self.cohort.vectors, self.experiment.nodes
        with self._timed("score_s"):
            own = [
                self.experiment.score(vector_P, nodes[index])
                for vector_P, index in zip(self.cohort.judged, self.shares.own, strict=True)
            ]
            figures_NK = self.shares.gather(np.array([[s.fid, s.ms, s.samples] for s in own]))
            self.scores = [
                Scores(fid=fid, ms=ms, samples=int(samples))
                for fid, ms, samples in figures_NK.tolist()
            ]
            self.consensus = {net: self.shares.consensus_distance(vectors[net]) for net in vectors}
        with self._timed("log_s"):
            self._record_scores(dict(zip(nodes, self.scores, strict=True)))
        self.scored_round = self.round

    def measure(self) -> None:
        """Quality of the nodes that are to be measured, as they are now, into the log."""
        nodes = self.experiment.nodes
        measured = set(self.experiment.measured_nodes)
        with self._timed("score_s"):
            own_OK = np.zeros((len(self.shares.own), FIGURES + self.experiment.dataset.classes))
            for row_K, vector_P, index in zip(
                own_OK, self.cohort.judged, self.shares.own, strict=True
            ):
                if nodes[index] in measured:
                    row_K[:] = self.experiment.quality(vector_P, nodes[index]).numbers()
            rows = zip(nodes, self.shares.gather(own_OK).tolist(), strict=True)
        self.quality = {node: Quality.of_numbers(row) for node, row in rows if node in measured}
        with self._timed("log_s"):
            self._record_quality()
            self._flush()

    def save(self, reason: str) -> None:
        """Saves every node's networks and closes its story in the log.

        Raises:
            CheckpointError: if the disk refuses.
        """
        with self._timed("log_s"):
            self._save()
            for node, count in zip(self.experiment.nodes, self._iterations_N.tolist(), strict=True):
                body = schema.NodeStopped(reason=reason, iterations=count, rounds=self.round)
                self._record(body, node)

    def close(self) -> None:
        """Ends the processes that train, if there are any."""
        if isinstance(self.cohort, Crew):
            self.cohort.close()

    def _take_last_step(self) -> None:
        """What the nodes do after the training, and what it changes.

        Where all are equal, as with the coordinator's mean, there is nothing to do.
        """
        step = self.experiment.config.final
        assert step != "none"
        agreed: int | None = len(self.experiment.nodes) if step == "agree" else None
        origin: str | None = None
        before = self.standing()
        if not self._are_equal():
            with self._timed("log_s"):
                self._save()  # a day's training is not lost with what follows
            self._publish()
            before = self.standing()
            if step == "agree":
                agreed, origin = self._agree()
            else:
                self.scored_round = None  # of no worth from the first round on
                self._average()
            self.score()
            if self.experiment.config.score.final_samples:
                self.measure()
        self.last_step = LastStep(
            step=step, rounds=self.last_rounds, agreed=agreed, origin=origin, before=before
        )

    def _are_equal(self) -> bool:
        """Whether all nodes hold the same networks, running means among them."""
        first_N = [0] * len(self.experiment.nodes)
        differ_O = np.zeros((len(self.shares.own), 1))
        for matrix_OP in (self.cohort.judged, self.cohort.vectors["G"], self.cohort.vectors["D"]):
            for place, first_P in enumerate(self.shares.fetch(first_N, matrix_OP)):
                own_P = matrix_OP[place]
                differ_O[place] += not torch.allclose(own_P, first_P, 0, 0, equal_nan=True)
        return not self.shares.gather(differ_O).any()

    def _publish(self) -> None:
        """The generator that is judged becomes the generator, since nobody trains any more."""
        vectors = self.cohort.vectors
        vectors["G"].copy_(self.cohort.judged)
        self.consensus = {net: self.shares.consensus_distance(vectors[net]) for net in vectors}

    def _agree(self) -> tuple[int, str]:
        """Every node adopts the pair that it finds best; how many hold the same, and whose."""
        experiment = self.experiment
        if experiment.algorithm.has_coordinator:  # it has no data to judge on
            self._draw = push(experiment.config.exchange.fanout)
        with self._timed("exchange_s"):
            schedule = Schedule(self._rehearsed(spreading_rounds))
        election = Election(experiment, self.shares, self.cohort.vectors["G"], schedule)
        asked = judging(experiment.overlay.neighbor_indices(), self._rng)
        for round_ in range(1, schedule.rounds + 1):
            self.last_rounds = round_
            arrivals = asked[round_ - 1] if round_ <= len(asked) else self._arrivals()
            log = self._exchange_log(NETS)
            # Not the exchange's time: what takes long in it is scoring.
            with self._timed("score_s"):
                entries = list(election.play(round_, arrivals, log))
            self._end_last_round([(log, entries)])
        origins = election.origins()
        with self._timed("exchange_s"):
            for net in NETS:
                self.shares.mix(copying_rows(origins), self.cohort.vectors[net])
            self.cohort.judged.copy_(self.cohort.vectors["G"])
        for voter in election.voters():
            merit = voter.merit(voter.choice)
            body = schema.Agreed(origin=merit.origin, merit=merit.score, votes=merit.votes)
            self._record(body, voter.node)
        agreed, origin = max((origins.count(origin), -origin) for origin in set(origins))
        return agreed, experiment.nodes[-origin]

    def _average(self) -> None:
        """Exchanges without training, until the nodes are nearly equal."""
        groups = self.experiment.algorithm.groups or (NETS,)
        with self._timed("exchange_s"):
            rounds = self._rehearsed(averaging_rounds)
        for round_ in range(1, rounds + 1):
            self.last_rounds = round_
            with self._timed("exchange_s"):
                exchanges = [(self._exchange_log(nets), self._exchange(nets)) for nets in groups]
                self.cohort.judged.copy_(self.cohort.vectors["G"])  # who interrupts has it scored
            self._end_last_round([(log, self._entries(log, heard)) for log, heard in exchanges])

    def _rehearsed(self, rounds: Callable[[Draw, Neighbors, np.random.Generator], int]) -> int:
        neighbors = self.experiment.overlay.neighbor_indices()
        rng = stream(self.experiment.config.seed, EVERYONE, "rehearsal")
        return rounds(self._draw, neighbors, rng)

    def _end_last_round(self, exchanges: list[tuple[ExchangeLog, Iterable[Entry]]]) -> None:
        with self._timed("log_s"):
            for log, entries in exchanges:
                self._record_entries(log, entries)
            self._flush()
        self.on_round(self)

    def _save(self) -> None:
        matrices: dict[str, Tensor] = {net: self.cohort.vectors[net] for net in NETS}
        if self.experiment.config.train.ema:
            matrices["ema"] = self.cohort.judged
        for index, vectors in self.shares.collect(matrices):
            node = self.experiment.nodes[index]
            path = self.directory.checkpoint(node)
            checkpoint = Checkpoint(
                vectors={net: vectors[net] for net in NETS},
                ema=vectors.get("ema"),
                run=self.directory.path.name,
                node=node,
                iterations=self.iterations,
            )
            save(path, checkpoint, self.experiment.model)
            place = str(path.relative_to(self.directory.path))
            self._record(schema.CheckpointSaved(path=place, iterations=self.iterations), node)
        self.saved_iterations = self.iterations

    def _play_round(self) -> None:
        before = self.costs
        weights = self._federation.select() if self._federation else None
        trained = list(range(self.shares.nodes) if weights is None else weights)
        with self._timed("train_s"):
            if self.experiment.moments == "reset":
                self.cohort.forget()
            losses = self._train(trained)
        self.round += 1
        groups = self.experiment.algorithm.groups
        with self._timed("exchange_s"):
            exchanges = [(nets, self._exchange(nets, weights)) for nets in groups]
        train_s = self.costs.train_s - before.train_s
        exchange_s = self.costs.exchange_s - before.exchange_s
        with self._timed("exchange_s"):  # if this takes time, it is waiting for other processes
            own = [(d, g, train_s, exchange_s) for d, g in zip(losses.d, losses.g, strict=True)]
            figures_NK = self.shares.gather(np.array(own, dtype=np.float64))
        with self._timed("log_s"):
            for nets, heard in exchanges:
                self._record_exchange(nets, heard)
            self._record_round(figures_NK, trained)

    def _train(self, trained: Sequence[int]) -> Losses:
        """The iterations of a round, of these nodes; losses of the own ones."""
        left = self.experiment.config.iterations - self.iterations
        iterations = min(self.experiment.exchange_every, left)
        own = self.shares.own
        losses = self.cohort.train(iterations, [i - own.start for i in trained if i in own])
        self.iterations += iterations
        self._iterations_N[trained] += iterations
        return losses

    def _exchange(self, nets: tuple[Net, ...], weights: Weights | None = None) -> Exchanged:
        """One group of networks changes hands: draw and mix; who heard from whom.

        Args:
            nets: the group.
            weights: of those who make the coordinator's mean; `None`: the draw decides.
        """
        if self._federation and weights is not None:
            for net in nets:
                self._federation.average(net, weights)
            return weights
        heard = self._heard(self._arrivals())
        for net in nets:
            self.shares.mix(heard.rows, self.cohort.exchanged[net])
        return heard

    def _heard(self, arrivals: Arrivals) -> Heard:
        """What the nodes make of arrivals; in the last step they count the same everywhere.

        Weights follow from the draws, and every rank keeps those of all nodes.
        """
        if self._weights and not self.last_rounds:
            return Heard(*weighted_rows(arrivals, self._weights))
        return Heard(arrivals, mixing_rows(arrivals))

    def _arrivals(self) -> Arrivals:
        """Who hears from whom next."""
        return self._draw(self.experiment.overlay.neighbor_indices(), self._rng)

    def _record_exchange(self, nets: tuple[Net, ...], heard: Exchanged) -> None:
        log = self._exchange_log(nets)
        self._record_entries(log, self._entries(log, heard))

    def _entries(self, log: ExchangeLog, heard: Exchanged) -> Iterator[Entry]:
        if isinstance(heard, Mapping):
            return log.through_coordinator(heard)
        algorithm = self.experiment.algorithm
        if algorithm.has_coordinator:
            return log.through_coordinator()
        if algorithm.merging == "pairwise" and not self.last_rounds:
            return log.between_pairs(heard.arrivals)
        return log.between_nodes(heard.arrivals, heard.rows if self._weights else None)

    def _exchange_log(self, nets: tuple[Net, ...]) -> ExchangeLog:
        size = BYTES_PER_VALUE * sum(self.experiment.exchanged_size(net) for net in nets)
        averages = self.last_rounds and self.experiment.config.final == "average"
        return ExchangeLog(
            self.experiment.nodes,
            self.round + self.last_rounds,
            nets,
            size,
            "average" if averages else self._purpose,
        )

    @property
    def _purpose(self) -> str | None:
        """What the vectors of a round's exchange are for, if they are named."""
        is_mass = self.experiment.algorithm.merging == "push-sum" and not self.last_rounds
        return "mass" if is_mass else None

    def _record_entries(self, log: ExchangeLog, entries: Iterable[Entry]) -> None:
        if self.records is None:
            return
        for node, body in entries:
            self._record(body, node)
            if isinstance(body, schema.VectorSent):
                count_vector(self.kinds, node, body)
        self.messages += log.messages
        self.bytes_total += log.messages * log.bytes

    def _record_round(self, figures_NK: np.ndarray, trained: Sequence[int]) -> None:
        for index in trained:
            loss_d, loss_g, train_s, exchange_s = figures_NK[index].tolist()
            body = schema.RoundFinished(
                round=self.round,
                iterations=int(self._iterations_N[index]),
                loss_d=loss_d,
                loss_g=loss_g,
                train_s=train_s,
                exchange_s=exchange_s,
            )
            self._record(body, self.experiment.nodes[index])


def _sum_weights(experiment: Experiment) -> list[SumWeights]:
    """The weights of all nodes, where they travel with the networks; else none."""
    rule, config = experiment.algorithm.merging, experiment.config.exchange
    made = [weighting(rule, config) for _ in experiment.nodes]
    return [weights for weights in made if isinstance(weights, SumWeights)]
