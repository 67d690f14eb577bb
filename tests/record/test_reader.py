"""Reading logs that are whole, torn, broken, foreign, several, and growing."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import RecordError
from p2pgan.record.reader import Follower, in_time, merged, read
from p2pgan.record.schema import PeerJoined, Unknown, VectorSent
from p2pgan.record.writer import RecordWriter

Make = Callable[..., RecordWriter]


@pytest.fixture
def log(tmp_path: Path, writer_at: Make) -> Path:
    """Three records; the last holds text of several bytes a letter."""
    path = tmp_path / "events.jsonl"
    with writer_at(path) as writer:
        writer.write(PeerJoined(peer="n1"))
        writer.write(VectorSent(peer="n1", round=1, nets=["G"], exchange="e1", bytes=10))
        writer.write(PeerJoined(peer="Knöten-2"))
    return path


def changed(path: Path, **fields: Any) -> None:
    """Put other fields into the second line."""
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = json.dumps(json.loads(lines[1]) | fields) + "\n"
    path.write_text("".join(lines))


def test_a_last_line_torn_anywhere_is_left_out(log: Path) -> None:
    data = log.read_bytes()
    start = data[:-1].rfind(b"\n") + 1
    whole = list(read(log))
    for end in range(start, len(data)):
        log.write_bytes(data[:end])
        assert list(read(log)) == whole[:2], end
    log.write_bytes(data)
    assert list(read(log)) == whole


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"[]", b"{}", b'{"schema":"1.0"}', b"\xff\xfe", b"1"]
)
def test_a_broken_line_before_the_end_is_named(log: Path, broken: bytes) -> None:
    lines = log.read_bytes().split(b"\n")
    log.write_bytes(b"\n".join([lines[0], broken, *lines[2:]]))
    with pytest.raises(RecordError, match=re.escape(f"{log}: line 2")):
        list(read(log))


def test_json_keeps_its_capitals_in_an_error(log: Path) -> None:
    lines = log.read_bytes().split(b"\n")
    log.write_bytes(b"\n".join([lines[0], b"{x", *lines[2:]]))
    with pytest.raises(RecordError, match="got JSON is malformed"):
        list(read(log))


def test_a_field_of_the_wrong_type_is_named(log: Path) -> None:
    changed(log, bytes="many")
    with pytest.raises(RecordError, match=r"line 2, `\$\.bytes`"):
        list(read(log))


def test_the_records_before_a_broken_line_are_read(log: Path) -> None:
    changed(log, seq="x")
    records = read(log)
    assert next(records).body == PeerJoined(peer="n1")
    with pytest.raises(RecordError):
        next(records)


def test_unknown_fields_are_ignored(log: Path) -> None:
    before = list(read(log))
    changed(log, schema="1.7", color="green")
    records = list(read(log))
    assert records[1].body == before[1].body
    assert records[1].schema == "1.7"


def test_an_unknown_kind_is_kept_as_it_is(log: Path) -> None:
    changed(log, kind="peer_married", schema="1.9")
    record = list(read(log))[1]
    assert isinstance(record.body, Unknown)
    assert record.kind == "peer_married"
    assert record.node == "n0"
    assert record.to_dict()["peer"] == "n1"
    assert record.to_dict() == record.body.raw


@pytest.mark.parametrize("fields", [{}, {"seq": "other now"}, {"wall": None}])
def test_an_unknown_major_version_is_refused(log: Path, fields: dict[str, Any]) -> None:
    """Even if it means something else by the same fields."""
    changed(log, schema="2.0", **fields)
    with pytest.raises(RecordError, match=r"schema 1\.x, got `2\.0` - at .*line 2 \(hint"):
        list(read(log))


def test_times_without_a_zone_are_refused(log: Path) -> None:
    changed(log, wall="2031-05-06T07:08:09")
    with pytest.raises(RecordError, match="wall"):
        list(read(log))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"No such file or directory - at .*nowhere"):
        next(read(tmp_path / "nowhere"))


def test_an_empty_log_has_no_records(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.touch()
    assert list(read(path)) == []


@given(seconds=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=20))
def test_logs_are_merged_by_wall_time_then_node_and_seq(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    start = datetime(2031, 1, 1, tzinfo=UTC)
    for node in "abc":
        times = iter(sorted(second for name, second in seconds if name == node))
        with RecordWriter(
            folder / node,
            "r",
            node,
            wall=lambda times=times: start + timedelta(seconds=next(times)),  # type: ignore[misc]
            time_s=lambda: 0,
        ) as writer:
            for _ in range(sum(name == node for name, _ in seconds)):
                writer.write(PeerJoined(peer="x"))
    records = list(merged(folder / node for node in "abc"))
    assert len(records) == len(seconds)
    assert records == sorted(records, key=in_time)


def test_a_clock_set_back_does_not_turn_a_nodes_own_order(tmp_path: Path) -> None:
    start = datetime(2031, 1, 1, tzinfo=UTC)
    times = iter([start, start - timedelta(hours=1), start + timedelta(hours=1)])
    path = tmp_path / "events.jsonl"
    with RecordWriter(path, "r", "n0", wall=lambda: next(times), time_s=lambda: 0) as writer:
        for _ in range(3):
            writer.write(PeerJoined(peer="x"))
    assert [record.seq for record in merged([path])] == [0, 1, 2]


def test_a_follower_returns_each_line_once_and_when_it_is_whole(log: Path, tmp_path: Path) -> None:
    data = log.read_bytes()
    path = tmp_path / "growing.jsonl"
    follower = Follower(path)
    assert follower.poll() == []
    records = []
    with path.open("ab", buffering=0) as file:
        for start in range(0, len(data), 7):
            file.write(data[start : start + 7])
            new = follower.poll()
            assert follower.offset == data[: start + 7].rfind(b"\n") + 1
            records += new
    assert records == list(read(log))
    assert follower.poll() == []


def test_a_follower_counts_lines(log: Path) -> None:
    follower = Follower(log)
    follower.poll()
    with log.open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(RecordError, match="line 4"):
        follower.poll()


def test_a_follower_cannot_read_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="directory"):
        Follower(tmp_path).poll()
