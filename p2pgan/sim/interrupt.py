"""Signals of a simulation: Ctrl-C that waits for the end of a round, so that what is saved then is
whole, and SIGTERM, which tells one of several processes that another is lost."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from p2pgan.errors import RankLostError


class Interrupt:
    """While entered, the first SIGINT is noted, and the second raises `KeyboardInterrupt` at once.

    Does nothing where SIGINT is not Python's own affair: outside the main thread, or in a process
    that was told to ignore it, as shells tell those that they run in the background.
    """

    def __init__(self, on_noted: Callable[[], None]) -> None:
        """Args: `on_noted`, told of the first SIGINT."""
        self._on_noted = on_noted
        self._noted = False
        self._installed = False

    @property
    def is_noted(self) -> bool:
        """Whether there was a SIGINT, which may have come too late to cut anything short."""
        return self._noted

    def check(self) -> None:
        """Raises `KeyboardInterrupt` if a SIGINT has been noted; to be called between rounds."""
        if self._noted:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._noted = True
        self._on_noted()


@contextmanager
def terminable(rank: int) -> Iterator[None]:
    """While entered, SIGTERM raises: so `torchrun` tells the others when it has lost a process.

    Whoever has lost another ignores SIGTERM from then on: it is about to end by itself, and has
    something to say before. Does nothing outside the main thread.

    Raises:
        RankLostError: at the first SIGTERM, between two instructions.
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise RankLostError(
            expected="all processes to go on",
            got="SIGTERM, which comes when another has ended",
            at=f"rank {rank}",
        )

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except RankLostError:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    except BaseException:
        signal.signal(signal.SIGTERM, before)
        raise
    signal.signal(signal.SIGTERM, before)
