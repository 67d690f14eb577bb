"""A clock that the tests own, and a writer that reads it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from p2pgan.record.writer import RecordWriter

START = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture
def wall() -> Callable[[], datetime]:
    """One second later at every call."""
    seconds = iter(range(10**9))
    return lambda: START + timedelta(seconds=next(seconds))


@pytest.fixture
def writer_at(wall: Callable[[], datetime]) -> Callable[..., RecordWriter]:
    """A writer of node `n0` in run `trial` at a path."""

    def make(path: Path, flush_every: int = 1) -> RecordWriter:
        return RecordWriter(
            path, "trial", "n0", wall=wall, time_s=lambda: 1.5, flush_every=flush_every
        )

    return make
