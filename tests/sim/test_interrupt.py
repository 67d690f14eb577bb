"""The first SIGINT waits for a round, the second does not; SIGTERM raises."""

import signal
import threading
from collections.abc import Iterator

import pytest

from p2pgan.errors import RankLostError
from p2pgan.sim.interrupt import Interrupt, terminable


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


@pytest.mark.parametrize("count", [0, 1])
def test_who_came_too_late_for_a_check_is_known_afterwards(
    interrupt: Interrupt, count: int
) -> None:
    with interrupt:
        for _ in range(count):
            signal.raise_signal(signal.SIGINT)
    assert interrupt.is_noted == (count == 1)


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


@pytest.fixture
def sigterm() -> Iterator[None]:
    """Whatever a test leaves behind is put back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm")
def test_sigterm_is_an_error_of_ours_and_only_once() -> None:
    """`torchrun` sends it again if it is itself ended; the line must still be told."""
    with pytest.raises(RankLostError, match="got SIGTERM"), terminable(3):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("sigterm")
def test_who_has_lost_another_is_not_ended_before_it_says_so() -> None:
    lost = RankLostError(expected="all", got="one", at="rank 0")
    with pytest.raises(RankLostError, match="got one"), terminable(0):
        raise lost
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("sigterm")
@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_after_anything_else_sigterm_is_as_before(error: BaseException | None) -> None:
    def work() -> None:
        with terminable(0):
            if error:
                raise error

    before = signal.getsignal(signal.SIGTERM)
    if error:
        with pytest.raises(type(error)):
            work()
    else:
        work()
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_sigterm_stays_as_it_is() -> None:
    before, entered = signal.getsignal(signal.SIGTERM), []

    def enter() -> None:
        with terminable(0):
            entered.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [before]
