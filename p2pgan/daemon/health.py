"""How a node is doing, in a form that other threads may read while its loop goes on.

The loop publishes a `Health` about once a second. Whatever is counted over the whole run is counted
from the records that pass by, so that it never goes back, whoever comes and goes.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from p2pgan.protocol.instructions import Record
from p2pgan.protocol.phases import Phase
from p2pgan.protocol.statistics import PeerMachineStatistics

LOOP_SILENCE_S: Final = 10.0
"""Ten times the longest wait of a loop: one that has not turned since is stuck."""

STARTING: Final = frozenset(phase.value for phase in (Phase.IDLE, Phase.GATHERING))
ENDING: Final = frozenset(phase.value for phase in (Phase.SAVING, Phase.LEAVING, Phase.CLOSED))
"""Phases of a node that does not take part yet, and of one that does not any more."""

Standing = Literal["starting", "taking part", "ending"]


def standing(phase: str) -> Standing:
    """What a phase is to those who watch."""
    if phase in STARTING:
        return "starting"
    return "ending" if phase in ENDING else "taking part"


VECTOR: Final = "vector_"
"""What the kinds of all records about vectors begin with."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """A node at one moment; times are of the loop's clock."""

    at_s: float
    uptime_s: float
    statistics: PeerMachineStatistics
    records: Mapping[str, int]
    """Number of records so far, by kind."""
    vector_bytes: Mapping[str, int]
    """Bytes of vectors so far, by kind of record."""
    saved_s: float | None
    """When it has saved last."""

    def problem(self, now: float) -> str:
        """Why the node cannot be called healthy; empty: it can."""
        silent_s = now - self.at_s
        if silent_s > LOOP_SILENCE_S:
            return f"the loop has not turned for {silent_s:.0f} s"
        return "the training hangs" if self.statistics.is_degraded else ""

    @property
    def standing(self) -> Standing:
        """Whether it takes part in the run."""
        return standing(self.statistics.phase)


Watcher = Callable[[Health], None]
"""Takes the health of a node; in the loop's thread, so it has to be quick and must not raise."""


@dataclass(slots=True)
class Observed:
    """What has been counted so far; belongs to the loop."""

    records: Counter[str] = field(default_factory=Counter)
    vector_bytes: Counter[str] = field(default_factory=Counter)
    saved_s: float | None = None

    def note(self, record: Record, now: float) -> None:
        """Counts a record."""
        self.records[record.kind] += 1
        if record.kind.startswith(VECTOR):
            self.vector_bytes[record.kind] += record.fields.get("bytes") or 0
        elif record.kind == "checkpoint_saved":
            self.saved_s = now

    def health(self, statistics: PeerMachineStatistics, *, now: float, begun_s: float) -> Health:
        """The moment as it is, copied."""
        return Health(
            at_s=now,
            uptime_s=now - begun_s,
            statistics=statistics,
            records=dict(self.records),
            vector_bytes=dict(self.vector_bytes),
            saved_s=self.saved_s,
        )
