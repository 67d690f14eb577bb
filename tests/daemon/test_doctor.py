"""What is found out about a machine and its neighbors before a run."""

import resource
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from p2pgan.daemon import doctor
from p2pgan.daemon.transport import Capabilities, Transport, reserve_ports


def found(findings: Iterator[doctor.Finding]) -> dict[str, doctor.Finding]:
    return {finding.check: finding for finding in findings}


def test_this_machine_can_run_a_node(tmp_path: Path) -> None:
    told = found(doctor.machine(tmp_path / "runs" / "not" / "there", tmp_path, 4))
    assert {check for check, finding in told.items() if finding.verdict == "failed"} == set()
    assert {"python", "torch", "pyzmq", "libzmq", "ipc", "curve", "disk", "keys"} <= told.keys()
    assert "digits: present" in told["data sets"].found
    assert "mnist: missing" in told["data sets"].found
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_versions_older_than_the_tested_ones_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have = {"torch": "2.10.0+cpu", "pyzmq": "27.10.0"}
    monkeypatch.setattr(doctor, "version", have.__getitem__)
    told = found(doctor.machine(tmp_path, tmp_path, 0))
    assert told["torch"].verdict == "warning"
    assert "2.13" in told["torch"].hint
    assert told["pyzmq"].verdict == "ok", "27.10 is later than 27.3"


def test_a_library_without_ipc_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    able = Capabilities("4.3.5", has_ipc=False, has_curve=True)
    monkeypatch.setattr(doctor, "capabilities", lambda: able)
    told = found(doctor.machine(tmp_path, tmp_path, 0))
    assert (told["ipc"].verdict, told["curve"].verdict) == ("failed", "ok")


def test_many_neighbors_need_many_descriptors(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = found(doctor.machine(tmp_path, tmp_path, most))
    assert told["open files"].verdict == "failed"
    assert "ulimit -H -n" in told["open files"].hint


def test_the_descriptors_of_a_node_are_as_many_as_is_said() -> None:
    """Ours and those of eight neighbors that it calls, and that call it."""
    count = 8
    before = len(list(Path("/proc/self/fd").iterdir()))
    neighbors = [Transport("tcp://127.0.0.1:*", {}) for _ in range(count)]
    alone = len(list(Path("/proc/self/fd").iterdir())) - before
    node = Transport("tcp://127.0.0.1:*", {str(i): n.address for i, n in enumerate(neighbors)})
    own = len(list(Path("/proc/self/fd").iterdir())) - before - alone
    for one in (node, *neighbors):
        one.close(0)
    assert own + 2 * count <= doctor.FILES + doctor.FILES_PER_NEIGHBOR * count


def test_a_disk_that_is_full_or_slow_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_write_s", lambda folder: doctor.SLOW_WRITE_S + 1)
    assert found(doctor.machine(tmp_path, tmp_path, 0))["disk"].verdict == "warning"

    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    told = found(doctor.machine(tmp_path, tmp_path, 0))["disk"]
    assert told.verdict == "failed"
    assert "No space left" in told.found


# -- ports -----------------------------------------------------------------------------------------


def free_address() -> str:
    held, (port,) = reserve_ports(1)
    held[0].close()
    return f"tcp://127.0.0.1:{port}"


def test_two_that_stand_in_for_their_nodes_reach_each_other() -> None:
    addresses = {"A": free_address(), "B": free_address()}
    places = [
        doctor.Place(node=node, address=addresses[node], neighbors={peer: addresses[peer]})
        for node, peer in (("A", "B"), ("B", "A"))
    ]
    stands = [doctor.stand_in(place) for place in places]
    for place, (own, transport) in zip(places, stands, strict=True):
        assert own.verdict == "ok"
        assert transport is not None
        (peer,) = place.neighbors
        assert doctor.neighbor(place, peer, 30.0).verdict == "ok"
    for _, transport in stands:
        assert transport is not None
        transport.close(0)


def test_a_node_that_runs_already_is_no_fault() -> None:
    running = Transport("tcp://127.0.0.1:*", {})
    place = doctor.Place(node="A", address=running.address, neighbors={})
    own, transport = doctor.stand_in(place)
    running.close(0)
    assert transport is None
    assert own.verdict == "ok"
    assert "answers there" in own.found


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    place = doctor.Place(node="A", address="tcp://192.0.2.1:5550", neighbors={})
    own, transport = doctor.stand_in(place)
    assert transport is None
    assert own.verdict == "failed"


def test_nobody_there_is_told_with_what_to_do() -> None:
    place = doctor.Place(node="A", address=None, neighbors={"B": free_address(), "C": None})
    assert doctor.stand_in(place)[0].verdict == "failed"
    refused = doctor.neighbor(place, "B", 30.0)
    assert refused.verdict == "warning"
    assert "refused" in refused.found
    assert "--listen" in refused.hint
    assert doctor.neighbor(place, "C", 30.0).found == "no address in the overlay"


@pytest.mark.parametrize(
    "address", ["ipc:///x", "tcp://host", "tcp://host:x", "host:1", "tcp://:5"]
)
def test_what_is_no_address_is_not_tried(address: str) -> None:
    assert "tcp://HOST:PORT" in doctor.reach(address, 30.0)


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_something_else_that_listens_is_told(words: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answered = _answer_once(listener, words)
        problem = doctor.reach(f"tcp://127.0.0.1:{listener.getsockname()[1]}", 30.0)
        answered.join(30.0)
    assert problem == "something else listens there"


def _answer_once(listener: socket.socket, words: bytes) -> threading.Thread:
    def answer() -> None:
        conversation, _ = listener.accept()
        with conversation, suppress(OSError):  # who has heard enough hangs up
            conversation.sendall(words)
            conversation.shutdown(socket.SHUT_WR)
            while conversation.recv(100):
                pass

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


def test_who_accepts_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        problem = doctor.reach(f"tcp://127.0.0.1:{listener.getsockname()[1]}", 0.05)
    assert "no answer" in problem
