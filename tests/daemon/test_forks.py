"""The fork server's module has to be light: it is imported before everything slow."""

import subprocess
import sys

from p2pgan.daemon.forks import PRELOADED


def test_importing_it_imports_nothing_slow() -> None:
    code = (
        "import sys, p2pgan.daemon.forks; print([m for m in ('torch', 'zmq') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_preloaded_can_be_imported() -> None:
    """The fork server swallows import errors, and every child would be slow without a word."""
    code = "; ".join(f"import {name}" for name in PRELOADED)
    subprocess.run([sys.executable, "-c", code], check=True)
