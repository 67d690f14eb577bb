"""What a node will need of its machine and of its neighbors' machines, tried out before the run.

Every check gives a `Finding`. Nothing here is needed to run a node, and nothing that it finds stops
one; it only says beforehand, and in one place, what would else be found out one by one.
"""

import os
import platform
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from p2pgan.daemon import local_socket
from p2pgan.daemon.transport import Transport, capabilities
from p2pgan.data.datasets import DATASETS
from p2pgan.data.verify import verify
from p2pgan.errors import TransportError
from p2pgan.overlay.graph import Overlay

TESTED: Final[Mapping[str, str]] = {
    "python": "3.11",
    "torch": "2.13.0",
    "pyzmq": "27.3.0",
    "libzmq": "4.3.5",
}
"""Oldest versions that all tests were run with; older ones may work."""

FILES: Final = 64
FILES_PER_NEIGHBOR: Final = 16
"""Descriptors of a node, generously: log, sockets, event loop; a connection each way, its monitor,
and as many again while it reconnects."""

FREE_BYTES: Final = 1 << 30
"""Logs and two checkpoints of a node are far less; what is left after months of runs is not."""

PROBE_BYTES: Final = 8 << 20
"""About a checkpoint of the MNIST MLP."""

SLOW_WRITE_S: Final = 1.0
"""A save that takes longer than that takes a visible share of the training."""

GREETING: Final = b"\xff" + bytes(8) + b"\x7f"
"""What both ends of ZeroMQ's protocol say first (ZMTP 3.1, section 3.2)."""

Verdict = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check has found."""

    check: str
    verdict: Verdict
    found: str
    hint: str = ""


def machine(out: Path, data_dir: Path, neighbors: int) -> Iterator[Finding]:
    """Everything that concerns this machine alone.

    Args:
        out: where runs are written, or its nearest folder that exists.
        data_dir: folder of the data sets.
        neighbors: how many a node will have.
    """
    yield from _versions()
    yield from _sockets()
    yield _threads()
    yield _files(neighbors)
    yield _disk(out)
    yield _data(data_dir)
    yield Finding(
        check="keys", verdict="warning", found="none: nodes do not know keys yet",
        hint="run daemons only on machines and networks that you trust",
    )  # fmt: skip


def _versions() -> Iterator[Finding]:
    have = {"python": platform.python_version(), "libzmq": capabilities().libzmq}
    for name in ("torch", "pyzmq"):
        try:
            have[name] = version(name)
        except PackageNotFoundError:
            yield Finding(check=name, verdict="failed", found="not installed")
    for name, tested in TESTED.items():
        if name in have:
            is_old = _numbers(have[name]) < _numbers(tested)
            yield Finding(
                check=name,
                verdict="warning" if is_old else "ok",
                found=have[name],
                hint=f"tests were run with {tested} and later" if is_old else "",
            )


def _numbers(text: str) -> tuple[int, ...]:
    """`2.13.0+cpu` as numbers that compare."""
    plain = text.partition("+")[0].split(".")
    return tuple(int(part) for part in plain if part.isdigit())


def _sockets() -> Iterator[Finding]:
    able = capabilities()
    hint = "install a pyzmq wheel of the registry"
    yield _judged("ipc", able.has_ipc, "supported" if able.has_ipc else "missing in libzmq", hint)
    yield _judged(
        "curve", able.has_curve, "supported" if able.has_curve else "missing in libzmq", hint
    )
    try:
        found = str(Path(local_socket.new_address().removeprefix(local_socket.SCHEME)).parent)
    except TransportError as error:
        yield Finding(check="control folder", verdict="failed", found=error.got, hint=error.hint)
    else:
        yield Finding(check="control folder", verdict="ok", found=found)


def _threads() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding(check="processors", verdict="ok", found=f"{usable} usable")


def _files(neighbors: int) -> Finding:
    """A node raises the limit as far as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FILES + FILES_PER_NEIGHBOR * neighbors
    return _judged(
        "open files",
        most == resource.RLIM_INFINITY or most >= needed,
        f"{most} allowed, {needed} needed for {neighbors} neighbors",
        f"`ulimit -H -n {needed}` as root, or LimitNOFILE={needed} in a unit",
    )


def _disk(out: Path) -> Finding:
    """Room, and how long a checkpoint takes to be safe."""
    folder = next(path for path in (out, *out.absolute().parents) if path.is_dir())
    try:
        free = shutil.disk_usage(folder).free
        took_s = _write_s(folder)
    except OSError as error:
        return Finding(
            check="disk", verdict="failed", found=f"`{folder}`: {error.strerror or error}",
            hint="choose another place with `--out`",
        )  # fmt: skip
    found = f"`{folder}`: {free / 2**30:.1f} GiB free, 8 MiB safe in {1000 * took_s:.0f} ms"
    is_fine = free >= FREE_BYTES and took_s <= SLOW_WRITE_S
    hint = "" if is_fine else "free some room, or choose another place with `--out`"
    return Finding(check="disk", verdict="ok" if is_fine else "warning", found=found, hint=hint)


def _write_s(folder: Path) -> float:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        begun_s = time.monotonic()
        file.write(bytes(PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
        return time.monotonic() - begun_s


def _data(data_dir: Path) -> Finding:
    states = [verify(name, data_dir) for name in DATASETS]
    is_damaged = any(state.state == "corrupt" for state in states)
    return Finding(
        check="data sets",
        verdict="warning" if is_damaged else "ok",
        found=", ".join(f"{state.name}: {state.state}" for state in states),
        hint="`p2pgan data list` says what is damaged" if is_damaged else "",
    )


# -- a node's place in an overlay ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place:
    """One node of an overlay, as far as this machine can stand in for it."""

    node: str
    address: str | None
    neighbors: Mapping[str, str | None]

    @classmethod
    def of(cls, overlay: Overlay, node: str) -> "Place":
        """From the overlay's file."""
        return cls(
            node=node,
            address=overlay.address(node),
            neighbors={peer: overlay.address(peer) for peer in overlay.neighbors(node)},
        )


def stand_in(place: Place) -> tuple[Finding, Transport | None]:
    """Listens where the node will, unless somebody does already; whoever listens greets callers."""
    check = f"address of {place.node}"
    if place.address is None:
        return Finding(check=check, verdict="failed", found="none in the overlay"), None
    try:
        transport = Transport(place.address, {})
    except TransportError as error:
        problem = reach(place.address, 1.0)
        if problem:
            return Finding(check=check, verdict="failed", found=str(error)), None
        found = f"{place.address}: a node answers there"
        return Finding(check=check, verdict="ok", found=found), None
    return Finding(check=check, verdict="ok", found=f"{transport.address} can be bound"), transport


def neighbor(place: Place, peer: str, timeout_s: float) -> Finding:
    """Whether a neighbor, or whoever stands in for it, answers at its address; it may not have
    been started yet."""
    address = place.neighbors[peer]
    check = f"neighbor {peer}"
    if address is None:
        return Finding(check=check, verdict="failed", found="no address in the overlay")
    problem = reach(address, timeout_s)
    if not problem:
        return Finding(check=check, verdict="ok", found=f"{address}: reachable")
    return Finding(
        check=check, verdict="warning", found=f"{address}: {problem}",
        hint="start it, or `p2pgan doctor --listen` there; else look at its firewall",
    )  # fmt: skip


def reach(address: str, timeout_s: float) -> str:
    """What keeps us from talking to whoever listens at a `tcp://` address; empty: nothing."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not address.startswith("tcp://") or host is None or port is None:
        return "no `tcp://HOST:PORT`"
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as asking:
            asking.sendall(GREETING)
            greeting = _greeting(asking)
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "" if greeting[:1] + greeting[-1:] == b"\xff\x7f" else "something else listens there"


def _greeting(asking: socket.socket) -> bytes:
    heard = b""
    with suppress(ConnectionError):
        while len(heard) < len(GREETING) and (part := asking.recv(len(GREETING) - len(heard))):
            heard += part
    return heard


def _judged(check: str, is_fine: bool, found: str, hint: str) -> Finding:
    return Finding(
        check=check,
        verdict="ok" if is_fine else "failed",
        found=found,
        hint="" if is_fine else hint,
    )
