"""One process for each node of a run: two would write one log, and each other's checkpoints."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from p2pgan.errors import RecordError
from p2pgan.record.reader import Follower
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import NodeStarted

try:
    import fcntl
except ImportError:  # Windows: there it is up to the user
    fcntl = None  # type: ignore[assignment]


@contextmanager
def sole(directory: RunDirectory, node: str) -> Iterator[None]:
    """Holds the folder of a node, as long as no other process does.

    The kernel lets go of it when the process ends, however it ends, so that a node that was killed
    can be started again at once; of one that is frozen it does not. The folder itself is locked: no
    file is left behind, and none has to be made on a full disk. Where the file system knows no such
    locks, nothing is held.

    Raises:
        RecordError: if another process is this node of the run.
    """
    folder = directory.node_events(node).parent
    held: int | None = None
    if fcntl is not None:
        with suppress(OSError):  # who writes there next says what is wrong
            folder.mkdir(parents=True, exist_ok=True)
            held = os.open(folder, os.O_RDONLY)
    try:
        if held is not None:
            _lock(held, directory, node)
        yield
    finally:
        if held is not None:
            os.close(held)


def _lock(held: int, directory: RunDirectory, node: str) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _latest_pid(directory, node)
        raise RecordError(
            expected=f"no other process that is node `{node}` of the run",
            got="one" if pid is None else f"one, by its log process {pid}",
            at=str(directory.node_events(node).parent),
            hint="stop it first; one that is frozen ends when it is killed (`kill -9 PID`)",
        ) from None
    except OSError:  # a file system without locks
        pass


def _latest_pid(directory: RunDirectory, node: str) -> int | None:
    """Of the last process whose start is in the log of a node."""
    log = directory.node_events(node)
    bodies = []
    with suppress(RecordError, OSError):
        bodies = [record.body for record in Follower(log).poll()]
    return next((body.pid for body in reversed(bodies) if isinstance(body, NodeStarted)), None)
