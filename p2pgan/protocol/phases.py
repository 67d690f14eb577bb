"""The life of a peer as a table: phases, what ends them, and what comes next.

The diagram in docs/concepts/protocol.md is drawn from this table.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final


class Phase(Enum):
    """Where a peer stands in its life."""

    IDLE = "idle"
    """The shell is not up yet."""
    GATHERING = "gathering"
    """Waits for its neighbors."""
    TRAINING = "training"
    MIXING = "mixing"
    SCORING = "scoring"
    SETTLING = "settling"
    """Has made its iterations, and waits for the others before the last step."""
    CONCLUDING = "concluding"
    """Takes the last step, round by round."""
    ADOPTING = "adopting"
    """Takes over the pair that it found best."""
    SAVING = "saving"
    LEAVING = "leaving"
    """Finishes what is on the way between itself and its peers."""
    CLOSED = "closed"


class Cause(Enum):
    """What makes a peer go from one phase to another."""

    STARTED = "started"
    GATHERED = "gathered"
    """Vectors can go both ways to all neighbors that do not refuse, or the wait is over."""
    TRAINED = "trained"
    MIXED = "mixed"
    SCORE_DUE = "score due"
    SCORED = "scored"
    FINISHED = "finished"
    """The last iteration is made and scored, and the last step taken, if there is one."""
    LAST_STEP = "last step"
    """The last iteration is made and scored, and there is a last step."""
    BEGUN = "begun"
    """Everybody has made its iterations, somebody has begun, or the wait is over."""
    CHOSEN = "chosen"
    """The last step is over; another's pair is the best."""
    HALTED = "halted"
    """Somebody wants the node to stop."""
    SAVED = "saved"
    FAILED = "failed"
    """Some work went wrong."""
    DRAINED = "drained"
    """Nothing is on the way any more, or the wait is over."""
    ABORTED = "aborted"
    """Somebody insists, or a peer holds our id."""


TRANSITIONS: Final[Mapping[Phase, Mapping[Cause, Phase]]] = MappingProxyType(
    {
        Phase.IDLE: {Cause.STARTED: Phase.GATHERING, Cause.ABORTED: Phase.CLOSED},
        Phase.GATHERING: {
            Cause.GATHERED: Phase.TRAINING,
            Cause.HALTED: Phase.SAVING,
            Cause.ABORTED: Phase.CLOSED,
        },
        Phase.TRAINING: {
            Cause.TRAINED: Phase.MIXING,
            Cause.HALTED: Phase.SAVING,
            Cause.FAILED: Phase.LEAVING,
            Cause.ABORTED: Phase.CLOSED,
        },
        Phase.MIXING: {
            Cause.MIXED: Phase.TRAINING,
            Cause.SCORE_DUE: Phase.SCORING,
            Cause.HALTED: Phase.SAVING,
            Cause.FAILED: Phase.LEAVING,
            Cause.ABORTED: Phase.CLOSED,
        },
        Phase.SCORING: {
            Cause.SCORED: Phase.TRAINING,
            Cause.LAST_STEP: Phase.SETTLING,
            Cause.FINISHED: Phase.SAVING,
            Cause.HALTED: Phase.SAVING,
            Cause.FAILED: Phase.LEAVING,
            Cause.ABORTED: Phase.CLOSED,
        },
        Phase.SETTLING: {
            Cause.BEGUN: Phase.CONCLUDING,
            Cause.HALTED: Phase.SAVING,
            Cause.ABORTED: Phase.CLOSED,
        },
        Phase.CONCLUDING: {
            Cause.CHOSEN: Phase.ADOPTING,
            Cause.SCORE_DUE: Phase.SCORING,
            Cause.HALTED: Phase.SAVING,
            Cause.FAILED: Phase.LEAVING,
            Cause.ABORTED: Phase.CLOSED,
        },
        Phase.ADOPTING: {
            Cause.SCORE_DUE: Phase.SCORING,
            Cause.HALTED: Phase.SAVING,
            Cause.FAILED: Phase.LEAVING,
            Cause.ABORTED: Phase.CLOSED,
        },
        Phase.SAVING: {
            Cause.SAVED: Phase.LEAVING,
            Cause.FAILED: Phase.LEAVING,
            Cause.ABORTED: Phase.CLOSED,
        },
        Phase.LEAVING: {Cause.DRAINED: Phase.CLOSED, Cause.ABORTED: Phase.CLOSED},
        Phase.CLOSED: {},
    }
)


def diagram() -> str:
    """The table as a Mermaid state diagram; abortion, possible everywhere, is left out."""
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.IDLE.value}"]
    for start, exits in TRANSITIONS.items():
        for cause, end in exits.items():
            if cause is not Cause.ABORTED:
                lines.append(f"    {start.value} --> {end.value}: {cause.value}")
    return "\n".join([*lines, f"    {Phase.CLOSED.value} --> [*]"])
