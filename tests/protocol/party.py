"""A party: peer machines joined by queues instead of sockets, one step at a time.

Every message goes through the real wire format. A scheduler chooses the next step among all that
are possible (deliver a message, finish a piece of work, break or make a connection, let time pass),
so that a test can try any order.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from p2pgan.errors import RemoteProtocolError
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import split
from p2pgan.protocol.core import NodeSettings, Settings
from p2pgan.protocol.links import Identity
from p2pgan.protocol.machines import machine_of
from p2pgan.protocol.wire import decode, encode

Frames = list[bytes | memoryview]
Step = tuple[str, ...]

JOINT: tuple[tuple[str, ...], ...] = (("G", "D"),)
INDEPENDENT: tuple[tuple[str, ...], ...] = (("G",), ("D",))


class Connection:
    """Ours to a peer: what we say goes `forward`, what it answers comes `back`."""

    def __init__(self, caller: str, callee: str) -> None:
        self.caller, self.callee, self.number = caller, callee, 0
        self.is_up = False
        self.forward: deque[Frames] = deque()
        self.back: deque[Frames] = deque()

    @property
    def route(self) -> bytes:
        return f"{self.caller}>{self.callee}#{self.number}".encode()

    def cut(self) -> None:
        self.is_up = False
        self.forward.clear()
        self.back.clear()


class Member:
    """A machine with the shell that a test gives it."""

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self.machine = machine_of(settings)
        self.vector: dict[str, np.ndarray] = {
            "G": np.arange(5, dtype=np.float32),
            "D": np.ones(3, dtype=np.float32),
        }
        self.work: do.Instruction | None = None
        self.done_s = 0.0
        """When the work at hand is done, at the earliest."""
        self.timers: dict[str, float] = {}
        self.kept: dict[str, tuple[do.SendVector, bytes]] = {}
        """Vectors that may be needed again."""
        self.log: list[do.Record] = []
        self.close: do.Close | None = None
        self.stopped_training = False
        self.mixed: list[str] = []
        self.judged: list[str] = []
        self.states: list[bytes] = []
        self.has_full_disk = False
        self.slot: int | None = None
        """Of the discriminator that a worker has."""
        self.learned: list[tuple[int, tuple[int, ...]]] = []
        self.generated: dict[int, int] = {}
        self.served: list[tuple[int, ...]] = []
        """Slots that batches were generated for, call by call."""

    @property
    def phase(self) -> str:
        return self.machine.phase.value

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        return [dict(record.fields) for record in self.log if record.kind == kind]


def unpacked(data: bytes) -> dict[str, np.ndarray]:
    """G and D out of a whole pair."""
    values = np.frombuffer(data, np.float32).copy()
    return {"G": values[:5], "D": values[5:]}


def is_finite(payload: bytes | memoryview) -> bool:
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(np.frombuffer(payload, np.float32)).all())


def _call(
    route: bytes, frames: Frames, is_finite: Callable[[bytes | memoryview], bool]
) -> ev.Event:
    """What a caller's message is to whoever is called."""
    try:
        message, payload = decode(frames)
    except RemoteProtocolError:
        return ev.Malformed(route=route)
    finite = is_finite(payload)
    return ev.Received(route=route, message=message, payload=payload, finite=finite)


def _answer(peer: str, frames: Frames) -> ev.Event:
    try:
        return ev.Answered(peer=peer, message=decode(frames)[0])
    except RemoteProtocolError:
        return ev.Malformed(peer=peer)


class Party:
    """Machines and the queues between them."""

    def __init__(
        self,
        edges: Sequence[tuple[str, str]],
        *,
        groups: Any = JOINT,
        seed: int = 0,
        overrides: dict[str, dict[str, Any]] | None = None,
        **common: Any,
    ) -> None:
        self._reset(seed)
        for node in sorted({node for edge in edges for node in edge}):
            neighbors = sorted({a if b == node else b for a, b in edges if node in (a, b)})
            choices = {**common, **(overrides or {}).get(node, {})}
            if "last_step" in choices:  # each node has its own book
                choices["last_step"] = choices["last_step"](node)
            self.add(node, neighbors, groups=groups, **choices)

    def add(
        self, node: str, neighbors: Sequence[str], *, groups: Any = JOINT, **choices: Any
    ) -> None:
        """Somebody comes who has not started yet; or comes again, as another process."""
        identity = Identity(
            node=node,
            run=choices.pop("run", "run"),
            architecture=choices.pop("architecture", "same"),
            boot=choices.pop("boot", f"{node}-boot-of-this-test"),
        )
        defaults: dict[str, Any] = {
            "iterations": 6,
            "exchange_every": 2,
            "net_bytes": {"G": 20, "D": 12},
            "draw": self._draw,
        }
        settings = Settings(
            identity=identity,
            neighbors=tuple(neighbors),
            groups=groups,
            **{**defaults, **choices},
        )
        self.members[node] = Member(settings)
        self.members[node].vector["G"][0] = len(self.members)  # by which a judge knows it
        for peer in neighbors:
            self.connections[node, peer] = Connection(node, peer)

    def _reset(self, seed: int) -> None:
        self.now = 0.0
        self.rng = np.random.default_rng(seed)
        self.members: dict[str, Member] = {}
        self.connections: dict[tuple[str, str], Connection] = {}
        self.losses = 0
        self.chunk_bytes = 12
        self.frozen: set[str] = set()
        self.work_s: dict[type, float] = {}
        """How long work of some kinds takes; other work takes no time."""
        self.slower: dict[str, float] = {}
        """Nodes whose work takes so many times longer."""

    def _draw(self, ready: Sequence[str]) -> Sequence[str]:
        return [ready[int(self.rng.integers(len(ready)))]]

    def start(self, *nodes: str) -> None:
        for node in nodes or self.members:
            self.tell(node, ev.Started())

    def tell(self, node: str, event: ev.Event) -> None:
        """Feeds a machine and does what it says."""
        member = self.members[node]
        if member.close is not None:
            return
        told = member.machine.handle(event, self.now)
        member.machine.validate_all()
        for instruction in told:
            self._obey(node, member, instruction)

    def _obey(self, node: str, member: Member, instruction: do.Instruction) -> None:
        match instruction:
            case do.Send():
                self._send(node, instruction.peer, encode(instruction.message))
            case do.Reply():
                for connection in self.connections.values():
                    if connection.route == instruction.route and connection.is_up:
                        self._carry(connection.back, encode(instruction.message))
            case do.SendVector():
                own = b"".join(member.vector[net].tobytes() for net in instruction.nets)
                data = instruction.data or own
                if instruction.keep:
                    member.kept[instruction.exchange] = instruction, data
                self._send_vector(node, instruction, data)
            case do.Resend():
                self._send_vector(node, *member.kept[instruction.exchange])
            case do.Forget():
                del member.kept[instruction.exchange]
            case do.SetTimer():
                member.timers[instruction.name] = instruction.at_s
            case do.CancelTimer():
                member.timers.pop(instruction.name, None)
            case do.Record():
                member.log.append(instruction)
            case do.Dial():
                former = self.connections.get((node, instruction.peer))
                made = self.connections[node, instruction.peer] = Connection(node, instruction.peer)
                made.number = former.number if former is not None else 0
            case do.HangUp():
                del self.connections[node, instruction.peer]
            case do.StopTraining():
                member.stopped_training = True
                member.done_s = self.now
            case do.Close():
                member.close = instruction
                member.timers.clear()
                member.work = None
            case _:
                assert member.work is None, "one piece of work at a time"
                if isinstance(instruction, do.Mix):
                    kept = {exchange: data for exchange, (_, data) in member.kept.items()}
                    instruction = instruction.with_kept(kept)
                member.work = instruction
                lasts_s = self.work_s.get(type(instruction), 0.0)
                member.done_s = self.now + lasts_s * self.slower.get(node, 1.0)

    def _send_vector(self, node: str, order: do.SendVector, data: bytes) -> None:
        for chunk, payload in split(data, order, chunk_bytes=self.chunk_bytes):
            self._send(node, order.peer, encode(chunk, payload))

    def _send(self, node: str, peer: str, frames: Frames) -> None:
        connection = self.connections[node, peer]
        if connection.is_up:
            self._carry(connection.forward, frames)

    def _carry(self, queue: deque[Frames], frames: Frames) -> None:
        """A message sets out; connections keep the order and lose nothing."""
        queue.append(frames)

    # -- steps -------------------------------------------------------------------------------------

    def steps(self) -> list[Step]:
        """Everything that can happen next, time apart."""
        found: list[Step] = []
        for (a, b), connection in self.connections.items():
            if b not in self.members:
                continue
            here, there = self.members[a], self.members[b]
            if connection.is_up:
                if connection.forward and there.close is None and b not in self.frozen:
                    found.append(("forward", a, b))
                if connection.back and here.close is None and a not in self.frozen:
                    found.append(("back", a, b))
                if there.close is not None and not connection.back:
                    found.append(("down", a, b))
            elif a in self.frozen or b in self.frozen:
                continue
            elif here.close is None and there.close is None and self._is_started(a, b):
                found.append(("up", a, b))
        for node, member in self.members.items():
            is_done = member.work is not None and member.done_s <= self.now
            if is_done and node not in self.frozen:
                found.append(("work", node))
        return found

    def _is_started(self, *nodes: str) -> bool:
        return all(self.members[node].phase != "idle" for node in nodes)

    def take(self, step: Step) -> None:
        """Makes a step happen."""
        match step:
            case ("work", node):
                self._finish_work(node)
            case ("timer", node, name):
                del self.members[node].timers[name]
                self.tell(node, ev.TimerFired(name=name))
            case (kind, a, b):
                self._connection_step(kind, self.connections[a, b])

    def _connection_step(self, kind: str, connection: Connection) -> None:
        a, b = connection.caller, connection.callee
        if kind == "up":
            connection.number += 1
            connection.is_up = True
            self.tell(a, ev.LinkUp(peer=b))
        elif kind == "down":
            self.losses += 1
            connection.cut()
            self.tell(a, ev.LinkDown(peer=b))
        elif kind == "forward":
            payload = connection.forward.popleft()
            self.tell(b, _call(connection.route, payload, self._is_finite))
        else:
            self.tell(a, _answer(b, connection.back.popleft()))

    def _is_finite(self, payload: bytes | memoryview) -> bool:
        return is_finite(payload)

    def _finish_work(self, node: str) -> None:
        member = self.members[node]
        work, member.work = member.work, None
        match work:
            case do.Train():
                done = work.iterations // 2 if member.stopped_training else work.iterations
                member.stopped_training = False
                self.tell(node, ev.TrainingDone(iterations=done, loss_g=0.5, train_s=0.1))
            case do.Mix():
                member.mixed += [arrival.exchange for arrival in work.came]
                weights = self._merge(member, work)
                self.tell(node, ev.MixingDone(weights=tuple(weights.items())))
            case do.Judge():
                member.judged.append(work.arrival.exchange)
                self.tell(node, ev.JudgingDone(score=float(unpacked(work.arrival.data)["G"][0])))
            case do.Adopt():
                member.mixed.append(work.arrival.exchange)
                member.vector = unpacked(work.arrival.data)
                self.tell(node, ev.AdoptingDone())
            case do.Score():
                self.tell(node, ev.ScoringDone(samples=10, fid=1.0, ms=2.0))
            case do.Save() if member.has_full_disk:
                self.tell(node, ev.SavingFailed(text="no room"))
            case do.Save():
                member.states.append(work.state)
                self.tell(node, ev.SavingDone(path=f"nodes/{node}/checkpoint.safetensors"))
            case _:
                self._finish_other(node, member, work)

    def _merge(self, member: Member, order: do.Mix) -> dict[str, float]:
        """What mixing does to the networks, by default nothing; the share of each arrival."""
        del member
        return {arrival.exchange: 1 / (1 + len(order.arrivals)) for arrival in order.arrivals}

    def _finish_other(self, node: str, member: Member, work: Any) -> None:
        raise AssertionError(f"no such work: {work}")

    def timers(self) -> list[Step]:
        """Timers that are set, the next one first."""
        due = sorted(
            (at_s, node, name)
            for node, member in self.members.items()
            for name, at_s in member.timers.items()
            if node not in self.frozen
        )
        return [("timer", node, name) for _, node, name in due]

    def settle(
        self,
        choose: Callable[[list[Step]], Step] | None = None,
        *,
        until: Callable[[], bool] = lambda: False,
        limit: int = 20_000,
    ) -> None:
        """Takes steps until nothing is left to do; time passes only when nothing else happens."""
        for _ in range(limit):
            if until():
                return
            steps = self.steps()
            if steps:
                step = choose(steps) if choose else steps[int(self.rng.integers(len(steps)))]
            elif self._pass_time():
                continue
            elif self.timers():
                step = self.timers()[0]
                self.now = max(self.now, self.members[step[1]].timers[step[2]])
            else:
                return
            self.take(step)
        raise AssertionError("the party does not come to rest")

    def _pass_time(self) -> bool:
        """Until the next piece of work is done, if no timer is due before."""
        timers = [self.members[node].timers[name] for _, node, name in self.timers()]
        awake = [m for node, m in self.members.items() if node not in self.frozen]
        ends_s = [m.done_s for m in awake if m.work is not None and m.done_s > self.now]
        if not ends_s or min(timers, default=math.inf) < min(ends_s):
            return False
        self.now = min(ends_s)
        return True

    # -- checks ------------------------------------------------------------------------------------

    def logged(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        return [(node, f) for node, member in self.members.items() for f in member.kinds(kind)]

    def check_accounts(self) -> None:
        """Every vector sent was received or dropped, ids are unique, both ends tell one story."""
        sent = {fields["exchange"]: (node, fields) for node, fields in self.logged("vector_sent")}
        assert len(sent) == len(self.logged("vector_sent")), "an exchange id was used twice"
        received = [fields["exchange"] for _, fields in self.logged("vector_received")]
        assert len(received) == len(set(received)), "a vector was received twice"
        dropped = [fields["exchange"] for _, fields in self.logged("vector_dropped")]
        assert set(sent) <= {*received, *dropped}, "a vector is unaccounted for"
        assert {*received, *dropped} <= set(sent), "a vector came from nowhere"
        for node, fields in self.logged("vector_received"):
            sender, told = sent[fields["exchange"]]
            assert (fields["peer"], told["peer"]) == (sender, node)
            assert all(fields[name] == told[name] for name in ("round", "nets", "bytes"))
        self._check_ends(received)

    def _check_ends(self, received: list[str]) -> None:
        """What was received was mixed or dropped, never both, never twice."""
        ends: list[str] = []
        for node, member in self.members.items():
            own = {f["exchange"] for f in member.kinds("vector_received")}
            mixed = [f["exchange"] for f in member.kinds("vector_mixed")]
            judged = [f["exchange"] for f in member.kinds("vector_judged")]
            dropped = [f["exchange"] for f in member.kinds("vector_dropped") if f["peer"] != node]
            ends += mixed + judged + [exchange for exchange in dropped if exchange in own]
            assert mixed == member.mixed
            assert judged == member.judged
        assert sorted(ends) == sorted(received)

    def check_closed(self) -> None:
        assert all(member.close is not None for member in self.members.values()), "still running"
