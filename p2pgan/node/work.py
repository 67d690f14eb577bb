"""A node's work on the real networks: one row of a cohort."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch

from p2pgan.design import Design
from p2pgan.errors import CheckpointError
from p2pgan.experiment import Experiment
from p2pgan.gan.checkpoint import Checkpoint
from p2pgan.gan.cohort import Losses, Trainees
from p2pgan.gan.memory import Memory, to_bytes, to_tensor
from p2pgan.gan.networks import Network
from p2pgan.mixing.rules import Incoming, merge
from p2pgan.node.jobs import NodeScores, NodeWork
from p2pgan.node.kept import Kept
from p2pgan.node.seat import Seat
from p2pgan.payloads import words
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival
from p2pgan.types import NETS, Net


class Row(NamedTuple):
    """One node of a cohort."""

    cohort: Trainees
    place: int


class CohortWork(NodeWork):
    """Trains, mixes, judges, scores and saves one node. Belongs to the training thread.

    Args:
        experiment: what is run.
        seat: one of its nodes.
        row: that node in a cohort.
    """

    def __init__(self, experiment: Design, seat: Seat, row: Row) -> None:
        self._experiment, self._seat, self._node = experiment, seat, seat.node
        self.row = row
        self._cohort, self._index = self.row
        self._iterations = 0
        self._round_from = 0
        """Iterations made before the first round that is as long as all others."""
        self._is_published = False
        """Whether the generator is the one that is judged, for the last step."""
        if seat.resumption is not None:
            self.restore(seat.resumption.checkpoint, seat.resumption.kept)

    def train(self, iterations: int) -> tuple[float, float]:
        """So many iterations; mean losses of generator and discriminator."""
        self.begin(iterations)
        return self.trained(iterations, self._cohort.train(iterations, [self._index]))

    def begin(self, iterations: int) -> None:
        """What has to be done before so many iterations, which lie in one round: Adam starts again,
        if it is to after every exchange."""
        every = self._experiment.exchange_every
        played = (self._iterations - self._round_from) % every
        assert played + iterations <= every, "an exchange within a call"
        if self._experiment.moments == "reset" and not played:
            self._cohort.forget([self._index])

    def trained(self, iterations: int, losses: Losses) -> tuple[float, float]:
        """Takes note of iterations that somebody made of all nodes together; as `train`."""
        self._iterations += iterations
        return float(losses.g[self._index]), float(losses.d[self._index])

    def snapshot(self) -> Mapping[Net, bytes]:
        """Every network as it is exchanged, in little-endian float32 bytes, copied."""
        return {net: words(self._own(net)) for net in NETS}

    def mix(self, order: do.Mix) -> Mapping[str, float]:
        """Merges each network with the arrivals that carry it (`mixing.rules.merge`)."""
        given: dict[str, float] = {}
        whole = parts_of(order)
        for net in NETS:
            own_E = self._own(net)
            parts = {
                part.exchange: Incoming(
                    vector_P=self._vector(part.arrival, net).to(own_E),
                    weight=part.weight,
                    base_P=self._vector(part.base, net).to(own_E) if part.base else None,
                )
                for part in whole
                if net in part.arrival.nets
            }
            merged = merge(own_E, list(parts.values()), order.own)
            given |= dict(zip(parts, merged, strict=True))
            # Half of a difference may be more than there is of a second moment.
            without_negative_moments(own_E, self._experiment.model.networks[net])
        self._follow()
        return given

    def judge(self, arrival: Arrival) -> float:
        """The node's vote for somebody else's generator."""
        size = self._experiment.model.generator.size
        vector_P = self._vector(arrival, "G")[:size].to(self._cohort.vectors["G"])
        return self._experiment.judge(vector_P, self._node)

    def adopt(self, arrival: Arrival) -> None:
        """Replaces each network that the arrival carries, with its moments if they travel."""
        for net in arrival.nets:
            self._own(net).copy_(self._vector(arrival, net))
        if arrival.purpose == "gift":
            self._iterations = arrival.number
            if self._experiment.config.train.ema:  # its running mean begins with what it is given
                self._judged.copy_(self._cohort.vectors["G"][self._index])
        self._follow()

    def score(self) -> NodeScores:
        """Scores of the generator as it is.

        After the last iteration, if there is a last step, the generator that is judged takes the
        place of the other, as in lockstep: nobody trains any more.
        """
        config = self._experiment.config
        if config.final != "none" and self._iterations >= config.iterations:
            if not self._is_published:
                self._cohort.vectors["G"][self._index].copy_(self._judged)
            self._is_published = True
        scores = self._experiment.score(self._judged, self._node)
        return NodeScores(fid=scores.fid, ms=scores.ms, samples=scores.samples)

    def _follow(self) -> None:
        """In the last step there is one generator."""
        if self._is_published:
            self._judged.copy_(self._cohort.vectors["G"][self._index])

    def save(self, state: bytes = b"") -> Path:
        """Writes all that the node goes on from."""
        return self._seat.save(self.checkpoint(state), self._experiment.model)

    def checkpoint(self, state: bytes = b"") -> Checkpoint:
        """Both networks as they are now, the generator's running mean if there is one, and what
        training depends on beside them; copied.

        Args:
            state: the machine's, sealed; empty: nobody goes on from here.
        """
        vectors = self._cohort.vectors
        memory = self._cohort.remember(self._index) if state else Memory()
        kept = Kept(sealed=state, memory=msgspec.structs.replace(memory, moments={}))
        return Checkpoint(
            vectors={net: vectors[net][self._index].detach().clone() for net in NETS},
            ema=self._judged.clone() if self._experiment.config.train.ema else None,
            run=self._seat.run,
            node=self._node,
            iterations=self._iterations,
            kept={f"{net}.moments": to_tensor(moments) for net, moments in memory.moments.items()},
            state=kept.encode() if state else b"",
        )

    def restore(self, saved: Checkpoint, kept: Kept) -> None:
        """Goes on from a checkpoint, to the bit.

        Raises:
            CheckpointError: if it is of another kind of node.
        """
        found = {net: saved.kept.get(f"{net}.moments") for net in NETS}
        moments = {net: to_bytes([part]) for net, part in found.items() if part is not None}
        memory = msgspec.structs.replace(kept.memory, moments=moments)
        for net in NETS:
            self._cohort.vectors[net][self._index].copy_(saved.vectors[net])
        if self._experiment.config.train.ema:
            self._judged.copy_(saved.generator)
        try:
            self._cohort.recall(self._index, memory)
        except ValueError as error:
            raise CheckpointError(
                expected="optimisers and streams of this run",
                got=str(error),
                at=f"checkpoint of node `{saved.node}`",
                hint="go on with the settings of the run",
            ) from None
        self._iterations = saved.iterations

    @property
    def _judged(self) -> torch.Tensor:
        """The generator that is scored and sampled, `(P,)`."""
        return self._cohort.judged[self._index].detach()

    def _own(self, net: Net) -> torch.Tensor:
        """A network as it is exchanged, `(E,)`."""
        return self._cohort.exchanged[net][self._index].detach()

    def _vector(self, arrival: Arrival, net: Net) -> torch.Tensor:
        """The part of an arrival that is this network, with its moments if they travel."""
        vector_E = part(self._experiment, arrival, net)
        without_negative_moments(vector_E, self._experiment.model.networks[net])
        return vector_E


def alone(experiment: Experiment, node: str) -> Row:
    """A cohort of one, for the thread that calls this."""
    threads = experiment.config.daemon.threads
    # In this very thread: the setting does not reach threads that are there already.
    torch.set_num_threads(threads)
    return Row(experiment.cohort([node], threads=threads), 0)


class Part(NamedTuple):
    """One arrival of a mixture."""

    exchange: str
    arrival: Arrival
    weight: float
    base: Arrival | None


def parts_of(order: do.Mix) -> list[Part]:
    """The arrivals of a mixture with all that belongs to them, in order."""
    weights = order.weights or (1.0,) * len(order.arrivals)
    found = []
    for arrival, weight in zip(order.arrivals, weights, strict=True):
        came = arrival if arrival.data else replace(arrival, data=order.kept[arrival.exchange])
        base = order.bases.get(arrival.exchange)
        sent = None if base is None else replace(arrival, data=order.kept[base])
        found.append(Part(arrival.exchange, came, weight, sent))
    return found


def part(experiment: Design, arrival: Arrival, net: Net) -> torch.Tensor:
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
    if len(vector_E) > 2 * network.size:
        vector_E[2 * network.size :].clamp_(min=0)
