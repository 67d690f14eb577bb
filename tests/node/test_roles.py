"""The part that each node of a run takes."""

from pathlib import Path
from types import NoneType
from typing import Any

import msgspec
import pytest

from p2pgan.config import (
    CoordinatorConfig,
    ExchangeConfig,
    FederatedConfig,
    RunConfig,
    SplitConfig,
    TrainConfig,
)
from p2pgan.errors import ConfigError
from p2pgan.experiment import Experiment, prepare
from p2pgan.gan.checkpoint import Checkpoint
from p2pgan.mixing.merging import Averaging, SumWeights
from p2pgan.mixing.moves import first_places, moved
from p2pgan.node.federated_work import ModelWork, UpdateWork
from p2pgan.node.kept import Kept, Resumption, Sealed
from p2pgan.node.roles import (
    Part,
    check_algorithm,
    neighbors_of,
    part_of,
    peer_draws,
    peer_settings,
    whole_overlay,
)
from p2pgan.node.seat import Seat
from p2pgan.node.split_work import CriticWork, GeneratorWork
from p2pgan.node.work import CohortWork
from p2pgan.overlay import files as overlay_files
from p2pgan.parties import Parties
from p2pgan.protocol.coordinator import CoordinatorMachine
from p2pgan.protocol.core import Settings
from p2pgan.protocol.federated_coordinator import FederatedCoordinator
from p2pgan.protocol.federated_worker import FederatedWorker
from p2pgan.protocol.peer import PeerMachine
from p2pgan.protocol.split_coordinator import SplitCoordinator
from p2pgan.protocol.split_worker import SplitWorker
from tests.node.seats import seat_of

WORKERS = tuple("0123")


def experiment_of(tmp_path: Path, algorithm: str, **changes: Any) -> Experiment:
    return prepare(RunConfig(algorithm=algorithm, nodes=4, device="cpu", **changes), tmp_path)


def part(experiment: Experiment, node: str, resumption: Resumption | None = None) -> Part:
    overlay = experiment.overlay
    if experiment.algorithm.has_coordinator:
        overlay = overlay.with_hub("coordinator")
    path = Path("checkpoint.safetensors")
    return part_of(experiment, overlay, seat_of(node, path, resumption))


def settings_of(experiment: Experiment, seat: Seat) -> Settings:
    return peer_settings(experiment, experiment.overlay, seat, peer_draws(experiment, seat))


@pytest.mark.parametrize(
    ("algorithm", "node", "machine", "work"),
    [
        ("gossip", "0", PeerMachine, CohortWork),
        ("fl-gan", "0", FederatedWorker, UpdateWork),
        ("fl-gan", "coordinator", FederatedCoordinator, ModelWork),
        ("md-gan", "0", SplitWorker, CriticWork),
        ("md-gan", "coordinator", SplitCoordinator, GeneratorWork),
    ],
)
def test_every_node_has_its_machine_and_its_work(
    tmp_path: Path, algorithm: str, node: str, machine: type, work: type
) -> None:
    made = part(experiment_of(tmp_path, algorithm), node)
    assert type(made.machine) is machine
    assert type(made.make_work()) is work
    assert made.machine.statistics().node == node


@pytest.mark.parametrize(
    ("algorithm", "exchange", "weighting"),
    [
        ("gossip", "push", Averaging),
        ("gossip-ind", "push", Averaging),
        ("gosgd", "push", SumWeights),
        ("push-sum", "mass", SumWeights),
        ("ad-psgd", "pair", NoneType),
    ],
)
def test_a_peer_exchanges_as_its_algorithm_says(
    tmp_path: Path, algorithm: str, exchange: str, weighting: type
) -> None:
    """Every node has weights of its own."""
    experiment = experiment_of(tmp_path, algorithm)
    made = [settings_of(experiment, seat_of(node, tmp_path)) for node in "01"]
    assert {settings.exchange for settings in made} == {exchange}
    assert all(type(settings.weighting) is weighting for settings in made)
    assert made[0].weighting is not made[1].weighting or weighting is NoneType


def test_a_push_is_drawn_with_the_configured_probability(tmp_path: Path) -> None:
    chosen = ExchangeConfig(probability=0.2, fanout=2)
    experiment = experiment_of(tmp_path, "push-sum", exchange=chosen)
    settings = settings_of(experiment, seat_of("0", tmp_path))
    drawn = [len(settings.draw(["1", "2", "3"])) for _ in range(500)]
    assert set(drawn) == {0, 2}
    assert 60 < sum(map(bool, drawn)) < 140


@pytest.mark.parametrize(
    ("algorithm", "md", "node", "neighbors"),
    [
        ("standalone", {}, "0", ()),
        ("gossip", {}, "1", ("0", "2", "3")),
        ("fl-gan", {}, "1", ("coordinator",)),
        ("fl-gan", {}, "coordinator", WORKERS),
        ("md-gan", {}, "1", ("coordinator", "0", "2", "3")),
        ("md-gan", {"moves": False}, "1", ("coordinator", "0", "2", "3")),
        ("md-gan", {}, "coordinator", WORKERS),
    ],
)
def test_workers_of_md_gan_know_each_other(
    tmp_path: Path, algorithm: str, md: dict[str, Any], node: str, neighbors: tuple[str, ...]
) -> None:
    """Discriminators travel: at the end of rounds, or as copies for who comes late."""
    experiment = experiment_of(tmp_path, algorithm, md=SplitConfig(**md))
    assert neighbors_of(experiment, experiment.overlay, node) == neighbors
    assert part(experiment, node).neighbors == neighbors


def test_the_first_model_is_there_before_any_work(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, "fl-gan")
    made = part(experiment, "coordinator")
    assert {net: len(data) for net, data in made.snapshot.items()} == {
        net: 4 * experiment.exchanged_size(net) for net in ("G", "D")
    }


def rule_of(made: Part) -> Any:
    machine = made.machine
    assert isinstance(machine, CoordinatorMachine)
    return machine._settings.rule


def test_places_and_moves_are_those_of_the_simulator(tmp_path: Path) -> None:
    """From the same stream, in the same order."""
    experiment = experiment_of(tmp_path, "md-gan", md=SplitConfig(discriminators=3))
    rng = Parties(experiment).draws()
    first = first_places(experiment.nodes, 3, rng)
    rule = rule_of(part(experiment, "coordinator"))
    assert rule.first == first
    second = moved(first, WORKERS, rng)
    assert rule.moved(first, WORKERS) == second
    assert rule.moved(second, WORKERS) == moved(second, WORKERS, rng)


def test_more_are_asked_than_make_a_round(tmp_path: Path) -> None:
    fl = FederatedConfig(fraction=0.5, over_selection=1.5)
    rule = rule_of(part(experiment_of(tmp_path, "fl-gan", fl=fl), "coordinator"))
    chosen, needed = rule.select(WORKERS, 1)
    assert (len({*chosen}), needed) == (3, 2)
    assert {*chosen} <= {*WORKERS}
    assert rule.select(("2",), 2) == (["2"], 1)


def test_a_coordinator_draws_on_where_it_was_saved(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, "md-gan")
    made = part(experiment, "coordinator")
    rule = rule_of(made)
    first = rule.moved(rule.first, WORKERS)
    sealed = made.seal(b"")
    kept = Kept(sealed=sealed)
    found = Resumption(
        path=Path("c"),
        checkpoint=Checkpoint(vectors={}, run="run", node="coordinator", iterations=1),
        kept=kept,
        sealed=msgspec.msgpack.decode(sealed, type=Sealed),
    )
    again = rule_of(part(experiment, "coordinator", found))
    for _ in range(3):
        assert again.moved(first, WORKERS) == rule.moved(first, WORKERS)


def test_an_algorithm_for_the_simulator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="simulate --algorithm centralised"):
        check_algorithm(experiment_of(tmp_path, "centralised"))


def test_no_daemon_is_lost_on_schedule(tmp_path: Path) -> None:
    coordinator = CoordinatorConfig(lose_every=20)
    experiment = experiment_of(tmp_path, "md-gan", iterations=40, coordinator=coordinator)
    with pytest.raises(ConfigError, match="no process ends itself"):
        check_algorithm(experiment)


@pytest.mark.parametrize("algorithm", ["fl-gan", "md-gan"])
def test_with_a_coordinator_there_is_no_last_step(tmp_path: Path, algorithm: str) -> None:
    check_algorithm(experiment_of(tmp_path, algorithm))
    with pytest.raises(ConfigError, match=r"one model for all|one generator"):
        check_algorithm(experiment_of(tmp_path, algorithm, final="agree"))


def test_fl_gan_has_no_running_mean(tmp_path: Path) -> None:
    """Workers throw theirs away with the round, and the coordinator has none."""
    train = TrainConfig(ema=0.9)
    check_algorithm(experiment_of(tmp_path, "md-gan", train=train))
    with pytest.raises(ConfigError, match=r"train\.ema"):
        check_algorithm(experiment_of(tmp_path, "fl-gan", train=train))


def test_a_permutation_needs_everybody_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="permutation"):
        check_algorithm(
            experiment_of(tmp_path, "gossip", exchange=ExchangeConfig(draw="permutation"))
        )


# -- the overlay with everybody in it --------------------------------------------------------------


def test_without_a_coordinator_the_overlay_is_whole(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, "gossip", overlay="ring")
    assert whole_overlay(experiment) is experiment.overlay


@pytest.mark.parametrize("algorithm", ["fl-gan", "md-gan"])
def test_a_coordinator_is_in_the_middle_of_a_star(tmp_path: Path, algorithm: str) -> None:
    overlay = whole_overlay(experiment_of(tmp_path, algorithm))
    assert overlay.nodes == ("coordinator", *WORKERS)
    assert set(overlay.neighbors("coordinator")) == set(WORKERS)
    assert overlay.address("coordinator") is None


def test_the_coordinator_s_address_is_that_of_the_overlay_s_file(tmp_path: Path) -> None:
    star = experiment_of(tmp_path, "gossip").overlay.with_hub("coordinator")
    addresses = {node: f"tcp://127.0.0.1:{5550 + i}" for i, node in enumerate(star.nodes)}
    overlay_files.write(star.with_addresses(addresses), tmp_path / "hub.json")
    overlay = whole_overlay(experiment_of(tmp_path, "fl-gan", overlay=str(tmp_path / "hub.json")))
    assert overlay.address("coordinator") == "tcp://127.0.0.1:5550"
    assert overlay.address("3") == addresses["3"]
