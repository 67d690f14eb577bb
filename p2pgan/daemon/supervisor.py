"""N daemons on this machine: started together, watched through their logs, stopped together.

The supervisor holds the ports until the nodes have them, and takes no part in the run: nodes find
each other from the overlay file as they would on N machines.
"""

import multiprocessing as mp
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec

from p2pgan.config import RunConfig
from p2pgan.daemon.forks import warm_up
from p2pgan.daemon.process import NodePlan, run_node
from p2pgan.daemon.transport import reserve_ports
from p2pgan.daemons import DaemonConfig, http_place
from p2pgan.errors import P2PGanError, TransportError
from p2pgan.experiment import Experiment, prepare
from p2pgan.node.results import sum_up
from p2pgan.node.roles import check_algorithm, whole_overlay
from p2pgan.record.reader import Follower
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import NodeStarted, NodeStopped, PeerRefused, RoundFinished, Scores
from p2pgan.runs import begin
from p2pgan.types import COORDINATOR

WATCH_S: Final = 0.2
"""Between two looks at the logs."""

STOP_EXTRA_S: Final = 10.0
"""On top of `daemon.drain_s`: time to end a slice of training and to save, before a kill."""

ABORT_S: Final = 3.0
"""What a second Ctrl-C leaves the nodes."""

ERROR_LINES: Final = 200
"""Of a failed node's stderr, the last lines are searched for its error."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far all nodes are together."""

    iterations: int
    """Of all nodes; with a coordinator, of that."""
    iterations_total: int
    ready: int
    """Nodes that are up."""
    nodes: int
    fid: float | None = None
    """Mean over nodes of their latest scores."""
    ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class UpOutcome:
    """A supervised run that is over."""

    directory: RunDirectory
    summary: dict[str, Any]
    failed: Mapping[str, str]
    """Nodes that failed, with their error lines."""
    interrupted: bool
    ready_s: float | None
    """Seconds until all nodes were up."""


def up(
    config: RunConfig,
    data_dir: Path,
    out: Path | None,
    *,
    on_progress: Callable[[Progress], None],
    say: Callable[[str], None],
) -> UpOutcome:
    """Runs a configuration with one daemon process per node, until all are done.

    Where the algorithm has a coordinator, that is one process more.

    Args:
        config: what to run; its overlay's own addresses are replaced by local ones.
        data_dir: folder of the data sets.
        out: the run directory; `None`: a new one under `runs/`.
        on_progress: told a few times a second.
        say: takes lines for people, such as the error of a node that failed.
    Raises:
        P2PGanError: for whatever cannot be run, read or written. A node that fails does not raise.
    """
    start_s = time.monotonic()
    warm_up()
    experiment = prepare(config, data_dir)
    check_algorithm(experiment)
    overlay = whole_overlay(experiment)
    held, ports = _reserve(len(overlay.nodes))
    try:
        addresses = {
            node: f"tcp://127.0.0.1:{port}" for node, port in zip(overlay.nodes, ports, strict=True)
        }
        directory = begin(experiment, out, overlay.with_addresses(addresses))
        family = _Family(experiment, directory, data_dir, held)
        with _signals(family):
            family.start()
            family.watch(on_progress, say)
    finally:
        for reserved in held:
            reserved.close()
    if not directory.event_files():
        raise _nothing_logged(family, directory)
    result = sum_up(
        experiment,
        directory,
        wall_s=time.monotonic() - start_s,
        interrupted=family.is_interrupted,
    )
    result |= {"failed": dict(family.failed), "startup_s": family.ready_s}
    directory.write_summary(result)
    return UpOutcome(
        directory=directory,
        summary=result,
        failed=family.failed,
        interrupted=family.is_interrupted,
        ready_s=family.ready_s,
    )


def _reserve(count: int) -> tuple[list[socket.socket], list[int]]:
    try:
        return reserve_ports(count)
    except OSError as error:
        raise TransportError(
            expected=f"{count} free ports of 127.0.0.1", got=error.strerror or str(error), at="up"
        ) from None


def _nothing_logged(family: "_Family", directory: RunDirectory) -> BaseException:
    """No node came as far as its log: too early an interrupt, or whatever the first one says."""
    if family.is_interrupted:
        return KeyboardInterrupt()
    told = next(iter(family.failed.values()), "no word from them")
    return P2PGanError(expected="nodes that start", got=told, at=str(directory))


@dataclass(kw_only=True)
class _Child:
    """One node, seen from outside."""

    node: str
    process: ForkServerProcess
    follower: Follower
    is_up: bool = False
    iterations: int = 0
    scores: Scores | None = None
    gone_s: float | None = None
    """When it ended; `None`: it is there, perhaps since somebody has started it again by hand."""


@dataclass
class _Family:
    """All children, and how they are asked to stop."""

    experiment: Experiment
    directory: RunDirectory
    data_dir: Path
    held: list[socket.socket]
    children: list[_Child] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    is_interrupted: bool = False
    ready_s: float | None = None
    _begun_s: float = field(default_factory=time.monotonic)
    _kill_at_s: float | None = None
    _left: set[str] = field(default_factory=set)
    """Who was killed since the coordinator was long gone."""

    def start(self) -> None:
        """Starts a process per node, unless it is told to stop meanwhile."""
        context = warm_up()
        for node in whole_overlay(self.experiment).nodes:
            if self.is_interrupted:
                break
            stderr = self.directory.node_events(node).with_name("stderr.log")
            stderr.parent.mkdir(parents=True, exist_ok=True)
            process = context.Process(
                target=_child, args=(self._plan(node), stderr), name=node, daemon=True
            )
            process.start()
            follower = Follower(self.directory.node_events(node))
            self.children.append(_Child(node=node, process=process, follower=follower))
        if self.is_interrupted:
            self.stop()  # again: the first time there were fewer children, or none

    def _plan(self, node: str) -> NodePlan:
        overlay_file = self.directory.overlay_json
        # The family is drawn already, so the file is what a child has to read.
        config = msgspec.structs.replace(
            self.experiment.config,
            overlay=str(overlay_file),
            allow_disconnected=True,
            daemon=self._daemon_config(),
        )
        return NodePlan(
            config=config,
            node=node,
            run=self.directory.path.name,
            directory=self.directory.path,
            data_dir=self.data_dir,
            overlay_file=overlay_file,
        )

    def _daemon_config(self) -> DaemonConfig:
        """For the next child: each has the port for questions after that of the one before."""
        daemon = self.experiment.config.daemon
        if not daemon.http:
            return daemon
        host, port = http_place(daemon.http)
        place = f"{host}:{port + len(self.children) if port else 0}"
        return msgspec.structs.replace(daemon, http=place)

    def watch(self, on_progress: Callable[[Progress], None], say: Callable[[str], None]) -> None:
        """Returns when all processes have ended."""
        running = list(self.children)
        while running:
            connection.wait([child.process.sentinel for child in running], timeout=WATCH_S)
            for child in running:
                self._follow(child, say)
            self._release_ports()
            on_progress(self._progress())
            for child in [child for child in running if child.process.exitcode is not None]:
                running.remove(child)
                self._bury(child, say)
            if self._kill_at_s is not None and time.monotonic() >= self._kill_at_s:
                for child in running:
                    child.process.kill()
            self._kill_left(running, say)

    def _kill_left(self, running: list[_Child], say: Callable[[str], None]) -> None:
        """Kills workers that are still there when all that could keep one has been over for long:
        a frozen one would never end."""
        hub = next((child for child in self.children if child.node == COORDINATOR), None)
        if hub is None or not self.experiment.algorithm.has_coordinator:
            return
        if hub not in running:
            self._follow(hub, say)  # it may go on in another process
        if hub.gone_s is None or time.monotonic() < hub.gone_s + self._left_after_s:
            return
        for child in running:
            self._left.add(child.node)
            child.process.kill()

    @property
    def _left_after_s(self) -> float:
        """What a worker may need to end after its coordinator: to wait for it, drain and save."""
        config = self.experiment.config
        return config.coordinator.wait_s + config.daemon.drain_s + STOP_EXTRA_S

    def stop(self) -> None:
        """Asks all to stop in good order."""
        self._kill_at_s = time.monotonic() + self.experiment.config.daemon.drain_s + STOP_EXTRA_S
        self._signal(signal.SIGTERM)

    def abort(self) -> None:
        """Tells all to stop at once."""
        self._kill_at_s = time.monotonic() + ABORT_S
        self._signal(signal.SIGINT)

    def _signal(self, number: int) -> None:
        for child in self.children:
            if child.process.pid is not None and child.process.exitcode is None:
                with suppress(ProcessLookupError):
                    os.kill(child.process.pid, number)

    def _follow(self, child: _Child, say: Callable[[str], None]) -> None:
        for record in child.follower.poll():
            match record.body:
                case NodeStarted():
                    child.is_up, child.gone_s = True, None
                case NodeStopped():
                    child.gone_s = time.monotonic()
                case RoundFinished():
                    child.iterations = record.body.iterations
                case Scores():
                    child.scores = record.body
                case PeerRefused() if record.body.reason != "leaving":
                    say(f"node `{child.node}`, peer `{record.body.peer}`: {record.body.reason}")
                case _:
                    pass

    def _release_ports(self) -> None:
        """Once every node is up (or gone), nobody else can take its port."""
        up = [child.is_up or child.process.exitcode is not None for child in self.children]
        if self.held and all(up):
            self.ready_s = time.monotonic() - self._begun_s
            for reserved in self.held:
                reserved.close()
            self.held.clear()

    def _bury(self, child: _Child, say: Callable[[str], None]) -> None:
        """Takes note of an ended process; a failure is shown at once."""
        child.process.join()
        self._follow(child, say)  # its last words, before its end
        child.gone_s = time.monotonic()
        code = child.process.exitcode
        asked = self._kill_at_s is not None
        expected = {0, 130, -signal.SIGTERM, -signal.SIGINT} if asked else {0}
        if code not in expected:
            self.failed[child.node] = self._cause(child, code)
            say(f"node `{child.node}` failed: {self.failed[child.node]}")

    def _cause(self, child: _Child, code: int | None) -> str:
        """Why a node has failed; who was killed had no time to say it."""
        if child.node in self._left:
            return f"still there {self._left_after_s:g} s after its coordinator had ended: killed"
        if code is not None and code < 0:
            return f"ended by signal {-code} ({signal.strsignal(-code) or 'unknown'})"
        error = _error_line(self.directory.node_events(child.node).with_name("stderr.log"))
        return error or f"ended with exit status {code}"

    def _progress(self) -> Progress:
        scores = [child.scores for child in self.children if child.scores is not None]
        counted = self.children
        if self.experiment.algorithm.has_coordinator:  # its iterations are everybody's
            counted = [child for child in counted if child.node == COORDINATOR]
        return Progress(
            iterations=sum(child.iterations for child in counted),
            iterations_total=self.experiment.config.iterations * len(counted),
            ready=sum(child.is_up for child in self.children),
            nodes=len(self.children),
            fid=_mean([score.fid for score in scores]),
            ms=_mean([score.ms for score in scores]),
        )


@contextmanager
def _signals(family: _Family) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop all nodes in good order, a second Ctrl-C at once; whatever happens,
    no process is left behind."""
    before: dict[int, Any] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        del frame
        if family.is_interrupted and number == signal.SIGINT:
            family.abort()
        elif not family.is_interrupted:
            family.is_interrupted = True
            family.stop()

    if threading.current_thread() is threading.main_thread():
        before = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for child in family.children:
            if child.process.exitcode is None:
                child.process.kill()
                child.process.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def _child(plan: NodePlan, stderr: Path) -> None:
    """A child process: one node, its words in a file."""
    # Its own process group: a Ctrl-C in the terminal reaches the supervisor alone, which passes it
    # on in good order.
    os.setpgid(0, 0)
    file = stderr.open("a", buffering=1)
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    _die_with_parent()
    # Until the node's loop takes over, a stop simply ends the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        status = run_node(plan, lambda line: print(line, file=file))
    except P2PGanError as error:
        print(f"p2pgan: {error}", file=file)
        status = 1
    except BaseException:
        traceback.print_exc(file=file)
        raise
    sys.exit(status)


def _die_with_parent() -> None:
    """Stops this node in good order when the supervisor is gone, however it went."""
    parent = mp.parent_process()
    assert parent is not None, "a child has a parent"

    def wait_for_end() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_end, name="parent", daemon=True).start()


def _error_line(path: Path) -> str:
    """The last error that a node has written, without our own prefix; empty if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-ERROR_LINES:]
    except OSError:
        return ""
    told = [line for line in lines if line.startswith("p2pgan: ")]
    shown = (told or [line for line in lines if line.strip()] or [""])[-1]
    return "".join(c if c.isprintable() else "?" for c in shown.removeprefix("p2pgan: "))


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None
