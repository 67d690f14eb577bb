"""One simulated run from its configuration to its run directory."""

import hashlib
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from p2pgan.config import RunConfig
from p2pgan.errors import ConfigError, RankLostError
from p2pgan.experiment import Experiment, prepare
from p2pgan.inspect.text import count_text
from p2pgan.record.rundir import RunDirectory, to_json
from p2pgan.record.writer import RecordWriter
from p2pgan.runs import Outcome, begin, run_started, summary, versions
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim.interrupt import Interrupt, terminable
from p2pgan.sim.lockstep import Lockstep
from p2pgan.sim.ranks import Alone, Ranks
from p2pgan.sim.shares import Shares
from p2pgan.sim.simulation import Simulation
from p2pgan.sim.split import SplitRun

RECORDS_AT_ONCE = 1000
"""Records that may wait in memory; at the end of a round none does."""


@dataclass(frozen=True)
class Finished:
    """A run that is over: where it lies and what came of it."""

    directory: RunDirectory
    summary: dict[str, Any]
    is_stop_wanted: bool = False
    """Whether whoever has more to run should stop: there was an interrupt, too late for this run
    or not."""


def simulate(
    config: RunConfig,
    data_dir: Path,
    out: Path | None,
    on_round: Callable[[Simulation], None],
    on_interrupt: Callable[[], None] = lambda: None,
    ranks: Ranks | None = None,
) -> Finished:
    """Runs a configuration in lockstep; on an interrupt (Ctrl-C), saves what there is.

    The first interrupt waits for the end of the round, a second one does not. One that comes when
    nothing is left but the last measurement, or saving, cuts nothing short: the run is whole, and
    its summary says so. Where several
    processes share the nodes, each calls this with the same settings; an interrupt of any of them
    is everybody's, and a second one ends its process without saving.

    Args:
        config: what to run.
        data_dir: folder of the data sets.
        out: the run directory; `None`: a new one under `runs/`. Only the first process writes.
        on_round: told after every round; may raise `KeyboardInterrupt` to end the run.
        on_interrupt: told of an interrupt that waits.
        ranks: the processes that share the nodes; `None`: this one has them all.
    Raises:
        P2PGanError: for whatever cannot be run, read or written; the same at every process, unless
            it is a `RankLostError`.
    """
    ranks = ranks or Ranks(Alone())
    run = _Run(ranks, time.monotonic(), on_round, Interrupt(on_interrupt))
    try:
        with nullcontext() if ranks.is_alone else terminable(ranks.link.rank):
            return run(config, data_dir, out)
    except RankLostError as lost:
        at = f"{lost.at}, {run.progress()}"
        hint = "; ".join(filter(None, (run.saved(), lost.hint)))
        raise RankLostError(expected=lost.expected, got=lost.got, at=at, hint=hint) from None


@dataclass
class _Run:
    """One run, seen from one process."""

    ranks: Ranks
    start_s: float
    on_round: Callable[[Simulation], None]
    interrupt: Interrupt
    simulation: Simulation | None = None
    """Once there is something to train."""
    is_agreed: bool = False
    """Whether all processes know of an interrupt, and are at the end of the same round."""

    def __call__(self, config: RunConfig, data_dir: Path, out: Path | None) -> Finished:
        ranks = self.ranks
        experiment, shares = ranks.everywhere(lambda: self._prepare(config, data_dir))
        if not ranks.is_alone:
            ranks.check_same(fingerprint(experiment))
        made = ranks.from_first(lambda: str(begin(experiment, out, experiment.overlay).path))
        directory = RunDirectory(Path(made))
        with self._log(directory) if ranks.is_first else nullcontext() as records:
            if records is not None:
                records.write(run_started(experiment.config))
            kind = SplitRun if experiment.algorithm.is_split else Lockstep
            simulation = kind(
                experiment, shares, directory, records, time.monotonic, self._after_round
            )
            self.simulation = simulation
            with self.interrupt:  # until all is saved, which a first one shall not break off
                try:
                    interrupted = self._play(simulation)
                finally:
                    simulation.close()
                simulation.save("interrupted" if interrupted else "finished")
                told = self._close(simulation, interrupted)
        is_stop_wanted = interrupted or self.is_agreed or self.interrupt.is_noted
        return Finished(directory, told, is_stop_wanted)

    def progress(self) -> str:
        """How far it is, for whoever has lost the run."""
        done = self.simulation.round if self.simulation else 0
        return f"after {count_text(done, 'round')}"

    def saved(self) -> str:
        """Which networks are on disk, for whoever has lost the run."""
        if self.simulation is None or self.simulation.saved_iterations is None:
            return "nothing was saved yet; `engine.checkpoint_every` saves during a run"
        nodes, iterations = (
            self.simulation.directory.path / "nodes",
            self.simulation.saved_iterations,
        )
        return f"every node's networks after {iterations} iterations or later are in {nodes}"

    def _prepare(self, config: RunConfig, data_dir: Path) -> tuple[Experiment, Shares]:
        experiment = prepared(config, data_dir)
        if experiment.algorithm.is_split:
            self._check_alone()
        return experiment, Shares(self.ranks, len(experiment.nodes))

    def _check_alone(self) -> None:
        """MD-GAN's one generator waits for all discriminators in every iteration."""
        if not self.ranks.is_alone:
            raise ConfigError(
                expected="one process, where one generator learns from all discriminators",
                got=f"`{self.ranks.link.count}`",
                at="the processes of the run",
                hint="start `md-gan` without `torchrun`; its discriminators are computed together",
            )

    def _log(self, directory: RunDirectory) -> RecordWriter:
        return RecordWriter(
            directory.events,
            directory.path.name,
            node="",
            wall=lambda: datetime.now(UTC),
            time_s=lambda: time.monotonic() - self.start_s,
            flush_every=RECORDS_AT_ONCE,
        )

    def _play(self, simulation: Simulation) -> bool:
        """Plays to the end or to an interrupt; whether one has cut it short."""
        try:
            simulation.run()
        except KeyboardInterrupt:
            if not self.ranks.is_alone and not self.is_agreed:
                raise  # in the middle of a round, where the others cannot be told
            if simulation.scored_round != simulation.round:
                simulation.score()
            return not (self.is_agreed and _is_whole(simulation))
        return False

    def _after_round(self, simulation: Simulation) -> None:
        wanted = False
        try:
            self.on_round(simulation)
            self.interrupt.check()
        except KeyboardInterrupt:
            wanted = True
        self.is_agreed = self.ranks.agree(wanted)
        if self.is_agreed:
            raise KeyboardInterrupt

    def _close(self, simulation: Simulation, interrupted: bool) -> dict[str, Any]:
        """Writes the summary; the same at every process."""
        outcome = Outcome(
            rounds=simulation.round,
            iterations=simulation.iterations,
            node_iterations=simulation.iterations * simulation.experiment.round_nodes,
            standing=simulation.standing(measured=not interrupted),
            last_step=simulation.last_step,
            messages=simulation.messages,
            bytes_total=simulation.bytes_total,
            wall_s=time.monotonic() - self.start_s,
            busy_s=simulation.busy_s,
            interrupted=interrupted,
            costs=simulation.costs,
            kinds=simulation.kinds,
        )

        def write() -> str:
            result = summary(simulation.directory, simulation.experiment, outcome)
            simulation.directory.write_summary(result)
            return to_json(result)

        told: dict[str, Any] = msgspec.json.decode(self.ranks.from_first(write))
        return told


def prepared(config: RunConfig, data_dir: Path) -> Experiment:
    """The experiment, if it can be run in lockstep.

    Raises:
        P2PGanError: for whatever cannot be run.
    """
    experiment = prepare(config, data_dir)
    _check_draw(experiment)
    return experiment


def fingerprint(experiment: Experiment) -> str:
    """What all processes of a run must have in common, in short."""
    config, overlay = experiment.config, experiment.overlay
    common = msgspec.structs.replace(
        config,
        overlay="",  # a path, perhaps; what is in it counts
        engine=msgspec.structs.replace(config.engine, threads=None, block_nodes=None),
    )
    edges = [overlay.neighbor_indices(), overlay.nodes]
    digest = hashlib.blake2b(repr((common, edges, versions())).encode(), digest_size=16)
    for array in (
        *experiment.shards.values(),
        experiment.dataset.images,
        experiment.dataset.labels,
    ):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _is_whole(simulation: Simulation) -> bool:
    """Whether nothing comes after the round that is over."""
    experiment = simulation.experiment
    more = experiment.config.score.final_samples or experiment.config.final != "none"
    return simulation.round == experiment.rounds and not more


def _check_draw(experiment: Experiment) -> None:
    """Draws once on the side: an overlay without the wanted draw is refused before anything is
    written, and not after the first round."""
    if experiment.algorithm.groups or experiment.config.final != "none":
        draw = experiment.algorithm.draw(experiment.config.exchange, lockstep=True)
        rng = stream(experiment.config.seed, EVERYONE, "draws")
        draw(experiment.overlay.neighbor_indices(), rng)
