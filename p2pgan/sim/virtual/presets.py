"""Presets of virtual time, turned into the keys that they stand for.

`extreme` is the scenario that gossip learning is usually tried with (Ormándi, Hegedűs and Jelasity
2013; Hegedűs, Danner and Jelasity 2021): half of the messages lost, delays of up to ten rounds,
log-normal sessions in which nine nodes out of ten are on. Deviation: their delays begin at one
round, ours at none.

`random` is swarm testing (Groce et al. 2012): a run with every fault at once seldom gets far enough
to show what one of them does alone, so each is left out of about half of the runs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from p2pgan.seeds import EVERYONE, stream
from p2pgan.virtual import VirtualConfig

EXTREME: Final[Mapping[str, float | str]] = {
    "loss": 0.5,
    "delay_rounds": 10.0,
    # Nine tenths of the nodes are on; sessions of nine rounds of 20 s. GoLF's SIGMA is 0.5, too.
    "sessions": "lognormal:180,0.5,20",
}

RUN_S: Final = 600.0
"""The ranges below are for runs of ten virtual minutes with rounds of about 20 s: what is rarest in
them happens to one of ten nodes, or once in three runs; what is most frequent, a few times a
node."""


@dataclass(frozen=True)
class Range:
    """Drawn log-uniformly, so that every order of magnitude is as likely as the others."""

    least: float
    most: float

    def draw(self, rng: np.random.Generator) -> float:
        """A value with three digits, as a person would give it."""
        value = math.exp(rng.uniform(math.log(self.least), math.log(self.most)))
        return float(f"{value:.3g}")


RATES: Final[Mapping[str, Range]] = {
    # A handful among the thousands of messages of ten nodes; every fifth, of which a vector of
    # many messages seldom survives.
    "loss": Range(0.001, 0.2),
    "duplication": Range(0.001, 0.2),
    "reordering": Range(0.001, 0.2),
    # A corrupt frame costs more than a lost one: too many close the connection.
    "corruption": Range(0.0001, 0.02),
    # From late within the round to three rounds late.
    "delay_rounds": Range(0.1, 3.0),
    # One pause in two nodes; ten for each.
    "pauses": Range(3.0, 60.0),
    # One node in ten comes late; half of them do.
    "joins": Range(0.1, 0.5),
    # One in three runs; five in each.
    "partitions": Range(2.0, 30.0),
    # One node in six; three times each.
    "freezes": Range(1.0, 20.0),
    "full_disks": Range(1.0, 20.0),
}
"""Faults by their keys; each is 0 in half of the runs."""

LENGTHS: Final[Mapping[str, Range]] = {
    # From less than a round to a few rounds; shorter than what deadlines forgive, and longer.
    "pause_s": Range(1.0, 30.0),
    "partition_s": Range(5.0, 120.0),
    "freeze_s": Range(2.0, 60.0),
    "full_disk_s": Range(10.0, 120.0),
}
"""Mean lengths by their keys."""

CRASHES_FOR_GOOD: Final = Range(0.05, 0.5)
"""Per node and run where nobody starts again; 0.5 leaves three nodes of five. In the thesis,
section 3.3.4, about half are left."""
CRASHES_AND_RESTARTS: Final = Range(0.1, 3.0)
"""Per node and run where everybody does."""
RESTART_S: Final = Range(2.0, 60.0)
"""From within the round to three rounds."""

ON_S, SESSION_SIGMA, OFF_S = Range(60.0, 600.0), Range(0.3, 1.5), Range(5.0, 60.0)
"""Sessions of three rounds or of the whole run; off for less than a round, or for three."""

LATENCY_S, LATENCY_SIGMA = Range(0.002, 0.5), Range(0.1, 1.0)
"""Medians from one town to a bad satellite link."""
BANDWIDTH_MBPS: Final = Range(10.0, 1000.0)
"""A vector of 4 MB takes 3.2 s at the least of it."""
HOME_ASYMMETRY: Final = Range(1.0, 10.0)
"""How many times as fast as its uplink a home's downlink is; the same vector takes up to 32 s, more
than a round."""
SPEED_SIGMA: Final = Range(0.1, 1.0)
"""At 1, the fastest of twenty machines is about forty times as fast as the slowest."""
SPEED_CLASSES: Final = "classes:0.3x10,0.4x1,0.3x0.1"
"""The thesis's classes (section 3.3.5), around the speed 1 to suit the rounds above."""


def resolved(config: VirtualConfig, seed: int) -> VirtualConfig:
    """The configuration without a preset that says what its preset stands for.

    Keys that have another value than their default stay as they are.

    Args:
        config: what was asked for.
        seed: the run's seed.
    """
    defaults, given = (msgspec.structs.asdict(one) for one in (VirtualConfig(), config))
    match config.preset:
        case "extreme":
            chosen = dict(EXTREME)
        case "random":
            chosen = drawn(stream(seed, EVERYONE, "preset"), config.iteration_s)
        case "none":
            chosen = {}
    kept = {key: value for key, value in given.items() if value != defaults[key]}
    return VirtualConfig(**{**defaults, **chosen, **kept, "preset": "none"})


def drawn(rng: np.random.Generator, iteration_s: float) -> dict[str, float | str]:
    """The keys of the preset `random`; the same draws are made whatever comes of them.

    Args:
        rng: the run's stream `preset`.
        iteration_s: of a machine of speed 1; crashes are drawn per run and given per iteration.
    """
    rates = {key: range_.draw(rng) * _either(rng) for key, range_ in RATES.items()}
    lengths = {key: range_.draw(rng) for key, range_ in LENGTHS.items()}
    return {**rates, **lengths, **_crashes(rng, iteration_s), **_texts(rng)}


def _either(rng: np.random.Generator) -> int:
    """0 or 1, each as likely as the other."""
    return int(rng.integers(2))


def _crashes(rng: np.random.Generator, iteration_s: float) -> dict[str, float | str]:
    for_good, again = CRASHES_FOR_GOOD.draw(rng), CRASHES_AND_RESTARTS.draw(rng)
    restart_s = RESTART_S.draw(rng) * _either(rng)
    per_run = (again if restart_s else for_good) * _either(rng)
    return {
        "crash": min(1.0, float(f"{per_run * iteration_s / RUN_S:.3g}")),
        "restart_s": restart_s,
    }


def _texts(rng: np.random.Generator) -> dict[str, float | str]:
    sessions = f"lognormal:{ON_S.draw(rng):g},{SESSION_SIGMA.draw(rng):g},{OFF_S.draw(rng):g}"
    latency = f"lognormal:{LATENCY_S.draw(rng):g},{LATENCY_SIGMA.draw(rng):g}"
    down_mbps = BANDWIDTH_MBPS.draw(rng)
    up_mbps = float(f"{down_mbps / HOME_ASYMMETRY.draw(rng):.3g}")
    bandwidth = (f"{down_mbps:g}", f"home:{down_mbps:g},{up_mbps:g}")[_either(rng)]
    speeds = (f"lognormal:{SPEED_SIGMA.draw(rng):g}", SPEED_CLASSES)[_either(rng)]
    return {
        "sessions": sessions if _either(rng) else "none",
        "latency_s": latency if _either(rng) else "0",
        "bandwidth_mbps": bandwidth if _either(rng) else "unlimited",
        "speeds": speeds if _either(rng) else "equal",
    }
