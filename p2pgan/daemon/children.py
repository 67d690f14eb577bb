"""What runs in the processes of a supervisor: nodes, and a guard that outlives it by a little.

No process may be left behind, however the supervisor ends. Three things see to that:

- Every node waits for the end of the supervisor in a thread, stops in good order then, and ends
  itself hard if that takes too long.
- A node that is frozen, or hangs in code that lets no other thread run, cannot. So there is a
  guard: a process that waits for the same, gives the nodes that time and a little more, and then
  kills the fork server.
- On Linux every node has asked the kernel to be killed when the fork server ends, which is its
  parent (`PR_SET_PDEATHSIG`); that reaches frozen processes too. Other systems know no such thing:
  there the first point alone holds, and a frozen node ends as soon as it is thawed.
"""

import ctypes
import multiprocessing as mp
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from p2pgan.daemon.forks import listen
from p2pgan.daemon.process import NodePlan, run_node
from p2pgan.errors import P2PGanError

STOP_EXTRA_S: Final = 10.0
"""On top of `daemon.drain_s`: time to end a slice of training and to save, before a kill."""

GUARD_EXTRA_S: Final = 2.0
"""The guard comes after the nodes' own patience with themselves."""

PR_SET_PDEATHSIG: Final = 1
"""From `linux/prctl.h`."""


@dataclass(frozen=True, kw_only=True)
class Post:
    """Where a child process stands; plain data but for the pipe."""

    plan: NodePlan
    stderr: Path
    """Where its words go."""
    lifeline: Connection
    """Its end of a pipe that nobody writes to: the guard sees when all nodes have let go."""


def grace_s(drain_s: float) -> float:
    """How long nodes may take to stop in good order."""
    return drain_s + STOP_EXTRA_S


def run_child(post: Post) -> None:
    """A child process: one node, its words in a file."""
    # Its own process group: a Ctrl-C in the terminal reaches the supervisor alone, which passes it
    # on in good order.
    os.setpgid(0, 0)
    _die_with_fork_server()
    file = post.stderr.open("a", buffering=1)
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    _stop_with_parent(grace_s(post.plan.config.daemon.drain_s))
    listen()  # until the node's loop takes over, a stop simply ends the process
    try:
        status = run_node(post.plan, lambda line: print(line, file=file))
    except P2PGanError as error:
        print(f"p2pgan: {error}", file=file)
        status = 1
    except BaseException:
        traceback.print_exc(file=file)
        raise
    sys.exit(status)


def guard(lifelines: Connection, patience_s: float) -> None:
    """A process that ends the fork server, and so all nodes, some time after the supervisor.

    Args:
        lifelines: the other end of all nodes' lifelines.
        patience_s: how long nodes may take to stop.
    """
    os.setpgid(0, 0)
    listen()
    _die_with_fork_server()
    fork_server = os.getppid()
    connection.wait([_parent_sentinel()])
    if connection.wait([lifelines], timeout=patience_s + GUARD_EXTRA_S):
        return  # nobody is left
    with suppress(ProcessLookupError):
        os.kill(fork_server, signal.SIGKILL)


def _parent_sentinel() -> int:
    parent = mp.parent_process()
    assert parent is not None, "a child has a parent"
    return parent.sentinel


def _stop_with_parent(patience_s: float) -> None:
    """Stops this node in good order when the supervisor is gone, however it went."""
    sentinel = _parent_sentinel()

    def wait_for_end() -> None:
        connection.wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(patience_s)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait_for_end, name="parent", daemon=True).start()


def _die_with_fork_server() -> None:
    """Asks the kernel to kill this process when the one that it was forked from ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
