"""A run that was stopped or has died, taken up again: what of it stays as it was."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from p2pgan.config import (
    RUN_TABLE,
    RunConfig,
    common_settings,
    config_from,
    merge,
    read_settings,
    read_tables,
)
from p2pgan.errors import ConfigError, RecordError
from p2pgan.experiment import Experiment, prepare
from p2pgan.overlay import files as overlay_files
from p2pgan.record.rundir import RunDirectory

_LOCAL = re.compile(r"tcp://127\.0\.0\.1:(?P<port>[0-9]{1,5})")


def config_of(directory: RunDirectory, given: Mapping[str, Any]) -> RunConfig:
    """The configuration of a run, with what may be otherwise when it goes on.

    Args:
        directory: of the run.
        given: tables of what somebody wants; how nodes wait, compute and score may change.
    Raises:
        ConfigError: if its `run.toml` is not ours, or something else is wanted otherwise.
    """
    at = str(directory.run_toml)
    tables = read_settings(directory.run_toml)
    was, wanted = config_from(tables, at=at), config_from(merge(tables, given), at="options")
    before, after = ({"overlay": c.overlay, **common_settings(c)} for c in (was, wanted))
    unlike = [key for key in before if before[key] != after[key]]
    if unlike:
        raise ConfigError(
            expected="the settings of the run that goes on",
            got=f"other values of {', '.join(f'`{key}`' for key in unlike)}",
            at=f"--resume {directory}",
            hint="leave them out: they are in its `run.toml`",
        )
    return wanted


def resumed(config: RunConfig, data_dir: Path, directory: RunDirectory) -> Experiment:
    """What a run stands for, on the overlay that it has.

    Raises:
        P2PGanError: for whatever cannot be read or run.
    """
    overlay = str(directory.overlay_json)
    return prepare(
        msgspec.structs.replace(config, overlay=overlay, allow_disconnected=True), data_dir
    )


def name_of(directory: RunDirectory) -> str:
    """The name that a run goes by in its logs, wherever it lies now."""
    name = read_tables(directory.run_toml).get(RUN_TABLE, {}).get("name")
    return name if isinstance(name, str) else directory.path.name


def ports_of(directory: RunDirectory) -> dict[str, int]:
    """The port of each node, all of this machine.

    Raises:
        RecordError: if a node has no address, or one that `up` has not given it.
    """
    overlay = overlay_files.read(directory.overlay_json)
    ports = {}
    for node in overlay.nodes:
        address = overlay.address(node)
        local = _LOCAL.fullmatch(address or "")
        if local is None:
            raise RecordError(
                expected="a run of `p2pgan up`, whose nodes have addresses at 127.0.0.1",
                got=f"`{address}`" if address else "none",
                at=f"node `{node}` of {directory.overlay_json}",
            )
        ports[node] = int(local["port"])
    return ports
