"""What becomes of each instruction, whatever shell is around the host."""

from collections.abc import Sequence
from typing import Any

import pytest

from p2pgan.errors import TransportError
from p2pgan.node.host import REDIAL, REDIAL_S, Ended, Host, Surroundings
from p2pgan.node.jobs import JobDone
from p2pgan.node.outgoing import counted
from p2pgan.node.tallies import Tallies
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.messages import (
    DIGEST_BYTES,
    Chunk,
    Credit,
    Leave,
    Message,
    VectorAck,
)


class Recorder:
    """Surroundings that write down what they are asked, in order."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.tallies = Tallies()
        self.replaced: str | None = None
        self.refuses = False

    def send(self, peer: str, message: Message) -> None:
        counted(message, self.tallies)
        self.asked.append(("send", peer, message))

    def send_vector(self, order: do.SendVector, data: bytes, chunk_bytes: int) -> str | None:
        self.asked.append(("vector", order.peer, data, chunk_bytes))
        return self.replaced

    def reply(self, route: bytes, message: Message) -> None:
        self.asked.append(("reply", route, message))

    def credit(self, peer: str, answer: Credit | VectorAck) -> None:
        self.asked.append(("credit", peer, answer))

    def forget(self, peer: str) -> None:
        self.asked.append(("forget", peer))

    def dial(self, peer: str, address: str) -> None:
        self.asked.append(("dial", peer, address))
        if self.refuses:
            raise TransportError(expected="a free file descriptor", got="none", at="connect")

    def hang_up(self, peer: str) -> None:
        self.asked.append(("hang up", peer))

    def give(self, job: Any) -> None:
        self.asked.append(("job", job))

    def stop_training(self) -> None:
        self.asked.append("stop")


class Told:
    """A machine that says what it is told to say to each event, and keeps the events."""

    def __init__(self, *answers: Sequence[do.Instruction]) -> None:
        self.answers = list(answers)
        self.heard: list[tuple[ev.Event, float]] = []

    def handle(self, event: ev.Event, now: float) -> list[do.Instruction]:
        self.heard.append((event, now))
        return list(self.answers.pop(0)) if self.answers else []


class Around:
    """A host around a `Told`, and its surroundings."""

    def __init__(self, *answers: Sequence[do.Instruction]) -> None:
        self.machine, self.recorder = Told(*answers), Recorder()
        self.timers: dict[str, float] = {}
        around = Surroundings(
            network=self.recorder,
            worker=self.recorder,
            timers=self.timers,
            record=lambda record: self.recorder.asked.append(record),
            clock=lambda: 42.0,
            chunk_bytes=64,
        )
        self.host = Host(self.machine, around)

    def feed(self, *events: ev.Event) -> list[Any]:
        self.host.feed(events)
        return self.recorder.asked


EVENT = ev.LinkUp(peer="b")


def record(kind: str, **fields: Any) -> do.Record:
    return do.Record(kind=kind, fields=fields, clock=5)


def vector(**changes: Any) -> do.SendVector:
    fields: dict[str, Any] = {"peer": "b", "exchange": "x", "nets": ("D", "G")}
    return do.SendVector(**{**fields, "round": 1, "clock": 1, **changes})


def test_instructions_are_carried_out_in_order() -> None:
    leave, train = Leave(clock=1), do.Train(iterations=3)
    around = Around(
        [
            record("peer_joined", peer="b"),
            do.Send(peer="b", message=leave),
            do.Reply(route=b"r", message=leave),
            train,
            do.StopTraining(),
        ]
    )
    assert around.feed(EVENT) == [
        record("peer_joined", peer="b"),
        ("send", "b", leave),
        ("reply", b"r", leave),
        ("job", train),
        "stop",
    ]
    assert around.machine.heard == [(EVENT, 42.0)]


def test_timers_are_set_and_cancelled() -> None:
    around = Around(
        [do.SetTimer(name="a", at_s=1.0), do.SetTimer(name="b", at_s=2.0)],
        [do.CancelTimer(name="a"), do.CancelTimer(name="c"), do.SetTimer(name="b", at_s=3.0)],
    )
    around.feed(EVENT, EVENT)
    assert around.timers == {"b": 3.0}


def test_a_vector_is_what_the_work_has_made_last() -> None:
    around = Around([vector()], [vector(nets=("G",))], [vector(data=b"another's")])
    around.host.provide({"G": b"first", "D": b"old"}, lambda state: state)
    around.host.take(JobDone(event=EVENT, snapshot={"G": b"G", "D": b"D"}))
    around.host.take(JobDone(event=EVENT))  # nothing new
    assert [asked[2] for asked in around.feed(EVENT)] == [b"DG", b"G", b"another's"]
    assert around.host.snapshot == {"G": b"G", "D": b"D"}


def test_a_coordinator_sends_what_it_was_provided_with() -> None:
    around = Around([vector(nets=("G",))])
    around.host.provide({"G": b"first"}, lambda state: state)
    assert around.feed(EVENT) == [("vector", "b", b"first", 64)]


def test_a_vector_that_was_replaced_is_told_after_all_that_waits() -> None:
    around = Around([vector(data=b"new")])
    around.recorder.replaced = "older"
    around.feed(EVENT, EVENT)
    heard = [event for event, _ in around.machine.heard]
    assert heard == [EVENT, EVENT, ev.VectorReplaced(peer="b", exchange="older")]


def test_a_state_is_sealed_when_it_is_to_be_saved() -> None:
    around = Around([do.Save(state=b"state")])
    around.host.provide({}, lambda state: b"sealed " + state)
    assert around.feed(EVENT) == [("job", do.Save(state=b"sealed state"))]


def test_what_waits_for_a_lost_peer_is_forgotten_before_the_machine_hears() -> None:
    """What it sends then is for the next connection."""
    leave = Leave(clock=1)
    around = Around([do.Send(peer="b", message=leave)])
    assert around.feed(ev.LinkDown(peer="b")) == [("forget", "b"), ("send", "b", leave)]


REDIAL_DUE = ev.TimerFired(name=REDIAL)


def fire(around: Around) -> None:
    """As whoever fires a timer."""
    del around.timers[REDIAL]
    around.host.feed([REDIAL_DUE])


def test_who_cannot_be_dialled_is_tried_again_and_told_of_once() -> None:
    around = Around([do.Dial(peer="b", address="tcp://b:1"), do.Dial(peer="c", address="c")])
    around.recorder.refuses = True
    refused = [
        do.Record(
            kind="peer_refused",
            fields={"peer": peer, "reason": "no_connection", "by": "us"},
            clock=0,
        )
        for peer in "bc"
    ]
    first, second = ("dial", "b", "tcp://b:1"), ("dial", "c", "c")
    assert around.feed(EVENT) == [first, refused[0], second, refused[1]]
    assert around.timers == {REDIAL: 42.0 + REDIAL_S}
    around.recorder.asked.clear()
    fire(around)
    assert around.recorder.asked == [first, second], "tried again, and told of no more"
    around.recorder.refuses = False
    fire(around)
    assert around.recorder.asked == [first, second] * 2
    assert around.timers == {}
    assert [event for event, _ in around.machine.heard] == [EVENT], "no machine hears of it"


def test_who_moves_or_is_wanted_no_more_is_not_dialled_at_its_former_address() -> None:
    around = Around(
        [do.Dial(peer="b", address="b1"), do.Dial(peer="c", address="c1")],
        [do.Dial(peer="b", address="b2"), do.HangUp(peer="c")],
    )
    around.recorder.refuses = True
    around.feed(EVENT, EVENT)
    around.recorder.asked.clear()
    fire(around)
    assert around.recorder.asked == [("dial", "b", "b2")]


def test_after_the_end_nothing_is_heard() -> None:
    around = Around([do.Close(reason="done"), record("x")])
    around.feed(EVENT, EVENT)
    assert len(around.machine.heard) == 1
    assert around.host.ended == Ended(reason="done")
    around.feed(EVENT)
    assert len(around.machine.heard) == 1


def test_traffic_follows_a_round_and_precedes_the_last_word() -> None:
    """With what came since the last; a round without any has none."""
    send = do.Send(peer="b", message=Leave(clock=1))
    finished, last = record("round_finished", round=3), record("node_stopped", rounds=4)
    around = Around([send, finished, finished, send, send, last])
    asked = [it for it in around.feed(EVENT) if isinstance(it, do.Record)]
    assert [it.kind for it in asked] == [
        *("round_finished", "traffic", "round_finished"),
        *("traffic", "node_stopped"),
    ]
    assert [it.fields["round"] for it in asked if it.kind == "traffic"] == [3, 4]
    counts = [it.fields["sent"]["leave"].messages for it in asked if it.kind == "traffic"]
    assert counts == [1, 2]
    assert {it.clock for it in asked} == {5}


def test_an_instruction_that_nobody_knows_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match="without an arm"):
        Around([do.Instruction()]).feed(EVENT)


def chunk(*, asks: bool) -> Chunk:
    return Chunk(clock=7, exchange="b.x.1", nets=("G",), round=1, begin=4, end=8, total_bytes=12,
                 digest=bytes(DIGEST_BYTES), asks=asks)  # fmt: skip


@pytest.mark.parametrize("asks", [False, True])
def test_a_chunk_that_asks_is_answered_whatever_becomes_of_it(asks: bool) -> None:
    around = Around()
    event = ev.Received(route=b"r", message=chunk(asks=asks), payload=bytes(4))
    came = ("reply", b"r", Credit(clock=7, exchange="b.x.1", bytes=8))
    assert around.feed(event) == [came] * asks
    assert around.machine.heard == [(event, 42.0)]


def test_credit_is_for_the_network_and_a_sign_of_life() -> None:
    around = Around()
    credit = Credit(clock=1, exchange="a.x.1", bytes=4)
    ack = VectorAck(clock=1, exchange="a.x.1", accepted=True)
    events = [ev.Answered(peer="b", message=message) for message in (credit, ack)]
    assert around.feed(*events) == [("credit", "b", credit), ("credit", "b", ack)]
    assert around.machine.heard == [(event, 42.0) for event in events]


def test_a_caller_that_speaks_of_credit_makes_no_sense() -> None:
    """Vectors go to whoever we call: the machine hears of it, and blames the caller."""
    around = Around()
    event = ev.Received(route=b"r", message=Credit(clock=1, exchange="a.x.1", bytes=4))
    assert around.feed(event) == []
    assert around.machine.heard == [(event, 42.0)]
