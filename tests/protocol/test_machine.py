"""What all machines share, seen on every kind of node."""

from collections.abc import Callable
from typing import Any

import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import events as ev

StarOf = Callable[..., Any]

NODES = pytest.mark.parametrize(
    ("system", "node"), [(s, n) for s in ("fl", "sync", "async") for n in ("coordinator", "w0")]
)


@NODES
def test_work_that_was_not_asked_for_is_our_own_mistake(
    star_of: StarOf, system: str, node: str
) -> None:
    star = star_of(2, system)
    star.start()
    star.settle(until=lambda: not star.members[node].work and star.members[node].phase != "idle")
    for event in (ev.TrainingDone(iterations=1), ev.MixingDone(weights=()), ev.Started()):
        with pytest.raises(LocalProtocolError, match="something that can happen while"):
            star.members[node].machine.handle(event, star.now)


@NODES
def test_an_abort_closes_at_once(star_of: StarOf, system: str, node: str) -> None:
    star = star_of(2, system, alone_s=9.0)
    star.start()
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    star.tell(node, ev.Abort())
    assert star.members[node].close.reason == "aborted"
    assert not star.members[node].kinds("checkpoint_saved")
    assert star.members[node].machine.handle(ev.Abort(), star.now) == []
    star.killed.add(node)
    star.settle()
    star.check_closed()
    star.check_accounts()


@NODES
@pytest.mark.parametrize("seed", range(4))
def test_work_that_fails_ends_the_node_and_leaves_the_others_to_it(
    star_of: StarOf, system: str, node: str, seed: int
) -> None:
    star = star_of(2, system, seed=seed, alone_s=9.0)
    star.start()
    star.settle(until=lambda: star.members[node].work is not None)
    star.members[node].work = None
    star.tell(node, ev.WorkFailed(text="out of memory"))
    star.settle()
    star.check_closed()
    star.check_accounts()
    assert star.members[node].close.failure == "out of memory"


@NODES
@pytest.mark.parametrize("steps", range(0, 120, 15))
def test_it_can_be_stopped_at_any_time(star_of: StarOf, system: str, node: str, steps: int) -> None:
    star = star_of(3, system, slots=2, alone_s=9.0, seed=steps)
    star.start()
    left = iter(range(steps))
    star.settle(until=lambda: next(left, None) is None)
    star.tell(node, ev.StopRequested())
    star.tell(node, ev.StopRequested())
    star.settle()
    star.check_closed()
    star.check_accounts()
    assert star.members[node].close.reason in ("stopped", "finished")
    assert star.members[node].kinds("checkpoint_saved")


@NODES
def test_its_statistics_are_of_its_peers(star_of: StarOf, system: str, node: str) -> None:
    star = star_of(2, system)
    star.start()
    star.settle()
    statistics = star.members[node].machine.statistics()
    assert statistics.phase == "closed"
    assert statistics.held_bytes == 0
    assert {peer.peer for peer in statistics.peers} == {*star.members} - {node}
    assert sum(peer.sent for peer in statistics.peers) > 0
