"""Writing a log: one line per record, appended, never rewritten."""

import errno
import io
import os
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from p2pgan.errors import RecordError
from p2pgan.record.reader import Follower
from p2pgan.record.schema import SCHEMA, Body, Envelope, encode, kind_of

NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
"""What a full disk answers; it may be emptied again."""

_TAG = b'{"kind":""'
"""What surrounds the kind at the start of an encoded body; the envelope has said it already."""


class RecordWriter:
    """Appends records to one file. Belongs to one thread.

    A file that is there already is continued: a torn last line is cut off, and each node's `seq`
    goes on where it ended. Every line is on its way to the disk when `write` returns, unless
    `flush_every` asks for larger gulps.

    When the disk is full or the folder read-only, the first failing write raises; later ones are
    tried, counted in `lost` where they fail, and the node may go on training. What a failed write
    left behind is cut off again, so that the log stays readable. A file that a full disk has no
    room for is made as soon as it has.

    Args:
        path: the file; its folder is made if it is missing.
        run: name of the run.
        node: node of the records that name no other.
        wall: the wall clock.
        time_s: the run's own clock, in seconds.
        flush_every: records that may wait in memory; 1: none.
    Raises:
        RecordError: if the file cannot be opened, for other reasons than a full disk, or holds
            something else than a log.
    """

    def __init__(
        self,
        path: Path,
        run: str,
        node: str,
        *,
        wall: Callable[[], datetime],
        time_s: Callable[[], float],
        flush_every: int = 1,
    ) -> None:
        assert flush_every >= 1
        self._path, self._run, self._node = path, run, node
        self._wall, self._time_s = wall, time_s
        self._flush_every = flush_every
        self._waiting: list[bytes] = []
        self._failing = False
        self._is_torn = False
        """Whether half a line may follow the last whole one."""
        self.lost = 0
        """Records that could not be written."""
        self._next_seq: defaultdict[str, int] = defaultdict(int)
        self._end = 0
        self._file: io.FileIO | None = None
        try:
            self._open()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise self._error(error) from None

    def write(self, body: Body, *, node: str | None = None, clock: int = 0) -> None:
        """Append one record.

        Args:
            body: what happened.
            node: whose record it is; `None`: the writer's own node.
            clock: Lamport clock of the node.
        Raises:
            RecordError: at the first write that the disk refuses; see the class.
        """
        node = self._node if node is None else node
        seq = self._next_seq[node]
        kind = kind_of(type(body))
        head = Envelope(
            schema=SCHEMA,
            kind=kind,
            run=self._run,
            node=node,
            seq=seq,
            wall=self._wall().astimezone(UTC),
            time_s=self._time_s(),
            clock=clock,
        )
        fields = encode(body)[len(_TAG) + len(kind) :]
        self._waiting.append(encode(head)[:-1] + fields + b"\n")
        self._next_seq[node] = seq + 1
        if len(self._waiting) >= self._flush_every:
            self.flush()

    def flush(self) -> None:
        """Hand over what waits to the operating system.

        Raises:
            RecordError: at the first failure since a write went well.
        """
        lines, self._waiting = self._waiting, []
        if not lines:
            return
        try:
            self._append(b"".join(lines))
        except OSError as error:
            self.lost += len(lines)
            if self._file is not None:
                with suppress(OSError):
                    self._cut(self._file)
            if not self._failing:
                self._failing = True
                raise self._error(error) from None
        else:
            self._failing = False

    def close(self) -> None:
        """Write what waits and close the file; a second call does nothing."""
        try:
            self.flush()
        finally:
            if self._file is not None:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _append(self, data: bytes) -> None:
        """All of the data or an error; the system may take less than it was given."""
        file = self._file or self._open()
        if self._is_torn:
            self._cut(file)
        self._is_torn = True
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        self._is_torn = False
        self._end += len(data)

    def _cut(self, file: io.FileIO) -> None:
        """Cuts off what a failed write has left."""
        os.ftruncate(file.fileno(), self._end)
        self._is_torn = False

    def _open(self) -> io.FileIO:
        """Opens the file, and takes up the log that is already there."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("ab", buffering=0)
        try:
            self._continue(file)
        except RecordError:
            file.close()
            raise
        self._file = file
        return file

    def _continue(self, file: io.FileIO) -> None:
        """Takes up a log after cutting off a torn last line; if the disk refuses, the first write
        does."""
        if not self._path.is_file() or file.tell() == 0:
            return
        follower = Follower(self._path)
        for record in follower.poll():
            self._next_seq[record.node] = record.seq + 1
        self._end, self._is_torn = follower.offset, True
        with suppress(OSError):
            self._cut(file)

    def _error(self, error: OSError) -> RecordError:
        return RecordError(
            expected="a log that can be written",
            got=error.strerror or str(error),
            at=str(self._path),
            hint="make room, or choose a folder that can be written with `--out`",
        )
