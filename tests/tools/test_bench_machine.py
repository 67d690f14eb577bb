"""The bench of machines measures what it says: whole runs, every event of them."""

import pytest

from tools.bench_machine import NODES, Ring


@pytest.mark.parametrize("neighbors", [2, 6])
def test_every_event_of_a_run_is_counted(neighbors: int) -> None:
    """Of each link: a connection, a hello, its answer, perhaps farewells. Of each round: training,
    a vector and its acknowledgment; mixing where one came. Then scores and a checkpoint."""
    ring = Ring(neighbors, rounds=5)
    cost = ring.run()
    links, rounds = NODES * neighbors, NODES * 5
    least = 3 * links + 3 * rounds + 2 * NODES
    found = [machine.statistics() for machine in ring.machines.values()]
    assert sum(peer.sent for node in found for peer in node.peers) == rounds
    assert least < cost.events <= least + 2 * links + rounds
    assert cost.handle_s > 0
    assert cost.event_us == pytest.approx(1e6 * cost.handle_s / cost.events)
