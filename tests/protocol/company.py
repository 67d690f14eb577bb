"""A party whose members watch each other: the overlay follows who is there."""

from collections.abc import Sequence
from typing import Any

import networkx as nx

from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.mending import adjacency_now
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.membership.settings import MembershipSettings
from p2pgan.protocol.membership.timing import PRESETS
from p2pgan.protocol.messages import Member
from p2pgan.protocol.views import Around, View
from tests.protocol.party import Party, Step

ROUND_S = 1.0


def address(node: str) -> str:
    return f"tcp://{node}.example:5550"


class Company(Party):
    """Trains a round a second, so that time passes.

    Args:
        edges: the overlay of the beginning.
        common: as of a `Party`.
    """

    def __init__(self, edges: Sequence[tuple[str, str]], **common: Any) -> None:
        self.base = Overlay("base", nx.Graph(edges))
        rows = tuple(Member(node=node, address=address(node)) for node in self.base.nodes)
        common = {"iterations": 200, "wait_s": 5.0, "drain_s": 2.0, **common}
        overrides = {node: {"around": self.around(rows)} for node in self.base.nodes}
        super().__init__(edges, overrides=overrides, **common)
        self.work_s = {do.Train: ROUND_S}
        self.side: set[str] = set()
        """One side of a partition, if there is one."""

    def around(self, rows: Sequence[Member], *, is_new: bool = False) -> Around:
        """What a machine is told of others."""
        settings = MembershipSettings(
            members=tuple(rows), timing=PRESETS["lan"], order=lambda peers: peers
        )
        return Around(membership=settings, overlay_of=self.view, is_new=is_new)

    def view(self, rows: Sequence[Member]) -> View:
        joined = [(row.since, row.node) for row in rows if row.since]
        gone = [row.node for row in rows if row.state in ("dead", "left")]
        links = adjacency_now(self.base, joined, gone)
        return View(neighbors=links, edges=sum(map(len, links.values())) // 2)

    def come(self, node: str, member: str, **choices: Any) -> None:
        """Somebody comes who was told of the run by a member."""
        rows = [*self.members[member].machine.members()]
        since = 1 + max(row.since for row in rows)
        rows.append(Member(node=node, address=address(node), since=since))
        neighbors = sorted(self.view(rows).neighbors[node])
        around = self.around(rows, is_new=True)
        choices = {"iterations": 200, "wait_s": 30.0, "drain_s": 2.0, **choices}
        self.add(node, neighbors, around=around, **choices)
        self.start(node)

    def part(self, side: set[str]) -> None:
        """Connections between these and the others break, and are not made again."""
        for (a, b), connection in self.connections.items():
            if (a in side) != (b in side):
                connection.cut()
        self.side = side
        for a, b in list(self.connections):
            if (a in side) != (b in side):
                self.tell(a, ev.LinkDown(peer=b))

    def steps(self) -> list[Step]:
        return [step for step in super().steps() if step[0] != "up" or not self._is_cut(step)]

    def _is_cut(self, step: Step) -> bool:
        return (step[1] in self.side) != (step[2] in self.side)

    def kill(self, node: str) -> None:
        """A process is gone; who is connected to it sees the connection break."""
        member = self.members[node]
        member.close = do.Close(reason="killed")
        member.timers.clear()
        member.work = None
        for pair in [pair for pair in self.connections if pair[0] == node]:
            self.connections.pop(pair).cut()

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        end_s = self.now + seconds
        self.settle(until=lambda: self.now >= end_s)

    def states(self, of: str) -> dict[str, str]:
        """What each node that runs believes of one."""
        return {
            node: row.state
            for node, member in self.members.items()
            if member.close is None
            for row in member.machine.members()
            if row.node == of
        }

    def neighbors(self, node: str) -> set[str]:
        """Whom a node can send vectors to."""
        statistics = self.members[node].machine.statistics()
        return {peer.peer for peer in statistics.peers if peer.state == "ready"}
