"""When a node that has failed is started again."""

import pytest

from p2pgan.daemon.restarts import BACKOFF_MAX_S, WINDOW_S, RestartPolicy, Restarts
from p2pgan.errors import ConfigError


def test_nothing_is_started_again_unasked() -> None:
    restarts = Restarts(RestartPolicy())
    assert restarts.after_failure(0.0) is None
    assert restarts.count == 0


def test_waits_double_until_nothing_helps() -> None:
    restarts = Restarts(RestartPolicy(when="on-failure", most=5))
    now_s, waits = 100.0, []
    while (again_s := restarts.after_failure(now_s)) is not None:
        waits.append(again_s - now_s)
        now_s = again_s  # it fails at once
    assert waits == [1, 2, 4, 8, 16]
    assert restarts.count == 5


def test_what_ran_for_a_minute_begins_anew() -> None:
    restarts = Restarts(RestartPolicy(when="on-failure", most=1))
    for failure in range(4):
        now_s = failure * WINDOW_S
        assert restarts.after_failure(now_s) == now_s + 1
        assert restarts.after_failure(now_s + WINDOW_S / 2) is None
    assert restarts.count == 4


def test_no_wait_is_longer_than_the_longest() -> None:
    restarts = Restarts(RestartPolicy(when="on-failure", most=10))
    assert [restarts.after_failure(0.0) for _ in range(10)][-1] == BACKOFF_MAX_S


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="--restart-max"):
        RestartPolicy(when="on-failure", most=0)
