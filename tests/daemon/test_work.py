"""The real networks behind a node: a cohort of one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.daemon.work import CohortWork
from p2pgan.experiment import Experiment, prepare
from p2pgan.gan.checkpoint import load
from p2pgan.protocol.chunks import Arrival
from p2pgan.types import NETS, Net


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    config = RunConfig(nodes=3, iterations=10, device="cpu", score=ScoreConfig(samples=50))
    return prepare(config, tmp_path_factory.mktemp("data"))


@pytest.fixture
def work(experiment: Experiment, tmp_path: Path) -> CohortWork:
    return CohortWork(experiment, "1", "run", tmp_path / "checkpoint.safetensors")


def numbers(work: CohortWork, net: Net) -> np.ndarray:
    return np.frombuffer(work.snapshot()[net], dtype="<f4")


def arrival(exchange: str, nets: tuple[Net, ...], *parts: np.ndarray) -> Arrival:
    data = b"".join(part.astype("<f4").tobytes() for part in parts)
    return Arrival(peer="0", exchange=exchange, nets=nets, round=1, data=data)


def test_a_snapshot_does_not_move_with_training(work: CohortWork) -> None:
    before = work.snapshot()
    kept = {net: bytes(data) for net, data in before.items()}
    loss_g, loss_d = work.train(3)
    assert np.isfinite([loss_g, loss_d]).all()
    assert before == kept
    assert all(work.snapshot()[net] != before[net] for net in NETS)


def test_slices_train_as_one_call_does(experiment: Experiment, tmp_path: Path) -> None:
    """The trainer may cut a round anywhere: batches and latents are the same."""
    whole, sliced = (CohortWork(experiment, "1", "run", tmp_path / name) for name in "ab")
    whole.train(6)
    for count in (1, 3, 2):
        sliced.train(count)
    assert whole.snapshot() == sliced.snapshot()


def test_mixing_is_the_uniform_mean_of_own_and_arrivals(work: CohortWork) -> None:
    own = {net: numbers(work, net).astype(np.float64) for net in NETS}
    rng = np.random.default_rng(0)
    others = [{net: rng.normal(size=own[net].size).astype("<f4") for net in NETS} for _ in "ab"]
    weights = work.mix(
        [arrival(f"x{i}", ("G", "D"), other["G"], other["D"]) for i, other in enumerate(others)]
    )
    assert weights == {"x0": pytest.approx(1 / 3), "x1": pytest.approx(1 / 3)}
    for net in NETS:
        mean = (own[net] + others[0][net] + others[1][net]) / 3
        np.testing.assert_allclose(numbers(work, net), mean, rtol=1e-5, atol=1e-6)


def test_groups_mix_each_its_own_network(work: CohortWork) -> None:
    own = {net: numbers(work, net).copy() for net in NETS}
    zeros = {net: np.zeros_like(own[net]) for net in NETS}
    weights = work.mix(
        [
            arrival("d1", ("D",), zeros["D"]),
            arrival("d2", ("D",), zeros["D"]),
            arrival("g", ("G",), zeros["G"]),
        ]
    )
    assert weights == {"d1": pytest.approx(1 / 3), "d2": pytest.approx(1 / 3), "g": 0.5}
    np.testing.assert_allclose(numbers(work, "D"), own["D"] / 3, rtol=1e-5)
    np.testing.assert_allclose(numbers(work, "G"), own["G"] / 2, rtol=1e-5)


def test_training_goes_on_after_mixing(work: CohortWork) -> None:
    """The networks compute with views into the mixed vector, which therefore must stay in place."""
    work.train(1)
    zeros = {net: np.zeros_like(numbers(work, net)) for net in NETS}
    for _ in range(40):
        work.mix([arrival("x", ("G", "D"), zeros["G"], zeros["D"])])
    assert np.abs(numbers(work, "G")).max() < 1e-9
    work.train(1)
    assert np.abs(numbers(work, "G")).max() > 1e-5


def test_scores_and_checkpoint(work: CohortWork, experiment: Experiment) -> None:
    work.train(2)
    scores = work.score()
    assert scores.samples == 50
    assert scores.fid > 0
    path = work.save()
    saved = load(path, experiment.model)
    assert (saved.node, saved.run, saved.iterations) == ("1", "run", 2)
    for net in NETS:
        assert torch.equal(saved.vectors[net], torch.from_numpy(numbers(work, net).copy()))
