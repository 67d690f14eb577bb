"""What systemd is told, as it would receive it."""

import dataclasses
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from p2pgan.daemon.notify import Notifier
from tests.daemon.test_health import health_of


class Systemd:
    """The other end of the socket."""

    def __init__(self, name: str) -> None:
        self.variables = {"NOTIFY_SOCKET": name}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        """The lines of each datagram that has come."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode().splitlines())
            except BlockingIOError:
                return found


@pytest.fixture(params=["file", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    is_file = request.param == "file"
    made = Systemd(str(tmp_path / "notify") if is_file else f"@p2pgan-{secrets.token_hex(8)}")
    yield made
    made.socket.close()


@pytest.fixture
def notifier(systemd: Systemd) -> Callable[..., Notifier]:
    def make(**variables: str) -> Notifier:
        return Notifier({**systemd.variables, **variables}, pid=7)

    return make


def test_a_life(systemd: Systemd, notifier: Callable[..., Notifier]) -> None:
    """Ready once, a status when there is news, stopping once."""
    told = notifier()
    status = "round 3, 60 of 100 iterations, 1 of 2 peers"
    told.tell(health_of(phase="gathering"))
    assert systemd.heard() == [["READY=1", f"STATUS=gathering: {status}"]]
    told.tell(health_of(phase="gathering"))
    assert systemd.heard() == []
    told.tell(health_of(is_degraded=True))
    assert systemd.heard() == [[f"STATUS=training, degraded: {status}"]]
    told.tell(health_of(phase="saving"))
    told.tell(health_of(phase="leaving"))
    told.stopping()
    first, second = systemd.heard()
    assert first == ["STOPPING=1", f"STATUS=saving: {status}"]
    assert "STOPPING=1" not in second


def test_who_ends_otherwise_says_so_too(
    systemd: Systemd, notifier: Callable[..., Notifier]
) -> None:
    told = notifier()
    told.stopping()
    told.stopping()
    assert systemd.heard() == [["STOPPING=1"]]


@pytest.mark.parametrize("owner", ["", "7"])
def test_the_watchdog_is_fed_at_half_its_time_while_all_is_well(
    systemd: Systemd, notifier: Callable[..., Notifier], owner: str
) -> None:
    told = notifier(WATCHDOG_USEC="20000000", **({"WATCHDOG_PID": owner} if owner else {}))
    fed = []
    for at_s, is_degraded in ((0, False), (9, False), (10, False), (21, True), (22, False)):
        told.tell(dataclasses.replace(health_of(is_degraded=is_degraded), at_s=float(at_s)))
        if any("WATCHDOG=1" in lines for lines in systemd.heard()):
            fed.append(at_s)
    assert fed == [0, 10, 22]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "8"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
    ],
)
def test_nobody_else_s_watchdog_is_fed(
    systemd: Systemd, notifier: Callable[..., Notifier], variables: dict[str, str]
) -> None:
    notifier(**variables).tell(health_of())
    assert "WATCHDOG=1" not in systemd.heard()[0]


def test_without_systemd_nobody_is_told(systemd: Systemd) -> None:
    alone = Notifier({})
    alone.tell(health_of())
    alone.stopping()
    gone = Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"})
    gone.tell(health_of())
    assert systemd.heard() == []
