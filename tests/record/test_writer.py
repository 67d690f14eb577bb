"""Appending records, also to a log that is there, and to a disk that does not take them."""

import errno
import json
import os
import resource
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from p2pgan.errors import RecordError
from p2pgan.record.reader import read
from p2pgan.record.schema import PeerJoined, PeerLost, Scores
from p2pgan.record.writer import RecordWriter

Make = Callable[..., RecordWriter]

FULL = Path("/dev/full")
needs_full_disk = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_has_the_contracted_fields_in_their_order(tmp_path: Path, writer_at: Make) -> None:
    path = tmp_path / "events.jsonl"
    with writer_at(path) as writer:
        writer.write(PeerLost(peer="n1", reason="left"), clock=4)
    assert path.read_text() == (
        '{"schema":"1.0","kind":"peer_lost","run":"trial","node":"n0","seq":0,'
        '"wall":"2031-05-06T07:08:09Z","time_s":1.5,"clock":4,"peer":"n1","reason":"left"}\n'
    )


def test_fields_that_do_not_apply_are_left_out(tmp_path: Path, writer_at: Make) -> None:
    path = tmp_path / "events.jsonl"
    with writer_at(path) as writer:
        writer.write(Scores(round=1, iterations=20, samples=500, ms=2.5))
    (line,) = lines(path)
    assert "fid" not in line
    assert line["ms"] == 2.5


def test_seq_counts_for_each_node(tmp_path: Path, writer_at: Make) -> None:
    path = tmp_path / "events.jsonl"
    with writer_at(path) as writer:
        for node in (None, "n1", "", "n1", None):
            writer.write(PeerJoined(peer="n9"), node=node)
    assert [(line["node"], line["seq"]) for line in lines(path)] == [
        ("n0", 0),
        ("n1", 0),
        ("", 0),
        ("n1", 1),
        ("n0", 1),
    ]


def test_wall_time_is_utc_whatever_the_clock_says(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    there = datetime(2031, 5, 6, 9, 0, tzinfo=timezone(timedelta(hours=2)))
    with RecordWriter(path, "r", "n0", wall=lambda: there, time_s=lambda: 0) as writer:
        writer.write(PeerJoined(peer="n1"))
    assert lines(path)[0]["wall"] == "2031-05-06T07:00:00Z"


def test_each_line_is_out_at_once(tmp_path: Path, writer_at: Make) -> None:
    path = tmp_path / "deep" / "events.jsonl"
    writer = writer_at(path)
    writer.write(PeerJoined(peer="n1"))
    assert len(lines(path)) == 1
    writer.close()


def test_lines_may_wait_for_each_other(tmp_path: Path, writer_at: Make) -> None:
    path = tmp_path / "events.jsonl"
    with writer_at(path, flush_every=3) as writer:
        counts = []
        for _ in range(4):
            writer.write(PeerJoined(peer="n1"))
            counts.append(len(lines(path)))
        assert counts == [0, 0, 3, 3]
    assert len(lines(path)) == 4


@pytest.mark.parametrize("torn", ["", '{"schema":"1.0","ki', "\0\0\0"])
def test_a_log_is_continued(tmp_path: Path, writer_at: Make, torn: str) -> None:
    """A daemon that was killed and started again must not spoil its own log."""
    path = tmp_path / "events.jsonl"
    with writer_at(path) as writer:
        for node in ("n0", "n0", "n1"):
            writer.write(PeerJoined(peer="n9"), node=node)
    with path.open("a") as file:
        file.write(torn)
    with writer_at(path) as writer:
        writer.write(PeerJoined(peer="n8"))
        writer.write(PeerJoined(peer="n8"), node="n1")
    assert [(r.node, r.seq) for r in read(path)] == [
        ("n0", 0),
        ("n0", 1),
        ("n1", 0),
        ("n0", 2),
        ("n1", 1),
    ]


def test_a_file_that_is_no_log_is_left_alone(tmp_path: Path, writer_at: Make) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("buy milk\n")
    with pytest.raises(RecordError, match=r"notes\.txt: line 1"):
        writer_at(path)
    assert path.read_text() == "buy milk\n"


@needs_full_disk
def test_a_full_disk_is_said_once(writer_at: Make) -> None:
    """Training goes on without a log; an error a line would drown everything else."""
    writer = writer_at(FULL)
    with pytest.raises(RecordError, match=r"No space left on device - at /dev/full \(hint: make"):
        writer.write(PeerJoined(peer="n1"))
    writer.write(PeerJoined(peer="n2"))
    writer.close()
    assert writer.lost == 2


def test_what_did_not_fit_is_cut_off_and_the_log_goes_on(tmp_path: Path, writer_at: Make) -> None:
    """A limit on file sizes stands for a disk that fills up in the middle of a line."""
    path = tmp_path / "events.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = writer_at(path)
    writer.write(PeerJoined(peer="n1"))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, hard))
        with pytest.raises(RecordError, match="File too large"):
            writer.write(PeerJoined(peer="n2"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.write(PeerJoined(peer="n3"))
    writer.close()
    assert [record.seq for record in read(path)] == [0, 2]
    assert writer.lost == 1


def test_half_a_line_that_could_not_be_cut_off_is_before_the_next_one(
    tmp_path: Path, writer_at: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails takes back nothing either."""
    path = tmp_path / "events.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = writer_at(path)
    writer.write(PeerJoined(peer="n1"))

    def refuse(number: int, size: int) -> None:
        raise OSError(5, "Input/output error")

    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, hard))
        with monkeypatch.context() as patched:
            patched.setattr(os, "ftruncate", refuse)
            with pytest.raises(RecordError, match="File too large"):
                writer.write(PeerJoined(peer="n2"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not path.read_bytes().endswith(b"\n")
    writer.write(PeerJoined(peer="n3"))
    writer.close()
    assert [record.seq for record in read(path)] == [0, 2]


def test_a_file_that_there_is_no_room_for_is_made_later(
    tmp_path: Path, writer_at: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        writer = writer_at(path)
        with pytest.raises(RecordError, match="No space left"):
            writer.write(PeerJoined(peer="n1"))
        writer.write(PeerJoined(peer="n2"))
    writer.write(PeerJoined(peer="n3"))
    writer.close()
    assert [record.seq for record in read(path)] == [2]
    assert writer.lost == 2


def test_a_torn_line_that_cannot_be_cut_off_at_the_opening_is_cut_off_later(
    tmp_path: Path, writer_at: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    with writer_at(path) as writer:
        writer.write(PeerJoined(peer="n1"))
    with path.open("a") as file:
        file.write('{"schema":"1.0","ki')

    def refuse(number: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "ftruncate", refuse)
        writer = writer_at(path)
    writer.write(PeerJoined(peer="n2"))
    writer.close()
    assert [record.seq for record in read(path)] == [0, 1]


@pytest.mark.parametrize("place", ["/proc/none/events.jsonl", "/proc/version/events.jsonl"])
def test_a_place_that_cannot_be_written_is_named(writer_at: Make, place: str) -> None:
    with pytest.raises(RecordError, match=f"at {place}"):
        writer_at(Path(place))


def test_closing_twice_is_closing_once(tmp_path: Path, writer_at: Make) -> None:
    writer = writer_at(tmp_path / "events.jsonl")
    writer.close()
    writer.close()


@needs_full_disk
def test_a_failure_at_closing_is_said_too(writer_at: Make) -> None:
    writer = writer_at(FULL, flush_every=100)
    writer.write(PeerJoined(peer="n1"))
    with pytest.raises(RecordError, match="No space left"):
        writer.close()
