"""Whole runs with a coordinator, without sockets."""

from collections.abc import Callable
from typing import Any

import pytest

StarOf = Callable[..., Any]

SYSTEMS = [
    ("fl", 3, 3),
    ("sync", 3, 3),
    ("sync", 5, 3),
    ("async", 3, 3),
    ("async", 5, 3),
    ("sync", 1, 1),
]


@pytest.mark.parametrize(("system", "workers", "slots"), SYSTEMS)
@pytest.mark.parametrize("seed", range(5))
def test_a_run_ends_in_good_order(
    star_of: StarOf, system: str, workers: int, slots: int, seed: int
) -> None:
    star = star_of(workers, system, slots=slots, seed=seed)
    star.start()
    star.settle()
    star.check_closed()
    star.check_accounts()
    (stopped,) = star.coordinator.kinds("node_stopped")
    assert stopped == {"reason": "finished", "iterations": 6, "rounds": 3}
    assert [f["round"] for f in star.coordinator.kinds("round_finished")] == [1, 2, 3]
    for name in star.names:
        (stopped,) = star.members[name].kinds("node_stopped")
        assert stopped["reason"] == "finished"
    assert star.now == 0, "nobody has waited for anything"
