"""Ctrl-C before anything has begun, in real processes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from p2pgan.cli.interrupts import EXIT_INTERRUPTED, ended_by_interrupt
from tests.cli.test_node import overlay_file

AMID_IMPORTS = """
import os, runpy, signal, sys

class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("as libraries do") from None

sys.meta_path.insert(0, Interrupted())
runpy.run_module("p2pgan", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("module", ["typer", "torch", "zmq", "p2pgan.daemon.process"])
def test_an_interrupt_amid_imports_ends_a_node_quietly(tmp_path: Path, module: str) -> None:
    path = overlay_file(tmp_path, {"A": "tcp://127.0.0.1:5550", "B": "tcp://127.0.0.1:5551"})
    words = ("node", "start", "--overlay", str(path), "--id", "A", "--out", str(tmp_path / "run"))
    done = subprocess.run(
        [sys.executable, "-c", AMID_IMPORTS.format(module=module), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_INTERRUPTED, "", "")


def test_what_was_set_before_is_left_or_set_again() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with ended_by_interrupt():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        with ended_by_interrupt():
            pass
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ended_by_interrupt():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
