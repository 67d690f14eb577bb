"""Many memberships together: crashes are seen, the living are not taken for dead, all agree."""

from statistics import median

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2pgan.protocol.membership.membership import MAX_JUMP
from p2pgan.protocol.messages import (
    MAX_ADDRESS_CHARS,
    MAX_COUNT,
    MAX_NAME_CHARS,
    Ask,
    Member,
    Ping,
    Pong,
    Rumors,
)
from tests.protocol.membership.party import Edge, Party, circulant, complete, names, ring, star

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


@pytest.mark.parametrize("notice", [True, False], ids=["broken", "silent"])
def test_crashes_are_seen_in_time(notice: bool) -> None:
    """Eight nodes, by the bar for real ones: median 5 s, worst 10 s, all agree within 15 s."""
    first_s, last_s = [], []
    for seed in range(9):
        party = Party(complete(8), seed=seed).start().run(5.0 + seed / 10)
        crashed_s = party.now
        party.crash("n003", notice=notice)
        party.run(20.0)
        times = [at_s - crashed_s for at_s, _, _ in party.deaths()]
        first_s.append(times[0])
        last_s.append(times[-1])
    assert median(first_s) <= 5.0
    assert max(last_s) <= 10.0


def test_a_frozen_node_that_wakes_before_its_time_refutes() -> None:
    party = Party(complete(6)).start().run(5.0)
    party.freeze("n002")
    party.run(3.5)
    assert "suspect" in party.believed("n002")
    party.thaw("n002")
    party.run(3.0)
    assert party.believed("n002") == {"alive"}
    assert not party.deaths()
    assert party.nodes["n002"].membership.own.incarnation > 0
    recovered = [node.kinds("peer_recovered") for node in party.nodes.values() if node.log]
    assert [{"peer": "n002", "state": "suspect"}] in recovered
    assert party.is_agreed()


def test_a_broken_connection_is_looked_into_at_once() -> None:
    """Not when its turn comes."""
    party = Party(complete(8)).start().run(5.0)
    party.crash("n003", notice=True)
    party.run(2.0)
    assert party.believed("n003") == {"suspect"}
    for node in party.up():
        (suspected,) = party.nodes[node].kinds("peer_suspected")
        assert suspected["peer"] == "n003"


@pytest.mark.parametrize(("count", "looks"), [(8, True), (20, False)])
def test_who_hears_of_a_suspicion_looks_itself(count: int, looks: bool) -> None:
    """So that it is soon confirmed, or refuted; where very many could, it need not."""
    party = Party(complete(count)).start().run(5.0)
    rumored(party, "n000", Member(node="n005", state="suspect", by=("n001",)))
    assert ("n005" in party.nodes["n000"].membership._probes._soon) == looks
    party.run(3.0)
    assert party.believed("n005") == {"alive"}


def test_who_has_to_refute_trusts_itself_less() -> None:
    party = Party(complete(4)).start().run(5.0)
    for state, health in (("suspect", 1), ("left", 1)):
        own = party.nodes["n000"].membership.own
        rumored(party, "n000", replace(own, state=state))
        assert party.nodes["n000"].membership.health == health


def test_a_frozen_node_that_wakes_late_comes_back() -> None:
    """It was taken for dead, hears so, and outbids it; its identity is one."""
    party = Party(complete(6)).start().run(5.0)
    party.freeze("n002")
    party.run(20.0)
    others = [node for node in party.nodes if node != "n002"]
    assert {party.states("n002")[node] for node in others} == {"dead"}
    party.thaw("n002")
    party.run(10.0)
    assert party.believed("n002") == {"alive"}
    assert {row.state for row in party.nodes["n002"].membership.rows()} == {"alive"}
    for node in others:
        assert party.nodes[node].kinds("peer_recovered")[-1] == {"peer": "n002", "state": "dead"}
    assert party.is_agreed()


def test_confirmations_shorten_a_suspicion() -> None:
    """Three who suspect a node each on their own are named; where others could confirm it, and do
    not, the suspicion lasts longer."""
    party = Party(complete(8)).start().run(5.0)
    party.crash("n000")
    named = 0
    while not party.deaths():
        party.run(0.1)
        rows = [party.nodes[node].membership.row("n000") for node in party.up()]
        named = max(named, *(len(row.by) for row in rows if row is not None))
    assert named == 3
    lonely = Party(complete(8)).start().run(5.0)
    for peer in lonely.adjacent["n000"]:
        if peer != "n001":
            lonely.nodes[peer].membership._probes._heard_s.pop("n000")  # nobody else has met it
            lonely.cut.add(frozenset(("n000", peer)))
    lonely.crash("n000")
    lonely.run(15.0)
    assert lonely.believed("n000") == {"suspect"}
    lonely.run(15.0)
    assert lonely.believed("n000") == {"dead"}


@pytest.mark.parametrize("edges", [complete(8), circulant(16, (1, 3))], ids=["complete", "sparse"])
def test_a_partition_is_seen_and_heals(edges: list[Edge]) -> None:
    """Both halves take each other for dead; whole again within 15 s."""
    party = Party(edges).start().run(10.0)
    nodes = sorted(party.nodes)
    half = nodes[: len(nodes) // 2]
    party.partition(half)
    party.run(60.0)
    assert party.states(nodes[0])[nodes[-1]] == "dead"
    assert party.states(nodes[-1])[nodes[0]] == "dead"
    party.heal()
    party.run(15.0)
    assert all(party.believed(node) == {"alive"} for node in nodes)
    assert party.is_agreed()


def test_who_is_dead_in_a_table_alone_is_given_the_time_to_refute() -> None:
    """A member whom one side takes for dead and the other still sees is never dead for that side,
    though tables of the two meet where it is not told of first."""
    party = Party(ring(8)).start().run(10.0)
    row = party.nodes["n000"].membership.row("n004")
    assert row is not None
    dead = replace(row, state="dead")
    rumors = Rumors(clock=1, rows=(dead,), is_table=True)
    party.tell("n000", lambda m: m.hear("n001", rumors))
    assert party.states("n004")["n000"] == "suspect"
    party.run(5.0)
    assert party.believed("n004") == {"alive"}
    assert not party.deaths()


@pytest.mark.parametrize("boot", ["n003-1", "a"], ids=["later", "earlier"])
@pytest.mark.parametrize("after_s", [0.1, 30.0], ids=["at once", "late"])
def test_who_starts_again_outbids_its_former_self(boot: str, after_s: float) -> None:
    """Whatever its boot is called, and whether its end was noticed or not."""
    party = Party(complete(6)).start().run(5.0)
    party.crash("n003", notice=True)
    party.run(after_s)
    party.restart("n003", boot)
    party.run(3.0)
    rows = [party.nodes[node].membership.row("n003") for node in party.nodes]
    assert {(row.boot, row.state) for row in rows if row is not None} == {(boot, "alive")}
    assert party.is_agreed()


def test_the_former_self_is_refused() -> None:
    party = Party(complete(4)).start().run(5.0)
    former = party.nodes["n003"].membership.own
    party.crash("n003", notice=True)
    party.run(10.0)
    party.restart("n003", "zzz")
    party.run(5.0)
    assert party.tell("n000", lambda m: m.met(former)) is False
    row = party.nodes["n000"].membership.row("n003")
    assert row is not None
    assert (row.boot, row.state) == ("zzz", "alive")


def test_who_leaves_is_no_failure(edges: list[Edge]) -> None:
    party = Party(edges).start().run(10.0)
    leaver = sorted(party.nodes)[1]
    party.tell(leaver, lambda m: m.leave())
    party.run(1.0)
    party.tell(leaver, lambda m: m.stop())
    party.crash(leaver, notice=True)
    party.run(30.0)
    assert party.believed(leaver) == {"left"}
    assert not party.deaths()
    assert not any(node.kinds("peer_suspected") for node in party.nodes.values())


def test_who_has_left_may_come_back_as_another_process() -> None:
    party = Party(complete(4)).start().run(5.0)
    party.tell("n001", lambda m: m.leave())
    party.run(1.0)
    party.crash("n001", notice=True)
    party.run(5.0)
    party.restart("n001", "again")
    party.run(3.0)
    assert party.believed("n001") == {"alive"}


def test_a_slow_link_is_no_death() -> None:
    """Answers take four seconds, eight times the timeout; it is suspected at most, and refutes."""
    party = Party(complete(5)).start()
    party.run(5.0)
    party.slow["n004"] = 1.5
    party.run(300.0)
    assert not party.deaths()
    before = sum(len(node.kinds("peer_suspected")) for node in party.nodes.values())
    party.run(60.0)
    after = sum(len(node.kinds("peer_suspected")) for node in party.nodes.values())
    assert after == before, "answers are known to be slow by now"


def test_any_word_is_a_sign_of_life() -> None:
    """Answers do not come, since a vector is before them; its chunks do."""
    party = Party(complete(2)).start().run(5.0)
    party.freeze("n001")
    for _ in range(60):
        party.run(0.2)
        party.tell("n000", lambda m: m.heard("n001"))
    assert not party.nodes["n000"].kinds("peer_suspected")
    party.run(5.0)
    assert party.nodes["n000"].kinds("peer_suspected") == [{"peer": "n001", "by": "n000"}]


@pytest.mark.parametrize("seed", range(3))
def test_where_a_fifth_of_all_messages_is_lost_nobody_dies(seed: int) -> None:
    party = Party(complete(8), seed=seed, loss=0.2).start().run(300.0)
    assert not party.deaths()
    assert any(node.kinds("peer_recovered") for node in party.nodes.values())


@pytest.mark.parametrize("shape", ["ring", "star"])
def test_news_goes_all_around(shape: str) -> None:
    """In the time of a few messages, not of probes."""
    party = Party({"ring": ring, "star": star}[shape](16)).start().run(10.0)
    party.tell("n005", lambda m: m.leave())
    party.run(1.5)
    assert party.believed("n005") == {"left"}


def test_tables_repair_what_rumors_lost() -> None:
    """Everything said for a while is lost but probes of one link; the tables meet there."""
    party = Party(ring(6)).start().run(10.0)
    party.loss = 1.0
    party.tell("n000", lambda m: m._put(replace(m.own, address="tcp://elsewhere:1")))
    party.run(0.3)
    party.loss = 0.0
    assert not party.is_agreed()
    party.run(8.0)
    assert party.is_agreed()


def test_tables_of_many_members_go_in_parts() -> None:
    """A node that knows the names only gets all the rest from its neighbor, a few at a time."""
    party = Party([*complete(40), ("n000", "new")])
    party.start(*names(40)).run(5.0)
    party.start("new").run(12.0)
    assert party.is_agreed()


def test_hung_trainers_show() -> None:
    party = Party(ring(4)).start().run(5.0)
    party.tell("n001", lambda m: m.set_degraded(True))
    party.run(5.0)
    assert party.nodes["n000"].membership.degraded == {"n001"}
    assert party.nodes["n003"].membership.degraded == frozenset()
    party.tell("n001", lambda m: m.set_degraded(False))
    party.run(5.0)
    assert party.nodes["n000"].kinds("peer_degraded") == [
        {"peer": "n001", "is_degraded": True},
        {"peer": "n001", "is_degraded": False},
    ]


def test_an_overloaded_observer_suspects_itself() -> None:
    """It hears nothing of anybody: its waits grow, and it kills nobody before it hears again."""
    party = Party(complete(6)).start().run(5.0)
    for node in list(party.nodes)[1:]:
        party.slow[node] = 0.0
    party.loss = 1.0
    party.run(4.0)
    assert party.nodes["n000"].membership.health > 0
    party.loss = 0.0
    party.run(60.0)
    assert party.nodes["n000"].membership.health == 0
    assert all(party.believed(node) == {"alive"} for node in party.nodes)


def test_who_was_never_met_is_not_missed() -> None:
    """The last to start may take its time."""
    party = Party(complete(4)).start("n000", "n001", "n002")
    party.run(60.0)
    assert party.believed("n003") == {"alive"}
    party.start("n003").run(3.0)
    assert party.is_agreed()


def test_a_stranger_with_a_place_comes_and_one_without_does_not() -> None:
    party = Party(ring(4)).start().run(5.0)
    for node, since in (("new", 1), ("none", 0)):
        row = Member(node=node, boot="b", address="tcp://new:1", since=since)
        is_in = party.tell("n000", lambda m: m.met(row))  # noqa: B023
        assert is_in == bool(since)
    party.run(3.0)
    assert party.believed("new") == {"alive"}
    assert party.believed("none") == {"unknown"}
    assert party.nodes["n000"].membership.refused == 1


# -- hostile rows ----------------------------------------------------------------------------------


def rumored(party: Party, at: str, *rows: Member) -> None:
    rumors = Rumors(clock=1, rows=rows)
    party.tell(at, lambda m: m.hear("n001", rumors))


def test_no_incarnation_is_raised_far() -> None:
    """Near the bound its member could not outbid it. Two jumps at once are caught up with."""
    party = Party(ring(4)).start().run(5.0)
    jumps = [Member(node="n002", incarnation=MAX_COUNT, state="dead")] * 2
    rumored(party, "n000", *jumps, Member(node="n000", incarnation=MAX_COUNT, state="dead"))
    party.run(10.0)
    assert party.believed("n002") == party.believed("n000") == {"alive"}
    assert party.nodes["n002"].membership.own.incarnation == 2 * MAX_JUMP + 1
    assert party.nodes["n000"].membership.own.incarnation == MAX_JUMP + 1
    assert party.is_agreed()


def test_strangers_fill_no_table_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pgan.protocol.membership.membership.MAX_MEMBERS", 20)
    party = Party(ring(3)).start().run(5.0)
    for number in range(25):
        rumored(party, "n000", Member(node=f"s{number}", since=1))
    assert len(party.nodes["n000"].membership.rows()) == 20
    assert party.nodes["n000"].membership.refused == 5 + 3


def test_the_longest_texts_fit_a_message() -> None:
    """Or a hostile row would break whoever tells it on."""
    party = Party(ring(3)).start().run(5.0)
    for number in range(12):
        long = "\U0001f600" * (MAX_NAME_CHARS - 2) + f"{number:02}"
        row = Member(
            node=long,
            boot=long,
            address=f"tcp://{'x' * (MAX_ADDRESS_CHARS - 8)}:1",
            since=1,
            state="suspect",
            by=tuple(long[:-1] + last for last in "abc"),
        )
        rumored(party, "n000", row)
    party.run(2.0)
    assert len(party.nodes["n002"].membership.rows()) == 3 + 12


def test_what_a_stranger_says_is_not_taken() -> None:
    party = Party(ring(3)).start().run(5.0)
    dead = Rumors(clock=1, rows=(Member(node="n002", state="dead"),))
    party.tell("n000", lambda m: m.hear("stranger", dead))
    assert party.states("n002")["n000"] == "alive"


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_nothing_that_is_said_breaks_a_member(data: st.DataObject) -> None:
    party = Party(complete(4)).start().run(2.0)
    names_ = st.sampled_from(["n000", "n001", "n002", "n003", "new", "other"])
    digests = st.binary(max_size=8)
    counts = st.integers(0, 20) | st.integers(0, MAX_COUNT)
    some = st.lists(
        st.builds(
            Member,
            node=names_,
            boot=st.sampled_from(["", "b", "n001-0"]),
            incarnation=counts,
            since=st.integers(0, 3),
            state=st.sampled_from(["alive", "suspect", "dead", "left"]),
            by=st.lists(names_, max_size=3).map(tuple),
        ),
        max_size=8,
    ).map(tuple)
    clocks = st.just(1)
    said = st.one_of(
        st.builds(Ping, clock=clocks, number=counts, digest=digests, rumors=some),
        st.builds(
            Pong,
            clock=clocks,
            number=counts,
            subject=st.just("") | names_,
            is_there=st.booleans(),
            digest=digests,
            rumors=some,
        ),
        st.builds(Ask, clock=clocks, number=counts, subject=names_, rumors=some),
        st.builds(
            Rumors, clock=clocks, rows=some, is_table=st.booleans(), wants_table=st.booleans()
        ),
    )
    for _ in range(data.draw(st.integers(1, 15))):
        message = data.draw(said)
        party.tell("n000", lambda m: m.hear("n001", message))  # noqa: B023
        party.run(0.3)
    party.run(30.0)
    assert party.is_agreed()
    assert {party.nodes["n000"].membership.row(node).state for node in party.nodes} == {"alive"}  # type: ignore[union-attr]


# -- any order of faults ---------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), seed=st.integers(0, 999), shape=st.sampled_from(["complete", "ring"]))
def test_after_the_last_fault_all_views_become_the_truth(
    data: st.DataObject, seed: int, shape: str
) -> None:
    party = Party({"complete": complete, "ring": ring}[shape](6), seed=seed).start().run(3.0)
    nodes = sorted(party.nodes)
    for number in range(data.draw(st.integers(1, 8))):
        node = data.draw(st.sampled_from(nodes))
        fault = data.draw(st.sampled_from(["crash", "freeze", "cut", "loss", "restart", "heal"]))
        if fault == "crash" and len(party.up()) > 2:
            party.crash(node, notice=data.draw(st.booleans()))
        elif fault == "freeze" and node not in party.frozen and node in party.up():
            party.freeze(node)
        elif fault == "cut" and not party.cut:
            party.partition(nodes[: data.draw(st.integers(1, 5))])
        elif fault == "loss":
            party.loss = data.draw(st.sampled_from([0.0, 0.2, 0.5]))
        elif fault == "restart" and node not in party.up():
            party.restart(node, f"{node}-{number + 1}")
        elif fault == "heal":
            party.heal()
        party.run(data.draw(st.floats(0.1, 15.0)))
    party.loss = 0.0
    for node in [*party.frozen]:
        party.thaw(node)
    for number, node in enumerate(nodes):
        if node not in party.up():
            party.restart(node, f"{node}-last-{number}")
    party.heal()
    party.run(45.0)
    assert all(party.believed(node) == {"alive"} for node in nodes)
    assert party.is_agreed()


# -- load ------------------------------------------------------------------------------------------


def test_what_a_member_says_does_not_grow_with_their_number() -> None:
    """On a quiet day, at the same number of neighbors: a probe and an answer in each interval."""
    for count in (20, 80):
        party = Party(circulant(count)).start().run(20.0)
        sent, rows = party.sent.total(), party.rows_sent.total()
        party.run(20.0)
        assert party.sent.total() - sent == pytest.approx(2.0 * count * 20.0, rel=0.06)
        assert party.rows_sent.total() == rows


def test_news_is_told_a_few_times_for_each_member() -> None:
    """Not for each link, where all are linked with all; now and then a table goes as well."""
    party = Party(complete(30)).start().run(20.0)
    rows = party.rows_sent.total()
    party.tell("n000", lambda m: m.leave())
    party.run(3.0)
    assert party.believed("n000") == {"left"}
    assert party.rows_sent.total() - rows <= 30 * 8
