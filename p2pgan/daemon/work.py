"""A node's work on the real networks: a cohort of one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from p2pgan.daemon.jobs import NodeScores, NodeWork
from p2pgan.experiment import Experiment
from p2pgan.gan.checkpoint import Checkpoint, save
from p2pgan.gan.networks import Network
from p2pgan.mixing.rules import arrival_weight, merge
from p2pgan.payloads import words
from p2pgan.protocol.chunks import Arrival
from p2pgan.types import NETS, Net


class CohortWork(NodeWork):
    """Trains, mixes, judges, scores and saves one node. Belongs to the training thread.

    Args:
        experiment: what is run; `node` is one of its nodes.
        run: name of the run, for the checkpoint.
        path: where the checkpoint goes.
    """

    def __init__(self, experiment: Experiment, node: str, run: str, path: Path) -> None:
        # In this very thread: the setting does not reach threads that are there already.
        torch.set_num_threads(experiment.config.daemon.threads)
        self._experiment, self._node, self._run, self._path = experiment, node, run, path
        self._cohort = experiment.cohort([node], threads=experiment.config.daemon.threads)
        self._iterations = 0
        self._is_published = False
        """Whether the generator is the one that is judged, for the last step."""

    def train(self, iterations: int) -> tuple[float, float]:
        """So many iterations; mean losses of generator and discriminator."""
        losses = self._cohort.train(iterations)
        self._iterations += iterations
        return float(losses.g[0]), float(losses.d[0])

    def snapshot(self) -> Mapping[Net, bytes]:
        """Every network as it is exchanged, in little-endian float32 bytes, copied."""
        return {net: words(rows_NE[0]) for net, rows_NE in self._cohort.exchanged.items()}

    def mix(self, arrivals: Sequence[Arrival]) -> Mapping[str, float]:
        """Averages each network with the arrivals that carry it, uniformly (`mixing.rules`)."""
        weights: dict[str, float] = {}
        for net in NETS:
            carrying = [arrival for arrival in arrivals if net in arrival.nets]
            if carrying:
                own_E = self._cohort.exchanged[net].detach()[0]
                merge(own_E, [self._vector(arrival, net).to(own_E) for arrival in carrying])
            weight = arrival_weight(len(carrying))
            weights |= {arrival.exchange: weight for arrival in carrying}
        self._follow()
        return weights

    def judge(self, arrival: Arrival) -> float:
        """The node's vote for somebody else's generator."""
        size = self._experiment.model.generator.size
        vector_P = self._vector(arrival, "G")[:size].to(self._cohort.vectors["G"])
        return self._experiment.judge(vector_P, self._node)

    def adopt(self, arrival: Arrival) -> None:
        """Replaces each network that the arrival carries, with its moments if they travel."""
        for net in arrival.nets:
            own_E = self._cohort.exchanged[net].detach()[0]
            own_E.copy_(self._vector(arrival, net))
        self._follow()

    def score(self) -> NodeScores:
        """Scores of the generator as it is.

        After the last iteration, if there is a last step, the generator that is judged takes the
        place of the other, as in lockstep: nobody trains any more.
        """
        config = self._experiment.config
        if config.final != "none" and self._iterations >= config.iterations:
            if not self._is_published:
                self._cohort.vectors["G"].detach().copy_(self._cohort.judged)
            self._is_published = True
        scores = self._experiment.score(self._cohort.judged.detach()[0], self._node)
        return NodeScores(fid=scores.fid, ms=scores.ms, samples=scores.samples)

    def _follow(self) -> None:
        """In the last step there is one generator."""
        if self._is_published:
            self._cohort.judged.copy_(self._cohort.vectors["G"].detach())

    def save(self, state: bytes = b"") -> Path:
        """Writes both networks, and the generator's running mean if there is one."""
        del state  # nobody goes on from here
        checkpoint = Checkpoint(
            vectors={net: vector[0].detach() for net, vector in self._cohort.vectors.items()},
            ema=self._cohort.judged[0].detach() if self._experiment.config.train.ema else None,
            run=self._run,
            node=self._node,
            iterations=self._iterations,
        )
        save(self._path, checkpoint, self._experiment.model)
        return self._path

    def _vector(self, arrival: Arrival, net: Net) -> torch.Tensor:
        """The part of an arrival that is this network, with its moments if they travel."""
        vector_E = part(self._experiment, arrival, net)
        without_negative_moments(vector_E, self._experiment.model.networks[net])
        return vector_E


def part(experiment: Experiment, arrival: Arrival, net: Net) -> torch.Tensor:
    """The part of an arrival that is this network, with whatever is exchanged with it."""
    size = experiment.exchanged_size
    begin = sum(size(other) for other in arrival.nets[: arrival.nets.index(net)])
    values = np.frombuffer(arrival.data, dtype="<f4", count=size(net), offset=4 * begin)
    return torch.from_numpy(values.copy())


def without_negative_moments(vector_E: torch.Tensor, network: Network) -> None:
    """Lifts second moments, if there are any, to 0 at least, in place.

    Adam divides by their root, and no honest peer has them below 0: one that is would make a weight
    NaN, and the next exchange would carry that on.

    Args:
        vector_E: `(P,)`, or `(3P,)` with moments.
        network: the network that it is of.
    """
    vector_E[2 * network.size :].clamp_(min=0)
