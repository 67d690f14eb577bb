"""Small worlds of stand-ins, with all that happens in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from p2pgan.config import RunConfig
from p2pgan.daemons import DaemonConfig
from p2pgan.node.roles import neighbors_of
from p2pgan.protocol.events import Event
from p2pgan.protocol.instructions import Record
from p2pgan.record.rundir import RunDirectory
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim.virtual.cast import Peers
from p2pgan.sim.virtual.disk import Disk
from p2pgan.sim.virtual.links import Links
from p2pgan.sim.virtual.outages import Kind, Outage
from p2pgan.sim.virtual.standin import StandInCohort, stand_in
from p2pgan.sim.virtual.worker import Together, together
from p2pgan.sim.virtual.world import Moment, Physics, Surfaces, World
from p2pgan.virtual import VirtualConfig

CONFIG = RunConfig(
    algorithm="gossip",
    nodes=4,
    iterations=200,
    exchange_every=10,
    device="cpu",
    daemon=DaemonConfig(checkpoint_every=1),
)


def outage(kind: Kind, nodes: str, from_s: float, to_s: float = float("inf")) -> Outage:
    return Outage(kind=kind, nodes=frozenset(nodes), from_s=from_s, to_s=to_s)


class Played:
    """A world whose iterations take 0.1 s at every node, unless told otherwise."""

    def __init__(
        self,
        path: Path,
        planned: Sequence[Outage] = (),
        iteration_s: Mapping[str, float] | None = None,
        virtual: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.virtual = VirtualConfig(train="gradient-free", iteration_s=0.1, **(virtual or {}))
        config = msgspec.structs.replace(CONFIG, virtual=self.virtual, **settings)
        self.design = stand_in(config)
        self.cohort = StandInCohort(self.design)
        self.directory = RunDirectory.create(path, name="run")
        self.moments: list[Moment] = []
        self.records: list[tuple[float, str, Record]] = []
        self.injected: list[tuple[float, str, str]] = []
        self.links = Links(self.virtual, self.design.overlay, seed=config.seed, round_s=1.0)
        nodes = self.design.nodes
        self.world = World(
            {node: neighbors_of(self.design, self.design.overlay, node) for node in nodes},
            Peers(self.design, self.cohort, self.directory, "run"),
            Physics(
                links=self.links,
                outages=planned,
                iteration_s={**dict.fromkeys(nodes, 0.1), **(iteration_s or {})},
                chunk_bytes=config.daemon.chunk_bytes,
                rng=stream(config.seed, EVERYONE, "network"),
            ),
            Together(together(self.cohort)),
            Disk(self._store),
            Surfaces(record=self._record, watch=self.moments.append, injected=self._injected),
        )

    def _store(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def _record(self, node: str, record: Record) -> None:
        self.records.append((self.world.timeline.now, node, record))

    def _injected(self, injected: Outage, what: str) -> None:
        self.injected.append((self.world.timeline.now, injected.kind, what))

    def of(self, node: str, kind: type[Event] = Event) -> list[Moment]:
        """When it was fed events of a kind."""
        return [m for m in self.moments if m.node == node and isinstance(m.event, kind)]

    def told(self, node: str, kind: str) -> list[tuple[float, Mapping[str, Any]]]:
        """Its records of a kind, with their times."""
        return [
            (at_s, record.fields)
            for at_s, name, record in self.records
            if name == node and record.kind == kind
        ]

    def reasons(self) -> dict[str, str | None]:
        """How each node's process ended by itself."""
        return {
            node: member.ended.reason if member.ended is not None else None
            for node, member in self.world.members.items()
        }
