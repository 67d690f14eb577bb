"""How the runs of a comparison went: scores, distances and bytes sent, from their logs."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from p2pgan.inspect.summary import spread
from p2pgan.inspect.traffic import UNRECORDED
from p2pgan.record.rundir import Log, records_of
from p2pgan.record.schema import Consensus, Quality, Scores, Traffic, VectorSent

Score = Literal["fid", "ms"]
Judged = Literal["quality", "scores"]
"""Which records say what a node is worth at the end."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A run after a round."""

    round: int
    iterations: int
    """Of each node."""
    is_trained: bool = True
    """Whether iterations were made since the point before; a last step makes none."""
    bytes_per_node: float
    """Sent so far, a coordinator's bytes included."""
    fid: float | None = None
    """Mean over nodes; `None`: not scored then, or not finite."""
    ms: float | None = None
    g: float | None = None
    """Consensus distance of the generators; `None`: not measured then."""
    d: float | None = None


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    points: tuple[Point, ...]
    """In the order of rounds."""
    at_end: dict[Score, dict[str, float]]
    """Last scores of each node whose generator has not diverged, or its quality."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A value over seeds, at one place of an axis."""

    x: float
    low: float
    middle: float
    """The median."""
    high: float


Value = Callable[[Point], float | None]


Curves = Mapping[str, Sequence[Curve]]
"""Curves of the whole runs of each group, by its key."""


def read_curve(log: Log, nodes: int, judged: Judged = "scores") -> Curve:
    """The curve of one run of so many nodes.

    Args:
        log: of the run.
        nodes: how many share what is sent.
        judged: what the end is taken from. Only measured nodes have a quality.
    Raises:
        RecordError: if the log cannot be read.
    """
    scores: dict[int, dict[str, Scores]] = defaultdict(dict)
    distances: dict[int, Consensus] = {}
    trained: dict[int, int] = {}
    bytes_sent: dict[int, int] = defaultdict(int)
    quality: dict[str, Quality] = {}
    for record in records_of(log):
        match record.body:
            case Scores() as body:
                scores[body.round][record.node] = body
            case Consensus() as body:
                distances[body.round] = body
                trained[body.round] = body.iterations or 0
            case VectorSent() as body:
                bytes_sent[body.round] += body.bytes
            case Traffic() as body:
                others = (body.sent[kind] for kind in UNRECORDED if kind in body.sent)
                bytes_sent[body.round] += sum(tally.payload_bytes for tally in others)
            case Quality() as body:
                quality[record.node] = body
            case _:
                pass
    last: dict[str, Scores | Quality] = {}
    for round_ in sorted(scores):
        last |= scores[round_]
    if judged == "quality":
        last = {**quality}
    points: list[Point] = []
    for round_, distance in sorted(distances.items()):
        scored = scores[round_].values()
        sent = sum(count for number, count in bytes_sent.items() if number <= round_)
        points.append(
            Point(
                round=round_,
                iterations=trained[round_],
                is_trained=not points or trained[round_] > points[-1].iterations,
                bytes_per_node=sent / nodes,
                fid=_mean([body.fid for body in scored]),
                ms=_mean([body.ms for body in scored]),
                g=distance.g,
                d=distance.d,
            )
        )
    return Curve(
        points=tuple(points),
        at_end={
            "fid": {node: body.fid for node, body in last.items() if body.fid is not None},
            "ms": {node: body.ms for node, body in last.items() if body.ms is not None},
        },
    )


def over_seeds(curves: Iterable[Curve], x: Value, y: Value) -> list[Seen]:
    """The median over runs and its range, round by round; without what is not finite."""
    by_round: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for curve in curves:
        for point in curve.points:
            place, value = x(point), y(point)
            if place is not None and value is not None:
                by_round[point.round].append((place, value))
    return [
        _seen(statistics.median(place for place, _ in pairs), [value for _, value in pairs])
        for _, pairs in sorted(by_round.items())
    ]


def iterations(point: Point) -> float | None:
    """Where a point stands on an axis of iterations; nowhere, once the training is over."""
    return float(point.iterations) if point.is_trained else None


def rounds(point: Point) -> float | None:
    """The same on an axis of rounds."""
    return float(point.round) if point.is_trained else None


def after_last_step(curves: Iterable[Curve], x: Value, y: Value) -> Seen | None:
    """The median over runs of what a last step left, and its range, where the training ended."""
    pairs = []
    for curve in curves:
        if curve.points and not curve.points[-1].is_trained:
            place = next((at for p in reversed(curve.points) if (at := x(p)) is not None), None)
            value = y(curve.points[-1])
            if place is not None and value is not None:
                pairs.append((place, value))
    if not pairs:
        return None
    return _seen(statistics.median(place for place, _ in pairs), [value for _, value in pairs])


def _seen(x: float, values: Sequence[float]) -> Seen:
    return Seen(x=x, low=min(values), middle=statistics.median(values), high=max(values))


def _mean(values: Sequence[float | None]) -> float | None:
    if not values:
        return None
    mean = spread(values).mean
    return mean if math.isfinite(mean) else None
