"""What a run is, its data and its networks apart: who takes part, in what order, and for how long.

Machines are made from this alone, so that they can be run with and without networks.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from p2pgan.config import RunConfig
from p2pgan.mixing import federated
from p2pgan.mixing.algorithms import Algorithm
from p2pgan.overlay.graph import Overlay
from p2pgan.types import COORDINATOR, Net

SCORES_PER_RUN = 10
"""How often `score.every = None` scores, the end included."""


@dataclass(frozen=True)
class Design(ABC):
    """A prepared run without what is trained. Fields of `config` that depend on others are
    resolved."""

    config: RunConfig
    algorithm: Algorithm
    overlay: Overlay

    @property
    @abstractmethod
    def architecture(self) -> str:
        """A short hash of what peers must have in common to exchange vectors."""

    @abstractmethod
    def exchanged_size(self, net: Net) -> int:
        """Values of a network as it is exchanged."""

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.overlay.nodes

    @property
    def exchange_every(self) -> int:
        """Iterations of a round."""
        assert self.config.exchange_every is not None
        return self.config.exchange_every

    @property
    def rounds(self) -> int:
        """Rounds of the run; the last one may be shorter, and ends with an exchange as well."""
        return -(-self.config.iterations // self.exchange_every)

    @property
    def round_nodes(self) -> int:
        """Nodes that train in a round: all, those that FL-GAN's coordinator selects, or those with
        one of MD-GAN's discriminators."""
        nodes = len(self.nodes)
        if self.algorithm.is_federated:
            return federated.count(self.config.fl.fraction, nodes)
        return (self.config.md.discriminators if self.algorithm.is_split else None) or nodes

    @property
    def generators(self) -> tuple[str, ...]:
        """Who has a generator: all nodes, or the coordinator alone."""
        return (COORDINATOR,) if self.algorithm.is_split else self.nodes

    @property
    def moments(self) -> str:
        """What becomes of Adam's moments; they stay where nothing is exchanged."""
        return self.config.exchange.moments if self.algorithm.groups else "stay"

    def is_scored(self, round_: int) -> bool:
        """Whether scores are due after that round (counted from 1); always after the last."""
        every = self.config.score.every
        if every is None:
            every = max(1, round(self.rounds / SCORES_PER_RUN))
        return round_ >= self.rounds or (every > 0 and round_ % every == 0)
