"""Losses of both players, from the discriminator's logits.

Each maps logits `(N, B)` to one loss per node, `(N,)`, always to be minimised. `D` below is the
sigmoid of the logit `a`, so that `-log D = softplus(-a)` and `-log(1 - D) = softplus(a)`, which
does not overflow.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from p2pgan.errors import ConfigError, unknown_name

Critic = Callable[[Tensor], Tensor]
"""Images `(N, B, C, H, W)` to logits `(N, B)`."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What the two players minimise.

    `penalty`, if there is one, is added to the discriminator's loss with the configured weight; it
    takes the critic, real and generated images, and mixing proportions `(N, B)` in [0, 1].
    """

    name: str
    discriminator: Callable[[Tensor, Tensor], Tensor]
    """Logits of real and of generated images, each `(N, B)`, to `(N,)`."""
    generator: Callable[[Tensor], Tensor]
    """Logits of generated images `(N, B)` to `(N,)`."""
    penalty: Callable[[Critic, Tensor, Tensor, Tensor], Tensor] | None = None


def _log_likelihood(real_NB: Tensor, fake_NB: Tensor) -> Tensor:
    """`-J_disc`: thesis section 4.1.1, Goodfellow et al. 2014, eq. 1.

    Logarithms are natural; the thesis takes base 2, which only scales the loss.
    """
    return softplus(-real_NB).mean(1) + softplus(fake_NB).mean(1)


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
            discriminator=_log_likelihood,
            generator=lambda fake_NB: -softplus(fake_NB).mean(1),
        ),
        # Goodfellow et al. 2014, section 3: maximise log D(G(z)) instead.
        Loss(
            name="nonsaturating",
            discriminator=_log_likelihood,
            generator=lambda fake_NB: softplus(-fake_NB).mean(1),
        ),
        # Lim and Ye 2017; as a loss per image: Miyato et al. 2018, eq. 16 and 17.
        Loss(
            name="hinge",
            discriminator=lambda real, fake: relu(1 - real).mean(1) + relu(1 + fake).mean(1),
            generator=lambda fake_NB: -fake_NB.mean(1),
        ),
        # Mao et al. 2017, eq. 9: targets 1 for real, 0 for generated, 1 for the generator.
        Loss(
            name="lsgan",
            discriminator=lambda real, fake: ((real - 1) ** 2 + fake**2).mean(1) / 2,
            generator=lambda fake_NB: ((fake_NB - 1) ** 2).mean(1) / 2,
        ),
        # Arjovsky et al. 2017 with the penalty of Gulrajani et al. 2017.
        Loss(
            name="wgan-gp",
            discriminator=lambda real, fake: fake.mean(1) - real.mean(1),
            generator=lambda fake_NB: -fake_NB.mean(1),
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
