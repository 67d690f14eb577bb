"""Text for readers, on the run of `conftest.py`."""

from pathlib import Path
from typing import Any

import pytest

from p2pgan.inspect.exchanges import What, tally
from p2pgan.inspect.summary import QUALITY_FIGURES, summarise
from p2pgan.inspect.tables import (
    COMMUNICATION_TITLES,
    MATRIX_NODES_MAX,
    exchanges_text,
    summary_text,
    table,
    traffic_text,
)
from p2pgan.inspect.traffic import Prediction, compared
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import (
    FaultInjected,
    Quality,
    RoundFinished,
    Tally,
    Traffic,
    VectorReceived,
)


def test_columns_are_aligned() -> None:
    assert table(["node", "FID"], [["n1", "7"], ["long-name", "19.25"]]).splitlines() == [
        "node         FID",
        "n1             7",
        "long-name  19.25",
    ]


def test_a_cell_cannot_break_its_row() -> None:
    assert table(["node"], [["a\nb"]]).splitlines() == ["node", "a\\nb"]


def test_the_summary_on_a_page(run: RunDirectory) -> None:
    facts, nodes, warnings = summary_text(summarise(run)).split("\n\n")
    assert facts.splitlines() == [
        "run trial: algorithm gossip, dataset digits, partition iid, seed 7",
        "3 nodes, 2 rounds, 40 iterations, 33.0 s, 34 records",
        "vectors: 5 sent (440 B), 3 received, 2 mixed, 2 dropped, 1 unaccounted for",
        "  dropped 1: too old",
        "  dropped 1: link is down",
        "FID on 50 samples: - ± - over nodes, - to -",
        "MS on 50 samples: 2 ± 0 over nodes, 2 to 2",
        "consensus distance: G 2, D 4",
        "peers lost: 1 silent",
    ]
    assert " ".join(nodes.splitlines()[2].split()) == "b 2 40 10 2 0.5 0.5 2 2 1 200 B -"
    assert warnings.splitlines()[0] == "warning: nothing reached node `a`"
    assert len(warnings.splitlines()) == 4


def test_the_quality_comes_with_its_numbers_of_images(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "events.jsonl"
    figures: dict[str, Any] = dict.fromkeys(QUALITY_FIGURES, 0.5)
    sizes = {"samples": 100, "compared": 90, "nearest_samples": 80}
    quality = Quality(round=1, iterations=20, histogram=[0.25, 0.75], **sizes, **figures)
    write(path, [("a", quality)])
    lines = summary_text(summarise(path)).splitlines()
    start = lines.index(
        "quality of 1 node on 100 samples "
        "(precision and recall on 90, nearest training images of 80):"
    )
    assert lines[start + 1] == "  fid 0.5 ± 0 over nodes, 0.5 to 0.5"
    assert lines[start + 8] == "  shares of the classes: 0.25 0.75"


def test_the_summary_of_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.touch()
    assert summary_text(summarise(path)).splitlines()[1].startswith("0 nodes, 0 rounds")


def test_a_coordinator_is_not_taken_for_a_node_that_trains(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "events.jsonl"
    write(
        path,
        [
            ("a", RoundFinished(round=1, iterations=20)),
            ("coordinator", VectorReceived(peer="a", round=1, nets=["G"], bytes=3, exchange="1")),
        ],
    )
    assert "1 node and a coordinator, 1 round," in summary_text(summarise(path))


def test_what_has_no_records_one_by_one_is_told_too(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "events.jsonl"
    sent = {
        "batches": Tally(messages=3, payload_bytes=1500),
        "hello": Tally(messages=1, payload_bytes=0),
    }
    write(path, [("coordinator", Traffic(round=1, sent=sent, received={}))])
    lines = summary_text(summarise(path)).splitlines()
    assert "batches: 3 sent (1.5 kB)" in lines
    assert not any(line.startswith("hello") for line in lines)


def test_faults_are_counted(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "events.jsonl"
    write(path, [("a", FaultInjected(fault="crash"))] * 2)
    assert "faults injected: 2" in summary_text(summarise(path))


@pytest.mark.parametrize(
    ("what", "row"),
    [("count", "a . 2 ."), ("bytes", "a . 200 B ."), ("staleness", "a - 1 -")],
)
def test_few_nodes_make_a_matrix(run: RunDirectory, what: What, row: str) -> None:
    text = exchanges_text(tally(run), what)
    assert text.splitlines()[0].split() == ["from", "\\", "to", "a", "b", "c"]
    assert text.splitlines()[1].split() == row.split()
    assert text.endswith("dropped 1: too old\ndropped 1: link is down")


def test_many_nodes_make_a_list_of_edges(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "events.jsonl"
    write(
        path,
        [
            (
                f"n{index}",
                VectorReceived(peer="n0", round=1, nets=["G"], bytes=3, exchange=f"{index}"),
            )
            for index in range(1, MATRIX_NODES_MAX + 1)
        ],
    )
    lines = exchanges_text(tally(path), "count").splitlines()
    assert lines[0].split()[:3] == ["from", "to", "sent"]
    assert lines[2].split() == ["n0", "n2", "0", "1", "0", "0", "0", "3", "B", "-"]
    assert len(lines) == 1 + MATRIX_NODES_MAX


def test_no_vectors_are_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.touch()
    assert exchanges_text(tally(path), "count") == "no vectors on record"


def test_traffic_in_a_table() -> None:
    kinds = {
        "feedback": Tally(messages=4, payload_bytes=4000, bytes=4400),
        "move": Tally(messages=1, payload_bytes=9000, bytes=9100),
        "hello": Tally(messages=2, payload_bytes=0, bytes=120),
    }
    predicted = {
        "feedback": Prediction(messages=4, payload_bytes=4000),
        "move": Prediction(messages=2, payload_bytes=18_000, is_most=True),
    }
    table_54 = dict.fromkeys(COMMUNICATION_TITLES) | {
        "worker_sends": 1000,
        "between_workers": 9000,
        "with_coordinator": 50,
        "among_workers": 3,
    }
    text = traffic_text(compared(kinds, predicted), table_54)
    rows = {line.split()[0]: line for line in text.splitlines() if line}
    feedback = ["W→C", "4", "4", "1.0", "kB", "1.0", "kB", "4.0", "kB", "1.0000", "10.00", "%"]
    assert rows["feedback"].split()[1:] == feedback
    assert "≤ 2" in rows["move"]
    assert "0.5000" in rows["move"]
    assert rows["hello"].split()[1:] == ["-", "2", *"------"]
    assert "≤: at most" in text
    assert "headers and the protocol's own messages: 620 B, 4.77 % of the payload" in text
    assert "  worker to coordinator, at a worker that takes part: 1.0 kB, 50 times\n" in text
    assert text.endswith("  worker to worker, at a worker that takes part: 9.0 kB, 3 times")


def test_traffic_of_a_simulation_has_no_headers() -> None:
    text = traffic_text(
        compared({"mix": Tally(messages=1, payload_bytes=8)}, {}),
        dict.fromkeys(COMMUNICATION_TITLES),
    )
    assert text.splitlines()[1].split() == [
        "mix",
        "N→N",
        "1",
        "-",
        "8",
        "B",
        "-",
        "8",
        "B",
        "-",
        "-",
    ]
    assert len(text.splitlines()) == 2
    assert traffic_text([], {}) == "no messages on record"


def test_who_was_cut_off_is_named_beneath_the_traffic() -> None:
    rows = compared({"mix": Tally(messages=1, payload_bytes=8)}, {})
    nothing = dict.fromkeys(COMMUNICATION_TITLES)
    told = traffic_text(rows, nothing, {"coordinator"}).splitlines()[-1]
    assert told == "killed and started again, uncounted since the round before: `coordinator`"
    assert "killed" not in traffic_text(rows, nothing)
