"""Nodes on a simulated network, without machines: what they say, and what they hear."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from p2pgan.node.host import carry
from p2pgan.protocol import events as ev
from p2pgan.protocol.messages import Leave, LeaveAck
from p2pgan.sim.virtual.links import Delivery
from p2pgan.sim.virtual.network import HELLO_BYTES, Network
from p2pgan.sim.virtual.timeline import Timeline

Way = tuple[float, bool, bool]
"""How long a message takes, whether it is corrupted, whether it overtakes."""

LOST: Sequence[Way] = ()


class Script:
    """Links that do with each message what they are told to; the rest takes `latency_s`."""

    def __init__(self, latency_s: float = 0.0) -> None:
        self.latency_s = latency_s
        self.plan: deque[Sequence[Way]] = deque()
        self.hellos: deque[Sequence[Way]] = deque()
        self.vectors: list[str | None] = []
        """What each message was said to be a chunk of."""

    def passage(
        self, sender: str, receiver: str, size_bytes: int, now: float, *, vector: str | None
    ) -> list[Delivery]:
        plan = self.hellos if size_bytes == HELLO_BYTES else self.plan
        if plan is self.plan:
            self.vectors.append(vector)
        ways = plan.popleft() if plan else [(self.latency_s, False, False)]
        return [Delivery(now + takes_s, *rest) for takes_s, *rest in ways]


class Party:
    """Nodes that all know each other, and all that they have heard, with its time."""

    def __init__(self, nodes: str = "ab", latency_s: float = 0.0, late: str = "") -> None:
        self.timeline, self.script = Timeline(), Script(latency_s)
        self.heard: dict[str, list[tuple[float, ev.Event]]] = {node: [] for node in nodes}
        self.up: set[str] = set()
        self.suspended: set[str] = set()
        around = {node: [other for other in nodes if other != node] for node in nodes}
        rng = np.random.default_rng(0)
        self.network = Network(self.timeline, self.script, around, self, rng)  # type: ignore[arg-type]
        self.ends: dict[str, Any] = {}
        for node in nodes:
            if node not in late:
                self.start(node)
        self.run(latency_s)

    def is_up(self, node: str) -> bool:
        return node in self.up

    def is_suspended(self, node: str) -> bool:
        return node in self.suspended

    def tell(self, node: str, event: ev.Event) -> None:
        assert node in self.up
        carry(event, self.ends[node])
        self.heard[node].append((self.timeline.now, event))

    def start(self, node: str) -> None:
        self.up.add(node)
        self.ends[node] = self.network.start(node)

    def crash(self, node: str) -> None:
        self.up.remove(node)
        self.network.crash(node)

    def suspend(self, node: str) -> None:
        self.suspended.add(node)
        self.network.suspend(node)

    def resume(self, node: str) -> None:
        self.suspended.remove(node)
        self.network.resume(node)

    def run(self, seconds: float) -> None:
        """Lets all happen that is due until so many seconds from now, which it is then."""
        is_over: list[bool] = []
        self.timeline.after(seconds, lambda: is_over.append(True))
        while not is_over:
            self.timeline.step()
        while self.timeline.next_s == self.timeline.now:
            self.timeline.step()

    def say(self, *numbers: int, by: str = "a", to: str = "b") -> None:
        for number in numbers:
            self.ends[by].send(to, Leave(clock=number))

    def answer(self, *numbers: int, route: bytes | None = None) -> None:
        """`b` to the latest that has said anything."""
        for number in numbers:
            self.ends["b"].reply(route or self.route(), LeaveAck(clock=number))

    def is_linked(self) -> bool:
        """Whether `a` is connected to `b`, as far as it has heard."""
        turns = [
            event for _, event in self.heard["a"] if isinstance(event, ev.LinkUp | ev.LinkDown)
        ]
        about = [event for event in turns if event.peer == "b"]
        return bool(about) and isinstance(about[-1], ev.LinkUp)

    def in_flight(self) -> int:
        """Messages on their way from `a` to `b`, or back, whichever are more."""
        return self.network.backlog("a", "b").in_flight

    def of(self, node: str, kind: type) -> list[Any]:
        return [event for _, event in self.heard[node] if isinstance(event, kind)]

    def clocks(self, node: str = "b", kind: type = ev.Received) -> list[int]:
        return [event.message.clock for event in self.of(node, kind)]

    def route(self, node: str = "b") -> bytes:
        route: bytes = self.of(node, ev.Received)[-1].route
        return route
