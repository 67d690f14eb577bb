"""Two processes for one node."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from p2pgan.daemon.sole import sole
from p2pgan.errors import RecordError
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import NodeStarted
from p2pgan.record.writer import RecordWriter

pytest.importorskip("fcntl")

OTHER = """
import sys, time
from pathlib import Path
from p2pgan.daemon.sole import sole
from p2pgan.record.rundir import RunDirectory

with sole(RunDirectory(Path(sys.argv[1])), "0"):
    print("held", flush=True)
    time.sleep(10**6)
"""


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


@pytest.fixture
def other(directory: RunDirectory) -> Iterator[subprocess.Popen[str]]:
    """A process that holds node `0`."""
    order = [sys.executable, "-c", OTHER, str(directory.path)]
    with subprocess.Popen(order, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "held\n"
        yield started
        started.kill()


def log_start(directory: RunDirectory, pid: int) -> None:
    with RecordWriter(
        directory.node_events("0"), "run", "0", wall=lambda: datetime.now(UTC), time_s=lambda: 0.0
    ) as writer:
        writer.write(NodeStarted(pid=pid, address="tcp://a:1", control="ipc://c"))


def test_a_frozen_process_is_named_and_a_killed_one_is_gone(
    directory: RunDirectory, other: subprocess.Popen[str]
) -> None:
    log_start(directory, 1)
    log_start(directory, other.pid)
    os.kill(other.pid, signal.SIGSTOP)
    told = f"process {other.pid} - at .*0 .hint: stop it first"
    with pytest.raises(RecordError, match=told), sole(directory, "0"):
        pytest.fail("two are one node")
    other.kill()
    other.wait()
    with sole(directory, "0"):
        pass


def test_other_nodes_of_the_run_do_not_matter(
    directory: RunDirectory, other: subprocess.Popen[str]
) -> None:
    with sole(directory, "1"):
        pass
    with pytest.raises(RecordError, match="got one - at"), sole(directory, "0"):
        pytest.fail("two are one node")


def test_whoever_lets_go_leaves_nothing(directory: RunDirectory) -> None:
    for _ in range(2):
        with sole(directory, "0"):
            pass
    assert list(directory.node_events("0").parent.iterdir()) == []


def test_where_nothing_can_be_locked_nothing_is_held(tmp_path: Path) -> None:
    """Whoever writes there next says what is wrong."""
    (tmp_path / "file").touch()
    with sole(RunDirectory(tmp_path / "file"), "0"):
        pass
