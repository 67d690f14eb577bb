"""`p2pgan doctor` as a user runs it."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from p2pgan.cli.app import app
from p2pgan.daemon.transport import Transport
from p2pgan.errors import P2PGanError
from tests.cli.test_node import overlay_file


def run_doctor(tmp_path: Path, *words: str) -> Any:
    return CliRunner().invoke(app, ["doctor", "--out", str(tmp_path), *words])


def test_a_machine_that_is_fit(tmp_path: Path) -> None:
    result = run_doctor(tmp_path)
    assert result.exit_code == 0, result.output
    assert "libzmq" in result.stdout
    assert "failed" not in result.stdout


def test_ports_of_a_node_and_its_neighbor(tmp_path: Path) -> None:
    """A neighbor that is not there may not have started yet; a port that is taken is a failure."""
    there, own = (Transport("tcp://127.0.0.1:*", {}) for _ in range(2))
    address = own.address
    own.close(0)
    path = overlay_file(tmp_path, {"A": address, "B": there.address})
    words = ("--overlay", str(path), "--id", "A", "--json")
    good = run_doctor(tmp_path, *words)
    there.close(0)
    alone = run_doctor(tmp_path, *words, "--listen", "0.01")
    assert (good.exit_code, alone.exit_code) == (0, 0), good.output
    assert findings(good)["neighbor B"]["verdict"] == "ok"
    found = findings(alone)
    assert found["address of A"]["verdict"] == "ok"
    assert found["neighbor B"]["verdict"] == "warning"
    assert "refused" in found["neighbor B"]["found"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(address.rpartition(":")[2])))
        bad = run_doctor(tmp_path, *words)
    assert bad.exit_code == 1
    assert findings(bad)["address of A"]["verdict"] == "failed"


def findings(result: Any) -> dict[str, dict[str, str]]:
    return {one["check"]: one for one in json.loads(result.stdout)["findings"]}


def test_who_listens_needs_a_place(tmp_path: Path) -> None:
    result = run_doctor(tmp_path, "--listen", "3")
    assert isinstance(result.exception, P2PGanError)
    assert "`--overlay FILE` and `--id NODE`" in str(result.exception)


@pytest.mark.parametrize("words", [("--id", "A"), ("--overlay", "x.json")])
def test_a_place_is_an_overlay_and_an_id(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = run_doctor(tmp_path, *words)
    assert isinstance(result.exception, P2PGanError)
    assert "together" in str(result.exception)
