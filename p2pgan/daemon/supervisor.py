"""N daemons on this machine: started together, watched through their logs, stopped together.

The supervisor holds the ports that the nodes take, and has no part in the run: nodes find each
other from the overlay file as they would on N machines.
"""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from p2pgan.config import RunConfig
from p2pgan.daemon.family import Family, Progress
from p2pgan.daemon.forks import UNHEARD, warm_up
from p2pgan.daemon.process import undaunted
from p2pgan.daemon.restarts import RestartPolicy
from p2pgan.daemon.resuming import name_of, ports_of, resumed
from p2pgan.daemon.transport import hold_port
from p2pgan.errors import P2PGanError
from p2pgan.experiment import Experiment, prepare
from p2pgan.inspect.words import MergedView
from p2pgan.node.results import sum_up
from p2pgan.node.roles import check_algorithm, whole_overlay
from p2pgan.record.rundir import RunDirectory
from p2pgan.runs import begin


@dataclass(frozen=True, kw_only=True)
class UpOptions:
    """How a run is supervised, which decides nothing about its numbers."""

    policy: RestartPolicy = field(default_factory=RestartPolicy)
    logs: bool = False
    """Whether all news of all logs are told, and not warnings alone."""
    resume: RunDirectory | None = None
    """A run that all nodes go on with."""


@dataclass(frozen=True, kw_only=True)
class UpOutcome:
    """A supervised run that is over."""

    directory: RunDirectory
    summary: dict[str, Any]
    failed: Mapping[str, str]
    """Nodes that failed and stayed down, with their error lines."""
    interrupted: bool
    aborted: bool
    """Whether somebody insisted."""
    ready_s: float | None
    """Seconds until all nodes were up."""


def up(
    config: RunConfig,
    data_dir: Path,
    out: Path | None,
    *,
    on_progress: Callable[[Progress], None],
    say: Callable[[str], None],
    options: UpOptions = UpOptions(),
) -> UpOutcome:
    """Runs a configuration with one daemon process per node, until all are done.

    Where the algorithm has a coordinator, that is one process more.

    Args:
        config: what to run; its overlay's own addresses are replaced by local ones.
        data_dir: folder of the data sets.
        out: the run directory; `None`: a new one under `runs/`. Not looked at in a resumed run.
        on_progress: told a few times a second.
        say: takes lines for people, such as the error of a node that failed.
        options: how it is supervised.
    Raises:
        P2PGanError: for whatever cannot be run, read or written. A node that fails does not raise.
    """
    start_s = time.monotonic()
    warm_up()
    on_progress, say = undaunted(on_progress), undaunted(say)
    with gathered(config, data_dir, out, options) as family, _signals(family):
        family.start()
        family.watch(on_progress, MergedView(say, warnings_only=not options.logs), say)
    directory = family.directory
    if not directory.event_files():
        raise _nothing_logged(family, directory)
    result = sum_up(
        family.experiment,
        directory,
        wall_s=time.monotonic() - start_s,
        interrupted=family.is_interrupted,
    )
    result |= {
        "failed": dict(family.failed),
        "restarts": family.restarts,
        "startup_s": family.ready_s,
    }
    directory.write_summary(result)
    return UpOutcome(
        directory=directory,
        summary=result,
        failed=family.failed,
        interrupted=family.is_interrupted,
        aborted=family.is_aborted,
        ready_s=family.ready_s,
    )


@contextmanager
def gathered(
    config: RunConfig, data_dir: Path, out: Path | None, options: UpOptions
) -> Iterator[Family]:
    """A family with a run directory and a port for everybody; nothing of it runs afterwards.

    Args:
        config, data_dir, out, options: as for `up`.
    Raises:
        P2PGanError: for whatever cannot be run, read or written.
    """
    held: list[socket.socket] = []
    try:
        if options.resume is None:
            experiment, directory = _begun(_among_neighbors(config), data_dir, out, held)
        else:
            experiment, directory = resumed(config, data_dir, options.resume), options.resume
            for node, port in ports_of(directory).items():
                held.append(hold_port(port, at=f"node `{node}` of {directory}"))
        family = Family(
            experiment=experiment,
            directory=directory,
            run=name_of(directory),
            data_dir=data_dir,
            policy=options.policy,
            resume=options.resume is not None,
        )
        with family.whole():
            yield family
    finally:
        for reserved in held:
            reserved.close()


def _among_neighbors(config: RunConfig) -> RunConfig:
    """All nodes are processes of one machine, unless somebody wants their times otherwise."""
    membership = config.membership
    if membership.preset != "auto":
        return config
    local = msgspec.structs.replace(membership, preset="local")
    return msgspec.structs.replace(config, membership=local)


def _begun(
    config: RunConfig, data_dir: Path, out: Path | None, held: list[socket.socket]
) -> tuple[Experiment, RunDirectory]:
    """A new run, with a port for everybody; the sockets that hold them are added to `held`."""
    experiment = prepare(config, data_dir)
    check_algorithm(experiment)
    overlay = whole_overlay(experiment)
    addresses = {}
    for node in overlay.nodes:
        held.append(hold_port(0, at="up"))
        addresses[node] = f"tcp://127.0.0.1:{held[-1].getsockname()[1]}"
    return experiment, begin(experiment, out, overlay.with_addresses(addresses))


def _nothing_logged(family: Family, directory: RunDirectory) -> BaseException:
    """No node came as far as its log: too early an interrupt, or whatever the first one says."""
    if family.is_interrupted:
        return KeyboardInterrupt()
    told = next(iter(family.failed.values()), "no word from them")
    return P2PGanError(expected="nodes that start", got=told, at=str(directory))


@contextmanager
def _signals(family: Family) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a terminal that is closed stop all nodes in good order, a second Ctrl-C
    at once. A closed terminal that is to be ignored, as under `nohup`, is."""
    before: dict[signal.Signals, Any] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        del frame
        if family.is_interrupted and number == signal.SIGINT:
            family.abort()
        elif not family.is_interrupted:
            family.stop()

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, on_signal) for number in UNHEARD}
        if before[signal.SIGHUP] is signal.SIG_IGN:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
