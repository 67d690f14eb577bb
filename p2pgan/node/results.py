"""What came of a run of nodes at their own pace, out of its logs and saved networks alone."""

from collections import Counter
from collections.abc import Collection
from typing import Any

import torch

from p2pgan.design import Design
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
    design: Design,
    directory: RunDirectory,
    *,
    wall_s: float,
    interrupted: bool,
    busy_s: float | None = None,
    counted: Collection[str] | None = None,
) -> dict[str, Any]:
    """The content of `summary.json`; beyond the contract, `unaccounted` counts vectors that were
    sent and neither received nor dropped.

    Args:
        design: what was run.
        directory: with at least one log.
        wall_s: seconds that the run took, start-up and all.
        interrupted: whether somebody stopped it.
        busy_s: seconds of it spent on training and exchanging; `None`: the log tells.
        counted: nodes whose scores and consensus count, as those that were not lost; `None`: all.
    Raises:
        RecordError, CheckpointError: for logs and networks that cannot be read.
    """
    logged = summarise(directory)
    standing = [node for node in logged.nodes if counted is None or node.node in counted]
    # Nodes work side by side: the speed of all is what they make while the slowest works.
    logged_s = max((node.busy_s for node in logged.nodes), default=0.0)
    outcome = Outcome(
        rounds=logged.rounds,
        iterations=logged.iterations,
        # With a coordinator its iterations are those that the workers make.
        node_iterations=sum(node.iterations for node in logged.nodes if node.node != COORDINATOR),
        standing=Standing(
            scores=[(node.fid, node.ms) for node in standing if node.is_scored],
            consensus=consensus(design, directory, counted),
            quality={} if interrupted else quality(design, directory),
        ),
        last_step=last_step(design, directory, logged.rounds),
        messages=logged.sent,
        bytes_total=logged.bytes_sent,
        wall_s=wall_s,
        busy_s=logged_s if busy_s is None else busy_s,
        interrupted=interrupted,
        kinds=measure(directory).kinds,
    )
    return {**summary(directory, design, outcome), "unaccounted": len(logged.unaccounted)}


def last_step(design: Design, directory: RunDirectory, rounds: int) -> LastStep | None:
    """What came of the last step; `None` if no node has taken it to its end.

    Args:
        design: what was run.
        directory: with logs.
        rounds: of the training.
    """
    step = design.config.final
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
    votes, order = Counter(origins), design.nodes.index
    origin = min(votes, key=lambda o: (-votes[o], order(o)), default=None)  # as in lockstep
    agreed = votes[origin] if origin is not None else None
    before = Standing(
        scores=[scores[node] for node in design.nodes if node in scores], consensus={}
    )
    return LastStep(
        step=step, rounds=last_round - rounds, agreed=agreed, origin=origin, before=before
    )


def consensus(
    design: Design, directory: RunDirectory, counted: Collection[str] | None = None
) -> dict[Net, float]:
    """Consensus distance of the saved networks; empty unless every node that counts has saved.

    With a coordinator there is one generator. FL-GAN's workers have no model of their own between
    rounds; MD-GAN's discriminators differ, and have a distance if they are of one architecture.
    """
    algorithm = design.algorithm
    if algorithm.has_coordinator and not algorithm.is_split:
        return {}
    nets: tuple[Net, ...] = NETS
    nodes = [node for node in design.nodes if counted is None or node in counted]
    model = design.model
    if algorithm.is_split:
        assert isinstance(design, Experiment), "discriminators without data"
        parties = Parties(design)
        nets, model = ("D",), parties.model(0)
        nodes = [node for node in nodes if directory.checkpoint(node).is_file()]
        if len(parties.kinds) > 1 or len(nodes) < parties.discriminators:
            return {}
    paths = [directory.checkpoint(node) for node in nodes]
    if not paths or not all(path.is_file() for path in paths):
        return {}
    saved = [load(path, model).vectors for path in paths]
    return {net: consensus_distance(torch.stack([v[net] for v in saved])) for net in nets}


def quality(design: Design, directory: RunDirectory) -> dict[str, Quality]:
    """Quality of the nodes that are to be measured and have saved; empty if nobody is."""
    if not design.config.score.final_samples:
        return {}
    assert isinstance(design, Experiment), "quality of what is no network"
    measured = [COORDINATOR] if design.algorithm.has_coordinator else design.measured_nodes
    saved = {node: directory.checkpoint(node) for node in measured}
    return {
        node: design.quality(load(path, design.model).generator, node)
        for node, path in saved.items()
        if path.is_file()
    }
