"""MD-GAN's worker."""

from collections.abc import Callable
from typing import Any

import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import split
from p2pgan.protocol.messages import Assign, Expect, Holding, Message, Move, Release
from p2pgan.protocol.split_worker import MAX_ORDERS
from p2pgan.protocol.wire import decode

StarOf = Callable[..., Any]


def link_of(star: Any, peer: str) -> Any:
    return star.members["w0"].machine._neighborhood.links[peer]


def vector_from(star: Any, peer: str, size: int, counter: int = 900, **choices: Any) -> ev.Received:
    """A vector as a peer would send it to w0, with values that a discriminator could have."""
    link = link_of(star, peer)
    order = do.SendVector(
        **{
            "peer": "w0",
            "exchange": f"{peer}.{link.boot[:8]}.{counter}",
            "nets": (),
            "round": 1,
            "clock": 1,
            "purpose": "batches",
            **choices,
        }
    )
    ((chunk, payload),) = split(bytes(size), order, chunk_bytes=64)
    return ev.Received(route=link.route, message=chunk, payload=payload)


def move_from(star: Any, peer: str, counter: int = 900, **choices: Any) -> ev.Received:
    usual: dict[str, Any] = {"purpose": "move", "nets": ("D",), "slot": 1}
    return vector_from(star, peer, 12, counter, **{**usual, **choices})


def order(star: Any, message: Message, sender: str = "coordinator") -> None:
    star.tell("w0", ev.Received(route=link_of(star, sender).route, message=message))


def reports(star: Any) -> list[int | None]:
    """What w0 has said to the coordinator, and it has not read yet."""
    waiting = [decode(f)[0] for f in star.connections["w0", "coordinator"].forward]
    return [message.slot for message in waiting if isinstance(message, Holding)]


@pytest.fixture
def star(star_of: StarOf) -> Any:
    """Three workers with two discriminators; w0 waits for batches, and w1 to w2 know it."""
    made = star_of(3, "sync", slots=2)
    made.start()
    neighborhood = made.members["w0"].machine._neighborhood
    made.settle(
        until=lambda: len(neighborhood.ready()) == 3 and made.coordinator.phase == "generating"
    )
    made.settle(lambda steps: steps[0], until=lambda: not moves_left(made))
    assert made.members["w0"].phase == "waiting"
    return made


def moves_left(star: Any) -> list[Any]:
    """Lets everything arrive but what the coordinator is about to generate."""
    steps = [step for step in star.steps() if step != ("work", "coordinator")]
    for step in steps[:1]:
        star.take(step)
    return steps


def test_it_sends_its_own_away_before_it_takes_another(star: Any) -> None:
    worker = star.members["w0"]
    star.tell("w0", move_from(star, "w1"))
    assert worker.phase == "waiting", "nobody has said that it is to be taken"
    order(star, Move(clock=1, slot=0, to="w1", keep=False, round=1, order=90))
    order(star, Expect(clock=1, slot=1, sender="w1", round=1, order=91))
    assert isinstance(worker.work, do.Pack)
    star.take(("work", "w0"))
    assert isinstance(worker.work, do.TakeDiscriminator)
    (sent,) = worker.kinds("vector_sent")
    assert (sent["peer"], sent["purpose"], sent["nets"]) == ("w1", "move", ["D"])
    star.take(("work", "w0"))
    assert reports(star) == [None, None, 1], "sent, expecting, there"


def test_a_copy_is_kept(star: Any) -> None:
    order(star, Move(clock=1, slot=1, to="w2", keep=True, round=0, order=90))
    star.take(("work", "w0"))
    assert reports(star) == [0]


def test_it_keeps_what_it_cannot_send(star: Any) -> None:
    star.take(("down", "w0", "w1"))
    order(star, Move(clock=1, slot=0, to="w1", keep=False, round=1, order=90))
    order(star, Expect(clock=1, slot=1, sender="w1", round=1, order=91))
    assert reports(star) == [0, 0]
    star.tell("w0", move_from(star, "w1"))
    assert star.members["w0"].phase == "waiting", "it has no room for another"


def test_it_keeps_what_it_is_packing_when_the_coordinator_has_gone(star: Any) -> None:
    order(star, Move(clock=1, slot=0, to="w1", keep=False, round=1, order=90))
    assert isinstance(star.members["w0"].work, do.Pack)
    star.take(("down", "w0", "coordinator"))
    star.take(("work", "w0"))
    assert star.members["w0"].kinds("vector_sent") == []
    star.take(("up", "w0", "coordinator"))
    star.settle(until=lambda: reports(star) != [])
    assert reports(star) == [0]


def test_batches_and_moves_never_meet(star: Any) -> None:
    worker = star.members["w0"]
    star.tell("w0", vector_from(star, "coordinator", 24))
    assert isinstance(worker.work, do.Criticise)
    order(star, Move(clock=1, slot=0, to="w1", keep=False, round=1, order=90))
    assert isinstance(worker.work, do.Criticise)
    star.members["w0"].work = None
    star.tell("w0", ev.CriticismDone(data=bytes(12), loss_g=1.0, loss_d=1.0, train_s=0.1))
    assert isinstance(worker.work, do.Pack)
    star.tell("w0", vector_from(star, "coordinator", 24, 901))
    star.take(("work", "w0"))
    assert worker.phase == "waiting", "batches for a discriminator that has gone"


def test_what_is_released_is_forgotten(star: Any) -> None:
    order(star, Release(clock=1, order=90))
    assert reports(star) == [None]
    star.tell("w0", vector_from(star, "coordinator", 24))
    assert star.members["w0"].kinds("vector_dropped")[-1]["reason"] == "slot"


def test_a_stale_discriminator_is_dropped(star: Any) -> None:
    order(star, Release(clock=1, order=90))
    star.tell("w0", move_from(star, "w1", round=1))
    order(star, Expect(clock=1, slot=1, sender="w2", round=3, order=91))
    worker = star.members["w0"]
    assert worker.kinds("vector_dropped")[-1]["reason"] == "stale"
    star.tell("w0", move_from(star, "w1", 901, round=3))
    assert worker.phase == "waiting", "it comes from another than was said"
    star.tell("w0", move_from(star, "w2", round=3))
    assert isinstance(worker.work, do.TakeDiscriminator)


def test_a_second_batch_at_once_is_too_much(star: Any) -> None:
    for counter in (901, 902, 903):
        star.tell("w0", vector_from(star, "coordinator", 24, counter))
    assert [f["reason"] for f in star.members["w0"].kinds("vector_dropped")] == ["busy"]


@pytest.mark.parametrize(
    ("peer", "size", "choices", "reason"),
    [
        ("coordinator", 24, {"slot": 1}, "slot"),
        ("coordinator", 24, {"slot": 77}, "slot"),
        ("coordinator", 20, {}, "size"),
        ("coordinator", 24, {"purpose": "feedback"}, "nets"),
        ("coordinator", 12, {"purpose": "move", "nets": ("D",)}, "nets"),
        ("coordinator", 24, {"origin": "w1"}, "origin"),
        ("w1", 24, {}, "nets"),
        ("w1", 12, {"purpose": "move", "nets": ("D",), "slot": 2}, "slot"),
        ("w1", 16, {"purpose": "move", "nets": ("D",)}, "size"),
        ("w1", 12, {"purpose": "move", "nets": ("G",)}, "nets"),
    ],
)
def test_other_vectors_are_faults(
    star: Any, peer: str, size: int, choices: dict[str, Any], reason: str
) -> None:
    star.tell("w0", vector_from(star, peer, size, **choices))
    assert star.members["w0"].kinds("vector_dropped")[-1]["reason"] == reason
    assert link_of(star, peer).faults == 1


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        ("w1", Assign(clock=1, slot=0, order=1)),
        ("w1", Release(clock=1, order=1)),
        ("coordinator", Assign(clock=1, slot=2, order=1)),
        ("coordinator", Move(clock=1, slot=0, to="w9", keep=False, round=1, order=1)),
        ("coordinator", Move(clock=1, slot=0, to="coordinator", keep=True, round=1, order=1)),
        ("coordinator", Expect(clock=1, slot=0, sender="w0", round=1, order=1)),
    ],
)
def test_other_orders_are_faults(star: Any, sender: str, message: Message) -> None:
    order(star, message, sender)
    assert link_of(star, sender).faults == 1
    assert star.members["w0"].phase == "waiting"


def test_orders_that_wait_are_bounded(star: Any) -> None:
    order(star, Assign(clock=1, slot=0, order=90))
    for number in range(MAX_ORDERS + 3):
        order(star, Release(clock=1, order=91 + number))
    assert link_of(star, "coordinator").faults == 3


def test_a_round_is_recorded_with_its_mean_losses(star_of: StarOf) -> None:
    star = star_of(2, "sync", iterations=5)
    star.start()
    star.settle()
    for name in star.names:
        rounds = star.members[name].kinds("round_finished")
        assert [(f["round"], f["iterations"]) for f in rounds] == [(1, 2), (2, 4), (3, 5)]
        assert [(f["loss_d"], f["loss_g"]) for f in rounds] == [(2.0, 1.0)] * 3


def test_what_is_sent_has_the_size_that_was_agreed_on(star: Any) -> None:
    star.tell("w0", vector_from(star, "coordinator", 24))
    with pytest.raises(LocalProtocolError):
        star.members["w0"].machine.handle(
            ev.CriticismDone(data=b"1234", loss_g=1.0, loss_d=1.0, train_s=0.1), 0.0
        )
