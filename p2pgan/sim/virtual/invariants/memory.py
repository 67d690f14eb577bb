"""Memory is bounded: what a node holds and queues does not grow with the length of a run."""

from collections.abc import Mapping
from typing import Final

from p2pgan.node.connection import HIGH_WATER_MARK
from p2pgan.node.outbox import CONTROL_QUEUE_MAX, TALK_QUEUE_MAX
from p2pgan.protocol import instructions as do
from p2pgan.protocol.messages import NET_WORD_BYTES
from p2pgan.sim.virtual.invariants.ground import Ground, Invariant, Read
from p2pgan.sim.virtual.world import Moment
from p2pgan.types import NETS

HELD_PER_NEIGHBOR: Final = 4
"""Pairs of networks from one neighbor: one that comes in, one to be mixed, one to be averaged and
one to be judged."""

HELD_BESIDES: Final = 2
"""Pairs: the best one that came, and the one that is being judged."""

QUEUED_PER_NET: Final = 2
"""Vectors to one neighbor: one that has begun, and the latest."""

DOUBLED: Final = 2
"""Messages on the way for one that was let through: the links may double it."""


class Memory(Invariant):
    """What a machine holds, and what waits on its connections, stays below what follows from its
    neighbors and the limits of its queues."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        design, self._neighbors = ground.design, ground.world.neighbors
        self._pair_bytes = NET_WORD_BYTES * sum(design.exchanged_size(net) for net in NETS)
        # Joint, independent, or the other one of the two in the last step.
        self._queued_max = QUEUED_PER_NET * (len(NETS) + 1)

    def records(self) -> Mapping[str, Read]:
        """As `Invariant.records`."""
        return {"vector_received": self._takes}

    def _takes(self, moment: Moment, record: do.Record) -> None:
        del record
        machine = self.ground.member(moment.node).machine
        assert machine is not None
        # Any member may become a neighbor, where they watch each other.
        neighbors = max(len(self._neighbors[moment.node]), len(machine.members()) - 1)
        limit = self._pair_bytes * (HELD_PER_NEIGHBOR * neighbors + HELD_BESIDES)
        if machine.held_bytes > limit:
            self.ground.fail(
                moment.node,
                expected=f"at most {limit} bytes of vectors of {neighbors} neighbors",
                got=f"{machine.held_bytes}",
            )

    def sweep(self) -> None:
        """All queues of whoever runs."""
        for node in self.ground.world.living:
            for peer in self._neighbors[node]:
                self._check(node, peer)

    def _check(self, node: str, peer: str) -> None:
        backlog = self.ground.world.network.backlog(node, peer)
        limits = {
            "messages": (backlog.messages, CONTROL_QUEUE_MAX + TALK_QUEUE_MAX),
            "vectors": (backlog.vectors, self._queued_max),
            "messages on their way": (backlog.in_flight, HIGH_WATER_MARK - 1 + DOUBLED),
        }
        for what, (count, most) in limits.items():
            if count > most:
                self.ground.fail(
                    node,
                    expected=f"at most {most} {what} to `{peer}`",
                    got=f"{count}",
                )
