"""The process that children are forked from, with everything they need already imported.

Light to import itself, so that the fork server can start its slow imports while this process does
its own.
"""

import multiprocessing as mp
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Final

PRELOADED: Final = ["p2pgan.daemon.supervisor", "torch._dynamo"]
"""Imported once for all children: a child is then ready in a tenth of the time, and shares the
memory. The second is what torch's optimisers import when the first one is made."""

UNHEARD: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a terminal or a service manager sends to every process of a family at once. The supervisor
alone decides what becomes of it: the fork server ends when it and all children have ended, and its
end is theirs."""


def warm_up() -> ForkServerContext:
    """The context to start children in; its server is running (and busy importing) afterwards."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with _deaf_children():
        forkserver.ensure_running()
    return context


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes inherit that a signal is ignored; every node then sets its own handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in UNHEARD}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
