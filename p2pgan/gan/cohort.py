"""A cohort: N nodes trained together, each on its own data.

The simulator's cohort has many nodes, a daemon's has one; between two exchanges nodes are
independent, so both compute the same up to the rounding of batched kernels. The cohort keeps the
nodes' networks and cuts its work into blocks (`p2pgan.gan.plan`); a block holds the training step
(`p2pgan.gan.blocks`).

Shape letters: N nodes, P parameters, B batch, Z latent, C H W image.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from p2pgan.config import TrainConfig
from p2pgan.gan.adam import Adam
from p2pgan.gan.blocks import Batch, Block, Feed, Judged, Rules, Verdict
from p2pgan.gan.latents import LatentSource
from p2pgan.gan.losses import loss
from p2pgan.gan.models import Model
from p2pgan.gan.plan import Machine, plan
from p2pgan.gan.players import Player, Team
from p2pgan.gan.precision import products_in
from p2pgan.types import NETS, Net


@dataclass(frozen=True)
class Inputs:
    """What N nodes train on. Several threads may draw at a time, each for other nodes."""

    batches: Callable[[range, int], Iterator[Batch]]
    """Of some nodes (by index) so many batches of each one's own data."""
    latents: LatentSource
    batch: int
    """B: images per step."""


@dataclass(frozen=True)
class Losses:
    """Mean losses of the iterations of one call, per node, float32 `(N,)`."""

    d: np.ndarray
    g: np.ndarray


class Stopped(Exception):  # noqa: N818
    """A block was ended before its time, because another one failed."""


class Cohort:
    """N nodes with their networks, optimisers, data and random streams.

    `vectors["G"]` and `vectors["D"]`, each `(N, P)` float32, are the networks: whoever mixes
    changes them in place. Optimiser state is indexed by node and stays where it is.
    """

    def __init__(
        self,
        model: Model,
        config: TrainConfig,
        vectors: dict[Net, Tensor],
        inputs: Inputs,
        machine: Machine,
    ) -> None:
        """A cohort that has not trained yet.

        Args:
            model: the pair of networks.
            config: losses, steps and optimiser settings.
            vectors: initial vectors, `(N, P)` per network; used in place.
            inputs: the nodes' real images and latents, conditional if the configuration is.
            machine: what the training may use.
        """
        assert config.conditional == bool(inputs.latents.classes), "labels without a meaning"
        rates: dict[Net, float | None] = {"G": config.learning_rate_g, "D": config.learning_rate_d}
        self.vectors = vectors
        self.plan = plan(model, len(vectors["G"]), inputs.batch, machine)
        self._teams = {
            net: Team(
                model.networks[net],
                vectors[net],
                Adam(rates[net] or model.learning_rate, config.beta1, config.beta2),
            )
            for net in NETS
        }
        self._inputs = inputs
        self._precision = machine.precision
        self._rules = Rules(
            loss(config.loss),
            config.gradient_penalty,
            config.discriminator_steps,
            config.conditional,
        )

    def train(self, iterations: int) -> Losses:
        """So many iterations (at least 1) of every node: `L` discriminator steps, a generator step.

        An exception, a `KeyboardInterrupt` among them, ends all blocks after their current
        iteration; the nodes have then done unequal numbers of them.
        """
        assert iterations >= 1
        with products_in(self._precision):
            losses = self._train_blocks(iterations)
        self._teams["D"].steps += iterations * self._rules.discriminator_steps
        self._teams["G"].steps += iterations
        return Losses(
            d=np.concatenate([part.d for part in losses]),
            g=np.concatenate([part.g for part in losses]),
        )

    def _train_blocks(self, iterations: int) -> list[Losses]:
        stop = threading.Event()

        def run(nodes: range) -> Losses:
            with torch.inference_mode():  # of this thread; gradients are ours
                return self._train_block(nodes, iterations, stop)

        with ThreadPoolExecutor(
            self.plan.workers,
            thread_name_prefix="block",
            initializer=self._settle,
        ) as pool:
            try:
                running = [pool.submit(run, nodes) for nodes in self.plan.blocks]
                done, _ = wait(running, return_when=FIRST_EXCEPTION)
            finally:
                stop.set()  # where all is done, nobody looks any more
            for future in done:
                future.result()  # raises what ended the others, not that they were ended
            return [future.result() for future in running]

    def _settle(self) -> None:
        """What a thread has of its own: the threads that share its calls, and its GPU."""
        torch.set_num_threads(self.plan.threads_each)
        if self.vectors["G"].is_cuda:
            torch.cuda.set_device(self.vectors["G"].device)

    def _train_block(self, nodes: range, iterations: int, stop: threading.Event) -> Losses:
        rows = slice(nodes.start, nodes.stop)
        players = {net: Player(team, rows) for net, team in self._teams.items()}
        block = Block(self._rules, players["G"], players["D"])
        feed = self._feed(nodes, iterations)
        judged: list[Judged] = []
        verdicts: list[Verdict] = []
        try:
            for _ in range(iterations):
                if stop.is_set():
                    raise Stopped
                seen, verdict = block.iterate(feed)
                judged += seen
                verdicts.append(verdict)
        finally:
            for player in players.values():
                player.store()
        return self._losses(judged, verdicts)

    def _feed(self, nodes: range, iterations: int) -> Feed:
        inputs, steps = self._inputs, self._rules.discriminator_steps
        return Feed(
            real=inputs.batches(nodes, iterations * steps),
            latents=inputs.latents.draws(nodes, iterations * (steps + 1), inputs.batch),
            proportions=iter(lambda: inputs.latents.proportions(nodes, inputs.batch), None),
        )

    def _losses(self, judged: Sequence[Judged], verdicts: Sequence[Verdict]) -> Losses:
        """Means over the steps. They are computed in one go: step by step takes as long as a
        layer."""
        curves, conditional = self._rules.loss, self._rules.conditional
        d_KN = _stacked([seen.real for seen in judged]).value(curves.real, conditional=conditional)
        d_KN += _stacked([seen.fake for seen in judged]).value(curves.fake, conditional=conditional)
        penalties = [seen.penalty_N for seen in judged if seen.penalty_N is not None]
        if penalties:
            d_KN += torch.stack(penalties)
        g_KN = _stacked(verdicts).value(curves.fooling, conditional=conditional)
        return Losses(d_KN.mean(0).cpu().numpy(), g_KN.mean(0).cpu().numpy())


def _stacked(verdicts: Sequence[Verdict]) -> Verdict:
    return Verdict(
        torch.stack([verdict.logits for verdict in verdicts]),
        torch.stack([verdict.labels_NB for verdict in verdicts]),
    )
