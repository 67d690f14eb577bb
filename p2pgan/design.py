"""What a run is, its data and its networks apart: who takes part, in what order, and for how long.

Machines are made from this alone, so that they can be run with and without networks.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from p2pgan.config import RunConfig
from p2pgan.gan.models import Model
from p2pgan.gan.scores import Scores
from p2pgan.mixing import federated
from p2pgan.mixing.algorithms import Algorithm
from p2pgan.mixing.rehearsal import averaging_rounds, spreading_rounds
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.resolve import is_family, resolve
from p2pgan.seeds import EVERYONE, stream
from p2pgan.types import COORDINATOR, Net

DISTANCE = "distance"
"""The scorer of nodes that have no networks: how far they are from what they could reach together.
It takes the place of FID."""

DEFAULT_EXCHANGE_EVERY = 20
"""Iterations between exchanges when nobody says (about a tenth of a pass on ten nodes' digits)."""

SCORES_PER_RUN = 10
"""How often `score.every = None` scores, the end included."""


@dataclass(frozen=True)
class Design(ABC):
    """A prepared run without what it is trained on. Fields of `config` that depend on others are
    resolved."""

    config: RunConfig
    algorithm: Algorithm
    overlay: Overlay
    model: Model

    @property
    @abstractmethod
    def architecture(self) -> str:
        """A short hash of what peers must have in common to exchange vectors."""

    @abstractmethod
    def exchanged_size(self, net: Net) -> int:
        """Values of a network as it is exchanged."""

    @property
    @abstractmethod
    def data_name(self) -> str:
        """The data set, without the path of a folder."""

    @property
    @abstractmethod
    def scorer_name(self) -> str:
        """What scores are measured by."""

    @abstractmethod
    def score_real(self) -> Scores:
        """What a perfect generator gets."""

    @abstractmethod
    def score(self, vector_P: Tensor, node: str) -> Scores:
        """Scores of one node's generator."""

    @abstractmethod
    def judge(self, vector_P: Tensor, judge: str) -> float:
        """A node's vote for somebody else's generator; less is better."""

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
    def threads(self) -> int:
        """Processors that a simulation trains on."""
        return self.config.engine.threads or torch.get_num_threads()

    @property
    def moments(self) -> str:
        """What becomes of Adam's moments; they stay where nothing is exchanged."""
        return self.config.exchange.moments if self.algorithm.groups else "stay"

    @cached_property
    def rehearsed_rounds(self) -> int:
        """Rounds that the last step takes where nodes keep their own pace, for averaging or for
        spreading; found out once, since a simulation has a machine for every node."""
        rounds = averaging_rounds if self.config.final == "average" else spreading_rounds
        draw = self.algorithm.draw(self.config.exchange, lockstep=False)
        rng = stream(self.config.seed, EVERYONE, "rehearsal")
        return rounds(draw, self.overlay.neighbor_indices(), rng)

    def is_scored(self, round_: int) -> bool:
        """Whether scores are due after that round (counted from 1); always after the last."""
        every = self.config.score.every
        if every is None:
            every = max(1, round(self.rounds / SCORES_PER_RUN))
        return round_ >= self.rounds or (every > 0 and round_ % every == 0)


def overlay_of(config: RunConfig, chosen: Algorithm) -> Overlay:
    """The overlay that a configuration asks for.

    Raises:
        OverlayError: if there is no such overlay, or not of so many nodes.
    """
    rng = stream(config.seed, EVERYONE, "overlay")
    if chosen.is_pooled:
        return resolve("complete", 1, rng, allow_disconnected=False)
    if not chosen.has_coordinator or is_family(config.overlay):
        return resolve(
            config.overlay, config.nodes, rng, allow_disconnected=config.allow_disconnected
        )
    found = resolve(config.overlay, None, rng, allow_disconnected=True)
    if COORDINATOR in found.nodes:
        workers = found.without(COORDINATOR)
        return workers if config.nodes is None else workers.first(config.nodes)
    return resolve(config.overlay, config.nodes, rng, allow_disconnected=config.allow_disconnected)
