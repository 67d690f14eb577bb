"""Many memberships together: crashes are seen, the living are not taken for dead, all agree."""

import pytest

from tests.protocol.membership.party import Edge, Party, circulant, complete, ring, star

SHAPES = {"complete": complete(8), "ring": ring(8), "star": star(8), "sparse": circulant(30)}


@pytest.fixture(params=SHAPES)
def edges(request: pytest.FixtureRequest) -> list[Edge]:
    return SHAPES[request.param]


def test_all_soon_know_each_others_boot_and_address(edges: list[Edge]) -> None:
    party = Party(edges).start().run(3.0)
    assert party.is_agreed()
    rows = next(iter(party.nodes.values())).membership.rows()
    assert [(row.boot, row.address) for row in rows] == [
        (f"{node}-0", f"tcp://{node}:1") for node in sorted(party.nodes)
    ]
    assert {row.state for row in rows} == {"alive"}


def test_nobody_is_suspected_on_a_good_day(edges: list[Edge]) -> None:
    party = Party(edges).start().run(60.0)
    assert not any(node.kinds("peer_suspected") for node in party.nodes.values())
    assert all(node.membership.health == 0 for node in party.nodes.values())


@pytest.mark.parametrize("notice", [True, False], ids=["broken", "silent"])
def test_a_crash_is_seen_by_all(edges: list[Edge], notice: bool) -> None:
    """With or without broken connections; nobody else is taken for dead."""
    party = Party(edges).start().run(20.0)
    victim = sorted(party.nodes)[2]
    crashed_s = party.now
    party.crash(victim, notice=notice)
    party.run(30.0)
    deaths = party.deaths()
    assert [who for _, _, who in deaths] == [victim] * (len(party.nodes) - 1)
    assert deaths[-1][0] - crashed_s <= 15.0
    assert party.is_agreed()
