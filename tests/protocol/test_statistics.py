"""What a status page shows."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest


def test_a_snapshot_tells_the_story_and_cannot_be_changed(party_of: Callable[..., Any]) -> None:
    party = party_of([("A", "B"), ("A", "C")], iterations=20)
    party.start()
    party.settle(until=lambda: len(party.logged("vector_sent")) > 6)
    told = party.members["A"].machine.statistics()
    logged = party.members["A"].kinds("vector_sent")
    assert (told.node, told.run, told.iterations_total) == ("A", "run", 20)
    assert sum(peer.sent for peer in told.peers) == len(logged)
    assert sum(peer.sent_bytes for peer in told.peers) == 32 * len(logged)
    assert {peer.state for peer in told.peers} == {"ready"}
    assert all(peer.greeted_us for peer in told.peers)
    with pytest.raises(dataclasses.FrozenInstanceError):
        told.round = 9


def test_a_finished_run_shows_who_left(party_of: Callable[..., Any]) -> None:
    party = party_of([("A", "B")])
    party.start()
    party.settle()
    told = [member.machine.statistics() for member in party.members.values()]
    assert {statistics.phase for statistics in told} == {"closed"}
    assert all(statistics.unacknowledged == statistics.waiting == 0 for statistics in told)
    assert "left" in {statistics.peers[0].state for statistics in told}
