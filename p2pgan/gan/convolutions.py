"""Convolutions of N networks of one shape.

A convolution maps an image to its features, a transposed convolution ("deconvolution") features to
an image, and the gradient of either's inputs is the other. So both layers, forwards and backwards,
are three products: features, image, and the gradient of the weights.

Shape letters: N nodes, B batch, C image channels, F features, H W image, K kernel, O outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from p2pgan.gan.layers import Layer, Pullback, Slot

THIN = 4
"""Images of up to so many channels, as pictures are, get a product of their own.

oneDNN's takes two to five times longer for them, and is the faster one above eight channels.
"""


@dataclass(frozen=True)
class Conv(Layer):
    """Two-dimensional convolution; weights `(outputs, inputs, K, K)`."""

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0

    def slots(self) -> tuple[Slot, ...]:
        area = self.kernel * self.kernel
        shape = (self.outputs, self.inputs, self.kernel, self.kernel)
        return (
            Slot(shape, "weight", self.inputs * area, self.outputs * area),
            Slot((self.outputs,), "bias"),
        )

    def apply(self, tensors: Sequence[Tensor], x: Tensor, *, training: bool) -> Tensor:
        weight_NOCKK, bias_NO = tensors
        deconv = self._turned
        if deconv is not None:
            return deconv.apply((_turn(weight_NOCKK), bias_NO), x, training=training)
        return self._products.features(x, weight_NOCKK, bias_NO)

    def vjp(self, tensors: Sequence[Tensor], x: Tensor) -> tuple[Tensor, Pullback]:
        weight_NOCKK, bias_NO = tensors
        deconv = self._turned
        if deconv is not None:
            y, pullback = deconv.vjp((_turn(weight_NOCKK), bias_NO), x)
            return y, _turn_weight(pullback)

        def pull(gradient: Tensor) -> Tensor:
            return self._products.image(gradient, weight_NOCKK, x.shape[-2:])

        def pull_weight(gradient: Tensor) -> Tensor:
            return self._products.weight(x, gradient, weight_NOCKK)

        return self.apply(tensors, x, training=True), _pullback(pull, pull_weight)

    @property
    def _products(self) -> "Products":
        return Products(self.stride, self.padding)

    @property
    def _turned(self) -> "Deconv | None":
        """The same as a transposed convolution, of turned weights, if its outputs are a picture."""
        if self.stride > 1 or self.outputs > min(THIN, self.inputs) or self.padding >= self.kernel:
            return None
        return Deconv(self.inputs, self.outputs, self.kernel, 1, self.kernel - 1 - self.padding)


@dataclass(frozen=True)
class Deconv(Layer):
    """Transposed convolution ("deconvolution"); weights `(inputs, outputs, K, K)`."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    output_padding: int = 0

    def slots(self) -> tuple[Slot, ...]:
        # An output pixel hears from kernel² / stride² pixels of each input channel, on average.
        area = self.kernel * self.kernel
        shape = (self.inputs, self.outputs, self.kernel, self.kernel)
        fan_in = max(1, self.inputs * area // (self.stride * self.stride))
        return (
            Slot(shape, "weight", fan_in, self.outputs * area),
            Slot((self.outputs,), "bias"),
        )

    def apply(self, tensors: Sequence[Tensor], x: Tensor, *, training: bool) -> Tensor:
        weight_NCOKK, bias_NO = tensors
        smallest = self.kernel - 2 * self.padding + self.output_padding
        size = [(side - 1) * self.stride + smallest for side in x.shape[-2:]]
        y = self._products.image(x, weight_NCOKK, size)
        # oneDNN adds it too, but takes up to a quarter longer then.
        return y.add_(bias_NO[:, None, :, None, None])

    def vjp(self, tensors: Sequence[Tensor], x: Tensor) -> tuple[Tensor, Pullback]:
        weight_NCOKK = tensors[0]

        def pull(gradient: Tensor) -> Tensor:
            return self._products.features(gradient, weight_NCOKK)

        def pull_weight(gradient: Tensor) -> Tensor:
            return self._products.weight(gradient, x, weight_NCOKK)

        return self.apply(tensors, x, training=True), _pullback(pull, pull_weight)

    @property
    def _products(self) -> "Products":
        return Products(self.stride, self.padding)


@dataclass(frozen=True)
class Products:
    """What images `(N, B, C, H, W)`, features `(N, B, F, h, w)` and weights `(N, F, C, K, K)` make.

    Autograd can differentiate `features` and `image` as often as is needed.
    """

    stride: int
    padding: int

    def features(self, image: Tensor, weight: Tensor, *bias: Tensor) -> Tensor:
        """The convolved image, plus a bias `(N, F)` if there is one."""

        def convolve(
            image: Tensor, weight: Tensor, bias: Tensor | None = None, *, groups: int
        ) -> Tensor:
            return functional.conv2d(
                image, weight, bias, stride=self.stride, padding=self.padding, groups=groups
            )

        return _per_node(convolve, [image], [weight, *bias])

    def image(self, features: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
        """The transpose of `features`: an image of that height and width."""
        if weight.shape[2] <= THIN:
            return self._thin_image(features, weight, size)
        reach = weight.shape[-1] - 2 * self.padding - self.stride
        smallest = [side * self.stride + reach for side in features.shape[-2:]]
        missing = [side - least for side, least in zip(size, smallest, strict=True)]

        def transpose(features: Tensor, weight: Tensor, *, groups: int) -> Tensor:
            return functional.conv_transpose2d(
                *(features, weight, None, self.stride, self.padding, missing, groups)
            )

        return _per_node(transpose, [features], [weight])

    def weight(self, image: Tensor, features: Tensor, like: Tensor) -> Tensor:
        """The gradient of `(features(image, weight) * features).sum()` in the weight."""

        def differentiate(image: Tensor, features: Tensor, like: Tensor, *, groups: int) -> Tensor:
            where = ([self.stride] * 2, [self.padding] * 2, [1, 1], False, [0, 0], groups)
            gradient: Tensor = torch.ops.aten.convolution_backward(
                features, image, like, None, *where, [False, True, False]
            )[1]
            return gradient

        return _per_node(differentiate, [image, features], [like], to_weight=True).contiguous()

    def _thin_image(self, features: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
        """`image` by one product of matrices, whose values are then added where they overlap."""
        patches = torch.matmul(weight.flatten(2).mT.unsqueeze(1), features.flatten(3))
        height, width = size
        image = functional.fold(
            patches.flatten(0, 1),
            (height, width),
            weight.shape[-1],
            padding=self.padding,
            stride=self.stride,
        )
        return image.view(*features.shape[:2], -1, height, width)


def _per_node(
    product: Callable[..., Tensor],
    images: Sequence[Tensor],
    weights: Sequence[Tensor],
    *,
    to_weight: bool = False,
) -> Tensor:
    """The product of every node's images and weights: an image or, `to_weight`, a weight.

    Node after node on the CPU, where oneDNN can take up to four times longer for groups. A GPU
    would wait for that many calls: there nodes are groups of channels in one (not measured).
    """
    n = len(images[0])
    if not _is_grouped(images[0].device):
        rows = [product(*(t[node] for t in (*images, *weights)), groups=1) for node in range(n)]
        return rows[0].unsqueeze(0) if n == 1 else torch.stack(rows)
    channels = [image.transpose(0, 1).flatten(1, 2) for image in images]
    y = product(*channels, *(weight.flatten(0, 1) for weight in weights), groups=n)
    if to_weight:
        return y.reshape(weights[0].shape)
    return y.reshape(len(y), n, -1, *y.shape[2:]).transpose(0, 1)


def _is_grouped(device: torch.device) -> bool:
    return device.type != "cpu"


def _pullback(
    pull: Callable[[Tensor], Tensor], pull_weight: Callable[[Tensor], Tensor]
) -> Pullback:
    """The pullback of a layer with a weight and a bias."""

    def pullback(
        gradient: Tensor, *, inputs: bool, parameters: bool
    ) -> tuple[Tensor | None, Sequence[Tensor]]:
        return (
            pull(gradient) if inputs else None,
            (pull_weight(gradient), gradient.sum((1, 3, 4))) if parameters else (),
        )

    return pullback


def _turn(weight: Tensor) -> Tensor:
    """Every kernel turned by half a turn, and inputs for outputs; its own inverse."""
    return weight.transpose(1, 2).flip(3, 4).contiguous()


def _turn_weight(pullback: Pullback) -> Pullback:
    """The pullback of a layer whose weight was turned first."""

    def turned(
        gradient: Tensor, *, inputs: bool, parameters: bool
    ) -> tuple[Tensor | None, Sequence[Tensor]]:
        gradient_x, gradients = pullback(gradient, inputs=inputs, parameters=parameters)
        return gradient_x, (_turn(gradients[0]), *gradients[1:]) if parameters else ()

    return turned
