"""What has happened in virtual time: every node's last events, and a digest of them all.

Both cost a few microseconds an event: a story is kept raw and put into words when somebody asks.
"""

import hashlib
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.messages import Chunk, VectorAck
from p2pgan.sim.virtual.outages import Outage
from p2pgan.sim.virtual.world import Moment

STORY_EVENTS: Final = 40
"""Kept of each node: two rounds of one with four neighbors, and the handshake before them."""

TRACE_LINES: Final = 512
"""Lines that are hashed at once, which is cheaper than one by one."""

_HEAVY: Final = (ev.Packed, ev.Generated, ev.CriticismDone)
"""Events that carry networks or images."""

_SMALL: Final = (
    *(do.Record, do.Send, do.Reply, do.SetTimer, do.CancelTimer),
    *(do.Train, do.StopTraining, do.Score, do.Close),
)
"""Instructions that carry none."""


class Story:
    """The last events of every node, with what it answered and what befell it."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[tuple[Any, ...]]] = {}

    def add(self, moment: Moment) -> None:
        """Takes note of an event."""
        answers = tuple(map(_kept_instruction, moment.instructions))
        line = (moment.now, moment.incarnation, _kept_event(moment.event), answers)
        self._of(moment.node).append(line)

    def befell(self, now: float, outage: Outage, what: str) -> None:
        """An outage has begun or ended."""
        for node in outage.nodes:
            self._of(node).append((now, f"{outage.kind} {what}"))

    def of(self, node: str) -> str:
        """A node's story in words, a line an event, the latest last."""
        lines = self._lines.get(node, ())
        return "\n".join([f"the last {len(lines)} events of `{node}`:", *map(_told, lines)])

    def _of(self, node: str) -> deque[tuple[Any, ...]]:
        lines = self._lines.get(node)
        if lines is None:
            lines = self._lines[node] = deque(maxlen=STORY_EVENTS)
        return lines


class Trace:
    """A digest of all that happened, in order: equal for the same seed.

    Times, nodes and exchanges enter it, and no value of a network: the last digits of those depend
    on the number of threads. What happens does not, unless a decision rests on a network's numbers:
    a vote (`final = "agree"`), or the refusal of networks that have diverged.
    """

    def __init__(self) -> None:
        self.events = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self._lines: list[str] = []

    def add(self, moment: Moment) -> None:
        """Takes note of an event."""
        self.events += 1
        event = moment.event
        kind, what = type(event).__name__, _what(event)
        # To the nanosecond.
        line = f"{round(moment.now, 9)!r} {moment.node} {moment.incarnation} {kind} {what}\n"
        self._lines.append(line)
        if len(self._lines) >= TRACE_LINES:
            self._flush()

    def digest(self) -> str:
        """In hexadecimal digits."""
        self._flush()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        self._hash.update("".join(self._lines).encode())
        self._lines.clear()


def _what(event: ev.Event) -> str:
    """What tells an event from others of its kind."""
    match event:
        case ev.Received() | ev.Answered():
            message = event.message
            if isinstance(message, Chunk | VectorAck):
                return f"{type(message).__name__} {message.exchange}"
            return type(message).__name__
        case ev.LinkUp() | ev.LinkDown():
            return event.peer
        case ev.VectorReplaced():
            return event.exchange
        case ev.TimerFired():
            return event.name
        case ev.TrainingDone():
            return str(event.iterations)
    return ""


def _kept_event(event: ev.Event) -> object:
    if isinstance(event, ev.Received):
        return event.route, event.message
    return type(event) if isinstance(event, _HEAVY) else event


def _kept_instruction(instruction: do.Instruction) -> object:
    if isinstance(instruction, _SMALL):
        return instruction
    if isinstance(instruction, do.SendVector):
        return instruction.peer, instruction.exchange
    return type(instruction)


def _told(line: tuple[Any, ...]) -> str:
    if len(line) == 2:
        now, text = line
        return f"  {now:12.6f} s      {text}"
    now, incarnation, event, answers = line
    told = f"  {now:12.6f} s  #{incarnation}  {_event_told(event)}"
    return f"{told} -> {'; '.join(_instructions_told(answers))}" if answers else told


def _event_told(event: object) -> str:
    match event:
        case (bytes() as route, message):
            return f"Received({route.decode()}, {_message_told(message)})"
        case ev.Answered():
            return f"Answered({event.peer}, {_message_told(event.message)})"
        case type():
            return event.__name__
    return str(event)


def _instructions_told(answers: Iterable[object]) -> Iterable[str]:
    for answer in answers:
        match answer:
            case do.Record():
                fields = ", ".join(f"{key}={value}" for key, value in answer.fields.items())
                yield f"{answer.kind}({fields})"
            case do.Send():
                yield f"Send({answer.peer}, {_message_told(answer.message)})"
            case do.Reply():
                yield f"Reply({answer.route.decode()}, {_message_told(answer.message)})"
            case (peer, exchange):
                yield f"SendVector({peer}, {exchange})"
            case type():
                yield answer.__name__
            case _:
                yield str(answer)


def _message_told(message: object) -> str:
    """A message without its clock, and a chunk without its digest."""
    kind = type(message).__name__
    if isinstance(message, Chunk):
        return f"{kind} {message.exchange} {message.end}/{message.total_bytes}"
    if isinstance(message, VectorAck):
        return f"{kind} {message.exchange} {message.reason or 'accepted'}"
    return kind
