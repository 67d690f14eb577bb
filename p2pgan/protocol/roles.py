"""What the machines of a run with a coordinator are told at their birth.

FL-GAN and MD-GAN have one coordinator and workers. What both sides know is a `Federated` or a
`Split`; what only the coordinator decides by, `Selection` or `Placing`, are functions handed in,
since the machines draw nothing themselves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol.core import NodeSettings
from p2pgan.protocol.messages import MAX_VECTOR_BYTES, NET_WORD_BYTES, Nets

MODEL_NETS: Final[Nets] = ("G", "D")
"""What FL-GAN sends, in both directions."""

MOVE_NETS: Final[Nets] = ("D",)
"""What moves in MD-GAN."""

Places = Mapping[int, str]
"""For each slot the worker that has its discriminator; one that is lost is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Federated:
    """FL-GAN, as both sides know it."""

    model_bytes: int
    """Of both networks, as they are sent: `model` and `update`."""

    def __post_init__(self) -> None:
        _check_bytes(self.model_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """MD-GAN, as both sides know it."""

    batches_bytes: int
    """Of the two batches of a worker."""
    feedback_bytes: int
    move_bytes: tuple[int, ...]
    """Of each slot's discriminator, with its moments, if they travel; as many as there are slots.
    """
    is_asynchronous: bool = False
    """Whether the generator learns from each feedback as it comes. An iteration is then as many
    feedbacks as there are slots, so that equal iterations see equal amounts of data."""

    def __post_init__(self) -> None:
        for size in (self.batches_bytes, self.feedback_bytes, *self.move_bytes):
            _check_bytes(size)
        if not self.move_bytes:
            raise _wrong("at least one discriminator", "none")

    @property
    def slots(self) -> int:
        """Number of discriminators, n."""
        return len(self.move_bytes)

    @property
    def updates_per_iteration(self) -> int:
        """The generator's updates that make an iteration."""
        return self.slots if self.is_asynchronous else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """FL-GAN: who takes part in a round."""

    select: Callable[[Sequence[str], int], tuple[Sequence[str], int]]
    """Given the workers that are ready (in the run's order, never empty) and the round from 1: whom
    to ask, at least one, and how many updates are enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """MD-GAN: where the discriminators are."""

    first: Places
    """At the start; all slots."""
    replacement: Callable[[int, Places, Sequence[str]], tuple[int | None, str] | None]
    """Given a lost slot, where the others are, and the workers that are there (in the run's order):
    the slot to copy, or `None` to begin anew, and the worker; `None` if no worker is idle."""
    moved: Callable[[Places, Sequence[str]], Places] | None = None
    """Given where they are, and the workers that are there (in the run's order): where they go at
    the end of a round; `None`: they stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineSettings:
    """How long answers are waited for; see `deadline.Deadline`."""

    first_s: float = 30.0
    """While too few have come to tell the usual."""
    min_s: float = 1.0
    """Shortest, however regular they are."""
    spread: float = 6.0
    """The deadline is the median plus so many times the spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorSettings(NodeSettings):
    """What a coordinator is told; its neighbors are the workers, in the run's order."""

    system: Federated | Split
    rule: Selection | Placing
    """Of that system."""
    is_scored: Callable[[int], bool] = lambda finished_rounds: False
    """Whether scores are due after so many rounds; at the end they always are."""
    deadline: DeadlineSettings = DeadlineSettings()
    lost_after_s: float = 30.0
    """Time after which a worker that owes an answer is given up."""
    alone_s: float = 60.0
    """Longest time without any worker, before the coordinator saves and stops."""
    checkpoint_every: int = 1

    def __post_init__(self) -> None:
        NodeSettings.__post_init__(self)
        if isinstance(self.system, Federated) != isinstance(self.rule, Selection):
            raise _wrong("a rule of the same system", f"{type(self.rule).__name__}")
        if isinstance(self.rule, Placing) and isinstance(self.system, Split):
            slots = {*range(self.system.slots)}
            workers = {*self.rule.first.values()}
            if {*self.rule.first} != slots or len(workers) < len(slots):
                raise _wrong("a worker for each discriminator", f"{dict(self.rule.first)}")
            if not workers <= {*self.neighbors}:
                raise _wrong("discriminators on workers of the run", f"{sorted(workers)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings(NodeSettings):
    """What a worker is told; its neighbors are the coordinator and, where discriminators move, the
    other workers."""

    coordinator: str
    """Id of the coordinator."""
    system: Federated | Split
    alone_s: float = 60.0
    """Longest wait for a coordinator that is not there, before the worker saves and stops."""

    def __post_init__(self) -> None:
        NodeSettings.__post_init__(self)
        if self.coordinator not in self.neighbors:
            raise _wrong("the coordinator among the neighbors", f"{self.neighbors}")


def _check_bytes(size: int) -> None:
    if not 0 < size <= MAX_VECTOR_BYTES or size % NET_WORD_BYTES:
        raise _wrong("a vector of whole float32 numbers", f"{size} bytes")


def _wrong(expected: str, got: str) -> LocalProtocolError:
    return LocalProtocolError(expected=expected, got=got, at="settings of a run with a coordinator")
