"""Two hundred seeds of random faults, in which no check complains."""

import pytest

from p2pgan.sim.virtual.trial import trial

SEEDS = 200
BATCH = 10
"""So many seeds a test: what runs tests side by side has something to deal out."""


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_nobody_complains(first: int) -> None:
    for seed in range(first, first + BATCH):
        result = trial(seed)
        assert result.events > 0
