"""A trial: one seed of everything that virtual time can do to a gossip run, with all checks on.

The algorithm, the overlay, the settings and the rates of all faults are drawn from the seed (swarm
testing: what is left out of a run lets the rest get far). Nodes have a few numbers in place of
networks, so that a trial takes about a second.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from p2pgan.config import ExchangeConfig, RunConfig, ScoreConfig
from p2pgan.daemons import DaemonConfig, MembershipConfig
from p2pgan.record.rundir import RunDirectory
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim.virtual.hardware import speeds
from p2pgan.sim.virtual.links import Links
from p2pgan.sim.virtual.outages import outages
from p2pgan.sim.virtual.presets import resolved
from p2pgan.sim.virtual.run import Stage
from p2pgan.sim.virtual.standin import StandIn, stand_in
from p2pgan.sim.virtual.world import Physics
from p2pgan.virtual import VirtualConfig

NODES: Final = 50
DURATION_S: Final = 600.0
CALM_S: Final = 210.0
"""At the end: what is late by a few rounds comes, and then views have the time to heal."""

EXCHANGE_EVERY: Final = 20
ROUND_S: Final = 20.0
"""Of a machine of mean speed."""

END_S: Final = 60.0
"""Everybody is gone so long after the stop: whoever trains stops at once, and leaves."""

ALGORITHMS: Final = ("gossip", "gossip-ind", "gosgd", "push-sum", "ad-psgd")
OVERLAYS: Final = (
    *("ring", "random-regular:4", "watts-strogatz:4,0.1", "barabasi-albert:2", "torus"),
    *("erdos-renyi", "star"),
)

WATCHED: Final = MembershipConfig(preset="lan", probe_s=2.0, suspicion=1.5)
"""Members that watch each other seldom, since a probe a second would be most of a trial's events,
and suspect nobody for long, so that views are whole well before the end."""

Choice = TypeVar("Choice")

FINALS: Final = (*("none",) * 6, "agree", "average")


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What became of a trial that no check complained about."""

    trace: str
    """Equal for equal seeds."""
    events: int
    """That machines were told."""
    virtual_s: float


def trial(seed: int, nodes: int = NODES, *, watched: bool = False) -> TrialResult:
    """Plays one seed to its end.

    Args:
        seed: decides everything.
        nodes: how many take part.
        watched: whether they watch each other as members, which is most of what they then do.
    Raises:
        CheckFailed: if a check complains, with the command that plays it again.
    """
    config = drawn(seed, nodes, watched=watched)
    with tempfile.TemporaryDirectory(prefix="p2pgan-trial-") as folder:
        stage = stage_of(config, Path(folder))
        stage.world.run(config.virtual.duration_s + END_S)
        assert stage.checkers is not None, "a trial without checks"
        stage.checkers.finish()
        return TrialResult(
            trace=stage.trace.digest(),
            events=stage.trace.events,
            virtual_s=stage.world.timeline.now,
        )


def drawn(seed: int, nodes: int = NODES, *, watched: bool = False) -> RunConfig:
    """The run that a seed stands for; as `trial`."""
    rng = stream(seed, EVERYONE, "trial")
    virtual = VirtualConfig(
        train=_one_of(("none", "gradient-free"), rng),
        preset="random",
        iteration_s=ROUND_S / EXCHANGE_EVERY,
        duration_s=DURATION_S,
        calm_s=CALM_S,
        score_every_s=0.0,
    )
    return RunConfig(
        algorithm=_one_of(ALGORITHMS, rng),
        nodes=nodes,
        overlay=_one_of(OVERLAYS, rng),
        allow_disconnected=True,
        # Some make all of them, and others are stopped amid their work.
        iterations=int(rng.choice((100, 300, 100_000))),
        exchange_every=EXCHANGE_EVERY,
        final=_one_of(FINALS, rng),
        seed=seed,
        device="cpu",
        exchange=ExchangeConfig(
            fanout=int(rng.integers(1, 3)),
            probability=float(rng.choice((1.0, 1.0, 0.5))),
            staleness=_one_of(("none", "none", "polynomial:0.5"), rng),
        ),
        score=ScoreConfig(every=0),
        daemon=DaemonConfig(
            wait_s=float(rng.choice((0.0, 10.0, 30.0))),
            drain_s=float(rng.choice((0.0, 5.0))),
            final_wait_s=float(rng.choice((10.0, 60.0))),
            checkpoint_every=int(rng.choice((0, 3, 10))),
            # The short one fills the queue of who does not read.
            final_round_s=float(rng.choice((0.1, 0.5))),
        ),
        membership=WATCHED if watched else MembershipConfig(),
        virtual=resolved(virtual, seed, ROUND_S),
    )


def _one_of(choices: Sequence[Choice], rng: np.random.Generator) -> Choice:
    return choices[int(rng.integers(len(choices)))]


def stage_of(config: RunConfig, folder: Path) -> Stage:
    """A gossip run without data, with all checks on, of which nothing is written.

    Args:
        config: what is run, its preset resolved.
        folder: an empty one, for checkpoints.
    """
    design = stand_in(config)
    watched = " --watched" if config.membership.preset != "auto" else ""
    stage = Stage(
        design=design,
        overlay=design.overlay,
        physics=_physics(design),
        directory=RunDirectory(folder),
        name="trial",
        replay=f"python -m tools.dst --seed {config.seed} --nodes {len(design.nodes)}{watched}",
    )
    stage.plan()
    return stage


def _physics(design: StandIn) -> Physics:
    """What surrounds the nodes. Speeds are against their mean: where a third of the machines are
    ten times as fast as the usual ones, a trial would be all theirs."""
    config, seed, nodes = design.config.virtual, design.config.seed, design.nodes
    machines = speeds(config, nodes, stream(seed, EVERYONE, "machines"))
    mean = sum(machines.values()) / len(machines)
    iteration_s = {node: config.iteration_s * mean / speed for node, speed in machines.items()}
    return Physics(
        links=Links(config, design.overlay, seed=seed, round_s=ROUND_S),
        outages=outages(config, nodes, config.duration_s, iteration_s, seed),
        iteration_s=iteration_s,
        chunk_bytes=design.config.daemon.chunk_bytes,
        rng=stream(seed, EVERYONE, "network"),
    )
