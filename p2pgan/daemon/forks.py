"""The process that children are forked from, with everything they need already imported.

Light to import itself, so that the fork server can start its slow imports while this process does
its own.
"""

import multiprocessing as mp
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Final

PRELOADED: Final = ["p2pgan.daemon.supervisor", "torch._dynamo"]
"""Imported once for all children: a child is then ready in a tenth of the time, and shares the
memory. The second is what torch's optimisers import when the first one is made."""


def warm_up() -> ForkServerContext:
    """The context to start children in; its server is running (and busy importing) afterwards."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
    return context
