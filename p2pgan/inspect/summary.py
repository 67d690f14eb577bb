"""What a run came to, from its log alone."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from p2pgan.inspect.exchanges import NodeTraffic, Sent, tally
from p2pgan.inspect.exchanges import Tally as VectorTally
from p2pgan.inspect.text import natural
from p2pgan.inspect.traffic import UNRECORDED, count_sent, kinds_table
from p2pgan.record.rundir import Log, RunDirectory, records_of
from p2pgan.record.schema import (
    Agreed,
    Consensus,
    FaultInjected,
    NodeStopped,
    PeerLost,
    PeerRefused,
    Quality,
    Record,
    RoundFinished,
    RunStarted,
    Scores,
    Tally,
    Traffic,
)
from p2pgan.types import COORDINATOR

QUALITY_FIGURES = ("fid", "ms", "precision", "recall", "classes", "class_kl", "nearest")
"""Of a `quality` record, those with a spread over nodes."""

SETTINGS = ("algorithm", "dataset", "partition", "seed")
"""Keys of the configuration that a summary repeats."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """One number per node, in four. All are NaN if one of the nodes' is not finite."""

    mean: float
    std: float
    """Standard deviation over the nodes, with their number as divisor."""
    min: float
    max: float


class ScorePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of all nodes that were scored after the same number of iterations, or in virtual time
    at the same moment."""

    iterations: int
    """In virtual time, the most that one of the nodes had made."""
    time_s: float | None = None
    """Virtual seconds, if nodes go at their own pace."""
    nodes: int
    samples: int
    fid: Spread
    ms: Spread


class ConsensusPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Consensus distance after a round."""

    round: int
    iterations: int | None
    """Of each node; `None`: the log does not say."""
    time_s: float | None = None
    """As in `ScorePoint`."""
    g: float | None
    d: float | None


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """What `pictures.score_curves` draws."""

    scores: list[ScorePoint]
    consensus: list[ConsensusPoint]


class NodeSummary(msgspec.Struct, kw_only=True):
    """One node: how far it came, its last losses and scores, its vectors."""

    node: str
    rounds: int = 0
    iterations: int = 0
    loss_d: float | None = None
    loss_g: float | None = None
    busy_s: float = 0.0
    """Seconds of training, exchanging and mixing."""
    is_scored: bool = False
    """Whether it was ever scored; its scores are `None` also where its generator has diverged."""
    fid: float | None = None
    ms: float | None = None
    stopped: str | None = None
    """Why it stopped; `None`: its log does not say that it did."""
    traffic: NodeTraffic


class PeerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A peer lost or refused."""

    node: str
    peer: str
    reason: str


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    run: str
    settings: dict[str, Any]
    """Algorithm, data set, partition and seed, where the log or `run.toml` says them."""
    nodes: list[NodeSummary]
    rounds: int
    """Those of the coordinator, if it has a log; else the most that a node finished."""
    iterations: int
    """Those of the coordinator, if it has a log; else the most that a node trained."""
    wall_s: float
    """Seconds from the first record to the last."""
    records: int
    sent: int
    received: int
    mixed: int
    judged: int
    dropped: int
    dropped_reasons: dict[str, int]
    bytes_sent: int
    unrecorded: dict[str, Tally]
    """Batches and feedback of MD-GAN, which have no records one by one, by kind."""
    unaccounted: list[Sent]
    """Vectors sent and neither received nor dropped."""
    peers_lost: list[PeerEvent]
    peers_refused: list[PeerEvent]
    faults: int
    scores: dict[str, dict[str, float]]
    """`score_statistics` of each node's last scores."""
    quality: dict[str, Any] | None
    """`quality_statistics` of each node's last one; `None`: none is on record."""
    curves: Curves
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values


def summarise(log: Log) -> RunSummary:
    """What a run came to.

    Args:
        log: a run directory, or a single log.
    Raises:
        RecordError: if the log cannot be read.
        ConfigError: if the log does not say the configuration, and `run.toml` cannot be read.
    """
    collected = _Collected()
    for record in records_of(log):
        collected.add(record)
    if not collected.config and isinstance(log, RunDirectory):
        collected.config = log.read_run_toml()
    return collected.summary()


def unaccounted(log: Log) -> list[Sent]:
    """Vectors that a run sent and that were neither received nor dropped.

    Raises:
        RecordError: if the log cannot be read.
    """
    return tally(log).unaccounted()


def traffic(
    messages: int, bytes_total: int, nodes: int, kinds: Mapping[str, Tally]
) -> dict[str, Any]:
    """`traffic` of `summary.json`: vectors sent, their bytes, and the mean of bytes over nodes.

    Args:
        messages: vectors sent.
        bytes_total: of these vectors.
        nodes: their number.
        kinds: all messages, by kind.
    """
    return {
        "messages": messages,
        "bytes_total": bytes_total,
        "bytes_per_node": bytes_total / nodes if nodes else 0.0,
        "kinds": kinds_table(kinds),
    }


def score_statistics(
    scores: Iterable[tuple[float | None, float | None]], samples: int
) -> dict[str, dict[str, float]]:
    """`scores` of `summary.json`: the spread of FID and MS over nodes; empty without nodes.

    Args:
        scores: FID and MS of each node; `None` counts as not finite.
        samples: generated images of each score.
    """
    pairs = list(scores)
    if not pairs:
        return {}
    columns = {"fid": [fid for fid, _ in pairs], "ms": [ms for _, ms in pairs]}
    return {
        name: {**msgspec.structs.asdict(spread(values)), "samples": samples}
        for name, values in columns.items()
    }


def quality_statistics(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`quality` of `summary.json`, but for `real`.

    Args:
        rows: fields of a `quality` record by name, for each of one or more nodes; all on equally
            many images.
    """
    first = next(iter(rows.values()))
    shares = [list(row["histogram"]) for row in rows.values()]
    return {
        "samples": first["samples"],
        "nodes": list(rows),
        "compared": first["compared"],
        "nearest_samples": first["nearest_samples"],
        **{
            name: msgspec.structs.asdict(spread([row[name] for row in rows.values()]))
            for name in QUALITY_FIGURES
        },
        "histogram": [spread(of_class).mean for of_class in zip(*shares, strict=True)],
    }


def spread(values: Sequence[float | None]) -> Spread:
    """Mean, standard deviation and extremes of one or more numbers."""
    assert values
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    if len(numbers) < len(values):
        return Spread(mean=math.nan, std=math.nan, min=math.nan, max=math.nan)
    mean = math.fsum(numbers) / len(numbers)
    variance = math.fsum((number - mean) ** 2 for number in numbers) / len(numbers)
    return Spread(mean=mean, std=math.sqrt(variance), min=min(numbers), max=max(numbers))


class _Collected:
    """What the records said so far."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self._run = ""
        self._tally = VectorTally()
        self._kinds: dict[str, Tally] = {}
        self._rounds: dict[str, RoundFinished] = {}
        self._busy_s: defaultdict[str, float] = defaultdict(float)
        self._stopped: dict[str, NodeStopped] = {}
        self._crashed: set[str] = set()
        self._is_virtual = False
        self._scores: dict[float, dict[str, Scores]] = {}
        """By iterations, or in virtual time by that."""
        self._quality: dict[str, Quality] = {}
        self._scores_after: dict[str, Scores] = {}
        self._origins: dict[str, str] = {}
        self._consensus: list[tuple[float, Consensus]] = []
        """With the time of the record."""
        self._iterations_at: dict[int, int] = {}
        self._lost: list[PeerEvent] = []
        self._refused: list[PeerEvent] = []
        self._faults = self._records = 0
        self._first: datetime | None = None
        self._last: datetime | None = None

    def add(self, record: Record) -> None:
        self._run = self._run or record.run
        self._records += 1
        self._first = min(self._first or record.wall, record.wall)
        self._last = max(self._last or record.wall, record.wall)
        self._tally.add(record)
        node, body = record.node, record.body
        match body:
            case RunStarted():
                self.config = self.config or body.config
                self._is_virtual = body.time == "virtual"
            case Traffic():
                count_sent(self._kinds, body)
            case RoundFinished():
                self._rounds[node] = body
                self._busy_s[node] += (body.train_s or 0.0) + (body.exchange_s or 0.0)
                self._iterations_at.setdefault(body.round, body.iterations)
            case NodeStopped():
                self._stopped[node] = body
            case Scores() if body.after is not None:
                self._scores_after[node] = body  # of no place on the curve of the training
            case Scores():
                key = record.time_s if self._is_virtual else body.iterations
                self._scores.setdefault(key, {})[node] = body
            case Agreed():
                self._origins[node] = body.origin
            case Quality():
                self._quality[node] = body
            case Consensus():
                self._consensus.append((record.time_s, body))
            case PeerLost():
                self._lost.append(PeerEvent(node=node, peer=body.peer, reason=body.reason))
            case PeerRefused():
                who = "refused them" if body.by == "us" else "refused by them"
                reason = f"{who}: {body.reason}"
                self._refused.append(PeerEvent(node=node, peer=body.peer, reason=reason))
            case FaultInjected() if not (body.detail or "").startswith("ends"):
                self._faults += 1
                if body.fault == "crash":
                    self._crashed.add(node)
            case _:
                pass

    def summary(self) -> RunSummary:
        last_scores = self._last_scores()
        nodes = [self._node(row, last_scores) for row in self._tally.node_traffic()]
        edges = self._tally.edges()
        # A worker of FL-GAN counts rounds that were made without it, too.
        hub = [n for n in nodes if n.node == COORDINATOR and (n.rounds or n.stopped is not None)]
        return RunSummary(
            run=self._run,
            settings={key: self.config[key] for key in SETTINGS if key in self.config},
            nodes=nodes,
            rounds=max((node.rounds for node in hub or nodes), default=0),
            iterations=max((node.iterations for node in hub or nodes), default=0),
            wall_s=(self._last - self._first).total_seconds() if self._first and self._last else 0,
            records=self._records,
            sent=sum(edge.sent for edge in edges),
            received=sum(edge.received for edge in edges),
            mixed=sum(edge.mixed for edge in edges),
            judged=sum(edge.judged for edge in edges),
            dropped=sum(edge.dropped for edge in edges),
            dropped_reasons=dict(self._tally.reasons.most_common()),
            bytes_sent=sum(edge.bytes_sent for edge in edges),
            unrecorded={kind: self._kinds[kind] for kind in UNRECORDED if kind in self._kinds},
            unaccounted=self._tally.unaccounted(),
            peers_lost=self._lost,
            peers_refused=self._refused,
            faults=self._faults,
            scores=score_statistics(
                [(scores.fid, scores.ms) for scores in last_scores.values()],
                min((scores.samples for scores in last_scores.values()), default=0),
            ),
            quality=self._quality_statistics(),
            curves=Curves(scores=self._score_curve(), consensus=self._consensus_curve()),
            warnings=list(self._warnings(nodes, last_scores)),
        )

    def _node(self, row: NodeTraffic, last_scores: dict[str, Scores]) -> NodeSummary:
        summary = NodeSummary(node=row.node, traffic=row, busy_s=self._busy_s[row.node])
        if (finished := self._rounds.get(row.node)) is not None:
            summary.rounds, summary.iterations = finished.round, finished.iterations
            summary.loss_d, summary.loss_g = finished.loss_d, finished.loss_g
        if row.node in self._crashed:
            summary.stopped = "crash"
        if (stopped := self._stopped.get(row.node)) is not None:
            summary.stopped = stopped.reason
            summary.rounds, summary.iterations = stopped.rounds, stopped.iterations
        if (scores := last_scores.get(row.node)) is not None:
            summary.is_scored, summary.fid, summary.ms = True, scores.fid, scores.ms
        return summary

    def _last_scores(self) -> dict[str, Scores]:
        """Each node's latest scores, and after the last step if it was scored; of no node that has
        crashed and not come back."""
        last: dict[str, Scores] = {}
        for when in sorted(self._scores):
            last |= self._scores[when]
        last |= self._scores_after
        gone = self._crashed - self._stopped.keys()
        return {node: last[node] for node in sorted(last.keys() - gone, key=natural)}

    def _quality_statistics(self) -> dict[str, Any] | None:
        nodes = sorted(self._quality, key=natural)
        rows = {node: msgspec.structs.asdict(self._quality[node]) for node in nodes}
        return quality_statistics(rows) if rows else None

    def _consensus_curve(self) -> list[ConsensusPoint]:
        return [
            ConsensusPoint(
                round=body.round,
                iterations=body.iterations or self._iterations_at.get(body.round),
                time_s=time_s if self._is_virtual else None,
                g=body.g,
                d=body.d,
            )
            for time_s, body in self._consensus
        ]

    def _score_curve(self) -> list[ScorePoint]:
        return [
            ScorePoint(
                iterations=max(score.iterations for score in scores.values()),
                time_s=when if self._is_virtual else None,
                nodes=len(scores),
                samples=min(score.samples for score in scores.values()),
                fid=spread([score.fid for score in scores.values()]),
                ms=spread([score.ms for score in scores.values()]),
            )
            for when, scores in sorted(self._scored_together().items())
        ]

    def _scored_together(self) -> dict[float, dict[str, Scores]]:
        """Scores of several nodes at once. In virtual time nodes end one by one, each with its own
        scores: those make one point, at the last end."""
        if not self._is_virtual or not self._scores:
            return self._scores
        looks = {time_s for time_s, _ in self._consensus}
        curve = {when: scores for when, scores in self._scores.items() if when in looks}
        curve[max(self._scores)] = self._last_scores() or self._scores[max(self._scores)]
        return curve

    def _warnings(self, nodes: list[NodeSummary], last: dict[str, Scores]) -> Iterable[str]:
        """One line for each thing that a user should look into."""
        logged = self._tally.writers
        if any(node.traffic.sent for node in nodes):
            for node in nodes:
                # MD-GAN's coordinator gets feedback, which is no vector; who is gone gets nothing.
                hears = node.node != COORDINATOR and node.stopped != "crash"
                if hears and node.node in logged and not node.traffic.received:
                    yield f"nothing reached node `{node.node}`"
        missing = self._tally.unaccounted()
        if lost := [sent for sent in missing if sent.receiver in logged]:
            first = lost[0]
            yield (
                f"{len(lost)} vectors were sent and neither received nor dropped, the first "
                f"from `{first.sender}` to `{first.receiver}` in round {first.round}"
            )
        if len(missing) > len(lost):
            yield f"{len(missing) - len(lost)} vectors went to nodes whose logs are not here"
        for name, scores in last.items():
            if scores.fid is None or scores.ms is None:
                yield f"the scores of node `{name}` are not finite: it diverged"
        yield from self._warnings_of_the_last_step(nodes)
        for event in self._refused:
            yield f"node `{event.node}`, peer `{event.peer}`, {event.reason}"

    def _warnings_of_the_last_step(self, nodes: list[NodeSummary]) -> Iterable[str]:
        """Who was not there, or came when the others had left."""
        for node in nodes:
            scores = self._scores_after.get(node.node)
            if scores is None and self._scores_after and node.is_scored:
                yield f"node `{node.node}` did not take the last step"
            elif scores is not None and scores.round <= node.rounds:
                yield f"node `{node.node}` found nobody to take the last step with"
        holders = Counter(self._origins.values())
        if len(holders) > 1:
            told = ", ".join(
                f"{count} that of `{origin}`" for origin, count in holders.most_common()
            )
            yield f"after the last step not all nodes hold the same pair: {told}"
