"""What stands for networks: numbers that walk towards their optima, and scores that say how far."""

from typing import Any

import msgspec
import pytest
import torch

from p2pgan.config import ExchangeConfig, RunConfig, ScoreConfig, TrainConfig
from p2pgan.errors import P2PGanError
from p2pgan.sim.virtual.standin import PULL, StandInCohort, stand_in, stand_in_model
from p2pgan.types import NETS
from p2pgan.virtual import VirtualConfig


def config(kind: Any = "gradient-free", **settings: Any) -> RunConfig:
    return RunConfig(nodes=5, device="cpu", virtual=VirtualConfig(train=kind), **settings)


def test_there_are_a_few_numbers_per_node() -> None:
    model = stand_in_model()
    assert [model.networks[net].size for net in NETS] == [12, 5]
    cohort = StandInCohort(stand_in(config()))
    assert {net: tuple(rows.shape) for net, rows in cohort.exchanged.items()} == {
        "G": (5, 12),
        "D": (5, 5),
    }


def test_an_iteration_pulls_each_node_towards_its_own_optimum() -> None:
    """Many at once are as one by one; the others stand still."""
    design = stand_in(config())
    cohort = StandInCohort(design)
    start = {net: torch.randn(rows.shape) for net, rows in cohort.vectors.items()}
    expected = {net: rows.clone() for net, rows in start.items()}
    for net, rows in cohort.vectors.items():
        rows.copy_(start[net])
        for node in (1, 3):
            for _ in range(7):
                expected[net][node] += PULL * (design.optimum(str(node), net) - expected[net][node])
    losses = cohort.train(3, [1, 3])
    cohort.train(4, [3, 1])
    for net in NETS:
        torch.testing.assert_close(cohort.vectors[net], expected[net])
    assert len(losses.g) == 5
    cohort.train(1)
    assert (cohort.vectors["G"] != expected["G"]).any(1).all(), "all, if nobody is named"


def test_what_is_not_trained_does_not_move() -> None:
    cohort = StandInCohort(stand_in(config("none")))
    cohort.vectors["G"].fill_(1.0)
    cohort.train(50)
    assert (cohort.vectors["G"] == 1.0).all()


def test_a_score_is_the_distance_from_what_all_could_reach_together() -> None:
    design = stand_in(config())
    optima = torch.stack([design.optimum(node, "G") for node in design.nodes])
    mean = optima.mean(0)
    assert design.score(mean, "0").fid == pytest.approx(0.0, abs=1e-6)
    away = mean.clone()
    away[0] += 3.0
    assert design.score(away, "4").fid == pytest.approx(3.0, rel=1e-5)
    assert design.score_real().fid == 0.0
    assert design.judge(optima[2], "2") == 0.0
    assert design.judge(optima[2], "1") > 1.0


def test_optima_come_from_the_seed_and_differ() -> None:
    one, again = (stand_in(config(seed=3)) for _ in range(2))
    other = stand_in(config(seed=4))
    assert torch.equal(one.optimum("1", "G"), again.optimum("1", "G"))
    assert not torch.equal(one.optimum("1", "G"), other.optimum("1", "G"))
    assert not torch.equal(one.optimum("1", "G"), one.optimum("2", "G"))


def test_what_depends_on_the_rest_is_resolved() -> None:
    design = stand_in(msgspec.structs.replace(config(), nodes=None, overlay="ring"))
    assert design.config.nodes == len(design.nodes)
    assert design.config.exchange_every == design.exchange_every > 0
    assert design.config.model == design.model.name == "stand-in"


@pytest.mark.parametrize(
    ("settings", "at"),
    [
        ({"algorithm": "fl-gan"}, "--algorithm"),
        ({"algorithm": "md-gan"}, "--algorithm"),
        ({"algorithm": "centralised"}, "--algorithm"),
        ({"exchange_epochs": 1.0}, "--train"),
        ({"exchange": ExchangeConfig(moments="travel")}, "exchange.moments"),
        ({"exchange": ExchangeConfig(draw="permutation")}, "exchange.draw"),
        ({"train": TrainConfig(ema=0.9)}, "train.ema"),
        ({"score": ScoreConfig(final_samples=10)}, "score.final_samples"),
        ({"overlay": "rign"}, "--overlay"),
    ],
)
def test_what_needs_data_or_networks_is_refused(settings: dict[str, Any], at: str) -> None:
    with pytest.raises(P2PGanError) as caught:
        stand_in(config(**settings))
    assert at in caught.value.at
    assert caught.value.expected
    assert caught.value.got
