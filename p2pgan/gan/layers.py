"""Layers of N networks of one shape, applied together.

A layer is a value: it says which tensors it needs and how to apply them, and holds none. Its
tensors come with a leading node axis, so that one call works for every node of a cohort, be it one
or a thousand. Nodes never mix here: row i of the output depends on row i of the input only.

Shape letters: N nodes, B batch, C O channels, H W image, F features, K kernel.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Role = Literal["weight", "bias", "scale", "running_mean", "running_var"]

BATCH_NORM_MOMENTUM = 0.1
"""Share of the newest batch in the running statistics (PyTorch's default)."""


@dataclass(frozen=True)
class Slot:
    """A tensor that a layer needs per node.

    Fans are the numbers of inputs and outputs of one unit, for the initial weights (Glorot and
    Bengio 2010; He et al. 2015). Buffers are kept up to date by the layer, not by the optimiser.
    """

    shape: tuple[int, ...]
    role: Role
    fan_in: int = 0
    fan_out: int = 0

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_buffer(self) -> bool:
        return self.role in ("running_mean", "running_var")


class Layer(ABC):
    """One layer of N networks at once."""

    def slots(self) -> tuple[Slot, ...]:
        """The tensors that `apply` takes, without the node axis; none by default."""
        return ()

    @abstractmethod
    def apply(self, tensors: Sequence[Tensor], x: Tensor, *, training: bool) -> Tensor:
        """The layer's output.

        Args:
            tensors: one tensor per slot, shape `(N, *slot.shape)`.
            x: inputs, shape `(N, B, ...)`.
            training: batch statistics (and their running means updated) or running statistics.
        Returns:
            Outputs, shape `(N, B, ...)`.
        """


@dataclass(frozen=True)
class Linear(Layer):
    """`y = x Wᵀ + c` for each node; weights `(inputs, outputs)` so that a batched product fits."""

    inputs: int
    outputs: int

    def slots(self) -> tuple[Slot, ...]:
        return (
            Slot((self.inputs, self.outputs), "weight", self.inputs, self.outputs),
            Slot((1, self.outputs), "bias"),
        )

    def apply(self, tensors: Sequence[Tensor], x: Tensor, *, training: bool) -> Tensor:
        weight_NIO, bias_N1O = tensors
        return torch.baddbmm(bias_N1O, x, weight_NIO)


@dataclass(frozen=True)
class Conv(Layer):
    """Two-dimensional convolution; one grouped convolution serves all nodes."""

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
        y = functional.conv2d(
            _nodes_to_channels(x),
            weight_NOCKK.flatten(0, 1),
            bias_NO.flatten(),
            stride=self.stride,
            padding=self.padding,
            groups=x.shape[0],
        )
        return _channels_to_nodes(y, x.shape[0])


@dataclass(frozen=True)
class Deconv(Layer):
    """Transposed convolution ("deconvolution"); one grouped call serves all nodes."""

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
        y = functional.conv_transpose2d(
            _nodes_to_channels(x),
            weight_NCOKK.flatten(0, 1),
            bias_NO.flatten(),
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            groups=x.shape[0],
        )
        return _channels_to_nodes(y, x.shape[0])


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation per node, over the batch and, for images, the pixels.

    The running mean and variance are part of a network's vector: they are averaged, sent and saved
    with the weights, because a mixed generator with one node's statistics is not the mixed
    generator. There is no count of batches: the momentum is fixed.
    """

    channels: int

    def slots(self) -> tuple[Slot, ...]:
        shape = (self.channels,)
        roles: tuple[Role, ...] = ("scale", "bias", "running_mean", "running_var")
        return tuple(Slot(shape, role) for role in roles)

    def apply(self, tensors: Sequence[Tensor], x: Tensor, *, training: bool) -> Tensor:
        scale_NC, bias_NC, mean_NC, var_NC = tensors
        # The statistics are rows of a larger matrix; the kernel wants them contiguous.
        running = [mean_NC.detach().flatten().clone(), var_NC.detach().flatten().clone()]
        y = functional.batch_norm(
            _nodes_to_channels(x),
            running[0],
            running[1],
            scale_NC.flatten(),
            bias_NC.flatten(),
            training=training,
            momentum=BATCH_NORM_MOMENTUM,
        )
        if training:
            with torch.no_grad():
                mean_NC.copy_(running[0].view_as(mean_NC))
                var_NC.copy_(running[1].view_as(var_NC))
        return _channels_to_nodes(y, x.shape[0])


@dataclass(frozen=True)
class Reshape(Layer):
    """Every sample in another shape."""

    shape: tuple[int, ...]

    def apply(self, tensors: Sequence[Tensor], x: Tensor, *, training: bool) -> Tensor:
        return x.reshape(*x.shape[:2], *self.shape)


@dataclass(frozen=True)
class Activation(Layer):
    """An elementwise function; `name` stands for it in descriptions."""

    name: str
    function: Callable[[Tensor], Tensor] = field(compare=False, repr=False)

    def apply(self, tensors: Sequence[Tensor], x: Tensor, *, training: bool) -> Tensor:
        return self.function(x)


LEAKY_SLOPE = 0.2


def leaky_relu() -> Activation:
    return Activation("leaky-relu", lambda x: functional.leaky_relu(x, LEAKY_SLOPE))


def relu() -> Activation:
    return Activation("relu", functional.relu)


def tanh() -> Activation:
    return Activation("tanh", torch.tanh)


@dataclass(frozen=True)
class MinibatchDiscrimination(Layer):
    """Appends how close each sample lies to the others of its batch, so that collapse shows.

    Source: Salimans et al. 2016, section 3.2: `o(x_i)_b = Σ_j exp(-‖M_i,b - M_j,b‖₁)`. Deviation:
    `j = i` is left out, which only takes away a constant 1.
    """

    inputs: int
    kernels: int
    dimensions: int

    def slots(self) -> tuple[Slot, ...]:
        outputs = self.kernels * self.dimensions
        return (Slot((self.inputs, outputs), "weight", self.inputs, outputs),)

    def apply(self, tensors: Sequence[Tensor], x: Tensor, *, training: bool) -> Tensor:
        (weight_NIO,) = tensors
        n, batch, _ = x.shape
        m = torch.bmm(x, weight_NIO).view(n, batch, self.kernels, self.dimensions)
        distance_NBBK = (m.unsqueeze(1) - m.unsqueeze(2)).abs().sum(-1)
        closeness_NBK = torch.exp(-distance_NBBK).sum(2) - 1.0  # without j = i
        return torch.cat([x, closeness_NBK], dim=-1)


def _nodes_to_channels(x: Tensor) -> Tensor:
    """`(N, B, C, ...)` to `(B, N C, ...)`, the form that grouped kernels take."""
    return x.transpose(0, 1).flatten(1, 2)


def _channels_to_nodes(y: Tensor, n: int) -> Tensor:
    """`(B, N C, ...)` back to `(N, B, C, ...)`."""
    return y.reshape(len(y), n, -1, *y.shape[2:]).transpose(0, 1)
