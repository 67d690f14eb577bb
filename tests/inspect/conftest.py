"""A short run with known answers.

Three nodes, two rounds of 20 iterations, vectors of 100 bytes (G and D) or 40 (G alone):

    round 1   a -> b  received, mixed with staleness 0
              b -> c  received, dropped when mixed was due
    round 2   a -> b  received, mixed with staleness 2
              c -> a  only G; dropped by its sender on the way
              b -> a  nothing more is known

`c` diverges, and is the only one that nobody's vector but b's reaches; nothing reaches `a`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from p2pgan.record.comparison import Cell, ComparisonDirectory, Manifest
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import (
    Body,
    Consensus,
    NodeStarted,
    NodeStopped,
    OverlayChanged,
    PeerLost,
    PeerRefused,
    RoundFinished,
    RunStarted,
    Scores,
    VectorDropped,
    VectorMixed,
    VectorReceived,
    VectorSent,
)
from p2pgan.record.writer import RecordWriter
from p2pgan.types import Net

Line = tuple[str, Body]
Write = Callable[[Path, Iterable[Line]], None]

GD: list[Net] = ["G", "D"]


def _vectors(round: int) -> list[Line]:
    if round == 1:
        return [
            ("a", VectorSent(peer="b", round=1, nets=GD, bytes=100, exchange="a1")),
            ("b", VectorReceived(peer="a", round=1, nets=GD, bytes=100, exchange="a1")),
            ("b", VectorMixed(peer="a", round=1, nets=GD, exchange="a1", staleness_rounds=0)),
            ("b", VectorSent(peer="c", round=1, nets=GD, bytes=100, exchange="b1")),
            ("c", VectorReceived(peer="b", round=1, nets=GD, bytes=100, exchange="b1")),
            ("c", VectorDropped(peer="b", round=1, nets=GD, exchange="b1", reason="too old")),
        ]
    return [
        ("a", VectorSent(peer="b", round=2, nets=GD, bytes=100, exchange="a2")),
        ("b", VectorReceived(peer="a", round=2, nets=GD, bytes=100, exchange="a2")),
        ("b", VectorMixed(peer="a", round=2, nets=GD, exchange="a2", staleness_rounds=2)),
        ("c", VectorSent(peer="a", round=2, nets=["G"], bytes=40, exchange="c2")),
        ("c", VectorDropped(peer="a", round=2, nets=["G"], exchange="c2", reason="link is down")),
        ("b", VectorSent(peer="a", round=2, nets=GD, bytes=100, exchange="b2")),
    ]


def _round(round: int) -> list[Line]:
    fid: dict[str, float | None] = {"a": 10.0, "b": 20.0 / round, "c": 30.0 if round == 1 else None}
    scores = {
        node: Scores(round=round, iterations=20 * round, fid=fid[node], ms=2.0, samples=50)
        for node in "abc"
    }
    return [
        *_vectors(round),
        *(
            (
                node,
                RoundFinished(round=round, iterations=20 * round, loss_d=0.5, loss_g=1.0 / round),
            )
            for node in "abc"
        ),
        *scores.items(),
        ("", Consensus(round=round, g=1.0 * round, d=2.0 * round)),
    ]


@pytest.fixture
def lines() -> list[Line]:
    """Node and body of each record."""
    config = {"algorithm": "gossip", "dataset": "digits", "partition": "iid", "seed": 7, "nodes": 3}
    return [
        ("", RunStarted(config=config, versions={"p2pgan": "0.1.0"})),
        ("", OverlayChanged(nodes=3, edges=3, spectral_gap=1.0)),
        *((node, NodeStarted(pid=1)) for node in "abc"),
        *_round(1),
        *_round(2),
        ("a", PeerRefused(peer="z", reason="another run", by="us")),
        ("b", PeerLost(peer="c", reason="silent")),
        ("a", NodeStopped(reason="finished", iterations=40, rounds=2)),
    ]


@pytest.fixture(scope="session")
def write() -> Write:
    """Writes records, a second apart."""

    def to(path: Path, lines: Iterable[Line]) -> None:
        seconds = iter(range(10**6))
        start = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
        with RecordWriter(
            path,
            "trial",
            "",
            wall=lambda: start + timedelta(seconds=next(seconds)),
            time_s=lambda: 0.0,
        ) as writer:
            for node, body in lines:
                writer.write(body, node=node)

    return to


@pytest.fixture
def run(tmp_path: Path, lines: list[Line], write: Write) -> RunDirectory:
    """The run, as the simulator would log it."""
    directory = RunDirectory.create(tmp_path / "run", name="trial")
    directory.run_toml.write_text('algorithm = "fl-gan"\n')
    write(directory.events, lines)
    return directory


Add = Callable[..., Cell]


@pytest.fixture
def comparison(tmp_path: Path) -> ComparisonDirectory:
    """A place for a comparison."""
    return ComparisonDirectory(tmp_path / "comparison")


@pytest.fixture
def add(comparison: ComparisonDirectory, write: Write) -> Add:
    """Adds a cell to the comparison: its run's summary, if it has one, and a log of two rounds."""

    def to(
        algorithm: str,
        nodes: int,
        seed: int = 0,
        *,
        summary: Mapping[str, Any] | None = None,
        **vary: Any,
    ) -> Cell:
        run = "-".join(
            [algorithm, f"n{nodes}", *(str(value) for value in vary.values()), f"s{seed}"]
        )
        cell = Cell(run=run, algorithm=algorithm, nodes=nodes, seed=seed, vary=vary)
        before = comparison.read() if comparison.compare_toml.exists() else Manifest()
        cells, keys = (*before.cells, cell), tuple(dict.fromkeys([*before.vary, *vary]))
        comparison.write(
            Manifest(vary=keys, cells=cells, base={"overlay": "ring", "iterations": 40})
        )
        if summary is not None:
            directory = RunDirectory.create(comparison.run(cell).path, name=run)
            directory.run_toml.write_text("")
            directory.write_summary(summary)
            write(directory.events, _of_a_cell(nodes))
        return cell

    return to


def _of_a_cell(nodes: int) -> Iterator[Line]:
    """Scores after rounds 2 and 4; the first node sends 2 MiB in each round, if there are more."""
    yield "", RunStarted(config={}, versions={})
    for number in (1, 2, 3, 4):
        if nodes > 1:
            sent = VectorSent(peer="1", round=number, nets=GD, bytes=2**21, exchange=f"x{number}")
            yield "0", sent
        if number % 2:
            continue
        for node in range(nodes):
            fid = 100.0 / number + node
            body = Scores(round=number, iterations=10 * number, fid=fid, ms=5.0, samples=50)
            yield str(node), body
        yield "", Consensus(round=number, iterations=10 * number, g=0.1 * number, d=0.0)
