"""How much a late gradient counts: the learning rate divided by a delay, or by one per parameter.

Thesis, chapter 3: asynchronous SGD divides by the number of updates since the gradient's parameters
were read; AdaComp counts, for every parameter, only those updates that changed it.

Deviation: our optimiser is Adam, to which a smaller gradient is the same gradient, so it is the
step that is divided.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Rule = Literal["none", "delay", "parameter"]


@dataclass(frozen=True)
class Reading:
    """How often a network had been updated when something was made of it."""

    updates: int
    touched: tuple[Tensor, ...]
    """For each trained tensor, how often each of its values; empty unless the rule asks for it."""


class Staleness:
    """Counts the updates of one network, and shortens those whose gradients are late."""

    def __init__(self, rule: Rule, tensors: Sequence[Tensor]) -> None:
        """Nothing is updated yet.

        Args:
            rule: what divides a step.
            tensors: those that are trained, in vector order.
        """
        self._rule: Rule = rule
        self._updates = 0
        counted = tensors if rule == "parameter" else ()
        self._touched = [torch.zeros_like(tensor, dtype=torch.int32) for tensor in counted]
        self._since = self.reading()

    def reading(self) -> Reading:
        """The counts now, to be kept with what is made of the network as it is."""
        return Reading(self._updates, tuple(counts.clone() for counts in self._touched))

    def begin(self, since: Reading) -> None:
        """An update follows, whose gradient is of the network as it was at that reading."""
        self._since = since
        self._updates += 1

    def step(
        self,
        positions: Sequence[int],
        tensors: Sequence[Tensor],
        gradients: Sequence[Tensor],
        take: Callable[[], None],
    ) -> None:
        """Takes the update's step of some tensors and shortens it.

        Args:
            positions: of the tensors, in vector order.
            tensors: what the step changes.
            gradients: where they are 0, a parameter does not count as changed.
            take: takes the full step.
        """
        if self._rule == "none":
            take()
            return
        before = [tensor.clone() for tensor in tensors]
        changed = [gradient != 0 for gradient in gradients] if self._touched else []
        take()
        for number, (position, tensor) in enumerate(zip(positions, tensors, strict=True)):
            delay: Tensor | int = max(1, self._updates - 1 - self._since.updates)
            if self._touched:
                counts = self._touched[position]
                delay = (counts - self._since.touched[position]).clamp_(min=1)
                counts += changed[number]
            tensor.sub_(before[number]).div_(delay).add_(before[number])
