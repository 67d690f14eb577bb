"""The log as lines for a reader, and the log as it grows."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from p2pgan.errors import RecordError, unknown_name
from p2pgan.inspect.text import bytes_text, natural, number_text, printable
from p2pgan.record.reader import Follower, in_time
from p2pgan.record.rundir import Log, event_files, records_of
from p2pgan.record.schema import KINDS, Envelope, Record

_ENVELOPE = set(Envelope.__struct_fields__)

FOLLOW_EVERY_S = 0.5
"""Seconds between two looks at a log that is followed."""


def line_of(record: Record) -> str:
    """One line: time of day (UTC), node, kind, and the kind's own fields."""
    return f"{head_of(record)} {plain(record.kind, fields_of(record))}".rstrip()


def head_of(record: Record) -> str:
    """What a line begins with: time of day (UTC) and node."""
    time = record.wall.strftime("%H:%M:%S.%f")[:-3]
    return f"{time} {printable(record.node) or '-':<8}"


def fields_of(record: Record) -> dict[str, Any]:
    """The kind's own fields, those left out that do not apply."""
    return {name: value for name, value in record.to_dict().items() if name not in _ENVELOPE}


def plain(kind: str, fields: Mapping[str, Any]) -> str:
    """A kind and its fields, as they stand in the log."""
    told = [f"{printable(name)}={_text(name, value)}" for name, value in fields.items()]
    return " ".join([f"{printable(kind):<16}", *told]).rstrip()


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which records to show; nothing named: all of them."""

    nodes: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for kind in sorted(self.kinds - set(KINDS)):
            raise unknown_name(RecordError, "a kind of record", kind, KINDS, "--kind")

    def passes(self, record: Record) -> bool:
        """Whether to show this one."""
        return (not self.nodes or record.node in self.nodes) and (
            not self.kinds or record.kind in self.kinds
        )


def last_records(log: Log, wanted: Filter, last: int) -> list[Record]:
    """The last so many of the wanted records, in the order of wall time; 0: all of them.

    Raises:
        RecordError: if the log cannot be read, or has no record of a node that is asked for.
    """
    kept: deque[Record] = deque(maxlen=last or None)
    writers = set()
    for record in records_of(log):
        writers.add(record.node)
        if wanted.passes(record):
            kept.append(record)
    for node in sorted(wanted.nodes - writers):
        known = sorted(writers - {""}, key=natural)
        raise unknown_name(RecordError, "a node with records in this log", node, known, "--node")
    return list(kept)


def follow(log: Log, wanted: Filter, sleep: Callable[[float], None]) -> Iterator[list[Record]]:
    """The wanted records as a log grows: first all that are there, then look by look, for ever.

    Logs of nodes that join later are taken up. What several nodes wrote between two looks comes
    in the order of wall time.

    Args:
        log: a run directory, or a single log.
        wanted: which records.
        sleep: waits that many seconds; called after a look that found nothing new.
    Raises:
        RecordError: if a line is no record.
    """
    followers: dict[Path, Follower] = {}
    while True:
        for path in event_files(log):
            followers.setdefault(path, Follower(path))
        new = [record for follower in followers.values() for record in follower.poll()]
        new.sort(key=in_time)
        yield [record for record in new if wanted.passes(record)]
        if not new:
            sleep(FOLLOW_EVERY_S)


def _text(name: str, value: Any) -> str:
    match value:
        case dict():
            return f"{{{len(value)} keys}}"
        case list():
            return "+".join(_text(name, item) for item in value)
        case float():
            return number_text(value)
        case int() if name == "bytes":
            return bytes_text(value).replace(" ", "")
        case str() if not value or " " in value:
            return f'"{printable(value)}"'
        case None:
            return "-"
        case _:
            return printable(str(value))
