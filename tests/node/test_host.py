"""What every shell does around one machine."""

from typing import Any

from p2pgan.errors import CheckpointError
from p2pgan.node.host import Ended, Host, Surroundings
from p2pgan.node.jobs import JobDone
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do

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
