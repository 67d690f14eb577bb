"""Records as lines, chosen by node and kind, and as they come."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from p2pgan.errors import RecordError
from p2pgan.inspect.tail import FOLLOW_EVERY_S, Filter, follow, last_records, line_of
from p2pgan.record.reader import read
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import (
    Body,
    NodeStarted,
    PeerJoined,
    PeerRefused,
    Record,
    RoundFinished,
    RunStarted,
    Unknown,
    VectorMixed,
    VectorSent,
    kind_of,
)

ALL = Filter()


def record(body: Any, node: str = "n3", kind: str = "") -> Record:
    return Record(
        schema="1.0",
        kind=kind_of(type(body)) if isinstance(body, Body) else kind,
        run="r",
        node=node,
        seq=0,
        wall=datetime(2031, 5, 6, 7, 8, 9, 12345, tzinfo=UTC),
        time_s=1.0,
        clock=0,
        body=body,
    )


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            VectorSent(peer="n4", round=2, nets=["G", "D"], exchange="x-1", bytes=2048),
            "vector_sent      peer=n4 round=2 nets=G+D exchange=x-1 bytes=2.0kB",
        ),
        (
            VectorMixed(
                peer="n4", round=2, nets=["G"], exchange="x", staleness_rounds=-1, weight=1 / 3
            ),
            "vector_mixed     peer=n4 round=2 nets=G exchange=x staleness_rounds=-1 weight=0.3333",
        ),
        (
            PeerRefused(peer="\x1b[2Jz", reason="another run", by="us"),
            'peer_refused     peer=\\x1b[2Jz reason="another run" by=us',
        ),
        (
            RunStarted(config={"a": 1, "b": {}}, versions={}),
            "run_started      config={2 keys} versions={0 keys}",
        ),
        (
            RoundFinished(round=1, iterations=20, loss_g=float("nan")),
            "round_finished   round=1 iterations=20 loss_g=-",
        ),
        (NodeStarted(), "node_started"),
        (PeerJoined(peer=""), 'peer_joined      peer=""'),
    ],
)
def test_a_record_is_one_line(body: Body, line: str) -> None:
    assert line_of(record(body)) == f"07:08:09.012 n3       {line}"


def test_a_record_of_the_run_has_a_dash_for_its_node() -> None:
    assert line_of(record(PeerJoined(peer="x"), node="")).startswith("07:08:09.012 -        peer")


def test_an_unknown_kind_is_shown_with_what_it_has() -> None:
    body = Unknown(raw={"schema": "1.9", "kind": "peer_married", "node": "n3", "to\n": "n4"})
    assert line_of(record(body, kind="peer_married")).endswith("peer_married     to\\n=n4")


def test_last_records(run: RunDirectory) -> None:
    everything = list(read(run.events))
    assert last_records(run, ALL, 0) == everything
    assert last_records(run, ALL, 3) == everything[-3:]
    assert last_records(run, ALL, 1000) == everything


def test_records_are_chosen_by_node_and_kind(run: RunDirectory) -> None:
    wanted = Filter(nodes=frozenset("ac"), kinds=frozenset({"vector_sent", "scores"}))
    assert [(r.node, r.kind) for r in last_records(run, wanted, 0)] == [
        ("a", "vector_sent"),
        ("a", "scores"),
        ("c", "scores"),
        ("a", "vector_sent"),
        ("c", "vector_sent"),
        ("a", "scores"),
        ("c", "scores"),
    ]


def test_names_that_do_not_exist_are_errors(run: RunDirectory) -> None:
    with pytest.raises(RecordError, match=r"`vector_send` - at --kind .*`vector_sent`\?"):
        Filter(kinds=frozenset({"vector_send"}))
    with pytest.raises(RecordError, match=r"\(`a`, `b`, `c`\), got `d` - at --node"):
        last_records(run, Filter(nodes=frozenset("d")), 1)


def test_following_shows_what_is_there_then_what_comes(
    run: RunDirectory, lines: list[Any], write: Any
) -> None:
    """Also from a node that joins later; the clock of the test writes instead of waiting."""
    writes: Iterator[Any] = iter(
        [
            lambda: write(run.node_events("late"), [("late", NodeStarted())] * 2),
            lambda: write(run.events, [("a", PeerJoined(peer="late"))]),
        ]
    )
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        next(writes)()

    looks = follow(run, Filter(kinds=frozenset({"node_started", "peer_joined"})), sleep)
    shown = [[(r.node, r.kind) for r in next(looks)] for _ in range(5)]
    assert shown == [
        [("a", "node_started"), ("b", "node_started"), ("c", "node_started")],
        [],
        [("late", "node_started")] * 2,
        [],
        [("a", "peer_joined")],
    ]
    assert waits == [FOLLOW_EVERY_S] * 2


def test_following_a_single_log_in_the_order_of_time(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "events.jsonl"
    write(path, [("b", NodeStarted()), ("a", NodeStarted())])
    assert [r.node for r in next(follow(path, ALL, lambda _: None))] == ["b", "a"]
