"""Settings of runs with a coordinator refuse what cannot be."""

from typing import Any

import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol.links import Identity
from p2pgan.protocol.roles import (
    CoordinatorSettings,
    Federated,
    Placing,
    Selection,
    Split,
    WorkerSettings,
)

US = Identity(node="us", run="run", architecture="same", boot="boot-of-ours")
SPLIT = Split(batches_bytes=8, feedback_bytes=4, move_bytes=(12, 12))
SELECTION = Selection(select=lambda ready, round_: (ready, 1))


def placing(**first: str) -> Placing:
    places = {int(slot[1:]): worker for slot, worker in first.items()}
    return Placing(first=places, replacement=lambda slot, places, workers: None)


def coordinator(**choices: Any) -> CoordinatorSettings:
    usual: dict[str, Any] = {
        "identity": US,
        "neighbors": ("a", "b"),
        "system": SPLIT,
        "rule": placing(s0="a", s1="b"),
        "iterations": 5,
        "exchange_every": 2,
    }
    return CoordinatorSettings(**{**usual, **choices})


def test_rounds_are_counted_up() -> None:
    assert coordinator().rounds == 3
    assert coordinator(exchange_every=5).rounds == 1


def test_an_asynchronous_iteration_is_as_many_updates_as_there_are_slots() -> None:
    assert SPLIT.slots == 2
    assert SPLIT.updates_per_iteration == 1
    late = Split(batches_bytes=8, feedback_bytes=4, move_bytes=(4, 4, 4), is_asynchronous=True)
    assert late.updates_per_iteration == 3


@pytest.mark.parametrize(
    "choices",
    [
        {"iterations": 0},
        {"rule": SELECTION},
        {"system": Federated(model_bytes=8)},
        {"rule": placing(s0="a")},
        {"rule": placing(s0="a", s1="a")},
        {"rule": placing(s0="a", s1="z")},
        {"neighbors": ("a", "a")},
    ],
)
def test_a_coordinator_refuses(choices: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        coordinator(**choices)


def test_a_worker_has_its_coordinator_among_its_neighbors() -> None:
    choices: dict[str, Any] = {
        "identity": US,
        "neighbors": ("a", "b"),
        "system": SPLIT,
        "iterations": 1,
        "exchange_every": 1,
    }
    assert WorkerSettings(coordinator="a", **choices).coordinator == "a"
    with pytest.raises(LocalProtocolError):
        WorkerSettings(coordinator="c", **choices)


@pytest.mark.parametrize("size", [0, -4, 3, 2**31 + 4])
def test_vectors_are_of_whole_numbers(size: int) -> None:
    with pytest.raises(LocalProtocolError):
        Federated(model_bytes=size)
    with pytest.raises(LocalProtocolError):
        Split(batches_bytes=8, feedback_bytes=4, move_bytes=(size,))


def test_there_is_a_discriminator_at_least() -> None:
    with pytest.raises(LocalProtocolError):
        Split(batches_bytes=8, feedback_bytes=4, move_bytes=())
