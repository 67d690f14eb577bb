"""What systemd wants to know of a service: ready, how it is, alive, about to stop (sd_notify(3)).

A datagram to the socket that `NOTIFY_SOCKET` names; without one nobody is told anything. The
watchdog is told from the node's loop, and only while the node is healthy: a node whose training
hangs is restarted by systemd as one that is stuck.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from p2pgan.daemon.health import Health

ABSTRACT: Final = "@"
"""Begins the name of a socket that is no file."""


class Notifier:
    """Tells systemd how a node is; `tell` is a watcher of its loop.

    Args:
        environment: the process's variables.
        pid: of this process; a watchdog that is meant for another is not ours to feed.
    """

    def __init__(self, environment: Mapping[str, str], pid: int | None = None) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        own = str(os.getpid() if pid is None else pid)
        interval_us = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", own) == own
        self._alive_every_s: float | None = None
        """Half of what systemd waits for, as it advises."""
        if is_ours and interval_us.isascii() and interval_us.isdigit() and int(interval_us):
            self._alive_every_s = int(interval_us) / 2e6
        self._alive_s = float("-inf")
        self._is_ready = self._is_stopping = False
        self._status = ""

    def tell(self, health: Health) -> None:
        """Sends what is news."""
        if not self._address:
            return
        lines = [*self._life(health), *self._alive(health)]
        status = _status(health)
        if status != self._status:
            self._status = status
            lines.append(f"STATUS={status}")
        if lines:
            self._send("\n".join(lines))

    def stopping(self) -> None:
        """Says that the end has begun, if it was not said before."""
        if self._address and not self._is_stopping:
            self._is_stopping = True
            self._send("STOPPING=1")

    def _life(self, health: Health) -> list[str]:
        """A node is ready once it listens, gathering included: whoever it waits for may be a
        service that systemd starts after it."""
        if not self._is_ready:
            self._is_ready = True
            return ["READY=1"]
        if not self._is_stopping and health.standing == "ending":
            self._is_stopping = True
            return ["STOPPING=1"]
        return []

    def _alive(self, health: Health) -> list[str]:
        is_due = (
            self._alive_every_s is not None and health.at_s >= self._alive_s + self._alive_every_s
        )
        if not is_due or health.problem(health.at_s):
            return []
        self._alive_s = health.at_s
        return ["WATCHDOG=1"]

    def _send(self, text: str) -> None:
        """Without waiting: who does not read is not waited for."""
        address = self._address
        if address.startswith(ABSTRACT):
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            with suppress(OSError):
                sending.sendto(text.encode(), address)


def _status(health: Health) -> str:
    told = health.statistics
    ready = sum(peer.state == "ready" for peer in told.peers)
    degraded = ", degraded" if told.is_degraded else ""
    return (
        f"{told.phase}{degraded}: round {told.round}, {told.iterations} of "
        f"{told.iterations_total} iterations, {ready} of {len(told.peers)} peers"
    )
