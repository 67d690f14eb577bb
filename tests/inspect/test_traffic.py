"""Traffic by kind of message, from records with known answers."""

from pathlib import Path
from typing import Any, get_args

import pytest

from p2pgan.inspect.traffic import (
    DIRECTIONS,
    Measured,
    Prediction,
    compared,
    kinds_table,
    measure,
    vectors_of,
)
from p2pgan.protocol.messages import Purpose
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import (
    Body,
    NodeStarted,
    NodeStopped,
    RoundFinished,
    RunStarted,
    Tally,
    Traffic,
    VectorSent,
)


def sent(peer: str, size: int, exchange: str, purpose: str | None = None) -> VectorSent:
    return VectorSent(
        peer=peer, round=1, nets=["D"], bytes=size, exchange=exchange, purpose=purpose
    )


def told(round: int = 1, **kinds: tuple[int, int, int | None]) -> Traffic:
    tallies = {
        kind: Tally(messages=messages, payload_bytes=payload, bytes=whole)
        for kind, (messages, payload, whole) in kinds.items()
    }
    return Traffic(
        round=round, sent=tallies, received={"batches": Tally(messages=9, payload_bytes=9)}
    )


@pytest.fixture
def measured(tmp_path: Path, write: Any) -> Any:
    """What is measured of these records."""

    def of(*lines: tuple[str, Body]) -> Measured:
        path = tmp_path / "events.jsonl"
        write(path, lines)
        return measure(path)

    return of


def test_records_of_traffic_add_up_over_nodes_and_rounds(measured: Any) -> None:
    found = measured(
        ("coordinator", told(batches=(4, 400, 440), hello=(2, 0, 60))),
        ("coordinator", told(2, batches=(3, 300, 330))),
        ("0", told(feedback=(2, 100, 120), move=(1, 70, 75))),
        ("1", told(feedback=(2, 100, 120), hello=(1, 0, 30))),
    )
    assert found.kinds == {
        "batches": Tally(messages=7, payload_bytes=700, bytes=770),
        "feedback": Tally(messages=4, payload_bytes=200, bytes=240),
        "move": Tally(messages=1, payload_bytes=70, bytes=75),
        "hello": Tally(messages=3, payload_bytes=0, bytes=90),
    }
    assert list(found.kinds) == ["batches", "feedback", "move", "hello"], "vectors first"
    assert found.is_networked


def test_a_node_that_tells_its_traffic_is_not_counted_twice(measured: Any) -> None:
    """Daemons write both; the simulator of gossip writes vectors alone."""
    found = measured(
        ("a", sent("b", 50, "x1")),
        ("a", told(mix=(1, 50, 55))),
        ("b", sent("a", 50, "x2")),
    )
    assert found.kinds == {"mix": Tally(messages=2, payload_bytes=100, bytes=None)}


def test_vectors_without_a_purpose_are_told_apart_by_their_ends(measured: Any) -> None:
    found = measured(
        ("0", sent("coordinator", 10, "e1")),
        ("coordinator", sent("0", 20, "e2")),
        ("0", sent("1", 40, "e3")),
        ("0", sent("1", 80, "e4", "judge")),
    )
    sizes = {kind: tally.payload_bytes for kind, tally in found.kinds.items()}
    assert sizes == {"update": 10, "model": 20, "mix": 40, "judge": 80}
    assert not found.is_networked


def test_it_says_how_far_the_run_came_and_how_it_was_configured(measured: Any) -> None:
    found = measured(
        ("", RunStarted(config={"seed": 3}, versions={})),
        ("0", RoundFinished(round=1, iterations=20)),
        ("0", RoundFinished(round=2, iterations=40)),
        ("1", RoundFinished(round=1, iterations=20)),
        ("1", NodeStopped(reason="finished", iterations=33, rounds=2)),
    )
    assert found.rounds == {"0": 2, "1": 2}
    assert found.iterations == 40
    assert found.config == {"seed": 3}


def test_the_coordinator_says_how_far_the_run_came(measured: Any) -> None:
    found = measured(
        ("coordinator", RoundFinished(round=2, iterations=40)),
        ("0", RoundFinished(round=3, iterations=60)),
    )
    assert found.iterations == 40


def test_who_was_killed_and_started_again_is_named(measured: Any) -> None:
    """What it had counted is gone; who stopped in good order had written it, and of who counts no
    messages every vector is on record."""
    found = measured(
        ("coordinator", told(model=(1, 4, 5))),
        ("0", told(update=(1, 4, 5))),
        ("coordinator", NodeStarted()),
        ("0", NodeStarted()),
        ("1", NodeStarted()),
        ("0", NodeStopped(reason="stopped", iterations=0, rounds=0)),
        ("0", NodeStarted()),
        ("coordinator", NodeStarted()),
        ("1", NodeStarted()),
    )
    assert found.cut_off == {"coordinator"}


def test_a_log_without_configuration_takes_that_of_its_directory(run: RunDirectory) -> None:
    log = run.events.read_text(encoding="utf-8").splitlines(keepends=True)
    run.events.write_text("".join(line for line in log if '"run_started"' not in line))
    assert measure(run).config == {"algorithm": "fl-gan"}


def test_a_run_of_gossip_is_what_its_vectors_are(run: RunDirectory) -> None:
    assert measure(run).kinds == {"mix": Tally(messages=5, payload_bytes=440)}


def test_measured_beside_predicted() -> None:
    kinds = {
        "feedback": Tally(messages=2, payload_bytes=200, bytes=210),
        "hello": Tally(messages=1, payload_bytes=0, bytes=30),
    }
    predicted = {
        "batches": Prediction(messages=2, payload_bytes=800),
        "feedback": Prediction(messages=4, payload_bytes=400, is_most=True),
    }
    rows = {row.kind: row for row in compared(kinds, predicted)}
    assert (rows["feedback"].ratio, rows["feedback"].overhead) == (0.5, 0.05)
    assert (rows["batches"].messages, rows["batches"].ratio) == (0, 0.0), "predicted, never sent"
    assert rows["batches"].overhead is None
    assert (rows["hello"].ratio, rows["hello"].overhead) == (None, None)
    assert rows["hello"].direction == "any"
    plain = rows["feedback"].to_dict()
    assert (plain["ratio"], plain["predicted"]["messages"]) == (0.5, 4)


def test_every_purpose_has_a_direction() -> None:
    assert DIRECTIONS.keys() == set(get_args(Purpose))


def test_what_carries_something() -> None:
    kinds = {
        "batches": Tally(messages=2, payload_bytes=80, bytes=90),
        "move": Tally(messages=1, payload_bytes=20, bytes=25),
        "vector_ack": Tally(messages=3, payload_bytes=0, bytes=60),
    }
    assert vectors_of(kinds) == Tally(messages=3, payload_bytes=100, bytes=115)
    assert kinds_table(kinds)["move"] == {
        "direction": "worker to worker",
        "messages": 1,
        "payload_bytes": 20,
        "bytes": 25,
    }
