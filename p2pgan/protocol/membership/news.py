"""What is told to whom: rumors, and tables where rumors were lost.

Theory of operation. A row that changes is news, and is told to every neighbor once: along with a
probe or an answer if one goes there first, else in a message of its own, no sooner than `rumor_s`
after the last ones. It is not told to whom it came from, and of those who are linked with that one
only to `SPARE`: they hear it from there.

What gets lost is found by digests. Probes and answers carry one of the whole table; where it is
another's than ours and nothing is left to tell, both give each other their tables, row by row and a
few messages at a time. A row in a table is no news: whoever is dead there may have come back here.
"""

import math
from typing import Final

from p2pgan.protocol.core import Core
from p2pgan.protocol.instructions import CancelTimer, SetTimer
from p2pgan.protocol.membership.settings import MembershipSettings
from p2pgan.protocol.membership.table import Table
from p2pgan.protocol.membership.voice import Voice
from p2pgan.protocol.messages import MAX_RUMORS, Member, Rumors

RUMOR_TIMER: Final = "member-rumor"

SPARE: Final = 3
"""Neighbors that are told though they are linked with the teller; memberlist gossips to so many.
Where all are linked with all, news would else be told n * n times."""

PARTS_AT_ONCE: Final = 4
"""Messages of a kind to one neighbor at a time: they do not fill the queue of a connection."""

RESTLESS_PROBES: Final = 10
"""Probe intervals between two tables to the same neighbor, and before the first, while ours changes
within each."""

MAX_ROWS_BYTES: Final = 4_096
"""Of all rows in a message: half a header. The longest row alone takes less."""

ROW_BYTES: Final = 64
"""Of a row without its texts, at most."""

Queue = dict[str, None]
"""Ids of members in the order in which their rows are told."""


class News:
    """What each neighbor has still to be told.

    Invariants: all rows that are to be told are in the table; while there are any, the timer is
    set.
    """

    __slots__ = ("_changed_s", "_core", "_is_armed", "_last_s", "_news", "_order",
                 "_restless_s", "_synced_s", "_table", "_tables", "_timing", "_voice",
                 "_wanting")  # fmt: skip

    def __init__(
        self, core: Core, settings: MembershipSettings, voice: Voice, table: Table
    ) -> None:
        self._core = core
        self._timing = settings.timing
        self._order = settings.order
        self._voice = voice
        self._table = table
        self._news: dict[str, Queue] = {}
        self._tables: dict[str, Queue] = {}
        """Rows of our table that are on their way to somebody."""
        self._wanting: set[str] = set()
        """Whose table we want in return for ours."""
        self._synced_s: dict[str, float] = {}
        """When somebody was last given our table."""
        self._changed_s = -math.inf
        self._restless_s = -math.inf
        """Since when our table has changed at least once in every probe interval."""
        self._last_s = -math.inf
        """When the timer has fired last."""
        self._is_armed = False

    # -- what is to be told ------------------------------------------------------------------------

    def tell(self, node: str, teller: str = "") -> None:
        """A member's row has changed, by what `teller` said; empty: by our own word."""
        quiet_s = self._core.now - self._changed_s
        if quiet_s >= self._timing.probe_s:
            self._restless_s = self._core.now
        self._changed_s = self._core.now
        is_doubted = self._table.state(node) != "alive"  # then it is told, and may refute it
        peers = [
            peer
            for peer in self._voice.neighbors()
            if peer != teller and (peer != node or is_doubted)
        ]
        if teller:
            near = frozenset(self._voice.around(teller))
            spare = [peer for peer in peers if peer in near and peer != node]
            skipped = self._order(spare)[SPARE:] if len(spare) > SPARE else ()
            peers = [peer for peer in peers if peer not in {*skipped}]
        for peer in peers:
            self._news.setdefault(peer, {})[node] = None
        if peers:
            self.arm()

    def knows(self, peer: str, node: str) -> None:
        """A peer has the same row as we."""
        for queues in (self._news, self._tables):
            queue = queues.get(peer)
            if queue is not None:
                queue.pop(node, None)

    def owe(self, peer: str, node: str) -> None:
        """A peer has an older row."""
        self._tables.setdefault(peer, {})[node] = None
        self.arm()

    def forget(self, peer: str) -> None:
        """Nothing leads to a peer: digests will tell what it has missed."""
        self._news.pop(peer, None)
        self._tables.pop(peer, None)
        self._wanting.discard(peer)

    # -- tables ------------------------------------------------------------------------------------

    def compare(self, peer: str, digest: bytes) -> None:
        """A peer has told its digest: gives it our table, and wants its own, where they differ."""
        if digest == self._table.digest:
            self.forget(peer)
        elif not self._news.get(peer) and self._may_give(peer) and not self._is_restless(peer):
            self._wanting.add(peer)
            self._give_table(peer)

    def wanted(self, peer: str) -> None:
        """A peer wants our table."""
        if self._may_give(peer):
            self._give_table(peer)

    def _may_give(self, peer: str) -> bool:
        since_s = self._core.now - self._synced_s.get(peer, -math.inf)
        return since_s >= self._timing.probe_s

    def _is_restless(self, peer: str) -> bool:
        """Whether differences are mostly news under way: not for ever, if it never ends."""
        probe_s, now = self._timing.probe_s, self._core.now
        last_s = max(self._restless_s, self._synced_s.get(peer, -math.inf))
        return now - self._changed_s < probe_s and now - last_s < RESTLESS_PROBES * probe_s

    def _give_table(self, peer: str) -> None:
        self._synced_s[peer] = self._core.now
        self._tables[peer] = dict.fromkeys(self._table.nodes())
        self.arm()

    # -- telling -----------------------------------------------------------------------------------

    def take(self, peer: str) -> tuple[Member, ...]:
        """News that goes along with another message; a peer that is not taken for alive hears that
        first, so that it can refute it."""
        if self._table.state(peer) not in ("alive", None):
            self._news[peer] = {peer: None} | self._news.get(peer, {})
        queue = self._news.get(peer)
        return self._cut(queue) if queue else ()

    def arm(self) -> None:
        """The timer is to fire as soon as it may."""
        if not self._is_armed:
            self._is_armed = True
            at_s = max(self._core.now, self._last_s + self._timing.rumor_s)
            self._core.emit(SetTimer(name=RUMOR_TIMER, at_s=at_s))

    def flush(self) -> None:
        """The timer has fired: tells everybody what is to be told, a few messages each."""
        self._is_armed = False
        self._last_s = self._core.now
        for peer in [*self._news]:
            self._pour(peer, self._news, is_table=False)
        for peer in [*self._tables]:
            self._pour(peer, self._tables, is_table=True)
        if self._news or self._tables:
            self.arm()

    def _pour(self, peer: str, queues: dict[str, Queue], *, is_table: bool) -> None:
        queue = queues[peer]
        for _ in range(PARTS_AT_ONCE):
            rows = self._cut(queue)
            if not rows:
                break
            wants = is_table and peer in self._wanting
            rumors = Rumors(
                clock=self._core.tick(), rows=rows, is_table=is_table, wants_table=wants
            )
            if not self._voice.say(peer, rumors):
                self.forget(peer)
                return
            if is_table:
                self._wanting.discard(peer)
        if not queue:
            del queues[peer]

    def _cut(self, queue: Queue) -> tuple[Member, ...]:
        """As many rows from the head of a queue as one message may have."""
        rows: list[Member] = []
        size = 0
        for node in queue:
            row = self._table.row(node)
            assert row is not None, f"{node}: news of nobody"
            size += _bytes_of(row)
            if len(rows) == MAX_RUMORS or (rows and size > MAX_ROWS_BYTES):
                break
            rows.append(row)
        for row in rows:
            del queue[row.node]
        return tuple(rows)

    def stop(self) -> None:
        """Nothing is told any more."""
        self._news.clear()
        self._tables.clear()
        self._wanting.clear()
        if self._is_armed:
            self._is_armed = False
            self._core.emit(CancelTimer(name=RUMOR_TIMER))

    # -- checks ------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Asserts that whatever is to be told will be."""
        waits = any(self._news.values()) or any(self._tables.values())
        assert self._is_armed or not waits, "news that is never told"

    def validate_all(self) -> None:
        """Asserts the invariants of the class."""
        self.validate()
        for queue in (*self._news.values(), *self._tables.values()):
            assert all(self._table.row(node) is not None for node in queue), "news of nobody"


def _bytes_of(row: Member) -> int:
    return ROW_BYTES + len("".join((row.node, row.boot, row.address, *row.by)).encode())
