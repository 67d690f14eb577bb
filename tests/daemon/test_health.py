"""What a loop tells of its node."""

import dataclasses
from typing import Any

import pytest

from p2pgan.daemon.health import LOOP_SILENCE_S, Health, Observed
from p2pgan.protocol.instructions import Record
from p2pgan.protocol.phases import Phase
from tests.daemon.statistics import STATISTICS


def health_of(**changes: Any) -> Health:
    observed = Observed()
    statistics = dataclasses.replace(STATISTICS, **changes)
    return observed.health(statistics, now=100.0, begun_s=40.0)


@pytest.mark.parametrize(
    ("now", "is_degraded", "problem"),
    [
        (100.0 + LOOP_SILENCE_S, False, ""),
        (100.1 + LOOP_SILENCE_S, False, "loop"),
        (100.0, True, "hangs"),
    ],
)
def test_a_node_is_healthy_if_loop_and_training_live(
    now: float, is_degraded: bool, problem: str
) -> None:
    told = health_of(is_degraded=is_degraded).problem(now)
    assert problem in told
    assert bool(told) == bool(problem)


@pytest.mark.parametrize("phase", Phase)
def test_who_starts_or_ends_does_not_take_part(phase: Phase) -> None:
    told = health_of(phase=phase.value).standing
    assert (told == "starting") == (phase in (Phase.IDLE, Phase.GATHERING))
    assert (told == "ending") == (phase in (Phase.SAVING, Phase.LEAVING, Phase.CLOSED))


def test_records_are_counted() -> None:
    observed = Observed()
    for kind, fields in (
        ("vector_sent", {"bytes": 10}),
        ("vector_sent", {"bytes": 5}),
        ("vector_dropped", {"bytes": None}),
        ("checkpoint_saved", {}),
    ):
        observed.note(Record(kind=kind, fields=fields, clock=1), 7.0)
    told = observed.health(STATISTICS, now=9.0, begun_s=1.0)
    observed.note(Record(kind="vector_sent", fields={"bytes": 1}, clock=2), 8.0)
    assert told.records == {"vector_sent": 2, "vector_dropped": 1, "checkpoint_saved": 1}
    assert told.vector_bytes == {"vector_sent": 15, "vector_dropped": 0}
    assert (told.saved_s, told.uptime_s) == (7.0, 8.0)
