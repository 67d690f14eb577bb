"""Memberships without machines or sockets: links with delays and losses, in virtual time."""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from p2pgan.protocol import instructions as do
from p2pgan.protocol.core import Core, Settings
from p2pgan.protocol.links import Identity
from p2pgan.protocol.membership.membership import TIMERS, Membership
from p2pgan.protocol.membership.settings import MembershipSettings
from p2pgan.protocol.membership.timing import PRESETS, Timing
from p2pgan.protocol.messages import Member, Talk
from p2pgan.protocol.wire import decode, encode

Edge = tuple[str, str]


def ring(count: int) -> list[Edge]:
    nodes = names(count)
    return [(nodes[i], nodes[(i + 1) % count]) for i in range(count)]


def star(count: int) -> list[Edge]:
    hub, *leaves = names(count)
    return [(hub, leaf) for leaf in leaves]


def complete(count: int) -> list[Edge]:
    nodes = names(count)
    return [(a, b) for i, a in enumerate(nodes) for b in nodes[i + 1 :]]


def circulant(count: int, jumps: Sequence[int] = (1, 5)) -> list[Edge]:
    """Everybody has two neighbors for each jump, however many nodes there are."""
    nodes = names(count)
    return [(nodes[i], nodes[(i + jump) % count]) for i in range(count) for jump in jumps]


def names(count: int) -> list[str]:
    return [f"n{i:03}" for i in range(count)]


class Node:
    """A membership with the machine that a test gives it; it is its own voice."""

    def __init__(self, party: "Party", node: str, boot: str, members: Iterable[Member]) -> None:
        self.party, self.node = party, node
        self.core = Core(
            Settings(
                identity=Identity(node=node, run="run", architecture="same", boot=boot),
                neighbors=tuple(party.adjacent[node]),
                groups=(),
                net_bytes={"G": 8, "D": 4},
                iterations=1,
                exchange_every=1,
                draw=lambda ready: ready,
            )
        )
        settings = MembershipSettings(
            members=tuple(members), timing=party.timing, order=party.order
        )
        self.membership = Membership(self.core, settings, self)
        self.timers: dict[str, float] = {}
        self.log: list[do.Record] = []
        self.changes: list[tuple[float, str, str]] = []
        self.is_up = False

    # -- voice -------------------------------------------------------------------------------------

    def say(self, peer: str, message: Talk) -> bool:
        return self.party.carry(self.node, peer, message)

    def neighbors(self) -> Sequence[str]:
        return self.party.adjacent[self.node]

    def around(self, member: str) -> Collection[str]:
        return self.party.adjacent.get(member, ())

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        return [dict(record.fields) for record in self.log if record.kind == kind]


class Party:
    """Nodes, the links between them and a heap of what happens when."""

    def __init__(
        self,
        edges: Sequence[Edge],
        *,
        seed: int = 0,
        loss: float = 0.0,
        timing: Timing = PRESETS["local"],
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.timing, self.loss, self.now = timing, loss, 0.0
        self.delay_s = (0.001, 0.02)
        self.slow: dict[str, float] = {}
        """Nodes whose messages, both ways, take so many seconds."""
        self.cut: set[frozenset[str]] = set()
        """Links that are down."""
        self.frozen: dict[str, list[tuple[tuple[str, ...], Any]]] = {}
        """Nodes that do nothing, and what waits for them."""
        self.adjacent: dict[str, list[str]] = {}
        self.sent: Counter[str] = Counter()
        self.rows_sent: Counter[str] = Counter()
        self._heap: list[tuple[float, int, tuple[str, ...], Any]] = []
        self._number = 0
        for a, b in edges:
            self.adjacent.setdefault(a, []).append(b)
            self.adjacent.setdefault(b, []).append(a)
        rows = [Member(node=node) for node in self.adjacent]
        self.nodes = {node: Node(self, node, f"{node}-0", rows) for node in self.adjacent}

    def order(self, names: Sequence[str]) -> Sequence[str]:
        return [names[i] for i in self.rng.permutation(len(names))]

    # -- the network -------------------------------------------------------------------------------

    def is_linked(self, a: str, b: str) -> bool:
        there = self.nodes.get(b)
        is_open = there is not None and there.is_up and self.nodes[a].is_up
        return is_open and b in self.adjacent[a] and frozenset((a, b)) not in self.cut

    def carry(self, sender: str, receiver: str, message: Talk) -> bool:
        if not self.is_linked(sender, receiver):
            return False
        self.sent[sender] += 1
        self.rows_sent[sender] += len(getattr(message, "rumors", getattr(message, "rows", ())))
        decoded, _ = decode(encode(message))
        if self.rng.random() >= self.loss:
            least_s, most_s = self.delay_s
            delay_s = float(self.rng.uniform(least_s, most_s))
            delay_s += max(self.slow.get(sender, 0.0), self.slow.get(receiver, 0.0))
            self._push(delay_s, ("message", sender, receiver), decoded)
        return True

    def _push(self, delay_s: float, what: tuple[str, ...], load: Any = None) -> None:
        self._number += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._number, what, load))

    # -- what happens to nodes ---------------------------------------------------------------------

    def start(self, *nodes: str) -> "Party":
        for node in nodes or self.nodes:
            self.nodes[node].is_up = True
            self._do(node, lambda m: m.start(f"tcp://{node}:1"))  # noqa: B023
        for node in nodes or self.nodes:
            for peer in self.adjacent[node]:
                self.link(node, peer)
        return self

    def link(self, a: str, b: str) -> None:
        """Both say hello, if they can."""
        if self.is_linked(a, b):
            for caller, callee in ((a, b), (b, a)):
                own = self.nodes[caller].membership.own
                hello = Member(
                    node=own.node,
                    boot=own.boot,
                    address=own.address,
                    incarnation=own.incarnation,
                    since=own.since,
                )
                self._push(0.01, ("hello", caller, callee), hello)

    def crash(self, node: str, *, notice: bool = False) -> None:
        """It is gone without a word; connections break at once, or nobody notices."""
        self.nodes[node].is_up = False
        self.nodes[node].timers.clear()
        if notice:
            for peer in self.adjacent[node]:
                self._push(0.01, ("lost", node, peer))

    def restart(self, node: str, boot: str) -> None:
        rows = [Member(node=name) for name in self.adjacent]
        self.nodes[node] = Node(self, node, boot, rows)
        self.start(node)

    def partition(self, side: Collection[str]) -> None:
        """Links between that side and the other are cut, and both ends notice."""
        for a, peers in self.adjacent.items():
            for b in peers:
                if (a in side) != (b in side):
                    self.cut.add(frozenset((a, b)))
                    self._push(0.01, ("lost", b, a))

    def heal(self) -> None:
        healed, self.cut = self.cut, set()
        for a, b in sorted(tuple(sorted(link)) for link in healed):
            self.link(a, b)

    def freeze(self, node: str) -> None:
        self.frozen[node] = []

    def thaw(self, node: str) -> None:
        for what, load in self.frozen.pop(node):
            self._happen(what, load)

    # -- time --------------------------------------------------------------------------------------

    def run(self, seconds: float) -> "Party":
        """Lets so much time pass."""
        end_s = self.now + seconds
        while True:
            timers = [
                (at_s, name, node)
                for node, at in self.nodes.items()
                for name, at_s in at.timers.items()
                if node not in self.frozen
            ]
            next_timer = min(timers, default=(np.inf, "", ""))
            next_message = self._heap[0][0] if self._heap else np.inf
            if min(next_timer[0], next_message) > end_s:
                break
            if next_message <= next_timer[0]:
                self.now, _, what, load = heapq.heappop(self._heap)
                self._happen(what, load)
            else:
                self.now = max(self.now, next_timer[0])
                _, name, node = next_timer
                del self.nodes[node].timers[name]
                self._do(node, lambda m: m.fired(name))  # noqa: B023
        self.now = end_s
        return self

    def _happen(self, what: tuple[str, ...], load: Any) -> None:
        kind, a, b = what
        if not self.nodes[b].is_up:
            return
        if kind == "lost":
            self._do(b, lambda m: m.lost(a))
        elif b in self.frozen:
            self.frozen[b].append((what, load))
        elif frozenset((a, b)) in self.cut:
            return
        elif kind == "hello":
            self._do(b, lambda m: m.met(load))
        else:
            self._do(b, lambda m: m.hear(a, load))

    def _do(self, node: str, what: Any) -> Any:
        at = self.nodes[node]
        at.core.now = self.now
        result = what(at.membership)
        at.membership.validate_all()
        for instruction in at.core.take():
            match instruction:
                case do.SetTimer():
                    assert instruction.name in TIMERS
                    assert instruction.at_s >= self.now
                    at.timers[instruction.name] = instruction.at_s
                case do.CancelTimer():
                    at.timers.pop(instruction.name, None)
                case do.Record():
                    at.log.append(instruction)
        for change in at.membership.take_changes():
            at.changes.append((self.now, change.node, change.after.state))
        return result

    def tell(self, node: str, what: Any) -> Any:
        """Something happens to a node now."""
        return self._do(node, what)

    # -- what is seen ------------------------------------------------------------------------------

    def up(self) -> list[str]:
        return [node for node, at in self.nodes.items() if at.is_up]

    def states(self, node: str) -> dict[str, str]:
        """What all others that are up believe of a member."""
        rows = {at: self.nodes[at].membership.row(node) for at in self.up() if at != node}
        return {at: "unknown" if row is None else row.state for at, row in rows.items()}

    def believed(self, node: str) -> set[str]:
        return set(self.states(node).values())

    def is_agreed(self) -> bool:
        """Whether all that are up have the same table."""
        tables = [tuple(self.nodes[node].membership.rows()) for node in self.up()]
        return all(table == tables[0] for table in tables)

    def deaths(self) -> list[tuple[float, str, str]]:
        """When who took whom for dead."""
        return sorted(
            (at_s, node, who)
            for node, at in self.nodes.items()
            for at_s, who, state in at.changes
            if state == "dead"
        )
