"""Tiny simulated runs, and ranks that are threads of this process."""

import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.sim.ranks import Ranks
from p2pgan.sim.run import Finished, simulate
from p2pgan.sim.simulation import Simulation

NOWHERE = Path("no-data-needed")
PATIENCE_S = 60

Simulate = Callable[..., Finished]
T = TypeVar("T")


@pytest.fixture
def simulated(tmp_path: Path) -> Simulate:
    """Runs three nodes for 40 iterations in 4 rounds, unless told otherwise."""

    def run(
        name: str = "run",
        on_round: Callable[[Simulation], None] = lambda simulation: None,
        ranks: Ranks | None = None,
        **settings: Any,
    ) -> Finished:
        defaults: dict[str, Any] = {
            "nodes": 3,
            "iterations": 40,
            "exchange_every": 10,
            "device": "cpu",
            "score": ScoreConfig(samples=50, every=2),
        }
        config = RunConfig(**defaults | settings)
        return simulate(config, NOWHERE, tmp_path / name, on_round, ranks=ranks)

    return run


@pytest.fixture
def split(simulated: Simulate) -> Simulate:
    """Runs MD-GAN of three workers, for 9 iterations in rounds of 3, unless told otherwise."""

    def run(name: str = "run", **settings: Any) -> Finished:
        defaults: dict[str, Any] = {
            "algorithm": "md-gan",
            "iterations": 9,
            "exchange_every": 3,
            "score": ScoreConfig(samples=20, every=0),
        }
        return simulated(name, **defaults | settings)

    return run


class Room:
    """Where ranks meet that are threads; counts the values that travel."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.barrier = threading.Barrier(count, timeout=PATIENCE_S)
        self.values: list[Tensor] = [torch.empty(0)] * count
        self.boxes: defaultdict[tuple[int, int], queue.Queue[Tensor]] = defaultdict(queue.Queue)
        self.sent: dict[tuple[int, int], int] = {}

    def run(self, action: Callable[[Ranks], T]) -> list[T | BaseException]:
        """What an action returns or raises at every rank."""

        def run_one(rank: int) -> T | BaseException:
            try:
                return action(Ranks(Seat(self, rank)))
            except BaseException as error:  # for the test to look at
                if isinstance(error, threading.BrokenBarrierError | queue.Empty):
                    raise
                return error

        with ThreadPoolExecutor(self.count) as pool:
            return list(pool.map(run_one, range(self.count)))


class Seat:
    """A link over a room."""

    def __init__(self, room: Room, rank: int) -> None:
        self.rank, self.count, self._room = rank, room.count, room

    def add(self, values: Tensor) -> Tensor:
        assert values.dtype == torch.float64
        assert values.device.type == "cpu"
        self._room.values[self.rank] = values.clone()
        self._room.barrier.wait()
        assert len({tuple(other.shape) for other in self._room.values}) == 1
        total = torch.stack(self._room.values).sum(0)
        self._room.barrier.wait()
        return total

    def swap(self, outgoing: Mapping[int, Tensor], incoming: Mapping[int, int]) -> list[Tensor]:
        assert self.rank not in {*outgoing, *incoming}
        for rank, vectors in outgoing.items():
            assert vectors.dtype == torch.float32
            assert vectors.numel()
            way = (self.rank, rank)
            self._room.sent[way] = self._room.sent.get(way, 0) + vectors.numel()
            self._room.boxes[way].put(vectors.flatten().clone())
        came = [self._room.boxes[rank, self.rank].get(timeout=PATIENCE_S) for rank in incoming]
        assert [len(values) for values in came] == list(incoming.values())
        return came


@pytest.fixture(scope="session")
def room() -> Callable[[int], Room]:
    """A room for so many ranks."""
    return Room
