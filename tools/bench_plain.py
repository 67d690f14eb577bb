"""The plain side: a bare PyTorch loop over nodes, as one would write it without p2pgan.

A module per network, fused Adam per network, the same layers, losses, rates and batches. Real and
generated images go through the discriminator together, the generator's step computes gradients of
the generator only, and each node trains a whole round before the next one, while its weights are
in the cache. There is no exchange.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from p2pgan.config import TrainConfig
from p2pgan.gan.convolutions import Conv, Deconv
from p2pgan.gan.layers import (
    BATCH_NORM_MOMENTUM,
    LEAKY_SLOPE,
    Activation,
    BatchNorm,
    Layer,
    Linear,
    Reshape,
)
from p2pgan.gan.models import Model
from p2pgan.gan.networks import Network

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "leaky-relu": lambda: nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "tanh": nn.Tanh,
}


def module(network: Network) -> nn.Sequential:
    """The same layers as ordinary modules, with PyTorch's own initial weights."""
    modules: list[nn.Module] = []
    is_image = False
    for layer in network.layers:
        if isinstance(layer, Reshape):
            is_image = len(layer.shape) > 1
        modules.append(_module(layer, is_image=is_image))
    return nn.Sequential(*modules)


def _module(layer: Layer, *, is_image: bool) -> nn.Module:
    match layer:
        case Linear():
            return nn.Linear(layer.inputs, layer.outputs)
        case Conv():
            sizes = (layer.inputs, layer.outputs, layer.kernel)
            return nn.Conv2d(*sizes, layer.stride, layer.padding)
        case Deconv():
            sizes = (layer.inputs, layer.outputs, layer.kernel)
            return nn.ConvTranspose2d(*sizes, layer.stride, layer.padding, layer.output_padding)
        case BatchNorm():
            norm = nn.BatchNorm2d if is_image else nn.BatchNorm1d
            return norm(layer.channels, momentum=BATCH_NORM_MOMENTUM)
        case Reshape():
            return nn.Unflatten(1, layer.shape) if is_image else nn.Flatten()
        case Activation():
            return ACTIVATIONS[layer.name]()
    raise NotImplementedError(f"{type(layer).__name__} has no plain counterpart here")


class PlainNode:
    """One node: two modules, two optimisers, its images `(M, C, H, W)` in [-1, 1]."""

    def __init__(self, model: Model, images: Tensor, batch: int) -> None:
        defaults = TrainConfig()
        betas = (defaults.beta1, defaults.beta2)
        self._images, self._shape = images, (batch, model.latent)
        self._g, self._d = module(model.generator), module(model.discriminator)
        self._weights_g = list(self._g.parameters())
        rate = model.learning_rate
        self._adam_g = torch.optim.Adam(self._weights_g, rate, betas, fused=True)
        self._adam_d = torch.optim.Adam(self._d.parameters(), rate, betas, fused=True)
        self._real, self._both = (
            torch.ones(batch),
            torch.cat([torch.ones(batch), torch.zeros(batch)]),
        )

    def train(self, iterations: int) -> None:
        """So many iterations: a step of the discriminator, a step of the generator."""
        for _ in range(iterations):
            self._step_d()
            self._step_g()

    def _step_d(self) -> None:
        chosen = torch.randint(len(self._images), self._shape[:1])
        with torch.no_grad():
            generated = self._g(torch.randn(self._shape))
        logits_B = self._d(torch.cat([self._images[chosen], generated]))[:, 0]
        self._adam_d.zero_grad()
        # Twice the mean over both halves: the sum of the mean over each.
        loss = 2 * binary_cross_entropy_with_logits(logits_B, self._both)
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam_d.step()

    def _step_g(self) -> None:
        logits_B = self._d(self._g(torch.randn(self._shape)))[:, 0]
        self._adam_g.zero_grad()
        loss = binary_cross_entropy_with_logits(logits_B, self._real)
        loss.backward(inputs=self._weights_g)  # type: ignore[no-untyped-call]
        self._adam_g.step()


def train_plain(nodes: list[PlainNode], iterations: int) -> Iterator[int]:
    """Trains node after node, for so many iterations each, round after round.

    Yields:
        Node-iterations done so far, after every node. The first round is one iteration long: it
        makes Adam's moments, which is no part of what is measured.
    """
    done = 0
    for count in itertools.chain([1], itertools.repeat(iterations)):
        for node in nodes:
            node.train(count)
            done += count
            yield done
