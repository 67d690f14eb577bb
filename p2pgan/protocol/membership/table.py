"""The table of members: one row each, and the order by which the newer of two rows is told.

Rows of one member join: of two incarnations the higher counts; within one, every field takes the
larger value, whoever says it and in whatever order it comes. The place in the order of arrival is
the member's whatever its incarnation. So all who have heard the same have the same table, and equal
digests say so.
"""

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from p2pgan.protocol.messages import MAX_DOUBTERS, TABLE_DIGEST_BYTES, Member, MemberState

MAX_MEMBERS: Final = 4096
"""Rows of a table; further strangers are not let in. Ids and addresses of so many take 1 MB."""

RANKS: Final[dict[MemberState, int]] = {"alive": 0, "suspect": 1, "dead": 2, "left": 3}
"""Within an incarnation only the later state counts."""

_encode: Final = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The state, boot or address of a member is another."""

    node: str
    before: Member | None
    """`None`: nobody knew it."""
    after: Member


def joined(a: Member, b: Member) -> Member:
    """What is known of a member by two rows."""
    if a.incarnation != b.incarnation:
        newer = max(a, b, key=lambda row: row.incarnation)
        return joined(newer, replace(newer, since=max(a.since, b.since)))
    state = max(a.state, b.state, key=RANKS.__getitem__)
    doubters = {name for row in (a, b) if row.state == state == "suspect" for name in row.by}
    return Member(
        node=a.node,
        boot=max(a.boot, b.boot),
        address=max(a.address, b.address),
        incarnation=a.incarnation,
        since=max(a.since, b.since),
        state=state,
        by=tuple(sorted(doubters)[:MAX_DOUBTERS]),
    )


class Table:
    """All rows, with a digest and counts that follow every change.

    Invariants: the digest is that of the rows; so are the counts and the order.
    """

    __slots__ = ("_counts", "_digest", "_hashes", "_order", "_rows", "latest")

    def __init__(self, members: Iterable[Member]) -> None:
        self._rows: dict[str, Member] = {}
        self._hashes: dict[str, int] = {}
        self._order: list[str] = []
        """Ids in their order."""
        self._digest = 0
        self.latest = 0
        """Place of the last that came."""
        self._counts: Counter[MemberState] = Counter()
        for row in members:
            self.put(row)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, node: str) -> Member | None:
        """What is known of a member; `None`: it is none."""
        return self._rows.get(node)

    def state(self, node: str) -> MemberState | None:
        """What is believed of a member; `None`: it is none."""
        row = self._rows.get(node)
        return None if row is None else row.state

    def rows(self) -> Sequence[Member]:
        """All of them in order of ids."""
        return [self._rows[node] for node in self._order]

    def nodes(self) -> Sequence[str]:
        """Ids of all in their order."""
        return self._order

    def count(self, state: MemberState) -> int:
        """Members of which that is believed."""
        return self._counts[state]

    @property
    def there(self) -> int:
        """Members that are not gone."""
        return self._counts["alive"] + self._counts["suspect"]

    @property
    def digest(self) -> bytes:
        """The exclusive or of all rows' hashes: equal tables have equal ones."""
        return self._digest.to_bytes(TABLE_DIGEST_BYTES)

    def put(self, row: Member) -> None:
        """A member's row is this one from now on."""
        before = self._rows.get(row.node)
        if before is None:
            self._order.insert(bisect_left(self._order, row.node), row.node)
        else:
            self._counts[before.state] -= 1
        self._rows[row.node] = row
        self.latest = max(self.latest, row.since)
        self._counts[row.state] += 1
        after = _hash(row)
        self._digest ^= self._hashes.get(row.node, 0) ^ after
        self._hashes[row.node] = after

    def validate_all(self) -> None:
        """Asserts the invariants of the class."""
        fresh = Table(self._rows.values())
        assert (fresh._digest, fresh._order) == (self._digest, self._order), "a stale digest"
        assert +fresh._counts == +self._counts, "stale counts"


def _hash(row: Member) -> int:
    packed = hashlib.blake2b(_encode(row), digest_size=TABLE_DIGEST_BYTES)
    return int.from_bytes(packed.digest())
