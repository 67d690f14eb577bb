"""Nodes that are started again, and what may come between."""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pgan.config import RunConfig
from p2pgan.daemon import family as family_module
from p2pgan.daemon.family import Child, Family
from p2pgan.daemon.forks import warm_up
from p2pgan.daemon.restarts import RestartPolicy, Restarts
from p2pgan.experiment import prepare
from p2pgan.record.reader import Follower
from p2pgan.record.rundir import RunDirectory

POLICY = RestartPolicy(when="on-failure", most=2)


class Processes:
    """A context whose processes are none; `start` may fail, or be interrupted."""

    def __init__(self) -> None:
        self.on_start: Callable[[], None] = lambda: None
        self.started: list[str] = []

    def Process(self, *, name: str, **_: Any) -> Any:
        return Process(self, name)


class Process:
    """One that never ends."""

    exitcode = None

    def __init__(self, processes: Processes, name: str) -> None:
        self.processes, self.name = processes, name
        self.pid: int | None = None

    def start(self) -> None:
        if self.name != "guard":
            self.processes.on_start()
        self.pid = 10**9
        self.processes.started.append(self.name)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    made = Processes()
    made.Pipe = warm_up().Pipe  # type: ignore[attr-defined]
    monkeypatch.setattr(family_module, "warm_up", lambda: made)
    return made


@pytest.fixture
def family(tmp_path: Path, processes: Processes) -> Iterator[Family]:
    config = RunConfig(nodes=2, iterations=60, exchange_every=10, device="cpu")
    made = Family(
        experiment=prepare(config, tmp_path),
        directory=RunDirectory(tmp_path),
        run="run",
        data_dir=tmp_path,
        policy=POLICY,
    )
    follower = Follower(made.directory.node_events("0"))
    made.children = [Child(node="0", follower=follower, restarts=Restarts(POLICY), again_at_s=0.0)]
    yield made
    made.children.clear()
    made._guard = None
    with made.whole():
        pass


@pytest.mark.parametrize(
    "error", [OSError(errno.EAGAIN, "Resource temporarily unavailable"), EOFError("unexpected EOF")]
)
def test_who_cannot_be_started_again_has_failed_once_more(
    family: Family, processes: Processes, error: Exception
) -> None:
    """The others go on; in the end it stays down."""
    (child,) = family.children

    def refuse() -> None:
        raise error

    processes.on_start = refuse
    said: list[str] = []
    for _ in range(POLICY.most):
        family._start_again(said.append)
        assert child.again_at_s is not None
        assert str(error.args[-1]) in said[-1]
        child.again_at_s = 0.0  # its time has come
    family._start_again(said.append)
    assert child.is_over
    assert "after 2 restarts" in family.failed["0"]


def test_who_can_be_started_at_the_second_time_is_there(
    family: Family, processes: Processes
) -> None:
    (child,) = family.children
    errors = [BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")]

    def refuse_once() -> None:
        if errors:
            raise errors.pop()

    processes.on_start = refuse_once
    said: list[str] = []
    family._start_again(said.append)
    child.again_at_s = 0.0
    family._start_again(said.append)
    assert processes.started == ["guard", "0"]
    assert child.process is not None
    assert said[-1] == "node `0` is started again"


@pytest.mark.parametrize(
    ("ask", "wish"), [(Family.stop, signal.SIGTERM), (Family.abort, signal.SIGINT)]
)
def test_who_is_started_while_all_are_asked_to_stop_hears_of_it(
    family: Family,
    processes: Processes,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[Family], None],
    wish: signal.Signals,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: asked.append((pid, number)))
    processes.on_start = lambda: ask(family)
    family._start_again(lambda line: None)
    assert asked == [(10**9, wish)]
