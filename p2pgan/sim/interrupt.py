"""Ctrl-C that waits for the end of a round, so that what is saved then is whole."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self


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
