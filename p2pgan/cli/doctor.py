"""`p2pgan doctor`: whether this machine, and those of the neighbors, are fit for a node."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from p2pgan.errors import ConfigError

if TYPE_CHECKING:
    from p2pgan.daemon.doctor import Finding, Place

AGAIN_S: Final = 1.0
"""Between two attempts to reach who did not answer."""

REACH_S: Final = 3.0
"""A machine that answers at all answers by then."""


def doctor(
    *,
    overlay: Annotated[
        str | None, typer.Option(help="Overlay file: also try the addresses of a node in it.")
    ] = None,
    id: Annotated[str | None, typer.Option("--id", help="Which node of the overlay.")] = None,
    listen: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Listen so long in the node's place, and try neighbors again meanwhile.",
        ),
    ] = 0.0,
    out: Annotated[Path, typer.Option(help="Where runs will be written.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Try out what a node needs: versions, limits, disk, data, and ports both ways.

    Exit status 1 if something would keep a node from running. A neighbor that does not answer is a
    warning: it may not have started yet. For ports both ways, run it for two neighbors at the same
    time, each on its machine.

    Example: p2pgan doctor --overlay two.json --id 0 --listen 60
    """
    from p2pgan.cli.paths import data_dir
    from p2pgan.daemon.doctor import machine

    place = _place(overlay, id)
    if listen and place is None:
        raise ConfigError(
            expected="`--overlay FILE` and `--id NODE`, to listen in the node's place",
            got="neither",
            at="--listen",
        )
    neighbors = 0 if place is None else len(place.neighbors)
    findings = list(machine(out, data_dir(), neighbors))
    if place is not None:
        findings += _ports(place, listen)
    _print(findings, as_json=json)
    if any(finding.verdict == "failed" for finding in findings):
        raise typer.Exit(1)


def _place(overlay: str | None, id: str | None) -> "Place | None":
    """The node whose place is tried.

    Raises:
        ConfigError: if only one of the two is given.
        OverlayError: if there is no such file, or no such node in it.
    """
    if overlay is None and id is None:
        return None
    if overlay is None or id is None:
        raise ConfigError(
            expected="`--overlay FILE` and `--id NODE` together", got="one of them", at="doctor"
        )
    from p2pgan.daemon.doctor import Place
    from p2pgan.overlay import files

    return Place.of(files.read(overlay), id)


def _ports(place: "Place", listen_s: float) -> Iterator["Finding"]:
    """The node's own address, and those of its neighbors once they answer or time is over."""
    from p2pgan.daemon.doctor import neighbor, stand_in

    own, transport = stand_in(place)
    yield own
    ends_s = time.monotonic() + listen_s
    found = {peer: neighbor(place, peer, REACH_S) for peer in place.neighbors}
    try:
        # To the end, even if all were reached: they may be about to try us.
        while (left_s := ends_s - time.monotonic()) > 0:
            time.sleep(min(AGAIN_S, left_s))
            found |= {
                peer: neighbor(place, peer, REACH_S)
                for peer, finding in found.items()
                if finding.verdict == "warning"
            }
    finally:
        if transport is not None:
            transport.close(0)
    yield from found.values()


def _print(findings: list["Finding"], *, as_json: bool) -> None:
    if as_json:
        from p2pgan.record.rundir import to_json

        sys.stdout.write(to_json({"findings": [asdict(finding) for finding in findings]}))
        return
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        hint = f" (hint: {finding.hint})" if finding.hint else ""
        typer.echo(f"{finding.verdict:8} {finding.check:{width}}  {finding.found}{hint}")
