"""Links, routes and refusals, without a machine around them."""

from typing import Any

import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import instructions as do
from p2pgan.protocol.core import Core, Settings
from p2pgan.protocol.greetings import REFUSED_S
from p2pgan.protocol.links import FORMER_BOOTS, MAX_FAULTS, Identity, Outward
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


# -- hello again -----------------------------------------------------------------------------------


def wait(core: Core, neighborhood: Neighborhood, seconds: float) -> list[Any]:
    """Lets time pass, with the timer as it was set; what is said when."""
    said = []
    timer_s = next((i.at_s for i in reversed(core.take()) if isinstance(i, do.SetTimer)), None)
    end_s = core.now + seconds
    while timer_s is not None and timer_s <= end_s:
        core.now, timer_s = timer_s, None
        neighborhood.greet_again()
        neighborhood.validate_all()
        for instruction in core.take():
            if isinstance(instruction, do.Send):
                said.append((core.now, type(instruction.message), instruction.peer))
            elif isinstance(instruction, do.SetTimer):
                timer_s = instruction.at_s
    core.now = end_s
    return said


def test_a_hello_without_an_answer_is_said_again_ever_more_rarely(
    core: Core, neighborhood: Neighborhood
) -> None:
    call(neighborhood, b"1", hello("B"))  # that it calls us makes no difference
    neighborhood.greet("B")
    said = wait(core, neighborhood, 64.0)
    assert said == [(at_s, Hello, "B") for at_s in (1.0, 3.0, 7.0, 15.0, 31.0, 47.0, 63.0)]
    neighborhood.greet("C")
    welcome = Welcome(clock=0, node="B", boot="theirs", round=0)
    assert neighborhood.welcomed(neighborhood.link_of("B"), welcome)
    assert wait(core, neighborhood, 2.0) == [(65.0, Hello, "C")]


@pytest.mark.parametrize("end", ["welcome", "down"])
def test_the_timer_ends_with_the_last_that_has_not_answered(
    core: Core, neighborhood: Neighborhood, end: str
) -> None:
    neighborhood.greet("B")
    core.take()
    if end == "down":
        neighborhood.lose("B")
    else:
        welcome = Welcome(clock=0, node="B", boot="theirs", round=0)
        neighborhood.welcomed(neighborhood.link_of("B"), welcome)
    assert do.CancelTimer(name="greet") in core.take()


def test_a_hello_that_comes_again_is_answered_again_and_changes_nothing(
    core: Core, neighborhood: Neighborhood
) -> None:
    """Its caller may not have got the answer."""
    answers = [
        neighborhood.answer_hello(b"1", hello("B"), round=3, is_leaving=False) for _ in range(3)
    ]
    assert answers == [neighborhood.link_of("B"), None, None]
    assert [type(message) for message in sent(core)] == [Welcome] * 3
    assert neighborhood.routes == {b"1": "B"}
    assert not neighborhood.routes_lost
    anew = neighborhood.answer_hello(b"2", hello("B"), round=3, is_leaving=False)
    assert anew is neighborhood.link_of("B")
    assert neighborhood.routes_lost


def test_whoever_was_refused_knocks_again_after_a_while(
    core: Core, neighborhood: Neighborhood
) -> None:
    """The refusal may have been of a hello that was changed on its way."""
    neighborhood.greet("B")
    refuse = Refuse(clock=1, node="B", code="run", text="")
    neighborhood.refused(neighborhood.link_of("B"), refuse)
    neighborhood.validate_all()
    assert wait(core, neighborhood, REFUSED_S) == [(REFUSED_S, Hello, "B")]
    assert neighborhood.link_of("B").outward is Outward.GREETED


def test_whoever_is_not_known_any_more_says_who_it_is(
    core: Core, neighborhood: Neighborhood
) -> None:
    neighborhood.introduce(neighborhood.link_of("B"))
    assert sent(core) == []
    connect(neighborhood, "B")
    core.take()
    neighborhood.introduce(neighborhood.link_of("B"))
    assert [type(message) for message in sent(core)] == [Hello]
    assert neighborhood.ready() == ("B",)


# -- faults ----------------------------------------------------------------------------------------


def test_a_whole_vector_makes_up_for_a_fault(neighborhood: Neighborhood) -> None:
    call(neighborhood, b"1", hello("B"))
    link = neighborhood.link_of("B")
    for _ in range(10 * MAX_FAULTS):
        neighborhood.blame(link)
        neighborhood.forgive(link)
        neighborhood.forgive(link)
    assert (link.faults, link.route) == (0, b"1")


def test_a_refusal_for_faults_ends(core: Core, neighborhood: Neighborhood) -> None:
    connect(neighborhood, "B")
    call(neighborhood, b"1", hello("B"))
    link = neighborhood.link_of("B")
    for _ in range(MAX_FAULTS):
        neighborhood.blame(link)
    assert (neighborhood.ready(), neighborhood.routes) == ((), {})
    assert wait(core, neighborhood, REFUSED_S - 1) == []
    call(neighborhood, b"1", hello("B"))
    assert [m.code for m in sent(core)] == ["faults"]
    neighborhood.greet_again()
    assert link.faults == MAX_FAULTS, "not before its time"
    core.now += 1
    neighborhood.greet_again()
    assert [type(message) for message in sent(core)] == [Hello]
    call(neighborhood, b"1", hello("B"))
    assert neighborhood.routes == {b"1": "B"}


def test_a_refusal_ends_where_our_connection_is_down_as_well(
    core: Core, neighborhood: Neighborhood
) -> None:
    call(neighborhood, b"1", hello("B"))
    for _ in range(MAX_FAULTS):
        neighborhood.blame(neighborhood.link_of("B"))
    assert wait(core, neighborhood, REFUSED_S) == []
    call(neighborhood, b"1", hello("B"))
    assert neighborhood.routes == {b"1": "B"}


# -- former boots ----------------------------------------------------------------------------------


def test_a_former_boot_is_not_heard_any_more(core: Core, neighborhood: Neighborhood) -> None:
    """Its hello was on its way for long; were it taken, the new one would be turned away."""
    call(neighborhood, b"1", hello("B", boot="first"))
    call(neighborhood, b"2", hello("B", boot="second"))
    core.take()
    call(neighborhood, b"1", hello("B", boot="first"))
    assert sent(core) == []
    assert neighborhood.routes == {b"2": "B"}
    assert neighborhood.link_of("B").boot == "second"


def test_the_address_brings_a_former_boot_back(core: Core, neighborhood: Neighborhood) -> None:
    """The one in between was somebody else."""
    call(neighborhood, b"1", hello("B", boot="true"))
    call(neighborhood, b"2", hello("B", boot="false"))
    connect(neighborhood, "B", boot="true")
    assert neighborhood.routes == {}
    core.take()
    call(neighborhood, b"1", hello("B", boot="true"))
    assert [type(message) for message in sent(core)] == [Welcome]
    call(neighborhood, b"2", hello("B", boot="false"))
    assert [m.code for m in sent(core)] == ["identity_taken"]


def test_few_former_boots_are_remembered(neighborhood: Neighborhood) -> None:
    for number in range(10 * FORMER_BOOTS):
        call(neighborhood, b"1", hello("B", boot=f"boot-{number}"))
    assert len(neighborhood.link_of("B").former) == FORMER_BOOTS
