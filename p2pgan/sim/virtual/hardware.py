"""The machines of virtual time: how fast each one is, and how long an iteration takes it.

Thesis, section 3.3.5: three classes of machines, 30 % of which send a hundred times and 40 % ten
times as many updates as the slowest 30 %, and which do not change in the course of the training.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from p2pgan.distributions import Classes, Table
from p2pgan.distributions import speeds as parsed
from p2pgan.errors import ConfigError
from p2pgan.sim.virtual.tables import read_table
from p2pgan.virtual import VirtualConfig

KEY = "virtual.speeds"


def speeds(
    config: VirtualConfig, nodes: Sequence[str], rng: np.random.Generator
) -> dict[str, float]:
    """How many times as fast as a machine of speed 1 every node's machine is.

    Args:
        config: `virtual.speeds`.
        nodes: ids in node order.
        rng: the run's stream `machines`.
    Raises:
        ConfigError: if the file of speeds cannot be read, has a node twice or a speed that is not
            above 0, or fits the nodes badly.
    """
    match parsed(config.speeds, KEY):
        case Classes() as classes:
            dealt = _dealt(classes, len(nodes))
            return dict(zip(nodes, rng.permutation(dealt).tolist(), strict=True))
        case Table(path):
            return _from_file(path, nodes)
        case distribution:
            return {node: distribution.draw(rng) for node in nodes}


def iterations_s(config: VirtualConfig, speeds: Mapping[str, float]) -> dict[str, float]:
    """Seconds that an iteration takes on each node's machine."""
    return {node: config.iteration_s / speed for node, speed in speeds.items()}


def _dealt(classes: Classes, count: int) -> list[float]:
    """One speed per machine, in shares as close as whole machines allow (largest remainders)."""
    total = math.fsum(classes.shares)
    exact = [count * share / total for share in classes.shares]
    # What rounding took from a whole number must not cost the class a machine.
    sizes = [math.floor(machines + 1e-9) for machines in exact]
    by_remainder = sorted(range(len(exact)), key=lambda place: sizes[place] - exact[place])
    for place in by_remainder[: count - sum(sizes)]:
        sizes[place] += 1
    return [
        speed for speed, size in zip(classes.speeds, sizes, strict=True) for speed in [speed] * size
    ]


def _from_file(path: str, nodes: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in read_table(path, ("speed",), nodes, KEY):
        (speed,) = row.numbers
        if row.node in found:
            raise ConfigError(expected="every node once", got=f"`{row.node}` again", at=row.at)
        if speed <= 0:
            raise ConfigError(expected="a speed above 0", got=f"`{speed:g}`", at=row.at)
        found[row.node] = speed
    return {node: found[node] for node in nodes}
