"""Vectors counted by edge and node, on the run of `conftest.py`."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import RecordError
from p2pgan.inspect.exchanges import Nets, exchange_matrix, tally, tally_records
from p2pgan.record.rundir import RunDirectory, records_of
from p2pgan.record.schema import VectorDropped, VectorReceived, VectorSent


def test_the_matrix_counts_what_arrived(run: RunDirectory) -> None:
    matrix = exchange_matrix(run)
    assert matrix.nodes == ["a", "b", "c"]
    npt.assert_array_equal(matrix.values_NN, [[0, 2, 0], [0, 0, 1], [0, 0, 0]])


def test_the_matrix_of_bytes(run: RunDirectory) -> None:
    npt.assert_array_equal(
        exchange_matrix(run, "bytes").values_NN, [[0, 200, 0], [0, 0, 100], [0, 0, 0]]
    )


def test_the_matrix_of_staleness_is_a_mean_over_what_was_mixed(run: RunDirectory) -> None:
    nan = np.nan
    npt.assert_array_equal(
        exchange_matrix(run, "staleness").values_NN,
        [[nan, 1, nan], [nan, nan, nan], [nan, nan, nan]],
    )


@pytest.mark.parametrize(("nets", "sent"), [(None, 5), ("G", 5), ("D", 4), ("both", 4)], ids=str)
def test_networks_select_vectors(run: RunDirectory, nets: Nets | None, sent: int) -> None:
    counted = tally(run, nets)
    assert sum(edge.sent for edge in counted.edges()) == sent
    assert counted.nodes() == ["a", "b", "c"]


def test_a_row_for_each_edge(run: RunDirectory) -> None:
    rows = {(edge.sender, edge.receiver): edge for edge in tally(run).edges()}
    assert list(rows) == [("a", "b"), ("b", "a"), ("b", "c"), ("c", "a")]
    assert {
        key: (edge.sent, edge.received, edge.mixed, edge.dropped, edge.bytes_sent)
        for key, edge in rows.items()
    } == {
        ("a", "b"): (2, 2, 2, 0, 200),
        ("b", "a"): (1, 0, 0, 0, 100),
        ("b", "c"): (1, 1, 0, 1, 100),
        ("c", "a"): (1, 0, 0, 1, 40),
    }
    assert rows["a", "b"].staleness_rounds == 1
    assert rows["b", "c"].staleness_rounds is None


def test_a_row_for_each_node(run: RunDirectory) -> None:
    rows = [
        (
            row.node,
            (row.sent, row.received, row.mixed, row.dropped_out, row.dropped_in),
            (row.bytes_sent, row.bytes_received, row.partners),
        )
        for row in tally(run).node_traffic()
    ]
    assert rows == [
        ("a", (2, 0, 0, 0, 1), (200, 0, 1)),
        ("b", (2, 2, 2, 1, 0), (200, 200, 3 - 1)),
        ("c", (1, 1, 0, 1, 1), (40, 100, 2)),
    ]


def test_drops_are_counted_by_reason(run: RunDirectory) -> None:
    assert tally(run).reasons == Counter({"too old": 1, "link is down": 1})


def test_what_is_neither_received_nor_dropped_is_unaccounted_for(run: RunDirectory) -> None:
    (sent,) = tally(run).unaccounted()
    assert (sent.exchange, sent.sender, sent.receiver, sent.round) == ("b2", "b", "a", 2)


def test_the_log_of_one_node_knows_its_own_side(
    tmp_path: Path, lines: list[Any], write: Any
) -> None:
    path = tmp_path / "events.jsonl"
    write(path, [line for line in lines if line[0] == "b"])
    matrix = exchange_matrix(path)
    assert matrix.nodes == ["a", "b", "c"]
    npt.assert_array_equal(matrix.values_NN, [[0, 2, 0], [0, 0, 0], [0, 0, 0]])


def test_a_log_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError):
        exchange_matrix(tmp_path / "events.jsonl")


@given(data=st.data())
def test_counting_equals_a_loop_over_the_list(
    tmp_path_factory: pytest.TempPathFactory, write: Any, data: st.DataObject
) -> None:
    """Any history in which each vector is received, dropped at either end, or left hanging."""
    node = st.sampled_from(["n1", "n2", "n10"])
    history = data.draw(
        st.lists(
            st.tuples(
                node, node, st.integers(0, 9), st.sampled_from(["received", "sent", "in", "out"])
            ),
            max_size=30,
        )
    )
    lines: list[Any] = []
    for index, (sender, receiver, size, fate) in enumerate(history):
        common: dict[str, Any] = {"round": 1, "nets": ["G"], "exchange": f"e{index}"}
        lines.append((sender, VectorSent(peer=receiver, bytes=size, **common)))
        if fate == "received":
            lines.append((receiver, VectorReceived(peer=sender, bytes=size, **common)))
        elif fate == "in":
            lines.append((receiver, VectorDropped(peer=sender, reason="x", **common)))
        elif fate == "out":
            lines.append((sender, VectorDropped(peer=receiver, reason="x", **common)))
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    write(path, lines)
    counted = tally_records(records_of(path))
    for edge in counted.edges():
        same = [h for h in history if h[:2] == (edge.sender, edge.receiver)]
        assert edge.sent == len(same)
        assert edge.bytes_sent == sum(size for _, _, size, _ in same)
        assert edge.received == sum(fate == "received" for *_, fate in same)
        assert edge.dropped == sum(fate in {"in", "out"} for *_, fate in same)
    assert [sent.exchange for sent in counted.unaccounted()] == [
        f"e{index}" for index, (*_, fate) in enumerate(history) if fate == "sent"
    ]
