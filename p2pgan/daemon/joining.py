"""Coming to a run that is under way: any member says what it is, and is not needed after that."""

import re
import secrets
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from p2pgan.config import LOCAL_KEYS, RunConfig, tables_of
from p2pgan.daemon.doctor import reach
from p2pgan.daemon.transport import conversation
from p2pgan.errors import ConfigError, OverlayError, RemoteProtocolError, TransportError
from p2pgan.overlay import files as overlay_files
from p2pgan.overlay import nodelink
from p2pgan.overlay.addresses import check_address
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.mending import overlay_now
from p2pgan.overlay.parts import assemble
from p2pgan.protocol.charter import Charter, read
from p2pgan.protocol.messages import Inquire, Invitation, Member, Refuse
from p2pgan.record.rundir import RunDirectory, check_node_id

ASK_S: Final = 10.0
"""How long a member's answer is waited for: it is given by a loop that never waits."""


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """Who comes, and what it was told."""

    node: str
    charter: Charter
    base: Overlay
    """The overlay that the run began with."""
    since: int
    """Its place in the order of those that came."""


def ask(address: str, timeout_s: float = ASK_S) -> Charter:
    """What a member says of its run.

    Raises:
        TransportError: at once, if nobody listens there; or if nobody answers in time.
        RemoteProtocolError: if who answers does not speak our language, or tells nobody.
    """
    if address.startswith("tcp://") and (problem := reach(address, timeout_s)):
        raise TransportError(
            expected="a member of a run that listens there",
            got=problem,
            at=f"`{address}`",
            hint="does the member run, and does it listen there?",
        )
    with conversation(address, timeout_s) as say:

        def one(inquire: Inquire) -> Invitation:
            answer = say(inquire)
            if isinstance(answer, Refuse):
                raise RemoteProtocolError(
                    expected="an invitation",
                    got=answer.text,
                    at=f"`{address}`",
                    hint="a last step, a coordinator or `membership.joins=false` closes a run",
                )
            if not isinstance(answer, Invitation):
                raise RemoteProtocolError(
                    expected="an invitation", got=f"`{type(answer).__name__}`", at=f"`{address}`"
                )
            return answer

        return read(one)


def newcomer(charter: Charter, node: str | None) -> Newcomer:
    """Who we are among those that a member has told of.

    Args:
        charter: what it has told.
        node: our id; `None`: the host's name and some random letters.
    Raises:
        ConfigError: if another process goes by that id.
        OverlayError: if the overlay that it has told of is none.
    """
    name = node or _any_name()
    at = "the overlay of the run"
    base = Overlay("base", assemble(nodelink.parse(charter.overlay.encode(), at), at))
    known = {row.node: row for row in charter.members}
    ours = known.get(name)
    if ours is not None and ours.state == "alive" and ours.boot:
        raise ConfigError(
            expected="an id that nobody has",
            got=f"`{name}`, which is there",
            at="--id",
            hint="choose another one, or wait until the others have noticed that it is gone",
        )
    since = ours.since if ours else 1 + max((row.since for row in charter.members), default=0)
    return Newcomer(node=name, charter=charter, base=base, since=since)


def _any_name() -> str:
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:64] or "node"
    return f"{host}-{secrets.token_hex(2)}"


def settings_of(charter: Charter) -> dict[str, Any]:
    """The settings that all nodes of the run share, as tables."""
    tables = tables_of(charter.config, "the run's settings")
    return {key: value for key, value in tables.items() if key not in LOCAL_KEYS}


def settle(config: RunConfig, directory: RunDirectory, newcomer: Newcomer) -> RunConfig:
    """Writes the overlay as the newcomer knows it into its own folder; the settings with that.

    Raises:
        OverlayError: if the disk refuses.
    """
    path = overlay_file(directory, newcomer.node)
    path.parent.mkdir(parents=True, exist_ok=True)
    overlay_files.write(grown(newcomer), path)
    return msgspec.structs.replace(config, overlay=str(path), nodes=None, allow_disconnected=True)


def overlay_file(directory: RunDirectory, node: str) -> Path:
    """Where a newcomer keeps the overlay as it knows it; nobody else has such a file."""
    return directory.node_events(node).with_name("overlay.json")


def grown(newcomer: Newcomer) -> Overlay:
    """The overlay with everybody who ever came, the newcomer as the last, and all addresses."""
    rows: dict[str, Member] = {row.node: row for row in newcomer.charter.members}
    joined = {row.node: row.since for row in rows.values() if row.since}
    if newcomer.since:
        joined[newcomer.node] = newcomer.since
    order = sorted((since, node) for node, since in joined.items())
    overlay = overlay_now(newcomer.base, order, ())
    return overlay.with_addresses(_usable(rows.values(), overlay))


def _usable(rows: Iterable[Member], overlay: Overlay) -> dict[str, str]:
    """Where members are reached: of those that are gone, somebody else may have the address; and a
    member's word for another may be wrong."""
    found: dict[str, str] = {}
    there = [row for row in rows if row.state not in ("dead", "left")]
    for row in sorted(there, key=lambda row: row.incarnation, reverse=True):
        with suppress(OverlayError):
            address = check_address(row.address, row.node)
            if row.node in overlay.nodes and address not in found.values():
                found[row.node] = address
    return found


def own_folder(out: Path | None, charter: Charter) -> RunDirectory:
    """The run directory of a newcomer: that of its run, if it lies on this machine."""
    if out is None:
        check_node_id(charter.run, at="the run's name, as a member says it; see `--out`")
    return RunDirectory(out or Path("runs") / charter.run)
