"""A node that crashes in virtual time goes on from its checkpoint to the bit, as a daemon does."""

from pathlib import Path

import pytest

from p2pgan.node.kept import Resumption
from p2pgan.protocol.peer import PeerMachine
from tests.sim.virtual.worlds import Played, outage

SLOW = {"1": 1e6, "2": 1e6}
"""Neighbors that are there, and take what comes, but never end a round of their own."""


@pytest.mark.parametrize("algorithm", ["standalone", "gossip", "gosgd", "push-sum", "ad-psgd"])
def test_a_crash_after_a_checkpoint_changes_nothing(tmp_path: Path, algorithm: str) -> None:
    """It draws the same neighbors, weighs the same, and makes the same networks; what was on its
    way is lost, and in push-sum the weight with it."""
    ends = []
    for name, planned in (("calm", ()), ("crash", [outage("crash", "0", 4.55, 30.0)])):
        played = Played(tmp_path / name, planned, iteration_s=SLOW, nodes=3, algorithm=algorithm)
        played.world.run(until_s=100.0)
        path = played.directory.checkpoint("0")
        found = Resumption.read(path, played.design.model)
        machine = played.world.members["0"].machine
        assert isinstance(machine, PeerMachine)
        ends.append(
            (
                found.checkpoint.iterations,
                found.checkpoint.vectors["G"].tolist(),
                found.checkpoint.vectors["D"].tolist(),
                found.sealed.draws,
                machine.weight if algorithm != "push-sum" else None,
            )
        )
    assert ends[0] == ends[1]
    assert ends[0][0] == 200
