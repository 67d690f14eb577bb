"""A node that hangs in code which lets no other thread of its process run."""

import ctypes
import signal
import threading
import time
from pathlib import Path

from p2pgan.daemon import children

HUNG = "1"
"""The node that does."""

run_child = children.run_child
"""Before somebody puts `run_hung` in its place."""


def run_hung(post: children.Post) -> None:
    """As `run_child`, but one node hangs once it trains."""
    if post.plan.node == HUNG:
        log = post.stderr.with_name("events.jsonl")
        threading.Thread(target=_hang, args=(log,), daemon=True).start()
    run_child(post)


def _hang(log: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while not (log.is_file() and '"round_finished"' in log.read_text()):
        time.sleep(0.01)  # between two looks
    ctypes.PyDLL(None).sleep(10**6)  # `PyDLL` keeps the interpreter's lock
