"""The first SIGINT waits for a round, the second does not."""

import signal
import threading
from collections.abc import Iterator

import pytest

from p2pgan.sim.interrupt import Interrupt


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def interrupt(told: list[str]) -> Interrupt:
    return Interrupt(lambda: told.append("noted"))


def test_the_first_is_noted_and_raised_at_the_next_check(
    interrupt: Interrupt, told: list[str]
) -> None:
    with interrupt:
        interrupt.check()
        signal.raise_signal(signal.SIGINT)
        assert told == ["noted"]
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()


def test_the_second_is_raised_at_once(interrupt: Interrupt, told: list[str]) -> None:
    with interrupt:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert told == ["noted"]


@pytest.mark.parametrize("count", [0, 1])
def test_afterwards_everything_is_as_before(interrupt: Interrupt, count: int) -> None:
    with interrupt:
        for _ in range(count):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_ignores_interrupts_goes_on_ignoring_them(interrupt: Interrupt) -> None:
    """Shells start background jobs so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupt:
        signal.raise_signal(signal.SIGINT)
        interrupt.check()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_another_thread_may_enter_it(interrupt: Interrupt) -> None:
    entered = []

    def enter() -> None:
        with interrupt:
            entered.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [signal.default_int_handler]
