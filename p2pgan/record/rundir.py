"""The run directory: where a run keeps its configuration, logs, checkpoints and results.

RUN/run.toml                            resolved configuration
RUN/overlay.json                        networkx node-link JSON
RUN/events.jsonl                        the simulator's log
RUN/nodes/<id>/events.jsonl             a daemon's log
RUN/nodes/<id>/checkpoint.safetensors   saved networks
RUN/summary.json                        the result, what `--json` prints
RUN/pictures/                           samples and curves
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from p2pgan.config import RUN_TABLE, read_tables
from p2pgan.errors import RecordError
from p2pgan.files import write_atomic
from p2pgan.record.reader import merged
from p2pgan.record.schema import Record, encode

_ID_BYTES_MAX = 128
"""Well below the 255 bytes that file systems allow a name."""


class RunDirectory:
    """One run directory. `create` makes a new one, `open` takes one that is there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def create(cls, path: Path | None, *, name: str, base: Path = Path("runs")) -> Self:
        """A new run directory.

        Args:
            path: where; `None`: `base/name`, or `base/name-2` and so on where that is taken.
            name: name of the run, when `path` is `None`.
            base: folder of runs, when `path` is `None`.
        Raises:
            RecordError: if `path` is a file or a directory with something in it, or nothing can be
                made there.
        """
        try:
            return cls(_make_free(base, name) if path is None else _make_empty(path))
        except OSError as error:
            raise RecordError(
                expected="a folder in which a run directory can be made",
                got=error.strerror or str(error),
                at=str(base / name if path is None else path),
                hint="choose another place with `--out`",
            ) from None

    @classmethod
    def open(cls, path: Path) -> Self:
        """A run directory that is there.

        Raises:
            RecordError: if it has no `run.toml`.
        """
        if not (path / "run.toml").is_file():
            raise RecordError(
                expected="a run directory, with a `run.toml`",
                got="a folder without it" if path.is_dir() else "no such folder",
                at=str(path),
            )
        return cls(path)

    @property
    def run_toml(self) -> Path:
        """The resolved configuration."""
        return self.path / "run.toml"

    @property
    def overlay_json(self) -> Path:
        """The overlay at the start."""
        return self.path / "overlay.json"

    @property
    def events(self) -> Path:
        """The simulator's log."""
        return self.path / "events.jsonl"

    @property
    def summary(self) -> Path:
        """The result."""
        return self.path / "summary.json"

    @property
    def pictures(self) -> Path:
        """Folder of pictures; made by whoever draws."""
        return self.path / "pictures"

    def node_events(self, node: str) -> Path:
        """A daemon's log."""
        return self._node(node) / "events.jsonl"

    def checkpoint(self, node: str) -> Path:
        """A node's saved networks."""
        return self._node(node) / "checkpoint.safetensors"

    def event_files(self) -> list[Path]:
        """The logs that are there, the simulator's first, then the daemons' by name."""
        own = [self.events] if self.events.is_file() else []
        return own + sorted(self.path.glob("nodes/*/events.jsonl"))

    def read_run_toml(self) -> dict[str, Any]:
        """The resolved configuration.

        Raises:
            ConfigError: if the file cannot be read or is not TOML.
        """
        return read_tables(self.run_toml)

    def made_by(self) -> dict[str, str]:
        """`commit`, and the version of each package that decides the numbers; empty: nobody says.

        Raises:
            ConfigError: if `run.toml` cannot be read or is not TOML.
        """
        about = self.read_run_toml().get(RUN_TABLE, {})
        return {"commit": about.get("commit", ""), **about.get("versions", {})} if about else {}

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the result, all of it or nothing; numbers that are not finite become `null`.

        Raises:
            RecordError: if it cannot be written.
        """
        write_text_atomic(self.summary, to_json(summary))

    def read_summary(self) -> dict[str, Any]:
        """The result.

        Raises:
            RecordError: if it is missing or no JSON object.
        """
        try:
            return msgspec.json.decode(self.summary.read_bytes(), type=dict[str, Any])
        except OSError as error:
            raise RecordError(
                expected="the summary of a finished run",
                got=error.strerror or str(error),
                at=str(self.summary),
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecordError(
                expected="a JSON object", got=str(error), at=str(self.summary)
            ) from None

    def _node(self, node: str) -> Path:
        check_node_id(node, at="node id")
        return self.path / "nodes" / node


Log = RunDirectory | Path
"""What inspection reads: a run directory, or a single `events.jsonl`."""


def open_log(path: Path) -> Log:
    """The run directory or the single log at a path.

    Raises:
        RecordError: if there is neither.
    """
    return path if path.is_file() else RunDirectory.open(path)


def event_files(log: Log) -> list[Path]:
    """The logs of a run, or the single one."""
    return log.event_files() if isinstance(log, RunDirectory) else [log]


def records_of(log: Log) -> Iterator[Record]:
    """All records, in the order of `merged`.

    Raises:
        RecordError: if there is no log, or it cannot be read.
    """
    files = event_files(log)
    if not files:
        raise RecordError(
            expected="`events.jsonl` or `nodes/<id>/events.jsonl` in the run directory",
            got="neither",
            at=str(log),
        )
    return merged(files)


def to_json(value: Any) -> str:
    """Indented JSON with a newline at its end; numbers that are not finite become `null`."""
    return msgspec.json.format(encode(value), indent=2).decode() + "\n"


def check_node_id(node: str, *, at: str) -> None:
    """Refuse an id that cannot be the name of a folder.

    Raises:
        RecordError: if it is empty, too long, `.` or `..`, or holds a slash, a backslash, a NUL
            or something that is no UTF-8.
    """
    try:
        size_bytes = len(node.encode())
    except UnicodeEncodeError:
        size_bytes = 0
    if not 0 < size_bytes <= _ID_BYTES_MAX or node in {".", ".."} or set(node) & set("/\\\0"):
        raise RecordError(
            expected=f"1 to {_ID_BYTES_MAX} bytes that can name a folder, without `/` and `\\`",
            got=f"`{ascii(node[:40])[1:-1]}`",
            at=at,
            hint="rename the node in the overlay file",
        )


def write_text_atomic(path: Path, text: str) -> None:
    """Write a file, all of it or nothing, so that a crash leaves the old one or the new one.

    Raises:
        RecordError: if it cannot be written.
    """
    write_atomic(path, text.encode(), RecordError)


def _make_empty(path: Path) -> Path:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RecordError(
            expected="a new or empty folder for the run",
            got="one with something in it" if path.is_dir() else "a file",
            at=str(path),
            hint="choose another place with `--out`",
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


def _make_free(base: Path, name: str) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = base / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path
