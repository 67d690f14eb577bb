"""The last step between machines, without sockets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.mixing.agreement import WORST
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.last_step import PART_BYTES, _parts
from p2pgan.protocol.links import MAX_FAULTS
from p2pgan.protocol.messages import MAX_LISTED, MAX_SCORE, Message, Trained, Votes, Waits
from p2pgan.protocol.wire import MAX_HEADER_BYTES, decode, encode

PAIR = [("A", "B")]
RING = [("A", "B"), ("B", "C"), ("C", "D"), ("D", "A")]
PATH = [("A", "B"), ("B", "C"), ("C", "D")]
COMPLETE = [(a, b) for i, a in enumerate("ABCDE") for b in "ABCDE"[i + 1 :]]


def pairs(party: Any) -> list[list[float]]:
    return [np.concatenate([m.vector["G"], m.vector["D"]]).tolist() for m in party.members.values()]


@pytest.mark.parametrize("edges", [PAIR, RING, PATH, COMPLETE], ids=["pair", "ring", "path", "all"])
@pytest.mark.parametrize("groups", [(("G", "D"),), (("G",), ("D",)), ()], ids=["both", "each", "-"])
@pytest.mark.parametrize("seed", range(3))
def test_all_adopt_one_pair(
    party_of: Callable[..., Any], last_step: Any, edges: Any, groups: Any, seed: int
) -> None:
    step = last_step("agree", edges, rounds=12)
    party = party_of(edges, groups=groups, seed=seed, last_step=step)
    before = dict(zip(party.members, pairs(party), strict=True))
    party.start()
    party.settle()
    party.check_closed()
    party.check_accounts()
    agreed = [fields for _, fields in party.logged("agreed")]
    assert len(agreed) == len(party.members)
    (origin,) = {fields["origin"] for fields in agreed}
    assert pairs(party) == [before[origin]] * len(party.members)
    for member in party.members.values():
        assert member.kinds("node_stopped")[0]["reason"] == "finished"
        assert [fields["after"] for fields in member.kinds("scores")] == [None, "agree"]
        own = member.settings.identity.node
        peers = {fields["peer"] for fields in member.kinds("vector_judged")}
        assert peers == set(member.settings.neighbors)
        assert own not in peers
        for row in member.machine.statistics().peers:
            assert row.received <= row.mixed + row.judged + row.dropped
            assert row.judged == 1
    best = max(before, key=lambda node: -before[node][0])
    if edges in (PAIR, COMPLETE):
        assert origin == best


@pytest.mark.parametrize("seed", range(3))
def test_averaging_is_exchanges_without_training(
    party_of: Callable[..., Any], last_step: Any, seed: int
) -> None:
    party = party_of(COMPLETE, seed=seed, last_step=last_step("average", COMPLETE, rounds=7))
    party.start()
    party.settle()
    party.check_closed()
    party.check_accounts()
    for member in party.members.values():
        rounds = [fields["round"] for fields in member.kinds("vector_sent")]
        assert rounds == list(range(1, 3 + 7 + 1))
        assert [fields["round"] for fields in member.kinds("round_finished")] == [1, 2, 3]
        assert [fields["after"] for fields in member.kinds("scores")] == [None, "average"]
        assert any(fields["round"] > 3 for fields in member.kinds("vector_mixed"))
    assert not party.logged("agreed")


@pytest.mark.parametrize("seed", range(3))
def test_what_was_sent_in_the_training_is_not_averaged_after_it(
    party_of: Callable[..., Any], last_step: Any, seed: int
) -> None:
    """D sends while the others wait for it; and they average while it still scores."""
    step = last_step("average", COMPLETE, rounds=4)
    party = party_of(COMPLETE, seed=seed, last_step=step)
    party.start()

    def slow(steps: list[Any]) -> Any:
        others = [step for step in steps if step != ("work", "D")] or steps
        return others[int(party.rng.integers(len(others)))]

    party.settle(slow)
    party.check_closed()
    party.check_accounts()
    mixed = [fields for _, fields in party.logged("vector_mixed")]
    for fields in mixed:
        assert (fields["round"] > 3) == (fields["round"] + fields["staleness_rounds"] > 3)
    assert any(fields["reason"] == "finished" for _, fields in party.logged("vector_dropped"))


def test_nobody_begins_before_all_have_trained(
    party_of: Callable[..., Any], last_step: Any
) -> None:
    """Also far away: the news travels along the path."""
    party = party_of(PATH, last_step=last_step("agree", PATH, rounds=3))
    party.start()

    def slow(steps: list[Any]) -> Any:
        return next((step for step in steps if step != ("work", "D")), steps[0])

    party.settle(slow, until=lambda: party.members["D"].machine.statistics().round == 2)
    assert [party.members[node].phase for node in "ABC"] == ["settling"] * 3
    party.settle(slow)
    party.check_closed()
    assert party.now < 20.0
    assert len({fields["origin"] for _, fields in party.logged("agreed")}) == 1


def test_on_a_dense_overlay_nobody_repeats_what_all_have_heard(
    party_of: Callable[..., Any], last_step: Any
) -> None:
    party = party_of(COMPLETE, last_step=last_step("agree", COMPLETE, rounds=2))
    told: list[tuple[str, ...]] = []
    send = party._send

    def overhear(node: str, peer: str, frames: Any) -> None:
        message, _ = decode(frames)
        if isinstance(message, Trained):
            told.append(message.nodes)
        send(node, peer, frames)

    party._send = overhear
    party.start()
    party.settle(until=lambda: any(m.phase == "concluding" for m in party.members.values()))
    party.settle(until=lambda: not party.steps())
    assert sorted(nodes for nodes in told if nodes) == sorted((n,) for n in "ABCDE" for _ in "four")
    assert told.count(()) <= 5 * 4


def test_a_peer_that_vanished_delays_the_others_and_no_more(
    party_of: Callable[..., Any], last_step: Any
) -> None:
    party = party_of(COMPLETE, wait_s=1.0, last_step=last_step("agree", COMPLETE, rounds=8))
    party.start(*"ABCD")
    party.settle()
    alive = [party.members[node] for node in "ABCD"]
    assert all(member.close is not None for member in alive)
    assert len({member.kinds("agreed")[0]["origin"] for member in alive}) == 1
    assert 20.0 < party.now < 60.0


def test_the_first_one_whose_wait_is_over_sets_all_off(
    party_of: Callable[..., Any], last_step: Any
) -> None:
    party = party_of(COMPLETE, wait_s=1.0, last_step=last_step("agree", COMPLETE, rounds=2))
    party.start(*"ABCD")
    party.settle(until=lambda: any(m.phase == "concluding" for m in party.members.values()))
    party.settle(until=lambda: not party.steps())
    assert {party.members[node].phase for node in "ABCD"} == {"concluding"}


def late(party: Any, node: str, until_s: float) -> Callable[[list[Any]], Any]:
    """A node's work ends no sooner than that, while time passes for the others."""

    def choose(steps: list[Any]) -> Any:
        others = [step for step in steps if step != ("work", node)]
        if others:
            return others[int(party.rng.integers(len(others)))]
        if party.now >= until_s or not party.timers():
            return ("work", node)
        timer = party.timers()[0]
        party.now = max(party.now, party.members[timer[1]].timers[timer[2]])
        return timer

    return choose


@pytest.mark.parametrize("edges", [PATH, COMPLETE], ids=["path", "all"])
@pytest.mark.parametrize("name", ["agree", "average"])
def test_who_is_slower_than_the_wait_is_waited_for(
    party_of: Callable[..., Any], last_step: Any, edges: Any, name: Any
) -> None:
    """Also by those far away, as long as it is seen to live; the wait is 20 seconds."""
    party = party_of(edges, last_step=last_step(name, edges, rounds=12))
    party.start()
    told: list[Any] = []
    send = party._send

    def overhear(node: str, peer: str, frames: Any) -> None:
        told.append(decode(frames)[0])
        send(node, peer, frames)

    party._send = overhear
    party.settle(late(party, "D", 100.0))
    party.check_closed()
    party.check_accounts()
    assert 100.0 <= party.now < 140.0
    assert len({fields["origin"] for _, fields in party.logged("agreed")}) == (name == "agree")
    begun = {node: m.kinds("vector_sent")[-1]["round"] for node, m in party.members.items()}
    assert min(begun.values()) > 3
    waits = [message for message in told if isinstance(message, Waits)]
    assert 0 < len(waits) <= 100 / 5 * len(edges)


@pytest.mark.parametrize("name", ["agree", "average"])
def test_who_is_not_heard_to_have_trained_is_not_waited_for_for_ever(
    party_of: Callable[..., Any], last_step: Any, name: Any
) -> None:
    """What D says of it to C is lost: C sees a neighbor that is there, and takes it for slow. E is
    not there, so that nobody knows that all have trained."""
    party = party_of(COMPLETE, wait_s=1.0, last_step=last_step(name, COMPLETE, rounds=3))
    lost: list[Any] = []
    send = party._send

    def lose(node: str, peer: str, frames: Any) -> None:
        message, _ = decode(frames)
        is_that = isinstance(message, Trained) and "D" in message.nodes
        if (node, peer) == ("D", "C") and is_that and not lost:
            lost.append(frames)
        else:
            send(node, peer, frames)

    party._send = lose
    party.start(*"ABCD")
    party.settle(until=lambda: party.now > 200.0)
    assert lost
    assert all(party.members[node].close is not None for node in "ABCD")
    assert party.now < 60.0


def test_who_dies_at_work_is_waited_for_no_longer_than_the_wait(
    party_of: Callable[..., Any], last_step: Any
) -> None:
    party = party_of(PATH, last_step=last_step("agree", PATH, rounds=8))
    party.start()
    party.settle(late(party, "D", 1000.0), until=lambda: party.now > 70.0)
    assert [party.members[node].phase for node in "ABC"] == ["settling"] * 3
    party.tell("D", ev.Abort(reason="killed"))
    party.settle()
    assert party.now < 130.0
    origins = {party.members[node].kinds("agreed")[0]["origin"] for node in "ABC"}
    assert len(origins) == 1


def test_who_leaves_is_not_waited_for(party_of: Callable[..., Any], last_step: Any) -> None:
    party = party_of(RING, last_step=last_step("agree", RING, rounds=3))
    party.start()
    party.settle(until=lambda: party.members["B"].phase == "training")
    party.tell("B", ev.StopRequested(reason="stopped"))
    party.settle()
    party.check_closed()
    party.check_accounts()
    assert party.now < 20.0
    assert party.members["B"].kinds("node_stopped")[0]["reason"] == "stopped"
    assert not party.members["B"].kinds("agreed")


def test_who_is_left_alone_ends_at_once(party_of: Callable[..., Any], last_step: Any) -> None:
    party = party_of(PAIR, last_step=last_step("agree", PAIR, rounds=1000))
    party.start()
    party.settle(until=lambda: all(m.phase == "concluding" for m in party.members.values()))
    party.tell("B", ev.StopRequested(reason="stopped"))
    party.settle()
    party.check_closed()
    party.check_accounts()
    assert party.members["A"].kinds("node_stopped")[0]["reason"] == "finished"
    assert party.now < 3.0


@pytest.mark.parametrize("name", ["agree", "average"])
@pytest.mark.parametrize("after", range(0, 200, 9))
def test_a_stop_in_the_last_step_saves_what_is_held(
    party_of: Callable[..., Any], last_step: Any, name: str, after: int
) -> None:
    party = party_of(RING, seed=after, last_step=last_step(name, RING, rounds=4))
    party.start()
    party.settle(until=lambda: party.members["A"].phase in ("settling", "concluding"))
    quiet = iter(range(after))
    party.settle(until=lambda: next(quiet, None) is None)
    member = party.members["A"]
    is_early = member.phase in ("settling", "concluding", "adopting")
    party.tell("A", ev.StopRequested(reason="stopped"))
    party.settle()
    party.check_closed()
    party.check_accounts()
    assert member.kinds("checkpoint_saved")
    if is_early:
        assert member.kinds("node_stopped")[0]["reason"] == "stopped"
    held = member.kinds("agreed")
    if held:
        index = "ABCD".index(held[0]["origin"]) + 1
        assert member.vector["G"][0] == index


def test_a_pair_that_comes_amid_training_is_judged_later(
    party_of: Callable[..., Any], last_step: Any
) -> None:
    """B's wait is over long before A has trained; A says nothing, and is told that it has begun."""
    party = party_of(PAIR, last_step=last_step("agree", PAIR, rounds=3))
    party.start()
    party.settle(
        lambda steps: next((s for s in steps if s != ("work", "A")), None) or ("timer",),
        until=lambda: party.members["B"].phase == "settling" and party.steps() == [("work", "A")],
    )
    party.now += 20.0  # for which nobody looked
    party.tell("B", ev.TimerFired(name="settle"))
    party.settle(
        lambda steps: next(s for s in steps if s != ("work", "A")),
        until=lambda: party.steps() == [("work", "A")],
    )
    a = party.members["A"]
    assert a.phase == "training"
    assert a.machine.statistics().held_bytes >= 32
    party.settle()
    party.check_accounts()
    assert len(a.kinds("vector_judged")) == 1


def test_votes_that_come_too_late_change_nothing(
    party_of: Callable[..., Any], last_step: Any
) -> None:
    """The log names the pair that was adopted, whatever is told while that is done."""
    party = party_of(COMPLETE, last_step=last_step("agree", COMPLETE, rounds=12))
    party.start()
    party.settle(until=lambda: any(isinstance(m.work, do.Adopt) for m in party.members.values()))
    node, adopter = next((n, m) for n, m in party.members.items() if m.phase == "adopting")
    origin = adopter.work.arrival.origin
    judge = next(other for other in "ABCDE" if other not in (node, origin))
    message = Votes(clock=1, votes=((origin, judge, WORST),))
    party.tell(node, ev.Received(route=party.connections[judge, node].route, message=message))
    party.settle()
    assert adopter.kinds("agreed")[0]["origin"] == origin


def test_a_failed_judgement_leaves_in_good_order(
    party_of: Callable[..., Any], last_step: Any
) -> None:
    party = party_of(PAIR, last_step=last_step("agree", PAIR, rounds=3))
    party.start()
    party.settle(until=lambda: isinstance(party.members["A"].work, do.Judge))
    party.members["A"].work = None
    party.tell("A", ev.WorkFailed(text="out of memory"))
    party.settle()
    party.check_closed()
    party.check_accounts()
    assert party.members["A"].close.failure == "out of memory"


def met(party_of: Callable[..., Any], last_step: Any, name: str | None = "agree") -> Any:
    steps = {} if name is None else {"last_step": last_step(name, PAIR, rounds=3)}
    party = party_of(PAIR, **steps)
    party.start()
    party.settle(until=lambda: party.members["A"].phase == "training")
    return party


def say(party: Any, message: Message) -> None:
    """B says it to A."""
    route = party.connections["B", "A"].route
    party.tell("A", ev.Received(route=route, message=message))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("agree", Trained(clock=1, nodes=("B", "stranger"), begun=False)),
        ("agree", Waits(clock=1, node="stranger", count=1)),
        ("agree", Votes(clock=1, votes=(("stranger", "B", 1.0),))),
        ("agree", Votes(clock=1, votes=(("A", "stranger", 1.0),))),
        ("agree", Votes(clock=1, votes=(("B", "B", 1.0),))),
        ("average", Votes(clock=1, votes=(("A", "B", 1.0),))),
        (None, Trained(clock=1, nodes=("B",), begun=True)),
        (None, Waits(clock=1, node="B", count=1)),
        (None, Votes(clock=1, votes=(("A", "B", 1.0),))),
    ],
)
def test_news_that_cannot_be_are_faults(
    party_of: Callable[..., Any], last_step: Any, name: str | None, message: Message
) -> None:
    party = met(party_of, last_step, name)
    for _ in range(MAX_FAULTS):
        say(party, message)
    (peer,) = party.members["A"].machine.statistics().peers
    assert peer.faults == MAX_FAULTS
    assert ("A", {"peer": "B", "reason": "faults", "by": "us"}) in party.logged("peer_refused")


@pytest.mark.parametrize(
    ("name", "purpose", "origin", "nets"),
    [
        ("agree", "judge", "A", ("G", "D")),
        ("agree", "judge", "", ("G", "D")),
        ("agree", "adopt", "stranger", ("G", "D")),
        ("agree", "adopt", "B", ("G",)),
        ("agree", "mix", "B", ("G", "D")),
        ("average", "adopt", "B", ("G", "D")),
        (None, "judge", "B", ("G", "D")),
    ],
)
def test_pairs_that_nobody_asked_for_are_refused(
    party_of: Callable[..., Any],
    last_step: Any,
    name: str | None,
    purpose: Any,
    origin: str,
    nets: Any,
) -> None:
    party = met(party_of, last_step, name)
    order = do.SendVector(
        peer="A", exchange="B.B-boot-o.77", nets=nets, round=1, clock=1, purpose=purpose,
        origin=origin,
    )  # fmt: skip
    party._obey("B", party.members["B"], order)
    party.settle(until=lambda: not party.connections["B", "A"].forward)
    dropped = party.members["A"].kinds("vector_dropped")
    reasons = [fields["reason"] for fields in dropped if fields["exchange"].endswith("77")]
    assert reasons in (["nets"], ["origin"])


def test_what_others_say_of_our_own_votes_does_not_count(
    party_of: Callable[..., Any], last_step: Any
) -> None:
    party = met(party_of, last_step)
    say(party, Votes(clock=1, votes=(("B", "A", 0.0), ("A", "B", 5.0))))
    voter = party.members["A"].settings.last_step.voter
    assert list(voter.votes()) == [("A", "B", 5.0)]


def test_many_names_and_votes_travel_in_parts_that_fit() -> None:
    names = [f"{index:03}" + "\U0001f600" * 125 for index in range(40)]
    votes = [(origin, judge, 1 / 3) for origin in names[:3] for judge in names[3:]]
    parts = list(_parts(votes))
    assert [vote for part in parts for vote in part] == votes
    for part in parts:
        (header,) = encode(Votes(clock=2**62, votes=tuple(part)))
        assert len(header) <= MAX_HEADER_BYTES
    assert len(parts) > 1
    short = list(_parts([("a", "b", 0.5)] * 1000))
    assert [len(part) for part in short] == [MAX_LISTED] * 3 + [1000 - 3 * MAX_LISTED]
    assert PART_BYTES < MAX_HEADER_BYTES


def test_the_worst_score_may_be_told() -> None:
    assert MAX_SCORE == WORST


@pytest.mark.parametrize("event", [ev.JudgingDone(score=1.0), ev.AdoptingDone()])
def test_work_that_nobody_asked_for_is_our_own_fault(
    party_of: Callable[..., Any], last_step: Any, event: ev.Event
) -> None:
    party = met(party_of, last_step)
    with pytest.raises(LocalProtocolError, match="training"):
        party.tell("A", event)
