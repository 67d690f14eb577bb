"""Tiny simulated runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.sim.lockstep import Lockstep
from p2pgan.sim.run import Finished, simulate

NOWHERE = Path("no-data-needed")

Simulate = Callable[..., Finished]


@pytest.fixture
def simulated(tmp_path: Path) -> Simulate:
    """Runs three nodes for 40 iterations in 4 rounds, unless told otherwise."""

    def run(
        name: str = "run",
        on_round: Callable[[Lockstep], None] = lambda simulation: None,
        **settings: Any,
    ) -> Finished:
        defaults: dict[str, Any] = {
            "nodes": 3,
            "iterations": 40,
            "exchange_every": 10,
            "device": "cpu",
            "score": ScoreConfig(samples=50, every=2),
        }
        return simulate(RunConfig(**defaults | settings), NOWHERE, tmp_path / name, on_round)

    return run
