"""Playing a run in virtual time once more, and holding its log against the first one's."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import msgspec

from p2pgan.config import RUN_TABLE, RunConfig, config_from, read_settings
from p2pgan.errors import ConfigError, RecordError
from p2pgan.record.rundir import RunDirectory

OWN_TO_A_PLAY: Final = ("wall",)
"""Fields of a record that differ from one play to the next."""

SHOWN_CHARACTERS: Final = 160
"""Of a record that differs, in an error."""


def first_play(path: Path) -> tuple[RunConfig, str]:
    """The configuration of a run in virtual time, as it was played, and its name.

    Args:
        path: its run directory.
    Raises:
        RecordError, ConfigError: if it is none.
    """
    directory = RunDirectory.open(path)
    about: dict[str, Any] = directory.read_run_toml().get(RUN_TABLE, {})
    if about.get("clock") != "virtual":
        raise ConfigError(
            expected="a run in virtual time",
            got="a run by another clock",
            at=str(directory.run_toml),
            hint="`p2pgan simulate --clock virtual` makes one; others repeat by their seed",
        )
    if directory.summary.is_file() and directory.read_summary().get("interrupted"):
        raise ConfigError(
            expected="a run that went to its end",
            got="one that was interrupted, which no seed repeats",
            at=str(directory.summary),
        )
    config = config_from(read_settings(directory.run_toml), at=str(directory.run_toml))
    engine = config.engine
    if engine.threads is None:  # bits depend on it
        engine = msgspec.structs.replace(engine, threads=about.get("threads"))
    return msgspec.structs.replace(config, engine=engine), str(about.get("name", path.name))


def check_same(first: RunDirectory, second: RunDirectory) -> int:
    """Holds two logs against each other, line by line; the number of records.

    Raises:
        RecordError: at the first record that differs.
    """
    count = 0
    for count, (one, other) in enumerate(zip_longest(_lines(first), _lines(second)), 1):
        if one != other:
            raise RecordError(
                expected=_short(one),
                got=_short(other),
                at=f"{second.events}, record {count}",
                hint="another version or commit, other data, or another number of threads: see "
                f"{first.run_toml}",
            )
    return count


def _lines(directory: RunDirectory) -> Iterator[dict[str, Any]]:
    """Records without what differs anyway; the first one without the machine's own."""
    try:
        with directory.events.open("rb") as file:
            for line in file:
                record = msgspec.json.decode(line, type=dict[str, Any])
                kept = {key: value for key, value in record.items() if key not in OWN_TO_A_PLAY}
                if kept.get("kind") == "run_started":
                    kept["config"].pop("engine", None)
                yield kept
    except (OSError, msgspec.DecodeError) as error:
        raise RecordError(expected="a log", got=str(error), at=str(directory.events)) from None


def _short(record: dict[str, Any] | None) -> str:
    if record is None:
        return "no further record"
    text = msgspec.json.encode(record).decode()
    return f"`{text[:SHOWN_CHARACTERS]}{'…' if len(text) > SHOWN_CHARACTERS else ''}`"
