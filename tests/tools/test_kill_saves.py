"""A daemon that is killed while it saves."""

import subprocess
import sys

import pytest

from p2pgan.files import POINTS
from tools import kill_saves


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")
def test_nothing_is_lost_at_any_point_in_saving() -> None:
    """In a process of its own, which has no threads that a fork would miss."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.kill_saves", "--kills", "2"],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[: len(POINTS)]] == [
        f"killed at `{point}`" for point in POINTS
    ]
    assert lines[-1] == f"{len(POINTS) + 2} kills; nothing was lost"


def test_every_kill_ends_another_life() -> None:
    ends = list(kill_saves.lives(kills=3, seed=1))
    assert len(ends) == len(POINTS) + 3
    assert len({what for what, _, _ in ends}) == len(ends)
