"""Links, routes and refusals, without a machine around them."""

from typing import Any

import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import instructions as do
from p2pgan.protocol.core import Core, Settings
from p2pgan.protocol.links import MAX_FAULTS, Identity
from p2pgan.protocol.messages import PROTOCOL_VERSION, Hello, Refuse, Welcome
from p2pgan.protocol.neighborhood import MAX_REFUSALS_RECORDED, Neighborhood


@pytest.fixture
def core() -> Core:
    settings = Settings(
        identity=Identity(node="A", run="run", architecture="same", boot="boot"),
        neighbors=("B", "C"),
        groups=(("G",),),
        net_bytes={"G": 8, "D": 4},
        iterations=1,
        exchange_every=1,
        draw=lambda ready: ready,
    )
    return Core(settings)


@pytest.fixture
def neighborhood(core: Core) -> Neighborhood:
    return Neighborhood(core)


def hello(node: str, boot: str = "theirs", run: str = "run") -> Hello:
    return Hello(
        clock=0, protocol=PROTOCOL_VERSION, run=run, node=node, architecture="same", boot=boot
    )


def call(neighborhood: Neighborhood, route: bytes, message: Hello) -> None:
    neighborhood.answer_hello(route, message, round=0, is_leaving=False)
    neighborhood.validate_all()


def connect(neighborhood: Neighborhood, peer: str, boot: str = "theirs") -> None:
    neighborhood.greet(peer)
    welcome = Welcome(clock=0, node=peer, boot=boot, round=2)
    neighborhood.welcomed(neighborhood.link_of(peer), welcome)
    neighborhood.validate_all()


def sent(core: Core) -> list[Any]:
    return [i.message for i in core.take() if isinstance(i, do.Send | do.Reply)]


def test_ready_peers_are_sorted_and_those_alone(core: Core, neighborhood: Neighborhood) -> None:
    connect(neighborhood, "C")
    neighborhood.greet("B")
    assert neighborhood.ready() == ("C",)
    connect(neighborhood, "B")
    assert neighborhood.ready() == ("B", "C")
    assert neighborhood.link_of("C").round == 2
    neighborhood.lose("B")
    assert neighborhood.ready() == ("C",)


def test_a_caller_is_known_by_its_route_alone(neighborhood: Neighborhood) -> None:
    assert neighborhood.caller(b"1") is None
    call(neighborhood, b"1", hello("B"))
    link = neighborhood.caller(b"1")
    assert link is not None
    assert link.peer == "B"
    call(neighborhood, b"2", hello("B"))
    assert neighborhood.caller(b"1") is None
    assert neighborhood.strangers == 2


def test_a_caller_that_becomes_another_gives_up_what_it_was(neighborhood: Neighborhood) -> None:
    call(neighborhood, b"1", hello("B"))
    call(neighborhood, b"1", hello("C"))
    assert neighborhood.routes == {b"1": "C"}
    assert neighborhood.link_of("B").route is None


def test_a_welcome_without_a_hello_changes_nothing(core: Core, neighborhood: Neighborhood) -> None:
    welcome = Welcome(clock=0, node="B", boot="x", round=0)
    neighborhood.welcomed(neighborhood.link_of("B"), welcome)
    assert neighborhood.ready() == ()
    assert core.take() == []


def test_a_refused_peer_stays_refused_when_it_calls_back(
    core: Core, neighborhood: Neighborhood
) -> None:
    connect(neighborhood, "B")
    call(neighborhood, b"1", hello("B"))
    for _ in range(2 * MAX_FAULTS):
        neighborhood.blame(neighborhood.link_of("B"))
        neighborhood.validate_all()
    assert [m.code for m in sent(core) if isinstance(m, Refuse)] == ["faults"]
    neighborhood.lose("B")
    connect(neighborhood, "B")
    assert neighborhood.ready() == ()
    neighborhood.lose("B")
    connect(neighborhood, "B", boot="restarted")
    assert neighborhood.ready() == ("B",)


def test_a_knocking_stranger_does_not_fill_the_log(core: Core, neighborhood: Neighborhood) -> None:
    for i in range(3 * MAX_REFUSALS_RECORDED):
        call(neighborhood, b"%d" % i, hello(f"stranger-{i}"))
        call(neighborhood, b"%d" % i, hello(f"stranger-{i}"))
    records = [i for i in core.take() if isinstance(i, do.Record)]
    assert len(records) == MAX_REFUSALS_RECORDED
    assert neighborhood.refusals == 6 * MAX_REFUSALS_RECORDED
    assert neighborhood.routes == {}


def test_a_lost_connection_is_recorded_once_and_only_if_it_was_ready(
    core: Core, neighborhood: Neighborhood
) -> None:
    neighborhood.greet("B")
    neighborhood.lose("B")
    neighborhood.lose("B")
    assert not [i for i in core.take() if isinstance(i, do.Record)]
    connect(neighborhood, "B")
    core.take()
    neighborhood.lose("B")
    neighborhood.lose("B")
    (record,) = core.take()
    assert isinstance(record, do.Record)
    assert record.fields == {"peer": "B", "reason": "disconnected"}


def test_our_shell_names_neighbors_only(neighborhood: Neighborhood) -> None:
    with pytest.raises(LocalProtocolError):
        neighborhood.greet("Z")
