"""Questions of a process's owner over a real local socket."""

import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from p2pgan.daemon import desk, local_socket
from p2pgan.daemon.desk import ASKERS_MAX, MAX_BYTES, Desk, ask
from p2pgan.errors import TransportError


@pytest.fixture
def open_desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


def connected(to: Desk) -> socket.socket:
    asker = socket.socket(socket.AF_UNIX)
    asker.connect(local_socket.path_of(to.address))
    return asker


def is_cut(asker: socket.socket) -> bool:
    """Says some more; whether nobody listens."""
    try:
        asker.send(b"x" * 1000)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


def whole(made: Desk) -> bytes:
    """Looks until a question is whole."""
    while True:
        made.wake()
        if (body := made.look()) is not None:
            return body


def asked(made: Desk, body: bytes) -> Callable[[], bytes]:
    """Asks from another thread; what returns the answer."""
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(ask(made.address, body, 30.0)))
    thread.start()

    def answer() -> bytes:
        thread.join()
        return answers[0]

    return answer


def test_a_question_of_any_size_is_answered(open_desk: Desk) -> None:
    for size in (1, MAX_BYTES):
        answer = asked(open_desk, b"?" * size)
        assert whole(open_desk) == b"?" * size
        open_desk.answer(b"!" * size)
        assert answer() == b"!" * size


def test_one_question_after_the_other(open_desk: Desk) -> None:
    answers = [asked(open_desk, bytes([letter])) for letter in b"ab"]
    for _ in answers:
        open_desk.answer(whole(open_desk).upper())
    assert [answer() for answer in answers] == [b"A", b"B"]


def test_who_says_too_much_or_goes_is_forgotten(open_desk: Desk) -> None:
    with connected(open_desk) as chatty:
        chatty.settimeout(0.0)
        while not is_cut(chatty):
            assert open_desk.look() is None
    silent = [connected(open_desk) for _ in range(2 * ASKERS_MAX)]
    for _ in silent:
        assert open_desk.look() is None
    answer = asked(open_desk, b"after all")
    assert whole(open_desk) == b"after all"
    for one in silent:
        one.close()
    open_desk.answer(b"yes")
    assert answer() == b"yes"


def test_it_lives_on_when_no_descriptor_is_left(
    open_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "DEAF_S", 0.0)
    answer = asked(open_desk, b"later")
    accept = socket.socket.accept
    refusals = iter([OSError(24, os.strerror(24))] * 3)

    def refusing(self: socket.socket) -> tuple[socket.socket, object]:
        for refusal in refusals:
            raise refusal
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", refusing)
    assert whole(open_desk) == b"later"
    assert next(refusals, None) is None, "it was never refused"
    open_desk.answer(b"now")
    assert answer() == b"now"


def test_a_socket_that_says_nothing_is_no_answer() -> None:
    address = local_socket.new_address()
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(local_socket.path_of(address))
        deaf.listen()
        with pytest.raises(TransportError, match=r"within 0\.05 s"):
            ask(address, b"?", 0.05)
    local_socket.remove(address)
