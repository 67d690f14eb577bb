"""The records of a lockstep exchange."""

from typing import Any

import msgspec
import numpy as np
from scipy.sparse import csr_array

from p2pgan.mixing.rules import Rows
from p2pgan.record.schema import (
    VectorDropped,
    VectorJudged,
    VectorMixed,
    VectorReceived,
    VectorSent,
)
from p2pgan.sim.exchange_log import Entry, ExchangeLog
from p2pgan.types import NETS

NODES = ("a", "b", "c")


def rows(entries: list[Entry]) -> list[tuple[str, str, str, Any]]:
    """Node, kind, peer and weight of each entry."""
    return [
        (node, type(body).__name__, body.peer, getattr(body, "weight", None))
        for node, body in entries
        if isinstance(body, VectorSent | VectorReceived | VectorMixed)
    ]


def test_an_arrival_is_sent_received_and_mixed() -> None:
    log = ExchangeLog(NODES, 7, ("G", "D"), 100)
    entries = list(log.between_nodes([[1], [], []]))
    assert rows(entries) == [
        ("b", "VectorSent", "a", None),
        ("a", "VectorReceived", "b", None),
        ("a", "VectorMixed", "b", 0.5),
    ]
    bodies = [msgspec.to_builtins(body) for _, body in entries]
    for body in bodies:
        assert (body["round"], body["nets"], body["exchange"]) == (7, ["G", "D"], "7.GD.b>a")
    assert [body["bytes"] for body in bodies[:3]] == [100, 100, 100]
    assert bodies[2]["staleness_rounds"] == 0
    assert log.messages == 1


def test_several_arrivals_share_the_weight() -> None:
    log = ExchangeLog(NODES, 1, ("G",), 8)
    mixed = [row for row in rows(list(log.between_nodes([[1, 2], [0], []]))) if row[3]]
    assert mixed == [
        ("a", "VectorMixed", "b", 1 / 3),
        ("a", "VectorMixed", "c", 1 / 3),
        ("b", "VectorMixed", "a", 0.5),
    ]
    assert log.messages == 3


def test_nobody_hears_anything() -> None:
    log = ExchangeLog(NODES, 1, ("G",), 8)
    assert list(log.between_nodes([[], [], []])) == []
    assert log.messages == 0


def test_the_coordinator_hears_all_and_answers_all() -> None:
    log = ExchangeLog(NODES, 1, ("G", "D"), 8)
    found = rows(list(log.through_coordinator()))
    up = [row for row in found if row[1] == "VectorMixed" and row[0] == "coordinator"]
    down = [row for row in found if row[1] == "VectorMixed" and row[2] == "coordinator"]
    assert [(peer, weight) for _, _, peer, weight in up] == [(node, 1 / 3) for node in NODES]
    assert [(node, weight) for node, _, _, weight in down] == [(node, 1.0) for node in NODES]
    assert log.messages == 6


def test_who_takes_part_has_got_the_model_before_and_the_others_get_nothing() -> None:
    log = ExchangeLog(NODES, 1, ("G", "D"), 8)
    entries = list(log.through_coordinator({0: 0.25, 2: 0.75}))
    assert [row for row in rows(entries) if row[1] == "VectorMixed"] == [
        ("a", "VectorMixed", "coordinator", 1.0),
        ("c", "VectorMixed", "coordinator", 1.0),
        ("coordinator", "VectorMixed", "a", 0.25),
        ("coordinator", "VectorMixed", "c", 0.75),
    ]
    assert log.messages == 4


def test_where_all_take_part_the_mean_goes_back_at_once() -> None:
    log = ExchangeLog(NODES, 1, ("G", "D"), 8)
    entries = list(log.through_coordinator({0: 0.25, 1: 0.25, 2: 0.5}))
    mixed = [row for row in rows(entries) if row[1] == "VectorMixed"]
    assert [(node, weight) for node, _, _, weight in mixed] == [
        *[("coordinator", weight) for weight in (0.25, 0.25, 0.5)],
        *[(node, 1.0) for node in NODES],
    ]
    assert log.messages == 6


def test_exchanges_have_ids_of_their_own() -> None:
    names = []
    for round_ in (1, 2):
        for net in NETS:
            log = ExchangeLog(NODES, round_, (net,), 8)
            entries = [*log.between_nodes([[1], [2], [0]]), *log.through_coordinator()]
            names += [body.exchange for _, body in entries if isinstance(body, VectorSent)]
    assert len(set(names)) == len(names) == 4 * 9


def test_a_pair_that_is_judged_adopted_or_dropped_was_sent_and_received() -> None:
    log = ExchangeLog(NODES, 3, NETS, 8)
    judged = list(log.judged(0, 1, 4.5))
    adopted = list(log.adopted(0, 2))
    dropped = list(log.dropped(1, 2, "not better", "adopt"))
    assert log.messages == 3
    for entries in (judged, adopted, dropped):
        sent, received, end = (body for _, body in entries)
        assert isinstance(sent, VectorSent)
        assert isinstance(received, VectorReceived)
        assert sent.exchange == received.exchange == end.exchange  # type: ignore[attr-defined]
        assert end.bytes == 8  # type: ignore[attr-defined]
    purposes = [body.purpose for _, body in (judged[0], adopted[0], dropped[0])]  # type: ignore[attr-defined]
    assert purposes == ["judge", "adopt", "adopt"]
    assert judged[-1][0] == "b"
    assert isinstance(judged[-1][1], VectorJudged)
    assert judged[-1][1].score == 4.5
    assert isinstance(adopted[-1][1], VectorMixed)
    assert adopted[-1][1].weight == 1
    assert isinstance(dropped[-1][1], VectorDropped)
    assert dropped[-1][1].reason == "not better"


def test_weights_of_a_matrix_are_told() -> None:
    log = ExchangeLog(NODES, 1, ("G",), 8, "mass")
    weights = csr_array(np.array([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]]))
    found = list(log.between_nodes([[1], [], [0, 1]], Rows(weights, np.arange(3))))
    mixed = [row for row in rows(found) if row[3]]
    assert mixed == [
        ("a", "VectorMixed", "b", 0.3),
        ("c", "VectorMixed", "a", 0.1),
        ("c", "VectorMixed", "b", 0.2),
    ]


def test_a_pair_is_a_request_and_an_answer() -> None:
    log = ExchangeLog(NODES, 2, ("G", "D"), 8)
    entries = list(log.between_pairs([[2], [], [0]]))
    purposes = [getattr(body, "purpose", None) for _, body in entries]
    told = [(*row, purpose) for row, purpose in zip(rows(entries), purposes, strict=True)]
    assert told == [
        ("a", "VectorSent", "c", None, "pair"),
        ("c", "VectorReceived", "a", None, "pair"),
        ("c", "VectorMixed", "a", 0.5, "pair"),
        ("c", "VectorSent", "a", None, "answer"),
        ("a", "VectorReceived", "c", None, "answer"),
        ("a", "VectorMixed", "c", 0.5, "answer"),
    ]
    assert log.messages == 2
