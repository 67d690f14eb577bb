"""How a cohort is cut into blocks, and on how many threads they run.

Between two exchanges nodes are independent, so a block of nodes can run all its iterations of a
round before the next block starts. Small networks are bound by the overhead of calls, so blocks
should be large; but a block's networks, gradients and moments should stay in the cache from one
iteration to the next, so they must not be larger than that. Blocks then run side by side, each on
one thread: threads that share the work of single calls wait for each other tens of times in an
iteration.

The rule asks for sizes alone and measures nothing, so that the same run is cut in the same way
every time.
"""

import itertools
from dataclasses import dataclass

from p2pgan.gan.models import Model
from p2pgan.gan.precision import Precision

BYTES_PER_PARAMETER = 12
"""Weight and two moments in float32; gradients are there for one layer at a time."""

BLOCK_BYTES_MAX = 12 * 2**20
"""Two such blocks fit a last-level cache of 32 MiB, with their gradients and activations."""

BLOCK_BYTES_MIN = 2 * 2**20
"""Below that the overhead of calls outweighs a further thread (four nodes of `mlp-digits`)."""

SHARED_WORK_MIN = 50_000_000
"""Parameters times batch above which the calls of one block are worth several threads."""


@dataclass(frozen=True)
class Plan:
    """Blocks of nodes, by index, and the threads that they run on."""

    blocks: tuple[range, ...]
    workers: int
    """Blocks that run side by side, each on a Python thread of its own."""
    threads_each: int
    """Threads that share the work of a single call, per worker."""


@dataclass(frozen=True)
class Machine:
    """What a cohort may use."""

    threads: int = 1
    block_nodes: int | None = None
    """Nodes of a block; `None`: as the rule has it."""
    is_gpu: bool = False
    """A GPU takes all nodes in one block: it is only busy when there is much to do at once."""
    precision: Precision = "float32"


def plan(model: Model, nodes: int, batch: int, machine: Machine) -> Plan:
    """The blocks of a cohort.

    Args:
        model: the networks.
        nodes: how many nodes.
        batch: images per step.
        machine: what may be used.
    """
    parameters = sum(network.size for network in model.networks.values())
    node_bytes = BYTES_PER_PARAMETER * parameters
    if machine.block_nodes is not None:
        count = -(-nodes // machine.block_nodes)
    elif machine.is_gpu:
        count = 1
    else:
        count = _count(nodes, node_bytes, machine.threads)
    workers = 1 if machine.is_gpu else min(count, machine.threads)
    is_shared = batch * parameters >= SHARED_WORK_MIN
    return Plan(
        blocks=_even(nodes, count),
        workers=workers,
        threads_each=machine.threads // workers if is_shared else 1,
    )


def _count(nodes: int, node_bytes: int, threads: int) -> int:
    """Blocks that fit the cache, and enough of them for all threads where that pays."""
    fitting = -(-nodes // max(1, BLOCK_BYTES_MAX // node_bytes))
    paying = max(1, nodes // -(-BLOCK_BYTES_MIN // node_bytes))
    count = max(fitting, min(threads, paying))
    even = -(-count // threads) * threads  # no thread is left alone with the last block
    return even if count > 1 and even <= paying else count


def _even(nodes: int, count: int) -> tuple[range, ...]:
    """`count` consecutive ranges, as equal as can be."""
    cuts = [nodes * i // count for i in range(count + 1)]
    return tuple(range(a, b) for a, b in itertools.pairwise(cuts))
