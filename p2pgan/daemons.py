"""What is configured of daemons: how they wait, save and are watched, and how members know of each
other."""

import math
from typing import Final, Literal

import msgspec

from p2pgan.errors import ConfigError
from p2pgan.ranges import check, check_least

PORT_MAX: Final = 65_535


class DaemonConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What daemons need, and virtual time, which runs their machines."""

    wait_s: float = 30.0
    """Seconds to wait for all neighbors before training starts without the missing; 0: at once."""
    drain_s: float = 5.0
    """Seconds that a stopping node gives its peers to finish what is on the way."""
    final_wait_s: float = 60.0
    """Seconds that a node which has made its iterations waits for others of whom nothing is seen,
    before it starts the last step without them. Who is connected and still trains is waited for;
    0: nobody is."""
    final_round_s: float = 0.5
    """Seconds between two rounds of the last step, which no training keeps apart."""
    chunk_bytes: int = 262_144
    """Size of one frame of a vector; less where the link is slow. Large frames delay heartbeats
    until a slow link is cut."""
    threads: int = 1
    """CPU threads of the training thread."""
    checkpoint_every: int = 0
    """Rounds between two checkpoints of a peer; 0: only at the end. Coordinators:
    `coordinator.checkpoint_every`."""
    checkpoint_s: float = 60.0
    """Seconds after which a peer saves at the end of a round, if it has not by then; 0: never. In
    virtual time only rounds count."""
    stalled_s: float = 5.0
    """Seconds without a sign of the training thread, amid training, after which a node says that it
    is degraded; other work is given twelve times as long."""
    http: str = ""
    """Address such as `127.0.0.1:9464`, or a port of this machine, where `/healthz`, `/readyz` and
    `/metrics` are answered; empty: nowhere. Under `p2pgan up` it is the first node's, and each
    other node has the next port."""

    def __post_init__(self) -> None:
        check(self.wait_s >= 0, "daemon.wait_s", "0 or more seconds", self.wait_s)
        check(self.drain_s >= 0, "daemon.drain_s", "0 or more seconds", self.drain_s)
        wait_s, round_s = self.final_wait_s, self.final_round_s
        check(0 <= wait_s < math.inf, "daemon.final_wait_s", "0 or more seconds", wait_s)
        check(0 < round_s < math.inf, "daemon.final_round_s", "more than 0 seconds", round_s)
        check(
            1024 <= self.chunk_bytes <= 524_288,
            "daemon.chunk_bytes",
            "1024 to 524288",
            self.chunk_bytes,
        )
        check_least("daemon.threads", self.threads, 1)
        check_least("daemon.checkpoint_every", self.checkpoint_every, 0)
        save_s = self.checkpoint_s
        check(0 <= save_s < math.inf, "daemon.checkpoint_s", "0 or more seconds", save_s)
        if self.http:
            http_place(self.http)
        check(self.stalled_s > 0, "daemon.stalled_s", "more than 0 seconds", self.stalled_s)


def http_place(address: str) -> tuple[str, int]:
    """Host and port of `daemon.http`; a port alone is for this machine.

    Raises:
        ConfigError: if it is neither.
    """
    host, colon, port = address.rpartition(":")
    is_port = port.isascii() and port.isdigit() and int(port) <= PORT_MAX
    if is_port and (host or not colon):
        return host.strip("[]") or "127.0.0.1", int(port)
    raise ConfigError(
        expected="`HOST:PORT` such as `127.0.0.1:9464`, or a port",
        got=f"`{address}`",
        at="daemon.http",
        hint="`0.0.0.0:PORT` listens on all interfaces",
    )


Preset = Literal["local", "lan", "wan"]


class MembershipConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How members of a gossip run find out who is there.

    A key of value `None` is the preset's. Systems with a coordinator have their own deadlines.
    """

    preset: Literal["auto", "off", "local", "lan", "wan"] = "auto"
    """Times for processes of one machine (`local`), machines of one house (`lan`) or of several
    (`wan`). `auto`: `local` under `p2pgan up`, `lan` for other daemons, `off` in virtual time."""
    probe_s: float | None = None
    """Seconds between two probes that a node sends, each to another neighbor."""
    timeout_s: float | None = None
    """Seconds that the answer to a probe may take, while too few answers are known to tell the
    usual. Then it is their median and a multiple of their spread, if that is more."""
    helpers: int | None = None
    """Other members that are asked to probe who has not answered."""
    suspicion: float | None = None
    """A suspect has so many probe intervals to refute, times the decimal logarithm of the number
    of members if that is above 1; up to six times as many while nobody else suspects it."""
    rumor_s: float | None = None
    """Seconds between two messages with news alone; probes carry news as well."""
    mend: bool = True
    """Whether the neighbors of a member that is gone are joined with each other."""
    joins: bool = True
    """Whether members that the overlay file does not know may come."""

    def __post_init__(self) -> None:
        for name in ("probe_s", "timeout_s", "suspicion", "rumor_s"):
            value = getattr(self, name)
            ok = value is None or 0 < value < math.inf
            check(ok, f"membership.{name}", "more than 0", value)
        if self.helpers is not None:
            check_least("membership.helpers", self.helpers, 0)
