"""Waiting with deadlines, and tiny work in the place of training."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pgan.node.jobs import NodeScores, NodeWork
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival
from p2pgan.types import Net

DEADLINE_S = 30.0


class TinyWork(NodeWork):
    """A network of a few numbers that counts its iterations and averages what arrives."""

    def __init__(self, start: float = 0.0) -> None:
        self.vectors: dict[Net, np.ndarray] = {
            "G": np.full(3000, start, dtype="<f4"),
            "D": np.full(500, start, dtype="<f4"),
        }
        self.iterations = 0
        self.slices: list[int] = []
        self.gate: Callable[[], None] = lambda: None

    def train(self, iterations: int) -> tuple[float, float]:
        self.gate()
        self.iterations += iterations
        self.slices.append(iterations)
        return 1.0, 2.0

    def snapshot(self) -> Mapping[Net, bytes]:
        return {net: vector.tobytes() for net, vector in self.vectors.items()}

    def mix(self, order: do.Mix) -> Mapping[str, float]:
        share = 1 / (1 + len(order.arrivals))
        for arrival in order.arrivals:
            values = np.frombuffer(arrival.data or order.kept[arrival.exchange], dtype="<f4")
            assert values.size == 3500
        return {arrival.exchange: share for arrival in order.arrivals}

    def judge(self, arrival: Arrival) -> float:
        return float(np.frombuffer(arrival.data, dtype="<f4")[0])

    def adopt(self, arrival: Arrival) -> None:
        values = np.frombuffer(arrival.data, dtype="<f4")
        self.vectors = {"G": values[:3000].copy(), "D": values[3000:].copy()}

    def score(self) -> NodeScores:
        return NodeScores(fid=10.0, ms=5.0, samples=4)

    def save(self, state: bytes) -> Path:
        return Path("checkpoint.safetensors")


@pytest.fixture
def tiny_work() -> Callable[..., Any]:
    """Builds `TinyWork`."""
    return TinyWork


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Polls a condition until it is true; its value. Fails after a generous deadline."""

    def wait(condition: Callable[[], Any]) -> Any:
        deadline_s = time.monotonic() + DEADLINE_S
        while not (value := condition()):
            assert time.monotonic() < deadline_s, "the condition never came true"
            time.sleep(0.005)  # between two looks, not for something to happen
        return value

    return wait
