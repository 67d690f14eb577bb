"""The networks of a block of nodes, laid out for training: one contiguous tensor per layer.

Between rounds the nodes' networks are rows of matrices `(N, P)`, which is what exchanges, scores
and checkpoints work on. Batched kernels want the tensors of one layer side by side instead,
`(N, *shape)` in one piece, so a block's networks are copied out of the matrices, trained for a
whole round, and copied back. For a single node both layouts are the same memory, and nothing is
copied. Adam's moments stay where they are: nobody else asks for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from p2pgan.gan.adam import Adam
from p2pgan.gan.layers import Layer, Pullback
from p2pgan.gan.networks import Network

Tape = Sequence[Pullback]
"""What a forward pass leaves for its gradients: one pullback per layer."""


@dataclass
class Placed:
    """One layer of a block's nodes."""

    layer: Layer
    positions: list[int]
    """Of its tensors in the vector, the trained ones first."""
    trained: int
    """How many are trained."""
    moments: tuple[list[Tensor], list[Tensor]]
    """Adam's, of the trained ones."""
    tensors: list[Tensor] = field(default_factory=list)
    """All that the layer takes, `(N, *slot.shape)`, contiguous; there while it is trained."""


class Player:
    """One network of a block's nodes, with its optimiser."""

    def __init__(self, network: Network, vector_NP: Tensor, adam: Adam) -> None:
        """Nodes that have not trained yet.

        Args:
            network: what they are.
            vector_NP: the nodes' vectors; changed by `store` alone, or in training for one node.
            adam: the optimiser's settings.
        """
        self.network = network
        self._adam = adam
        self._views = network.views(vector_NP.detach())
        self._count = torch.zeros((), device=vector_NP.device)
        self._layers = [self._placed(layer, list(slots)) for layer, slots in network.placed]
        self._first = next(n for n, placed in enumerate(self._layers) if placed.trained)

    def _placed(self, layer: Layer, positions: list[int]) -> Placed:
        trained = [self._views[i] for i in positions if i < self.network.trained]
        first, second = (
            [torch.zeros_like(view, memory_format=torch.contiguous_format) for view in trained]
            for _ in range(2)
        )
        return Placed(layer, positions, len(trained), (first, second))

    def load(self) -> None:
        """Takes the networks as they are now."""
        self.tensors = [view.contiguous() for view in self._views]
        for placed in self._layers:
            placed.tensors = [self.tensors[i] for i in placed.positions]

    def store(self) -> None:
        """Gives the networks back, and the memory that they took."""
        for view, tensor in zip(self._views, self.tensors, strict=True):
            if view.data_ptr() != tensor.data_ptr():
                view.copy_(tensor)
        self.tensors = []
        for placed in self._layers:
            placed.tensors = []

    def __call__(self, x: Tensor) -> tuple[Tensor, Tape]:
        """The network of every node on its inputs `(N, B, ...)`, with what gradients need."""
        tape = []
        for placed in self._layers:
            x, pullback = placed.layer.vjp(placed.tensors, x)
            tape.append(pullback)
        return x, tape

    def pull(self, tape: Tape, gradient: Tensor) -> Tensor:
        """Gradient of the inputs from that of the outputs."""
        for pullback in reversed(tape):
            pulled, _ = pullback(gradient, inputs=True, parameters=False)
            assert pulled is not None
            gradient = pulled
        return gradient

    def descend(
        self, passes: Sequence[tuple[Tape, Tensor]], extra: Sequence[Tensor] | None = None
    ) -> None:
        """One Adam step of every node, layer by layer from the last one down.

        Args:
            passes: forward passes with the gradients of their outputs; their sum counts.
            extra: a further gradient of every trained tensor, in vector order.
        """
        self._count += 1
        gradients = [gradient for _, gradient in passes]
        for number in range(len(self._layers) - 1, self._first - 1, -1):
            placed = self._layers[number]
            trained = placed.positions[: placed.trained]
            total = [] if extra is None else [[extra[i] for i in trained]]
            for i, (tape, _) in enumerate(passes):
                pulled, part = tape[number](
                    gradients[i], inputs=number > self._first, parameters=bool(trained)
                )
                total.append(list(part))
                if pulled is not None:
                    gradients[i] = pulled
            if trained:
                tensors = placed.tensors[: placed.trained]
                self._adam.step(tensors, _sum(total), placed.moments, self._count)


def _sum(parts: Sequence[list[Tensor]]) -> list[Tensor]:
    """Tensor by tensor, into the first part's memory."""
    total, *others = parts
    for other in others:
        torch._foreach_add_(total, other)
    return total
