"""What every check stands on: the world that it looks at, and how it says what it has found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from p2pgan.design import Design
from p2pgan.errors import CheckFailed
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.sim.virtual.invariants.weather import Weather
from p2pgan.sim.virtual.story import Story
from p2pgan.sim.virtual.world import Member, Moment, World

See = Callable[[Moment], None]
Read = Callable[[Moment, do.Record], None]
Obey = Callable[[Moment, do.Instruction], None]


@dataclass(kw_only=True)
class Ground:
    """One world, as checks see it."""

    world: World
    design: Design
    weather: Weather
    story: Story
    replay: str
    """The command that plays the same run again."""

    @property
    def now(self) -> float:
        return self.world.timeline.now

    def member(self, node: str) -> Member:
        """A node, in whatever life."""
        return self.world.members[node]

    def is_awake(self, node: str) -> bool:
        """Whether a process runs there and does not stand still."""
        return self.world.is_up(node) and not self.world.is_suspended(node)

    def quiet_s(self, *nodes: str) -> float:
        """How long nothing has disturbed these nodes; negative while something does."""
        return self.now - max(map(self.weather.since_s, nodes))

    def fail(self, node: str, *, expected: str, got: str) -> NoReturn:
        """Something must not be so.

        Args:
            node: where it shows.
            expected: the rule.
            got: what was found instead.
        """
        seed = self.design.config.seed
        error = CheckFailed(
            expected=expected,
            got=got,
            at=f"`{node}`, {self.now:.6f} virtual seconds, seed {seed}",
            hint=f"play it again with `{self.replay}`",
        )
        error.story = self.story.of(node)
        raise error


class Invariant:
    """Something that holds in every run, whatever happens. It costs no more than what changes.

    Args:
        ground: what it looks at.
    """

    def __init__(self, ground: Ground) -> None:
        self.ground = ground

    def events(self) -> Mapping[type[ev.Event], See]:
        """What looks at which events, before the records that they give rise to are read."""
        return {}

    def orders(self) -> Mapping[type[do.Instruction], Obey]:
        """What looks at which instructions, records apart."""
        return {}

    def records(self) -> Mapping[str, Read]:
        """What reads which records."""
        return {}

    def sweep(self) -> None:
        """Looks at the whole cluster, every few virtual seconds: for what does not happen."""
