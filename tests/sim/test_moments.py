"""What becomes of Adam's moments at an exchange, against one node after the other by hand.

The reference steps with one `torch.optim.Adam` per network, on gradients by autograd, and at an
exchange averages weights, and moments if they travel, or clears the optimiser's state.
"""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from p2pgan.config import EngineConfig, ExchangeConfig, RunConfig, TrainConfig
from p2pgan.experiment import Experiment, prepare
from p2pgan.gan.checkpoint import load
from p2pgan.gan.models import model
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim import crew
from p2pgan.sim.run import Finished
from p2pgan.types import NETS, Net

Simulate = Callable[..., Finished]
RoomOf = Callable[[int], Any]

PAIR = model("mlp-digits")
NODES, ROUNDS, EVERY = 4, 3, 4

SETTINGS: dict[str, Any] = {"nodes": NODES, "iterations": ROUNDS * EVERY, "exchange_every": EVERY}

TOLERANCE = 1e-6
"""Root mean square over a network, float32 against float64. Steps are 1e-3. (The largest difference
says less: after a reset a step goes by the sign alone, also of a gradient that is all rounding.)"""


def settings_of(algorithm: str, moments: Any) -> dict[str, Any]:
    return SETTINGS | {"algorithm": algorithm, "exchange": ExchangeConfig(moments=moments)}


def distance(one_P: Tensor, other_P: Tensor) -> float:
    return float((one_P - other_P).square().mean().sqrt())


class ByHand:
    """A node's networks and optimisers."""

    def __init__(self, experiment: Experiment) -> None:
        start = experiment.initial_rows(1)
        train = experiment.config.train
        self.leaves: dict[Net, list[Tensor]] = {}
        self.adam: dict[Net, torch.optim.Adam] = {}
        for net in NETS:
            network = PAIR.networks[net]
            views = network.views(start[net][:, : network.size].double())
            self.leaves[net] = [view.clone().requires_grad_() for view in views]
            self.adam[net] = torch.optim.Adam(
                self.leaves[net], PAIR.learning_rate, (train.beta1, train.beta2)
            )

    def judged(self, x_BCHW: Tensor) -> Tensor:
        return PAIR.discriminator.apply(self.leaves["D"], x_BCHW[None], training=True)[0, :, 0]

    def generated(self, z_BZ: Tensor) -> Tensor:
        return PAIR.generator.apply(self.leaves["G"], z_BZ[None], training=True)[0]

    def step(self, net: Net, loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, self.leaves[net])
        for leaf, gradient in zip(self.leaves[net], gradients, strict=True):
            leaf.grad = gradient
        self.adam[net].step()

    def state(self, net: Net, *, moments: bool) -> list[Tensor]:
        """What is averaged."""
        kept = [self.adam[net].state[leaf] for leaf in self.leaves[net]]
        names = ("exp_avg", "exp_avg_sq") if moments else ()
        return [
            *(leaf.detach() for leaf in self.leaves[net]),
            *(one[name] for name in names for one in kept),
        ]

    def vector(self, net: Net) -> Tensor:
        return torch.cat([leaf.detach().flatten() for leaf in self.leaves[net]])


@cache
def by_hand(algorithm: str, moments: Any) -> list[ByHand]:
    """The whole run, node by node."""
    config = RunConfig(**settings_of(algorithm, moments), device="cpu")
    experiment = prepare(config, Path())
    inputs, own = experiment._inputs(experiment.nodes), range(NODES)
    nodes = [ByHand(experiment) for _ in own]
    draw = experiment.algorithm.draw(config.exchange, lockstep=True)
    rng = stream(config.seed, EVERYONE, "draws")
    for _ in range(ROUNDS):
        real = inputs.batches(own, EVERY)
        latents = inputs.latents.draws(own, 2 * EVERY, inputs.batch)
        for batch in real:
            z_NBZ = next(latents).z_NBZ.double()
            for node, x, z in zip(nodes, batch.images.double(), z_NBZ, strict=True):
                fake = node.generated(z).detach()
                node.step(
                    "D", softplus(-node.judged(x)).mean() + softplus(node.judged(fake)).mean()
                )
            for node, z in zip(nodes, next(latents).z_NBZ.double(), strict=True):
                node.step("G", softplus(-node.judged(node.generated(z))).mean())
        for group in experiment.algorithm.groups:
            arrivals = draw(experiment.overlay.neighbor_indices(), rng)
            for net in group:
                exchange(nodes, net, arrivals, config.exchange.moments)
    return nodes


def exchange(nodes: list[ByHand], net: Net, arrivals: Any, moments: str) -> None:
    states = [node.state(net, moments=moments == "travel") for node in nodes]
    before = [[tensor.clone() for tensor in state] for state in states]
    for index, sources in enumerate(arrivals):
        heard = [before[i] for i in {index, *sources}]
        for tensor, *others in zip(states[index], *heard, strict=True):
            tensor.copy_(torch.stack(others).mean(0))
    if moments == "reset":
        for node in nodes:
            node.adam[net].state.clear()


@pytest.mark.parametrize("algorithm", ["gossip", "gossip-ind", "fl-gan"])
@pytest.mark.parametrize("moments", ["stay", "reset", "travel"])
@pytest.mark.parametrize("engine", ["blocks", "crew", "ranks"])
def test_the_engine_is_one_node_after_the_other(
    simulated: Simulate,
    room: RoomOf,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    moments: Any,
    engine: str,
) -> None:
    settings = settings_of(algorithm, moments)
    if engine == "blocks":
        finished = simulated(engine=EngineConfig(block_nodes=3), **settings)
    elif engine == "ranks":
        finished = room(2).run(lambda ranks: simulated(ranks=ranks, **settings))[0]
    elif sys.platform.startswith("linux"):
        monkeypatch.setattr(crew, "workers", lambda *_: 2)
        finished = simulated(**settings)
    else:
        pytest.skip("no forks here")
    for index, node in enumerate(by_hand(algorithm, moments)):
        saved = load(finished.directory.checkpoint(str(index)), PAIR).vectors
        for net in NETS:
            assert distance(saved[net], node.vector(net)) < TOLERANCE


@pytest.mark.parametrize("one", ["stay", "reset"])
def test_the_three_ways_differ_by_far_more_than_the_tolerance(one: Any) -> None:
    for mine, other in zip(by_hand("gossip", one), by_hand("gossip", "travel"), strict=True):
        assert distance(mine.vector("G"), other.vector("G")) > 50 * TOLERANCE


@pytest.mark.parametrize("algorithm", ["gossip", "gossip-ind", "fl-gan"])
def test_moments_that_travel_are_three_times_the_traffic(
    simulated: Simulate, algorithm: str
) -> None:
    def traffic(moments: Any) -> dict[str, Any]:
        exchange = ExchangeConfig(moments=moments, fixed_points=False)
        finished = simulated(moments, algorithm=algorithm, exchange=exchange)
        told: dict[str, Any] = finished.summary["traffic"]
        return told

    stay, reset, travel = map(traffic, ("stay", "reset", "travel"))
    assert stay == reset
    assert travel["messages"] == stay["messages"] > 0
    assert travel["bytes_total"] == 3 * stay["bytes_total"]
    assert travel["bytes_per_node"] == 3 * stay["bytes_per_node"]


def test_ranks_exchange_moments_too(room: RoomOf, simulated: Simulate) -> None:
    """A coordinator's mean is one vector of each network from rank to rank and round."""
    sent = {}
    for moments in ("stay", "travel"):
        here = room(2)
        exchange = ExchangeConfig(moments=moments)
        here.run(
            lambda ranks, e=exchange, m=moments: simulated(
                m, ranks=ranks, algorithm="fl-gan", exchange=e
            )
        )
        sent[moments] = here.sent[0, 1]
    size = sum(PAIR.networks[net].size for net in NETS)
    assert sent["stay"] == 4 * size
    assert sent["travel"] == 4 * 3 * size


@pytest.mark.parametrize("algorithm", ["standalone", "centralised"])
@pytest.mark.parametrize("moments", ["reset", "travel"])
def test_where_nothing_is_exchanged_moments_stay(
    simulated: Simulate, algorithm: str, moments: Any
) -> None:
    def saved(name: str, **settings: Any) -> Any:
        finished = simulated(name, algorithm=algorithm, **settings)
        return load(finished.directory.checkpoint("0"), PAIR).vectors

    plain, other = saved("plain"), saved("other", exchange=ExchangeConfig(moments=moments))
    assert all(torch.equal(plain[net], other[net]) for net in NETS)


def test_ranks_collect_running_means_too(simulated: Simulate, room: RoomOf) -> None:
    """One process or two, what is saved and scored is the same up to rounding."""
    settings: dict[str, Any] = {
        "algorithm": "fl-gan",
        "train": TrainConfig(ema=0.9),
        "exchange": ExchangeConfig(moments="travel"),
        "iterations": 10,
    }
    alone = simulated("alone", **settings)
    shared = room(2).run(lambda ranks: simulated("shared", ranks=ranks, **settings))[0]
    for node in "012":
        one, other = (
            load(finished.directory.checkpoint(node), PAIR).ema for finished in (alone, shared)
        )
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    assert alone.summary["scores"]["fid"] == pytest.approx(
        shared.summary["scores"]["fid"], rel=0.01
    )


def test_scores_and_consensus_look_at_weights_alone(simulated: Simulate) -> None:
    """After one round of everybody's mean, weights agree; what is scored is a network."""
    travel = ExchangeConfig(moments="travel")
    finished = simulated(algorithm="fl-gan", exchange=travel, iterations=10)
    plain = simulated("plain", algorithm="fl-gan", iterations=10)
    assert finished.summary["consensus"] == plain.summary["consensus"]
    assert finished.summary["scores"] == plain.summary["scores"]
