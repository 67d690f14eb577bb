"""The networks of a block of nodes, laid out for training: one contiguous tensor per layer.

Between rounds the nodes' networks are rows of matrices `(N, P)`, which is what exchanges, scores
and checkpoints work on. Batched kernels want the tensors of one layer side by side instead,
`(N, *shape)` in one piece, so a block is copied out of the matrices, trained for a whole round, and
copied back. For a single node both layouts are the same memory, and nothing is copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from p2pgan.gan.adam import Adam
from p2pgan.gan.layers import Layer, Pullback
from p2pgan.gan.networks import Network


@dataclass
class Team:
    """One network of all nodes, with its optimiser's state. Row i of each matrix is node i's."""

    network: Network
    vector_NP: Tensor
    adam: Adam
    steps: int = 0
    """Adam steps so far, of every node."""
    moments: tuple[Tensor, Tensor] = field(init=False)
    """Adam's first and second moments, `(N, P)` each; 0 at buffers."""

    def __post_init__(self) -> None:
        self.moments = torch.zeros_like(self.vector_NP), torch.zeros_like(self.vector_NP)


Tape = Sequence[Pullback]
"""What a forward pass leaves for its gradients: one pullback per layer."""


@dataclass(frozen=True)
class Placed:
    """One layer of a block's nodes."""

    layer: Layer
    tensors: list[Tensor]
    """All that the layer takes, `(N, *slot.shape)`, contiguous."""
    positions: list[int]
    """Of the trained ones in the vector; they come first among `tensors`."""
    moments: tuple[list[Tensor], list[Tensor]]
    """Adam's, of the trained ones."""


class Player:
    """One network of a block's nodes, ready to be trained."""

    def __init__(self, team: Team, rows: slice) -> None:
        """Copies those rows of the team; `store` takes them back."""
        self.network = team.network
        self._adam = team.adam
        matrices = (team.vector_NP.detach(), *team.moments)
        self._views = [team.network.views(matrix[rows]) for matrix in matrices]
        layouts = [[view.contiguous() for view in views] for views in self._views]
        self._layouts, self.tensors = layouts, layouts[0]
        self._count = torch.full((), float(team.steps), device=team.vector_NP.device)
        self._layers = [self._placed(layer, positions) for layer, positions in team.network.placed]
        self._first = next(n for n, placed in enumerate(self._layers) if placed.positions)

    def _placed(self, layer: Layer, positions: Sequence[int]) -> Placed:
        trained = [i for i in positions if i < self.network.trained]
        first, second = ([moments[i] for i in trained] for moments in self._layouts[1:])
        return Placed(layer, [self.tensors[i] for i in positions], trained, (first, second))

    def store(self) -> None:
        """Copies the networks and moments back into the team's rows."""
        for views, tensors in zip(self._views, self._layouts, strict=True):
            for view, tensor in zip(views, tensors, strict=True):
                if view.data_ptr() != tensor.data_ptr():
                    view.copy_(tensor)

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
            is_trained = bool(placed.positions)
            total = [] if extra is None else [[extra[i] for i in placed.positions]]
            for i, (tape, _) in enumerate(passes):
                pulled, part = tape[number](
                    gradients[i], inputs=number > self._first, parameters=is_trained
                )
                total.append(list(part))
                if pulled is not None:
                    gradients[i] = pulled
            if is_trained:
                trained = placed.tensors[: len(placed.positions)]
                self._adam.step(trained, _sum(total), placed.moments, self._count)


def _sum(parts: Sequence[list[Tensor]]) -> list[Tensor]:
    """Tensor by tensor, into the first part's memory."""
    total, *others = parts
    for other in others:
        torch._foreach_add_(total, other)
    return total
