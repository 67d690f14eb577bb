"""What one iteration of one node has to compute and to move, counted from the model's layers.

An iteration is one discriminator step and one generator step on batches of B images:

- discriminator step: the generator forward on B latents, the discriminator forward and backward on
  2B images, real and generated;
- generator step: both networks forward on B, the discriminator backward for its inputs only, the
  generator backward.

Nobody needs the gradient of latents or of the discriminator's images in its own step, so the first
layer's product for them is left out there.
"""

from dataclasses import dataclass

import torch

from p2pgan.gan.models import Model
from p2pgan.gan.networks import Network

FLOAT_BYTES = 4

ADAM_BYTES = 7 * FLOAT_BYTES
"""Per parameter: w, g, m and v are read, w, m and v written."""


@dataclass(frozen=True, kw_only=True)
class Products:
    """The products and convolutions of one network."""

    weights: int
    """Values of all weights that are multiplied with."""
    first_weights: int
    """Those of the first such layer."""
    macs: int
    """Multiplications with an addition in one sample's forward pass; each is 2 FLOPs."""
    first_macs: int
    """Those of the first such layer."""
    parameters: int
    """Trained values, biases and scales too."""


def products(network: Network, input_shape: tuple[int, ...]) -> Products:
    """Counts one network by its layers' weights and the sizes of images between them.

    A backward product, for the weights or for the inputs, has as many multiplications as the
    forward one. Padding counts as if it were image. Element by element work is left out:
    activations, batch norm, closeness within a batch, losses and Adam's arithmetic.

    Args:
        network: its layers.
        input_shape: of one sample, without node and batch axes.
    """
    weights, macs = [], []
    x = torch.zeros(1, 1, *input_shape)
    for layer in network.layers:
        tensors = [torch.zeros(1, *slot.shape) for slot in layer.slots()]
        y = layer.apply(tensors, x, training=False)
        for slot in layer.slots():
            if slot.role == "weight":
                weights.append(slot.size)
                macs.append(slot.size * _positions(len(slot.shape), x.shape, y.shape))
        x = y
    return Products(
        weights=sum(weights),
        first_weights=weights[0],
        macs=sum(macs),
        first_macs=macs[0],
        parameters=network.parameters,
    )


def _positions(dimensions: int, before: torch.Size, after: torch.Size) -> int:
    """How often each weight is multiplied for one sample.

    Those of convolutions, with four dimensions, at every pixel of the smaller image: a convolution
    makes the smaller one, a transposed convolution is made from it.
    """
    if dimensions < 4:
        return 1
    return min(size[-2] * size[-1] for size in (before, after))


@dataclass(frozen=True)
class Iteration:
    """One iteration of one node."""

    flops: int
    bytes: int


def iteration(model: Model, batch: int) -> Iteration:
    """FLOPs and the memory traffic that is needed when no node's state stays in the cache.

    With `macs` of a network and B images: `G` counts 2 forward, 1 backward for weights, 1 backward
    for inputs without the first layer; `D` counts 3 forward, 2 backward for weights, 2 backward for
    inputs without the first layer, and 1 with it. Every count is worth `2 B macs` FLOPs.

    Bytes: 28 per parameter for Adam, 4 per parameter for writing its gradient, and 4 per weight for
    each product that reads it: `G` twice forward and once backward for inputs, `D` twice each.
    Real and generated images share one product. Activations and images stay in the cache.

    Args:
        model: the pair of networks.
        batch: B.
    """
    g = products(model.generator, (model.latent,))
    d = products(model.discriminator, model.image_shape)
    macs = 4 * g.macs - g.first_macs + 8 * d.macs - 2 * d.first_macs
    read = 3 * g.weights - g.first_weights + 4 * d.weights - d.first_weights
    adam = (ADAM_BYTES + FLOAT_BYTES) * (g.parameters + d.parameters)
    return Iteration(flops=2 * batch * macs, bytes=adam + FLOAT_BYTES * read)


def criticism(model: Model, batch: int) -> Iteration:
    """The same of one iteration of an MD-GAN worker: what `iteration` counts for `D`.

    The batches are given to it, so that nothing is generated there.
    """
    d = products(model.discriminator, model.image_shape)
    macs = 8 * d.macs - 2 * d.first_macs
    read = 4 * d.weights - d.first_weights
    adam = (ADAM_BYTES + FLOAT_BYTES) * d.parameters
    return Iteration(flops=2 * batch * macs, bytes=adam + FLOAT_BYTES * read)


def state_bytes(model: Model) -> int:
    """Weights, gradients and Adam's two moments of one node: what no way of training avoids."""
    return 4 * FLOAT_BYTES * sum(network.size for network in model.networks.values())
