"""The world: every node's production machine, and all that happens to it, in virtual time.

Theory of operation. One heap says what happens next: a message arrives, a timer or a training is
due, an outage begins or ends. Each node has the host that a daemon has (`p2pgan.node.host`), around
the same machine; network, timers, work and disk are simulated. A node that crashes loses all of
that but its disk, and comes back, if it does, as another incarnation with another boot id. A node
that is suspended keeps it, and hears what has happened once it is awake; nobody waits for one that
never will be.

Nothing here draws from a stream that depends on when it is asked: the same seed is the same world.
"""

from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor

from p2pgan.design import Design
from p2pgan.errors import LocalProtocolError
from p2pgan.node.host import Ended, Host, Surroundings
from p2pgan.node.jobs import JobDone, NodeWork
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.machine import Machine
from p2pgan.protocol.statistics import PeerMachineStatistics
from p2pgan.sim.virtual.disk import Disk
from p2pgan.sim.virtual.links import Links
from p2pgan.sim.virtual.network import Network
from p2pgan.sim.virtual.outages import Outage
from p2pgan.sim.virtual.timeline import Timeline, Timers
from p2pgan.sim.virtual.worker import Together, VirtualWorker
from p2pgan.types import Net

STANDSTILLS: Final = ("freeze", "absence", "pause")
"""Kinds of outages in which nobody trains."""

INCARNATIONS_MAX: Final = 2**32
"""Boot ids have eight digits."""


@dataclass(frozen=True, kw_only=True)
class Role:
    """What a node does in this life."""

    machine: Machine
    work: NodeWork
    seal: Callable[[bytes], bytes] = lambda state: state
    snapshot: Mapping[Any, bytes] = field(default_factory=dict, repr=False)


class Cast(Protocol):
    """Gives every incarnation of every node its machine and its work."""

    def role(self, node: str, boot: str, write: Callable[[Path, bytes], None]) -> Role:
        """What a process that starts now does.

        Args:
            node: its id.
            boot: tells it from its earlier incarnations.
            write: writes a file to its disk, or raises `CheckpointError`.
        """


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A machine was fed an event."""

    now: float
    node: str
    incarnation: int
    event: ev.Event
    instructions: Sequence[do.Instruction]


Watch = Callable[[Moment], None]
"""Told of everything that any machine does."""


@dataclass(frozen=True, kw_only=True)
class Surfaces:
    """What of the world shows outside."""

    record: Callable[[str, do.Record], None] = lambda node, record: None
    """Takes every record of every machine."""
    watch: Watch = lambda moment: None
    injected: Callable[[Outage, str], None] = lambda outage, what: None
    """Told when an outage begins or ends, and how it went in words."""
    failed: Callable[[Moment, Exception], None] = lambda moment, error: None
    """Told of what a machine could not take, before that is raised."""


@dataclass(frozen=True, kw_only=True)
class Physics:
    """What the world is made of."""

    links: Links
    outages: Sequence[Outage]
    iteration_s: Mapping[str, float]
    """Seconds of an iteration at each node."""
    chunk_bytes: int
    rng: np.random.Generator
    """For what the network leaves to chance."""


class Watched:
    """A machine whose every step is shown to somebody."""

    def __init__(self, machine: Machine, member: "Member", surfaces: Surfaces) -> None:
        self._machine, self._member, self._surfaces = machine, member, surfaces

    def handle(self, event: ev.Event, now: float) -> list[do.Instruction]:
        """As `Machine.handle`."""
        self._member.events += 1
        try:
            instructions = self._machine.handle(event, now)
        except (AssertionError, LocalProtocolError) as error:
            self._surfaces.failed(self._moment(event, now, ()), error)
            raise
        self._surfaces.watch(self._moment(event, now, instructions))
        return instructions

    def _moment(self, event: ev.Event, now: float, answers: Sequence[do.Instruction]) -> Moment:
        node, incarnation = self._member.node, self._member.incarnation
        return Moment(
            now=now, node=node, incarnation=incarnation, event=event, instructions=answers
        )


@dataclass(slots=True, eq=False)
class Member:
    """A node, in whatever life."""

    node: str
    incarnation: int = 0
    host: Host | None = None
    """While a process runs."""
    machine: Machine | None = None
    """The latest."""
    worker: VirtualWorker | None = None
    timers: Timers | None = None
    suspended: int = 0
    """Outages that keep it from doing anything."""
    paused: int = 0
    """Outages that keep it from training, those among them."""
    events: int = 0
    """That its machines were fed."""
    deferred: list[ev.Event] = field(default_factory=list)
    """What happened while it was suspended."""
    ended: Ended | None = None
    """How its process ended by itself."""
    left: Mapping[Net, bytes] = field(default_factory=dict)
    """The networks that it ended with, if it did."""

    def statistics(self) -> PeerMachineStatistics:
        """Of the latest machine; there was one."""
        assert self.machine is not None
        return self.machine.statistics()

    def vectors(self, design: Design) -> dict[Net, Tensor]:
        """The networks `(P,)` as they were after the last piece of work; empty if none was done, or
        if they are lost."""
        snapshot = self.host.snapshot if self.host is not None else self.left
        return {
            net: torch.frombuffer(bytearray(data), dtype=torch.float32)[
                : design.model.networks[net].size
            ]
            for net, data in snapshot.items()
        }


class World:
    """All nodes of a run, from the first start to the last end.

    Args:
        neighbors: whom each node connects to.
        cast: gives them their parts.
        physics: what surrounds them.
        together: what computes their trainings.
        disk: what they save to.
        surfaces: what shows outside.
    """

    def __init__(
        self,
        neighbors: Mapping[str, Sequence[str]],
        cast: Cast,
        physics: Physics,
        together: Together,
        disk: Disk,
        surfaces: Surfaces,
    ) -> None:
        self._cast, self._physics, self._together = cast, physics, together
        self.neighbors = neighbors
        self.disk, self._surfaces = disk, surfaces
        self.timeline = Timeline()
        self.network = Network(self.timeline, physics.links, neighbors, self, physics.rng)
        self.members = {node: Member(node) for node in neighbors}
        self._coming = set(neighbors)
        """Nodes that do not run, and will."""
        self._running: dict[str, None] = {}
        """Nodes whose process runs, in the order in which they started."""
        self._lost: set[str] = set()
        """Nodes that sleep for ever; they neither run nor come any more."""
        self.is_stopping = False
        """Whether everybody has been asked to stop; nobody starts any more."""
        late = {
            node for outage in physics.outages if outage.kind == "late" for node in outage.nodes
        }
        self._standstills_s: dict[str, list[float]] = {node: [] for node in neighbors}
        for outage in physics.outages:
            if outage.kind in STANDSTILLS:
                for node in outage.nodes:
                    insort(self._standstills_s[node], outage.from_s)
        for node in neighbors:
            if node not in late:
                self.timeline.at(0.0, partial(self._start, node))
        for outage in physics.outages:
            self._plan(outage)

    # -- running -----------------------------------------------------------------------------------

    def step(self) -> bool:
        """Lets the next thing happen; `False` if nothing is left."""
        return self.timeline.step()

    def run(self, until_s: float | None = None) -> None:
        """Lets things happen until all nodes have ended, or until that time."""
        while not self.is_over:
            next_s = self.timeline.next_s
            if next_s is None or (until_s is not None and next_s > until_s):
                return
            self.timeline.step()

    def stop(self) -> None:
        """Asks everybody to stop; who is not there does not come any more."""
        self.is_stopping = True
        self._coming.clear()
        for node in self.living:
            self.tell(node, ev.StopRequested(reason="stopped"))

    @property
    def events(self) -> int:
        """That machines were fed."""
        return sum(member.events for member in self.members.values())

    @property
    def is_over(self) -> bool:
        """Whether nobody runs, and nobody comes."""
        return not (self._running or self._coming)

    @property
    def living(self) -> list[str]:
        """Nodes whose process runs, suspended or not, but for those that never wake."""
        return list(self._running)

    def iteration_s(self, node: str) -> float:
        """Seconds that an iteration takes at a node."""
        return self._physics.iteration_s[node]

    # -- what the network asks ---------------------------------------------------------------------

    def is_up(self, node: str) -> bool:
        """Whether a process runs there, suspended or not."""
        return self.members[node].host is not None

    def is_suspended(self, node: str) -> bool:
        """Whether its process stands still."""
        return self.members[node].suspended > 0

    def tell(self, node: str, event: ev.Event) -> None:
        """Something has happened to a node; it hears of it once it is awake."""
        member = self.members[node]
        if member.host is None:
            return
        if member.suspended:
            member.deferred.append(event)
        else:
            self._feed(member, [event])

    # -- lives -------------------------------------------------------------------------------------

    def _start(self, node: str) -> None:
        member = self.members[node]
        if member.host is not None or self.is_stopping or node in self._lost:
            return
        self._coming.discard(node)
        self._running[node] = None
        member.incarnation += 1
        assert member.incarnation < INCARNATIONS_MAX
        boot = f"{member.incarnation:08x}"
        role = self._cast.role(node, boot, partial(self.disk.write, node))
        endpoint = self.network.start(node)
        member.machine = role.machine
        member.timers = Timers(
            self.timeline, lambda name: self.tell(node, ev.TimerFired(name=name))
        )
        member.worker = VirtualWorker(
            self.timeline,
            self._together,
            role.work,
            self._physics.iteration_s[node],
            partial(self._outcome, member),
            self._standstills_s[node],
        )
        around = Surroundings(
            network=endpoint,
            worker=member.worker,
            timers=member.timers,
            record=partial(self._surfaces.record, node),
            clock=lambda: self.timeline.now,
            chunk_bytes=self._physics.chunk_bytes,
        )
        member.host = Host(Watched(role.machine, member, self._surfaces), around)
        member.host.provide(role.snapshot, role.seal)
        if member.paused:
            member.worker.hold()
        member.timers.is_held = member.suspended > 0
        self.tell(node, ev.Started())

    def _outcome(self, member: Member, done: JobDone, is_new: bool) -> None:
        """What has come of a job; `is_new`: the machine is not at work, and may look at it."""
        assert member.host is not None
        member.host.take(done)
        if is_new:
            self._feed(member, ())

    def _feed(self, member: Member, events: Sequence[ev.Event]) -> None:
        assert member.host is not None
        member.host.feed(events)
        if member.host is not None and member.host.ended is not None:
            member.ended, member.left = member.host.ended, member.host.snapshot
            self._leave(member)

    def _leave(self, member: Member) -> None:
        """A process is gone, by itself or not."""
        assert member.worker is not None
        assert member.timers is not None
        member.worker.vanish()
        member.timers.clear()
        member.host = None
        self._running.pop(member.node, None)
        member.deferred.clear()
        self.network.crash(member.node)

    # -- outages -----------------------------------------------------------------------------------

    def _plan(self, outage: Outage) -> None:
        if outage.kind == "late":
            for node in sorted(outage.nodes):
                self.timeline.at(outage.to_s, partial(self._join, outage, node))
            return
        self.timeline.at(outage.from_s, partial(self._begin, outage))

    def _join(self, outage: Outage, node: str) -> None:
        if not self.is_stopping:
            self._surfaces.injected(outage, "joins")
            self._start(node)

    def _begin(self, outage: Outage) -> None:
        if self.is_stopping:
            return
        self._surfaces.injected(outage, "begins")
        match outage.kind:
            case "partition":
                self.network.part(outage.nodes)
            case "crash":
                for node in sorted(outage.nodes):
                    self._crash(node, returns=outage.to_s < float("inf"))
            case "freeze" | "absence":
                for node in sorted(outage.nodes):
                    self._suspend(node)
                    if outage.to_s == float("inf"):
                        self._lose(node)
            case "pause":
                for node in sorted(outage.nodes):
                    self._pause(node)
            case "full_disk":
                for node in sorted(outage.nodes):
                    self.disk.fill(node)
        if outage.to_s < float("inf"):
            self.timeline.at(outage.to_s, partial(self._end, outage))

    def _end(self, outage: Outage) -> None:
        self._surfaces.injected(outage, "ends")
        match outage.kind:
            case "partition":
                self.network.heal(outage.nodes)
            case "crash":
                for node in sorted(outage.nodes):
                    if node in self._coming:
                        self._start(node)
            case "freeze" | "absence":
                for node in sorted(outage.nodes):
                    self._resume(node)
            case "pause":
                for node in sorted(outage.nodes):
                    self._unpause(node)
            case "full_disk":
                for node in sorted(outage.nodes):
                    self.disk.free(node)

    def _crash(self, node: str, *, returns: bool) -> None:
        member = self.members[node]
        if member.host is not None:
            self._leave(member)
            if returns and node not in self._lost:
                self._coming.add(node)

    def _suspend(self, node: str) -> None:
        member = self.members[node]
        member.suspended += 1
        self._pause(node)
        if member.timers is not None:
            member.timers.is_held = True
        if member.suspended == 1 and member.host is not None:
            self.network.suspend(node)

    def _lose(self, node: str) -> None:
        """It sleeps, and never wakes."""
        self._lost.add(node)
        self._running.pop(node, None)
        self._coming.discard(node)

    def _resume(self, node: str) -> None:
        member = self.members[node]
        member.suspended -= 1
        self._unpause(node)
        if member.suspended or member.host is None:
            return
        deferred, member.deferred = member.deferred, []
        for event in deferred:
            self.tell(node, event)
        self.network.resume(node)
        if member.timers is not None:
            member.timers.release()

    def _pause(self, node: str) -> None:
        member = self.members[node]
        member.paused += 1
        if member.worker is not None:
            member.worker.hold()

    def _unpause(self, node: str) -> None:
        member = self.members[node]
        member.paused -= 1
        if not member.paused and member.worker is not None:
            member.worker.go_on()
