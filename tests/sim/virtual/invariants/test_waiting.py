"""Nobody waits for ever: a timer that is forgotten is found out, and patience is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from p2pgan.errors import CheckFailed
from p2pgan.protocol import events as ev
from p2pgan.sim.virtual.outages import Outage
from p2pgan.sim.virtual.timeline import Timers
from tests.sim.virtual.trials import Recorded


@contextmanager
def forgotten(monkeypatch: pytest.MonkeyPatch, *names: str) -> Iterator[None]:
    """Timers of these names are set, and never fire."""
    fire = Timers._fire

    def maybe(timers: Timers, name: str) -> None:
        if name not in names:
            fire(timers, name)

    with monkeypatch.context() as patch:
        patch.setattr(Timers, "_fire", maybe)
        yield


def phase_of(recorded: Recorded, node: str) -> str:
    machine = recorded.world.members[node].machine
    assert machine is not None
    return machine.phase.value


def test_who_waits_for_others_in_vain_goes_on(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.world.network.part(frozenset("0"))
    recorded.until(30.0)
    assert phase_of(recorded, "0") == "training"


@pytest.mark.parametrize(
    ("timer", "phase"), [("gather", "gathering"), ("settle", "settling"), ("drain", "leaving")]
)
def test_a_forgotten_timer_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timer: str, phase: str
) -> None:
    """Node 0 hears nothing of the others, who could end its waiting."""
    changes = {"iterations": 20, "final": "average"}
    recorded = Recorded(tmp_path, **(changes if timer == "settle" else {}))
    if timer == "drain":
        recorded.until(25.0)
    recorded.world.network.part(frozenset("0"))
    if timer == "drain":
        recorded.world.stop()
    with forgotten(monkeypatch, timer), pytest.raises(CheckFailed) as caught:
        recorded.play()
    assert phase in caught.value.expected
    assert "nothing disturbed it" in caught.value.got


def test_a_training_that_never_ends_is_found(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path).until(25.0)
    worker = recorded.world.members["1"].worker
    assert worker is not None
    worker.hold()
    with pytest.raises(CheckFailed, match="an end of training") as caught:
        recorded.until(60.0)
    assert "`1`" in caught.value.at


def test_a_pause_is_no_fault_of_the_node(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    outage = Outage(kind="pause", nodes=frozenset("1"), from_s=25.0, to_s=90.0)
    recorded.world._plan(outage)
    recorded.until(90.0)
    slept = [one for one in recorded.moments if one.node == "1" and 26 < one.now < 90]
    assert not any(isinstance(one.event, ev.TrainingDone) for one in slept)
    recorded.until(119.0)


def test_the_last_step_begins_though_somebody_is_gone(tmp_path: Path) -> None:
    """Whoever waits for the dead waits for `final_wait_s`, and the check bears with that."""
    recorded = Recorded(tmp_path, iterations=20, final="average", virtual={"duration_s": 300.0})
    recorded.until(5.0)
    recorded.world._crash("2", returns=False)
    recorded.play()
    assert all(recorded.world.members[node].ended is not None for node in "01")
