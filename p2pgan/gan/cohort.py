"""A cohort: N nodes trained together, each on its own data, in one batched computation.

This is the only training step. The simulator's cohort has many nodes, a daemon's has one; between
two exchanges nodes are independent, so both compute the same up to the rounding of batched kernels.

Shape letters: N nodes, P parameters, B batch, Z latent, C H W image.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from p2pgan.config import TrainConfig
from p2pgan.gan.latents import LatentSource
from p2pgan.gan.losses import loss
from p2pgan.gan.models import Model
from p2pgan.gan.networks import Network
from p2pgan.types import Net

Batches = Callable[[int], Iterator[tuple[Tensor, Tensor]]]
"""Given a count, that many real batches: images `(N, B, C, H, W)` in [-1, 1], labels `(N, B)`."""


class Player:
    """One network of every node of a cohort, with its optimiser.

    The tensors that the network computes with are views into `vector_NP`, and their gradients are
    gathered into one matrix, so that Adam is one fused update of one tensor. Buffers sit in the
    same matrix with a gradient that stays 0; Adam leaves such values exactly as they are.
    """

    def __init__(
        self, network: Network, vector_NP: Tensor, learning_rate: float, betas: tuple[float, float]
    ) -> None:
        self.network = network
        self.vector_NP = vector_NP
        vector_NP.grad = torch.zeros_like(vector_NP)
        self.optimizer = torch.optim.Adam([vector_NP], learning_rate, betas, fused=True)
        # `.data`: a forward pass updates buffers of the same matrix, which must not look to
        # autograd like a change of the weights.
        self.leaves = [view.data for view in network.views(vector_NP)]
        trained = sum(not slot.is_buffer for slot in network.slots)
        self.trained = [leaf.requires_grad_() for leaf in self.leaves[:trained]]
        self.gradients = network.views(vector_NP.grad)[:trained]

    def __call__(self, x: Tensor) -> Tensor:
        """The network of every node on its inputs `(N, B, ...)`, in training mode."""
        return self.network.apply(self.leaves, x, training=True)

    def descend(self, loss_N: Tensor) -> None:
        """One Adam step of every node on its own loss."""
        torch._foreach_copy_(self.gradients, torch.autograd.grad(loss_N.sum(), self.trained))
        self.optimizer.step()


@dataclass(frozen=True)
class Losses:
    """Mean losses of the iterations of one call, per node, float32 `(N,)`."""

    d: np.ndarray
    g: np.ndarray


class Cohort:
    """N nodes with their networks, optimisers, data and random streams.

    `vectors["G"]` and `vectors["D"]`, each `(N, P)` float32, are the networks: whoever mixes
    changes them in place. Optimiser state is indexed by node and stays where it is.
    """

    def __init__(
        self,
        model: Model,
        config: TrainConfig,
        vectors: dict[Net, Tensor],
        batches: Batches,
        latents: LatentSource,
    ) -> None:
        """A cohort that has not trained yet.

        Args:
            model: the pair of networks.
            config: losses, steps and optimiser settings.
            vectors: initial vectors, `(N, P)` per network; used in place.
            batches: the nodes' real images.
            latents: the nodes' latents, conditional if the configuration is.
        """
        assert config.conditional == bool(latents.classes), "labels without a meaning"
        rates = (config.learning_rate_g, config.learning_rate_d)
        rate_g, rate_d = (model.learning_rate if rate is None else rate for rate in rates)
        betas = (config.beta1, config.beta2)
        self.vectors = vectors
        self.generator = Player(model.generator, vectors["G"], rate_g, betas)
        self.discriminator = Player(model.discriminator, vectors["D"], rate_d, betas)
        self._batches = batches
        self._latents = latents
        self._objective = _objective(config, latents)
        self._discriminator_steps = config.discriminator_steps

    def train(self, iterations: int) -> Losses:
        """So many iterations (at least 1) of every node: `L` discriminator steps, a generator step.

        Both networks are always in training mode: the generator's batch-norm statistics follow its
        images in discriminator steps as well, where nothing else of it changes.
        """
        assert iterations >= 1
        steps = self._discriminator_steps
        batches = self._batches(iterations * steps)
        d_N = torch.zeros(len(self.vectors["D"]), device=self.vectors["D"].device)
        g_N = torch.zeros_like(d_N)
        for _ in range(iterations):
            for _ in range(steps):
                images, labels_NB = next(batches)
                d_N += self._discriminator_step(images, labels_NB)
            g_N += self._generator_step(labels_NB.shape[1])
        return Losses((d_N / (iterations * steps)).cpu().numpy(), (g_N / iterations).cpu().numpy())

    def _discriminator_step(self, images: Tensor, labels_NB: Tensor) -> Tensor:
        latents = self._latents.draw(labels_NB.shape[1])
        with torch.no_grad():
            generated = self.generator(latents.z_NBZ)
        real = Judged(images, labels_NB, self.discriminator(images))
        fake = Judged(generated, latents.labels_NB, self.discriminator(generated))
        loss_N = _sum(
            term(self.discriminator, real, fake) for term in self._objective.discriminator
        )
        self.discriminator.descend(loss_N)
        return loss_N.detach()

    def _generator_step(self, batch: int) -> Tensor:
        latents = self._latents.draw(batch)
        generated = self.generator(latents.z_NBZ)
        fake = Judged(generated, latents.labels_NB, self.discriminator(generated))
        loss_N = _sum(term(fake) for term in self._objective.generator)
        self.generator.descend(loss_N)
        return loss_N.detach()


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, terms)


@dataclass(frozen=True)
class Judged:
    """Images `(N, B, C, H, W)`, labels `(N, B)` and the discriminator's logits `(N, B, 1 + K)`."""

    images: Tensor
    labels_NB: Tensor
    logits: Tensor

    @property
    def realness_NB(self) -> Tensor:
        return self.logits[..., 0]

    def class_loss(self) -> Tensor:
        """ACGAN's class term, cross-entropy per node, `(N,)` (Odena et al. 2017, eq. 3)."""
        log_p_NBK = functional.log_softmax(self.logits[..., 1:], dim=-1)
        return -log_p_NBK.gather(-1, self.labels_NB.unsqueeze(-1)).squeeze(-1).mean(1)


@dataclass(frozen=True)
class Objective:
    """The terms, each `(N,)`, whose sum a player minimises; chosen once, from the configuration."""

    discriminator: tuple[Callable[[Player, Judged, Judged], Tensor], ...]
    """Terms of the discriminator itself, real images and generated images."""
    generator: tuple[Callable[[Judged], Tensor], ...]


def _objective(config: TrainConfig, latents: LatentSource) -> Objective:
    game = loss(config.loss)

    def play(player: Player, real: Judged, fake: Judged) -> Tensor:
        return game.discriminator(real.realness_NB, fake.realness_NB)

    def classify(player: Player, real: Judged, fake: Judged) -> Tensor:
        return real.class_loss() + fake.class_loss()

    def smooth(player: Player, real: Judged, fake: Judged) -> Tensor:
        assert game.penalty is not None
        share_NB = latents.proportions(real.labels_NB.shape[1])
        penalty_N = game.penalty(lambda x: player(x)[..., 0], real.images, fake.images, share_NB)
        return config.gradient_penalty * penalty_N

    return Objective(
        discriminator=(
            play,
            *((classify,) if config.conditional else ()),
            *((smooth,) if game.penalty else ()),
        ),
        generator=(
            lambda fake: game.generator(fake.realness_NB),
            *((Judged.class_loss,) if config.conditional else ()),
        ),
    )
