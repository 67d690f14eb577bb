"""Checks of a whole cluster after every event: what no node may ever do, however bad its luck.

Theory of operation. Whoever runs a world hands it `Checkers.watch` and `Checkers.injected`. Most
invariants look at what changes, when it changes. What must not fail to happen is looked for every
few virtual seconds, between two events; that is the only action of checks on the timeline, and does
not change a run. What an invariant finds is told as a `CheckFailed`.
"""

import math
from collections.abc import Callable, Iterable
from typing import Final

from p2pgan.design import Design
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.sim.virtual.invariants.ground import Ground, Invariant, Obey, Read, See
from p2pgan.sim.virtual.invariants.members import Members
from p2pgan.sim.virtual.invariants.memory import Memory
from p2pgan.sim.virtual.invariants.vectors import Vectors
from p2pgan.sim.virtual.invariants.views import Views
from p2pgan.sim.virtual.invariants.waiting import Waiting
from p2pgan.sim.virtual.invariants.weather import Weather
from p2pgan.sim.virtual.outages import Outage
from p2pgan.sim.virtual.story import Story
from p2pgan.sim.virtual.world import Moment, World

SWEEP_S: Final = 5.0
"""Virtual seconds between two looks at everything: a quarter of a round of twenty."""

STANDARD: Final[tuple[Callable[[Ground], Invariant], ...]] = (
    *(Vectors, Waiting, Members, Views, Memory),
)
"""What can be checked of every gossip run, whatever its networks are."""


class Checkers:
    """All checks of one world.

    Args:
        design: what is run.
        replay: the command that plays the same run again.
        calm_s: from when on the links lose and change nothing.
        invariants: what is checked, beside the standard.
    """

    def __init__(
        self,
        design: Design,
        *,
        replay: str,
        calm_s: float = math.inf,
        invariants: Iterable[Callable[[Ground], Invariant]] = (),
    ) -> None:
        self._design, self._replay = design, replay
        self._makers = (*STANDARD, *invariants)
        self._weather = Weather(design.nodes, calm_s)
        self.story = Story()
        self._ground: Ground | None = None
        self._invariants: list[Invariant] = []
        self._sees: dict[type[ev.Event], list[See]] = {}
        self._reads: dict[str, list[Read]] = {}
        self._orders: dict[type[do.Instruction], list[Obey]] = {}

    def attach(self, world: World) -> None:
        """Takes the world that is looked at, before anything has happened in it."""
        self._ground = Ground(
            world=world,
            design=self._design,
            weather=self._weather,
            story=self.story,
            replay=self._replay,
        )
        for make in self._makers:
            invariant = make(self._ground)
            self._invariants.append(invariant)
            for kind, see in invariant.events().items():
                self._sees.setdefault(kind, []).append(see)
            for name, read in invariant.records().items():
                self._reads.setdefault(name, []).append(read)
            for order, obey in invariant.orders().items():
                self._orders.setdefault(order, []).append(obey)
        world.timeline.after(SWEEP_S, self._look)

    def watch(self, moment: Moment) -> None:
        """Looks at what a machine was told, and what it made of it.

        Raises:
            CheckFailed: if that must not be.
        """
        self.story.add(moment)
        event = moment.event
        if isinstance(event, ev.Started):
            self._weather.shifted(moment.now, moment.node)
        for see in self._sees.get(type(event), ()):
            see(moment)
        for one in moment.instructions:
            for obey in self._orders.get(type(one), ()):
                obey(moment, one)
            if isinstance(one, do.Record):
                if one.kind == "node_stopped":
                    self._weather.shifted(moment.now, moment.node)
                for read in self._reads.get(one.kind, ()):
                    read(moment, one)

    def failed(self, moment: Moment, error: Exception) -> None:
        """Takes note of what a machine could not take.

        Raises:
            CheckFailed: always.
        """
        assert self._ground is not None
        self.story.add(moment)
        got = f"{type(error).__name__}: {error}"
        self._ground.fail(moment.node, expected="a machine that can take every event", got=got)

    def injected(self, outage: Outage, what: str) -> None:
        """Takes note of an outage that begins or ends."""
        assert self._ground is not None
        self._weather.injected(self._ground.now, outage, what)
        self.story.befell(self._ground.now, outage, what)

    def _look(self) -> None:
        """Looks at the whole cluster, now and, if anything else is due, in a while: where nothing
        is, nothing changes any more, and whoever is left has been forgotten."""
        assert self._ground is not None
        for invariant in self._invariants:
            invariant.sweep()
        timeline = self._ground.world.timeline
        if timeline.next_s is not None:
            timeline.after(SWEEP_S, self._look)

    def finish(self) -> None:
        """Everybody should be gone.

        Raises:
            CheckFailed: if somebody is not.
        """
        assert self._ground is not None
        left = self._ground.world.living
        if left:
            self._ground.fail(left[0], expected="everybody to leave", got=f"{len(left)} nodes left")
