"""`p2pgan node` as a user runs it: two terminals, and questions to them."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from p2pgan.cli.app import app
from p2pgan.daemon import control
from p2pgan.daemon.transport import Transport, reserve_ports
from p2pgan.errors import P2PGanError
from p2pgan.inspect.summary import unaccounted
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import NodeStarted, NodeStopped
from p2pgan.record.writer import RecordWriter

DEADLINE_S = 90.0
SMALL = ["--device", "cpu", "--set", "score.samples=20", "--set", "score.every=0"]


def wait_until(condition: Callable[[], Any]) -> Any:
    deadline_s = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    return value


def overlay_file(folder: Path, addresses: dict[str, str | None], name: str = "two.json") -> Path:
    nodes = [{"id": n, **({"address": a} if a else {})} for n, a in addresses.items()]
    first, second = addresses
    tables = {
        "directed": False,
        "multigraph": False,
        "graph": {"name": "two"},
        "nodes": nodes,
        "edges": [{"source": first, "target": second}],
    }
    path = folder / name
    path.write_text(json.dumps(tables))
    return path


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Path]:
    """An overlay of A and B with ports of this machine that nobody else is given meanwhile."""
    held, ports = reserve_ports(2)
    yield overlay_file(
        tmp_path, {n: f"tcp://127.0.0.1:{p}" for n, p in zip("AB", ports, strict=True)}
    )
    for reserved in held:
        reserved.close()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Opens terminals with `node start` in them; closes what is left."""
    opened: list[subprocess.Popen[str]] = []

    def open_(
        *arguments: str, program: tuple[str, ...] = ("-m", "p2pgan")
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *program, "node", "start", *SMALL, *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        opened.append(process)
        return process

    yield open_
    for process in opened:
        if process.poll() is None:
            process.kill()
        process.communicate()


def p2pgan(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["node", *arguments])


@pytest.mark.slow
def test_two_terminals_share_a_run(two: Path, terminal: Any, tmp_path: Path) -> None:
    """With nothing but the overlay file they find each other; they can be asked and stopped."""
    common = ["--overlay", str(two), "--iterations", "100000000", "--out", "run"]
    a, b = (terminal("--id", name, *common) for name in "AB")
    out = tmp_path / "run"
    wait_until(lambda: len(list(out.glob("nodes/*/events.jsonl"))) == 2)

    def mixed() -> bool:
        return all(
            '"vector_mixed"' in file.read_text() for file in out.glob("nodes/*/events.jsonl")
        )

    wait_until(mixed)
    told = p2pgan("status", "--run", str(out), "--json")
    assert told.exit_code == 0, told.output
    nodes = {node["node"]: node for node in json.loads(told.stdout)["nodes"]}
    assert set(nodes) == {"A", "B"}
    assert nodes["A"]["pid"] == a.pid
    assert nodes["A"]["phase"] in {"training", "mixing"}
    assert nodes["A"]["run"] == nodes["B"]["run"] != "run", "a name made of the settings"
    table = p2pgan("status", "--run", str(out))
    assert table.exit_code == 0
    assert "iterations" in table.stdout
    peers = p2pgan("peers", "--control", nodes["B"]["control"])
    assert peers.exit_code == 0
    assert "ready" in peers.stdout
    stopped = p2pgan("stop", "--control", nodes["A"]["control"])
    assert stopped.exit_code == 0
    assert a.wait(DEADLINE_S) == 0
    b.send_signal(signal.SIGINT)
    assert b.wait(DEADLINE_S) == 0, "stopped in good order"
    assert unaccounted(RunDirectory(out)) == []
    assert (out / "nodes" / "A" / "checkpoint.safetensors").is_file()
    gone = p2pgan("status", "--run", str(out))
    assert isinstance(gone.exception, P2PGanError)


@pytest.mark.slow
def test_a_running_node_pauses_scores_and_goes_on(two: Path, terminal: Any, tmp_path: Path) -> None:
    terminal("--id", "A", "--overlay", str(two), "--iterations", "100000000", "--out", "run",
             "--set", "daemon.wait_s=0", "--http", "0")  # fmt: skip
    out = tmp_path / "run"
    log = out / "nodes" / "A" / "events.jsonl"
    wait_until(lambda: log.is_file() and '"round_finished"' in log.read_text())

    def told(*words: str) -> dict[str, Any]:
        result = p2pgan(*words, "--run", str(out), "--json")
        assert result.exit_code == 0, result.output
        (node,) = json.loads(result.stdout)["nodes"]
        return dict(node)

    assert told("pause")["answer"] == "pauses"
    wait_until(lambda: told("status")["phase"] == "paused")
    iterations = told("status")["iterations"]
    assert told("scores")["fid"] is None
    asked = p2pgan("scores", "--now", "--run", str(out))
    assert (asked.exit_code, "ask again" in asked.stderr) == (0, True)
    wait_until(lambda: told("scores")["fid"] is not None)
    scored = p2pgan("scores", "--run", str(out))
    assert str(iterations) in scored.stdout
    assert told("checkpoint")["answer"] == "saves soon"
    assert told("resume")["answer"] == "goes on"
    wait_until(lambda: told("status")["iterations"] > iterations)
    assert not told("status")["is_degraded"]


HANGING = """
import sys, threading
from p2pgan.cli.app import main
from p2pgan.node.work import CohortWork

def hang(self, iterations):
    print("hangs", file=sys.stderr, flush=True)
    threading.Event().wait()

CohortWork.train = hang
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_amid_a_step_that_never_ends_only_who_insists_is_heard(
    two: Path, terminal: Any, tmp_path: Path, first: signal.Signals
) -> None:
    """The step comes first; a second Ctrl-C waits for nothing, and has its own status."""
    words = ["--id", "A", "--overlay", str(two), "--out", "run",
             "--set", "daemon.wait_s=0", "--set", "daemon.stalled_s=0.2"]  # fmt: skip
    process = terminal(*words, program=("-c", HANGING))
    assert process.stderr is not None
    while "hangs" not in process.stderr.readline():
        assert process.poll() is None
    log = tmp_path / "run" / "nodes" / "A" / "events.jsonl"
    wait_until(lambda: '"node_degraded"' in log.read_text())
    shown = p2pgan("status", "--run", str(tmp_path / "run"))
    assert "degraded" in shown.stdout
    process.send_signal(first)
    declined = wait_until(lambda: p2pgan("pause", "--run", str(tmp_path / "run")).exit_code)
    assert declined == 1
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 130
    assert '"aborted"' in log.read_text()


@pytest.mark.slow
def test_a_taken_id_ends_the_second_process(two: Path, terminal: Any, tmp_path: Path) -> None:
    """The second A listens elsewhere, so that nothing but B's word can stop it."""
    common = ["--overlay", str(two), "--iterations", "100000000"]
    for name in "AB":
        terminal("--id", name, *common, "--out", "run")
    log = tmp_path / "run" / "nodes" / "B" / "events.jsonl"
    wait_until(lambda: log.is_file() and '"vector_received"' in log.read_text())
    double = terminal("--id", "A", *common, "--out", "other", "--address", "tcp://127.0.0.1:*")
    _, stderr = double.communicate(timeout=DEADLINE_S)
    assert double.returncode == 1
    assert "already taken" in stderr.splitlines()[-1]
    assert "hint" in stderr.splitlines()[-1]
    assert '"identity_taken"' in log.read_text()


def refused(*arguments: str) -> str:
    """The one line of a start that fails."""
    result = CliRunner().invoke(app, ["node", "start", *SMALL, "--iterations", "10", *arguments])
    assert isinstance(result.exception, P2PGanError), result.output
    return str(result.exception)


def test_an_unknown_id_names_the_nearest(two: Path, tmp_path: Path) -> None:
    line = refused("--id", "a", "--overlay", str(two), "--out", str(tmp_path / "run"))
    assert "`A`" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["A", "B"])
def test_a_missing_address_is_named(tmp_path: Path, missing: str) -> None:
    addresses = {n: None if n == missing else "tcp://127.0.0.1:5999" for n in "AB"}
    path = overlay_file(tmp_path, addresses)
    line = refused("--id", "A", "--overlay", str(path), "--out", str(tmp_path / "run"))
    assert f"`{missing}`" in line
    assert not (tmp_path / "run").exists()


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    used = Transport("tcp://127.0.0.1:*", {})
    address = used.address
    path = overlay_file(tmp_path, {"A": address, "B": "tcp://127.0.0.1:5999"})
    line = refused("--id", "A", "--overlay", str(path), "--out", str(tmp_path / "run"))
    used.close(0)
    assert address in line
    assert "in use" in line


def test_settings_that_differ_are_refused(two: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    used = Transport("tcp://127.0.0.1:*", {})
    address = used.address
    refused("--id", "A", "--overlay", str(two), "--out", str(folder), "--address", address)
    line = refused("--id", "B", "--overlay", str(two), "--out", str(folder), "--seed", "9",
                   "--run", "same", "--address", address)  # fmt: skip
    used.close(0)
    assert "`seed = 9`, got run" in line


# -- questions ------------------------------------------------------------------------------------


@pytest.fixture
def run_of_dead_nodes(tmp_path: Path) -> Path:
    """A run of three: one ended, and two that are gone without a word."""
    from datetime import UTC, datetime

    directory = RunDirectory(tmp_path)
    directory.run_toml.write_text("")
    for node in "ABC":
        with RecordWriter(
            directory.node_events(node),
            "run",
            node,
            wall=lambda: datetime.now(UTC),
            time_s=lambda: 0.0,
        ) as writer:
            writer.write(
                NodeStarted(pid=1, address="tcp://x:1", control=f"ipc://{tmp_path}/{node}")
            )
            if node == "A":
                writer.write(NodeStopped(reason="finished", iterations=1, rounds=1))
    return tmp_path


@pytest.mark.parametrize(
    "question", ["status", "peers", "scores", "pause", "resume", "checkpoint", "stop"]
)
def test_a_node_that_is_gone_is_shown_as_such_at_once(
    run_of_dead_nodes: Path, question: str
) -> None:
    told = p2pgan(question, "--run", str(run_of_dead_nodes), "--json")
    assert told.exit_code == 1
    nodes = json.loads(told.stdout)["nodes"]
    assert [node["node"] for node in nodes] == ["B", "C"], "who ended in good order is not asked"
    assert all("one that is gone" in node["error"] for node in nodes)
    table = p2pgan(question, "--run", str(run_of_dead_nodes))
    assert table.exit_code == 1
    assert "no answer" in table.stdout


@pytest.mark.parametrize("address", ["ipc:///nowhere.sock", "tcp://127.0.0.1:1", "foo"])
def test_where_nobody_is_the_error_is_all(address: str) -> None:
    told = p2pgan("status", "--control", address)
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr.count("\n") == 1
    assert "p2pgan: expected" in told.stderr


def test_scores_are_rounded_in_the_table_alone(
    monkeypatch: pytest.MonkeyPatch, run_of_dead_nodes: Path
) -> None:
    scored = control.ScoresAnswer(node="B", round=3, iterations=60, fid=12.34567, ms=1.98765)
    monkeypatch.setattr(control, "request", lambda address, question: scored)
    words = ("scores", "--run", str(run_of_dead_nodes))
    table = p2pgan(*words).stdout
    assert "12.35" in table
    assert "1.99" in table
    assert "12.345" not in table
    assert json.loads(p2pgan(*words, "--json").stdout)["nodes"][0]["fid"] == 12.34567


def test_who_came_later_goes_on_by_joining(tmp_path: Path) -> None:
    own = tmp_path / "run" / "nodes" / "newbie"
    own.mkdir(parents=True)
    words = ("start", "--id", "newbie", "--out", str(tmp_path / "run"), "--resume")
    stranger = p2pgan(*words)
    assert "a node of the overlay" in str(stranger.exception)
    (own / "overlay.json").write_text("{}")
    told = p2pgan(*words)
    assert isinstance(told.exception, P2PGanError)
    assert told.exception.hint == "add `--join ADDRESS` of any member"


def test_a_newcomer_is_warned_of_settings_of_its_own() -> None:
    held, (port,) = reserve_ports(1)
    joins = ("start", "--join", f"tcp://127.0.0.1:{port}", "--address", "tcp://127.0.0.1:*")
    local = ("--dataset", "digits", "--device", "cpu", "--set", "daemon.wait_s=1")
    own = p2pgan(*joins, *local, "--iterations", "5", "--set", "train.loss=hinge")
    assert "but not `iterations`, `train.loss`" in own.stderr
    assert "warning" not in p2pgan(*joins, *local).stderr
    held[0].close()


@pytest.mark.parametrize("option", ["--address", "--advertise", "--join"])
def test_an_address_that_is_none_is_refused_before_anything_is_made(
    two: Path, tmp_path: Path, option: str
) -> None:
    out = tmp_path / "run"
    words = ("--id", "A", "--overlay", str(two), "--out", str(out))
    result = p2pgan("start", *words, option, "tcp://127.0.0.1:999999")
    assert isinstance(result.exception, P2PGanError)
    assert f"got `tcp://127.0.0.1:999999` - at {option} (hint: such as" in str(result.exception)
    assert not out.exists()


@pytest.mark.parametrize("arguments", [[], ["--run", "x", "--control", "tcp://127.0.0.1:1"]])
def test_one_of_run_and_control_is_needed(arguments: list[str]) -> None:
    result = p2pgan("status", *arguments)
    assert isinstance(result.exception, P2PGanError)
    assert "--run" in str(result.exception)


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    result = p2pgan("status", "--run", str(tmp_path))
    assert isinstance(result.exception, P2PGanError)


def refused_role(tmp_path: Path, *arguments: str) -> P2PGanError:
    """What `node start` of a run with a coordinator at hand says to that."""
    path = tmp_path / "hub.json"
    made = CliRunner().invoke(
        app,
        [*("topology", "new", "complete", "-n", "2", "--hub", "--force", "--out", str(path)),
         *("--address-base", "tcp://127.0.0.1:5550")],
    )  # fmt: skip
    assert made.exit_code == 0
    words = ["node", "start", *SMALL, "--algorithm", "md-gan", "--overlay", str(path), *arguments]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, P2PGanError)
    return result.exception


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "the id of a node"),
        (("--id", "7"), "a node of the overlay"),
        (("--id", "0", "--role", "coordinator"), "a node that is a coordinator"),
        (("--id", "coordinator", "--role", "worker"), "a node that is a worker"),
        (("--role", "coordinator", "--algorithm", "gossip"), "an algorithm with a coordinator"),
    ],
)
def test_a_role_fits_its_node(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    out = tmp_path / "run"
    error = refused_role(tmp_path, "--out", str(out), *arguments)
    assert error.expected.startswith(expected)
    assert not out.exists()


@pytest.mark.parametrize("node", ["coordinator", "0"])
def test_who_never_ran_cannot_go_on(tmp_path: Path, node: str) -> None:
    out = tmp_path / "run"
    refused_role(tmp_path, "--id", node, "--resume", "--out", str(out))
    assert not out.exists()
