"""What came of a supervised run, out of its logs and saved networks alone."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from p2pgan.experiment import Experiment
from p2pgan.gan.checkpoint import load
from p2pgan.gan.quality import Quality
from p2pgan.inspect.summary import summarise
from p2pgan.inspect.traffic import measure
from p2pgan.mixing.rules import consensus_distance
from p2pgan.parties import Parties
from p2pgan.record.rundir import RunDirectory, records_of
from p2pgan.record.schema import Agreed, Scores, VectorSent
from p2pgan.runs import LastStep, Outcome, Standing, summary
from p2pgan.types import COORDINATOR, NETS, Net


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
        # With a coordinator its iterations are those that the workers make.
        node_iterations=sum(node.iterations for node in logged.nodes if node.node != COORDINATOR),
        standing=Standing(
            scores=[(node.fid, node.ms) for node in logged.nodes if node.is_scored],
            consensus=consensus(experiment, directory),
            quality={} if interrupted else quality(experiment, directory),
        ),
        last_step=last_step(experiment, directory, logged.rounds),
        messages=logged.sent,
        bytes_total=logged.bytes_sent,
        wall_s=wall_s,
        # Nodes work side by side: the speed of all is what they make while the slowest works.
        busy_s=max((node.busy_s for node in logged.nodes), default=0.0),
        interrupted=interrupted,
        kinds=measure(directory).kinds,
    )
    return {**summary(directory, experiment, outcome), "unaccounted": len(logged.unaccounted)}


def last_step(experiment: Experiment, directory: RunDirectory, rounds: int) -> LastStep | None:
    """What came of the last step; `None` if no node has taken it to its end.

    Args:
        experiment: what was run.
        directory: with logs.
        rounds: of the training.
    """
    step = experiment.config.final
    scores: dict[str, tuple[float | None, float | None]] = {}
    origins: list[str] = []
    is_taken, last_round = False, rounds
    for record in records_of(directory):
        match record.body:
            case Scores() if record.body.after is None:
                scores[record.node] = (record.body.fid, record.body.ms)
            case Scores():
                is_taken = True
            case Agreed():
                origins.append(record.body.origin)
            case VectorSent():
                last_round = max(last_round, record.body.round)
    if step == "none" or not is_taken:
        return None
    votes, order = Counter(origins), experiment.nodes.index
    origin = min(votes, key=lambda o: (-votes[o], order(o)), default=None)  # as in lockstep
    agreed = votes[origin] if origin is not None else None
    before = Standing(
        scores=[scores[node] for node in experiment.nodes if node in scores], consensus={}
    )
    return LastStep(
        step=step, rounds=last_round - rounds, agreed=agreed, origin=origin, before=before
    )


def consensus(experiment: Experiment, directory: RunDirectory) -> dict[Net, float]:
    """Consensus distance of the saved networks; empty unless every node has saved.

    With a coordinator there is one generator. FL-GAN's workers have no model of their own between
    rounds; MD-GAN's discriminators differ, and have a distance if they are of one architecture.
    """
    algorithm = experiment.algorithm
    if algorithm.has_coordinator and not algorithm.is_split:
        return {}
    nets: tuple[Net, ...] = NETS
    nodes: Sequence[str] = experiment.nodes
    model = experiment.model
    if algorithm.is_split:
        parties = Parties(experiment)
        nets, model = ("D",), parties.model(0)
        nodes = [node for node in nodes if directory.checkpoint(node).is_file()]
        if len(parties.kinds) > 1 or len(nodes) < parties.discriminators:
            return {}
    paths = [directory.checkpoint(node) for node in nodes]
    if not all(path.is_file() for path in paths):
        return {}
    saved = [load(path, model).vectors for path in paths]
    return {net: consensus_distance(torch.stack([v[net] for v in saved])) for net in nets}


def quality(experiment: Experiment, directory: RunDirectory) -> dict[str, Quality]:
    """Quality of the nodes that are to be measured and have saved; empty if nobody is."""
    if not experiment.config.score.final_samples:
        return {}
    measured = [COORDINATOR] if experiment.algorithm.has_coordinator else experiment.measured_nodes
    saved = {node: directory.checkpoint(node) for node in measured}
    return {
        node: experiment.quality(load(path, experiment.model).generator, node)
        for node, path in saved.items()
        if path.is_file()
    }
