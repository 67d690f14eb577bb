"""How the nodes of a machine are cut into blocks and dealt out to processes.

Between two exchanges nodes are independent, so a block of nodes can run all its iterations of a
round before the next block starts. Small networks are bound by the overhead of calls, so blocks
should be large; but a block's networks and moments should stay in the cache from one iteration to
the next, so they must not be larger than that.

Several processors are best used by several processes with whole blocks each. Threads that share the
work of single calls wait for each other tens of times in an iteration, and Python threads with a
block each wait for the interpreter's lock after every call.

The rules ask for sizes alone and measure nothing, so that the same run is cut in the same way every
time.
"""

import itertools
from dataclasses import dataclass

from p2pgan.gan.models import Model
from p2pgan.gan.precision import Precision

BYTES_PER_PARAMETER = 12
"""Weight and two moments in float32; gradients are there for one layer at a time."""

BLOCK_BYTES_MAX = 6 * 2**20
"""With gradients and activations, a few such blocks share a last-level cache of 32 MiB. Larger ones
gain little: nine nodes of `mlp-digits` share each call."""

BLOCK_BYTES_MIN = 2 * 2**20
"""Nodes of less are not worth a process of their own (four nodes of `mlp-digits`)."""

SHARED_WORK_MIN = 50_000_000
"""Parameters times batch above which single calls are worth several threads."""


@dataclass(frozen=True)
class Machine:
    """What a cohort may use."""

    threads: int = 1
    block_nodes: int | None = None
    """Nodes of a block; `None`: as many as fit the cache."""
    is_gpu: bool = False
    """A GPU takes all nodes in one block: it is only busy when there is much to do at once. While
    they are trained, their networks are in its memory twice."""
    precision: Precision = "float32"
    share: float = 1.0
    """Of the nodes that train in a round; the others of a block take no room in the cache."""


def node_bytes(model: Model) -> int:
    """What a node keeps in memory while it is trained."""
    return BYTES_PER_PARAMETER * sum(network.size for network in model.networks.values())


def blocks(model: Model, nodes: int, machine: Machine) -> tuple[range, ...]:
    """The blocks of a cohort, by index: consecutive, and as equal as can be."""
    if machine.block_nodes is not None:
        most = machine.block_nodes
    elif machine.is_gpu:
        most = nodes
    else:
        most = max(1, int(BLOCK_BYTES_MAX // node_bytes(model) / machine.share))
    return even(nodes, -(-nodes // most))


def workers(model: Model, nodes: int, machine: Machine) -> int:
    """Processes that are worth it for so many nodes on a machine's threads, one thread each."""
    if machine.is_gpu:
        return 1
    least = -(-BLOCK_BYTES_MIN // node_bytes(model))  # nodes of a process
    return max(1, min(machine.threads, int(nodes * machine.share) // least))


def threads_of_calls(model: Model, batch: int, machine: Machine) -> int:
    """Threads that share the work of single calls, where there is one process."""
    parameters = sum(network.size for network in model.networks.values())
    return machine.threads if batch * parameters >= SHARED_WORK_MIN else 1


def even(nodes: int, count: int) -> tuple[range, ...]:
    """`count` consecutive ranges, as equal as can be."""
    cuts = [nodes * i // count for i in range(count + 1)]
    return tuple(range(a, b) for a, b in itertools.pairwise(cuts))
