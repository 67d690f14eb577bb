"""What workers of both systems do when their coordinator is gone, or refuses them."""

from collections.abc import Callable
from typing import Any

import pytest

from p2pgan.protocol import events as ev
from p2pgan.protocol.messages import Done, Leave

StarOf = Callable[..., Any]
BOTH = pytest.mark.parametrize("system", ["fl", "sync"])


@BOTH
def test_it_waits_for_a_coordinator_that_is_not_there_yet(star_of: StarOf, system: str) -> None:
    star = star_of(2, system, alone_s=50.0)
    star.start(*star.names)
    star.settle(until=lambda: not star.steps())
    assert [star.members[name].phase for name in star.names] == ["gathering"] * 2
    star.start("coordinator")
    star.settle()
    star.check_closed()
    assert star.coordinator.close.reason == "finished"
    assert star.now == 0


@BOTH
@pytest.mark.parametrize("graceful", [True, False])
def test_after_a_while_without_one_it_saves_and_says_so(
    star_of: StarOf, system: str, graceful: bool
) -> None:
    star = star_of(2, system, alone_s=50.0)
    star.start()
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    if graceful:
        star.tell("coordinator", ev.StopRequested())
    else:
        star.kill("coordinator")
    star.settle()
    star.check_closed()
    star.check_accounts()
    assert star.now == 50.0
    for name in star.names:
        member = star.members[name]
        assert member.close.reason == "coordinator gone"
        assert "`coordinator`" in member.close.failure
        assert member.kinds("checkpoint_saved"), "a peer's death is not worth a day's training"


@BOTH
def test_one_that_never_comes_is_no_wait_for_ever(star_of: StarOf, system: str) -> None:
    star = star_of(1, system, alone_s=50.0)
    star.start("w0")
    star.settle()
    assert star.now == 50.0
    assert star.members["w0"].close.reason == "coordinator gone"


@BOTH
def test_one_that_comes_back_in_time_ends_the_wait(star_of: StarOf, system: str) -> None:
    star = star_of(1, system, alone_s=50.0)
    star.start()
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    star.take(("down", "w0", "coordinator"))
    assert "alone" in star.members["w0"].timers
    star.settle(until=lambda: "alone" not in star.members["w0"].timers)
    star.settle()
    star.check_closed()
    assert star.now < 50.0
    assert star.coordinator.close.reason == "finished"


@BOTH
def test_a_worker_that_is_stopped_leaves_the_others_to_it(star_of: StarOf, system: str) -> None:
    star = star_of(3, system)
    star.start()
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    star.tell("w1", ev.StopRequested())
    star.settle()
    star.check_closed()
    star.check_accounts()
    assert star.members["w1"].close.reason == "stopped"
    assert star.members["w1"].kinds("checkpoint_saved")
    assert star.coordinator.close.reason == "finished"
    assert star.now == 0


@BOTH
def test_only_the_coordinator_may_end_it(star_of: StarOf, system: str) -> None:
    star = star_of(2, system)
    star.start()
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    star.settle(until=lambda: "w1" in star.members["w0"].machine._neighborhood.routes.values())
    link = star.members["w0"].machine._neighborhood.links["w1"]
    star.tell("w0", ev.Received(route=link.route, message=Done(clock=1)))
    assert link.faults == 1
    star.settle()
    assert star.coordinator.close.reason == "finished"


@BOTH
def test_a_coordinator_that_leaves_is_as_good_as_gone(star_of: StarOf, system: str) -> None:
    star = star_of(1, system)
    star.start()
    star.settle(until=lambda: star.coordinator.phase == "collecting")
    link = star.members["w0"].machine._neighborhood.links["coordinator"]
    star.tell("w0", ev.Received(route=link.route, message=Leave(clock=1)))
    assert "alone" in star.members["w0"].timers
