"""What an iteration costs a worker of MD-GAN, against a node of FL-GAN with the same models.

    python -m tools.bench_split --only mlp-mnist-b10

Both sides take turns in this process, on one thread, and only its own CPU time counts: what else
the machine does lengthens it less than the time on the wall. Images are random, since no value of
them decides how long a step takes. Exit code 1: a ratio is above the bar.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import typer
from torch import Tensor

from p2pgan.config import TrainConfig
from p2pgan.gan.adam import Adam
from p2pgan.gan.blocks import Batch, Critics, DiscriminatorStep, Game, Judged
from p2pgan.gan.cohort import Cohort, Inputs, mean_losses
from p2pgan.gan.latents import LatentSource, LatentStreams
from p2pgan.gan.losses import loss
from p2pgan.gan.models import Model, model
from p2pgan.gan.networks import Network
from p2pgan.gan.plan import Machine
from p2pgan.gan.players import Player
from p2pgan.gan.split import Fakes, criticise
from p2pgan.seeds import EVERYONE, Purpose, stream
from tools.bench_counts import criticism, iteration
from tools.bench_workloads import chosen

BAR = 0.6
"""Largest ratio that is asked for."""

ROUND = 20
"""Iterations of a round; both sides sum their losses up at its end."""

SEED = 0

Train = Callable[[], None]
"""Trains a round."""


@dataclass(frozen=True)
class Workload:
    """Models and a batch size."""

    model: str
    batch: int

    @property
    def name(self) -> str:
        return f"{self.model}-b{self.batch}"


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("mlp-digits", 16),
        Workload("mlp-mnist", 10),
        Workload("mlp-mnist", 100),
        Workload("cnn-mnist", 10),
    )
}


@dataclass(frozen=True)
class Cost:
    """What was measured of a workload: CPU seconds per iteration, a pair for each repetition."""

    workload: Workload
    pairs: Sequence[tuple[float, float]]
    """MD-GAN's worker, FL-GAN's node."""

    @property
    def ratios(self) -> list[float]:
        """Of each repetition, ascending."""
        return sorted(worker / node for worker, node in self.pairs)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def expected(self) -> float:
        """The ratio of the floating-point operations, Adam's left out."""
        pair = model(self.workload.model)
        parts = [count(pair, self.workload.batch) for count in (criticism, iteration)]
        return parts[0].flops / parts[1].flops

    def row(self) -> str:
        """A line of the table."""
        worker, node = (1e3 * statistics.median(side) for side in zip(*self.pairs, strict=True))
        spread = f"{self.ratios[0]:.2f} to {self.ratios[-1]:.2f}"
        sizes = f"`{self.workload.model}` | {self.workload.batch}"
        costs = f"{worker:.3g} | {node:.3g} | {self.ratio:.2f} | {spread} | {self.expected:.2f}"
        return f"| {sizes} | {costs} |"


HEAD = """| model | b | MD-GAN worker, ms | FL-GAN node, ms | ratio | from … to | by FLOPs |
| --- | --- | --- | --- | --- | --- | --- |"""


def images(pair: Model, batch: int) -> Tensor:
    """Images of one node, `(1, B, C, H, W)`."""
    shape = (1, batch, *pair.image_shape)
    values = stream(SEED, EVERYONE, "sample").uniform(-1, 1, shape).astype("f")
    return torch.from_numpy(values)


def row(network: Network) -> Tensor:
    """A network at its start, `(1, P)`."""
    rng = stream(SEED, EVERYONE, "initial-weights")
    return network.initial_vector(rng, "he")[None].clone()


def federated_node(workload: Workload) -> Train:
    """A node of FL-GAN: between two exchanges, a cohort of one."""
    pair = model(workload.model)
    labels_NB = torch.zeros(1, workload.batch, dtype=torch.int64)
    real = Batch(images(pair, workload.batch), labels_NB)

    def batches(nodes: Sequence[int], count: int) -> Iterator[Batch]:
        return iter([real] * count)

    purposes: tuple[Purpose, ...] = ("latents", "labels", "proportions")
    streams = LatentStreams(*(stream(SEED, "0", purpose) for purpose in purposes))
    cohort = Cohort(
        pair,
        TrainConfig(),
        {net: row(network) for net, network in pair.networks.items()},
        Inputs(batches, LatentSource([streams], pair.latent), workload.batch),
        Machine(threads=1),
    )

    def train() -> None:
        cohort.train(ROUND)

    return train


def split_worker(workload: Workload) -> Train:
    """A worker of MD-GAN: a discriminator with its moments, on batches that it is given."""
    pair, config = model(workload.model), TrainConfig()
    labels_NB = torch.zeros(1, workload.batch, dtype=torch.int64)
    own = images(pair, workload.batch)
    real, learnt, judged = Batch(own, labels_NB), Fakes(-own, labels_NB), Fakes(own, labels_NB)
    vector_1P = row(pair.discriminator)
    row_1E = torch.cat([vector_1P, torch.zeros(1, 2 * vector_1P.shape[1])], 1)
    adam = Adam(pair.learning_rate, config.beta1, config.beta2)
    player = Player(pair.discriminator, row_1E, adam)
    player.load()
    game = Game(loss(config.loss), config.gradient_penalty, 1, conditional=False)
    critics = Critics(game, player)

    def train() -> None:
        steps: list[DiscriminatorStep] = []
        seen: list[Judged] = []
        with torch.inference_mode():
            for _ in range(ROUND):
                result = criticise(critics, real, learnt, judged, iter(()))
                steps += result.steps
                seen.append(result.judged)
            mean_losses(game, steps, seen)

    return train


def cost_s(train: Train, seconds: float) -> float:
    """CPU seconds of an iteration, over at least so many."""
    begin_s, rounds = time.process_time(), 0
    while rounds == 0 or time.process_time() - begin_s < seconds:
        train()
        rounds += 1
    return (time.process_time() - begin_s) / (rounds * ROUND)


def measure(workload: Workload, repeats: int, seconds: float) -> Cost:
    """Both sides in turn, after a round of each to warm up."""
    sides = [split_worker(workload), federated_node(workload)]
    for train in sides:
        train()
    pairs = [tuple(cost_s(train, seconds) for train in sides) for _ in range(repeats)]
    return Cost(workload, [(worker, node) for worker, node in pairs])


app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def bench(
    only: Annotated[str, typer.Option(help="Workloads, by name.  [default: all]")] = "",
    repeats: Annotated[int, typer.Option(help="Samples of each side.", min=1)] = 9,
    seconds: Annotated[float, typer.Option(help="CPU seconds of a sample, at least.", min=0)] = 0.5,
) -> None:
    """Measures and prints the table."""
    workloads = chosen(only, WORKLOADS)
    torch.set_num_threads(1)
    print(HEAD)
    is_met = True
    for workload in workloads:
        cost = measure(workload, repeats, seconds)
        print(cost.row(), flush=True)
        is_met &= cost.ratio <= BAR
    sys.exit(0 if is_met else 1)


if __name__ == "__main__":
    app(prog_name="tools.bench_split")
