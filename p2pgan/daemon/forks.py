"""The process that children are forked from, with everything they need already imported.

Light to import itself, so that the fork server can start its slow imports while this process does
its own.
"""

import multiprocessing as mp
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from typing import Final

PRELOADED: Final = ["p2pgan.daemon.supervisor", "torch._dynamo"]
"""Imported once for all children: a child is then ready in a tenth of the time, and shares the
memory. The second is what torch's optimisers import when the first one is made."""

UNHEARD: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
"""What a terminal or a service manager sends to every process of a family at once. The supervisor
alone decides what becomes of it: the fork server ends when it and all children have ended, and its
end is theirs."""


def warm_up() -> ForkServerContext:
    """The context to start children in; its server is running (and busy importing) afterwards."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # which unblocks what it has blocked for itself
    with _deaf_children():
        forkserver.ensure_running()
    return context


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes inherit that a signal is blocked. The server stays so; children call `listen` when
    they are able to, and then hear what was said to them meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, UNHEARD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def listen() -> None:
    """Called by a child: from here on, signals end it unless it sets handlers."""
    for number in UNHEARD:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, UNHEARD)
