"""Parties of machines for all tests of the protocol."""

from collections.abc import Callable
from typing import Any

import pytest

from p2pgan.mixing.agreement import Voter
from p2pgan.protocol.core import LastStepSettings
from tests.protocol.party import INDEPENDENT, JOINT, Party
from tests.protocol.star import Star


@pytest.fixture(scope="session")
def star_of() -> Callable[..., Any]:
    """Builds a `Star`."""
    return Star


@pytest.fixture(scope="session")
def party_of() -> Callable[..., Any]:
    """Builds a `Party`."""
    return Party


@pytest.fixture(scope="session")
def independent() -> Any:
    """The groups of an algorithm that sends G and D to different peers."""
    return INDEPENDENT


def last_step_of(name: Any, edges: Any, *, rounds: int) -> Callable[[str], LastStepSettings]:
    """The last step of each node; where they agree, so many rounds for every stage."""
    stages = ("judging", "counting", "spreading")
    agrees = name == "agree"
    nodes = {node for edge in edges for node in edge}
    around = {
        node: frozenset(a if b == node else b for a, b in edges if node in (a, b)) for node in nodes
    }
    return (
        lambda node: LastStepSettings(
            name=name,
            groups=JOINT,  # type: ignore[arg-type]
            around=around,
            rounds=3 * rounds if agrees else rounds,
            voter=Voter(node) if agrees else None,
            stage=lambda round_: stages[(round_ - 1) // rounds],
            judges=lambda ready: tuple(ready)[:rounds],
            wait_s=20.0,
        )
    )


@pytest.fixture(scope="session")
def last_step() -> Any:
    """Settings of the last step for a `Party`."""
    return last_step_of
