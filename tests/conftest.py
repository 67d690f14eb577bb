"""What every test needs: torch in the same surroundings as under the command line."""

import os
import signal

from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded; see p2pgan.cli.app

# A slow machine is no failure, and the same examples everywhere make a failure reproducible.
settings.register_profile("p2pgan", deadline=None, derandomize=True)
settings.load_profile("p2pgan")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell leaves it to what it starts in the background; tests send it to see what it does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
