"""FL-GAN in lockstep: who makes a round, and what the coordinator makes of it.

The rules are those of the daemons (`p2pgan.mixing.federated`). Two things differ from daemons:
nobody is slow, so that no more are asked than make the round; and every node holds the current
networks at the end of a round, where real workers get them when they are selected next, which costs
nothing here and is not counted. `fl.send` is not looked at in lockstep: it changes the networks by
rounding, and traffic not at all.
"""

from collections.abc import Mapping

from torch import Tensor

from p2pgan.experiment import Experiment
from p2pgan.mixing.federated import Server, mean_rows, select, shares
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim.shares import Shares
from p2pgan.types import Net

Weights = Mapping[int, float]
"""Of those who make a round, by the node's index, rising: their weights in the mean."""


class Federation:
    """The coordinator, of which every rank has a copy."""

    def __init__(
        self, experiment: Experiment, nodes: Shares, exchanged: Mapping[Net, Tensor]
    ) -> None:
        """A coordinator before the first round.

        Args:
            experiment: what is run.
            nodes: which of them are this rank's.
            exchanged: what they exchange, as in `Cohort`; their initial networks are its own.
        """
        settings = experiment.config.fl
        self._nodes, self._exchanged = nodes, exchanged
        self._samples = [len(experiment.shards[node]) for node in experiment.nodes]
        self._number, self._weighting = experiment.round_nodes, settings.weighting
        self._rng = stream(experiment.config.seed, EVERYONE, "selection")
        self._servers = {
            net: Server(
                matrix_OP[0].clone(), settings.momentum, experiment.model.networks[net].parameters
            )
            for net, matrix_OP in exchanged.items()
            if settings.momentum
        }

    def select(self) -> Weights:
        """Who makes the next round; one call a round, the same at every rank."""
        chosen = select(range(len(self._samples)), self._number, self._rng)
        weights_K = shares([self._samples[index] for index in chosen], self._weighting)
        return dict(zip(chosen, weights_K.tolist(), strict=True))

    def average(self, net: Net, weights: Weights) -> None:
        """Makes the next network of those who have trained, and gives it to every node."""
        matrix_OP = self._exchanged[net]
        rows = mean_rows(list(weights), list(weights.values()), len(self._samples))
        self._nodes.mix(rows, matrix_OP)
        if (server := self._servers.get(net)) is not None:
            server.step(matrix_OP[0])
            matrix_OP.copy_(server.model_P.expand_as(matrix_OP))
