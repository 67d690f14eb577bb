"""Peers over connections that lose, repeat, overtake and spoil what they carry."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import digest_of
from p2pgan.protocol.greetings import GREET_AGAIN_MAX_S, REFUSED_S
from p2pgan.protocol.links import MAX_FAULTS
from p2pgan.protocol.messages import (
    PROTOCOL_VERSION,
    Chunk,
    Hello,
    Leave,
    LeaveAck,
    Message,
    VectorAck,
    Welcome,
)
from p2pgan.protocol.wire import decode
from tests.protocol.party import Frames, Party
from tests.protocol.star import Star

PAIR = [("A", "B")]
RING = [("A", "B"), ("B", "C"), ("C", "D"), ("D", "A")]

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])

ROUND_S = 2.0


class Weather(Party):
    """A party whose connections are bad as long as `rates` says so.

    What is spoiled is the numbers of a vector, or a whole message: no bit of a name or a number in
    a header is changed, which would make another message of it, and nobody would know.
    """

    rates: dict[str, float]

    def __init__(self, *args: Any, rates: dict[str, float], **choices: Any) -> None:
        self.rates = rates
        super().__init__(*args, **choices)
        self.work_s = {do.Train: ROUND_S}

    def _carry(self, queue: deque[Frames], frames: Frames) -> None:
        if self._happens("loss"):
            return
        if self._happens("corruption"):
            frames = self._spoiled(frames)
        copies = 2 if self._happens("duplication") else 1
        for _ in range(copies):
            place = len(queue)
            if self._happens("reordering"):
                place = int(self.rng.integers(len(queue) + 1))
            queue.insert(place, frames)

    def _happens(self, what: str) -> bool:
        return bool(self.rng.random() < self.rates.get(what, 0.0))

    def _spoiled(self, frames: Frames) -> Frames:
        changed = [bytearray(frame) for frame in frames]
        if len(changed) == 1:
            changed[0][:] = b"rubbish"
        else:
            bit = int(self.rng.integers(8 * len(changed[1])))
            changed[1][bit // 8] ^= 1 << bit % 8
        return [bytes(frame) for frame in changed]

    def run_for(self, seconds: float) -> None:
        end_s = self.now + seconds
        self.settle(until=lambda: self.now >= end_s)

    def states(self) -> set[tuple[str, bool]]:
        """Whether vectors can go there, and come from there, for every link."""
        found = [member.machine.statistics() for member in self.members.values()]
        return {(peer.state, peer.greeted_us) for node in found for peer in node.peers}

    def check_every_vector_ends_once(self) -> None:
        sent = [fields["exchange"] for _, fields in self.logged("vector_sent")]
        received = [fields["exchange"] for _, fields in self.logged("vector_received")]
        dropped = [fields["exchange"] for _, fields in self.logged("vector_dropped")]
        assert {*sent} <= {*received, *dropped}, "a vector is unaccounted for"
        assert len(received) == len({*received}), "a vector was received twice"
        used = [e for member in self.members.values() for e in member.mixed]
        assert len(used) == len({*used}), "a vector was mixed twice"
        assert {*used} <= {*received} <= {*sent}, "a vector came from nowhere"


rate = st.sampled_from([0.0, 0.1, 0.3])
weathers = st.fixed_dictionaries(
    dict.fromkeys(["loss", "duplication", "corruption", "reordering"], rate)
)


@QUICK
@given(rates=weathers, edges=st.sampled_from([PAIR, RING]), seed=st.integers(0, 2**32 - 1))
def test_an_honest_peer_is_never_refused_for_long(
    rates: dict[str, float], edges: Any, seed: int
) -> None:
    """However bad the connections were: as soon as they are good, all talk to all within one
    refusal and the longest wait for an answer; and whatever happened, every vector has an end."""
    party = Weather(edges, rates=rates, seed=seed, iterations=600, wait_s=10.0)
    party.start()
    party.run_for(100.0)
    party.rates = {}
    party.run_for(REFUSED_S + GREET_AGAIN_MAX_S)
    assert party.states() == {("ready", True)}
    before = len(party.logged("vector_received"))
    party.run_for(10 * ROUND_S)
    assert len(party.logged("vector_received")) >= before + 5
    party.settle()
    party.check_closed()
    party.check_every_vector_ends_once()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("what", ["loss", "duplication", "corruption", "reordering"])
def test_a_bad_link_carries_vectors_all_the_time(what: str, seed: int) -> None:
    """A whole vector forgives a fault: one spoiled message in fifty refuses nobody, however long
    that goes on."""
    party = Weather(PAIR, rates={what: 0.02}, seed=seed, iterations=1000)
    party.start()
    party.settle()
    party.check_closed()
    party.check_every_vector_ends_once()
    assert party.logged("peer_refused") == []
    assert sum(len(member.kinds("round_finished")) for member in party.members.values()) == 1000
    assert len(party.logged("vector_received")) > 800


@QUICK
@given(rates=weathers, seed=st.integers(0, 2**32 - 1))
def test_lost_farewells_delay_nobody_beyond_the_drain_time(
    rates: dict[str, float], seed: int
) -> None:
    party = Weather(RING, rates=rates, seed=seed, iterations=4, wait_s=1.0, drain_s=3.0)
    party.start()
    ends_s: dict[str, float] = {}

    def note_ends() -> bool:
        for node, member in party.members.items():
            if member.phase == "leaving":
                ends_s.setdefault(node, party.now + 3.0)
            assert member.phase != "leaving" or party.now <= ends_s[node]
        return False

    party.settle(until=note_ends)
    party.check_closed()


def test_an_answer_that_is_lost_is_asked_for_again() -> None:
    """Each side's first hello or its welcome is lost, in all four ways at once."""
    party = Weather(PAIR, rates={"loss": 1.0})
    party.start()
    party.settle(until=lambda: not party.steps())
    assert party.states() == {("greeted", False)}
    party.rates = {}
    party.settle(until=lambda: party.states() == {("ready", True)})
    assert party.now == 1.0


class DeafStar(Weather, Star):
    """A coordinator and workers whose handshakes get lost, and nothing else."""

    def _carry(self, queue: deque[Frames], frames: Frames) -> None:
        if isinstance(decode(frames)[0], Hello | Welcome):
            super()._carry(queue, frames)
        else:
            queue.append(frames)


@pytest.mark.parametrize("system", ["fl", "sync", "async"])
@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_a_run_with_a_coordinator_begins_though_hellos_are_lost(system: str, seed: int) -> None:
    """And though they come twice, which is no new connection."""
    rates = {"loss": 0.3, "duplication": 0.3, "reordering": 0.3}
    star = DeafStar(3, system, rates=rates, seed=seed, wait_s=1000.0, alone_s=1000.0)
    star.start()
    star.settle()
    star.check_closed()
    star.check_accounts()
    assert [member.close.reason for member in star.members.values() if member.close] == (
        ["finished"] * 4
    )
    joined = [(node, fields["peer"]) for node, fields in star.logged("peer_joined")]
    assert len(joined) == len({*joined})


@QUICK
@given(data=st.data())
def test_nobody_is_blamed_for_delays(party_of: Callable[..., Any], data: st.DataObject) -> None:
    """In whatever order vectors come whole: each is taken or overtaken, and whoever sends one a
    second time is blamed for that alone."""
    party, boot = listener(party_of), "boot-of-B"
    order = data.draw(st.permutations(range(1, 1 + data.draw(st.integers(1, 40)))))
    for counter in order:
        for index in (0, 1):
            tell_part(party, boot, counter, index)
    machine = party.members["A"].machine
    assert machine.statistics().peers[0].faults == 0
    taken = [counter_of(fields) for fields in party.members["A"].kinds("vector_received")]
    assert taken == sorted({max(order[: place + 1]) for place in range(len(order))})
    reasons = {
        counter_of(fields): fields["reason"]
        for fields in party.members["A"].kinds("vector_dropped")
        if fields["reason"] != "superseded"
    }
    assert reasons == dict.fromkeys({*order} - {*taken}, "overtaken")
    tell_part(party, boot, data.draw(st.sampled_from(taken)), 0)
    assert machine.statistics().peers[0].faults == 1
    assert party.members["A"].kinds("vector_dropped")[-1]["reason"] == "repeated"


def test_what_is_too_old_to_be_known_is_repeated(party_of: Callable[..., Any]) -> None:
    party, boot = listener(party_of), "boot-of-B"
    tell_part(party, boot, 1025, 0)
    for counter, reason, faults in [(2, "overtaken", 0), (1, "repeated", 1), (2, "repeated", 2)]:
        tell_part(party, boot, counter, 0)
        assert party.members["A"].kinds("vector_dropped")[-1]["reason"] == reason
        assert party.members["A"].machine.statistics().peers[0].faults == faults


def test_the_rest_of_what_was_dropped_is_ignored(party_of: Callable[..., Any]) -> None:
    """Though others were dropped meanwhile."""
    party, boot = listener(party_of), "boot-of-B"
    for counter, index in [(3, 0), (3, 1), (1, 0), (2, 0), (1, 1), (2, 1)]:
        tell_part(party, boot, counter, index)
    assert len(party.members["A"].kinds("vector_dropped")) == 2
    assert party.members["A"].machine.statistics().peers[0].faults == 0


def listener(party_of: Callable[..., Any]) -> Any:
    """A, which has welcomed B and trains for ever."""
    party = party_of(PAIR, iterations=10_000)
    party.work_s = {do.Train: 1e9}
    party.start("A")
    party.tell("A", ev.Received(route=b"B", message=hello("boot-of-B")))
    return party


def tell_part(party: Any, boot: str, counter: int, index: int) -> None:
    """One half of a vector."""
    message = chunk(boot, counter, begin=16 * index, end=16 * index + 16)
    party.tell("A", ev.Received(route=b"B", message=message, payload=bytes(16)))


def counter_of(fields: Any) -> int:
    return int(fields["exchange"].rsplit(".", 1)[1])


# -- hostile peers ---------------------------------------------------------------------------------


def hello(boot: str) -> Hello:
    return Hello(
        clock=1, protocol=PROTOCOL_VERSION, run="run", node="B", architecture="same", boot=boot
    )


def chunk(boot: str, counter: int, data: bytes = bytes(32), **changes: Any) -> Chunk:
    """Of a vector of B's, whole if nothing else is said."""
    fields = {"begin": 0, "end": 32, "digest": digest_of(data), "total_bytes": 32, **changes}
    exchange = f"B.{boot[:8]}.{counter}"
    return Chunk(clock=1, exchange=exchange, nets=("G", "D"), round=1, **fields)


rubbish = st.sampled_from(["malformed", "digest", "order", "begun", "repeated", "welcome"])


@QUICK
@given(talk=st.lists(st.tuples(rubbish, st.sampled_from([0.0, 0.1, 5.0, 30.0])), max_size=300))
def test_rubbish_costs_a_bounded_log(party_of: Callable[..., Any], talk: Any) -> None:
    """`MAX_FAULTS` lines and a refusal in a minute, whatever is said, and however often it calls
    again."""
    party = party_of(PAIR, groups=(("G", "D"),), iterations=10_000)
    party.work_s = {do.Train: 1e9}
    party.start("A")
    for counter, (kind, pause_s) in enumerate(talk, 1):
        party.tell("A", ev.Received(route=b"B", message=hello("boot-of-B")))
        party.tell("A", rubbish_of(kind, counter))
        end_s = party.now + pause_s
        due = party.members["A"].timers.get("greet")
        if due is not None and due <= end_s:
            party.now = due
            party.take(("timer", "A", "greet"))
        party.now = end_s
    dropped = party.members["A"].kinds("vector_dropped")
    minutes = 1 + party.now // REFUSED_S
    assert len(dropped) <= 2 * MAX_FAULTS * minutes
    assert len(party.members["A"].kinds("peer_refused")) <= 1


def rubbish_of(kind: str, counter: int) -> ev.Event:
    boot = "boot-of-B"
    if kind == "malformed":
        return ev.Malformed(route=b"B")
    messages: dict[str, Message] = {
        "digest": chunk(boot, counter, digest=b"\0" * 16),
        "order": chunk(boot, counter, begin=16),
        "begun": chunk(boot, counter, end=12),
        "repeated": chunk(boot, 0),
        "welcome": Welcome(clock=1, node="B", boot=boot, round=0),
    }
    return ev.Received(
        route=b"B", message=messages[kind], payload=bytes(4 if kind == "begun" else 32)
    )


def test_nothing_but_rubbish_is_refused_after_so_many_faults(party_of: Callable[..., Any]) -> None:
    party = party_of(PAIR)
    party.start("A")
    party.tell("A", ev.Received(route=b"B", message=hello("boot-of-B")))
    for counter in range(1, MAX_FAULTS + 1):
        assert party.members["A"].machine.statistics().peers[0].greeted_us
        party.tell("A", rubbish_of("digest", counter))
    assert not party.members["A"].machine.statistics().peers[0].greeted_us


# -- former boots ----------------------------------------------------------------------------------

OLD, NEW = "old-boot-of-B", "new-boot-of-B"

WHOLE = bytes(range(32))

late = st.sampled_from(
    [
        hello(OLD),
        chunk(OLD, 1, begin=16, end=32),
        chunk(OLD, 2, WHOLE),
        Leave(clock=1),
        LeaveAck(clock=1),
        VectorAck(clock=1, exchange="A.A-boot-o.1", accepted=True),
    ]
)
answers = st.sampled_from(
    [
        Welcome(clock=1, node="B", boot=OLD, round=7),
        Leave(clock=1),
        LeaveAck(clock=1),
        VectorAck(clock=1, exchange="A.A-boot-o.1", accepted=True),
    ]
)


@QUICK
@given(
    before=st.lists(st.one_of(late, answers), max_size=6),
    after=st.lists(late, max_size=6),
    is_down=st.booleans(),
)
def test_nothing_of_a_former_boot_has_any_effect(
    party_of: Callable[..., Any], before: Any, after: Any, is_down: bool
) -> None:
    """Its vectors, farewells and acknowledgments come late, in any order: by the old connection
    that it made, or by ours before that is known to be down."""
    party = party_of(PAIR)
    machine = party.members["A"].machine
    met_old(party)
    party.tell("A", ev.LinkDown(peer="B"))
    party.tell("A", ev.Received(route=b"new", message=hello(NEW)))
    met = machine.statistics()
    for message in before:
        party.tell("A", ev.Answered(peer="B", message=message))
        say_late(party, message)
    if not is_down:
        party.tell("A", ev.LinkUp(peer="B"))
        welcome = Welcome(clock=1, node="B", boot=NEW, round=0)
        party.tell("A", ev.Answered(peer="B", message=welcome))
    for message in after:
        say_late(party, message)
    now = machine.statistics()
    (peer,), (was,) = now.peers, met.peers
    assert (peer.received, peer.faults, peer.greeted_us) == (was.received, 0, True)
    assert (now.waiting, now.unacknowledged, now.held_bytes) == (0, 0, 0)
    assert peer.state == ("down" if is_down else "ready")
    whole = chunk(NEW, 1, WHOLE)
    party.tell("A", ev.Received(route=b"new", message=whole, payload=WHOLE))
    assert machine.statistics().peers[0].received == was.received + 1


def met_old(party: Any) -> None:
    """A has met B's former boot, both ways, has sent it a vector, and has got a part of one."""
    party.start("A")
    party.tell("A", ev.LinkUp(peer="B"))
    welcome = Welcome(clock=1, node="B", boot=OLD, round=0)
    party.tell("A", ev.Answered(peer="B", message=welcome))
    party.tell("A", ev.Received(route=b"old", message=hello(OLD)))
    party.settle(until=lambda: bool(party.members["A"].kinds("vector_sent")))
    first = chunk(OLD, 1, end=16)
    party.tell("A", ev.Received(route=b"old", message=first, payload=bytes(16)))
    assert party.members["A"].machine.statistics().held_bytes == 16


def say_late(party: Any, message: Message) -> None:
    """Over the connection that the former boot had made."""
    payload = b""
    if isinstance(message, Chunk):
        payload = WHOLE[message.begin : message.end]
    party.tell("A", ev.Received(route=b"old", message=message, payload=payload))


def test_frames_are_still_read_as_they_were_sent() -> None:
    """Or what is tried here would be the test's own fault."""
    party = Weather(PAIR, rates={})
    party.start()
    party.settle(until=lambda: any(c.forward for c in party.connections.values()))
    queue = next(c.forward for c in party.connections.values() if c.forward)
    assert isinstance(decode(queue[0])[0], Hello)
