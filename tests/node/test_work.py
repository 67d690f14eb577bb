"""The real networks behind a node: a cohort of one."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from p2pgan.config import EngineConfig, ExchangeConfig, RunConfig, ScoreConfig, TrainConfig
from p2pgan.errors import CheckpointError
from p2pgan.experiment import Experiment, prepare
from p2pgan.gan.checkpoint import load
from p2pgan.gan.memory import Memory
from p2pgan.mixing.rules import mix, mixing_rows
from p2pgan.node.kept import Resumption
from p2pgan.node.work import CohortWork, alone
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival
from p2pgan.types import NETS, Net
from tests.node.seats import SEALED, contents, seat_of


def daemon_work(experiment: Experiment, node: str, path: Path) -> CohortWork:
    return CohortWork(experiment, seat_of(node, path), alone(experiment, node))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    config = RunConfig(nodes=3, iterations=10, device="cpu", score=ScoreConfig(samples=50))
    return prepare(config, tmp_path_factory.mktemp("data"))


@pytest.fixture
def work(experiment: Experiment, tmp_path: Path) -> CohortWork:
    return daemon_work(experiment, "1", tmp_path / "checkpoint.safetensors")


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
    whole, sliced = (daemon_work(experiment, "1", tmp_path / name) for name in "ab")
    whole.train(6)
    for count in (1, 3, 2):
        sliced.train(count)
    assert whole.snapshot() == sliced.snapshot()


def test_mixing_is_the_uniform_mean_of_own_and_arrivals(work: CohortWork) -> None:
    own = {net: numbers(work, net).astype(np.float64) for net in NETS}
    rng = np.random.default_rng(0)
    others = [{net: rng.normal(size=own[net].size).astype("<f4") for net in NETS} for _ in "ab"]
    arrivals = [arrival(f"x{i}", NETS, other["G"], other["D"]) for i, other in enumerate(others)]
    weights = work.mix(do.Mix(arrivals=tuple(arrivals)))
    assert weights == {"x0": pytest.approx(1 / 3), "x1": pytest.approx(1 / 3)}
    for net in NETS:
        mean = (own[net] + others[0][net] + others[1][net]) / 3
        np.testing.assert_allclose(numbers(work, net), mean, rtol=1e-5, atol=1e-6)


def test_a_pair_is_judged_on_the_own_shard_and_changes_nothing(
    work: CohortWork, experiment: Experiment
) -> None:
    own = {net: numbers(work, net).copy() for net in NETS}
    pair = {net: 0.5 * own[net] for net in NETS}
    score = work.judge(arrival("x", NETS, pair["G"], pair["D"]))
    assert score == experiment.judge(torch.from_numpy(pair["G"]), "1")
    assert all((numbers(work, net) == own[net]).all() for net in NETS)


def test_an_adopted_pair_is_the_other_s_to_the_bit(work: CohortWork) -> None:
    pair = {net: 1.1 * numbers(work, net) for net in NETS}
    work.adopt(arrival("x", NETS, pair["G"], pair["D"]))
    for net in NETS:
        assert work.snapshot()[net] == pair[net].astype("<f4").tobytes()
    work.train(1)  # the networks still compute with views into the vector
    assert work.snapshot()["G"] != pair["G"].tobytes()


def test_groups_mix_each_its_own_network(work: CohortWork) -> None:
    own = {net: numbers(work, net).copy() for net in NETS}
    zeros = {net: np.zeros_like(own[net]) for net in NETS}
    arrivals = (
        arrival("d1", ("D",), zeros["D"]),
        arrival("d2", ("D",), zeros["D"]),
        arrival("g", ("G",), zeros["G"]),
    )
    weights = work.mix(do.Mix(arrivals=arrivals))
    assert weights == {"d1": pytest.approx(1 / 3), "d2": pytest.approx(1 / 3), "g": 0.5}
    np.testing.assert_allclose(numbers(work, "D"), own["D"] / 3, rtol=1e-5)
    np.testing.assert_allclose(numbers(work, "G"), own["G"] / 2, rtol=1e-5)


def test_training_goes_on_after_mixing(work: CohortWork) -> None:
    """The networks compute with views into the mixed vector, which therefore must stay in place."""
    work.train(1)
    zeros = {net: np.zeros_like(numbers(work, net)) for net in NETS}
    for _ in range(40):
        work.mix(do.Mix(arrivals=(arrival("x", ("G", "D"), zeros["G"], zeros["D"]),)))
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


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("moments", ["stay", "travel"])
def test_a_node_goes_on_from_its_checkpoint(tmp_path: Path, moments: Any, ema: float) -> None:
    """To the bit: networks, running mean, optimisers, and whatever it draws from."""
    experiment = exchanging(moments, tmp_path)
    train = TrainConfig(ema=ema, loss="wgan-gp")
    config = msgspec.structs.replace(experiment.config, train=train)
    experiment = dataclasses.replace(experiment, config=config)
    whole, cut = (daemon_work(experiment, "0", tmp_path / name) for name in "ab")
    for work in (whole, cut):
        work.train(4)
        ones = [np.ones_like(numbers(work, net)) for net in NETS]
        work.mix(do.Mix(arrivals=(arrival("x", NETS, *ones),)))
        work.train(3)
    saved = Resumption.read(cut.save(SEALED), experiment.model)
    seat = seat_of("0", tmp_path / "c", saved)
    other = CohortWork(experiment, seat, alone(experiment, "0"))
    assert contents(other.save(SEALED), experiment.model) == contents(saved.path, experiment.model)
    for work in (whole, other):
        work.train(1)
        work.train(4)
    assert contents(whole.save(SEALED), experiment.model) == contents(
        other.save(SEALED), experiment.model
    )
    assert load(seat.checkpoint, experiment.model).iterations == 12


def test_whoever_was_there_is_replaced(tmp_path: Path) -> None:
    """In virtual time the cohort outlives its nodes."""
    experiment = exchanging("stay", tmp_path)
    begun = daemon_work(experiment, "0", tmp_path / "a")
    first = Resumption.of(tmp_path / "a", begun.checkpoint(SEALED))
    path = begun.save(SEALED)
    work = daemon_work(experiment, "0", tmp_path / "b")
    work.train(3)
    work.restore(first.checkpoint, first.kept)
    assert contents(work.save(SEALED), experiment.model) == contents(path, experiment.model)


def test_what_another_node_remembers_cannot_be_recalled(tmp_path: Path) -> None:
    experiment = exchanging("stay", tmp_path)
    work = daemon_work(experiment, "0", tmp_path / "a")
    work.train(1)
    saved = Resumption.read(work.save(SEALED), experiment.model)
    moments = {"G.moments": saved.checkpoint.kept["G.moments"][1:]}
    with pytest.raises(CheckpointError, match="optimisers and streams of this run"):
        work.restore(dataclasses.replace(saved.checkpoint, kept=moments), saved.kept)
    kept = msgspec.structs.replace(saved.kept, memory=Memory(batches="nonsense"))
    with pytest.raises(CheckpointError, match="optimisers and streams of this run"):
        work.restore(saved.checkpoint, kept)


def test_nobody_goes_on_from_what_was_saved_without_a_state(work: CohortWork) -> None:
    work.train(1)
    assert not load(work.save(), work._experiment.model).kept


def exchanging(moments: Any, tmp_path: Path) -> Experiment:
    """Two nodes, rounds of four iterations."""
    return prepare(
        RunConfig(
            nodes=2,
            iterations=12,
            exchange_every=4,
            device="cpu",
            exchange=ExchangeConfig(moments=moments),
            engine=EngineConfig(block_nodes=1),  # as a daemon's node is computed
        ),
        tmp_path,
    )


@pytest.mark.parametrize("moments", ["stay", "reset", "travel"])
def test_two_daemons_are_two_simulated_nodes(moments: Any, tmp_path: Path) -> None:
    """To the bit, however the trainer slices its rounds."""
    experiment = exchanging(moments, tmp_path)
    cohort = experiment.cohort(experiment.nodes)
    daemons = [daemon_work(experiment, node, tmp_path / node) for node in experiment.nodes]
    for slices in ((4,), (1, 3), (2, 1, 1)):
        if moments == "reset":
            cohort.forget()
        cohort.train(4)
        for net in NETS:
            mix(mixing_rows([[1], [0]]), cohort.exchanged[net])
        for daemon in daemons:
            for count in slices:
                daemon.train(count)
        sent = [{net: numbers(daemon, net) for net in NETS} for daemon in daemons]
        for daemon, other in zip(daemons, reversed(sent), strict=True):
            daemon.mix(do.Mix(arrivals=(arrival("x", ("G", "D"), other["G"], other["D"]),)))
    for index, daemon in enumerate(daemons):
        for net in NETS:
            assert numbers(daemon, net).size == experiment.exchanged_size(net)
            assert numbers(daemon, net).tobytes() == cohort.exchanged[net][index].numpy().tobytes()


def test_a_node_that_hears_from_nobody_starts_adam_again_as_well(tmp_path: Path) -> None:
    """Else nodes would differ in more than what they have heard."""

    def ends(moments: Any) -> bytes:
        work = daemon_work(exchanging(moments, tmp_path), "0", tmp_path / "0")
        work.train(4)
        work.train(4)
        return work.snapshot()["G"]

    assert ends("reset") != ends("stay")


def test_second_moments_below_0_do_no_harm(tmp_path: Path) -> None:
    """Adam takes their root. All else of the arrival is taken as it is."""
    experiment = exchanging("travel", tmp_path)
    work = daemon_work(experiment, "0", tmp_path / "0")
    work.train(2)
    own = {net: numbers(work, net).copy() for net in NETS}
    hostile = {net: np.full(own[net].size, -1.0) for net in NETS}
    work.mix(do.Mix(arrivals=(arrival("x", ("G", "D"), hostile["G"], hostile["D"]),)))
    for net in NETS:
        head = 2 * experiment.model.networks[net].size
        mixed = numbers(work, net)
        np.testing.assert_allclose(mixed[:head], (own[net][:head] - 1) / 2, rtol=1e-6)
        np.testing.assert_allclose(mixed[head:], own[net][head:] / 2, rtol=1e-6)
    work.train(1)
    assert all(np.isfinite(numbers(work, net)).all() for net in NETS)


def test_what_is_saved_is_the_networks_alone(tmp_path: Path) -> None:
    experiment = exchanging("travel", tmp_path)
    work = daemon_work(experiment, "0", tmp_path / "0")
    work.train(1)
    saved = load(work.save(), experiment.model).vectors
    for net in NETS:
        assert saved[net].numpy().tobytes() == numbers(work, net)[: len(saved[net])].tobytes()


def test_a_running_mean_is_scored_and_saved_and_stays_here(
    experiment: Experiment, work: CohortWork, tmp_path: Path
) -> None:
    config = msgspec.structs.replace(experiment.config, train=TrainConfig(ema=0.9))
    path = tmp_path / "mean.safetensors"
    other = daemon_work(dataclasses.replace(experiment, config=config), "1", path)
    for one in (work, other):
        one.train(4)
    assert other.snapshot() == work.snapshot()
    saved = load(other.save(), experiment.model)
    assert saved.ema is not None
    scores = other.score()
    assert scores.fid == experiment.score(saved.ema, "1").fid != work.score().fid
    assert load(work.save(), experiment.model).ema is None


def test_in_the_last_step_there_is_one_generator(experiment: Experiment, tmp_path: Path) -> None:
    """The running mean takes the generator's place, and follows what is adopted or mixed."""
    config = msgspec.structs.replace(
        experiment.config, train=TrainConfig(ema=0.9), final="agree", iterations=4
    )
    ending = dataclasses.replace(experiment, config=config)
    work = daemon_work(ending, "1", tmp_path / "mean.safetensors")
    work.train(2)
    work.score()
    assert saved_generators(work, ending) == 2  # amid the training nothing is replaced
    work.train(2)
    work.score()
    assert saved_generators(work, ending) == 1
    ones = {net: np.ones_like(numbers(work, net)) for net in NETS}
    work.mix(do.Mix(arrivals=(arrival("x", ("G", "D"), ones["G"], ones["D"]),)))
    assert saved_generators(work, ending) == 1
    work.adopt(arrival("y", ("G", "D"), ones["G"], ones["D"]))
    work.score()
    assert saved_generators(work, ending) == 1
    assert (numbers(work, "G") == 1).all()


def saved_generators(work: CohortWork, experiment: Experiment) -> int:
    """1 if the generator and its running mean are the same, 2 if they differ."""
    saved = load(work.save(), experiment.model)
    assert saved.ema is not None
    return 1 if torch.equal(saved.ema, saved.vectors["G"]) else 2


def test_no_call_trains_past_the_end_of_a_round_that_resets(tmp_path: Path) -> None:
    """It would miss the reset."""
    work = daemon_work(exchanging("reset", tmp_path), "0", tmp_path / "0")
    work.train(3)
    with pytest.raises(AssertionError, match="an exchange within a call"):
        work.train(2)
    work.train(1)
    work.train(4)


def test_daemons_that_pair_keep_their_sum_though_both_train(tmp_path: Path) -> None:
    experiment = exchanging("stay", tmp_path)
    daemons = [daemon_work(experiment, node, tmp_path / node) for node in experiment.nodes]
    for daemon in daemons:
        daemon.train(4)
    sent = [{net: numbers(daemon, net).copy() for net in NETS} for daemon in daemons]
    for daemon in daemons:
        daemon.train(4)
    before = {net: sum(numbers(daemon, net) for daemon in daemons) for net in NETS}
    for own, daemon in enumerate(daemons):
        other = sent[1 - own]
        kept = {"base": b"".join(sent[own][net].astype("<f4").tobytes() for net in NETS)}
        came = arrival("x", NETS, other["G"], other["D"])
        assert daemon.mix(do.Mix(arrivals=(came,), bases={"x": "base"}, kept=kept)) == {"x": 0.5}
    for net in NETS:
        after = sum(numbers(daemon, net) for daemon in daemons)
        np.testing.assert_allclose(after, before[net], rtol=1e-5, atol=1e-6)


def test_what_comes_back_is_merged_by_its_weight(work: CohortWork) -> None:
    own = {net: numbers(work, net).astype(np.float64) for net in NETS}
    ones = b"".join(np.ones_like(own[net], dtype="<f4").tobytes() for net in NETS)
    returned = Arrival(peer="1", exchange="a.1", nets=NETS, round=1, data=b"")
    order = do.Mix(arrivals=(returned,), own=0.5, weights=(1.5,), kept={"a.1": ones})
    assert work.mix(order) == {"a.1": 0.75}
    for net in NETS:
        np.testing.assert_allclose(numbers(work, net), 0.25 * own[net] + 0.75, rtol=1e-5)


def test_a_difference_leaves_no_negative_second_moments(tmp_path: Path) -> None:
    """Half of it may be more than there is; Adam takes the root."""
    experiment = exchanging("travel", tmp_path)
    work = daemon_work(experiment, "0", tmp_path / "0")
    work.train(2)
    zeros = {net: np.zeros_like(numbers(work, net)) for net in NETS}
    large = b"".join(np.ones_like(zeros[net]).astype("<f4").tobytes() for net in NETS)
    came = arrival("x", NETS, zeros["G"], zeros["D"])
    work.mix(do.Mix(arrivals=(came,), bases={"x": "base"}, kept={"base": large}))
    for net in NETS:
        size = experiment.model.networks[net].size
        assert (numbers(work, net)[2 * size :] >= 0).all()
        assert (numbers(work, net)[:size] < 0).any()
