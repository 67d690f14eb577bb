"""Adam for many nodes at once, layer by layer.

PyTorch's fused kernel does the arithmetic; we keep its state as matrices of one row per node, like
the networks themselves, and call it for one layer at a time, as soon as the layer's gradients are
there: they are then still in the cache, and never all in memory.

Source: Kingma and Ba 2015, algorithm 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Adam:
    """The settings."""

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float = 1e-8

    def step(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        moments: tuple[list[Tensor], list[Tensor]],
        counts: Sequence[Tensor],
    ) -> None:
        """One step of some tensors, in place.

        Args:
            parameters: what is trained; contiguous, as all that follow.
            gradients: of the same shapes.
            moments: running means of gradients and of their squares, of the same shapes.
            counts: steps so far, this one included; float32 scalars on the parameters' device: one
                for all nodes, or one for each row of the tensors.
        """
        # The kernel walks through memory, whatever the strides say.
        assert all(tensor.is_contiguous() for tensor in (*parameters, *gradients))
        tensors = [parameters, gradients, *moments]
        if len(counts) > 1:
            tensors = [[row for tensor in part for row in tensor.unbind()] for part in tensors]
        torch._fused_adam_(
            tensors[0],
            tensors[1],
            tensors[2],
            tensors[3],
            [],
            [*counts] * len(parameters),
            lr=self.learning_rate,
            beta1=self.beta1,
            beta2=self.beta2,
            weight_decay=0.0,
            eps=self.epsilon,
            amsgrad=False,
            maximize=False,
        )
