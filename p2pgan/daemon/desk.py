"""Where the owner of a process asks it something: a local socket, one question a connection.

The asker says its question, ends its side, and reads the answer until its end. These are plain
sockets: ZeroMQ's own local ones end the process when no descriptor is left to accept an asker with
(libzmq 4.3.5, `ipc_listener.cpp`).
"""

import contextlib
import selectors
import socket
import time
from collections.abc import Iterator
from typing import Final

from p2pgan.daemon import local_socket
from p2pgan.errors import TransportError

MAX_BYTES: Final = 65_536
"""Largest question or answer; a local socket takes as much at once."""

ASKERS_MAX: Final = 16
"""At a time; one more takes the place of the one that has been silent for longest."""

DEAF_S: Final = 1.0
"""How long nobody is accepted after there was no descriptor for it."""

READ_BYTES: Final = 4096


class Desk:
    """Takes questions, one at a time. All of it belongs to one thread.

    Raises:
        TransportError: on construction, if there is no place for the socket.
    """

    def __init__(self) -> None:
        self.address = local_socket.new_address()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._selector = selectors.DefaultSelector()
        self._askers: dict[socket.socket, bytearray] = {}
        """What each has said so far, in the order in which they came."""
        self._asker: socket.socket | None = None
        """Whose question is whole, and has no answer yet."""
        self._deaf_until_s: float | None = None
        try:
            self._listening.bind(local_socket.path_of(self.address))
            local_socket.protect(self.address)
            self._listening.listen()
        except OSError as error:
            self.close()
            raise TransportError(
                expected="a place for the control socket",
                got=error.strerror or str(error),
                at=f"`{self.address}`",
            ) from None
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)

    def fileno(self) -> int:
        """What tells that there is something to `look` at (Linux and BSD)."""
        found = self._selector.fileno()  # not all systems have one
        assert isinstance(found, int)
        return found

    def look(self) -> bytes | None:
        """A question, if one is whole; `answer` has to follow."""
        for key, _ in self._selector.select(0):
            source = key.fileobj
            assert isinstance(source, socket.socket)
            if source is self._listening:
                self._accept()
            elif source in self._askers and self._asker is None and self._is_whole(source):
                self._asker = source
                return bytes(self._askers[source])
        return None

    def wake(self) -> None:
        """Accepts askers again, if there was no descriptor for one a while ago."""
        if self._deaf_until_s is not None and time.monotonic() >= self._deaf_until_s:
            self._deaf_until_s = None
            self._selector.register(self._listening, selectors.EVENT_READ)

    def answer(self, body: bytes) -> None:
        """Answers the question that `look` has returned last, if the asker is still there."""
        if self._asker is not None:
            with contextlib.suppress(OSError):
                self._asker.send(body)
            self._forget(self._asker)
            self._asker = None

    def close(self) -> None:
        """Nobody is answered any more."""
        for asker in [*self._askers]:
            self._forget(asker)
        self._selector.close()
        self._listening.close()
        local_socket.remove(self.address)

    def _accept(self) -> None:
        try:
            asker, _ = self._listening.accept()
        except OSError:  # gone already, or no descriptor is left
            self._selector.unregister(self._listening)
            self._deaf_until_s = time.monotonic() + DEAF_S
            return
        asker.setblocking(False)
        if len(self._askers) >= ASKERS_MAX:
            self._forget(next(one for one in self._askers if one is not self._asker))
        self._askers[asker] = bytearray()
        self._selector.register(asker, selectors.EVENT_READ)

    def _is_whole(self, asker: socket.socket) -> bool:
        said = self._askers[asker]
        try:
            part = asker.recv(READ_BYTES)
        except OSError:
            self._forget(asker)
            return False
        said += part
        if len(said) > MAX_BYTES or not (said or part):  # who wants to know whether we live, goes
            self._forget(asker)
            return False
        return not part

    def _forget(self, asker: socket.socket) -> None:
        del self._askers[asker]
        self._selector.unregister(asker)
        asker.close()


def ask(address: str, body: bytes, timeout_s: float) -> bytes:
    """One question to a node's control socket, and its answer.

    Raises:
        TransportError: if nobody answers in time, or nobody can.
    """
    local_socket.check_alive(address)
    until_s = time.monotonic() + timeout_s
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking, _told(address, timeout_s):
        asking.settimeout(timeout_s)
        asking.connect(local_socket.path_of(address))
        asking.sendall(body)
        asking.shutdown(socket.SHUT_WR)
        while len(answer) <= MAX_BYTES:
            asking.settimeout(max(0.001, until_s - time.monotonic()))
            part = asking.recv(READ_BYTES)
            if not part:
                break
            answer += part
    if answer:
        return answer
    raise _unanswered(address, timeout_s)


@contextlib.contextmanager
def _told(address: str, timeout_s: float) -> Iterator[None]:
    """Errors of sockets, in our words."""
    try:
        yield
    except TimeoutError:
        raise _unanswered(address, timeout_s) from None
    except OSError as error:
        raise TransportError(
            expected="a control address, as a node has printed it",
            got=error.strerror or str(error),
            at=f"`{address}`",
        ) from None


def _unanswered(address: str, timeout_s: float) -> TransportError:
    return TransportError(
        expected=f"an answer within {timeout_s:g} s", got="none", at=f"control socket `{address}`"
    )
