"""What all measurements share: the runs that they disturb, and how they tell what they found."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from p2pgan.cli.paths import data_dir
from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.daemon.family import Family
from p2pgan.daemons import MembershipConfig, Preset
from tools.chaos import Chaos, chaos

ENDLESS: Final = 10**8
"""Iterations; the nodes are stopped."""

CONFIG: Final = RunConfig(
    nodes=8,
    iterations=ENDLESS,
    overlay="watts-strogatz:4,0.2",
    exchange_every=50,
    device="cpu",
    score=ScoreConfig(every=0, samples=100),
)

FEW: Final = msgspec.structs.replace(CONFIG, nodes=4, overlay="ring")

QUIET: Final = msgspec.structs.replace(CONFIG, exchange_every=400)
"""For long runs: a few exchanges a second, so that logs stay small."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line wants of a measurement."""

    seed: int
    repeats: int
    minutes: float
    preset: Preset
    """Times of the membership."""
    keep: Path | None
    """Where the run stays; `None`: nowhere."""

    def config(self, base: RunConfig, repeat: int = 0, **changes: Any) -> RunConfig:
        """The configuration of one repeat."""
        membership = MembershipConfig(preset=self.preset)
        return msgspec.structs.replace(
            base, seed=self.seed + repeat, membership=membership, **changes
        )

    @contextmanager
    def run(
        self, config: RunConfig, prepare: Callable[[Family], None] = lambda family: None
    ) -> Iterator[Chaos]:
        """A run to disturb, in a folder that goes with it, unless it is to be kept."""
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "run" if self.keep is None else self.keep
            with chaos(config, data_dir(), place, prepare) as running:
                yield running


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was measured."""

    measured: str
    is_met: bool
    """Whether that meets the bar."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    bar: str
    measure: Callable[[Asked], Outcome]

    def line(self, name: str, outcome: Outcome) -> str:
        """As Markdown."""
        met = "yes" if outcome.is_met else "no"
        return f"| {name} | {self.what} | {self.bar} | {outcome.measured} | {met} |"


def spread(values: Sequence[float], unit: str = " s") -> str:
    """Median and largest of several measurements."""
    if not values:
        return "never"
    return f"median {median(values):.1f}{unit}, worst {max(values):.1f}{unit} of {len(values)}"


def neighbors(run: Chaos, node: str) -> list[str]:
    """Neighbors of a node in the overlay that the run began with."""
    return sorted(run.family.experiment.overlay.neighbors(node))


def least_squares(points: Mapping[float, float]) -> float:
    """Slope of the line through points, 0 if there are fewer than two."""
    n = len(points)
    if n < 2:
        return 0.0
    mean_x, mean_y = sum(points) / n, sum(points.values()) / n
    about = sum((x - mean_x) ** 2 for x in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points.items()) / about
