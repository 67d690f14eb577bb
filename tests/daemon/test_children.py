"""No process is left behind, whatever happens to the supervisor and its helpers.

Every supervisor here leads a session of its own, and all that it starts stays in that: what is left
of the run is what is left of the session.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from p2pgan.record.rundir import RunDirectory, records_of
from p2pgan.record.schema import NodeStarted, NodeStopped, RoundFinished
from tests.daemon.hung import HUNG

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; see p2pgan.daemon.children"),
]

Until = Callable[[Callable[[], Any]], Any]

IMPATIENT = """
import sys
from pathlib import Path
from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.daemon import children, supervisor
from p2pgan.daemons import DaemonConfig

children.STOP_EXTRA_S = 0.5
if len(sys.argv) > 2:
    from tests.daemon.hung import run_hung
    children.run_child = run_hung
out = Path(sys.argv[1])
config = RunConfig(
    nodes=3, iterations=10**8, exchange_every=10, device="cpu",
    score=ScoreConfig(samples=20, every=0), daemon=DaemonConfig(drain_s=0.5),
)
ended = supervisor.up(config, out.parent, out, on_progress=lambda progress: None, say=print)
sys.exit(1 if ended.failed else 0)
"""
"""A supervisor that gives its nodes a second to stop; the nodes give themselves ten more."""


class Session:
    """A supervisor, and all processes that descend from it."""

    def __init__(self, out: Path, *more: str) -> None:
        command = [sys.executable, "-c", IMPATIENT, str(out), *more]
        self.out = out
        self.supervisor = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=Path(__file__).parents[2],
        )

    def pids(self) -> set[int]:
        """Who is there; zombies are not."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.supervisor.pid and state != "Z":
                    found.add(int(path.parent.name))
        return found

    def started(self) -> dict[str, int]:
        """Process id of each node that is up."""
        if len(RunDirectory(self.out).event_files()) < 3:
            return {}
        return {
            record.node: record.body.pid
            for record in records_of(RunDirectory(self.out))
            if isinstance(record.body, NodeStarted) and record.body.pid is not None
        }

    def is_training(self) -> bool:
        if len(self.started()) < 3:
            return False
        records = records_of(RunDirectory(self.out))
        return len({r.node for r in records if isinstance(r.body, RoundFinished)}) == 3

    def fork_server(self) -> int:
        """The parent of all nodes."""
        (parent,) = {
            int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            for pid in self.started().values()
        }
        return parent

    def stopped(self) -> set[str]:
        """Nodes that have ended in good order."""
        records = records_of(RunDirectory(self.out))
        return {record.node for record in records if isinstance(record.body, NodeStopped)}

    def close(self) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.supervisor.communicate()


@pytest.fixture
def session(tmp_path: Path, until: Until) -> Iterator[Session]:
    made = Session(tmp_path / "run")
    try:
        until(made.is_training)
        yield made
    finally:
        made.close()


def test_a_frozen_node_does_not_outlive_a_supervisor_that_was_killed(
    session: Session, until: Until
) -> None:
    """The others stop in good order; the guard ends the frozen one and the fork server."""
    os.kill(session.started()["1"], signal.SIGSTOP)
    session.supervisor.kill()
    until(lambda: not session.pids())
    assert session.stopped() == {"0", "2"}


def test_a_node_that_hangs_does_not_either(tmp_path: Path, until: Until) -> None:
    """Its own threads cannot end it, nor can a signal that it would have to handle."""
    session = Session(tmp_path / "run", "hung")
    try:
        until(session.is_training)
        session.supervisor.kill()
        until(lambda: not session.pids())
        assert HUNG not in session.stopped()
    finally:
        session.close()


def test_without_the_fork_server_nobody_goes_on(session: Session, until: Until) -> None:
    """And the supervisor says so."""
    os.kill(session.fork_server(), signal.SIGKILL)
    said, _ = session.supervisor.communicate(timeout=60)
    assert said.count(b"failed:") == 3
    until(lambda: not session.pids())


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_what_reaches_the_whole_group_stops_the_nodes_in_good_order(
    session: Session, until: Until, number: signal.Signals
) -> None:
    """A terminal that is closed, or a service manager that ends all processes of a service."""
    os.killpg(session.supervisor.pid, number)
    said, _ = session.supervisor.communicate(timeout=60)
    assert session.supervisor.returncode == 0, said
    assert session.stopped() == {"0", "1", "2"}
    until(lambda: not session.pids())
