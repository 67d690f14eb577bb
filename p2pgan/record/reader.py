"""Reading logs: whole files, several nodes' files in one order, and files that still grow."""

import heapq
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from p2pgan.errors import RecordError
from p2pgan.record.schema import KINDS, SCHEMA, AnyBody, Envelope, Record, Unknown

_MAJOR = SCHEMA.partition(".")[0]


class _Version(msgspec.Struct):
    schema: str


_decode_version = msgspec.json.Decoder(_Version).decode
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_body = msgspec.json.Decoder(AnyBody).decode
_decode_raw = msgspec.json.Decoder(dict[str, Any]).decode


def read(path: Path) -> Iterator[Record]:
    """The records of one file, in the order in which they were written.

    A last line that was cut short (the writer was killed, the disk was full) is left out.

    Raises:
        RecordError: while iterating, if the file cannot be read, or a line in it is not a record
            of a version that we know.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield _record(line, path, number)
    except OSError as error:
        raise RecordError(
            expected="a log that can be read",
            got=error.strerror or str(error),
            at=str(path),
            hint="name a run directory or its `events.jsonl`",
        ) from None


def merged(paths: Iterable[Path]) -> Iterator[Record]:
    """The records of several files, by wall time, then node, then `seq`.

    Each file keeps its own order, even where its wall clock was set back on the way.

    Raises:
        RecordError: as `read`.
    """
    return heapq.merge(*(read(path) for path in paths), key=in_time)


class Follower:
    """Reads a growing log bit by bit.

    Args:
        path: the file; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.offset = 0
        """Bytes read so far: where the first line begins that was not complete."""
        self._lines = 0

    def poll(self) -> list[Record]:
        """The records whose lines were completed since the last call.

        Raises:
            RecordError: as `read`, but for a missing file.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RecordError(
                expected="a log that can be read",
                got=error.strerror or str(error),
                at=str(self._path),
            ) from None
        complete = data[: data.rfind(b"\n") + 1]
        self.offset += len(complete)
        records = []
        for line in complete.splitlines(keepends=True):
            self._lines += 1
            records.append(_record(line, self._path, self._lines))
        return records


def in_time(record: Record) -> tuple[datetime, str, int]:
    """Sort key: wall time, then node, then `seq`."""
    return record.wall, record.node, record.seq


def _record(line: bytes, path: Path, number: int) -> Record:
    try:
        head = _decode_envelope(line)
        if head.schema.partition(".")[0] == _MAJOR:
            known = head.kind in KINDS
            body = _decode_body(line) if known else Unknown(raw=_decode_raw(line))
            return Record(
                schema=head.schema,
                kind=head.kind,
                run=head.run,
                node=head.node,
                seq=head.seq,
                wall=head.wall,
                time_s=head.time_s,
                clock=head.clock,
                body=body,
            )
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refusal(line, f"{path}: line {number}", str(error)) from None
    raise _refusal(line, f"{path}: line {number}", "another version")


def _refusal(line: bytes, at: str, what: str) -> RecordError:
    """The error of a line: another major version if it says so, else a broken line."""
    try:
        schema = _decode_version(line).schema
    except (msgspec.DecodeError, UnicodeDecodeError):
        schema = SCHEMA
    if schema.partition(".")[0] != _MAJOR:
        return RecordError(
            expected=f"a log of schema {_MAJOR}.x",
            got=f"`{schema}`",
            at=at,
            hint="read it with the version of p2pgan that wrote it",
        )
    what, _, place = what.partition(" - at ")
    return RecordError(
        expected="a record, one JSON object a line",
        got=what if what.startswith("JSON") else what[:1].lower() + what[1:],
        at=f"{at}, {place}" if place else at,
    )
