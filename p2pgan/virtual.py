"""What virtual time makes up: machines, links and faults of `simulate --clock virtual`.

Rates are per hour of virtual time unless they say otherwise. With all defaults machines are equal,
links take no time, and nothing ever fails: that is the lockstep simulator's world, event by event.
"""

import math
from typing import Literal

import msgspec

from p2pgan.distributions import bandwidth, latency, sessions, speeds
from p2pgan.ranges import check

ITERATION_MAX_S = 86_400.0
"""A day: whoever waits for more has lost a digit."""


class VirtualConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Virtual time (`simulate --clock virtual`): machines, links and faults, all from the seed."""

    train: Literal["networks", "gradient-free", "none"] = "networks"
    """What training does: the real one, a cheap stand-in that moves small vectors, or nothing but
    taking its time. The last two need no data, and try the protocol with thousands of nodes."""
    preset: Literal["none", "extreme", "random"] = "none"
    """`extreme`: half of all messages lost, vectors late by up to ten rounds, nodes that come and
    go, as the literature on gossip learning has it. `random`: every fault below at a rate drawn
    from the seed, 0 among them. What has another value than its default beside a preset counts."""
    duration_s: float = 0.0
    """Virtual seconds after which all nodes are stopped; 0: they make their iterations."""
    score_every_s: float | None = None
    """Virtual seconds between two looks at the nodes' scores and their consensus; `None`: about a
    tenth of the run; 0: only at the end."""
    score_nodes: int = 10
    """Nodes that are scored, evenly spaced; all, if there are fewer. At the end all are."""
    check: bool = True
    """Whether every event is followed by a check of what no node may ever do."""

    iteration_s: float = 0.01
    """Seconds that an iteration takes on a machine of speed 1."""
    speeds: str = "equal"
    """Of the machines: `equal`, all 1; `lognormal:SIGMA`, with a median of 1;
    `classes:SHARExSPEED,…`, dealt out in these shares, such as the thesis's
    `classes:0.3x100,0.4x10,0.3x1`; or `file:PATH`, a CSV file with the columns `node` and `speed`
    and a line for every node."""
    pauses: float = 0.0
    """Of each machine, per hour, which then does something else than to train."""
    pause_s: float = 10.0
    """Mean length of a pause (exponential)."""

    latency_s: float | str = "0"
    """Of every message: a number; `uniform:FROM,TO`; `lognormal:MEDIAN,SIGMA`; or `overlay`, the
    attribute `latency_s` of the overlay's edges."""
    bandwidth_mbps: float | str = "unlimited"
    """Mbit/s of every connection, in each direction: `unlimited`; a number; `uniform:FROM,TO`;
    `lognormal:MEDIAN,SIGMA`; `home:DOWN,UP`, which is per machine and shared by its connections,
    such as `home:100,10`; or `overlay`, the attribute `bandwidth_mbps` of the overlay's edges."""
    delay_rounds: float = 0.0
    """Vectors are late by up to so many rounds of a machine of speed 1, uniformly, each as a whole;
    what is sent after them does not wait. For gossip, like all faults of messages."""
    loss: float = 0.0
    """Share of vectors and messages that vanish; of a vector all chunks, or none."""
    duplication: float = 0.0
    """Share of vectors and messages that come twice, a vector once the first copy is whole."""
    reordering: float = 0.0
    """Share of vectors and messages that are held back by up to a round of a machine of speed 1,
    for what is sent after them to overtake."""
    corruption: float = 0.0
    """Share of messages, each chunk of a vector for itself, that come with a bit changed."""

    crash: float = 0.0
    """Probability of a crash per iteration (the thesis, section 3.3.4: 0.0004)."""
    restart_s: float = 0.0
    """Mean seconds until who has crashed starts again from its checkpoint (exponential); 0: it
    never does."""
    sessions: str = "none"
    """When machines are on: `none`: always; `lognormal:MEAN_S,SIGMA,OFF_S`: on for a log-normal
    time with that mean, then off for another with mean `OFF_S`, with all that they know kept; or
    `file:PATH`, a CSV file with the columns `node`, `on_s` and `off_s`, a line for every session,
    and at least one for every node."""
    joins: float = 0.0
    """Probability of each node but the first to come later, within the first half of the run."""
    partitions: float = 0.0
    """Of the overlay, per hour, into two halves that hear nothing of each other."""
    partition_s: float = 60.0
    """Mean length of a partition (exponential)."""
    freezes: float = 0.0
    """Of each node, per hour, which then neither answers nor falls."""
    freeze_s: float = 20.0
    """Mean length of a freeze (exponential)."""
    full_disks: float = 0.0
    """Of each node, per hour, which then cannot save."""
    full_disk_s: float = 60.0
    """Mean time until there is room again (exponential)."""
    calm_s: float = 0.0
    """Virtual seconds at the end of `duration_s` without any fault, so that what the faults have
    left behind shows."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplication", "reordering", "corruption", "crash", "joins"):
            share = getattr(self, name)
            check(0 <= share <= 1, f"virtual.{name}", "a share in [0, 1]", share)
        for name in (
            *("duration_s", "calm_s", "delay_rounds", "restart_s"),
            *("pauses", "partitions", "freezes", "full_disks"),
        ):
            value = getattr(self, name)
            check(0 <= value < math.inf, f"virtual.{name}", "0 or more", value)
        check(
            0 < self.iteration_s <= ITERATION_MAX_S,
            "virtual.iteration_s",
            f"more than 0 and at most {ITERATION_MAX_S:g} seconds",
            self.iteration_s,
        )
        for name in ("pause_s", "partition_s", "freeze_s", "full_disk_s"):
            value = getattr(self, name)
            check(0 < value < math.inf, f"virtual.{name}", "more than 0 seconds", value)
        every_s = self.score_every_s
        check(
            every_s is None or 0 <= every_s < math.inf,
            "virtual.score_every_s",
            "0 or more",
            every_s,
        )
        latency(self.latency_s, "virtual.latency_s")
        bandwidth(self.bandwidth_mbps, "virtual.bandwidth_mbps")
        speeds(self.speeds, "virtual.speeds")
        sessions(self.sessions, "virtual.sessions")
        check(self.score_nodes >= 1, "virtual.score_nodes", "at least 1 node", self.score_nodes)
