"""Links follow members: who comes is joined, who goes is mended around, who is back is let in."""

import msgspec
import pytest

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.messages import (
    PROTOCOL_VERSION,
    Fetch,
    Hello,
    Inquire,
    Member,
    Ping,
    Refuse,
    Rumors,
)
from tests.protocol.company import Company, address

RING = [("A", "B"), ("B", "C"), ("C", "D"), ("D", "E"), ("E", "A")]
NODES = {"A", "B", "C", "D", "E"}


@pytest.fixture
def ring() -> Company:
    company = Company(RING)
    company.start()
    company.run(5.0)
    assert company.neighbors("A") == {"B", "E"}
    return company


def test_the_overlay_is_mended_around_who_dies(ring: Company) -> None:
    ring.kill("C")
    ring.run(10.0)
    assert set(ring.states(of="C").values()) == {"dead"}
    assert ring.neighbors("B") == {"A", "D"}
    assert ring.neighbors("D") == {"B", "E"}
    for node in ("A", "B", "D", "E"):
        assert ring.members[node].kinds("overlay_changed")[-1] == {
            "nodes": 4, "edges": 4, "spectral_gap": None,
        }  # fmt: skip
    assert ("B", {"peer": "C", "reason": "silent"}) in ring.logged("peer_lost")


def test_who_leaves_is_missed_at_once_and_nobody_suspects_it(ring: Company) -> None:
    ring.tell("C", ev.StopRequested())
    ring.run(2.0)
    assert ring.members["C"].close is not None
    assert set(ring.states(of="C").values()) == {"left"}
    assert ring.neighbors("B") == {"A", "D"}
    assert not ring.logged("peer_suspected")
    assert ("B", "C") not in ring.connections, "nobody knocks at the door of who has left"


def test_who_starts_again_takes_its_place(ring: Company) -> None:
    ring.kill("C")
    ring.run(10.0)
    ring.add(
        "C", ["B", "D"], around=ring.members["C"].settings.around, iterations=200, boot="C-again"
    )
    ring.start("C")
    ring.run(8.0)
    assert set(ring.states(of="C").values()) == {"alive"}
    assert ring.neighbors("B") == {"A", "C"}
    assert ring.neighbors("C") == {"B", "D"}
    assert ("B", "D") not in ring.connections, "an edge that is needed no more is given up"


def test_who_freezes_is_noticed_and_comes_back_as_itself(ring: Company) -> None:
    ring.frozen.add("C")
    ring.run(12.0)
    assert {state for node, state in ring.states(of="C").items() if node != "C"} == {"dead"}
    ring.frozen.clear()
    ring.run(10.0)
    assert set(ring.states(of="C").values()) == {"alive"}
    boots = {
        row.boot for m in ring.members.values() for row in m.machine.members() if row.node == "C"
    }
    assert boots == {"C-boot-of-this-test"}
    assert ring.neighbors("B") == {"A", "C"}
    assert not [fields for _, fields in ring.logged("peer_refused")]


def test_who_comes_is_joined_and_given_networks(ring: Company) -> None:
    ring.come("F", "A")
    ring.run(8.0)
    assert len(ring.neighbors("F")) == 2
    assert {*ring.states(of="F")} == NODES | {"F"}
    gifts = [f for _, f in ring.logged("vector_sent") if f.get("purpose") == "gift"]
    assert len(gifts) == 1
    newcomer, giver = ring.members["F"], gifts[0]
    assert giver["peer"] == "F"
    assert newcomer.machine.statistics().iterations > 2 * giver["round"]
    assert newcomer.kinds("vector_mixed")[0]["exchange"] == giver["exchange"]


def test_newcomers_join_each_other_and_nobody_moves(ring: Company) -> None:
    ring.come("F", "A")
    ring.run(6.0)
    before = ring.neighbors("F")
    ring.come("G", "F")
    ring.run(6.0)
    assert before <= ring.neighbors("F") <= before | {"G"}
    assert {*ring.states(of="G")} == NODES | {"F", "G"}
    ring.kill("A")
    ring.run(12.0)
    assert set(ring.states(of="A").values()) == {"dead"}


def test_a_newcomer_that_nobody_gives_anything_begins_by_itself() -> None:
    company = Company([("A", "B")], iterations=2000)
    company.start()
    company.tell("A", ev.StopRequested())
    company.tell("B", ev.StopRequested())
    company.come("C", "A", wait_s=12.0)
    company.run(30.0)
    assert company.members["C"].machine.statistics().iterations > 0


def test_partitions_heal() -> None:
    company = Company([("A", "B"), ("B", "C"), ("C", "D"), ("D", "A"), ("A", "C"), ("B", "D")])
    company.start()
    company.run(5.0)
    company.part({"A", "B"})
    company.run(15.0)
    assert {node for node, state in company.states(of="D").items() if state == "dead"} == {"A", "B"}
    company.side = set()
    company.run(10.0)
    for node in "ABCD":
        assert set(company.states(of=node).values()) == {"alive"}
        assert len(company.neighbors(node)) == 3


def test_a_run_that_nobody_can_come_to_says_so(ring: Company) -> None:
    told = ring.members["A"].machine.handle(
        ev.Received(route=b"stranger", message=Inquire(clock=0, protocol=5)), ring.now
    )
    assert [type(i.message) for i in told if isinstance(i, do.Reply)] == [Refuse]


def test_a_stranger_that_was_not_welcomed_changes_nothing(ring: Company) -> None:
    before = [*ring.members["A"].machine.members()]
    ping = Ping(clock=1, number=1, digest=b"")
    assert not ring.members["A"].machine.handle(
        ev.Received(route=b"stranger", message=ping), ring.now
    )
    assert [*ring.members["A"].machine.members()] == before


def test_addresses_travel(ring: Company) -> None:
    ring.come("F", "A")
    ring.run(6.0)
    for member in ring.members.values():
        assert {row.node: row.address for row in member.machine.members()}["F"] == address("F")


def test_who_never_starts_is_mended_around_and_let_in_when_it_does() -> None:
    company = Company(RING)
    company.start("A", "B", "D", "E")
    company.run(20.0)
    assert company.states(of="C")["A"] == "alive", "it may still start"
    company.run(45.0)
    assert {state for node, state in company.states(of="C").items() if node != "C"} == {"dead"}
    assert company.neighbors("B") == {"A", "D"}
    company.start("C")
    company.run(10.0)
    assert set(company.states(of="C").values()) == {"alive"}
    assert company.neighbors("B") == {"A", "C"}


def test_a_second_process_of_that_name_takes_nothing_over(ring: Company) -> None:
    """It says so to a neighbor and to others, wherever it is and whatever its boot."""
    genuine = ring.members["C"]
    before = {pair: ring.connections[pair] for pair in ring.connections if "C" in pair}
    for node in "AB":
        hello = Hello(
            clock=1,
            protocol=PROTOCOL_VERSION,
            run="run",
            node="C",
            architecture="same",
            boot="zz-another",
            address="tcp://elsewhere.example:1",
        )
        ring.tell(node, ev.Received(route=b"intruder", message=hello))
    ring.run(10.0)
    assert genuine.close is None
    assert ring.neighbors("C") == {"B", "D"}
    assert {pair: ring.connections.get(pair) for pair in before} == before
    rows = [row for row in ring.members["B"].machine.members() if row.node == "C"]
    assert (rows[0].boot, rows[0].state) == (genuine.settings.identity.boot, "alive")


def test_who_has_moved_while_it_was_gone_is_called_where_it_is(ring: Company) -> None:
    ring.kill("C")
    ring.run(10.0)
    moved = "tcp://elsewhere.example:1"
    settings = ring.members["C"].settings.around
    assert settings is not None
    rows = [
        msgspec.structs.replace(row, address=moved) if row.node == "C" else row
        for row in settings.membership.members
    ]
    dialled: list[str] = []
    obey = ring._obey

    def noted(node: str, member: object, instruction: do.Instruction) -> None:
        if isinstance(instruction, do.Dial) and instruction.peer == "C":
            dialled.append(instruction.address)
        obey(node, member, instruction)  # type: ignore[arg-type]

    ring._obey = noted  # type: ignore[method-assign]
    ring.add("C", ["B", "D"], around=ring.around(rows), iterations=200, boot="C-again")
    ring.start("C")
    ring.run(10.0)
    assert set(dialled) == {moved}
    assert ring.neighbors("B") == {"A", "C"}


def test_a_newcomer_that_is_stopped_before_it_has_anything_just_leaves(ring: Company) -> None:
    ring.come("F", "A")
    ring.settle(until=lambda: bool(ring.members["F"].kinds("peer_joined")))
    ring.tell("F", ev.StopRequested())
    ring.members["F"].done_s = ring.now + 8.0  # its saving takes long, and a gift comes meanwhile
    ring.run(15.0)
    assert ring.members["F"].close is not None


def test_networks_are_given_once_however_often_they_are_asked_for(ring: Company) -> None:
    route = ring.connections["B", "A"].route
    for _ in range(50):
        ring.tell("A", ev.Received(route=route, message=Fetch(clock=1)))
    assert len([f for _, f in ring.logged("vector_sent") if f.get("purpose") == "gift"]) == 1


def test_nobody_uses_up_the_places_of_those_who_come(ring: Company) -> None:
    route = ring.connections["B", "A"].route
    far = Member(node="ghost", address=address("ghost"), since=2**62)
    ring.tell("A", ev.Received(route=route, message=Rumors(clock=1, rows=(far,))))
    places = [row.since for row in ring.members["A"].machine.members()]
    assert max(places) <= 2**13
