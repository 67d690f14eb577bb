"""Addresses of nodes, as ZeroMQ writes them."""

import re
from collections.abc import Iterable

from p2pgan.errors import OverlayError

PORT_MAX = 65535

_TCP = re.compile(r"(?P<host>tcp://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)):(?P<port>[0-9]{1,5})")
_IPC = re.compile(r"ipc://\S+")


def check_address(address: object, at: str) -> str:
    """The address itself, if a node can be reached at it.

    Raises:
        OverlayError: if it is neither `tcp://HOST:PORT` nor `ipc://PATH`.
    """
    if isinstance(address, str):
        tcp = _TCP.fullmatch(address)
        if _IPC.fullmatch(address) or (tcp and 1 <= int(tcp["port"]) <= PORT_MAX):
            return address
    raise OverlayError(
        expected=f"an address `tcp://HOST:PORT` (port 1 to {PORT_MAX}) or `ipc://PATH`",
        got=f"`{address}`",
        at=at,
    )


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
