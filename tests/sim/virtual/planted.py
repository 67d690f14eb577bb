"""Mistakes that are planted into protocol and engine, to see whether the checks find them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import p2pgan.node.work
from p2pgan.errors import CheckpointError
from p2pgan.mixing.rules import merge
from p2pgan.node.outbox import Outbox, QueuedVector
from p2pgan.protocol.attachment import Attachment
from p2pgan.protocol.exchanges import Exchanges, Outgoing
from p2pgan.protocol.links import Link
from p2pgan.protocol.mass import Mass
from p2pgan.protocol.membership.membership import Membership
from p2pgan.protocol.membership.news import News
from p2pgan.protocol.membership.suspicion import Suspicions
from p2pgan.sim.virtual.disk import Disk
from p2pgan.sim.virtual.network import Network
from p2pgan.sim.virtual.timeline import Timers
from p2pgan.sim.virtual.world import World

Plant = Callable[[pytest.MonkeyPatch], None]


def lost_acknowledgment(patch: pytest.MonkeyPatch) -> None:
    """What is taken is not always acknowledged."""
    ack = Exchanges._ack

    def forgetful(self: Exchanges, route: bytes, exchange: str, reason: str) -> None:
        if reason or not exchange.endswith("7"):
            ack(self, route, exchange, reason)

    patch.setattr(Exchanges, "_ack", forgetful)


def replay_taken(patch: pytest.MonkeyPatch) -> None:
    """A vector that comes twice is taken twice."""
    check = Exchanges._check_new

    def trusting(self: Exchanges, link: Link, chunk: Any) -> int:
        self._windows.pop(link.peer, None)
        return check(self, link, chunk)

    patch.setattr(Exchanges, "_check_new", trusting)


def forgotten_timer(patch: pytest.MonkeyPatch) -> None:
    """Whoever waits for its neighbors is never told that the wait is over."""
    fire = Timers._fire

    def deaf(self: Timers, name: str) -> None:
        if name == "gather":
            del self._set[name]
        else:
            fire(self, name)

    patch.setattr(Timers, "_fire", deaf)


def double_merge(patch: pytest.MonkeyPatch) -> None:
    """What was mixed stays in the inbox, and is mixed again."""
    take = Exchanges.take

    def greedy(self: Exchanges, purpose: Any = None) -> Any:
        kept = dict(self.inbox)
        taken = take(self, purpose)
        if purpose == "mix":
            self.inbox.update(kept)
        return taken

    patch.setattr(Exchanges, "take", greedy)


def unbounded_queue(patch: pytest.MonkeyPatch) -> None:
    """A new vector takes nobody's place in a queue that nobody empties."""

    def patient(self: Outbox, vector: QueuedVector) -> str | None:
        self.items.append(vector)
        return None

    patch.setattr(Outbox, "push_vector", patient)


def view_never_heals(patch: pytest.MonkeyPatch) -> None:
    """A connection that broke is never made again."""
    patch.setattr(Network, "_backoff_s", lambda self: math.inf)


def torn_checkpoint(patch: pytest.MonkeyPatch) -> None:
    """A disk that is full keeps a half of what was written to it."""
    write = Disk.write

    def tearing(self: Disk, node: str, path: Path, data: bytes) -> None:
        try:
            write(self, node, path, data)
        except CheckpointError:
            self._store(path, data[: len(data) // 2])
            raise

    patch.setattr(Disk, "write", tearing)


def wrong_weights(patch: pytest.MonkeyPatch) -> None:
    """The weights that are told are not those that are mixed with."""
    patch.setattr(p2pgan.node.work, "merge", lambda *given: [0.9 * w for w in merge(*given)])


def deaf_after_sleep(patch: pytest.MonkeyPatch) -> None:
    """What happened while a node was suspended is forgotten."""
    resume = World._resume

    def amnesiac(self: World, node: str) -> None:
        if self.members[node].suspended == 1:
            self.members[node].deferred.clear()
        resume(self, node)

    patch.setattr(World, "_resume", amnesiac)


def mass_lost(patch: pytest.MonkeyPatch) -> None:
    """A piece of mass that is refused is forgotten."""

    def forgetful(self: Mass, out: Outgoing) -> None:
        self._decided(out)

    patch.setattr(Mass, "returned", forgetful)


def former_life_heard(patch: pytest.MonkeyPatch) -> None:
    """A greeting of a life that is over counts."""
    patch.setattr(Link, "is_gone", lambda self, boot: False)


def refutes_nothing(patch: pytest.MonkeyPatch) -> None:
    """A member that is taken for dead does not contradict."""
    patch.setattr(Membership, "_hear_of_us", lambda self, told: None)


def suspects_for_ever(patch: pytest.MonkeyPatch) -> None:
    """A suspect is never given up."""
    patch.setattr(Suspicions, "take", lambda self: [])


def tables_never_compared(patch: pytest.MonkeyPatch) -> None:
    """News that was lost on the way is lost for good."""
    patch.setattr(News, "compare", lambda self, peer, digest: None)


def never_mended(patch: pytest.MonkeyPatch) -> None:
    """Links do not follow the members."""
    patch.setattr(Attachment, "_rejoin", lambda self: None)


PLANTS: tuple[Plant, ...] = (
    lost_acknowledgment,
    replay_taken,
    forgotten_timer,
    double_merge,
    unbounded_queue,
    view_never_heals,
    torn_checkpoint,
    wrong_weights,
    deaf_after_sleep,
    mass_lost,
    former_life_heard,
)

WATCHED_PLANTS: tuple[Plant, ...] = (
    refutes_nothing,
    suspects_for_ever,
    tables_never_compared,
    never_mended,
)
"""Among members that watch each other."""
