"""What every test needs: torch in the same surroundings as under the command line."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded; see p2pgan.cli.app
