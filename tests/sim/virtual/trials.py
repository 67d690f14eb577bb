"""Small trials for tests: a few nodes in perfect health, and what they said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.daemons import DaemonConfig
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.sim.virtual.trial import END_S, stage_of
from p2pgan.sim.virtual.world import Moment
from p2pgan.virtual import VirtualConfig

NODES = 3


def config_of(**changes: Any) -> RunConfig:
    """Three nodes, each with the others as neighbors, for two minutes."""
    virtual = VirtualConfig(
        **{"train": "gradient-free", "iteration_s": 1.0, "duration_s": 120.0, "latency_s": "0.01"}
        | changes.pop("virtual", {})
    )
    run = RunConfig(
        nodes=NODES,
        iterations=10_000,
        exchange_every=10,
        device="cpu",
        score=ScoreConfig(every=0),
        daemon=DaemonConfig(wait_s=10.0, checkpoint_every=2),
        virtual=virtual,
    )
    return msgspec.structs.replace(run, **changes)


class Recorded:
    """A trial that keeps all moments."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.moments: list[Moment] = []
        self.stage = stage_of(config_of(**changes), folder)
        self.stage.watchers.insert(0, self.moments.append)
        self.world, self.design, self.trace = self.stage.world, self.stage.design, self.stage.trace
        assert self.stage.checkers is not None
        self.checkers = self.stage.checkers

    def play(self) -> None:
        """Plays to the end."""
        self.world.run(self.design.config.virtual.duration_s + END_S)
        self.checkers.finish()

    def until(self, at_s: float) -> "Recorded":
        """Plays up to a time."""
        self.world.run(at_s)
        return self

    def find(self, kind: str, node: str = "") -> tuple[Moment, do.Record]:
        """The latest moment with such a record, and that."""
        for moment in reversed(self.moments):
            for one in moment.instructions:
                if isinstance(one, do.Record) and one.kind == kind and node in ("", moment.node):
                    return moment, one
        raise AssertionError(f"nobody has recorded {kind}")


def without(moment: Moment, kind: type[do.Instruction]) -> Moment:
    """A moment without its instructions of a kind."""
    kept = [one for one in moment.instructions if not isinstance(one, kind)]
    return replace(moment, instructions=kept)


def said(moment: Moment, record: do.Record, **fields: Any) -> Moment:
    """Another record than the machine's, at the end of a moment in which nothing was heard."""
    told = do.Record(kind=record.kind, fields={**record.fields, **fields}, clock=record.clock)
    return replace(moment, event=ev.TimerFired(name="greet"), instructions=[told])
