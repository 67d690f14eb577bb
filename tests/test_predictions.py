"""The formulas, against numbers that are worked out by hand, and against runs."""

from pathlib import Path
from typing import Any

import pytest

from p2pgan.config import (
    ExchangeConfig,
    FederatedConfig,
    RunConfig,
    ScoreConfig,
    SplitConfig,
    TrainConfig,
    config_from,
)
from p2pgan.gan.split import kept_values
from p2pgan.inspect.traffic import Prediction, measure
from p2pgan.predictions import Communication, Made, communication, predict
from p2pgan.sim.run import simulate

G, D = 28_992, 24_961
"""Values of `mlp-digits`."""

MLP_D = 670_219
"""Values of the discriminator of `mlp-mnist`."""


def config(**changes: Any) -> RunConfig:
    """As a run has resolved it."""
    settings: dict[str, Any] = {
        "algorithm": "md-gan",
        "nodes": 10,
        "model": "mlp-digits",
        "batch_size": 16,
        "iterations": 100,
        "exchange_every": 30,
        **changes,
    }
    return RunConfig(**settings)


def made(iterations: int = 100, rounds: int = 4, **changes: Any) -> Made:
    settings: dict[str, Any] = {"rounds": {"coordinator": rounds}, "is_networked": True, **changes}
    return Made(iterations=iterations, **settings)


def test_md_gan_sends_two_batches_one_feedback_and_every_discriminator() -> None:
    """Thesis, table 5.3, with `2bd` as its text has it; moments make a discriminator threefold."""
    assert predict(config(), made()) == {
        "batches": Prediction(messages=1000, payload_bytes=1000 * 4 * 2 * 16 * 64),
        "feedback": Prediction(messages=1000, payload_bytes=1000 * 4 * 16 * 64),
        "move": Prediction(messages=30, payload_bytes=30 * 4 * 3 * D),
    }


def test_nobody_moves_after_the_last_round() -> None:
    half = predict(config(), made(iterations=60, rounds=2))
    assert half["move"].messages == 20


def test_what_does_not_travel_is_not_counted() -> None:
    still = predict(config(md=SplitConfig(moves=False)), made())
    assert still.keys() == {"batches", "feedback"}
    reset = predict(config(md=SplitConfig(moments="reset", discriminators=3)), made())
    assert reset["move"].payload_bytes == 3 * 3 * 4 * D
    assert reset["batches"].messages == 300


def test_a_label_goes_with_its_image_and_gets_no_feedback() -> None:
    settings = config(model="mlp-mnist", batch_size=10, train=TrainConfig(conditional=True))
    found = predict(settings, made(iterations=1))
    assert found["batches"].payload_bytes == 10 * 4 * 2 * 10 * 785
    assert found["feedback"].payload_bytes == 10 * 4 * 10 * 784


def test_sparse_feedback_is_values_and_positions() -> None:
    found = predict(config(md=SplitConfig(share=0.1)), made(iterations=1))
    assert found["feedback"].payload_bytes == 10 * 4 * 2 * 103  # a tenth of 1,024, rounded up


@pytest.mark.parametrize("share", [0.07, 1 / 3, 2 / 3, 0.3, 1e-9, 0.999, 0.123456])
@pytest.mark.parametrize("batch", [1, 7, 16, 100])
def test_as_many_values_are_predicted_as_are_kept(share: float, batch: int) -> None:
    """They are counted in two ways, which have to agree."""
    settings = config(md=SplitConfig(share=share), batch_size=batch)
    assert communication(settings).worker_sends == 4 * 2 * kept_values(batch * 64, share)


def test_a_lone_discriminator_moves_nowhere() -> None:
    alone = communication(config(nodes=1))
    assert (alone.between_workers, alone.among_workers) == (None, 0)
    assert "move" not in predict(config(nodes=1), made())


def test_with_a_coordinator_its_rounds_count() -> None:
    """A worker may have trained in vain."""
    settings = config(algorithm="fl-gan", nodes=2)
    found = predict(settings, made(rounds=3))
    ahead = Made(iterations=100, rounds={"coordinator": 3, "0": 4, "1": 3}, is_networked=True)
    assert predict(settings, ahead) == found


def test_feedback_that_is_applied_as_it_comes_is_as_much_of_it() -> None:
    found = predict(config(md=SplitConfig(asynchronous=True)), made())
    assert (found["batches"].messages, found["feedback"].messages) == (1000, 1000)


def test_discriminators_of_several_kinds_are_dealt_in_turn() -> None:
    names = ("mlp-mnist", "mlp-mnist-small")
    settings = config(nodes=3, model="mlp-mnist", md=SplitConfig(models=names, moments="reset"))
    found = predict(settings, made(iterations=30, rounds=1))
    assert found["move"].payload_bytes == 4 * (2 * MLP_D + 118_411)
    assert communication(settings).between_workers == 4 * MLP_D


@pytest.mark.parametrize(
    ("fraction", "is_networked", "each_round"),
    [(1.0, False, 10), (1.0, True, 10), (0.5, False, 5), (0.5, True, 7), (0.01, False, 1)],
)
def test_fl_gan_sends_both_networks_each_way(
    fraction: float, is_networked: bool, each_round: int
) -> None:
    """Daemons ask 1.3 times as many as make a round."""
    settings = config(algorithm="fl-gan", fl=FederatedConfig(fraction=fraction))
    found = predict(settings, made(is_networked=is_networked))
    each = Prediction(messages=4 * each_round, payload_bytes=4 * each_round * 4 * (G + D))
    assert found == {"model": each, "update": each}


def test_gossip_sends_its_groups_once_a_round_and_node_or_to_as_many_as_it_pushes_to() -> None:
    rounds = {"0": 3, "1": 2}
    in_lockstep = Made(iterations=60, rounds=rounds, is_networked=False)
    pushed = Made(iterations=60, rounds=rounds, is_networked=True)
    settings = config(algorithm="gossip-ind", exchange=ExchangeConfig(fanout=2))
    found = predict(settings, in_lockstep)["mix"]
    assert found == Prediction(messages=10, payload_bytes=5 * 4 * (G + D), is_most=True)
    assert predict(settings, pushed)["mix"].messages == 20
    travel = config(algorithm="gossip", exchange=ExchangeConfig(moments="travel"))
    assert predict(travel, in_lockstep)["mix"].payload_bytes == 5 * 4 * 3 * (G + D)


def test_weights_are_pushed_and_pairs_are_half_as_many_where_all_meet_at_once() -> None:
    rounds = {"0": 3, "1": 3}
    in_lockstep = Made(iterations=60, rounds=rounds, is_networked=False)
    daemons = Made(iterations=60, rounds=rounds, is_networked=True)
    fanout = ExchangeConfig(fanout=2)
    size = 4 * (G + D)
    for algorithm, kind in (("gosgd", "mix"), ("push-sum", "mass")):
        settings = config(algorithm=algorithm, exchange=fanout)
        most = Prediction(messages=12, payload_bytes=12 * size, is_most=True)
        assert predict(settings, in_lockstep) == predict(settings, daemons) == {kind: most}
    pairs = config(algorithm="ad-psgd", exchange=fanout)
    for made_, each in ((in_lockstep, 3), (daemons, 6)):
        most = Prediction(messages=each, payload_bytes=each * size, is_most=True)
        assert predict(pairs, made_) == {"pair": most, "answer": most}


def test_nothing_is_predicted_where_nothing_is_sent_or_no_model_is_named() -> None:
    for settings in (config(algorithm="standalone"), config(model=None)):
        assert predict(settings, made()) == {}
        assert communication(settings) == Communication()


def test_table_5_4_of_the_thesis_is_two_batches_of_float32_in_mebibytes() -> None:
    """CIFAR-10, 10 workers. Its 0.23 is `2bd`; for feedback, which is `bd`, it prints the same."""
    settings = config(model="cnn-cifar10", batch_size=10, iterations=50_000, exchange_every=500)
    found = communication(settings)
    assert (found.worker_receives, found.worker_sends) == (245_760, 122_880)
    assert round((found.worker_receives or 0) / 2**20, 2) == 0.23
    assert round((found.coordinator_sends or 0) / 2**20, 2) == 2.34  # there: 2.30
    assert (found.with_coordinator, found.among_workers) == (50_000, 99)
    hundred = communication(config(model="cnn-cifar10", batch_size=100))
    assert round((hundred.worker_receives or 0) / 2**20, 2) == 2.34


def test_the_communications_of_fl_gan_and_gossip() -> None:
    fl = communication(config(algorithm="fl-gan", nodes=3))
    assert (fl.coordinator_sends, fl.worker_sends) == (3 * 4 * (G + D), 4 * (G + D))
    assert (fl.with_coordinator, fl.between_workers, fl.among_workers) == (4, None, 0)
    gossip = communication(config(algorithm="gossip"))
    assert (gossip.between_workers, gossip.among_workers) == (4 * (G + D), 4)
    assert gossip.coordinator_sends is None


@pytest.mark.parametrize("algorithm", ["fl-gan", "gossip", "gossip-ind"])
def test_a_simulated_run_sends_what_is_predicted(algorithm: str, tmp_path: Path) -> None:
    """With a draw that leaves nobody with itself, to the byte."""
    asked = RunConfig(
        algorithm=algorithm,
        nodes=3,
        iterations=50,
        device="cpu",
        exchange=ExchangeConfig(fixed_points=False),
        score=ScoreConfig(every=0, samples=10),
    )
    finished = simulate(asked, tmp_path, tmp_path / "run", lambda simulation: None)
    measured = measure(finished.directory)
    settings = config_from(measured.config, at="log")
    how_far = Made(
        iterations=measured.iterations, rounds=measured.rounds, is_networked=measured.is_networked
    )
    predicted = predict(settings, how_far)
    found = {kind: (t.messages, t.payload_bytes) for kind, t in measured.kinds.items()}
    assert found == {kind: (p.messages, p.payload_bytes) for kind, p in predicted.items()}
    told = finished.summary["traffic"]["kinds"]
    assert {kind: (row["messages"], row["payload_bytes"]) for kind, row in told.items()} == found
