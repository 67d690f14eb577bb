"""Settings and the Lamport clock."""

from typing import Any

import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol.core import MAX_CLOCK_JUMP, Core, Settings
from p2pgan.protocol.links import Identity


def settings(**changes: Any) -> Settings:
    identity = Identity(node=changes.pop("node", "A"), run="run", architecture="same", boot="boot")
    fields: dict[str, Any] = {
        "neighbors": ("B", "C"),
        "groups": (("G", "D"),),
        "net_bytes": {"G": 8, "D": 4},
        "iterations": 4,
        "exchange_every": 2,
        "draw": lambda ready: ready[:1],
    }
    return Settings(identity=identity, **{**fields, **changes})


@pytest.mark.parametrize(
    "change",
    [
        {"node": ""},
        {"node": "x" * 129},
        {"node": "a\nb"},
        {"neighbors": ("B", "B")},
        {"neighbors": ("A",)},
        {"neighbors": ("B\x1b",)},
        {"net_bytes": {"G": 8, "D": 3}},
        {"net_bytes": {"G": 0, "D": 0}},
        {"net_bytes": {"G": 2**31, "D": 4}},
        {"iterations": 0},
        {"exchange_every": 0},
    ],
    ids=str,
)
def test_settings_that_no_peer_would_accept_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        settings(**change)


def test_a_vector_is_as_long_as_its_networks() -> None:
    assert settings().bytes_of(("G", "D")) == 12
    assert settings().bytes_of(("D",)) == 4


def test_the_clock_is_ahead_of_everything_seen_and_said() -> None:
    core = Core(settings())
    assert [core.tick(), core.tick()] == [1, 2]
    core.observe(10)
    assert core.clock == 11
    core.observe(3)
    assert core.clock == 12
    core.record("peer_joined", peer="B")
    (record,) = core.take()
    assert record.clock == 13  # type: ignore[attr-defined]
    assert core.take() == []


def test_the_clock_does_not_follow_into_the_far_future() -> None:
    core = Core(settings())
    core.observe(MAX_CLOCK_JUMP)
    assert core.clock == MAX_CLOCK_JUMP + 1
    core.observe(2**62)
    assert core.clock == 2 * MAX_CLOCK_JUMP + 2
