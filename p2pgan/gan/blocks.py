"""A block of nodes: the training step, for all of them in one batched computation.

This is the only training step. Gradients are taken layer by layer with pullbacks instead of being
recorded by autograd, which for small networks takes longer than the networks' own products. The
discriminators' side is a class of its own, since MD-GAN trains it without a generator beside it.

Shape letters: N nodes (of the block), B batch, O outputs of the discriminator, K steps.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from p2pgan.gan.latents import Latents
from p2pgan.gan.losses import Curve, Loss
from p2pgan.gan.players import Player


@dataclass(frozen=True)
class Batch:
    """Real images `(N, B, C, H, W)` in [-1, 1] with their labels `(N, B)`."""

    images: Tensor
    labels_NB: Tensor


@dataclass(frozen=True)
class Feed:
    """What a block trains on; each draw is of the nodes' own data and streams."""

    real: Iterator[Batch]
    latents: Iterator[Latents]
    proportions: Iterator[Tensor]


@dataclass(frozen=True)
class Judged:
    """The discriminator's outputs `(N, B, O)` for images that ask for `labels_NB`.

    Steps can be stacked: all that is computed here takes further dimensions in front.
    """

    logits: Tensor
    labels_NB: Tensor

    def value(self, curve: Curve, *, conditional: bool) -> Tensor:
        """The loss, `(N,)`: the curve's mean and, if conditional, the class term.

        The class term is ACGAN's cross-entropy (Odena et al. 2017, eq. 3).
        """
        value_N = curve.value(self.logits[..., 0]).mean(-1)
        if conditional:
            log_p = functional.log_softmax(self.logits[..., 1:], dim=-1)
            value_N = value_N - log_p.gather(-1, self.labels_NB.unsqueeze(-1)).squeeze(-1).mean(-1)
        return value_N

    def gradient(self, curve: Curve, *, conditional: bool) -> Tensor:
        """The gradient of `value` in the logits, `(N, B, O)`."""
        if self.logits.shape[-1] == 1:
            slope = curve.slope(self.logits)
        else:
            classes = self.logits[..., 1:]
            others = (
                classes.softmax(-1) - functional.one_hot(self.labels_NB, classes.shape[-1])
                if conditional
                else torch.zeros_like(classes)
            )
            slope = torch.cat([curve.slope(self.logits[..., :1]), others], -1)
        return slope.div_(self.logits.shape[-2])


@dataclass(frozen=True)
class DiscriminatorStep:
    """What a discriminator step saw, for its loss."""

    real: Judged
    fake: Judged
    penalty_N: Tensor | None


@dataclass(frozen=True)
class Game:
    """What both players minimise, and who steps when."""

    loss: Loss
    penalty_weight: float
    discriminator_steps: int
    conditional: bool


class Critics:
    """The discriminators of some nodes: how they learn, and what they tell a generator."""

    def __init__(self, game: Game, player: Player) -> None:
        self.game, self.player = game, player

    def learn(
        self, real: Batch, fake: Tensor, labels_NB: Tensor, proportions: Iterator[Tensor]
    ) -> DiscriminatorStep:
        """One discriminator step of every node.

        Args:
            real: a batch of each node's own images.
            fake: generated images `(N, B, C, H, W)`.
            labels_NB: what they were asked to be.
            proportions: where a gradient penalty looks, `(N, B)`.
        """
        extra, penalty_N = self._penalty(real.images, fake, proportions)
        labels = (real.labels_NB, labels_NB)
        if self.player.network.couples_samples:
            passes = [self.player(images) for images in (real.images, fake)]
            judged = [Judged(y, own) for (y, _), own in zip(passes, labels, strict=True)]
            gradients = self._gradients(*judged)
            tapes = [tape for _, tape in passes]
        else:  # real and generated images in one pass
            y, tape = self.player(torch.cat([real.images, fake], 1))
            halves = y.tensor_split(2, 1)
            judged = [Judged(half, own) for half, own in zip(halves, labels, strict=True)]
            gradients, tapes = [torch.cat(self._gradients(*judged), 1)], [tape]
        self.player.descend(list(zip(tapes, gradients, strict=True)), extra)
        return DiscriminatorStep(judged[0], judged[1], penalty_N)

    def feedback(self, fake: Tensor, labels_NB: Tensor) -> tuple[Judged, Tensor]:
        """What the generator's loss gains with every value of its images, `(N, B, C, H, W)`.

        It is the gradient of the batch's mean loss, so it carries `1 / B`. Thesis, section 5.2.2:
        the vectors `e_q = ∂B̃ / ∂x_q`.

        Args:
            fake: generated images `(N, B, C, H, W)`.
            labels_NB: what they were asked to be.
        """
        y, tape = self.player(fake)
        judged = Judged(y, labels_NB)
        gradient = judged.gradient(self.game.loss.fooling, conditional=self.game.conditional)
        return judged, self.player.pull(tape, gradient)

    def _gradients(self, real: Judged, fake: Judged) -> list[Tensor]:
        loss, conditional = self.game.loss, self.game.conditional
        return [
            real.gradient(loss.real, conditional=conditional),
            fake.gradient(loss.fake, conditional=conditional),
        ]

    def _penalty(
        self, real: Tensor, fake: Tensor, proportions: Iterator[Tensor]
    ) -> tuple[Sequence[Tensor] | None, Tensor | None]:
        """The penalty's gradients, in vector order, and its value `(N,)`; by autograd, since it
        holds a gradient itself."""
        penalty, network = self.game.loss.penalty, self.player.network
        if penalty is None:
            return None, None
        # Copies: training runs in inference mode, whose tensors autograd does not take.
        with torch.inference_mode(False), torch.enable_grad():
            tensors = [tensor.clone() for tensor in self.player.tensors]
            trained = [tensor.requires_grad_() for tensor in tensors[: network.trained]]
            penalty_N = self.game.penalty_weight * penalty(
                lambda x: network.apply(tensors, x, training=True)[..., 0],
                real.clone(),
                fake.clone(),
                next(proportions).clone(),
            )
            gradients = torch.autograd.grad(
                penalty_N.sum(), trained, allow_unused=True, materialize_grads=True
            )
        return [gradient.contiguous() for gradient in gradients], penalty_N.detach()


class Block:
    """Some nodes of a cohort, with their networks laid out for training."""

    def __init__(self, game: Game, generator: Player, discriminator: Player) -> None:
        self._game = game
        self.generator, self.critics = generator, Critics(game, discriminator)

    @contextmanager
    def loaded(self, places: Sequence[int] | None = None) -> Iterator[None]:
        """While entered, the nodes' networks are in the block's hands; then they are given back.

        Args:
            places: of the nodes that are trained, as in `Player.load`; `None`: all.
        """
        players = (self.generator, self.critics.player)
        for player in players:
            player.load(places)
        try:
            yield
        finally:
            for player in players:
                player.store()

    def forget(self, places: Sequence[int] | None = None) -> None:
        """Starts both optimisers again. Not while entered.

        Args:
            places: of which nodes; `None`: of all.
        """
        self.generator.forget(places)
        self.critics.player.forget(places)

    def iterate(self, feed: Feed) -> tuple[list[DiscriminatorStep], Judged]:
        """`L` discriminator steps and a generator step.

        Both networks are always in training mode: the generator's batch-norm statistics follow its
        images in discriminator steps as well, where nothing else of it changes. To be called in
        inference mode: gradients are taken here, and nothing is to be recorded.
        """
        steps = range(self._game.discriminator_steps)
        return [self._discriminator_step(feed) for _ in steps], self._generator_step(feed)

    def _discriminator_step(self, feed: Feed) -> DiscriminatorStep:
        batch, latents = next(feed.real), next(feed.latents)
        generated, _ = self.generator(latents.z_NBZ)
        return self.critics.learn(batch, generated, latents.labels_NB, feed.proportions)

    def _generator_step(self, feed: Feed) -> Judged:
        latents = next(feed.latents)
        generated, tape = self.generator(latents.z_NBZ)
        judged, gradient_x = self.critics.feedback(generated, latents.labels_NB)
        self.generator.descend([(tape, gradient_x)])
        self.generator.follow()
        return judged
