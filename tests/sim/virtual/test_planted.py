"""The checks find what was planted, and complain about nothing in the same seeds without it."""

from collections.abc import Callable

import pytest

from p2pgan.errors import CheckFailed
from p2pgan.sim.virtual.trial import trial
from tests.sim.virtual.planted import PLANTS, WATCHED_PLANTS, Plant

SEEDS_MAX = 200
NODES = 12
"""Fewer than in other trials: most mistakes show in any company."""


FIRST = {"unbounded_queue": 100}
"""Where to begin with what is rare: a queue needs a connection that is full for long. Counted from
0 it is found within `SEEDS_MAX` as well."""


def seeds_needed(seeds: range, *, watched: bool) -> tuple[int, CheckFailed]:
    """The first seed in which a check complains, and what it says."""
    for seed in seeds:
        try:
            trial(seed, NODES, watched=watched)
        except CheckFailed as error:
            return seed, error
    raise AssertionError(f"{len(seeds)} seeds have not found it")


@pytest.mark.parametrize("plant", PLANTS + WATCHED_PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_found(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    with monkeypatch.context() as patch:
        plant(patch)
        watched = plant in WATCHED_PLANTS
        seeds = range(FIRST.get(plant.__name__, 0), SEEDS_MAX)
        seed, error = seeds_needed(seeds, watched=watched)
    record_property("seeds", seed + 1)
    assert f"--seed {seed} " in error.hint
    assert error.story
    trial(seed, NODES, watched=watched)  # without it nobody complains
