"""Real daemons that are killed, frozen and started again on purpose, and what their logs tell.

It ends only processes that it has started, and leaves none behind. What is to be wrong with a node
from its start on lies in files beside its log; see `run_disturbed`.
"""

import json
import os
import resource
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from p2pgan.config import RunConfig
from p2pgan.daemon import children, control, trainer
from p2pgan.daemon.family import Family
from p2pgan.daemon.supervisor import UpOptions, gathered
from p2pgan.daemon.transport import Transport
from p2pgan.overlay import files as overlay_files
from p2pgan.record.reader import Follower
from p2pgan.record.schema import NodeStarted, Record
from p2pgan.types import COORDINATOR

LOOK_S: Final = 0.05
"""Between two looks at the logs: how exact times are."""

DEADLINE_S: Final = 120.0
"""For whatever is waited for, if nobody says otherwise."""

STUCK: Final = "stuck"
"""A file of this name beside a node's log makes its training hang."""

ROUTES: Final = "routes.json"
"""A file of this name says where a node connects in place of which addresses."""

DESCRIPTORS: Final = "descriptors"
"""A file of this name says how many files and sockets a node may have open."""

run_plain = children.run_child
"""What runs a node, before it is replaced."""


class TooLate(Exception):  # noqa: N818 - what happened
    """What was waited for has not come."""


class Chaos:
    """A run of real daemons, and the means to disturb it. Made by `chaos`."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._children = {child.node: child for child in family.children}
        self._followers = {child.node: child.follower for child in family.children}
        self._records: dict[str, list[Record]] = defaultdict(list)
        """All of all logs by kind, as far as they were looked at, in the order in which they came.
        """

    @property
    def nodes(self) -> list[str]:
        """All nodes, a coordinator included."""
        return list(self._children)

    # -- disturbing --------------------------------------------------------------------------------

    def signal(self, node: str, number: signal.Signals) -> float:
        """Sends a signal to a node; the wall time at which it was sent."""
        os.kill(self.pid(node), number)
        return time.time()

    def kill(self, nodes: Iterable[str]) -> float:
        """Ends nodes by SIGKILL, all at once; the wall time just before."""
        killed, begun_s = list(nodes), time.time()
        for node in killed:
            self.signal(node, signal.SIGKILL)
        for node in killed:
            self.status(node)
        return begun_s

    def freeze(self, node: str) -> float:
        """Stops a process where it is, until `thaw`; the wall time."""
        return self.signal(node, signal.SIGSTOP)

    def thaw(self, node: str) -> float:
        """Lets a frozen process go on; the wall time."""
        return self.signal(node, signal.SIGCONT)

    def hang(self, node: str) -> float:
        """Lets a node's training hang while the node still answers; the wall time."""
        self.family.directory.node_events(node).with_name(STUCK).touch()
        return time.time()

    def start_again(self, node: str, *, resume: bool = True) -> float:
        """Starts a node that has ended, at its own address; the wall time."""
        self.family.start_child(self._children[node], resume=resume)
        return time.time()

    def status(self, node: str, deadline_s: float = DEADLINE_S) -> int:
        """The exit status of a node that ends; negative: the signal that has ended it.

        Raises:
            TooLate: if it does not end.
        """
        child = self._children[node]
        assert child.process is not None, "it has ended before"
        child.process.join(deadline_s)
        if child.process.exitcode is None:
            raise TooLate(f"node `{node}` is there after {deadline_s:g} s")
        status, child.process = child.process.exitcode, None
        return status

    # -- asking ------------------------------------------------------------------------------------

    def follow(self, node: str) -> None:
        """Looks at the log of a node as well that somebody else has started in this run."""
        self._followers[node] = Follower(self.family.directory.node_events(node))

    def address(self, node: str) -> str:
        """Where a node of the overlay listens."""
        return addresses(self.family)[node]

    def ask(self, node: str, question: control.Request) -> control.Answer:
        """Asks a node over its control socket.

        Raises:
            TransportError: if it does not answer.
        """
        started = self.logged("node_started", [node])[-1].body
        assert isinstance(started, NodeStarted), "a record's body is of its kind"
        assert started.control is not None, "a daemon has a control socket"
        return control.request(started.control, question, DEADLINE_S)

    # -- looking -----------------------------------------------------------------------------------

    def wait(
        self, what: str, condition: Callable[[], bool], deadline_s: float = DEADLINE_S
    ) -> float:
        """Looks at the logs until a condition on them is true; the seconds that it took.

        Raises:
            TooLate: naming `what` has not come.
        """
        begun_s = time.monotonic()
        while True:
            self.look()
            passed_s = time.monotonic() - begun_s
            if condition():
                return passed_s
            if passed_s > deadline_s:
                raise TooLate(f"not within {deadline_s:g} s: {what}")
            time.sleep(LOOK_S)

    def watch(self, seconds: float) -> None:
        """Lets the run go on."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.look()
            time.sleep(LOOK_S)

    def look(self) -> None:
        """Reads what the logs have new."""
        for follower in self._followers.values():
            for record in follower.poll():
                self._records[record.kind].append(record)

    def logged(
        self, kind: str, nodes: Iterable[str] | None = None, since_s: float = 0.0
    ) -> list[Record]:
        """Records of a kind.

        Args:
            kind: such as `vector_mixed`.
            nodes: whose; `None`: all.
            since_s: wall time of the first.
        """
        of = set(self._followers if nodes is None else nodes)
        return [
            record
            for record in self._records[kind]
            if record.node in of and record.wall.timestamp() >= since_s
        ]

    # -- figures -----------------------------------------------------------------------------------

    def noticed_s(
        self, kind: str, peer: str, since_s: float, reason: str | None = None
    ) -> dict[str, float]:
        """For each node that has logged it, the seconds until it has.

        Args:
            kind: `peer_suspected`, `peer_lost`, …
            peer: of whom.
            since_s: wall time of what happened to it.
            reason: of `peer_lost`; `None`: any.
        """
        found: dict[str, float] = {}
        for record in self.logged(kind, since_s=since_s):
            if getattr(record.body, "peer", None) != peer:
                continue
            if reason is None or getattr(record.body, "reason", None) == reason:
                found.setdefault(record.node, record.wall.timestamp() - since_s)
        return found

    def pid(self, node: str) -> int:
        """Process of a node that is there."""
        process = self._children[node].process
        assert process is not None, f"node `{node}` has ended"
        assert process.pid is not None, "it was started"
        return process.pid

    def rss_bytes(self, node: str) -> int:
        """Memory of a node's process (Linux)."""
        pages = int(Path(f"/proc/{self.pid(node)}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self, node: str) -> int:
        """Open files and sockets of a node's process (Linux)."""
        return len(list(Path(f"/proc/{self.pid(node)}/fd").iterdir()))

    def cpu_share(self, node: str, seconds: float = 5.0) -> float:
        """Cores that a node's process keeps busy, over some seconds from now (Linux)."""
        before = self._cpu_s(node)
        self.watch(seconds)
        return (self._cpu_s(node) - before) / seconds

    def _cpu_s(self, node: str) -> float:
        fields = Path(f"/proc/{self.pid(node)}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def tracebacks(self) -> list[str]:
        """Nodes whose stderr holds one."""
        files = {
            node: self.family.directory.node_events(node).with_name("stderr.log")
            for node in self.nodes
        }
        return [node for node, file in files.items() if "Traceback" in file.read_text()]


@contextmanager
def chaos(
    config: RunConfig,
    data_dir: Path,
    out: Path,
    prepare: Callable[[Family], None] = lambda family: None,
) -> Iterator[Chaos]:
    """A run whose nodes have all finished a round (of a coordinator's: itself).

    Args:
        config, data_dir, out: of the run.
        prepare: writes what is to be wrong with nodes from the start.
    """
    children.run_child = run_disturbed
    try:
        with gathered(config, data_dir, out, UpOptions()) as family:
            prepare(family)
            family.start()
            running = Chaos(family)
            busy = [COORDINATOR] if COORDINATOR in running.nodes else running.nodes
            running.wait(
                "a round of every node",
                lambda: {record.node for record in running.logged("round_finished")} >= set(busy),
            )
            yield running
    finally:
        children.run_child = run_plain


def addresses(family: Family) -> dict[str, str]:
    """Where each node listens."""
    overlay = overlay_files.read(family.directory.overlay_json)
    return {node: overlay.address(node) or "" for node in overlay.nodes}


def put_beside(family: Family, node: str, name: str, text: str) -> None:
    """Writes a file beside a node's log, for `run_disturbed`."""
    path = family.directory.node_events(node).with_name(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run_disturbed(post: children.Post) -> None:
    """A node as under `up`, with what the files beside its log say is wrong with it."""
    folder = post.stderr.parent
    _hang_at(folder / STUCK)
    if (routes := folder / ROUTES).exists():
        _go_by(json.loads(routes.read_text(encoding="utf-8")))
    if (limit := folder / DESCRIPTORS).exists():
        most = int(limit.read_text(encoding="utf-8"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    run_plain(post)


def _hang_at(mark: Path) -> None:
    """Has the training hang for ever once there is a file."""
    resize = trainer.Trainer._resize

    def stuck(self: trainer.Trainer, count: int, took_s: float) -> None:
        while mark.exists():
            time.sleep(LOOK_S)
        resize(self, count, took_s)

    trainer.Trainer._resize = stuck  # type: ignore[method-assign]


def _go_by(routes: Mapping[str, str]) -> None:
    """Has this process connect elsewhere, whoever tells it of an address."""
    dial = Transport.dial

    def dial_by(self: Transport, peer: str, address: str) -> None:
        dial(self, peer, routes.get(address, address))

    Transport.dial = dial_by  # type: ignore[method-assign]
