"""What stands for networks where only the protocol is tried: a few numbers a node, and no data.

Machines, wire, mixing and checkpoints are the real ones; training and scores are made up. So
thousands of nodes are tried in seconds, and whoever knows the numbers can check what became of
them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import msgspec
import numpy as np
import torch
from torch import Tensor

from p2pgan.config import RunConfig
from p2pgan.design import DEFAULT_EXCHANGE_EVERY, DISTANCE, Design, overlay_of
from p2pgan.errors import ConfigError
from p2pgan.gan.cohort import Losses
from p2pgan.gan.layers import Linear, Reshape
from p2pgan.gan.memory import Memory
from p2pgan.gan.models import Model
from p2pgan.gan.networks import Network
from p2pgan.gan.scores import Scores
from p2pgan.mixing.algorithms import algorithm
from p2pgan.seeds import stream
from p2pgan.types import NETS, Net

PULL: Final = 0.01
"""How far an iteration moves a node's numbers towards its own optimum."""


def stand_in_model() -> Model:
    """The smallest pair there is: 12 and 5 values."""
    return Model(
        name="stand-in",
        latent=2,
        image_shape=(1, 2, 2),
        classes=0,
        generator=Network((Linear(2, 4), Reshape((1, 2, 2)))),
        discriminator=Network((Reshape((4,)), Linear(4, 1))),
        batch_size=1,
        learning_rate=1e-3,
    )


@dataclass(frozen=True)
class StandIn(Design):
    """A run whose nodes have numbers in place of networks.

    Every node has an optimum of its own, as it has a shard. A generator's score is its distance
    from the mean of all optima: what the nodes could reach together, and none alone.
    """

    @property
    def architecture(self) -> str:
        return f"stand-in-{self.algorithm.name}-{self.config.final}"

    def exchanged_size(self, net: Net) -> int:
        return self.model.networks[net].size

    @property
    def data_name(self) -> str:
        return "stand-in"

    @property
    def scorer_name(self) -> str:
        return DISTANCE

    def score_real(self) -> Scores:
        return Scores(fid=0.0, ms=1.0, samples=0)

    def optimum(self, node: str, net: Net) -> Tensor:
        """What a node's training leads to, `(P,)`."""
        rng = stream(self.config.seed, f"{node} {net}", "stand-in")
        return torch.from_numpy(rng.normal(size=self.exchanged_size(net)).astype(np.float32))

    def score(self, vector_P: Tensor, node: str) -> Scores:
        del node
        return Scores(fid=float((vector_P - self._mean).norm()), ms=1.0, samples=0)

    def judge(self, vector_P: Tensor, judge: str) -> float:
        return float((vector_P - self.optimum(judge, "G")).norm())

    @cached_property
    def _mean(self) -> Tensor:
        return torch.stack([self.optimum(node, "G") for node in self.nodes]).mean(0)


class StandInCohort:
    """All nodes' numbers; `Trainees` that train by walking towards their optima, or not at all.

    They begin at different places, so that mixing shows.
    """

    def __init__(self, design: StandIn) -> None:
        self._moves = design.config.virtual.train == "gradient-free"
        self._optima = {
            net: torch.stack([design.optimum(node, net) for node in design.nodes]) for net in NETS
        }
        self.vectors: dict[Net, Tensor] = {net: rows.clone() for net, rows in self._optima.items()}
        self.exchanged = self.vectors
        self.judged = self.vectors["G"]

    def train(self, iterations: int, nodes: Collection[int] | None = None) -> Losses:
        """So many iterations of every node, or of those with these indices."""
        trained = list(range(len(self.judged)) if nodes is None else nodes)
        losses = Losses.missing(len(self.judged))
        if self._moves:
            share = 1 - (1 - PULL) ** iterations
            for net, optima in self._optima.items():
                own = self.vectors[net]
                own[trained] = torch.lerp(own[trained], optima[trained], share)
        return losses

    def forget(self, nodes: Collection[int] | None = None) -> None:
        """There is nothing to forget."""

    def remember(self, node: int) -> Memory:
        """Nothing: training draws nothing, and has no optimiser."""
        del node
        return Memory()

    def recall(self, node: int, memory: Memory) -> None:
        """There is nothing to recall."""


def stand_in(config: RunConfig) -> StandIn:
    """The run that a configuration describes, without data and networks.

    Raises:
        ConfigError, OverlayError: for whatever in it cannot be run.
    """
    chosen = algorithm(config.algorithm)
    if chosen.has_coordinator or chosen.is_pooled:
        raise ConfigError(
            expected="an algorithm without a coordinator, such as `gossip`",
            got=f"`{config.algorithm}`",
            at="--algorithm",
            hint="`--train networks` runs the others",
        )
    if config.exchange_epochs is not None:
        raise ConfigError(
            expected="`exchange_every`", got="`exchange_epochs`, which needs data", at="--train"
        )
    if config.exchange.moments != "stay" or config.train.ema:
        raise ConfigError(
            expected="`stay` and 0: nothing is optimised",
            got=f"`{config.exchange.moments}` and `{config.train.ema:g}`",
            at="exchange.moments, train.ema",
        )
    if config.score.final_samples:
        raise ConfigError(
            expected="0: there are no images whose quality could be measured",
            got=f"`{config.score.final_samples}`",
            at="score.final_samples",
        )
    chosen.draw(config.exchange, lockstep=False)
    overlay = overlay_of(config, chosen)
    resolved = msgspec.structs.replace(
        config,
        nodes=len(overlay.nodes),
        dataset="stand-in",
        model="stand-in",
        exchange_every=config.exchange_every or DEFAULT_EXCHANGE_EVERY,
        device="cpu",
    )
    return StandIn(resolved, chosen, overlay, stand_in_model())
