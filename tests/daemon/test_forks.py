"""The fork server's module has to be light: it is imported before everything slow."""

import subprocess
import sys

import pytest

from p2pgan.daemon.forks import PRELOADED, UNHEARD


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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_server_is_deaf_from_its_start_and_we_are_not() -> None:
    """Ctrl-C goes to all processes of a terminal, and so does its end: amid its imports the server
    would print a traceback, and with it the nodes would go, however they wish to end."""
    code = (
        "import signal, pathlib; from multiprocessing import forkserver\n"
        "from p2pgan.daemon.forks import warm_up; warm_up()\n"
        "pid = forkserver._forkserver._forkserver_pid\n"
        "print(pathlib.Path(f'/proc/{pid}/status').read_text())\n"
        "assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    blocked = next(line for line in done.stdout.splitlines() if line.startswith("SigBlk"))
    assert all(int(blocked.split()[1], 16) & 1 << (number - 1) for number in UNHEARD)
