"""Pairs of networks that tests train, and the same in torch's own modules."""

import torch
from torch import Tensor, nn

from p2pgan.gan import layers
from p2pgan.gan.convolutions import Conv, Deconv
from p2pgan.gan.models import Model, model
from p2pgan.gan.networks import Network

DIGITS = model("mlp-digits")

CONV = Model(
    name="conv-test",
    latent=6,
    image_shape=(1, 4, 4),
    classes=3,
    generator=Network(
        (
            *(layers.Linear(6, 16), layers.BatchNorm(16), layers.relu(), layers.Reshape((4, 2, 2))),
            *(Deconv(4, 3, 4, 2, 1), layers.BatchNorm(3), layers.relu()),
            *(Conv(3, 1, 3, 1, 1), layers.tanh()),
        )
    ),
    discriminator=Network(
        (
            *(Conv(1, 4, 4, 2, 1), layers.leaky_relu(), layers.Reshape((16,))),
            *(layers.Linear(16, 8), layers.leaky_relu(), layers.Linear(8, 4)),
        )
    ),
    batch_size=5,
    learning_rate=1e-3,
)
"""A small convolutional pair with batch norm and class outputs."""


class Applied(nn.Module):
    """A network of one node whose layers are our own; autograd does the rest."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        for number, slot in enumerate(network.slots):
            if slot.is_buffer:
                self.register_buffer(f"slot{number}", torch.empty(slot.shape))
            else:
                self.register_parameter(f"slot{number}", nn.Parameter(torch.empty(slot.shape)))

    def forward(self, x: Tensor) -> Tensor:
        slots = [getattr(self, f"slot{number}") for number in range(len(self.network.slots))]
        return self.network.apply([slot[None] for slot in slots], x[None], training=True)[0]


def modules_of(pair: Model) -> tuple[nn.Module, nn.Module]:
    """The same pair in torch's own modules, where they are written out, or by autograd."""
    if pair is DIGITS:
        return (
            nn.Sequential(
                *(nn.Linear(32, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2)),
                *(nn.Linear(128, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8))),
            ),
            nn.Sequential(
                *(nn.Flatten(), nn.Linear(64, 128), nn.LeakyReLU(0.2)),
                *(nn.Linear(128, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1)),
            ),
        )
    if pair is not CONV:
        return Applied(pair.generator), Applied(pair.discriminator)
    return (
        nn.Sequential(
            *(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Unflatten(1, (4, 2, 2))),
            *(nn.ConvTranspose2d(4, 3, 4, 2, 1), nn.BatchNorm2d(3), nn.ReLU()),
            *(nn.Conv2d(3, 1, 3, 1, 1), nn.Tanh()),
        ),
        nn.Sequential(
            *(nn.Conv2d(1, 4, 4, 2, 1), nn.LeakyReLU(0.2), nn.Flatten()),
            *(nn.Linear(16, 8), nn.LeakyReLU(0.2), nn.Linear(8, 4)),
        ),
    )


def states(module: nn.Module) -> list[tuple[Tensor, bool]]:
    """Parameters, then running statistics, in our vector's order; whether each is transposed."""
    linear = {m.weight for m in module.modules() if isinstance(m, nn.Linear)}
    buffers = [b for name, b in module.named_buffers() if "num_batches" not in name]
    return [(p, p in linear) for p in module.parameters()] + [(b, False) for b in buffers]


def fill(module: nn.Module, vector_P: Tensor) -> None:
    """Copies a vector into torch's modules, whose linear weights are `(outputs, inputs)`."""
    sizes = [state.numel() for state, _ in states(module)]
    with torch.no_grad():
        for piece, (state, is_linear) in zip(
            torch.split(vector_P, sizes), states(module), strict=True
        ):
            shape = state.T.shape if is_linear else state.shape
            state.copy_(piece.view(shape).T if is_linear else piece.view(shape))


def flatten(module: nn.Module) -> Tensor:
    """The vector of torch's modules."""
    parts = [(s.T if is_linear else s).flatten() for s, is_linear in states(module)]
    return torch.cat([part.detach() for part in parts])
