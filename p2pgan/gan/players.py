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
from p2pgan.gan.networks import Network, Tape


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


@dataclass(frozen=True)
class Trained:
    """The trained tensors of one layer, none if it has none, with their moments."""

    positions: list[int]
    """Of the tensors in the vector."""
    tensors: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]


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
        trained = [
            [i for i in positions if i < team.network.trained]
            for _, positions in team.network.placed
        ]
        self._trained = [
            Trained(positions, *([tensors[i] for i in positions] for tensors in layouts))
            for positions in trained
        ]
        self._first = next(number for number, positions in enumerate(trained) if positions)

    def store(self) -> None:
        """Copies the networks and moments back into the team's rows."""
        for views, tensors in zip(self._views, self._layouts, strict=True):
            for view, tensor in zip(views, tensors, strict=True):
                if view.data_ptr() != tensor.data_ptr():
                    view.copy_(tensor)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tape]:
        """The network of every node on its inputs `(N, B, ...)`, with what gradients need."""
        return self.network.vjp(self.tensors, x)

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
        for number in range(len(self._trained) - 1, self._first - 1, -1):
            layer = self._trained[number]
            total = [] if extra is None else [[extra[i] for i in layer.positions]]
            for i, (tape, _) in enumerate(passes):
                pulled, part = tape[number](
                    gradients[i], inputs=number > self._first, parameters=bool(layer.positions)
                )
                total.append(list(part))
                if pulled is not None:
                    gradients[i] = pulled
            if layer.positions:
                self._adam.step(
                    layer.tensors, _sum(total), (layer.first, layer.second), self._count
                )


def _sum(parts: Sequence[list[Tensor]]) -> list[Tensor]:
    """Tensor by tensor, into the first part's memory."""
    total, *others = parts
    for other in others:
        torch._foreach_add_(total, other)
    return total
