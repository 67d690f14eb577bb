"""How long a suspect may refute."""

import pytest

from p2pgan.protocol import instructions as do
from p2pgan.protocol.core import Core
from p2pgan.protocol.membership.suspicion import (
    MAX_FACTOR,
    SUSPICION_TIMER,
    Suspicions,
    least_s,
    remaining_s,
)
from p2pgan.protocol.membership.timing import PRESETS
from tests.protocol.membership.party import Party, ring


@pytest.mark.parametrize(
    ("confirmations", "expected", "elapsed_s", "left_s"),
    [
        (0, 3, 0.0, 30.0),
        (1, 3, 2.0, 14.0),
        (2, 3, 3.0, 4.81),
        (3, 3, 4.0, -2.0),
        (4, 3, 5.0, -3.0),
        (5, 3, 10.0, -8.0),
    ],
)
def test_memberlists_own_table(
    confirmations: int, expected: int, elapsed_s: float, left_s: float
) -> None:
    """Of `suspicion_test.go`, where min is 2 s and max 30 s; ours is in the same proportion."""
    min_s, max_s = 2.0, 30.0
    ours_min_s = max_s / MAX_FACTOR
    scale = (max_s - ours_min_s) / (max_s - min_s)
    theirs_s = elapsed_s + left_s
    ours_s = remaining_s(confirmations, expected, 0.0, ours_min_s)
    assert ours_s == pytest.approx(max_s - scale * (max_s - theirs_s), abs=0.01)
    assert remaining_s(confirmations, expected, elapsed_s, ours_min_s) == pytest.approx(
        max(0.0, ours_s - elapsed_s)
    )


def test_the_shortest_time_grows_with_the_logarithm_of_the_members() -> None:
    """memberlist's `suspicionTimeout`, with its multiplier of 3."""
    times = [least_s(PRESETS["local"], count) for count in (1, 10, 100, 1000)]
    assert times == pytest.approx([3.0, 3.0, 6.0, 9.0])


def test_where_nobody_can_confirm_the_shortest_time_is_enough() -> None:
    assert remaining_s(0, 0, 1.0, 3.0) == 2.0
    assert remaining_s(0, 1, 1.0, 3.0) == 17.0
    assert remaining_s(1, 1, 1.0, 3.0) == 2.0


@pytest.fixture
def core() -> Core:
    return Party(ring(3)).nodes["n000"].core


def test_confirmations_shorten_what_is_left(core: Core) -> None:
    suspicions = Suspicions(core, PRESETS["local"])
    suspicions.begin("x")
    suspicions.weigh("x", doubters=1, around=8, members=8)
    assert core.take() == [do.SetTimer(name=SUSPICION_TIMER, at_s=18.0)]
    core.now = 1.0
    suspicions.weigh("x", doubters=3, around=8, members=8)
    assert core.take() == [do.SetTimer(name=SUSPICION_TIMER, at_s=3.0)]
    core.now = 3.0
    assert suspicions.take() == ["x"]


def test_a_suspicion_ends(core: Core) -> None:
    suspicions = Suspicions(core, PRESETS["local"])
    suspicions.begin("x")
    suspicions.weigh("x", doubters=1, around=1, members=8)
    suspicions.validate("x")
    suspicions.end("x")
    suspicions.end("x")
    assert not suspicions.has("x")
    assert core.take()[-1] == do.CancelTimer(name=SUSPICION_TIMER)
