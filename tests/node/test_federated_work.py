"""FL-GAN's two sides on real networks."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from p2pgan.config import ExchangeConfig, FederatedConfig, RunConfig, ScoreConfig
from p2pgan.experiment import Experiment, prepare
from p2pgan.gan.checkpoint import load
from p2pgan.mixing.rules import mix, mixing_rows
from p2pgan.node.federated_work import ModelWork, UpdateWork
from p2pgan.node.kept import Resumption, Sealed
from p2pgan.protocol.chunks import Arrival
from p2pgan.types import NETS
from tests.node.seats import seat_of

CONFIG = RunConfig(
    algorithm="fl-gan",
    nodes=3,
    iterations=12,
    exchange_every=4,
    device="cpu",
    score=ScoreConfig(samples=50),
)


def experiment_of(tmp_path: Path, **changes: Any) -> Experiment:
    return prepare(msgspec.structs.replace(CONFIG, **changes), tmp_path)


def arrival(peer: str, data: bytes) -> Arrival:
    return Arrival(peer=peer, exchange=f"{peer}.1", nets=NETS, round=1, data=data)


def model_of(coordinator: ModelWork) -> bytes:
    snapshot = coordinator.snapshot()
    return b"".join(snapshot[net] for net in NETS)


def floats(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype="<f4")


class Team:
    """A coordinator and all workers, without what lies between them."""

    def __init__(self, experiment: Experiment, tmp_path: Path) -> None:
        self.experiment = experiment
        self.path = tmp_path / "coordinator" / "checkpoint.safetensors"
        self.coordinator = ModelWork(experiment, seat_of("coordinator", self.path))
        self.workers = {
            node: UpdateWork(experiment, seat_of(node, tmp_path / node))
            for node in experiment.nodes
        }

    def play_round(self, iterations: int = 4) -> Any:
        model, updates = model_of(self.coordinator), []
        for node, worker in self.workers.items():
            worker.adopt(arrival("coordinator", model))
            worker.train(iterations)
            data, images = worker.pack()
            assert images == len(self.experiment.shards[node])
            updates.append(arrival(node, data))
        return self.coordinator.average(updates)


@pytest.mark.parametrize("send", ["weights", "deltas"])
@pytest.mark.parametrize("moments", ["stay", "travel", "reset"])
def test_rounds_are_those_of_lockstep(tmp_path: Path, send: Any, moments: Any) -> None:
    """Everybody trains and takes the mean, whatever is sent."""
    experiment = experiment_of(
        tmp_path,
        fl=FederatedConfig(send=send, weighting="uniform"),
        exchange=ExchangeConfig(moments=moments),
    )
    team, cohort = Team(experiment, tmp_path), experiment.cohort(experiment.nodes)
    for _ in range(3):
        team.play_round()
        if moments == "reset":
            cohort.forget()
        cohort.train(4)
        for net in NETS:
            mix(mixing_rows([range(3)] * 3), cohort.exchanged[net])
    for net in NETS:
        mean = cohort.exchanged[net][0].numpy()
        np.testing.assert_allclose(
            floats(team.coordinator.snapshot()[net]), mean, rtol=1e-3, atol=2e-5
        )


def test_weights_follow_from_the_shards(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, partition="quantity:1.0")
    weights = Team(experiment, tmp_path).play_round(1)
    sizes = {node: len(shard) for node, shard in experiment.shards.items()}
    assert len({*sizes.values()}) > 1
    for node in experiment.nodes:
        assert weights[f"{node}.1"] == pytest.approx(sizes[node] / sum(sizes.values()))


def test_a_round_that_was_cut_short_does_not_spoil_the_next(tmp_path: Path) -> None:
    """A worker that is late drops what it trained, and takes the newer model."""
    experiment = experiment_of(tmp_path, exchange=ExchangeConfig(moments="reset"))
    team = Team(experiment, tmp_path)
    worker = team.workers["0"]
    worker.adopt(arrival("coordinator", model_of(team.coordinator)))
    worker.train(3)
    team.play_round()
    team.play_round()


@pytest.mark.parametrize("moments", ["stay", "travel"])
def test_a_coordinator_goes_on_where_it_was_saved(tmp_path: Path, moments: Any) -> None:
    experiment = experiment_of(
        tmp_path, fl=FederatedConfig(momentum=0.5), exchange=ExchangeConfig(moments=moments)
    )
    team = Team(experiment, tmp_path)
    team.play_round()
    path = team.coordinator.save(Sealed(machine=b"where", draws=()).encode())
    saved = Resumption.read(path, experiment.model)
    assert saved.sealed.machine == b"where"
    assert saved.checkpoint.iterations == 4
    again = ModelWork(experiment, seat_of("coordinator", path, saved))
    assert model_of(again) == model_of(team.coordinator)
    updates = [arrival("1", model_of(again))]
    assert team.coordinator.average(updates) == again.average(updates) == {"1.1": 1.0}
    assert model_of(again) == model_of(team.coordinator)
    assert model_of(again) != updates[0].data, "it has momentum"


def test_the_coordinator_scores_and_saves_its_own_generator(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path)
    team = Team(experiment, tmp_path)
    team.play_round()
    scores = team.coordinator.score()
    assert (scores.samples, scores.fid > 0) == (50, True)
    saved = load(team.coordinator.save(b""), experiment.model)
    assert saved.node == "coordinator"
    assert saved.generator.numpy().tobytes() == team.coordinator.snapshot()["G"]


def test_negative_second_moments_of_a_worker_do_no_harm(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, exchange=ExchangeConfig(moments="travel"))
    team = Team(experiment, tmp_path)
    hostile = np.full(len(floats(model_of(team.coordinator))), -1.0, dtype="<f4").tobytes()
    team.coordinator.average([arrival("0", hostile)])
    for net in NETS:
        size = experiment.model.networks[net].size
        vector = floats(team.coordinator.snapshot()[net])
        assert (vector[: 2 * size] == -1).all()
        assert (vector[2 * size :] == 0).all()
