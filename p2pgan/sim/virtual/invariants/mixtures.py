"""Mixing is what it says: a mean of its inputs, with the weights that the log has, and half of the
differences between the two ends of a pair."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from p2pgan.gan.cohort import Trainees
from p2pgan.mixing.rules import DIFFERENCE_SHARE
from p2pgan.node.work import Part, part, parts_of
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival
from p2pgan.sim.virtual.invariants.ground import Ground, Invariant, Obey, See
from p2pgan.sim.virtual.world import Moment
from p2pgan.types import NETS, Net

Exact = npt.NDArray[np.float64]

TOLERANCE: Final = 1e-5
"""Of numbers around 1 in float32, summed in another order."""


class Begun(NamedTuple):
    """What is being mixed, and what into."""

    mix: do.Mix
    """With the vectors of its own that it needs."""
    before: Mapping[Net, Exact]


class Mixtures(Invariant):
    """After a mixing every number is the stated mean of what the node had and what came or came
    back, and lies between the least and the largest of them; to that, half of every difference from
    what the node had sent is added. The stated weights are those that the machine has asked for."""

    def __init__(self, ground: Ground, cohort: Trainees) -> None:
        super().__init__(ground)
        self._rows = {node: index for index, node in enumerate(ground.design.nodes)}
        self._vectors = {net: cohort.exchanged[net].numpy() for net in NETS}
        self._begun: dict[str, Begun] = {}
        """By node."""

    def events(self) -> Mapping[type[ev.Event], See]:
        """As `Invariant.events`."""
        return {ev.MixingDone: self._mixed}

    def orders(self) -> Mapping[type[do.Instruction], Obey]:
        """As `Invariant.orders`."""
        return {do.Mix: self._begins}

    def _begins(self, moment: Moment, order: do.Instruction) -> None:
        assert isinstance(order, do.Mix)
        host = self.ground.member(moment.node).host
        assert host is not None, "a machine without a host"
        row = self._rows[moment.node]
        before = {net: vectors[row].astype(np.float64) for net, vectors in self._vectors.items()}
        # Now: what it needs is forgotten with the next instruction.
        self._begun[moment.node] = Begun(host.complete(order), before)

    def _mixed(self, moment: Moment) -> None:
        assert isinstance(moment.event, ev.MixingDone)
        mix, before = self._begun.pop(moment.node)
        told = dict(moment.event.weights)
        for net in NETS:
            parts = [one for one in parts_of(mix) if net in one.arrival.nets]
            self._check_weights(moment.node, mix.own, parts, told)
            means = [one for one in parts if one.base is None]
            inputs = [before[net], *(self._numbers(one.arrival, net) for one in means)]
            shares = [told[one.exchange] for one in means]
            moved = np.zeros(len(before[net]))
            for one in parts:
                if one.base is not None:
                    came, base = self._numbers(one.arrival, net), self._numbers(one.base, net)
                    moved += told[one.exchange] * (came - base)
            self._check(moment.node, net, inputs, [1 - sum(shares), *shares], moved)

    def _numbers(self, arrival: Arrival, net: Net) -> Exact:
        return part(self.ground.design, arrival, net).numpy().astype(np.float64)

    def _check_weights(
        self, node: str, own: float, parts: list[Part], told: Mapping[str, float]
    ) -> None:
        total = own + sum(one.weight for one in parts if one.base is None)
        for one in parts:
            asked = one.weight / total if one.base is None else DIFFERENCE_SHARE
            if abs(told[one.exchange] - asked) > TOLERANCE:
                self.ground.fail(
                    node,
                    expected=f"a share of {asked:.6f} for `{one.exchange}`",
                    got=f"{told[one.exchange]:.6f}",
                )

    def _check(
        self, node: str, net: Net, inputs: list[Exact], weights: list[float], moved: Exact
    ) -> None:
        after = self._vectors[net][self._rows[node]] - moved
        stack = np.stack(inputs)
        stated = np.asarray(weights) @ stack
        error = float(np.abs(after - stated).max())
        outside = np.maximum(stack.min(0) - after, after - stack.max(0)).max()
        if min(weights) < -TOLERANCE or error > TOLERANCE or outside > TOLERANCE:
            told = ", ".join(f"{weight:.6f}" for weight in weights)
            self.ground.fail(
                node,
                expected=f"the mean of {len(inputs)} vectors of {net} with weights {told}",
                got=f"another, {error:.2g} away",
            )
