"""Addresses of nodes, as ZeroMQ writes them."""

import re
from collections.abc import Iterable

from p2pgan.errors import OverlayError

PORT_MAX = 65535

_TCP = re.compile(r"(?P<host>tcp://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)):(?P<port>[0-9]{1,5})")
_IPC = re.compile(r"ipc://\S+")
_ANY_HOST = re.compile(r"tcp://\*(?=:)")
_ANY_PORT = re.compile(r":[*0]$")


def check_address(address: object, at: str) -> str:
    """The address itself, if a node can be reached at it.

    Raises:
        OverlayError: if it is neither `tcp://HOST:PORT` nor `ipc://PATH`.
    """
    if isinstance(address, str) and _is_reachable(address):
        return address
    raise OverlayError(
        expected=f"an address `tcp://HOST:PORT` (port 1 to {PORT_MAX}) or `ipc://PATH`",
        got=f"`{address}`",
        at=at,
        hint="such as `tcp://10.0.0.3:5550`",
    )


def check_place(address: str, at: str) -> str:
    """The address itself, if a node can listen at it: `*` is any interface, `*` or 0 any free port.

    ZeroMQ would take a port that is too large modulo 65536.

    Raises:
        OverlayError: if nobody can.
    """
    if _is_reachable(_ANY_PORT.sub(f":{PORT_MAX}", _ANY_HOST.sub("tcp://0.0.0.0", address))):
        return address
    raise OverlayError(
        expected=f"an address to listen at, `tcp://HOST:PORT` (port up to {PORT_MAX})",
        got=f"`{address}`",
        at=at,
        hint="such as `tcp://0.0.0.0:5550`, or `tcp://127.0.0.1:*` for any free port",
    )


def _is_reachable(address: str) -> bool:
    tcp = _TCP.fullmatch(address)
    if tcp is None:
        return _IPC.fullmatch(address) is not None
    return 1 <= int(tcp["port"]) <= PORT_MAX


def numbered_addresses(base: str, nodes: Iterable[str], at: str) -> dict[str, str]:
    """`base` for the first node, and for the others the ports that follow it.

    Args:
        base: `tcp://HOST:PORT`.
        nodes: ids in order.
        at: where `base` comes from, for errors.
    Raises:
        OverlayError: if `base` has no port to count from, or the ports run out.
    """
    nodes = list(nodes)
    tcp = _TCP.fullmatch(base)
    first = int(tcp["port"]) if tcp else 0
    last = first + len(nodes) - 1
    if tcp is None or first < 1 or last > PORT_MAX:
        raise OverlayError(
            expected=f"an address `tcp://HOST:PORT` with {len(nodes)} ports up to {PORT_MAX}",
            got=f"`{base}`",
            at=at,
        )
    return {node: f"{tcp['host']}:{first + index}" for index, node in enumerate(nodes)}
