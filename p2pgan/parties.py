"""What a configuration stands for in MD-GAN: the coordinator's generator, the discriminators.

Simulator and daemons take them from here, from the same streams, as they take everything else from
`p2pgan.experiment`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from p2pgan.config import RunConfig
from p2pgan.experiment import Experiment, ShardBatches
from p2pgan.gan.blocks import Critics, Game
from p2pgan.gan.cohort import adam_of, game_of
from p2pgan.gan.latents import LatentSource
from p2pgan.gan.models import Model, model
from p2pgan.gan.networks import Network
from p2pgan.gan.players import Player
from p2pgan.gan.split import Source
from p2pgan.mixing.moves import batch_count
from p2pgan.seeds import EVERYONE, stream
from p2pgan.types import COORDINATOR


@dataclass(frozen=True)
class Parties:
    """The two sides of a run of MD-GAN; `slot` is the number of a discriminator, from 0."""

    experiment: Experiment

    @property
    def config(self) -> RunConfig:
        return self.experiment.config

    @property
    def discriminators(self) -> int:
        """n."""
        return self.config.md.discriminators or len(self.experiment.nodes)

    @property
    def batches(self) -> int:
        """k: batches generated in an iteration."""
        return batch_count(self.config.md.batches, self.discriminators)

    @property
    def own_batches(self) -> int:
        """Batches generated at a time for one discriminator, where each is served on its own."""
        return min(2, self.batches)

    @cached_property
    def kinds(self) -> tuple[Model, ...]:
        """The models whose discriminators are dealt to slots in turn."""
        return tuple(map(model, self.config.md.models)) or (self.experiment.model,)

    def model(self, slot: int) -> Model:
        """The model that a discriminator is of."""
        return self.kinds[slot % len(self.kinds)]

    def network(self, slot: int) -> Network:
        """Architecture of a discriminator."""
        return self.model(slot).discriminator

    def draws(self) -> np.random.Generator:
        """The coordinator's stream of places and moves, at its start."""
        return stream(self.config.seed, COORDINATOR, "moves")

    @property
    def batch_shape(self) -> tuple[int, int, int, int]:
        """`(B, C, H, W)`."""
        assert self.config.batch_size is not None
        return (self.config.batch_size, *self.experiment.model.image_shape)

    def generator_row(self) -> Tensor:
        """The generator at the start, `(1, P)`, or with `train.ema` once more behind itself."""
        return self.experiment.initial_rows(1)["G"]

    def source(self, row_1E: Tensor) -> Source:
        """The generator's side, its networks in that row and its streams at their start."""
        config = self.config.train
        player = Player(
            self.experiment.model.generator,
            row_1E,
            adam_of(config, self.experiment.model, "G"),
            config.ema,
        )
        player.load()
        latents = self._latents([COORDINATOR])
        return Source(player, latents, self.batch_shape[0], self.config.md.staleness)

    def discriminator_row(self, slot: int) -> Tensor:
        """A discriminator at the start, with Adam's moments behind it, which are 0: `(1, 3P)`."""
        node = str(slot) if self.config.md.initial == "different" else EVERYONE
        rng = stream(self.config.seed, node, "discriminators")
        vector_P = self.network(slot).initial_vector(rng, self.config.train.init)
        row = torch.cat([vector_P, torch.zeros(2 * len(vector_P))])
        return row[None].to(self.experiment.device)

    def critics(self, network: Network, rows_NE: Tensor) -> Critics:
        """Discriminators of one architecture, in rows as `discriminator_row` makes them; loaded."""
        player = Player(network, rows_NE, adam_of(self.config.train, self.experiment.model, "D"))
        player.load()
        return Critics(self.game, player)

    def real(self, workers: Sequence[str]) -> ShardBatches:
        """The workers' own images, from their streams' start."""
        return self.experiment.batches(workers)

    def proportions(self, workers: Sequence[str]) -> LatentSource:
        """Where gradient penalties look, from the workers' streams' start."""
        return self._latents(workers)

    @property
    def game(self) -> Game:
        """What both sides minimise."""
        return game_of(self.config.train)

    def _latents(self, nodes: Sequence[str]) -> LatentSource:
        return self.experiment.latents(nodes)
