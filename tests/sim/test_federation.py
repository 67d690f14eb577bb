"""FL-GAN of some or all workers, against one node after the other and numpy in float64."""

import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from p2pgan.config import ExchangeConfig, FederatedConfig, RunConfig, TrainConfig
from p2pgan.experiment import Experiment, ShardBatches, prepare
from p2pgan.gan.checkpoint import load
from p2pgan.gan.models import model
from p2pgan.record.reader import read
from p2pgan.record.schema import NodeStopped, RoundFinished, Scores, VectorMixed, VectorSent
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim import crew
from p2pgan.sim.lockstep import Lockstep
from p2pgan.sim.run import Finished
from p2pgan.types import NETS, Net

Simulate = Callable[..., Finished]
RoomOf = Callable[[int], Any]

PAIR = model("mlp-digits")
NODES, ROUNDS, EVERY = 5, 4, 3

SETTINGS: dict[str, Any] = {
    "algorithm": "fl-gan",
    "nodes": NODES,
    "iterations": ROUNDS * EVERY,
    "exchange_every": EVERY,
    "partition": "quantity:1.0",
    "seed": 2,
}

TOLERANCE = 1e-6
"""Root mean square over a network: the mean of float32 in another order. Steps are 1e-3."""

Case = tuple[float, str, float, str]
"""Fraction, weighting, momentum, and what becomes of Adam's moments."""

CASES: list[Case] = [
    (0.6, "samples", 0.0, "stay"),
    (0.6, "samples", 0.7, "travel"),
    (0.4, "uniform", 0.7, "stay"),
    (0.01, "samples", 0.0, "reset"),
    (1.0, "samples", 0.5, "stay"),
]


def settings_of(case: Case) -> dict[str, Any]:
    fraction, weighting, momentum, moments = case
    fl: Any = {"fraction": fraction, "weighting": weighting, "momentum": momentum}
    exchange: Any = {"moments": moments}
    return SETTINGS | {"fl": FederatedConfig(**fl), "exchange": ExchangeConfig(**exchange)}


def chosen_rounds(fraction: float, rounds: int = ROUNDS) -> list[list[int]]:
    """The selection by its definition."""
    rng = stream(SETTINGS["seed"], EVERYONE, "selection")
    number = max(1, round(fraction * NODES))
    return [sorted(rng.choice(NODES, number, replace=False).tolist()) for _ in range(rounds)]


@cache
def experiment_of(case: Case) -> Experiment:
    return prepare(RunConfig(**settings_of(case), device="cpu"), Path())


@cache
def by_hand(case: Case) -> dict[Net, np.ndarray]:
    """The coordinator's networks at the end, with the workers as cohorts of one."""
    fraction, weighting, momentum, moments = case
    experiment = experiment_of(case)
    workers = [experiment.cohort([node], threads=1) for node in experiment.nodes]
    sizes = np.array([float(len(experiment.shards[node])) for node in experiment.nodes])
    held = {net: workers[0].exchanged[net][0].double().numpy().copy() for net in NETS}
    velocity = {net: np.zeros(PAIR.networks[net].size) for net in NETS}
    for chosen in chosen_rounds(fraction):
        weights = sizes[chosen] if weighting == "samples" else np.ones(len(chosen))
        weights = weights / weights.sum()
        for index in chosen:
            if moments == "reset":
                workers[index].forget()
            workers[index].train(EVERY)
        for net in NETS:
            size = PAIR.networks[net].size
            came = [workers[index].exchanged[net][0].double().numpy() for index in chosen]
            mean = sum(w * vector for w, vector in zip(weights, came, strict=True))
            velocity[net] = momentum * velocity[net] + mean[:size] - held[net][:size]
            held[net] = np.concatenate([held[net][:size] + velocity[net], mean[size:]])
            for worker in workers:
                worker.exchanged[net][0] = torch.from_numpy(held[net]).float()
    return {net: held[net][: PAIR.networks[net].size] for net in NETS}


def saved(finished: Finished, node: int) -> dict[Net, Tensor]:
    vectors = load(finished.directory.checkpoint(str(node)), PAIR).vectors
    return {net: vectors[net] for net in NETS}


def bodies(finished: Finished, kind: type[Any]) -> list[tuple[str, Any]]:
    records = read(finished.directory.events)
    return [(record.node, record.body) for record in records if type(record.body) is kind]


def run_with(engine: str, simulated: Simulate, room: RoomOf, **settings: Any) -> Finished:
    """One run by one process, by forks or by ranks."""
    if engine == "ranks":
        finished: Finished = room(2).run(lambda ranks: simulated(ranks=ranks, **settings))[0]
        return finished
    return simulated(**settings)


@pytest.mark.parametrize("engine", ["alone", "crew", "ranks"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_engine_is_one_worker_after_the_other(
    simulated: Simulate,
    room: RoomOf,
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
    engine: str,
) -> None:
    if engine == "crew":
        if not sys.platform.startswith("linux"):
            pytest.skip("no forks here")
        monkeypatch.setattr(crew, "workers", lambda *_: 2)
    finished = run_with(engine, simulated, room, **settings_of(case))
    wanted = by_hand(case)
    for node in range(NODES):
        for net, vector_P in saved(finished, node).items():
            difference = vector_P.double().numpy() - wanted[net]
            assert np.sqrt((difference**2).mean()) < TOLERANCE


def test_the_cases_differ_by_far_more_than_the_tolerance() -> None:
    for i, one in enumerate(CASES):
        for other in CASES[:i]:
            difference = by_hand(one)["G"] - by_hand(other)["G"]
            assert np.sqrt((difference**2).mean()) > 50 * TOLERANCE


def test_shards_of_the_cases_are_unequal() -> None:
    sizes = [len(shard) for shard in experiment_of(CASES[0]).shards.values()]
    assert max(sizes) > 2 * min(sizes)


def test_two_runs_of_one_seed_are_the_same_to_the_bit(simulated: Simulate) -> None:
    one, other = (simulated(name, **settings_of(CASES[1])) for name in ("one", "other"))
    assert all(torch.equal(saved(one, 0)[net], saved(other, 0)[net]) for net in NETS)
    assert one.summary["scores"] == other.summary["scores"]


def test_all_with_equal_shards_are_the_uniform_mean_to_the_bit(simulated: Simulate) -> None:
    """1,600 images over 5 nodes: 320 each."""
    settings = SETTINGS | {"partition": "iid"}
    by_samples = simulated("samples", **settings, fl=FederatedConfig(weighting="samples"))
    uniform = simulated("uniform", **settings, fl=FederatedConfig(weighting="uniform"))
    assert all(torch.equal(saved(by_samples, 3)[net], saved(uniform, 3)[net]) for net in NETS)


def test_what_is_sent_makes_no_difference_in_lockstep(simulated: Simulate) -> None:
    one, other = (
        simulated(send, **SETTINGS, fl=FederatedConfig(send=send, fraction=0.5))
        for send in ("weights", "deltas")
    )
    assert all(torch.equal(saved(one, 0)[net], saved(other, 0)[net]) for net in NETS)
    assert one.summary["traffic"] == other.summary["traffic"]


def test_traffic_is_that_of_the_selected(simulated: Simulate) -> None:
    """The model to each of them, and its update back."""
    case = CASES[0]
    finished, chosen = simulated(**settings_of(case)), chosen_rounds(case[0])
    each = 4 * sum(PAIR.networks[net].size for net in NETS)
    traffic = finished.summary["traffic"]
    assert traffic["messages"] == 2 * sum(map(len, chosen)) == 2 * 3 * ROUNDS
    assert traffic["bytes_total"] == traffic["messages"] * each
    ways = [(body.round, node, body.peer) for node, body in bodies(finished, VectorSent)]
    assert ways == [
        way
        for round_, nodes in enumerate(chosen, 1)
        for way in (
            *[(round_, "coordinator", str(node)) for node in nodes],
            *[(round_, str(node), "coordinator") for node in nodes],
        )
    ]


def test_weights_of_the_selected_are_on_record(simulated: Simulate) -> None:
    case = CASES[0]
    finished, experiment = simulated(**settings_of(case)), experiment_of(case)
    mixed = [
        (body.round, body.peer, body.weight)
        for node, body in bodies(finished, VectorMixed)
        if node == "coordinator"
    ]
    wanted = []
    for round_, nodes in enumerate(chosen_rounds(case[0]), 1):
        sizes = [len(experiment.shards[str(node)]) for node in nodes]
        wanted += [
            (round_, str(node), size / sum(sizes)) for node, size in zip(nodes, sizes, strict=True)
        ]
    assert mixed == wanted


def test_who_stood_still_finished_no_round(simulated: Simulate) -> None:
    """Iterations are the node's own; scores belong to the networks that all of them hold."""
    case = CASES[0]
    finished, chosen = simulated(**settings_of(case)), chosen_rounds(case[0])
    told = [
        (body.round, int(node), body.iterations) for node, body in bodies(finished, RoundFinished)
    ]
    made, wanted = Counter[int](), []
    for round_, nodes in enumerate(chosen, 1):
        for node in nodes:
            made[node] += EVERY
            wanted.append((round_, node, made[node]))
    assert told == wanted
    stopped = {int(node): body for node, body in bodies(finished, NodeStopped)}
    assert {node: body.iterations for node, body in stopped.items()} == {
        node: made[node] for node in range(NODES)
    }
    assert {body.rounds for body in stopped.values()} == {ROUNDS}
    scored = {body.iterations for _, body in bodies(finished, Scores)}
    assert scored == {2 * EVERY, 4 * EVERY}
    assert finished.summary["iterations"] == ROUNDS * EVERY
    assert finished.summary["consensus"] == {"g": 0, "d": 0}
    losses = [body.loss_d for _, body in bodies(finished, RoundFinished)]
    assert np.isfinite(losses).all()


def test_speed_counts_the_iterations_that_were_made(simulated: Simulate) -> None:
    finished = simulated(**settings_of(CASES[0]))
    speed = finished.summary["speed"]
    busy_s = speed["train_s"] + speed["exchange_s"]
    assert speed["node_iterations_per_s"] * busy_s == pytest.approx(3 * ROUNDS * EVERY)


def test_who_stands_still_draws_nothing(
    simulated: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither images nor latents, so that a worker's streams do not depend on the others."""
    taken: Counter[int] = Counter()
    usual = ShardBatches.__call__

    def counted(self: ShardBatches, nodes: range, count: int) -> Any:
        taken.update(dict.fromkeys(nodes, count))
        return usual(self, nodes, count)

    monkeypatch.setattr(ShardBatches, "__call__", counted)
    case = CASES[0]
    simulated(**settings_of(case))
    wanted = Counter(node for nodes in chosen_rounds(case[0]) for node in nodes)
    assert taken == {node: rounds * EVERY for node, rounds in wanted.items()}


def test_all_of_a_few_are_all(simulated: Simulate) -> None:
    """0.99 of 5 is 5: with the records of a whole round, the mean sent back at its end."""
    whole = simulated("whole", **SETTINGS)
    nearly = simulated("nearly", **SETTINGS, fl=FederatedConfig(fraction=0.99))
    assert all(torch.equal(saved(whole, 0)[net], saved(nearly, 0)[net]) for net in NETS)
    told = [
        [(node, body.peer) for node, body in bodies(finished, VectorSent)]
        for finished in (whole, nearly)
    ]
    assert told[0] == told[1]
    assert told[0][:6] == [*[(str(i), "coordinator") for i in range(5)], ("coordinator", "0")]


def test_running_means_of_the_idle_stay_where_they_were(simulated: Simulate) -> None:
    settings = SETTINGS | {"iterations": EVERY, "train": TrainConfig(ema=0.9)}
    finished = simulated(**settings, fl=FederatedConfig(fraction=0.6))
    [chosen] = chosen_rounds(0.6, rounds=1)
    start = prepare(RunConfig(**settings, device="cpu"), Path()).initial_rows(1)["G"][0]
    for node in range(NODES):
        mean_P = load(finished.directory.checkpoint(str(node)), PAIR).ema
        assert mean_P is not None
        stayed = torch.equal(mean_P, start[: len(mean_P)])
        assert stayed == (node not in chosen)


@pytest.mark.parametrize("final", ["average", "agree"])
def test_a_last_step_after_rounds_of_some(simulated: Simulate, final: str) -> None:
    """Running means differ, so there is one; all take part in it, and weigh the same."""
    settings = SETTINGS | {"train": TrainConfig(ema=0.9), "final": final, "partition": "iid"}
    finished = simulated(**settings, fl=FederatedConfig(fraction=0.6, momentum=0.5))
    assert finished.summary["consensus"]["g"] == pytest.approx(0, abs=1e-5)
    last = [body for _, body in bodies(finished, VectorSent) if body.round > ROUNDS]
    assert last
    if final == "average":
        assert finished.summary["final"]["rounds"] == 1
        assert len(last) == 2 * NODES


def test_an_interrupted_run_says_what_was_made(simulated: Simulate) -> None:
    def stop(simulation: Lockstep) -> None:
        if simulation.round == 2:
            raise KeyboardInterrupt

    case = CASES[0]
    finished = simulated(on_round=stop, **settings_of(case))
    made = {int(node): body.iterations for node, body in bodies(finished, NodeStopped)}
    wanted = Counter(node for nodes in chosen_rounds(case[0])[:2] for node in nodes)
    assert made == {node: EVERY * wanted[node] for node in range(NODES)}
