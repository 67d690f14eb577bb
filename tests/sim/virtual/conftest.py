"""Tiny runs in virtual time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.sim.virtual.run import Finished, Progress, simulate
from p2pgan.virtual import VirtualConfig

NOWHERE = Path("no-data-needed")


@pytest.fixture
def virtual(tmp_path: Path) -> Callable[..., Finished]:
    """Runs three nodes for 40 iterations in 4 rounds, unless told otherwise."""

    def run(
        name: str = "run",
        on_progress: Callable[[Progress], None] = lambda progress: None,
        replayed: str | None = None,
        made_up: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Finished:
        defaults: dict[str, Any] = {
            "algorithm": "gossip",
            "nodes": 3,
            "iterations": 40,
            "exchange_every": 10,
            "device": "cpu",
            "score": ScoreConfig(samples=50, every=0),
            "virtual": VirtualConfig(**(made_up or {})),
        }
        config = RunConfig(**defaults | settings)
        return simulate(config, NOWHERE, tmp_path / name, on_progress, name=replayed)

    return run
