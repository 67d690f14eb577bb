"""A GAN that is split between machines: one generator, discriminators elsewhere (MD-GAN).

Source: thesis, chapter 5, sections 5.2.1 and 5.2.2. What the two sides send each other are images
and the loss's gradient in them. Simulator and daemons call the same functions, the one for all
discriminators at once, the others each for its own.

Shape letters: K batches, N discriminators, B batch, Z latent, C H W image.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from p2pgan.gan.blocks import Batch, Critics, DiscriminatorStep, Judged
from p2pgan.gan.latents import LatentSource
from p2pgan.gan.players import Player, Tape
from p2pgan.gan.staleness import Reading, Rule, Staleness


@dataclass(frozen=True)
class Fakes:
    """Generated images `(N, B, C, H, W)` and what they were asked to be, `(N, B)`."""

    images: Tensor
    labels_NB: Tensor


@dataclass(frozen=True)
class Criticism:
    """What discriminators made of an iteration."""

    steps: Sequence[DiscriminatorStep]
    """Their own."""
    judged: Judged
    """The images that they judged."""
    feedback: Tensor
    """The gradient of each batch's mean loss in its images, `(N, B, C, H, W)`."""


def criticise(
    critics: Critics, real: Batch, learnt: Fakes, judged: Fakes, proportions: Iterator[Tensor]
) -> Criticism:
    """An iteration of the discriminators: `L` steps, and then the feedback.

    All `L` steps see the same two batches (thesis, algorithm 3).

    Args:
        critics: the discriminators.
        real: a batch of each one's worker.
        learnt: the batches to learn from, `X^(d)`.
        judged: the batches to judge, `X^(g)`.
        proportions: where a gradient penalty looks.
    """
    steps = [
        critics.learn(real, learnt.images, learnt.labels_NB, proportions)
        for _ in range(critics.game.discriminator_steps)
    ]
    seen, feedback = critics.feedback(judged.images, judged.labels_NB)
    return Criticism(steps, seen, feedback)


@dataclass(frozen=True)
class Batches:
    """K batches of generated images, with what the generator needs to learn from them."""

    images: Tensor
    """`(K, B, C, H, W)`."""
    labels_KB: Tensor
    z_KBZ: Tensor
    tapes: Sequence[Tape]
    """One per batch, or one for all of them."""
    reading: Reading
    """How often the generator had been updated before."""


class Source:
    """The generator: it makes batches, and learns from what is said of them."""

    def __init__(
        self, player: Player, latents: LatentSource, batch: int, staleness: Rule = "none"
    ) -> None:
        """A generator that is loaded, and about to begin.

        Args:
            player: one network; its tensors are in its hands.
            latents: of one node.
            batch: B, images of a batch.
            staleness: what divides late updates.
        """
        self.player, self.latents, self._batch = player, latents, batch
        self._staleness = Staleness(staleness, player.tensors[: player.network.trained])

    def generate(self, count: int) -> Batches:
        """K = `count` new batches."""
        drawn = list(self.latents.draws(range(1), count, self._batch))
        z_KBZ = torch.cat([latents.z_NBZ for latents in drawn])
        labels_KB = torch.cat([latents.labels_NB for latents in drawn])
        return self._made(z_KBZ, labels_KB, self._staleness.reading())

    def again(self, batches: Batches, count: int) -> Batches:
        """The first batches made again by the generator as it is now; the reading stays the old.

        Gradients have to be taken where the generator is: it may have moved since the batches were
        made, and to keep it as it was would take a copy for every discriminator.
        """
        return self._made(batches.z_KBZ[:count], batches.labels_KB[:count], batches.reading)

    def learn(self, batches: Batches, feedback_KBCHW: Tensor) -> None:
        """One Adam step along `Σ_q e_q ∂x_q / ∂λ`, in one backward pass (thesis, section 5.2.2).

        The thesis divides by `n b` as well; the feedback carries `1 / b` already, and `1 / n` is in
        what `combined` makes of it.

        Args:
            batches: made by `generate` or `again`, and not learned from before.
            feedback_KBCHW: for each batch; overwritten.
        """
        pieces = feedback_KBCHW.flatten(0, 1).unsqueeze(0).chunk(len(batches.tapes), 1)
        passes = [
            (tape, piece.contiguous()) for tape, piece in zip(batches.tapes, pieces, strict=True)
        ]
        self._staleness.begin(batches.reading)
        self.player.descend(passes, staleness=self._staleness)
        self.player.follow()

    def _made(self, z_KBZ: Tensor, labels_KB: Tensor, reading: Reading) -> Batches:
        # Batch norm takes each batch's own statistics, so its batches cannot share a pass.
        passes = len(z_KBZ) if self.player.network.couples_samples else 1
        made = [self.player(z) for z in z_KBZ.flatten(0, 1).unsqueeze(0).chunk(passes, 1)]
        images = torch.cat([images for images, _ in made], 1)
        images = images.view(*labels_KB.shape, *images.shape[2:])
        return Batches(images, labels_KB, z_KBZ, [tape for _, tape in made], reading)


def combined(feedback_NBCHW: Sequence[Tensor], batch_of_N: Sequence[int], batches: int) -> Tensor:
    """The mean of the discriminators' feedback, summed per batch: `(K, B, C, H, W)`.

    Args:
        feedback_NBCHW: of each discriminator, in order of slots, so that sums are the same to the
            bit whoever was first.
        batch_of_N: the batch that each has judged.
        batches: K.
    """
    total = torch.zeros(batches, *feedback_NBCHW[0].shape, dtype=feedback_NBCHW[0].dtype)
    total = total.to(feedback_NBCHW[0].device)
    for feedback, batch in zip(feedback_NBCHW, batch_of_N, strict=True):
        total[batch] += feedback
    return total.div_(len(feedback_NBCHW))


def kept_values(values: int, share: float) -> int:
    """How many of a feedback's values are sent; at least one."""
    return max(1, math.ceil(round(share * values, 6)))  # 0.07 of 100 are 7, in binary as well


def sparse(feedback: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The values that are largest in absolute value, and their positions in the flat feedback.

    Thesis, section 3.2.2, which keeps a share of each weight matrix's gradient; here it is a share
    of a batch's feedback, since that is what a worker has.
    """
    flat = feedback.flatten()
    _, positions = flat.abs().topk(kept_values(len(flat), share), sorted=False)
    positions = positions.sort().values
    return flat[positions], positions


def dense(values: Tensor, positions: Tensor, shape: Sequence[int]) -> Tensor:
    """A feedback again, 0 where nothing was sent."""
    flat = values.new_zeros(math.prod(shape))
    flat[positions] = values
    return flat.view(*shape)
