"""Who plays: every incarnation has its machine and its work, and goes on where it can."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from p2pgan.config import RunConfig
from p2pgan.experiment import prepare
from p2pgan.node.federated_work import ModelWork, UpdateWork
from p2pgan.node.roles import whole_overlay
from p2pgan.node.seat import write_checkpoint
from p2pgan.node.split_work import CriticWork, GeneratorWork
from p2pgan.node.work import CohortWork
from p2pgan.protocol.federated_coordinator import FederatedCoordinator
from p2pgan.protocol.keeping import State
from p2pgan.protocol.peer import PeerMachine
from p2pgan.record.rundir import RunDirectory
from p2pgan.sim.virtual.cast import Everybody, Peers
from p2pgan.sim.virtual.standin import StandInCohort, stand_in
from p2pgan.virtual import VirtualConfig

Cast = Callable[..., tuple[Peers, StandInCohort]]


def boots(number: int) -> str:
    return f"{number:08x}"


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", name="run")


@pytest.fixture
def peers(directory: RunDirectory) -> tuple[Peers, StandInCohort]:
    config = RunConfig(
        algorithm="gossip",
        nodes=3,
        iterations=40,
        exchange_every=10,
        device="cpu",
        virtual=VirtualConfig(train="gradient-free"),
    )
    design = stand_in(config)
    cohort = StandInCohort(design)
    return Peers(design, cohort, directory, "run"), cohort


def test_a_peer_is_a_row_of_the_cohort(peers: tuple[Peers, StandInCohort]) -> None:
    cast, cohort = peers
    role = cast.role("1", boots(1), write_checkpoint)
    assert isinstance(role.machine, PeerMachine)
    assert role.machine.statistics().node == "1"
    assert isinstance(role.work, CohortWork)
    assert role.work.row == (cohort, 1)
    assert role.snapshot == {}


def test_a_second_life_goes_on_from_the_checkpoint(
    peers: tuple[Peers, StandInCohort], directory: RunDirectory
) -> None:
    cast, cohort = peers
    first = cast.role("1", boots(1), write_checkpoint)
    first.work.train(10)
    cohort.vectors["G"][1] = 5.0
    state = State(round=1, iterations=10, clock=7)
    first.work.save(first.seal(msgspec.msgpack.encode(state)))
    first.work.train(10)
    cohort.vectors["G"].fill_(7.0)
    second = cast.role("1", boots(2), write_checkpoint)
    assert cohort.vectors["G"][:, 0].tolist() == [7.0, 5.0, 7.0]
    assert second.machine.statistics().iterations == 10
    assert second.machine.statistics().round == 1
    assert directory.checkpoint("1").is_file()


def test_a_second_life_without_a_checkpoint_begins_anew(
    peers: tuple[Peers, StandInCohort],
) -> None:
    cast, cohort = peers
    start = cohort.vectors["G"][1].clone()
    cast.role("1", boots(1), write_checkpoint)
    cohort.vectors["G"].fill_(7.0)
    second = cast.role("1", boots(2), write_checkpoint)
    assert torch.equal(cohort.vectors["G"][1], start)
    assert second.machine.statistics().iterations == 0


def test_what_is_saved_goes_to_the_node_s_disk(peers: tuple[Peers, StandInCohort]) -> None:
    written: list[Path] = []
    role = peers[0].role("2", boots(1), lambda path, data: written.append(path))
    path = role.work.save(b"")
    assert written == [path]


@pytest.mark.parametrize(
    ("algorithm", "node", "work"),
    [
        ("fl-gan", "0", UpdateWork),
        ("fl-gan", "coordinator", ModelWork),
        ("md-gan", "0", CriticWork),
        ("md-gan", "coordinator", GeneratorWork),
    ],
)
def test_with_a_coordinator_all_have_networks_of_their_own(
    directory: RunDirectory, algorithm: str, node: str, work: type
) -> None:
    cast = everybody(directory, algorithm)
    role = cast.role(node, boots(1), write_checkpoint)
    assert type(role.work) is work
    assert role.machine.statistics().node == node


def everybody(directory: RunDirectory, algorithm: str) -> Everybody:
    settings: dict[str, Any] = {"iterations": 6, "exchange_every": 2, "device": "cpu"}
    experiment = prepare(RunConfig(algorithm=algorithm, nodes=2, **settings), Path("none"))
    return Everybody(experiment, whole_overlay(experiment), directory, "run")


def test_a_coordinator_goes_on_from_its_checkpoint(directory: RunDirectory) -> None:
    cast = everybody(directory, "fl-gan")
    first = cast.role("coordinator", boots(1), write_checkpoint)
    assert isinstance(first.work, ModelWork)
    first.work._servers["G"].model_P.fill_(3.0)
    first.work.save(first.seal(b""))
    second = cast.role("coordinator", boots(2), write_checkpoint)
    assert isinstance(second.machine, FederatedCoordinator)
    assert isinstance(second.work, ModelWork)
    size = len(second.work._vector("G"))
    assert second.work._servers["G"].model_P[:size].eq(3.0).all()
    assert second.snapshot["G"] == second.work.snapshot()["G"], "it is sent before any work"
