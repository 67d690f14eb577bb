"""Nobody waits for ever: every phase of a peer ends by itself, in a time that is known before."""

import math
from collections.abc import Mapping
from typing import Final

from p2pgan.protocol import events as ev
from p2pgan.protocol.last_step import PARTS_OF_WAIT
from p2pgan.protocol.phases import Phase
from p2pgan.sim.virtual.invariants.ground import Ground, Invariant, See
from p2pgan.sim.virtual.world import Moment

SLACK_S: Final = 1.0
"""Added to every bound: two timers of one instant may fire in either order."""

AT_WORK: Final = frozenset({Phase.GATHERING, Phase.TRAINING, Phase.MIXING, Phase.SCORING})
"""Phases of whoever has not made its iterations."""

WORK_DONE: Final = (
    *(ev.TrainingDone, ev.MixingDone, ev.JudgingDone, ev.AdoptingDone, ev.ScoringDone),
    *(ev.SavingDone, ev.TimerFired, ev.Started),
)
"""What shows that a node goes on."""


class Waiting(Invariant):
    """A node that is awake goes on: it trains in the time that its machine takes, waits no longer
    than it was told to, and does everything else at once."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self._since_s: dict[str, float] = {}
        """When each node last went on."""
        self._seen: dict[str, tuple[Phase, float]] = {}
        """In what phase each node was seen last, and since when."""
        self._at_work_s = 0.0
        """When somebody last had iterations to make."""

    def events(self) -> Mapping[type[ev.Event], See]:
        """As `Invariant.events`."""
        return dict.fromkeys(WORK_DONE, self._goes_on)

    def _goes_on(self, moment: Moment) -> None:
        self._since_s[moment.node] = moment.now
        if isinstance(moment.event, ev.Started):
            self._seen.pop(moment.node, None)

    def sweep(self) -> None:
        """Every node that is awake, against the bound of its phase."""
        ground = self.ground
        phases = {node: self._phase(node) for node in ground.world.living}
        if not AT_WORK.isdisjoint(phases.values()):
            self._at_work_s = ground.now
        for node, phase in phases.items():
            if self._seen.get(node, (None,))[0] is not phase:
                self._seen[node] = phase, ground.now
            if ground.is_awake(node):
                since_s = max(self._since_s[node], self._seen[node][1])
                self._check(node, phase, min(ground.now - since_s, ground.quiet_s(node)))

    def _check(self, node: str, phase: Phase, waited_s: float) -> None:
        limit_s = self._limit_s(node, phase) + SLACK_S
        if waited_s > limit_s:
            self.ground.fail(
                node,
                expected=f"an end of {phase.value} within {limit_s:.3f} s",
                got=f"{waited_s:.3f} s in which nothing disturbed it",
            )
        if phase is not Phase.SETTLING:
            return
        alone_s = min(self.ground.now - self._at_work_s, waited_s_of_all(self.ground))
        # One wait begins when the last one was seen at work, and is looked at part by part.
        wait_s = 2 * self.ground.design.config.daemon.final_wait_s + SLACK_S
        if alone_s > wait_s:
            self.ground.fail(
                node,
                expected=f"the last step to begin within {wait_s:.3f} s of the last iteration",
                got=f"a node that waits while nobody has worked for {alone_s:.3f} s",
            )

    def _limit_s(self, node: str, phase: Phase) -> float:
        """How long a phase lasts from the last sign of going on."""
        design, daemon = self.ground.design, self.ground.design.config.daemon
        match phase:
            case Phase.GATHERING:
                return daemon.wait_s
            case Phase.TRAINING:
                return design.exchange_every * self.ground.world.iteration_s(node)
            case Phase.SETTLING:
                return daemon.final_wait_s / PARTS_OF_WAIT
            case Phase.CONCLUDING:
                return daemon.final_round_s
            case Phase.LEAVING:
                return daemon.drain_s
            case Phase.CLOSED:
                return math.inf
        return 0.0

    def _phase(self, node: str) -> Phase:
        machine = self.ground.member(node).machine
        assert machine is not None
        return machine.phase


def waited_s_of_all(ground: Ground) -> float:
    """How long nothing has disturbed anybody."""
    whole_s = ground.now - ground.weather.whole_since_s()
    return min(whole_s, ground.quiet_s(*ground.design.nodes))
