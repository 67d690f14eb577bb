"""`p2pgan up` as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from p2pgan.inspect.summary import unaccounted
from p2pgan.record.rundir import RunDirectory, records_of
from p2pgan.record.schema import NodeStarted, NodeStopped

SMALL = ["--device", "cpu", "--set", "score.samples=20", "--set", "score.every=0"]
DEADLINE_S = 90.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "p2pgan", "up", *SMALL, *arguments]


def wait_until(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def is_training(out: Path, nodes: int) -> bool:
    files = list(out.glob("nodes/*/events.jsonl"))
    return sum('"round_finished"' in file.read_text() for file in files) == nodes


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_one_json_document_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    arguments = ["-n", "3", "--algorithm", "gossip-ind", "--iterations", "60", "--json"]
    done = subprocess.run(
        command(*arguments, "--out", "run"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["algorithm"], summary["nodes"], summary["iterations"]) == ("gossip-ind", 3, 60)
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert unaccounted(RunDirectory(tmp_path / "run")) == []
    assert (tmp_path / "run" / "pictures" / "samples.png").is_file()
    sent = [r for r in records_of(RunDirectory(tmp_path / "run")) if r.kind == "vector_sent"]
    assert {tuple(r.body.nets) for r in sent} == {("G",), ("D",)}  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("to_group", [False, True], ids=["kill -INT", "Ctrl-C in a terminal"])
def test_ctrl_c_stops_all_saves_all_and_leaves_nobody(tmp_path: Path, to_group: bool) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        command("-n", "3", "--iterations", "100000000", "--out", str(out), "--no-pictures"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: is_training(out, 3))
        if to_group:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=DEADLINE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    directory = RunDirectory(out)
    assert unaccounted(directory) == []
    started = [r.body.pid for r in records_of(directory) if isinstance(r.body, NodeStarted)]
    stopped = [r for r in records_of(directory) if isinstance(r.body, NodeStopped)]
    assert len(started) == len(stopped) == 3
    assert not any(is_running(pid) for pid in started if pid is not None)
    assert all(directory.checkpoint(str(node)).is_file() for node in range(3))
    assert directory.read_summary()["interrupted"] is True


@pytest.mark.slow
def test_nodes_do_not_outlive_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        command("-n", "2", "--iterations", "100000000", "--out", str(out)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: is_training(out, 2))
    finally:
        process.kill()
        process.wait()
    directory = RunDirectory(out)
    pids = [r.body.pid for r in records_of(directory) if isinstance(r.body, NodeStarted)]
    wait_until(lambda: not any(is_running(pid) for pid in pids if pid is not None))
    assert unaccounted(directory) == []
    assert all(directory.checkpoint(str(node)).is_file() for node in range(2))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--algorithm", "centralised"], "simulate --algorithm centralised"),
        (["--algorithm", "gosip"], "did you mean `gossip`"),
        (["-n", "0"], "at least 1"),
        (["--restart", "on-failure", "--restart-max", "0"], "--restart-max"),
        (["--resume", "there", "--out", "here"], "one of `--resume` and `--out`"),
        (["--resume", "nowhere"], "a run directory, with a `run.toml`"),
    ],
)
def test_what_cannot_be_run_is_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = subprocess.run(
        command(*arguments), cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
