"""Ctrl-C while there is nothing yet that could be ended in good order.

Light to import itself, so that it can come before whatever is slow.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

EXIT_INTERRUPTED: Final = 130
"""What shells say of a command that SIGINT has ended."""


@contextmanager
def ended_by_interrupt() -> Iterator[None]:
    """While entered, SIGINT ends the process at once and without a word, unless it is ignored.

    An exception would not do: libraries that are being imported make others of it.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # whoever has set a handler knows better
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    os._exit(EXIT_INTERRUPTED)
