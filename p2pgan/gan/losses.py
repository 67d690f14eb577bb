"""Losses of both players, from the discriminator's logits.

Each is a loss of one image's logit, with its derivative; a node's loss is the mean over the batch,
always to be minimised. `D` below is the sigmoid of the logit `a`, so that `-log D = softplus(-a)`
and `-log(1 - D) = softplus(a)`, which does not overflow.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from p2pgan.errors import ConfigError, unknown_name

Critic = Callable[[Tensor], Tensor]
"""Images `(N, B, C, H, W)` to logits `(N, B)`."""


@dataclass(frozen=True)
class Curve:
    """A loss of one logit and its derivative, both elementwise.

    The derivative is written out because training calls it in every step: recording the loss for
    autograd takes longer than a small network's own products.
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


# Of D, the sigmoid of the logit: `-log D` and `-log(1 - D)`. Thesis section 4.1.1, Goodfellow et
# al. 2014, eq. 1. Logarithms are natural; the thesis takes base 2, which only scales the loss.
_LOG_D = Curve(lambda a: softplus(-a), lambda a: torch.sigmoid(a) - 1)
_LOG_1_MINUS_D = Curve(softplus, torch.sigmoid)
_MINUS_LOGIT = Curve(torch.neg, lambda a: torch.full_like(a, -1))


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What the two players minimise: batch means of one curve per kind of image.

    `penalty`, if there is one, is added to the discriminator's loss with the configured weight; it
    takes the critic, real and generated images, and mixing proportions `(N, B)` in [0, 1].
    """

    name: str
    real: Curve
    """The discriminator's, of real images."""
    fake: Curve
    """The discriminator's, of generated images."""
    fooling: Curve
    """The generator's, of its own images."""
    penalty: Callable[[Critic, Tensor, Tensor, Tensor], Tensor] | None = None


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, share_NB: Tensor) -> Tensor:
    """`mean (‖∂critic/∂x̂‖₂ - 1)²` at points x̂ between real and generated images, `(N,)`.

    Source: Gulrajani et al. 2017, eq. 3.
    """
    share = share_NB.view(*share_NB.shape, 1, 1, 1)
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norm_NB: Tensor = torch.linalg.vector_norm(slope.flatten(2), dim=2)
    return (norm_NB - 1).square().mean(1)


LOSSES = {
    loss.name: loss
    for loss in (
        # The game as first written; its generator learns little from a winning discriminator.
        Loss(
            name="minimax",
            real=_LOG_D,
            fake=_LOG_1_MINUS_D,
            fooling=Curve(lambda a: -softplus(a), lambda a: -torch.sigmoid(a)),
        ),
        # Goodfellow et al. 2014, section 3: maximise log D(G(z)) instead.
        Loss(name="nonsaturating", real=_LOG_D, fake=_LOG_1_MINUS_D, fooling=_LOG_D),
        # Lim and Ye 2017; as a loss per image: Miyato et al. 2018, eq. 16 and 17.
        Loss(
            name="hinge",
            real=Curve(lambda a: relu(1 - a), lambda a: -(a < 1).to(a)),
            fake=Curve(lambda a: relu(1 + a), lambda a: (a > -1).to(a)),
            fooling=_MINUS_LOGIT,
        ),
        # Mao et al. 2017, eq. 9: targets 1 for real, 0 for generated, 1 for the generator.
        Loss(
            name="lsgan",
            real=Curve(lambda a: (a - 1) ** 2 / 2, lambda a: a - 1),
            fake=Curve(lambda a: a**2 / 2, torch.clone),
            fooling=Curve(lambda a: (a - 1) ** 2 / 2, lambda a: a - 1),
        ),
        # Arjovsky et al. 2017 with the penalty of Gulrajani et al. 2017.
        Loss(
            name="wgan-gp",
            real=_MINUS_LOGIT,
            fake=Curve(torch.clone, torch.ones_like),
            fooling=_MINUS_LOGIT,
            penalty=gradient_penalty,
        ),
    )
}


def loss(name: str) -> Loss:
    """The loss of that name.

    Raises:
        ConfigError: if there is none, with the nearest match.
    """
    if name not in LOSSES:
        raise unknown_name(ConfigError, "a loss", name, LOSSES, "train.loss")
    return LOSSES[name]
