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
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Role = Literal["weight", "bias", "scale", "running_mean", "running_var"]

BATCH_NORM_MOMENTUM = 0.1
"""Share of the newest batch in the running statistics (PyTorch's default)."""

BATCH_NORM_EPSILON = 1e-5
"""Added to variances (PyTorch's default)."""


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


class Pullback(Protocol):
    """Takes a gradient of a layer's outputs back to its inputs and trained tensors."""

    def __call__(
        self, gradient: Tensor, *, inputs: bool, parameters: bool
    ) -> tuple[Tensor | None, Sequence[Tensor]]:
        """The vector-Jacobian product.

        Args:
            gradient: of the outputs, `(N, B, ...)`; may be overwritten.
            inputs: whether the gradient of the inputs is wanted.
            parameters: whether those of the trained tensors are wanted.
        Returns:
            Gradient of the inputs (`None` unless wanted), and of every trained tensor in slot
            order (none unless wanted): contiguous, `(N, *slot.shape)`, summed over the batch.
        """


class Layer(ABC):
    """One layer of N networks at once.

    `apply` says what the layer computes, and autograd can differentiate it as often as is needed.
    Training calls `vjp`, which computes the same and keeps what the gradient needs; layers that
    matter for speed write it out, the others leave it to autograd.
    """

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

    def vjp(self, tensors: Sequence[Tensor], x: Tensor) -> tuple[Tensor, Pullback]:
        """The output in training mode, with its pullback (as in `torch.func.vjp`).

        Args: as of `apply`; neither is changed, buffers apart.
        """
        # Copies: training runs in inference mode, whose tensors autograd does not take.
        with torch.inference_mode(False), torch.enable_grad():
            x = x.clone().requires_grad_()
            copies = [tensor.clone() for tensor in tensors]
            trained = [
                copy.requires_grad_()
                for copy, slot in zip(copies, self.slots(), strict=True)
                if not slot.is_buffer
            ]
            y = self.apply(copies, x, training=True)
        for slot, tensor, copy in zip(self.slots(), tensors, copies, strict=True):
            if slot.is_buffer:
                tensor.copy_(copy)

        def pullback(
            gradient: Tensor, *, inputs: bool, parameters: bool
        ) -> tuple[Tensor | None, Sequence[Tensor]]:
            wanted = [x] * inputs + trained * parameters
            if not wanted:
                return None, ()
            gradients = [g.contiguous() for g in torch.autograd.grad(y, wanted, gradient)]
            return gradients[0] if inputs else None, gradients[inputs:]

        return y.detach(), pullback

    @property
    def couples_samples(self) -> bool:
        """Whether a sample's output depends on the other samples of its batch."""
        return False


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
        if self.outputs == 1:  # a batched product with one column is an order slower
            return (x * weight_NIO.mT).sum(-1, keepdim=True) + bias_N1O
        return torch.baddbmm(bias_N1O, x, weight_NIO)

    def vjp(self, tensors: Sequence[Tensor], x: Tensor) -> tuple[Tensor, Pullback]:
        weight_NIO = tensors[0]

        def pullback(
            gradient: Tensor, *, inputs: bool, parameters: bool
        ) -> tuple[Tensor | None, Sequence[Tensor]]:
            gradient_x: Tensor | None = None
            gradients: tuple[Tensor, ...] = ()
            if inputs and self.outputs == 1:
                gradient_x = gradient * weight_NIO.mT
            elif inputs:
                gradient_x = torch.bmm(gradient, weight_NIO.mT)
            if parameters:
                gradient_NIO = (
                    torch.bmm(gradient.mT, x).view_as(weight_NIO)
                    if self.outputs == 1
                    else torch.bmm(x.mT, gradient)
                )
                gradients = (gradient_NIO, gradient.sum(1, keepdim=True))
            return gradient_x, gradients

        return self.apply(tensors, x, training=True), pullback


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
        return self._normalise(tensors, x, training=training)[0]

    def vjp(self, tensors: Sequence[Tensor], x: Tensor) -> tuple[Tensor, Pullback]:
        scale_NC, _, mean_NC, var_NC = tensors
        y, mean, inverse_deviation = self._normalise(tensors, x, training=True)

        def pullback(
            gradient: Tensor, *, inputs: bool, parameters: bool
        ) -> tuple[Tensor | None, Sequence[Tensor]]:
            gradient_x, *gradients = torch.ops.aten.native_batch_norm_backward(
                _nodes_to_channels(gradient).contiguous(),
                _nodes_to_channels(x),
                scale_NC.flatten(),
                mean_NC.flatten(),
                var_NC.flatten(),
                mean,
                inverse_deviation,
                True,
                BATCH_NORM_EPSILON,
                [inputs, parameters, parameters],
            )
            return (
                _channels_to_nodes(gradient_x, len(x)) if inputs else None,
                [gradient.view_as(scale_NC) for gradient in gradients] if parameters else (),
            )

        return y, pullback

    @property
    def couples_samples(self) -> bool:
        return True

    def _normalise(
        self, tensors: Sequence[Tensor], x: Tensor, *, training: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs, and the batch's means and inverse deviations, each `(N C,)`."""
        scale_NC, bias_NC, mean_NC, var_NC = tensors
        # The statistics may be rows of a larger matrix; the kernel wants them contiguous.
        running = [mean_NC.detach().flatten().clone(), var_NC.detach().flatten().clone()]
        y, mean, inverse_deviation = torch.native_batch_norm(
            _nodes_to_channels(x),
            scale_NC.flatten(),
            bias_NC.flatten(),
            running[0],
            running[1],
            training,
            BATCH_NORM_MOMENTUM,
            BATCH_NORM_EPSILON,
        )
        if training:
            with torch.no_grad():
                mean_NC.copy_(running[0].view_as(mean_NC))
                var_NC.copy_(running[1].view_as(var_NC))
        return _channels_to_nodes(y, len(x)), mean, inverse_deviation


@dataclass(frozen=True)
class Reshape(Layer):
    """Every sample in another shape."""

    shape: tuple[int, ...]

    def apply(self, tensors: Sequence[Tensor], x: Tensor, *, training: bool) -> Tensor:
        return x.reshape(*x.shape[:2], *self.shape)

    def vjp(self, tensors: Sequence[Tensor], x: Tensor) -> tuple[Tensor, Pullback]:
        def pullback(
            gradient: Tensor, *, inputs: bool, parameters: bool
        ) -> tuple[Tensor | None, Sequence[Tensor]]:
            return gradient.reshape(x.shape), ()

        return self.apply(tensors, x, training=True), pullback


@dataclass(frozen=True)
class Activation(Layer):
    """An elementwise function whose derivative follows from its value; `name` stands for it."""

    name: str
    function: Callable[[Tensor], Tensor] = field(compare=False, repr=False)
    pull: Callable[[Tensor, Tensor], Tensor] = field(compare=False, repr=False)
    """Gradient and value of the output to the gradient of the input, in the gradient's memory."""

    def apply(self, tensors: Sequence[Tensor], x: Tensor, *, training: bool) -> Tensor:
        return self.function(x)

    def vjp(self, tensors: Sequence[Tensor], x: Tensor) -> tuple[Tensor, Pullback]:
        y = self.function(x)

        def pullback(
            gradient: Tensor, *, inputs: bool, parameters: bool
        ) -> tuple[Tensor | None, Sequence[Tensor]]:
            return self.pull(gradient, y), ()

        return y, pullback


LEAKY_SLOPE = 0.2


def leaky_relu() -> Activation:
    pull = torch.ops.aten.leaky_relu_backward.grad_input
    return Activation(
        "leaky-relu",
        lambda x: functional.leaky_relu(x, LEAKY_SLOPE),
        lambda gradient, y: pull(gradient, y, LEAKY_SLOPE, True, grad_input=gradient),
    )


def relu() -> Activation:
    pull = torch.ops.aten.threshold_backward.grad_input
    return Activation(
        "relu", functional.relu, lambda gradient, y: pull(gradient, y, 0, grad_input=gradient)
    )


def tanh() -> Activation:
    pull = torch.ops.aten.tanh_backward.grad_input
    return Activation(
        "tanh", torch.tanh, lambda gradient, y: pull(gradient, y, grad_input=gradient)
    )


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

    @property
    def couples_samples(self) -> bool:
        return True


def _nodes_to_channels(x: Tensor) -> Tensor:
    """`(N, B, C, ...)` to `(B, N C, ...)`, the form that grouped kernels take."""
    return x.transpose(0, 1).flatten(1, 2)


def _channels_to_nodes(y: Tensor, n: int) -> Tensor:
    """`(B, N C, ...)` back to `(N, B, C, ...)`."""
    return y.reshape(len(y), n, -1, *y.shape[2:]).transpose(0, 1)
