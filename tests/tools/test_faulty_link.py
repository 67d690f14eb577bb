"""Links do to what passes what they are told to."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tools.faulty_link import FaultyLinks, Link, parted

LONG_S = 30.0


class Echo:
    """Sends back whatever comes."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self.listening.getsockname()[1]}"
        self.threads: list[threading.Thread] = []
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=echo, args=(connection,), daemon=True))
            self.threads[-1].start()


def echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(65_536):
                connection.sendall(data)
        except OSError:
            return


@pytest.fixture
def link() -> Iterator[Link]:
    there = Echo()
    with FaultyLinks() as links:
        yield links.to(there.address)
    there.listening.close()
    there.accepting.join(0.1)


def connect(link: Link) -> socket.socket:
    host, port = link.address.removeprefix("tcp://").split(":")
    return socket.create_connection((host, int(port)), timeout=LONG_S)


def returned(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        data = connection.recv(size - len(found))
        assert data, "the connection has ended"
        found += data
    return found


def test_everything_passes_both_ways(link: Link) -> None:
    data = bytes(range(256)) * 4096
    with connect(link) as connection:
        sending = threading.Thread(target=connection.sendall, args=(data,))
        sending.start()
        assert returned(connection, len(data)) == data
        sending.join()


def test_a_slow_link_takes_its_time(link: Link) -> None:
    """Never less than the rate allows, there and back; the first piece is paid for as well."""
    link.slow(200_000)
    begun_s = time.monotonic()
    with connect(link) as connection:
        connection.sendall(bytes(50_000))
        returned(connection, 50_000)
    assert time.monotonic() - begun_s >= 50_000 / 200_000


def test_a_delay_is_for_each_way(link: Link) -> None:
    link.delay(0.1)
    begun_s = time.monotonic()
    with connect(link) as connection:
        connection.sendall(b"there")
        assert returned(connection, 5) == b"there"
    assert time.monotonic() - begun_s >= 0.2


def test_a_cut_link_is_silent_and_loses_nothing(link: Link) -> None:
    with connect(link) as connection:
        connection.sendall(b"one")
        assert returned(connection, 3) == b"one"
        with parted(link):
            connection.sendall(b"two")
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(3)
        connection.settimeout(LONG_S)
        assert returned(connection, 3) == b"two"


def test_a_reset_is_told(link: Link) -> None:
    with connect(link) as connection:
        connection.sendall(b"one")
        returned(connection, 3)
        link.reset()
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    with connect(link) as connection:
        connection.sendall(b"again")
        assert returned(connection, 5) == b"again"


def test_the_end_of_one_is_told_to_the_other(link: Link) -> None:
    with connect(link) as connection:
        connection.sendall(b"last")
        connection.shutdown(socket.SHUT_WR)
        assert returned(connection, 4) == b"last"
        assert connection.recv(1) == b""
