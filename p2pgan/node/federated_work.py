"""The work of FL-GAN's two sides: workers that train a whole pair, a coordinator that averages.

Source: thesis, section 4.1.2; McMahan et al. 2017, algorithm 1. The rules are those of
`p2pgan.mixing.federated`, which the simulator uses as well.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from p2pgan.experiment import Experiment
from p2pgan.gan.checkpoint import Checkpoint
from p2pgan.gan.cohort import Parts
from p2pgan.mixing.federated import Server, mean, shares
from p2pgan.node.jobs import NodeScores, NodeWork
from p2pgan.node.kept import Kept
from p2pgan.node.seat import Seat
from p2pgan.node.work import CohortWork, alone, part, without_negative_moments
from p2pgan.payloads import words
from p2pgan.protocol.chunks import Arrival
from p2pgan.types import COORDINATOR, NETS, Net


class UpdateWork(CohortWork):
    """Takes the coordinator's model, trains it, and packs what has become of it.

    Args:
        experiment: what is run.
        seat: one of its workers.
    """

    def __init__(self, experiment: Experiment, seat: Seat) -> None:
        super().__init__(experiment, seat, alone(experiment, seat.node))
        self._shard = len(experiment.shards[seat.node])
        self._sends_deltas = experiment.config.fl.send == "deltas"
        self._adopted: dict[Net, torch.Tensor] = {}

    def snapshot(self) -> Mapping[Net, bytes]:
        """Empty: what is sent is packed."""
        return {}

    def adopt(self, arrival: Arrival) -> None:
        """Begins a round with the coordinator's model."""
        super().adopt(arrival)
        self._round_from = self._iterations
        if self._sends_deltas:
            self._adopted = {net: self._own(net).clone() for net in NETS}

    def pack(self) -> tuple[bytes, int]:
        """The networks or what the round has changed in them, and the size of the shard."""
        own = {net: self._own(net) for net in NETS}
        if self._sends_deltas:
            own = {net: vector - self._adopted[net] for net, vector in own.items()}
        return b"".join(words(own[net]) for net in NETS), self._shard


class ModelWork(NodeWork):
    """The model, of which each round makes the next. Belongs to the training thread once that has
    taken it over.

    Args:
        experiment: what is run.
        seat: the coordinator's.
    """

    def __init__(self, experiment: Experiment, seat: Seat) -> None:
        self._experiment, self._seat = experiment, seat
        rows = experiment.initial_rows(1)
        exchanged = Parts.of(experiment.model, experiment.config.train, rows).exchanged
        self._networks = experiment.model.networks
        self._rounds = 0
        velocity: Mapping[str, torch.Tensor] = {}
        resumption = seat.resumption
        if resumption is not None:
            saved = resumption.checkpoint
            velocity, self._rounds = saved.kept, resumption.kept.rounds
            for net in NETS:
                behind = saved.kept[f"{net}.moments"]
                exchanged[net][0].copy_(torch.cat([saved.vectors[net], behind]))
        self._servers = {
            net: Server(
                exchanged[net][0],
                experiment.config.fl.momentum,
                self._networks[net].parameters,
                velocity.get(f"{net}.velocity"),
            )
            for net in NETS
        }

    def in_this_thread(self) -> "ModelWork":
        """Itself, in the hands of the thread that calls this."""
        torch.set_num_threads(self._experiment.config.daemon.threads)
        return self

    def snapshot(self) -> Mapping[Net, bytes]:
        return {net: words(server.model_P) for net, server in self._servers.items()}

    def average(self, updates: Sequence[Arrival]) -> Mapping[str, float]:
        """The next model is the mean of the updates, or a step towards it.

        What a worker weighs follows from its shard as all know it, not from what it says.
        """
        config, sizes = self._experiment.config.fl, self._experiment.shards
        weights_K = shares([len(sizes[update.peer]) for update in updates], config.weighting)
        for net, server in self._servers.items():
            vectors = [part(self._experiment, update, net) for update in updates]
            mean_E = mean(vectors, weights_K).to(server.model_P)
            server.step(mean_E, deltas=config.send == "deltas")
            without_negative_moments(server.model_P, self._networks[net])
        self._rounds += 1
        exchanges = [update.exchange for update in updates]
        return dict(zip(exchanges, weights_K.tolist(), strict=True))

    def score(self) -> NodeScores:
        scores = self._experiment.score(self._vector("G"), COORDINATOR)
        return NodeScores(fid=scores.fid, ms=scores.ms, samples=scores.samples)

    def save(self, state: bytes) -> Path:
        """Writes the model, what travels with it, and the running sum of its steps."""
        config = self._experiment.config
        kept = {}
        for net, server in self._servers.items():
            kept[f"{net}.moments"] = server.model_P[self._networks[net].size :]
            kept[f"{net}.velocity"] = server.velocity_T
        checkpoint = Checkpoint(
            vectors={net: self._vector(net) for net in NETS},
            run=self._seat.run,
            node=COORDINATOR,
            iterations=min(config.iterations, self._rounds * self._experiment.exchange_every),
            kept=kept,
            state=Kept(sealed=state, rounds=self._rounds).encode(),
        )
        return self._seat.save(checkpoint, self._experiment.model)

    def _vector(self, net: Net) -> torch.Tensor:
        """The network itself, `(P,)`."""
        return self._servers[net].model_P[: self._networks[net].size]
