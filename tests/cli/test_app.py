"""The command `p2pgan` as a shell sees it: help, exit status, streams, and a quick start."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from p2pgan import __version__
from p2pgan.cli.app import app

SLOW = {"torch", "networkx", "matplotlib", "sklearn", "scipy", "numpy", "zmq", "rich.table"}

TINY = ["--nodes", "2", "--iterations", "20", "--set", "score.samples=50", "--no-pictures"]


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that lead there."""
    below = getattr(command, "commands", None)
    if below is None:
        yield words, command
        return
    for name, sub in below.items():
        yield from leaves(sub, (*words, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


def p2pgan(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("P2PGAN_")}
    return subprocess.run(
        [sys.executable, "-m", "p2pgan", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
        timeout=120,
    )


def test_help_lists_the_commands() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for name in ("simulate", "up", "node", "topology", "logs", "sample", "score", "data"):
        assert f"\n  {name} " in result.stdout


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"p2pgan {__version__}\n")


def test_the_contracted_commands_are_there() -> None:
    assert {
        ("simulate",),
        ("up",),
        ("sample",),
        ("score",),
        ("node", "start"),
        ("node", "status"),
        ("node", "peers"),
        ("node", "stop"),
        *(("topology", name) for name in ("new", "show", "stats", "draw", "convert")),
        *(("logs", name) for name in ("summary", "tail", "exchanges")),
        *(("data", name) for name in ("list", "download", "partition")),
    } <= COMMANDS.keys()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "-h"])
    assert result.exit_code == 0, result.output
    assert f"Example: p2pgan {' '.join(words)}" in " ".join(result.stdout.split())
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_explains_itself(words: tuple[str, ...]) -> None:
    for parameter in COMMANDS[words].params:
        assert getattr(parameter, "help", None), parameter.name


def test_help_imports_nothing_slow() -> None:
    """`p2pgan --help` answers in the blink of an eye."""
    code = (
        "import sys\n"
        "from p2pgan.cli.app import app\n"
        "try: app(['--help'], prog_name='p2pgan')\n"
        "except SystemExit: print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Usage: p2pgan" in done.stdout
    assert set(done.stderr.split()) & SLOW == set()


def test_a_run_ends_with_status_0_and_json_is_one_document(tmp_path: Path) -> None:
    done = p2pgan("simulate", *TINY, "--json", "--out", "run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "run/summary.json").read_text())


def test_a_failure_is_one_line_and_status_1(tmp_path: Path) -> None:
    done = p2pgan("simulate", "--algorithm", "gosip", "--out", "run", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("p2pgan: expected an algorithm (")
    assert done.stderr.endswith("(hint: did you mean `gossip`?)\n")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [("simulate", "--nodess", "3"), ("simulate", "--nodes", "three"), ("simulat",)]
)
def test_wrong_usage_is_status_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = p2pgan(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: p2pgan" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_saves_and_is_status_130(tmp_path: Path) -> None:
    """A real SIGINT, sent once the log shows that training goes on."""
    endless = ["--iterations", "10000000", "--exchange-every", "5"]
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pgan", "simulate", *TINY, *endless, "--out", "run", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    events = tmp_path / "run/events.jsonl"
    try:
        while not (events.is_file() and b'"round_finished"' in events.read_bytes()):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                break
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert stderr == "Stopping after this round; Ctrl-C again stops at once.\n"
    summary = json.loads(stdout)
    assert summary["interrupted"] is True
    assert summary["iterations"] == 5 * summary["rounds"] > 0
    for file in (
        "summary.json",
        "nodes/0/checkpoint.safetensors",
        "nodes/1/checkpoint.safetensors",
    ):
        assert (tmp_path / "run" / file).is_file()
    assert b'"reason":"interrupted"' in events.read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_no_room_for_the_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "p2pgan", "topology", "new", "ring"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert result.returncode == 1
    assert result.stderr.startswith("p2pgan: expected room for the output, got ")
    assert len(result.stderr.splitlines()) == 1
