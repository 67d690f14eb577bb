"""What a run is, its data and its networks apart: rounds, who scores, and on what overlay."""

from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from p2pgan.config import ExchangeConfig, FederatedConfig, RunConfig, ScoreConfig, SplitConfig
from p2pgan.design import SCORES_PER_RUN, overlay_of
from p2pgan.errors import OverlayError
from p2pgan.experiment import Experiment, prepare
from p2pgan.mixing.algorithms import algorithm
from p2pgan.overlay import files
from p2pgan.overlay.graph import Overlay
from p2pgan.sim.virtual.standin import StandIn, stand_in


def made_up(**settings: Any) -> StandIn:
    return stand_in(RunConfig(**{"nodes": 4, "device": "cpu", **settings}))


def real(name: str, **settings: Any) -> Experiment:
    config = RunConfig(algorithm=name, **{"nodes": 4, "device": "cpu", **settings})
    return prepare(config, Path("no-data-needed"))


@pytest.mark.parametrize(
    ("iterations", "every", "rounds"), [(40, 10, 4), (41, 10, 5), (9, 10, 1), (10, 10, 1)]
)
def test_the_last_round_may_be_shorter(iterations: int, every: int, rounds: int) -> None:
    design = made_up(iterations=iterations, exchange_every=every)
    assert (design.exchange_every, design.rounds) == (every, rounds)


@pytest.mark.parametrize(
    ("every", "rounds", "scored"),
    [
        (0, 6, [6]),
        (1, 4, [1, 2, 3, 4]),
        (4, 6, [4, 6]),
        (None, 5, [1, 2, 3, 4, 5]),
        (None, 10 * SCORES_PER_RUN, [10 * n for n in range(1, SCORES_PER_RUN + 1)]),
    ],
)
def test_scores_are_due_now_and_then_and_at_the_end(
    every: int | None, rounds: int, scored: list[int]
) -> None:
    design = made_up(iterations=10 * rounds, exchange_every=10, score=ScoreConfig(every=every))
    assert [r for r in range(1, rounds + 1) if design.is_scored(r)] == scored
    assert design.is_scored(rounds + 1), "rounds of a last step count on"


@pytest.mark.parametrize(
    ("design", "count"),
    [
        (made_up(), 4),
        (real("fl-gan", fl=FederatedConfig(fraction=0.5)), 2),
        (real("md-gan"), 4),
        (real("md-gan", md=SplitConfig(discriminators=3)), 3),
    ],
    ids=["gossip", "fl-gan", "md-gan", "md-gan with 3"],
)
def test_so_many_train_in_a_round(design: Any, count: int) -> None:
    assert design.round_nodes == count


def test_a_generator_is_everybody_s_or_the_coordinator_s() -> None:
    assert made_up().generators == ("0", "1", "2", "3")
    assert real("fl-gan").generators == ("0", "1", "2", "3")
    assert real("md-gan").generators == ("coordinator",)


def test_moments_stay_where_nothing_is_exchanged() -> None:
    exchange = ExchangeConfig(moments="travel")
    assert real("gossip", exchange=exchange).moments == "travel"
    assert real("standalone", exchange=exchange).moments == "stay"


# -- overlays --------------------------------------------------------------------------------------


def overlay(name: str, **settings: Any) -> Overlay:
    return overlay_of(RunConfig(algorithm=name, **settings), algorithm(name))


def test_all_in_one_place_is_one_node() -> None:
    assert overlay("centralised", nodes=7, overlay="ring").nodes == ("0",)


def test_the_overlay_comes_from_the_seed() -> None:
    one, again, other = (
        overlay("gossip", nodes=30, overlay="small-world", seed=seed) for seed in (1, 1, 2)
    )
    assert one.neighbor_indices() == again.neighbor_indices() != other.neighbor_indices()


@pytest.fixture
def star(tmp_path: Path) -> str:
    """A file of a coordinator with three workers."""
    path = tmp_path / "star.json"
    files.write(Overlay("three", nx.empty_graph(["a", "b", "c"])).with_hub("coordinator"), path)
    return str(path)


def test_a_coordinator_in_a_file_is_no_worker(star: str) -> None:
    assert overlay("fl-gan", nodes=None, overlay=star).nodes == ("a", "b", "c")
    assert overlay("fl-gan", nodes=2, overlay=star).nodes == ("a", "b")


def test_without_a_coordinator_it_is_a_node_as_any_other(star: str) -> None:
    assert "coordinator" in overlay("gossip", nodes=None, overlay=star).nodes


def test_an_overlay_that_is_not_there_is_named() -> None:
    with pytest.raises(OverlayError):
        overlay("gossip", nodes=3, overlay="none.json")
