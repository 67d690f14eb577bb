"""All processes of a supervised run: started, watched through their logs, started again, stopped.

The family holds every port until the end, so that who is started again has its own.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

import msgspec

from p2pgan.daemon import children
from p2pgan.daemon.children import Post, grace_s, guard
from p2pgan.daemon.forks import warm_up
from p2pgan.daemon.process import NodePlan
from p2pgan.daemon.restarts import WINDOW_S, RestartPolicy, Restarts
from p2pgan.daemons import DaemonConfig, http_place
from p2pgan.experiment import Experiment
from p2pgan.inspect.text import count_text
from p2pgan.inspect.words import MergedView
from p2pgan.node.roles import whole_overlay
from p2pgan.record.reader import Follower, in_time
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import NodeStarted, NodeStopped, Record, RoundFinished, Scores
from p2pgan.types import COORDINATOR

WATCH_S: Final = 0.2
"""Between two looks at the logs."""

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


@dataclass(kw_only=True)
class Child:
    """One node, seen from outside."""

    node: str
    follower: Follower
    restarts: Restarts
    process: ForkServerProcess | None = None
    """`None`: it is not there, and is perhaps started again."""
    again_at_s: float | None = None
    """When it is started again."""
    is_up: bool = False
    iterations: int = 0
    scores: Scores | None = None
    gone_s: float | None = None
    """When it ended; `None`: it is there, perhaps since somebody has started it again by hand."""

    @property
    def is_over(self) -> bool:
        return self.process is None and self.again_at_s is None


@dataclass(kw_only=True)
class Family:
    """All children, and how they are asked to stop.

    Args:
        experiment: what is run.
        directory: where; with the overlay and everybody's address.
        run: name of the run.
        data_dir: folder of the data sets.
        policy: what becomes of nodes that fail.
        resume: whether all nodes were started before, and go on.
    """

    experiment: Experiment
    directory: RunDirectory
    run: str
    data_dir: Path
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    resume: bool = False
    children: list[Child] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    is_interrupted: bool = False
    is_aborted: bool = False
    ready_s: float | None = None
    """Seconds until all nodes were up; `None`: they are not yet."""

    def __post_init__(self) -> None:
        self._begun_s = time.monotonic()
        self._kill_at_s: float | None = None
        self._wish: signal.Signals | None = None
        """What all were asked last; whoever is started in that moment has to hear of it too."""
        self._left: set[str] = set()
        """Who was killed since the coordinator was long gone."""
        context = warm_up()
        self._lifelines, self._lifeline = context.Pipe(duplex=False)
        self._guard: ForkServerProcess | None = None

    @property
    def restarts(self) -> dict[str, int]:
        """How often each node was started again, of those that were."""
        return {child.node: child.restarts.count for child in self.children if child.restarts.count}

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Whatever happens inside, no process is left behind."""
        try:
            yield
        finally:
            there = [child.process for child in self.children if child.process is not None]
            for process in (*there, *([self._guard] if self._guard is not None else [])):
                process.kill()
                process.join()
            self._lifelines.close()
            self._lifeline.close()

    def start(self) -> None:
        """Starts a process per node, unless it is told to stop meanwhile."""
        for node in whole_overlay(self.experiment).nodes:
            if self.is_interrupted:
                break
            follower = Follower(self.directory.node_events(node))
            if self.resume:
                follower.poll()  # what was, is no news
            child = Child(node=node, follower=follower, restarts=Restarts(self.policy))
            self.start_child(child, resume=self.resume)
            self.children.append(child)
        if self.is_interrupted:
            self.stop()  # again: the first time there were fewer children, or none

    def start_child(self, child: Child, *, resume: bool) -> None:
        """Starts the process of a node that has none.

        Raises:
            OSError: if the system has no room for one more.
            EOFError: if the fork server went meanwhile.
        """
        context = warm_up()
        if self._guard is None or self._guard.exitcode is not None:  # it ends with its fork server
            patience_s = grace_s(self.experiment.config.daemon.drain_s)
            watching = context.Process(
                target=guard, args=(self._lifelines, patience_s), name="guard", daemon=True
            )
            watching.start()
            self._guard = watching
        stderr = self._stderr(child.node)
        stderr.parent.mkdir(parents=True, exist_ok=True)
        post = Post(
            plan=self._plan(child.node, resume=resume), stderr=stderr, lifeline=self._lifeline
        )
        process = context.Process(
            target=children.run_child, args=(post,), name=child.node, daemon=True
        )
        process.start()
        child.process, child.is_up, child.again_at_s = process, False, None
        if self._wish is not None:
            _signal(child, self._wish)

    def _plan(self, node: str, *, resume: bool) -> NodePlan:
        overlay_file = self.directory.overlay_json
        # The family is drawn already, so the file is what a child has to read.
        config = msgspec.structs.replace(
            self.experiment.config,
            overlay=str(overlay_file),
            allow_disconnected=True,
            daemon=self._daemon_config(node),
        )
        return NodePlan(
            config=config,
            node=node,
            run=self.run,
            directory=self.directory.path,
            data_dir=self.data_dir,
            overlay_file=overlay_file,
            resume=resume,
        )

    def _daemon_config(self, node: str) -> DaemonConfig:
        """Of a node: each has the port for questions after that of the one before."""
        daemon = self.experiment.config.daemon
        if not daemon.http:
            return daemon
        host, port = http_place(daemon.http)
        number = whole_overlay(self.experiment).nodes.index(node)
        place = f"{host}:{port + number if port else 0}"
        return msgspec.structs.replace(daemon, http=place)

    def _stderr(self, node: str) -> Path:
        return self.directory.node_events(node).with_name("stderr.log")

    # -- watching ----------------------------------------------------------------------------------

    def watch(
        self, on_progress: Callable[[Progress], None], view: MergedView, say: Callable[[str], None]
    ) -> None:
        """Returns when all processes have ended, and none is to be started again.

        Args:
            on_progress: told after every look.
            view: takes what the logs have new.
            say: takes lines about processes.
        """
        while not all(child.is_over for child in self.children):
            there = [child.process for child in self.children if child.process is not None]
            connection.wait([process.sentinel for process in there], timeout=WATCH_S)
            self._look(view)
            on_progress(self._progress())
            for child in self.children:
                if child.process is not None and child.process.exitcode is not None:
                    self._bury(child, view, say)
            self._start_again(say)
            self._insist()
            self._kill_left()

    def _look(self, view: MergedView) -> None:
        """Takes note of what the logs have new, by time."""
        new: list[Record] = []
        for child in self.children:
            for record in child.follower.poll():
                _note(child, record)
                new.append(record)
        view.show(sorted(new, key=in_time))
        present = [child.is_up or child.process is None for child in self.children]
        if self.ready_s is None and all(present):
            self.ready_s = time.monotonic() - self._begun_s

    def _bury(self, child: Child, view: MergedView, say: Callable[[str], None]) -> None:
        """Takes note of an ended process; a failure is shown at once."""
        assert child.process is not None
        child.process.join()
        self._look(view)  # its last words, before its end
        code = child.process.exitcode
        child.process, child.gone_s = None, time.monotonic()
        asked = self._kill_at_s is not None
        expected = {0, 130, -signal.SIGTERM, -signal.SIGINT} if asked else {0}
        if code not in expected:
            self._fail(child, self._cause(child, code), say)

    def _fail(self, child: Child, cause: str, say: Callable[[str], None]) -> None:
        """A node has failed, or could not be started: perhaps it is tried again."""
        asked, now = self._kill_at_s is not None, time.monotonic()
        child.is_up, child.again_at_s = False, None
        if not asked and child.node not in self._left:
            child.again_at_s = child.restarts.after_failure(now)
        if child.again_at_s is not None:
            wait_s = child.again_at_s - now
            say(f"node `{child.node}` failed: {cause}; it is started again in {wait_s:g} s")
            return
        if child.restarts.count and not asked:
            times = count_text(self.policy.most, "restart")
            cause += f", after {times} within {WINDOW_S:g} s"
        self.failed[child.node] = cause
        say(f"node `{child.node}` failed: {cause}")

    def _start_again(self, say: Callable[[str], None]) -> None:
        """Starts those whose time has come; who stops the run wants none of them."""
        for child in self.children:
            if child.again_at_s is None:
                continue
            if self._kill_at_s is not None:
                child.again_at_s = None
                self.failed[child.node] = "it was down when the run was stopped"
            elif time.monotonic() >= child.again_at_s:
                try:
                    self.start_child(child, resume=True)
                except (OSError, EOFError) as error:  # the others need not suffer for it
                    self._fail(child, f"no process for it: {error!r}", say)
                else:
                    say(f"node `{child.node}` is started again")

    def _cause(self, child: Child, code: int | None) -> str:
        """Why a node has failed; who was killed had no time to say it."""
        if child.node in self._left:
            return f"still there {self._left_after_s:g} s after its coordinator had ended: killed"
        if code is not None and code < 0:
            return f"ended by signal {-code} ({signal.strsignal(-code) or 'unknown'})"
        return error_line(self._stderr(child.node)) or f"ended with exit status {code}"

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

    # -- stopping ----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Asks all to stop in good order."""
        self.is_interrupted = True
        self._ask(signal.SIGTERM, grace_s(self.experiment.config.daemon.drain_s))

    def abort(self) -> None:
        """Tells all to stop at once."""
        self.is_interrupted = self.is_aborted = True
        self._ask(signal.SIGINT, ABORT_S)

    def _ask(self, wish: signal.Signals, patience_s: float) -> None:
        self._kill_at_s, self._wish = time.monotonic() + patience_s, wish
        for child in self.children:
            _signal(child, wish)

    def _insist(self) -> None:
        """Kills who takes too long to stop."""
        if self._kill_at_s is not None and time.monotonic() >= self._kill_at_s:
            for child in self.children:
                _signal(child, signal.SIGKILL)

    def _kill_left(self) -> None:
        """Kills workers that are still there when all that could keep one has been over for long:
        a frozen one would never end."""
        hub = next((child for child in self.children if child.node == COORDINATOR), None)
        if hub is None or not self.experiment.algorithm.has_coordinator:
            return
        if hub.again_at_s is not None or hub.gone_s is None:
            return
        if time.monotonic() < hub.gone_s + self._left_after_s:
            return
        for child in self.children:
            if child.process is not None:
                self._left.add(child.node)
                _signal(child, signal.SIGKILL)

    @property
    def _left_after_s(self) -> float:
        """What a worker may need to end after its coordinator: to wait for it, drain and save."""
        config = self.experiment.config
        return config.coordinator.wait_s + grace_s(config.daemon.drain_s)


def error_line(path: Path) -> str:
    """The last error that a node has written, without our own prefix; empty if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-ERROR_LINES:]
    except OSError:
        return ""
    told = [line for line in lines if line.startswith("p2pgan: ")]
    shown = (told or [line for line in lines if line.strip()] or [""])[-1]
    return "".join(c if c.isprintable() else "?" for c in shown.removeprefix("p2pgan: "))


def _note(child: Child, record: Record) -> None:
    match record.body:
        case NodeStarted():
            child.is_up, child.gone_s = True, None
        case NodeStopped():
            child.gone_s = time.monotonic()
        case RoundFinished():
            child.iterations = record.body.iterations
        case Scores():
            child.scores = record.body
        case _:
            pass


def _signal(child: Child, number: signal.Signals) -> None:
    process = child.process
    if process is not None and process.pid is not None and process.exitcode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None
