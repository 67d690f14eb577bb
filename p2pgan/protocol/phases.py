"""The lives of nodes as tables: phases, what ends them, and what comes next.

The diagrams in docs/concepts/protocol.md are drawn from these tables.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final


class Phase(Enum):
    """Where a node stands in its life."""

    IDLE = "idle"
    """The shell is not up yet."""
    GATHERING = "gathering"
    """Waits for its neighbors."""
    TRAINING = "training"
    PAUSED = "paused"
    """Somebody wants it to train no more for now; it answers and takes vectors."""
    MIXING = "mixing"
    SCORING = "scoring"
    SETTLING = "settling"
    """Has made its iterations, and waits for the others before the last step."""
    CONCLUDING = "concluding"
    """Takes the last step, round by round."""
    ADOPTING = "adopting"
    """Takes over networks: the pair that it found best, the coordinator's, a discriminator."""
    ASSEMBLING = "assembling"
    """A coordinator looks for somebody to ask: workers, or discriminators in their places."""
    COLLECTING = "collecting"
    """A coordinator waits for answers."""
    AVERAGING = "averaging"
    GENERATING = "generating"
    LEARNING = "learning"
    KEEPING = "keeping"
    """Writes a checkpoint, and will go on."""
    WAITING = "waiting"
    """A worker has nothing to do until somebody tells it something."""
    PACKING = "packing"
    """A worker copies what it is about to send."""
    SAVING = "saving"
    LEAVING = "leaving"
    """Finishes what is on the way between itself and its peers."""
    CLOSED = "closed"


class Cause(Enum):
    """What makes a node go from one phase to another."""

    STARTED = "started"
    GATHERED = "gathered"
    """Vectors can go both ways to all neighbors that do not refuse, or the wait is over."""
    GIVEN = "given"
    """A newcomer has got networks to begin with."""
    TRAINED = "trained"
    MIXED = "mixed"
    PAUSED = "paused"
    """Somebody wants the node to train no more for now."""
    RESUMED = "resumed"
    """Somebody wants it to go on, or the round that was cut short goes on."""
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
    ASKED = "asked"
    """A model has been sent to those who take part in a round."""
    PLACED = "placed"
    """Discriminators are in their places, and wait for batches."""
    GENERATED = "generated"
    HEARD = "heard"
    """Those asked have answered, or as many as are needed, or the deadline is over."""
    AGAIN = "again"
    """Nobody is left whose answer could be waited for, or somebody new could be asked."""
    AVERAGED = "averaged"
    LEARNED = "learned"
    KEEP_DUE = "checkpoint due"
    KEPT = "kept"
    MODEL_CAME = "model came"
    BATCHES_CAME = "batches came"
    TAKES = "takes"
    """A discriminator is to be made, or has come."""
    SENDS = "sends"
    """The discriminator is to go to another worker."""
    ADOPTED = "adopted"
    NEWER_CAME = "newer model came"
    PACKED = "packed"
    HALTED = "halted"
    """Somebody wants the node to stop."""
    SAVED = "saved"
    FAILED = "failed"
    """Some work went wrong."""
    DRAINED = "drained"
    """Nothing is on the way any more, or the wait is over."""
    ABORTED = "aborted"
    """Somebody insists, or a peer holds our id."""


_ENDS: Final[Mapping[Phase, Mapping[Cause, Phase]]] = {
    Phase.SAVING: {Cause.SAVED: Phase.LEAVING, Cause.FAILED: Phase.LEAVING},
    Phase.LEAVING: {Cause.DRAINED: Phase.CLOSED},
}
"""How every life ends."""

_STOPS: Final[Mapping[Cause, Phase]] = {Cause.HALTED: Phase.SAVING}
_WORKS: Final[Mapping[Cause, Phase]] = {Cause.HALTED: Phase.SAVING, Cause.FAILED: Phase.LEAVING}
"""What else can come of waiting and of work."""

Table = Mapping[Phase, Mapping[Cause, Phase]]


def _table(rows: Table) -> Table:
    """A life with its end, which can be forced from everywhere."""
    forced = {Cause.ABORTED: Phase.CLOSED}
    lived = {phase: MappingProxyType({**row, **forced}) for phase, row in {**rows, **_ENDS}.items()}
    return MappingProxyType({**lived, Phase.CLOSED: MappingProxyType({})})


TRANSITIONS: Final = _table(
    {
        Phase.IDLE: {Cause.STARTED: Phase.GATHERING},
        Phase.GATHERING: {
            Cause.GATHERED: Phase.TRAINING,
            Cause.PAUSED: Phase.PAUSED,
            Cause.SCORE_DUE: Phase.SCORING,
            Cause.GIVEN: Phase.ADOPTING,
            **_STOPS,
        },
        Phase.TRAINING: {
            Cause.TRAINED: Phase.MIXING,
            Cause.KEEP_DUE: Phase.KEEPING,
            Cause.PAUSED: Phase.PAUSED,
            Cause.RESUMED: Phase.TRAINING,
            Cause.SCORE_DUE: Phase.SCORING,
            **_WORKS,
        },
        Phase.PAUSED: {
            Cause.RESUMED: Phase.TRAINING,
            Cause.SCORE_DUE: Phase.SCORING,
            Cause.KEEP_DUE: Phase.KEEPING,
            **_STOPS,
        },
        Phase.MIXING: {
            Cause.MIXED: Phase.TRAINING,
            Cause.PAUSED: Phase.PAUSED,
            Cause.SCORE_DUE: Phase.SCORING,
            Cause.KEEP_DUE: Phase.KEEPING,
            **_WORKS,
        },
        Phase.SCORING: {
            Cause.SCORED: Phase.TRAINING,
            Cause.PAUSED: Phase.PAUSED,
            Cause.KEEP_DUE: Phase.KEEPING,
            Cause.LAST_STEP: Phase.SETTLING,
            Cause.FINISHED: Phase.SAVING,
            **_WORKS,
        },
        Phase.KEEPING: {
            Cause.KEPT: Phase.TRAINING,
            Cause.PAUSED: Phase.PAUSED,
            Cause.SCORE_DUE: Phase.SCORING,
            **_WORKS,
        },
        Phase.SETTLING: {
            Cause.BEGUN: Phase.CONCLUDING,
            **_STOPS,
        },
        Phase.CONCLUDING: {
            Cause.CHOSEN: Phase.ADOPTING,
            Cause.SCORE_DUE: Phase.SCORING,
            **_WORKS,
        },
        Phase.ADOPTING: {
            Cause.GATHERED: Phase.TRAINING,
            Cause.SCORE_DUE: Phase.SCORING,
            **_WORKS,
        },
    }
)

_AFTER_A_ROUND: Final[Table] = {
    Phase.SCORING: {
        Cause.SCORED: Phase.ASSEMBLING,
        Cause.KEEP_DUE: Phase.KEEPING,
        Cause.FINISHED: Phase.SAVING,
        **_WORKS,
    },
    Phase.KEEPING: {Cause.KEPT: Phase.ASSEMBLING, **_WORKS},
}
"""What coordinators do between two rounds."""

FEDERATED_COORDINATOR: Final = _table(
    {
        Phase.IDLE: {Cause.STARTED: Phase.GATHERING},
        Phase.GATHERING: {Cause.GATHERED: Phase.ASSEMBLING, **_STOPS},
        Phase.ASSEMBLING: {
            Cause.ASKED: Phase.COLLECTING,
            Cause.FINISHED: Phase.SAVING,
            **_STOPS,
        },
        Phase.COLLECTING: {
            Cause.HEARD: Phase.AVERAGING,
            Cause.AGAIN: Phase.ASSEMBLING,
            **_STOPS,
        },
        Phase.AVERAGING: {
            Cause.AVERAGED: Phase.ASSEMBLING,
            Cause.SCORE_DUE: Phase.SCORING,
            Cause.KEEP_DUE: Phase.KEEPING,
            **_WORKS,
        },
        **_AFTER_A_ROUND,
    }
)

SPLIT_COORDINATOR: Final = _table(
    {
        Phase.IDLE: {Cause.STARTED: Phase.GATHERING},
        Phase.GATHERING: {Cause.GATHERED: Phase.ASSEMBLING, **_STOPS},
        Phase.ASSEMBLING: {
            Cause.PLACED: Phase.GENERATING,
            Cause.HEARD: Phase.LEARNING,
            Cause.FINISHED: Phase.SAVING,
            **_STOPS,
        },
        Phase.GENERATING: {Cause.GENERATED: Phase.COLLECTING, **_WORKS},
        Phase.COLLECTING: {
            Cause.HEARD: Phase.LEARNING,
            Cause.AGAIN: Phase.ASSEMBLING,
            **_STOPS,
        },
        Phase.LEARNING: {
            Cause.LEARNED: Phase.ASSEMBLING,
            Cause.SCORE_DUE: Phase.SCORING,
            Cause.KEEP_DUE: Phase.KEEPING,
            **_WORKS,
        },
        **_AFTER_A_ROUND,
    }
)

FEDERATED_WORKER: Final = _table(
    {
        Phase.IDLE: {Cause.STARTED: Phase.GATHERING},
        Phase.GATHERING: {Cause.GATHERED: Phase.WAITING, **_STOPS},
        Phase.WAITING: {Cause.MODEL_CAME: Phase.ADOPTING, **_STOPS},
        Phase.ADOPTING: {
            Cause.ADOPTED: Phase.TRAINING,
            Cause.NEWER_CAME: Phase.ADOPTING,
            **_WORKS,
        },
        Phase.TRAINING: {
            Cause.TRAINED: Phase.PACKING,
            Cause.NEWER_CAME: Phase.ADOPTING,
            **_WORKS,
        },
        Phase.PACKING: {Cause.PACKED: Phase.WAITING, **_WORKS},
    }
)

SPLIT_WORKER: Final = _table(
    {
        Phase.IDLE: {Cause.STARTED: Phase.GATHERING},
        Phase.GATHERING: {Cause.GATHERED: Phase.WAITING, **_STOPS},
        Phase.WAITING: {
            Cause.BATCHES_CAME: Phase.TRAINING,
            Cause.TAKES: Phase.ADOPTING,
            Cause.SENDS: Phase.PACKING,
            **_STOPS,
        },
        Phase.TRAINING: {Cause.TRAINED: Phase.WAITING, **_WORKS},
        Phase.ADOPTING: {Cause.ADOPTED: Phase.WAITING, **_WORKS},
        Phase.PACKING: {Cause.PACKED: Phase.WAITING, **_WORKS},
    }
)

TABLES: Final[Mapping[str, Table]] = MappingProxyType(
    {
        "peer": TRANSITIONS,
        "FL-GAN's coordinator": FEDERATED_COORDINATOR,
        "FL-GAN's worker": FEDERATED_WORKER,
        "MD-GAN's coordinator": SPLIT_COORDINATOR,
        "MD-GAN's worker": SPLIT_WORKER,
    }
)
"""The life of every kind of node."""


def diagram(table: Table = TRANSITIONS) -> str:
    """A table as a Mermaid state diagram; abortion, possible everywhere, is left out."""
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.IDLE.value}"]
    for start, exits in table.items():
        for cause, end in exits.items():
            if cause is not Cause.ABORTED:
                lines.append(f"    {start.value} --> {end.value}: {cause.value}")
    return "\n".join([*lines, f"    {Phase.CLOSED.value} --> [*]"])
