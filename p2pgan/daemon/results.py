"""What came of a supervised run, out of its logs and saved networks alone."""

from typing import Any

import torch

from p2pgan.experiment import Experiment
from p2pgan.gan.checkpoint import load
from p2pgan.inspect.summary import summarise
from p2pgan.mixing.rules import consensus_distance
from p2pgan.record.rundir import RunDirectory, records_of
from p2pgan.record.schema import RoundFinished, Scores
from p2pgan.runs import Outcome, summary
from p2pgan.types import NETS, Net


def sum_up(
    experiment: Experiment, directory: RunDirectory, *, wall_s: float, interrupted: bool
) -> dict[str, Any]:
    """The content of `summary.json`; beyond the contract, `unaccounted` counts vectors that were
    sent and neither received nor dropped.

    Args:
        experiment: what was run.
        directory: with at least one log.
        wall_s: seconds that the run took, start-up and all.
        interrupted: whether somebody stopped it.
    Raises:
        RecordError, CheckpointError: for logs and networks that cannot be read.
    """
    logged = summarise(directory)
    outcome = Outcome(
        rounds=logged.rounds,
        iterations=logged.iterations,
        node_iterations=sum(node.iterations for node in logged.nodes),
        scores=last_scores(directory),
        consensus=consensus(experiment, directory),
        messages=logged.sent,
        bytes_total=logged.bytes_sent,
        wall_s=wall_s,
        busy_s=busy_s(directory),
        interrupted=interrupted,
    )
    return {**summary(directory, experiment, outcome), "unaccounted": len(logged.unaccounted)}


def last_scores(directory: RunDirectory) -> list[tuple[float | None, float | None]]:
    """FID and MS of every node that was scored; `None` where a generator has diverged."""
    last: dict[str, tuple[float | None, float | None]] = {}
    for record in records_of(directory):
        if isinstance(record.body, Scores):
            last[record.node] = record.body.fid, record.body.ms
    return list(last.values())


def busy_s(directory: RunDirectory) -> float:
    """Seconds of training, exchanging and mixing of the node that took longest: nodes work side by
    side, and the speed of all is what they make in that time."""
    busy: dict[str, float] = {}
    for record in records_of(directory):
        if isinstance(record.body, RoundFinished):
            spent_s = (record.body.train_s or 0.0) + (record.body.exchange_s or 0.0)
            busy[record.node] = busy.get(record.node, 0.0) + spent_s
    return max(busy.values(), default=0.0)


def consensus(experiment: Experiment, directory: RunDirectory) -> dict[Net, float]:
    """Consensus distance of the saved networks; empty unless every node has saved."""
    paths = [directory.checkpoint(node) for node in experiment.nodes]
    if not all(path.is_file() for path in paths):
        return {}
    saved = [load(path, experiment.model).vectors for path in paths]
    return {net: consensus_distance(torch.stack([v[net] for v in saved])) for net in NETS}
