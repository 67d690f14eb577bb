"""What every shell does around one machine."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from p2pgan.errors import CheckpointError
from p2pgan.node.host import Ended, Host, Surroundings
from p2pgan.node.jobs import Job, JobDone
from p2pgan.node.tallies import Tallies
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival
from p2pgan.protocol.messages import Credit, Message, VectorAck


class Script:
    """A machine that says what it was told to say."""

    def __init__(self) -> None:
        self.instructions: list[do.Instruction] = []

    def handle(self, event: ev.Event, now: float) -> Sequence[do.Instruction]:
        del event, now
        said, self.instructions = self.instructions, []
        return said


class Wire:
    """Remembers vectors."""

    def __init__(self) -> None:
        self.tallies = Tallies()
        self.vectors: list[tuple[str, int, bytes]] = []

    def send(self, peer: str, message: Message) -> None:
        raise AssertionError(f"a message to {peer}: {message}")

    def send_vector(self, order: do.SendVector, data: bytes, chunk_bytes: int) -> str | None:
        del chunk_bytes
        self.vectors.append((order.exchange, order.clock, data))
        return None

    def reply(self, route: bytes, message: Message) -> None:
        raise AssertionError(f"an answer to {route!r}: {message}")

    def credit(self, peer: str, answer: Credit | VectorAck) -> None:
        raise AssertionError(f"credit of {peer}: {answer}")

    def forget(self, peer: str) -> None:
        raise AssertionError(f"{peer} is forgotten")

    def dial(self, peer: str, address: str) -> None:
        raise AssertionError(f"{peer} is dialled at {address}")

    def hang_up(self, peer: str) -> None:
        raise AssertionError(f"{peer} is hung up on")


class Jobs:
    """Remembers jobs."""

    def __init__(self) -> None:
        self.given: list[Job] = []

    def give(self, job: Job) -> None:
        self.given.append(job)

    def stop_training(self) -> None:
        raise AssertionError("nobody trains")


Say = Callable[..., None]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def say(wire: Wire, jobs: Jobs) -> Say:
    """Has the machine say something."""
    script: Any = Script()
    around = Surroundings(
        network=wire,
        worker=jobs,
        timers={},
        record=lambda record: None,
        clock=lambda: 0.0,
        chunk_bytes=1024,
    )
    host = Host(script, around)

    def say_(*instructions: do.Instruction, networks: bytes = b"") -> None:
        if networks:
            host.take(JobDone(event=ev.Started(), snapshot={"G": networks}))
        script.instructions = list(instructions)
        host.feed([ev.Started()])

    return say_


def sent(exchange: str, clock: int, *, keep: bool = True) -> do.SendVector:
    return do.SendVector(
        peer="b", exchange=exchange, nets=("G",), round=1, clock=clock, purpose="mass", keep=keep
    )


def test_what_was_kept_is_sent_again_as_it_was(say: Say, wire: Wire) -> None:
    """Though the networks have changed since."""
    say(networks=b"old.")
    say(sent("a.1", 1))
    say(networks=b"new.")
    say(do.Resend(exchange="a.1", clock=7))
    assert wire.vectors == [("a.1", 1, b"old."), ("a.1", 7, b"old.")]


def test_what_was_forgotten_is_gone(say: Say) -> None:
    say(networks=b"old.")
    say(sent("a.1", 1), do.Forget(exchange="a.1"))
    with pytest.raises(KeyError):
        say(do.Resend(exchange="a.1", clock=7))


def test_what_nobody_needs_again_is_not_kept(say: Say) -> None:
    say(networks=b"old.")
    say(sent("a.1", 1, keep=False))
    with pytest.raises(KeyError):
        say(do.Forget(exchange="a.1"))


def test_a_mixture_gets_what_it_needs_and_nothing_else(say: Say, jobs: Jobs) -> None:
    """A base, and a vector that came back; both may be forgotten at once."""
    answer = Arrival(peer="b", exchange="b.1", nets=("G",), round=1, data=b"them")
    returned = Arrival(peer="a", exchange="a.2", nets=("G",), round=1, data=b"")
    say(networks=b"one.")
    say(sent("a.1", 1))
    say(networks=b"two.")
    say(sent("a.2", 2), sent("a.3", 3))
    mix = do.Mix(arrivals=(answer, returned), bases={"b.1": "a.1"})
    say(mix, do.Forget(exchange="a.1"), do.Forget(exchange="a.2"))
    (given,) = jobs.given
    assert isinstance(given, do.Mix)
    assert given.kept == {"a.1": b"one.", "a.2": b"two."}
    assert given.came == (answer,)


FULL = CheckpointError(expected="room", got="none", at="disk")
BROKEN = ZeroDivisionError("in the middle")


class Scripted:
    """A machine that bears a full disk, and ends when work fails or somebody wants it to."""

    def handle(self, event: ev.Event, now: float) -> list[do.Instruction]:
        del now
        match event:
            case ev.WorkFailed():
                return [do.Close(reason="failed", failure=event.text)]
            case ev.StopRequested():
                return [do.Close(reason=event.reason)]
            case _:
                return []


def ended(*events: ev.Event, raised: tuple[BaseException, ...]) -> Ended | None:
    """How a host ends whose jobs raised that, before these events."""
    machine: Any = Scripted()
    nothing: Any = None
    around = Surroundings(
        network=nothing,
        worker=nothing,
        timers={},
        record=lambda record: None,
        clock=lambda: 0.0,
        chunk_bytes=4,
    )
    host = Host(machine, around)
    for error in raised:
        is_full = isinstance(error, CheckpointError)
        event = ev.SavingFailed(text="full") if is_full else ev.WorkFailed(text="broken")
        host.take(JobDone(event=event, error=error))
    host.feed(events)
    return host.ended


def test_the_error_is_the_one_that_ended_the_node() -> None:
    """Not that of a disk that was full for a while, long ago."""
    assert ended(raised=(FULL, BROKEN)) == Ended(reason="failed", failure="broken", error=BROKEN)


def test_an_error_that_ended_nothing_is_none() -> None:
    end = ended(ev.StopRequested(reason="interrupted"), raised=(FULL,))
    assert end == Ended(reason="interrupted")
