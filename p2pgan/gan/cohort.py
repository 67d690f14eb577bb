"""A cohort: N nodes trained together, each on its own data.

The simulator's cohort has many nodes, a daemon's has one; between two exchanges nodes are
independent, so both compute the same up to the rounding of batched kernels. The cohort keeps the
nodes' networks and takes them block by block (`p2pgan.gan.plan`); a block holds the training step
(`p2pgan.gan.blocks`).

Shape letters: N nodes, P parameters, B batch, Z latent, C H W image.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from p2pgan.config import TrainConfig
from p2pgan.gan.adam import Adam
from p2pgan.gan.blocks import Batch, Block, DiscriminatorStep, Feed, Game, Judged
from p2pgan.gan.latents import LatentSource
from p2pgan.gan.losses import loss
from p2pgan.gan.memory import Memory, Sampler, to_bytes, to_tensor
from p2pgan.gan.models import Model
from p2pgan.gan.plan import Machine, blocks, threads_of_calls
from p2pgan.gan.players import Clock, Player
from p2pgan.gan.precision import products_in
from p2pgan.seeds import go_to, position
from p2pgan.types import NETS, Net


@dataclass(frozen=True)
class Inputs:
    """What N nodes train on."""

    batches: Callable[[Sequence[int], int], Iterator[Batch]]
    """Of some nodes (by index) so many batches of each one's own data."""
    latents: LatentSource
    batch: int
    """B: images per step."""
    samplers: Sequence[Sampler] = ()
    """What the batches of each node are made of, where they can be set back."""


@dataclass(frozen=True)
class Losses:
    """Mean losses of the iterations of one call, per node, float32 `(N,)`."""

    d: np.ndarray
    g: np.ndarray

    @classmethod
    def missing(cls, nodes: int) -> "Losses":
        """Those of nodes that stood still: no numbers."""
        return cls(*np.full((2, nodes), np.nan, np.float32))

    @classmethod
    def joined(cls, parts: Sequence["Losses"]) -> "Losses":
        """Those of consecutive nodes, as one."""
        return cls(*(np.concatenate([getattr(part, net) for part in parts]) for net in "dg"))


class Parts(NamedTuple):
    """Views into the rows of N nodes' networks."""

    vectors: dict[Net, Tensor]
    """The networks, `(N, P)` each."""
    exchanged: dict[Net, Tensor]
    """What changes hands: the vectors, or `(N, 3P)` with Adam's moments behind them."""
    judged: Tensor
    """The generators that are scored and sampled, `(N, P)`: those, or with `train.ema` their
    running means, which are the last columns."""

    @classmethod
    def of(cls, model: Model, config: TrainConfig, rows: dict[Net, Tensor]) -> "Parts":
        """Those of rows as `Cohort` takes them."""
        vectors = {net: rows[net][:, : model.networks[net].size] for net in NETS}
        if not config.ema:
            return cls(vectors, rows, vectors["G"])
        size = model.generator.size
        return cls(vectors, rows | {"G": rows["G"][:, :-size]}, rows["G"][:, -size:])


def game_of(config: TrainConfig) -> Game:
    """What both players minimise."""
    return Game(
        loss(config.loss),
        config.gradient_penalty,
        config.discriminator_steps,
        config.conditional,
    )


def adam_of(config: TrainConfig, model: Model, net: Net) -> Adam:
    """The optimiser of one network of a pair."""
    rate = config.learning_rate_g if net == "G" else config.learning_rate_d
    return Adam(rate or model.learning_rate, config.beta1, config.beta2)


class Trainees(Protocol):
    """Nodes that can be trained: a cohort, or a crew with several."""

    vectors: dict[Net, Tensor]
    """Their networks, `(N, P)` each."""
    exchanged: dict[Net, Tensor]
    """What exchanges change in place: `vectors`, or wider rows that begin with them."""
    judged: Tensor
    """The generators that are scored and sampled, `(N, P)`."""

    def train(self, iterations: int, nodes: Collection[int] | None = None) -> Losses:
        """So many iterations of every node, or of those with these indices."""

    def forget(self, nodes: Collection[int] | None = None) -> None:
        """Starts Adam again at every node, or at those with these indices."""

    def remember(self, node: int) -> Memory:
        """What the training of the node with that index goes on from, beside its networks."""

    def recall(self, node: int, memory: Memory) -> None:
        """Goes on from there; `ValueError` if it is of another kind of node."""


class Cohort:
    """N nodes with their networks, optimisers, data and random streams.

    `vectors`, `exchanged` and `judged` are views of the rows that it was given (`Parts`); whoever
    mixes changes `exchanged` in place. All other optimiser state is indexed by node and stays where
    it is.
    """

    def __init__(
        self,
        model: Model,
        config: TrainConfig,
        rows: dict[Net, Tensor],
        inputs: Inputs,
        machine: Machine,
    ) -> None:
        """A cohort that has not trained yet.

        Args:
            model: the pair of networks.
            config: losses, steps and optimiser settings.
            rows: the networks at the start, `(N, P)` each, or `(N, 3P)` with Adam's moments, which
                are 0, behind them. With `train.ema` the generators once more at the end. Used in
                place.
            inputs: the nodes' real images and latents, conditional if the configuration is.
            machine: what the training may use.
        """
        assert config.conditional == bool(inputs.latents.classes), "labels without a meaning"
        self.vectors, self.exchanged, self.judged = Parts.of(model, config, rows)
        self._threads = threads_of_calls(model, inputs.batch, machine)
        self._precision = machine.precision
        self._inputs = inputs
        self._game = game_of(config)
        adam = {net: adam_of(config, model, net) for net in NETS}
        ema: dict[Net, float] = {"G": config.ema, "D": 0.0}

        def player(net: Net, nodes: range) -> Player:
            own = rows[net][nodes.start : nodes.stop]
            return Player(model.networks[net], own, adam[net], ema[net])

        self.blocks = {
            nodes: Block(self._game, player("G", nodes), player("D", nodes))
            for nodes in blocks(model, len(rows["G"]), machine)
        }

    def train(self, iterations: int, nodes: Collection[int] | None = None) -> Losses:
        """So many iterations (at least 1) of every node: `L` discriminator steps, a generator step.

        After an exception, a `KeyboardInterrupt` among them, nodes have done unequal numbers.

        Args:
            iterations: how many.
            nodes: the indices of those that train; the others stand still, draw nothing, and have
                losses that are no numbers. `None`: all.
        """
        assert iterations >= 1
        trained = range(len(self.judged)) if nodes is None else frozenset(nodes)
        with products_in(self._precision), calls_on(self._threads), torch.inference_mode():
            return Losses.joined(
                [
                    self._train_some(block, nodes, trained, iterations)
                    for nodes, block in self.blocks.items()
                ]
            )

    def forget(self, nodes: Collection[int] | None = None) -> None:
        """Starts Adam again.

        Args:
            nodes: the indices of those whose optimisers forget; `None`: all.
        """
        forgetful = range(len(self.judged)) if nodes is None else frozenset(nodes)
        with torch.inference_mode():
            for of_block, block in self.blocks.items():
                places = [place for place, node in enumerate(of_block) if node in forgetful]
                block.forget(places)

    def remember(self, node: int) -> Memory:
        """What a node's training goes on from, beside its networks; copied."""
        inputs, moments, clocks = self._inputs, dict[Net, bytes](), dict[Net, Clock]()
        for net, player, place in self._players(node):
            parts, clocks[net] = player.remembered(place)
            if any(part.any() for part in parts):
                moments[net] = to_bytes(parts)
        return Memory(
            moments=moments,
            steps={net: int(clock.steps) for net, clock in clocks.items()},
            followed=clocks["G"].followed,
            streams=tuple(map(position, inputs.latents.streams_of(node))),
            batches=inputs.samplers[node].position if inputs.samplers else "",
        )

    def recall(self, node: int, memory: Memory) -> None:
        """Goes on from there.

        Raises:
            ValueError: if it is of a node with other networks or streams.
        """
        inputs = self._inputs
        for net, player, place in self._players(node):
            size, device = player.network.size, self.judged.device
            told = memory.moments.get(net)
            both = torch.zeros(2 * size) if told is None else to_tensor(told)
            if len(both) != 2 * size:
                raise ValueError(f"{len(both)} moments of a network of {size}")
            steps = torch.tensor(float(memory.steps.get(net, 0)), device=device)
            clock = Clock(steps, memory.followed if net == "G" else 0)
            with torch.inference_mode():
                player.recall(place, torch.split(both.to(device), size), clock)
        for stream, where in zip(inputs.latents.streams_of(node), memory.streams, strict=True):
            go_to(stream, where)
        if inputs.samplers:
            inputs.samplers[node].go_to(memory.batches)

    def _players(self, node: int) -> list[tuple[Net, Player, int]]:
        """Both networks of a node, each with its place among those that it is trained with."""
        for nodes, block in self.blocks.items():
            if node in nodes:
                place = node - nodes.start
                return [("G", block.generator, place), ("D", block.critics.player, place)]
        raise AssertionError(f"no node {node}")

    def _train_some(
        self, block: Block, nodes: range, trained: Collection[int], iterations: int
    ) -> Losses:
        """Those of a block's nodes that are to be trained."""
        places = [place for place, node in enumerate(nodes) if node in trained]
        losses = Losses.missing(len(nodes))
        if places:
            of_places = self._train_block(block, nodes, places, iterations)
            losses.d[places], losses.g[places] = of_places.d, of_places.g
        return losses

    def _train_block(
        self, block: Block, nodes: range, places: Sequence[int], iterations: int
    ) -> Losses:
        feed = self._feed([nodes[place] for place in places], iterations)
        with block.loaded(places):
            steps = [block.iterate(feed) for _ in range(iterations)]
        return mean_losses(
            self._game,
            [step for discriminator_steps, _ in steps for step in discriminator_steps],
            [judged for _, judged in steps],
        )

    def _feed(self, nodes: Sequence[int], iterations: int) -> Feed:
        inputs, steps = self._inputs, self._game.discriminator_steps
        return Feed(
            real=inputs.batches(nodes, iterations * steps),
            latents=inputs.latents.draws(nodes, iterations * (steps + 1), inputs.batch),
            proportions=iter(lambda: inputs.latents.proportions(nodes, inputs.batch), None),
        )


def mean_losses(game: Game, steps: Sequence[DiscriminatorStep], judged: Sequence[Judged]) -> Losses:
    """Means over all discriminator steps, and over what the generator's steps had judged.

    They are computed in one go: step by step takes as long as a layer.
    """
    curves, conditional = game.loss, game.conditional
    d_KN = _stacked([step.real for step in steps]).value(curves.real, conditional=conditional)
    d_KN += _stacked([step.fake for step in steps]).value(curves.fake, conditional=conditional)
    penalties = [step.penalty_N for step in steps if step.penalty_N is not None]
    if penalties:
        d_KN += torch.stack(penalties)
    g_KN = _stacked(judged).value(curves.fooling, conditional=conditional)
    return Losses(d_KN.mean(0).cpu().numpy(), g_KN.mean(0).cpu().numpy())


@contextmanager
def calls_on(threads: int) -> Iterator[None]:
    """Lets so many threads share the work of single calls of this thread, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _stacked(judged: Sequence[Judged]) -> Judged:
    return Judged(
        torch.stack([one.logits for one in judged]),
        torch.stack([one.labels_NB for one in judged]),
    )
