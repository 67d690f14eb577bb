"""The networks of a block of nodes, laid out for training: one contiguous tensor per layer.

Between rounds the nodes' networks are rows of matrices `(N, P)`, which is what exchanges, scores
and checkpoints work on. Batched kernels want the tensors of one layer side by side instead,
`(N, *shape)` in one piece, so a block's networks are copied out of the matrices, trained for a
whole round, and copied back. For a single node both layouts are the same memory, and nothing is
copied. Adam's moments stay where they are, since nobody else asks for them; but those that travel
at exchanges lie in the matrices as well, and are taken and given back like the networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from p2pgan.gan.adam import Adam
from p2pgan.gan.layers import Layer, Pullback
from p2pgan.gan.networks import Network
from p2pgan.gan.staleness import Staleness

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
    tensors: list[Tensor] = field(default_factory=list)
    """All that the layer takes, `(N, *slot.shape)`, contiguous; there while it is trained."""
    moments: tuple[list[Tensor], list[Tensor]] = field(default_factory=lambda: ([], []))
    """Adam's first and second, of the trained ones; there while it is trained."""


@dataclass
class Clock:
    """How many steps a node has made, or several that have made all of them together."""

    steps: Tensor
    """Adam's; float32 scalar on the network's device."""
    followed: int = 0
    """The running mean's."""


class Player:
    """One network of a block's nodes, with its optimiser."""

    def __init__(self, network: Network, rows_NE: Tensor, adam: Adam, ema: float = 0.0) -> None:
        """Nodes that have not trained yet.

        Args:
            network: what they are.
            rows_NE: the nodes' vectors `(N, P)`, or `(N, 3P)` with Adam's moments behind them, the
                first and then the second, in the layout of a vector; and with `ema` another P, the
                running mean. Changed by `store` alone, or in training for one node; moments by
                `forget` as well.
            adam: the optimiser's settings.
            ema: decay of the running mean that `follow` moves; 0: there is none.
        """
        self.network = network
        self._adam, self._ema = adam, ema
        vector_NP, *moments_NP = torch.split(rows_NE.detach(), network.size, 1)
        self._means = network.views(moments_NP.pop()) if ema else []
        self._views = network.views(vector_NP)
        self._clocks = [Clock(torch.zeros((), device=rows_NE.device))] * len(rows_NE)
        self._layers = [
            Placed(layer, list(slots), sum(i < network.trained for i in slots))
            for layer, slots in network.placed
        ]
        self._first = next(n for n, placed in enumerate(self._layers) if placed.trained)
        trained = self._views[: network.trained]
        self._travelling = moments_NP
        """Moments that lie behind the networks, where they do: all of the two rows."""
        self._moments = [network.views(part)[: network.trained] for part in moments_NP] or [
            [torch.zeros_like(view, memory_format=torch.contiguous_format) for view in trained]
            for _ in range(2)
        ]

    def load(self, places: Sequence[int] | None = None) -> None:
        """Takes the networks, and all that lies with them, as they are now.

        Args:
            places: the nodes that are to be trained, by row, rising; the others stay as they are.
                `None`: all.
        """
        self._choose(range(len(self._clocks)) if places is None else places)
        self.tensors = self._taken(self._views)
        self._mean = self._taken(self._means)
        first, second = self._loaded = [self._taken(views) for views in self._moments]
        for placed in self._layers:
            trained = placed.positions[: placed.trained]
            placed.tensors = [self.tensors[i] for i in placed.positions]
            placed.moments = ([first[i] for i in trained], [second[i] for i in trained])

    def store(self) -> None:
        """Gives all of it back, and the memory that it took."""
        self._give_back(self._views, self.tensors)
        self._give_back(self._means, self._mean)
        for views, tensors in zip(self._moments, self._loaded, strict=True):
            self._give_back(views, tensors)
        self.tensors, self._mean, self._loaded = [], [], []
        for placed in self._layers:
            placed.tensors, placed.moments = [], ([], [])

    def _choose(self, places: Sequence[int]) -> None:
        """From the first time that not all are trained, every node has a clock of its own."""
        self._chosen: Tensor | None = None
        if len(places) < len(self._clocks):
            self._chosen = torch.tensor(places, device=self._clocks[0].steps.device)
            self._part_clocks()
        running = [self._clocks[place] for place in places]
        self._running = running[:1] if running[0] is running[-1] else running

    def _part_clocks(self) -> None:
        """Gives every node a clock of its own."""
        if self._clocks[0] is self._clocks[-1]:
            self._clocks = [Clock(c.steps.clone(), c.followed) for c in self._clocks]

    def _taken(self, views: Sequence[Tensor]) -> list[Tensor]:
        if self._chosen is None:
            return [view.contiguous() for view in views]
        return [view.index_select(0, self._chosen) for view in views]

    def _give_back(self, views: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
        for view, tensor in zip(views, tensors, strict=True):
            if self._chosen is not None:
                view.index_copy_(0, self._chosen, tensor)
            elif view.data_ptr() != tensor.data_ptr():
                view.copy_(tensor)

    def follow(self) -> None:
        """Moves the running mean, if there is one, towards the network as it is now.

        `m <- e m + (1 - e) w` for what is trained (Yazıcı et al. 2019, exponential moving average);
        running statistics are means already, and are copied. Early on it looks back over a tenth of
        the way only, since the initial weights would otherwise stay in it for long: step `t` has
        the decay `min(e, t / (t + 9))`.
        """
        if self._ema:
            trained = self.network.trained
            for place, clock in enumerate(self._running):
                clock.followed += 1
                decay = min(self._ema, clock.followed / (clock.followed + 9))
                rows = slice(place, place + 1) if len(self._running) > 1 else slice(None)
                means, tensors = (
                    [tensor[rows] for tensor in part[:trained]]
                    for part in (self._mean, self.tensors)
                )
                torch._foreach_lerp_(means, tensors, 1 - decay)
            for mean, buffer in zip(self._mean[trained:], self.tensors[trained:], strict=True):
                mean.copy_(buffer)

    @property
    def steps(self) -> int:
        """Steps that Adam has made, where all nodes have made the same."""
        assert self._clocks[0] is self._clocks[-1]
        return int(self._clocks[0].steps)

    @steps.setter
    def steps(self, count: int) -> None:
        for clock in self._clocks:
            clock.steps.fill_(count)

    def resume(self, steps: int) -> None:
        """Goes on after so many steps of Adam and of the running mean."""
        self.steps = steps
        for clock in self._clocks:
            clock.followed = steps

    def remembered(self, place: int) -> tuple[list[Tensor], Clock]:
        """One node's moments, the first `(P,)` and the second, and its clock; copied. Not while it
        is trained."""
        clock = self._clocks[place]
        moments = [part[place].clone() for part in self._travelling] or [
            self._vector([view[place] for view in views]) for views in self._moments
        ]
        return moments, Clock(clock.steps.clone(), clock.followed)

    def recall(self, place: int, moments: Sequence[Tensor], clock: Clock) -> None:
        """Goes on with one node's moments and clock, as `remembered` has them."""
        self._part_clocks()
        self._clocks[place] = clock
        for part, moment_P in zip(self._travelling, moments, strict=False):
            part[place].copy_(moment_P)
        for views, moment_P in zip(self._moments, moments, strict=True):
            own = self.network.views(moment_P[None])
            for view, value in zip(views, own[: self.network.trained], strict=True):
                view[place].copy_(value[0])

    def _vector(self, trained: Sequence[Tensor]) -> Tensor:
        """What belongs to the trained tensors of one node, `(P,)`; 0 where nothing does."""
        vector_P = torch.zeros(self.network.size, device=trained[0].device)
        views = self.network.views(vector_P[None])
        for view, value in zip(views, trained, strict=False):
            view[0].copy_(value)
        return vector_P

    def forget(self, places: Sequence[int] | None = None) -> None:
        """Starts Adam again: moments of 0, and no steps so far. Not while it is trained.

        Args:
            places: of which nodes, by row; `None`: of all.
        """
        chosen = range(len(self._clocks)) if places is None else places
        if len(chosen) < len(self._clocks):
            self._part_clocks()
        for views in self._moments:
            for view in views:
                for place in chosen:
                    view[place].zero_()
        for place in chosen:
            self._clocks[place].steps.zero_()

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
        self,
        passes: Sequence[tuple[Tape, Tensor]],
        extra: Sequence[Tensor] | None = None,
        staleness: Staleness | None = None,
    ) -> None:
        """One Adam step of every node, layer by layer from the last one down.

        Args:
            passes: forward passes with the gradients of their outputs; their sum counts.
            extra: a further gradient of every trained tensor, in vector order.
            staleness: shortens the step.
        """
        for clock in self._running:
            clock.steps += 1
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
                self._step(placed, _sum(total), staleness)

    def _step(self, placed: Placed, gradients: list[Tensor], staleness: Staleness | None) -> None:
        tensors = placed.tensors[: placed.trained]
        counts = [clock.steps for clock in self._running]

        def take() -> None:
            self._adam.step(tensors, gradients, placed.moments, counts)

        if staleness is None:
            take()
        else:
            staleness.step(placed.positions[: placed.trained], tensors, gradients, take)


def _sum(parts: Sequence[list[Tensor]]) -> list[Tensor]:
    """Tensor by tensor, into the first part's memory."""
    total, *others = parts
    for other in others:
        torch._foreach_add_(total, other)
    return total
