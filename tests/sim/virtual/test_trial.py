"""Two hundred seeds of random faults, in which no check complains; each is one course of events."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch

from p2pgan.sim.virtual.trial import ALGORITHMS, END_S, drawn, stage_of, trial

SEEDS = 200
BATCH = 10
"""So many seeds a test: what runs tests side by side has something to deal out."""

WATCHED_SEEDS = 40
WATCHED_NODES = 12

TRACED = 100
TRACED_NODES = 9
"""A torus has no fewer."""
TRACED_S = 120.0
"""Six rounds, with all kinds of faults in them."""


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_nobody_complains(first: int) -> None:
    for seed in range(first, first + BATCH):
        result = trial(seed)
        assert result.events > 0


@pytest.mark.parametrize("first", range(0, WATCHED_SEEDS, BATCH))
def test_nobody_complains_of_members_that_watch_each_other(first: int) -> None:
    for seed in range(first, first + BATCH):
        trial(seed, WATCHED_NODES, watched=True)


def test_every_algorithm_is_tried() -> None:
    assert {drawn(seed).algorithm for seed in range(SEEDS)} == {*ALGORITHMS}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leaves the number of threads as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def trace_of(seed: int, folder: Path, threads: int) -> str:
    """What happens in a short run of few."""
    torch.set_num_threads(threads)
    config = drawn(seed, TRACED_NODES)
    virtual = msgspec.structs.replace(config.virtual, duration_s=TRACED_S, calm_s=0.0)
    stage = stage_of(msgspec.structs.replace(config, virtual=virtual), folder)
    stage.world.run(TRACED_S + END_S)
    assert stage.trace.events > TRACED_NODES
    return stage.trace.digest()


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, TRACED, BATCH))
def test_a_seed_has_one_trace_on_any_number_of_threads(first: int, tmp_path: Path) -> None:
    traces = set()
    for seed in range(first, first + BATCH):
        found = {trace_of(seed, tmp_path / f"{seed}-{n}", n % 2 + 1) for n in range(3)}
        assert len(found) == 1, f"seed {seed}"
        traces |= found
    assert len(traces) == BATCH, "two seeds have one trace"
