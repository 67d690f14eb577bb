"""One simulated run from its configuration to its run directory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from p2pgan.config import RunConfig
from p2pgan.experiment import Experiment, prepare
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.writer import RecordWriter
from p2pgan.runs import Outcome, begin, run_started, summary
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim.interrupt import Interrupt
from p2pgan.sim.lockstep import Lockstep

RECORDS_AT_ONCE = 1000
"""Records that may wait in memory; at the end of a round none does."""


@dataclass(frozen=True)
class Finished:
    """A run that is over: where it lies and what came of it."""

    directory: RunDirectory
    summary: dict[str, Any]


def simulate(
    config: RunConfig,
    data_dir: Path,
    out: Path | None,
    on_round: Callable[[Lockstep], None],
    on_interrupt: Callable[[], None] = lambda: None,
) -> Finished:
    """Runs a configuration in lockstep; on an interrupt (Ctrl-C), saves what there is.

    The first interrupt waits for the end of the round, a second one does not.

    Args:
        config: what to run.
        data_dir: folder of the data sets.
        out: the run directory; `None`: a new one under `runs/`.
        on_round: told after every round; may raise `KeyboardInterrupt` to end the run.
        on_interrupt: told of an interrupt that waits.
    Raises:
        P2PGanError: for whatever cannot be run, read or written.
    """
    start_s = time.monotonic()
    experiment = prepare(config, data_dir)
    _check_draw(experiment)
    directory = begin(experiment, out, experiment.overlay)
    interrupted = False
    with RecordWriter(
        directory.events,
        directory.path.name,
        node="",
        wall=lambda: datetime.now(UTC),
        time_s=lambda: time.monotonic() - start_s,
        flush_every=RECORDS_AT_ONCE,
    ) as records:
        records.write(run_started(experiment.config))
        interrupt = Interrupt(on_interrupt)

        def after_round(simulation: Lockstep) -> None:
            on_round(simulation)
            interrupt.check()

        simulation = Lockstep(experiment, directory, records, time.monotonic, after_round)
        try:
            with interrupt:
                simulation.run()
        except KeyboardInterrupt:
            interrupted = True
            if simulation.scored_round != simulation.round:
                simulation.score()
        simulation.save("interrupted" if interrupted else "finished")
    outcome = Outcome(
        rounds=simulation.round,
        iterations=simulation.iterations,
        node_iterations=simulation.iterations * len(experiment.nodes),
        scores=[(scores.fid, scores.ms) for scores in simulation.scores],
        consensus=simulation.consensus,
        messages=simulation.messages,
        bytes_total=simulation.bytes_total,
        wall_s=time.monotonic() - start_s,
        busy_s=simulation.busy_s,
        interrupted=interrupted,
    )
    result = summary(directory, experiment, outcome)
    directory.write_summary(result)
    return Finished(directory, result)


def _check_draw(experiment: Experiment) -> None:
    """Draws once on the side: an overlay without the wanted draw is refused before anything is
    written, and not after the first round."""
    if experiment.algorithm.groups:
        draw = experiment.algorithm.draw(experiment.config.exchange, lockstep=True)
        rng = stream(experiment.config.seed, EVERYONE, "draws")
        draw(experiment.overlay.neighbor_indices(), rng)
