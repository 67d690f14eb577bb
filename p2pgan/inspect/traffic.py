"""Messages and bytes by kind of message, out of the log, beside what formulas say of them.

A node that writes `traffic` records is counted by them; of one that writes none, as in most
simulated runs, the vectors that it sent are counted. The formulas are of `p2pgan.predictions`,
since they need the sizes of models, which no log holds.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from p2pgan.record.rundir import Log, RunDirectory, records_of
from p2pgan.record.schema import (
    NodeStarted,
    NodeStopped,
    Record,
    RoundFinished,
    RunStarted,
    Tally,
    VectorSent,
)
from p2pgan.record.schema import Traffic as TrafficBody
from p2pgan.types import COORDINATOR

Direction = Literal[
    "coordinator to worker", "worker to coordinator", "worker to worker", "node to node", "any"
]

DIRECTIONS: dict[str, Direction] = {
    "model": "coordinator to worker",
    "batches": "coordinator to worker",
    "update": "worker to coordinator",
    "feedback": "worker to coordinator",
    "move": "worker to worker",
    "mix": "node to node",
    "mass": "node to node",
    "pair": "node to node",
    "answer": "node to node",
    "average": "node to node",
    "judge": "node to node",
    "adopt": "node to node",
    "gift": "node to node",
}
"""Which way each kind of vector goes, those of a round first. All other kinds are the protocol's
own messages, which go any way and carry nothing."""


UNRECORDED = ("batches", "feedback")
"""Kinds that carry something, and are counted but not recorded one by one."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What a formula says of one kind of message."""

    messages: int
    payload_bytes: int
    is_most: bool = False
    """Whether it is an upper bound: a draw may find nobody to send to but the node itself."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of message: as measured, and as predicted where there is a formula."""

    kind: str
    direction: Direction
    messages: int
    payload_bytes: int
    bytes: int | None
    """Of all frames, headers included; `None`: nothing was sent over a network."""
    predicted: Prediction | None

    @property
    def ratio(self) -> float | None:
        """Measured over predicted payload; `None`: nothing is predicted."""
        if self.predicted is None or not self.predicted.payload_bytes:
            return None
        return self.payload_bytes / self.predicted.payload_bytes

    @property
    def overhead(self) -> float | None:
        """Bytes of headers over those of payload; `None`: there is no payload, or no network."""
        if self.bytes is None or not self.payload_bytes:
            return None
        return (self.bytes - self.payload_bytes) / self.payload_bytes

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return {**fields, "ratio": self.ratio, "overhead": self.overhead}


class Measured:
    """What the records of a run say of its traffic, record by record."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        """The resolved configuration; empty: nobody says."""
        self._told: dict[str, dict[str, Tally]] = {}
        self._vectors: dict[str, dict[str, Tally]] = {}
        self._rounds: dict[str, int] = {}
        self._iterations: dict[str, int] = {}
        self._running: set[str] = set()
        self._started_again: set[str] = set()

    def add(self, record: Record) -> None:
        """Counts one record; kinds that have nothing to do with traffic are passed over."""
        node, body = record.node, record.body
        match body:
            case RunStarted():
                self.config = self.config or body.config
            case TrafficBody():
                count_sent(self._told.setdefault(node, {}), body)
            case VectorSent():
                count_vector(self._vectors.setdefault(node, {}), node, body)
            case RoundFinished():
                self._came_to(node, body.round, body.iterations)
            case NodeStarted():
                self._started_again |= {node} & self._running
                self._running.add(node)
            case NodeStopped():
                self._running.discard(node)
                self._came_to(node, body.rounds, body.iterations)
            case _:
                pass

    @property
    def kinds(self) -> dict[str, Tally]:
        """What all nodes sent, by kind: vectors first, in the order of `DIRECTIONS`."""
        total: dict[str, Tally] = {}
        for counts in (self._vectors | self._told).values():
            for kind, tally in counts.items():
                _count(total, kind, tally)
        ordered = [kind for kind in DIRECTIONS if kind in total]
        return {kind: total[kind] for kind in (*ordered, *sorted(total.keys() - set(ordered)))}

    @property
    def is_networked(self) -> bool:
        """Whether the run's nodes were daemons, as far as their traffic tells."""
        return any(t.bytes is not None for told in self._told.values() for t in told.values())

    @property
    def cut_off(self) -> set[str]:
        """Nodes that were started again after an end without a word: what they had counted since
        their last record of it is in no total."""
        return self._started_again & self._told.keys()

    @property
    def rounds(self) -> dict[str, int]:
        """Rounds that each node finished."""
        return dict(self._rounds)

    @property
    def iterations(self) -> int:
        """Those of the coordinator, if its log says; else the most that a node made."""
        most = max(self._iterations.values(), default=0)
        return self._iterations.get(COORDINATOR, most)

    def _came_to(self, node: str, rounds: int, iterations: int) -> None:
        self._rounds[node] = max(rounds, self._rounds.get(node, 0))
        self._iterations[node] = max(iterations, self._iterations.get(node, 0))


def measure(log: Log) -> Measured:
    """The traffic of a run.

    Args:
        log: a run directory, or a single log, which knows only what its own nodes sent.
    Raises:
        RecordError: if the log cannot be read.
        ConfigError: if the log does not say the configuration, and `run.toml` cannot be read.
    """
    measured = Measured()
    for record in records_of(log):
        measured.add(record)
    if not measured.config and isinstance(log, RunDirectory):
        measured.config = log.read_run_toml()
    return measured


def count_sent(counts: dict[str, Tally], body: TrafficBody) -> None:
    """Adds what a node says that it sent."""
    for kind, tally in body.sent.items():
        _count(counts, kind, tally)


def count_vector(counts: dict[str, Tally], sender: str, body: VectorSent) -> None:
    """Counts a vector as its sender recorded it.

    Args:
        counts: by kind; changed.
        sender: id of the node.
        body: its record.
    """
    _count(counts, _kind_of(sender, body), Tally(messages=1, payload_bytes=body.bytes))


def direction_of(kind: str) -> Direction:
    """Which way messages of a kind go."""
    return DIRECTIONS.get(kind, "any")


def compared(kinds: Mapping[str, Tally], predicted: Mapping[str, Prediction]) -> list[Row]:
    """A row for each kind that was sent or is predicted, in the order of `Measured.kinds`."""
    nothing = Tally(messages=0, payload_bytes=0)
    missing = {kind: nothing for kind in predicted if kind not in kinds}
    return [
        Row(
            kind=kind,
            direction=direction_of(kind),
            messages=tally.messages,
            payload_bytes=tally.payload_bytes,
            bytes=tally.bytes,
            predicted=predicted.get(kind),
        )
        for kind, tally in {**missing, **kinds}.items()
    ]


def kinds_table(kinds: Mapping[str, Tally]) -> dict[str, dict[str, Any]]:
    """`traffic.kinds` of `summary.json`; `bytes` is `None` where nothing crossed a network."""
    return {
        kind: {"direction": direction_of(kind), **msgspec.structs.asdict(tally)}
        for kind, tally in kinds.items()
    }


def vectors_of(kinds: Mapping[str, Tally]) -> Tally:
    """All that carries something, the protocol's own messages left out."""
    total = {"": Tally(messages=0, payload_bytes=0, bytes=0)}
    for kind in kinds.keys() & DIRECTIONS.keys():
        _count(total, "", kinds[kind])
    return total[""]


def _kind_of(sender: str, body: VectorSent) -> str:
    """What a vector is for. Logs that do not say are of gossip, or of FL-GAN's rounds."""
    if body.purpose is not None:
        return body.purpose
    if sender == COORDINATOR:
        return "model"
    return "update" if body.peer == COORDINATOR else "mix"


def _count(counts: dict[str, Tally], kind: str, tally: Tally) -> None:
    """Adds to a kind. Of what is partly unknown, the whole is."""
    before = counts.get(kind)
    if before is None:
        counts[kind] = tally
        return
    known = before.bytes is not None and tally.bytes is not None
    counts[kind] = Tally(
        messages=before.messages + tally.messages,
        payload_bytes=before.payload_bytes + tally.payload_bytes,
        bytes=(before.bytes or 0) + (tally.bytes or 0) if known else None,
    )
