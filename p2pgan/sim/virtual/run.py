"""One run in virtual time, from its configuration to its run directory."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from torch import Tensor

from p2pgan.config import RunConfig
from p2pgan.design import Design
from p2pgan.errors import ConfigError
from p2pgan.experiment import Experiment, prepare, spread_out
from p2pgan.gan.cohort import Trainees
from p2pgan.mixing.rules import consensus_distance
from p2pgan.node.results import sum_up
from p2pgan.node.roles import check_algorithm, neighbors_of, whole_overlay
from p2pgan.node.seat import write_checkpoint
from p2pgan.overlay.graph import Overlay
from p2pgan.protocol import instructions as do
from p2pgan.record import schema
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.writer import RecordWriter
from p2pgan.runs import begin, run_started
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim.crew import Crew, trainees
from p2pgan.sim.interrupt import Interrupt
from p2pgan.sim.virtual.cast import Everybody, Peers
from p2pgan.sim.virtual.checkers import Checkers
from p2pgan.sim.virtual.disk import Disk
from p2pgan.sim.virtual.hardware import iterations_s, speeds
from p2pgan.sim.virtual.invariants.ground import Ground, Invariant
from p2pgan.sim.virtual.invariants.mass import Masses
from p2pgan.sim.virtual.invariants.mixtures import Mixtures
from p2pgan.sim.virtual.invariants.saved import Saved
from p2pgan.sim.virtual.links import HELD_ROUNDS, Links
from p2pgan.sim.virtual.outages import Outage, outages
from p2pgan.sim.virtual.presets import resolved
from p2pgan.sim.virtual.standin import StandIn, StandInCohort, stand_in
from p2pgan.sim.virtual.story import Trace
from p2pgan.sim.virtual.worker import Together, one_by_one, together
from p2pgan.sim.virtual.world import Cast, Moment, Physics, Surfaces, Watch, World
from p2pgan.types import NETS, Net

RECORDS_AT_ONCE: Final = 1000
"""Records that may wait in memory."""

LOOKS_PER_RUN: Final = 10
"""How often `virtual.score_every_s = None` looks at the nodes before the end."""

PROGRESS_EVERY_S: Final = 0.2
"""Real seconds between two reports of progress."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is."""

    virtual_s: float
    horizon_s: float
    """When it is expected to end."""
    living: int
    nodes: int
    iterations: int
    """Of all nodes together."""
    events: int
    fid: float | None
    """Mean of the last look; `None`: there was none, or somebody has diverged."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that is over: where it lies and what came of it."""

    directory: RunDirectory
    summary: dict[str, Any]


def simulate(
    config: RunConfig,
    data_dir: Path,
    out: Path | None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_interrupt: Callable[[], None] = lambda: None,
    name: str | None = None,
) -> Finished:
    """Runs a configuration in virtual time; on an interrupt (Ctrl-C), all nodes are stopped, and
    save what there is.

    Args:
        config: what to run.
        data_dir: folder of the data sets; not looked at without networks.
        out: the run directory; `None`: a new one under `runs/`.
        on_progress: told how far it is, a few times a second.
        on_interrupt: told of an interrupt that waits.
        name: name of the run; `None`: that of its directory.
    Raises:
        P2PGanError: for whatever cannot be run, read or written, and for what no node may do.
    """
    start_s = time.monotonic()
    design = prepared(config, data_dir)
    overlay = whole_overlay(design)
    physics = physics_of(design, overlay)
    named = {} if name is None else {"name": name}
    directory = begin(design, out, overlay, clock="virtual", **named)
    stage = Stage(
        design=design,
        overlay=overlay,
        physics=physics,
        directory=directory,
        name=name or directory.path.name,
        replay=f"p2pgan simulate --replay {directory.path}",
    )
    records = RecordWriter(
        directory.events,
        stage.name,
        node="",
        wall=lambda: datetime.now(UTC),
        time_s=lambda: stage.world.timeline.now,
        flush_every=RECORDS_AT_ONCE,
    )
    stage.records = records
    try:
        with records, Interrupt(on_interrupt) as interrupt:
            records.write(run_started(design.config, "virtual"))
            is_interrupted = stage.play(interrupt, on_progress)
    finally:
        stage.close()
    summary = sum_up(
        design,
        directory,
        wall_s=time.monotonic() - start_s,
        interrupted=is_interrupted,
        busy_s=stage.busy_s,
        counted=stage.survivors,
    )
    summary["virtual"] = stage.told()
    directory.write_summary(summary)
    return Finished(directory=directory, summary=summary)


def prepared(config: RunConfig, data_dir: Path) -> Design:
    """What a configuration stands for, its preset resolved.

    Raises:
        P2PGanError: for whatever cannot be run.
    """
    design: Design
    if config.virtual.train != "networks":
        design = stand_in(config)
    else:
        design = prepare(config, data_dir)
        check_algorithm(design)
        _check_links(design)
    if config.virtual.calm_s and config.virtual.calm_s >= config.virtual.duration_s:
        raise ConfigError(
            expected="less than `virtual.duration_s`, at the end of which it lies",
            got=f"`{config.virtual.calm_s:g}` of `{config.virtual.duration_s:g}` seconds",
            at="virtual.calm_s",
        )
    round_s = design.exchange_every * config.virtual.iteration_s
    played = resolved(config.virtual, config.seed, round_s)
    return replace(design, config=msgspec.structs.replace(design.config, virtual=played))


def _check_links(design: Design) -> None:
    """A coordinator's orders are not repeated: it counts on connections that lose nothing while
    they stand, and keep their order, as ZeroMQ's do.

    Raises:
        ConfigError: if the links are to lose, change or delay messages.
    """
    virtual = design.config.virtual
    spoilt = {
        f"virtual.{name}": getattr(virtual, name)
        for name in ("loss", "duplication", "reordering", "corruption", "delay_rounds")
        if getattr(virtual, name)
    }
    if design.algorithm.has_coordinator and (spoilt or virtual.preset != "none"):
        raise ConfigError(
            expected="0: a coordinator counts on connections that lose nothing and keep the order",
            got=", ".join(f"`{value:g}`" for value in spoilt.values()) or f"`{virtual.preset}`",
            at=", ".join(spoilt) or "virtual.preset",
            hint="crashes, freezes, partitions, latencies and bandwidths are fine",
        )


def physics_of(design: Design, overlay: Overlay) -> Physics:
    """Machines, links and faults of a run.

    Args:
        design: what is run.
        overlay: with the coordinator, if there is one.
    Raises:
        ConfigError, OverlayError: for files that cannot be read or do not fit the nodes, and for an
            overlay whose edges do not say what they are to say.
    """
    config, seed, names = design.config.virtual, design.config.seed, overlay.nodes
    round_s = design.exchange_every * config.iteration_s
    each_s = iterations_s(config, speeds(config, names, stream(seed, EVERYONE, "machines")))
    return Physics(
        links=Links(config, overlay, seed=seed, round_s=round_s),
        outages=outages(config, names, horizon_s(design, each_s), each_s, seed),
        iteration_s=each_s,
        chunk_bytes=design.config.daemon.chunk_bytes,
        rng=stream(seed, EVERYONE, "network"),
    )


def horizon_s(design: Design, iteration_s: Mapping[str, float]) -> float:
    """When a run ends: at `duration_s`, or about when the slowest machine is done."""
    config = design.config
    return config.virtual.duration_s or config.iterations * max(iteration_s.values())


@dataclass(eq=False)
class Stage:
    """A world that is played, and what is written of it."""

    design: Design
    overlay: Overlay
    """With the coordinator, if there is one."""
    physics: Physics
    directory: RunDirectory
    name: str
    """Of the run."""
    replay: str
    """The command that plays it again, for a check that fails."""
    records: RecordWriter | None = None
    busy_s: float = 0.0
    """Real seconds of everything but looks at the nodes."""
    faults: dict[str, int] = field(default_factory=dict)
    """Outages that have begun, by kind."""

    def __post_init__(self) -> None:
        design = self.design
        cohort, cast = self._players()
        self._cohort = cohort
        self._together = Together(
            one_by_one if cohort is None else together(cohort),
            design.config.virtual.duration_s or math.inf,
        )
        self.world = World(
            {node: neighbors_of(design, self.overlay, node) for node in self.overlay.nodes},
            cast,
            self.physics,
            self._together,
            Disk(self._store),
            Surfaces(
                record=self._record,
                watch=self._watch,
                injected=self._injected,
                failed=self._failed,
            ),
        )
        self.trace = Trace()
        self.watchers: list[Watch] = [self.trace.add]
        """Told of everything that any machine does, in this order."""
        self.checkers = self._checked(cohort) if design.config.virtual.check else None
        if self.checkers is not None:
            self.checkers.attach(self.world)
            self.watchers.append(self.checkers.watch)
        self._fid: float | None = None
        self._looked_s = 0.0

    def _players(self) -> tuple[Trainees | None, Cast]:
        """Networks, if all are trained together, and who gives them to the nodes."""
        design = self.design
        if design.algorithm.has_coordinator:
            assert isinstance(design, Experiment)
            return None, Everybody(design, self.overlay, self.directory, self.name)
        cohort: Trainees
        if isinstance(design, StandIn):
            cohort = StandInCohort(design)
        else:
            assert isinstance(design, Experiment)
            cohort = trainees(design, design.nodes)
        return cohort, Peers(design, cohort, self.directory, self.name)

    def _checked(self, cohort: Trainees | None) -> Checkers | None:
        """All that can be checked; of runs with a coordinator nothing is, yet."""
        if cohort is None:
            return None
        makers: list[Callable[[Ground], Invariant]] = [lambda ground: Saved(ground, self.directory)]
        if isinstance(self.design, StandIn):  # a few numbers: to do it twice costs nothing
            makers.append(lambda ground: Mixtures(ground, cohort))
        if self.design.algorithm.merging == "push-sum":
            makers.append(lambda ground: Masses(ground, cohort))
        return Checkers(
            self.design, replay=self.replay, calm_s=self._calm_from_s(), invariants=makers
        )

    def _calm_from_s(self) -> float:
        """From when on links lose and change nothing, and what they have held back has come."""
        design, config = self.design, self.design.config.virtual
        faults = (config.loss, config.duplication, config.reordering, config.corruption)
        if not (any(faults) or config.delay_rounds):
            return 0.0
        if not config.calm_s:
            return math.inf
        round_s = design.exchange_every * config.iteration_s
        late_s = (config.delay_rounds + HELD_ROUNDS) * round_s
        return self.horizon_s - config.calm_s + late_s

    # -- playing -----------------------------------------------------------------------------------

    @property
    def horizon_s(self) -> float:
        """When the run is expected to end."""
        return horizon_s(self.design, self.physics.iteration_s)

    def plan(self) -> None:
        """Sets what happens whatever the nodes do: looks, the calm, the end."""
        config, timeline = self.design.config.virtual, self.world.timeline
        self._plan_look()
        if config.calm_s:
            timeline.at(self.horizon_s - config.calm_s, self.physics.links.be_calm)
        if config.duration_s:
            timeline.at(config.duration_s, self.world.stop)

    def play(self, interrupt: Interrupt, on_progress: Callable[[Progress], None]) -> bool:
        """Plays to the end; whether an interrupt has cut it short.

        Raises:
            CheckFailed: if a node does what none may.
        """
        begun_s = shown_s = time.monotonic()
        self.plan()
        is_interrupted = False
        while not self.world.is_over and self.world.step():
            if interrupt.is_noted and not is_interrupted:
                is_interrupted = True
                self.world.stop()
            if time.monotonic() - shown_s > PROGRESS_EVERY_S:
                shown_s = time.monotonic()
                on_progress(self.progress())
        if self.checkers is not None:
            self.checkers.finish()
        if not self.design.algorithm.has_coordinator:
            self._write_consensus(self._standing())
        self.busy_s = time.monotonic() - begun_s - self._looked_s
        return is_interrupted

    def progress(self) -> Progress:
        """How far it is."""
        world = self.world
        return Progress(
            virtual_s=world.timeline.now,
            horizon_s=self.horizon_s,
            living=len(world.living),
            nodes=len(self.overlay.nodes),
            iterations=self._together.trained,
            events=world.events,
            fid=self._fid,
        )

    def close(self) -> None:
        """Ends the processes that train, if there are any."""
        if isinstance(self._cohort, Crew):
            self._cohort.close()

    @property
    def survivors(self) -> list[str]:
        """Nodes that have ended in good order."""
        return [node for node, member in self.world.members.items() if member.ended is not None]

    def told(self) -> dict[str, Any]:
        """`virtual` of the summary."""
        world = self.world
        return {
            "duration_s": world.timeline.now,
            "events": world.events,
            "batched_calls": self._together.calls,
            "trainings": self._together.trainings,
            "messages_lost": world.network.messages_lost,
            "faults": dict(sorted(self.faults.items())),
            "survivors": len(self.survivors),
            "trace": self.trace.digest(),
        }

    # -- looking at the nodes ----------------------------------------------------------------------

    def _plan_look(self) -> None:
        """The next one, if it comes before the end; a coordinator looks at itself."""
        every_s = self.design.config.virtual.score_every_s
        if every_s is None:
            every_s = self.horizon_s / LOOKS_PER_RUN
        at_s = self.world.timeline.now + every_s
        if every_s and at_s <= self.horizon_s and not self.design.algorithm.has_coordinator:
            self.world.timeline.at(at_s, self._look_again)

    def _look_again(self) -> None:
        self.look()
        self._plan_look()

    def look(self) -> None:
        """Scores of some nodes and the consensus of all that are not lost, as they last were
        between two pieces of work, into the log."""
        begun_s = time.monotonic()
        standing = self._standing()
        fids = []
        for node in spread_out(list(standing), self.design.config.virtual.score_nodes):
            scores = self.design.score(standing[node]["G"], node)
            fids.append(scores.fid)
            told = self.world.members[node].statistics()
            body = schema.Scores(
                round=told.round,
                iterations=told.iterations,
                fid=scores.fid,
                ms=scores.ms,
                samples=scores.samples,
            )
            self._write(body, node, told.clock)
        self._fid = sum(fids) / len(fids) if fids else None
        self._write_consensus(standing)
        self._looked_s += time.monotonic() - begun_s

    def _standing(self) -> dict[str, dict[Net, Tensor]]:
        """The networks of all nodes that are not lost, in the run's order."""
        members = {node: self.world.members[node] for node in self.design.nodes}
        found = {node: member.vectors(self.design) for node, member in members.items()}
        return {node: vectors for node, vectors in found.items() if vectors}

    def _write_consensus(self, standing: Mapping[str, Mapping[Net, Tensor]]) -> None:
        if not standing:
            return
        distances = {
            net: consensus_distance(torch.stack([vectors[net] for vectors in standing.values()]))
            for net in NETS
        }
        rounds = max(self.world.members[node].statistics().round for node in standing)
        self._write(schema.Consensus(round=rounds, g=distances["G"], d=distances["D"]))

    # -- writing -----------------------------------------------------------------------------------

    def _store(self, path: Path, data: bytes) -> None:
        if isinstance(self.design, StandIn):  # nobody mourns it in a power cut
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        else:
            write_checkpoint(path, data)

    def _record(self, node: str, record: do.Record) -> None:
        if self.records is None:
            return
        fields = dict(record.fields)
        if record.kind == "checkpoint_saved":
            fields["path"] = str(Path(fields["path"]).relative_to(self.directory.path))
        self._write(msgspec.convert(fields, schema.KINDS[record.kind]), node, record.clock)

    def _watch(self, moment: Moment) -> None:
        for watch in self.watchers:
            watch(moment)

    def _failed(self, moment: Moment, error: Exception) -> None:
        if self.checkers is not None:
            self.checkers.failed(moment, error)

    def _injected(self, outage: Outage, what: str) -> None:
        if self.checkers is not None:
            self.checkers.injected(outage, what)
        if what != "ends":
            self.faults[outage.kind] = self.faults.get(outage.kind, 0) + 1
        if outage.kind == "partition":
            sizes = f"{len(outage.nodes)} of {len(self.overlay.nodes)} nodes on one side"
            self._write(schema.FaultInjected(fault=outage.kind, detail=f"{what}: {sizes}"))
            return
        for node in sorted(outage.nodes):
            self._write(schema.FaultInjected(fault=outage.kind, detail=what), node)

    def _write(self, body: schema.Body, node: str = EVERYONE, clock: int = 0) -> None:
        if self.records is not None:
            self.records.write(body, node=node, clock=clock)
