"""FL-GAN's worker."""

from collections.abc import Callable
from typing import Any

import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import split

StarOf = Callable[..., Any]


def model_for(star: Any, round_: int, counter: int = 900, **choices: Any) -> ev.Received:
    """A model as the coordinator would send it to w0."""
    link = star.members["w0"].machine._neighborhood.links["coordinator"]
    order = do.SendVector(
        **{
            "peer": "w0",
            "exchange": f"coordinator.{link.boot[:8]}.{counter}",
            "nets": ("G", "D"),
            "round": round_,
            "clock": 1,
            "purpose": "model",
            **choices,
        }
    )
    ((chunk, payload),) = split(bytes(32), order, chunk_bytes=64)
    return ev.Received(route=link.route, message=chunk, payload=payload)


@pytest.fixture
def star(star_of: StarOf) -> Any:
    """One worker, which trains."""
    made = star_of(1, "fl")
    made.start()
    made.settle(until=lambda: made.members["w0"].phase == "training")
    return made


def test_a_newer_model_ends_the_training(star: Any) -> None:
    worker = star.members["w0"]
    star.tell("w0", model_for(star, 2))
    assert worker.stopped_training
    star.take(("work", "w0"))
    assert worker.phase == "adopting"
    assert worker.work.arrival.round == 2
    assert [f["round"] for f in worker.kinds("round_finished")] == []
    star.take(("work", "w0"))
    assert worker.phase == "training"


def test_of_two_newer_models_the_last_is_taken(star: Any) -> None:
    worker = star.members["w0"]
    star.tell("w0", model_for(star, 2))
    star.tell("w0", model_for(star, 3, 901))
    assert [f["reason"] for f in worker.kinds("vector_dropped")] == ["superseded"]
    star.take(("work", "w0"))
    assert worker.work.arrival.round == 3


def test_what_a_former_coordinator_asked_for_is_not_sent(star: Any) -> None:
    worker, before = star.members["w0"], star.coordinator
    star.kill("coordinator")
    star.take(("work", "w0"))
    star.restart("coordinator", b"")
    star.settle()
    star.check_closed()
    star.check_accounts()
    assert before is not star.coordinator
    assert not [f for f in star.coordinator.kinds("vector_dropped") if f["reason"] == "unasked"]
    assert worker.close.reason == "finished"


def test_a_training_cut_short_for_a_model_that_is_void_sends_nothing(star: Any) -> None:
    worker = star.members["w0"]
    star.tell("w0", model_for(star, 2))
    star.kill("coordinator")
    star.restart("coordinator", b"")
    star.settle(until=lambda: "void" in {f["reason"] for f in worker.kinds("vector_dropped")})
    star.settle()
    star.check_closed()
    assert star.coordinator.close.reason == "finished"


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"round": 9}, "round"),
        ({"round": 0}, "round"),
        ({"purpose": "update"}, "nets"),
        ({"nets": ("G",)}, "nets"),
        ({"purpose": "mix"}, "nets"),
        ({"origin": "w0"}, "origin"),
    ],
)
def test_it_takes_models_of_the_run_only(star: Any, choices: dict[str, Any], reason: str) -> None:
    link = star.members["w0"].machine._neighborhood.links["coordinator"]
    star.tell("w0", model_for(star, **{"round_": 1, **choices}))
    assert star.members["w0"].kinds("vector_dropped")[-1]["reason"] == reason
    assert link.faults == 1


def test_a_shell_that_trains_too_little_or_too_much_is_told(star: Any) -> None:
    machine = star.members["w0"].machine
    for iterations in (1, 3):
        with pytest.raises(LocalProtocolError):
            machine.handle(ev.TrainingDone(iterations=iterations), 0.0)


def test_an_update_has_the_size_that_was_agreed_on(star: Any) -> None:
    star.take(("work", "w0"))
    with pytest.raises(LocalProtocolError):
        star.members["w0"].machine.handle(ev.Packed(data=b"1234"), 0.0)
