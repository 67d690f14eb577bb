"""What all parts of a machine share: who we are, the Lamport clock, instructions in the making."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import msgspec

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol.chunks import VectorError
from p2pgan.protocol.instructions import Instruction, Record
from p2pgan.protocol.links import Identity, Link
from p2pgan.protocol.messages import (
    MAX_VECTOR_BYTES,
    NET_WORD_BYTES,
    Chunk,
    Name,
    Nets,
    Purpose,
)
from p2pgan.protocol.views import Around
from p2pgan.types import LEAST_WEIGHT, NETS, Net

MAX_CLOCK_JUMP: Final = 2**32
"""How far a message may push our clock. A node makes a few records and messages a second, so an
honest peer is never that far ahead unless a hostile one has pushed it, who would need 2^30 messages
to use a clock up."""


class Weighting(Protocol):
    """How much networks count in a weighted mean; `p2pgan.mixing.merging` has the rules."""

    @property
    def own(self) -> float:
        """Weight of our own networks."""

    @property
    def travels(self) -> bool:
        """Whether vectors carry weights."""

    def may_give(self, receivers: int) -> bool:
        """Whether our own weight is enough to give a part of it to so many."""

    def give(self, receivers: int) -> float:
        """Parts with some of our own weight; what each of so many vectors carries."""

    def of(self, carried: float, staleness_rounds: int) -> float:
        """Weight of an arrival that carries so much, made so many of our rounds ago."""

    def take(self, weight: float) -> None:
        """Arrivals of that weight in all were merged."""

    def recall(self, own: float) -> None:
        """Goes on with the own weight that an earlier start of the node had."""


class Voter(Protocol):
    """The rule by which nodes agree on a pair; `p2pgan.mixing.agreement.Voter` is it."""

    @property
    def choice(self) -> str:
        """Origin of the best pair at hand."""

    def merit(self, origin: str) -> tuple[float, str, int]:
        """How good a candidate is: its score by all votes, its origin, the number of votes."""

    def votes(self) -> Sequence[tuple[str, str, float]]:
        """Origin, judge and score of all votes known."""

    def hear(self, votes: Iterable[tuple[str, str, float]]) -> None:
        """Takes note of somebody's votes."""

    def may_judge(self, origin: str) -> bool:
        """Whether a vote for a candidate is due."""

    def judged(self, origin: str, score: float) -> float:
        """Writes the own vote; the score as it counts."""

    def is_better(self, origin: str) -> bool:
        """Whether a pair that came is better than the best at hand."""

    def keep(self, origin: str) -> None:
        """Takes a pair that came."""


PURPOSES: Final[Mapping[str, frozenset[Purpose]]] = {
    "push": frozenset({"mix"}),
    "mass": frozenset({"mass"}),
    "pair": frozenset({"pair", "answer"}),
}
"""What vectors are for during the training, by how they are exchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastStepSettings:
    """What a peer machine has to know of the last step."""

    name: Literal["agree", "average"]
    groups: tuple[Nets, ...]
    """Networks that travel together in it."""
    around: Mapping[str, frozenset[str]]
    """The overlay: the neighbors of every node of the run, this one included."""
    rounds: int
    voter: Voter | None = None
    """The rule that all agree by; `None`: they average."""
    stage: Callable[[int], str] = lambda round_: "spreading"
    """What a round is for, from 1: `judging`, `counting` or `spreading`."""
    judges: Callable[[Sequence[str]], Sequence[str]] = lambda ready: ()
    """Whom to ask for a vote, one a round, among the peers that are ready."""
    wait_s: float = 60.0
    """Longest wait for the others before it begins."""
    round_s: float = 0.5
    """Time between two rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What every machine is told at its birth."""

    identity: Identity
    neighbors: tuple[str, ...]
    iterations: int
    """To make in all."""
    exchange_every: int
    """Iterations of a round."""
    wait_s: float = 30.0
    """Longest wait for all neighbors at the start."""
    drain_s: float = 5.0
    """Longest wait for the peers before we close."""
    is_again: bool = False
    """Whether the node was started before: whoever holds its id may be what it was then."""
    around: Around | None = None
    """How members know of each other; `None`: nobody comes, and who goes is missed by its neighbors
    alone."""
    checkpoint_every: int = 0
    """Rounds between two checkpoints; 0: rounds do not count."""
    checkpoint_s: float = 0.0
    """Seconds between two, at the end of a round; 0: time does not count."""
    state: bytes = b""
    """`Save.state` of the checkpoint that it goes on from; empty: it begins."""

    def __post_init__(self) -> None:
        names = (self.identity.node, self.identity.run, self.identity.boot, *self.neighbors)
        for name in (*names, self.identity.architecture):
            _check_name(name)
        if self.identity.node in self.neighbors or len({*self.neighbors}) < len(self.neighbors):
            raise _wrong("distinct neighbors other than the node itself", f"{self.neighbors}")
        if min(self.iterations, self.exchange_every) < 1:
            raise _wrong("at least one iteration and round", f"{self.iterations} iterations")

    @property
    def rounds(self) -> int:
        """Rounds in all; the last may be shorter."""
        return -(-self.iterations // self.exchange_every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(NodeSettings):
    """What a peer machine is told at its birth."""

    groups: tuple[Nets, ...]
    """Networks that travel together; each group draws its own targets. Empty: no exchange."""
    net_bytes: Mapping[Net, int]
    """Size of each network's float32 vector."""
    draw: Callable[[Sequence[str]], Sequence[str]]
    """Whom to send to, among the peers that are ready (sorted, never empty)."""
    exchange: Literal["push", "mass", "pair"] = "push"
    """How networks are exchanged during the training: what is sent may get lost; it carries a mass
    that may not; or two peers move towards each other."""
    weighting: Weighting | None = None
    """How much arrivals count; `None`: as much as our own networks."""
    is_scored: Callable[[int], bool] = lambda finished_rounds: False
    """Whether scores are due after so many rounds; at the end they always are."""
    last_step: LastStepSettings | None = None
    """What is done after the training, with the same draw; `None`: nothing."""

    def __post_init__(self) -> None:
        NodeSettings.__post_init__(self)
        for group in {*self.groups, *(self.last_step.groups if self.last_step else ())}:
            total = self.bytes_of(group)
            if not 0 < total <= MAX_VECTOR_BYTES or total % NET_WORD_BYTES:
                raise _wrong("a vector of whole float32 numbers", f"{total} bytes for {group}")
        is_whole = self.exchange == "push" and not (self.weighting and self.weighting.travels)
        if not is_whole and len(self.groups) != 1:
            raise _wrong("one group of networks, for one weight or pair", f"{self.groups}")

    def groups_for(self, purpose: Purpose) -> tuple[Nets, ...]:
        """Networks that a vector may carry for that purpose; empty: there are no such vectors."""
        if purpose == "gift":
            return (NETS,) if self.around is not None and self.around.is_new else ()
        step = self.last_step
        if purpose in PURPOSES["push"] | PURPOSES["mass"] | PURPOSES["pair"]:
            return self.groups if purpose in PURPOSES[self.exchange] else ()
        averages = step is not None and step.voter is None
        return step.groups if step and averages == (purpose == "average") else ()

    def bytes_of(self, nets: Nets) -> int:
        """Size of a vector that carries these networks."""
        return sum(self.net_bytes[net] for net in nets)

    def admit(self, link: Link, chunk: Chunk) -> int:
        """The size of the vector that a chunk begins, if we expect such networks from there.

        Raises:
            VectorError: `nets`, `origin`, `weight` or `answers`.
        """
        at = f"peer `{link.peer}`"
        if chunk.nets not in self.groups_for(chunk.purpose):
            raise VectorError("nets", expected="a group of ours", got=f"{chunk.nets}", at=at)
        known: Collection[str] = {""}
        if chunk.purpose == "judge":
            known = {link.peer}
        elif chunk.purpose == "adopt":
            known = self.last_step.around if self.last_step else ()
        if chunk.origin not in known:
            raise VectorError("origin", expected="a node of the run", got="another", at=at)
        least = LEAST_WEIGHT if self.is_weighted(chunk.purpose) else 0.0
        if chunk.weight < least or (chunk.weight and not least):
            raise VectorError("weight", expected="one of the run's kind", got="another", at=at)
        if bool(chunk.answers) != (chunk.purpose == "answer"):
            raise VectorError("answers", expected="what it answers", got="another", at=at)
        return self.bytes_of(chunk.nets)

    def is_weighted(self, purpose: Purpose) -> bool:
        """Whether vectors for that purpose carry a weight."""
        rule = self.weighting
        return rule is not None and rule.travels and purpose in PURPOSES["push"] | PURPOSES["mass"]


class Core:
    """Settings, clock and the instructions of the event at hand."""

    __slots__ = ("_instructions", "clock", "now", "settings")

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self.clock = 0
        self.now = 0.0
        self._instructions: list[Instruction] = []

    @property
    def us(self) -> Identity:
        """Who we are."""
        return self.settings.identity

    def tick(self) -> int:
        """The clock of the message or record that is about to be written."""
        self.clock += 1
        return self.clock

    def observe(self, clock: int) -> None:
        """Follows a message's clock, by `MAX_CLOCK_JUMP` at most.

        A clock that is further ahead is no fault: its sender may be an honest peer that was pushed
        by somebody else.
        """
        self.clock = max(self.clock, min(clock, self.clock + MAX_CLOCK_JUMP)) + 1

    def emit(self, instruction: Instruction) -> None:
        """Adds an instruction to those of this event."""
        self._instructions.append(instruction)

    def record(self, kind: str, **fields: Any) -> None:
        """Adds a line for the log."""
        self.emit(Record(kind=kind, fields=fields, clock=self.tick()))

    def take(self) -> list[Instruction]:
        """The instructions of this event; the next one begins with none."""
        taken, self._instructions = self._instructions, []
        return taken


def _check_name(name: str) -> None:
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        raise _wrong("an id that peers accept", f"`{name!r}`: {error}") from None


def _wrong(expected: str, got: str) -> LocalProtocolError:
    return LocalProtocolError(expected=expected, got=got, at="settings of the peer machine")
