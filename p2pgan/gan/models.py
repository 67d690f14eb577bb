"""The pairs of networks of the thesis, by name, with the settings each is usually trained with.

Parameter counts that we can reproduce are tested; where a description leaves something open
(strides, paddings, batch norm), the docstring says what we chose.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from p2pgan.errors import ConfigError, unknown_name
from p2pgan.gan.convolutions import Conv, Deconv
from p2pgan.gan.layers import (
    BatchNorm,
    Layer,
    Linear,
    MinibatchDiscrimination,
    Reshape,
    leaky_relu,
    relu,
    tanh,
)
from p2pgan.gan.networks import Network
from p2pgan.types import Net


@dataclass(frozen=True, kw_only=True)
class Model:
    """A generator and a discriminator made for each other.

    The generator maps latents `(N, B, Z)` to images `(N, B, C, H, W)` in [-1, 1]; the
    discriminator maps images to logits `(N, B, 1 + classes)`: real or generated first, then one
    per class (used by conditional training only).
    """

    name: str
    latent: int
    """Z: dimensions of the latent."""
    image_shape: tuple[int, int, int]
    classes: int
    """Class outputs of the discriminator; 0 if it has none."""
    generator: Network
    discriminator: Network
    batch_size: int
    """Usual images per step."""
    learning_rate: float
    """Usual Adam step size of both networks."""

    @property
    def networks(self) -> dict[Net, Network]:
        return {"G": self.generator, "D": self.discriminator}

    def digest(self) -> str:
        """A short hash of both networks; equal digests mean exchangeable vectors."""
        return f"{self.generator.digest()}-{self.discriminator.digest()}"


def _mlp(widths: tuple[int, ...]) -> list[Layer]:
    """Fully connected layers with leaky ReLU between them."""
    layers: list[Layer] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [Linear(inputs, outputs), leaky_relu()]
    return layers[:-1]


def mlp_digits() -> Model:
    """The embedded default: small enough that hundreds of nodes train in a minute."""
    return Model(
        name="mlp-digits",
        latent=32,
        image_shape=(1, 8, 8),
        classes=0,
        generator=Network((*_mlp((32, 128, 128, 64)), tanh(), Reshape((1, 8, 8)))),
        discriminator=Network((Reshape((64,)), *_mlp((64, 128, 128, 1)))),
        batch_size=16,
        learning_rate=1e-3,
    )


def mlp_mnist() -> Model:
    """Thesis section 5.3.1: 716,560 and 670,219 parameters."""
    return Model(
        name="mlp-mnist",
        latent=100,
        image_shape=(1, 28, 28),
        classes=10,
        generator=Network((*_mlp((100, 512, 512, 784)), tanh(), Reshape((1, 28, 28)))),
        discriminator=Network((Reshape((784,)), *_mlp((784, 512, 512, 11)))),
        batch_size=10,
        learning_rate=2e-4,
    )


def mlp_mnist_small() -> Model:
    """`mlp_mnist` with a quarter of its units: a hundred nodes train in minutes."""
    return Model(
        name="mlp-mnist-small",
        latent=64,
        image_shape=(1, 28, 28),
        classes=10,
        generator=Network((*_mlp((64, 128, 128, 784)), tanh(), Reshape((1, 28, 28)))),
        discriminator=Network((Reshape((784,)), *_mlp((784, 128, 128, 11)))),
        batch_size=16,
        learning_rate=1e-3,
    )


def cnn_mnist_small() -> Model:
    """`cnn_mnist_ch4` with a quarter of its filters and without its widest layers."""
    generator = Network(
        (
            *(Linear(64, 3136), BatchNorm(3136), relu(), Reshape((64, 7, 7))),
            *(Deconv(64, 32, 4, 2, 1), BatchNorm(32), relu()),
            *(Deconv(32, 1, 4, 2, 1), tanh()),
        )
    )
    discriminator = Network(
        (
            *(Conv(1, 32, 4, 2, 1), leaky_relu()),
            *(Conv(32, 64, 4, 2, 1), leaky_relu(), Reshape((3136,))),
            Linear(3136, 11),
        )
    )
    return Model(
        name="cnn-mnist-small",
        latent=64,
        image_shape=(1, 28, 28),
        classes=10,
        generator=generator,
        discriminator=discriminator,
        batch_size=32,
        learning_rate=1e-3,
    )


def cnn_mnist_ch4() -> Model:
    """Thesis section 4.2.1, which names units and filters only.

    Our choices: kernels of 4x4 with stride 2, except the last convolution, which keeps the image's
    size (5x5, stride 1); batch norm in the generator only, after all but its last layer.
    """
    generator = Network(
        (
            *(Linear(128, 1024), BatchNorm(1024), relu()),
            *(Linear(1024, 6272), BatchNorm(6272), relu(), Reshape((128, 7, 7))),
            *(Deconv(128, 64, 4, 2, 1), BatchNorm(64), relu()),
            *(Deconv(64, 32, 4, 2, 1), BatchNorm(32), relu()),
            *(Conv(32, 1, 5, 1, 2), tanh()),
        )
    )
    discriminator = Network(
        (
            *(Conv(1, 64, 4, 2, 1), leaky_relu()),
            *(Conv(64, 128, 4, 2, 1), leaky_relu(), Reshape((6272,))),
            *(Linear(6272, 1024), leaky_relu(), Linear(1024, 1)),
        )
    )
    return Model(
        name="cnn-mnist-ch4",
        latent=128,
        image_shape=(1, 28, 28),
        classes=0,
        generator=generator,
        discriminator=discriminator,
        batch_size=64,
        learning_rate=2e-4,
    )


def _chapter5_discriminator(
    channels: int, side: int, outputs: int = 11, strides: tuple[int, ...] = (2, 1, 2, 1, 2, 1)
) -> Network:
    """Six 3x3 convolutions, mini-batch discrimination, and a fully connected layer.

    The thesis leaves strides and the size of the mini-batch discrimination open.
    """
    layers: list[Layer] = []
    for filters, stride in zip((16, 32, 64, 128, 256, 512), strides, strict=True):
        side = -(-side // stride)
        layers += [Conv(channels, filters, 3, stride, 1), leaky_relu()]
        channels = filters
    features = channels * side * side
    layers += [Reshape((features,)), MinibatchDiscrimination(features, 16, 8)]
    return Network((*layers, Linear(features + 16, outputs)))


def cnn_mnist() -> Model:
    """Thesis section 5.3.1: 6,272 units, then deconvolutions of 32 and 1 filters of 5x5.

    Our choices: strides of 2, batch norm between deconvolutions. The thesis counts 628,058
    parameters, fewer than the fully connected layer alone has with biases and 100 inputs.
    """
    generator = Network(
        (
            *(Linear(100, 6272), relu(), Reshape((128, 7, 7))),
            *(Deconv(128, 32, 5, 2, 2, 1), BatchNorm(32), relu()),
            *(Deconv(32, 1, 5, 2, 2, 1), tanh()),
        )
    )
    return Model(
        name="cnn-mnist",
        latent=100,
        image_shape=(1, 28, 28),
        classes=10,
        generator=generator,
        discriminator=_chapter5_discriminator(1, 28),
        batch_size=10,
        learning_rate=2e-4,
    )


def cnn_cifar10() -> Model:
    """Thesis section 5.3.1: 6,144 units, then deconvolutions of 192, 96 and 3 filters of 5x5.

    Our choices are those of `cnn_mnist`. The thesis counts 628,110 parameters, fewer than these
    filters have.
    """
    generator = Network(
        (
            *(Linear(100, 6144), relu(), Reshape((384, 4, 4))),
            *(Deconv(384, 192, 5, 2, 2, 1), BatchNorm(192), relu()),
            *(Deconv(192, 96, 5, 2, 2, 1), BatchNorm(96), relu()),
            *(Deconv(96, 3, 5, 2, 2, 1), tanh()),
        )
    )
    return Model(
        name="cnn-cifar10",
        latent=100,
        image_shape=(3, 32, 32),
        classes=10,
        generator=generator,
        discriminator=_chapter5_discriminator(3, 32),
        batch_size=10,
        learning_rate=2e-4,
    )


def cnn_celeba() -> Model:
    """Thesis section 5.3.2: 16,384 units, then deconvolutions of 128 and 3 filters of 5x5, for
    pictures of 128x128 pixels without labels.

    It is called a variant of `cnn_cifar10`, whose mini-batch discrimination is not repeated in its
    description and kept here. Our choices are those made there, but for the discriminator's
    strides: all 2 but the last, which leaves as many features as there. The batch and the
    generator's step size are those of the thesis for MD-GAN; its discriminators learn with 0.004,
    and both with betas of 0 and 0.9 (`train.learning_rate_d`, `train.beta1`, `train.beta2`).
    """
    generator = Network(
        (
            *(Linear(100, 16_384), relu(), Reshape((16, 32, 32))),
            *(Deconv(16, 128, 5, 2, 2, 1), BatchNorm(128), relu()),
            *(Deconv(128, 3, 5, 2, 2, 1), tanh()),
        )
    )
    return Model(
        name="cnn-celeba",
        latent=100,
        image_shape=(3, 128, 128),
        classes=0,
        generator=generator,
        discriminator=_chapter5_discriminator(3, 128, 1, (2, 2, 2, 2, 2, 1)),
        batch_size=40,
        learning_rate=1e-3,
    )


MODELS: dict[str, Callable[[], Model]] = {
    "mlp-digits": mlp_digits,
    "mlp-mnist": mlp_mnist,
    "mlp-mnist-small": mlp_mnist_small,
    "cnn-mnist-small": cnn_mnist_small,
    "cnn-mnist-ch4": cnn_mnist_ch4,
    "cnn-mnist": cnn_mnist,
    "cnn-cifar10": cnn_cifar10,
    "cnn-celeba": cnn_celeba,
}

USUAL_MODEL = {
    "digits": "mlp-digits",
    "mnist": "mlp-mnist",
    "cifar10": "cnn-cifar10",
    "folder": "cnn-celeba",
}
"""The model of a data set when none is named."""


def model(name: str) -> Model:
    """The model of that name.

    Raises:
        ConfigError: if there is none, with the nearest match.
    """
    if name not in MODELS:
        raise unknown_name(ConfigError, "a model", name, MODELS, "--model")
    return MODELS[name]()
