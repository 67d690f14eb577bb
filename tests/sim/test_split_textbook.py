"""MD-GAN in lockstep against the thesis's algorithms, written out with torch's own modules."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from p2pgan.config import RunConfig
from p2pgan.config import SplitConfig as Split
from p2pgan.config import TrainConfig as Train
from p2pgan.experiment import prepare
from p2pgan.gan.checkpoint import Checkpoint, load
from p2pgan.gan.models import model
from p2pgan.mixing.moves import first_places, moved
from p2pgan.parties import Parties
from p2pgan.record import schema
from p2pgan.record.reader import read
from p2pgan.seeds import stream
from p2pgan.sim.run import Finished

Simulate = Callable[..., Finished]

COORDINATOR = "coordinator"

PAIR = model("mlp-digits")
THETA = PAIR.discriminator.size
B = PAIR.batch_size


def bodies(finished: Finished, kind: type[Any]) -> list[tuple[str, Any]]:
    """Node and body of every record of a kind."""
    records = read(finished.directory.events)
    return [(record.node, record.body) for record in records if type(record.body) is kind]


def saved(finished: Finished, node: str) -> Checkpoint:
    return load(finished.directory.checkpoint(node), PAIR)


def saved_workers(finished: Finished) -> list[str]:
    """Workers with a discriminator at the end."""
    folders = (finished.directory.path / "nodes").iterdir()
    return sorted(folder.name for folder in folders if folder.name != COORDINATOR)


def plain(*widths: int, last: list[nn.Module]) -> nn.Sequential:
    """A multilayer perceptron of torch's own modules, in float64."""
    modules: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        modules += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
    return nn.Sequential(*modules[:-1], *last).double()


def by_rows(parameter: Tensor) -> Tensor:
    """Torch's weights are `(outputs, inputs)`, ours the other way round."""
    return parameter.T if parameter.dim() == 2 else parameter


def fill(module: nn.Module, vector_P: Tensor) -> None:
    parameters = list(module.parameters())
    pieces = torch.split(vector_P, [parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, piece in zip(parameters, pieces, strict=True):
            by_rows(parameter).copy_(piece.view(by_rows(parameter).shape))


def flatten(module: nn.Module) -> Tensor:
    return torch.cat([by_rows(p.detach()).flatten() for p in module.parameters()])


class Textbook:
    """MD-GAN as the thesis describes it, one discriminator after the other, with torch's Adam.

    Of p2pgan it takes initial vectors, batches, latents and the draws of places and moves.
    """

    def __init__(self, **settings: Any) -> None:
        defaults: dict[str, Any] = {"algorithm": "md-gan", "nodes": 3, "device": "cpu"}
        config = RunConfig(**defaults | settings)
        self.parties = Parties(prepare(config, Path("no-data-needed")))
        self.config = self.parties.config
        self.workers = self.parties.experiment.nodes
        self.n, self.k = self.parties.discriminators, self.parties.batches
        self.draws = self.parties.draws()
        self.places = first_places(self.workers, self.n, self.draws)
        self.real = {worker: self._images(worker) for worker in self.workers}
        self.latents = stream(self.config.seed, COORDINATOR, "latents")
        self.g = plain(32, 128, 128, 64, last=[nn.Tanh()])
        fill(self.g, self.parties.generator_row()[0].double())
        self.ds = [plain(64, 128, 128, 1, last=[]) for _ in range(self.n)]
        for slot, d in enumerate(self.ds):
            fill(d, self.parties.discriminator_row(slot)[0, :THETA].double())
        self.adam_g = self._adam(self.g)
        self.adam_ds = [self._adam(d) for d in self.ds]
        self.losses: list[list[tuple[float, float]]] = []
        """For every iteration and discriminator, its loss and the generator's."""

    def train(self) -> None:
        for done in range(1, self.config.iterations + 1):
            self._iterate()
            is_round_over = done % self.parties.experiment.exchange_every == 0
            if is_round_over and self.config.md.moves and done < self.config.iterations:
                self.places = moved(self.places, self.workers, self.draws)
                if self.config.md.moments == "reset":
                    self.adam_ds = [self._adam(d) for d in self.ds]

    def _iterate(self) -> None:
        z_KBZ = torch.from_numpy(self.latents.standard_normal((self.k, B, 32), np.float32))
        batches = [self.g(z_BZ.double()) for z_BZ in z_KBZ]
        objective = torch.zeros((), dtype=torch.float64)
        losses = []
        for j in range(1, self.n + 1):
            judged = batches[(j % self.k + 1) - 1]
            learnt = batches[((j + 1) % self.k + 1) - 1]
            loss_d = self._learn(j - 1, learnt.detach())
            leaf = judged.detach().requires_grad_()
            loss_g = -logsigmoid(self.ds[j - 1](leaf)).mean()
            (feedback,) = torch.autograd.grad(loss_g, leaf)
            objective = objective + (feedback * judged).sum()  # its gradient is e_q dx_q / dλ
            losses.append((loss_d, float(loss_g.detach())))
        self.adam_g.zero_grad()
        torch.autograd.backward(objective / self.n)
        self.adam_g.step()
        self.losses.append(losses)

    def _learn(self, slot: int, learnt: Tensor) -> float:
        """L steps on the same two batches; the mean loss."""
        real = next(self.real[self.places[slot]])
        losses = []
        for _ in range(self.config.train.discriminator_steps):
            of_real, of_fake = self.ds[slot](real), self.ds[slot](learnt)
            loss = binary_cross_entropy_with_logits(of_real, torch.ones_like(of_real))
            loss = loss + binary_cross_entropy_with_logits(of_fake, torch.zeros_like(of_fake))
            self.adam_ds[slot].zero_grad()
            torch.autograd.backward(loss)
            self.adam_ds[slot].step()
            losses.append(float(loss.detach()))
        return sum(losses) / len(losses)

    def _images(self, worker: str) -> Iterator[Tensor]:
        batches = self.parties.real([worker])
        while True:
            yield next(batches(range(1), 1)).images[0].double()

    def _adam(self, module: nn.Module) -> torch.optim.Adam:
        betas = (self.config.train.beta1, self.config.train.beta2)
        return torch.optim.Adam(module.parameters(), PAIR.learning_rate, betas, foreach=False)


def assert_near(got_P: Tensor, wanted_P: Tensor) -> None:
    """Float32 against float64: to 1e-5, but for a few values with hardly a gradient."""
    difference_P = (got_P.double() - wanted_P).abs()
    assert (difference_P > 1e-5).double().mean() < 1e-3
    assert difference_P.max() < 1e-3


def check_textbook(split: Simulate, **settings: Any) -> Textbook:
    """Networks, places and losses of a run are those of the textbook."""
    defaults: dict[str, Any] = {"iterations": 9, "exchange_every": 3}
    textbook = Textbook(**defaults | settings)
    start = flatten(textbook.g)
    textbook.train()
    finished = split(**settings)
    assert_near(saved(finished, COORDINATOR).vectors["G"], flatten(textbook.g))
    assert (flatten(textbook.g) - start).abs().max() > 1e-3  # not a comparison of two starts
    assert saved_workers(finished) == sorted(textbook.places.values())
    for slot, worker in textbook.places.items():
        assert_near(saved(finished, worker).vectors["D"], flatten(textbook.ds[slot]))
    told = [(node, body) for node, body in bodies(finished, schema.RoundFinished)]
    wanted = np.array(textbook.losses)
    for round_ in range(3):
        means = wanted[3 * round_ : 3 * round_ + 3].mean(0)
        by_node = {node: body for node, body in told if body.round == round_ + 1}
        assert by_node.pop(COORDINATOR).loss_g == pytest.approx(means[:, 1].mean(), rel=1e-4)
        got = sorted((body.loss_d, body.loss_g) for body in by_node.values())
        np.testing.assert_allclose(got, sorted(map(tuple, means)), rtol=1e-4)
    return textbook


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_run_is_that_of_the_textbook(split: Simulate, k: int, steps: int) -> None:
    settings = {"md": Split(batches=k, moves=False), "train": Train(discriminator_steps=steps)}
    check_textbook(split, **settings)


@pytest.mark.parametrize("moments", ["travel", "reset"])
@pytest.mark.parametrize("workers", [3, 5])
def test_moves_are_those_of_the_textbook(split: Simulate, workers: int, moments: Any) -> None:
    """Everybody changes places, or idle workers get their turn; with their moments or without."""
    md = Split(discriminators=3, batches=2, moments=moments)
    check_textbook(split, nodes=workers, md=md)


def test_one_discriminator_on_all_the_data_is_a_plain_gan(split: Simulate) -> None:
    """But for the images: the generator's step is on those that the discriminator has just seen."""
    check_textbook(split, nodes=1)


def test_equal_discriminators_at_the_start(split: Simulate) -> None:
    check_textbook(split, md=Split(batches=3, initial="same"))
