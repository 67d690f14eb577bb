"""Every error that p2pgan raises at the world: bad options, files, messages, peers and disks.

    P2PGanError
    ├── ConfigError           an option, a configuration file, an environment variable
    ├── OverlayError          a graph that cannot serve as an overlay, or its file
    ├── DataError             a data set that is missing, corrupt or too small
    ├── ProtocolError
    │   ├── LocalProtocolError    we used a machine wrongly
    │   └── RemoteProtocolError   a peer broke the protocol
    ├── TransportError        an address that cannot be bound, reached or read
    ├── RankLostError         another process of a simulation that is gone or silent
    ├── RecordError           a log or run directory that cannot be read or written
    ├── CheckpointError       saved weights that are missing, corrupt or of another model
    └── CheckFailed           what must never happen has happened in virtual time

Each message is one line that says what was expected, what came, where, and what to do. The command
line prints it and exits with status 1. `assert` is kept for mistakes of our own.
"""

import difflib
from collections.abc import Iterable


class P2PGanError(Exception):
    """Base of all errors that a user can cause and mend.

    Args:
        expected: what would have been right, as the object of "expected".
        got: what came instead, with literals in backticks.
        at: the place: a file and position, an option, a peer and round.
        hint: what to do about it; empty when the rest already says it.
    """

    def __init__(self, *, expected: str, got: str, at: str, hint: str = "") -> None:
        self.expected, self.got, self.at, self.hint = expected, got, at, hint
        super().__init__(expected, got, at, hint)

    def __str__(self) -> str:
        line = f"expected {self.expected}, got {self.got} - at {self.at}"
        return f"{line} (hint: {self.hint})" if self.hint else line

    def __reduce__(self) -> tuple[object, ...]:
        """Pickling between our own processes keeps the keyword-only fields."""
        return _rebuild, (type(self), self.expected, self.got, self.at, self.hint)


def _rebuild(kind: type[P2PGanError], expected: str, got: str, at: str, hint: str) -> P2PGanError:
    return kind(expected=expected, got=got, at=at, hint=hint)


class ConfigError(P2PGanError):
    """An option, a configuration file or an environment variable is wrong."""


class OverlayError(P2PGanError):
    """A graph cannot serve as an overlay, or its file cannot be read."""


class DataError(P2PGanError):
    """A data set is missing, corrupt or too small for what is asked of it."""


class ProtocolError(P2PGanError):
    """A rule of the protocol was broken."""


class LocalProtocolError(ProtocolError):
    """Our own side used a machine wrongly."""


class RemoteProtocolError(ProtocolError):
    """A peer sent what the protocol does not allow."""


class TransportError(P2PGanError):
    """An address cannot be bound, reached or read."""


class RankLostError(P2PGanError):
    """Another process of the same simulation is gone, or has been silent for too long."""


class RecordError(P2PGanError):
    """A log or a run directory cannot be read or written."""


class CheckpointError(P2PGanError):
    """Saved weights are missing, corrupt or of another model."""


class CheckFailed(P2PGanError):  # noqa: N818 - it is no error of whoever runs it
    """What must never happen has happened in virtual time: a mistake of ours.

    `story` tells the last events of the node where it showed, a line each.
    """

    story: str = ""


def unknown_name(
    kind: type[P2PGanError], what: str, name: str, known: Iterable[str], at: str
) -> P2PGanError:
    """The error for a name that is not in a list, with the nearest match as its hint.

    Args:
        kind: class of the error to build (it is returned, for the caller to raise).
        what: what the name should be, such as "an algorithm".
        name: the name that came.
        known: the names that exist.
        at: where the name came from.
    """
    names = list(known)
    hint = nearest(name, names)
    listed = ", ".join(f"`{n}`" for n in names[:20]) + (", …" if len(names) > 20 else "")
    return kind(expected=f"{what} ({listed})", got=f"`{name}`", at=at, hint=hint)


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint that names the nearest match, or nothing where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"did you mean `{near[0]}`?" if near else ""
