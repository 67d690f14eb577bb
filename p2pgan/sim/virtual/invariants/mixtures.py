"""Mixing is what it says: a mean of its inputs, with the weights that the log has."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from p2pgan.gan.cohort import Trainees
from p2pgan.node.work import part
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.sim.virtual.invariants.ground import Ground, Invariant, Obey, See
from p2pgan.sim.virtual.world import Moment
from p2pgan.types import NETS, Net

Vector = npt.NDArray[np.float32]

TOLERANCE: Final = 1e-5
"""Of numbers around 1 in float32, summed in another order."""


class Mixtures(Invariant):
    """After a mixing every number is the stated mean of what the node had and what came, and lies
    between the least and the largest of them."""

    def __init__(self, ground: Ground, cohort: Trainees) -> None:
        super().__init__(ground)
        self._rows = {node: index for index, node in enumerate(ground.design.nodes)}
        self._vectors = {net: cohort.exchanged[net].numpy() for net in NETS}
        self._begun: dict[str, tuple[do.Mix, Mapping[Net, Vector]]] = {}
        """What is being mixed, and what into, by node."""

    def events(self) -> Mapping[type[ev.Event], See]:
        """As `Invariant.events`."""
        return {ev.MixingDone: self._mixed}

    def orders(self) -> Mapping[type[do.Instruction], Obey]:
        """As `Invariant.orders`."""
        return {do.Mix: self._begins}

    def _begins(self, moment: Moment, order: do.Instruction) -> None:
        assert isinstance(order, do.Mix)
        row = self._rows[moment.node]
        before = {net: vectors[row].copy() for net, vectors in self._vectors.items()}
        self._begun[moment.node] = order, before

    def _mixed(self, moment: Moment) -> None:
        assert isinstance(moment.event, ev.MixingDone)
        mix, before = self._begun.pop(moment.node)
        weights = dict(moment.event.weights)
        for net in NETS:
            carrying = [arrival for arrival in mix.arrivals if net in arrival.nets]
            came = [part(self.ground.design, arrival, net).numpy() for arrival in carrying]
            shares = [weights[arrival.exchange] for arrival in carrying]
            self._check(moment.node, net, [before[net], *came], [1 - sum(shares), *shares])

    def _check(self, node: str, net: Net, inputs: list[Vector], weights: list[float]) -> None:
        after = self._vectors[net][self._rows[node]]
        stack = np.stack(inputs).astype(np.float64)
        stated = np.asarray(weights) @ stack
        error = float(np.abs(after - stated).max())
        outside = np.maximum(stack.min(0) - after, after - stack.max(0)).max()
        if min(weights) < 0 or error > TOLERANCE or outside > TOLERANCE:
            told = ", ".join(f"{weight:.6f}" for weight in weights)
            self.ground.fail(
                node,
                expected=f"the mean of {len(inputs)} vectors of {net} with weights {told}",
                got=f"another, {error:.2g} away",
            )
