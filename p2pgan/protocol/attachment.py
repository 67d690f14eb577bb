"""Whom a node is joined with: what is known of members, turned into links.

A part of the machine. The overlay is a function of the members that are there
(`Around.overlay_of`), so that all who know of the same members have the same overlay, and nobody
has to decide. A connection is made where an edge appears. Where one goes, the peer is chosen no
more; our connection to it is closed as soon as nothing of ours is on its way there, and what still
comes from there is taken. A connection to a member that is dead stays: its next sign of life may
come over it, as when a partition heals.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from p2pgan.protocol.charter import answer
from p2pgan.protocol.core import Core
from p2pgan.protocol.exchanges import Exchanges
from p2pgan.protocol.instructions import Dial, HangUp, Reply
from p2pgan.protocol.links import Link, Outward, check_hello, disagreement
from p2pgan.protocol.membership.membership import Membership
from p2pgan.protocol.membership.table import Change
from p2pgan.protocol.messages import Hello, Inquire, Member, Refuse, Rumors, Talk, Welcome
from p2pgan.protocol.neighborhood import Neighborhood
from p2pgan.protocol.statistics import MemberStatistics
from p2pgan.protocol.views import Around

NEVER_MET_S: Final = 30.0
"""How long after our beginning a neighbor that has never started is missed: nodes that are started
by hand, one after the other, are all there by then."""

GONE: Final = ("dead", "left")
"""States of members that the overlay does without."""


class Attachment:
    """The links that a node has now.

    Invariants: every neighbor in the overlay has a link; links to others are not attached, and what
    is attached is dialled, as far as its address is known.
    """

    __slots__ = ("_around", "_core", "_dialled", "_exchanges", "_has_left", "_loose",
                 "_miss_at_s", "_neighborhood", "_view", "membership")  # fmt: skip

    def __init__(
        self, core: Core, around: Around, neighborhood: Neighborhood, exchanges: Exchanges
    ) -> None:
        self._core, self._around = core, around
        self._neighborhood, self._exchanges = neighborhood, exchanges
        known = {row.node: row.address for row in around.membership.members}
        self._dialled = {peer: known.get(peer, "") for peer in neighborhood.links}
        """Peers that our shell keeps a connection to, or tries to, and where."""
        self._loose: set[str] = set()
        """Those among them that the overlay does not join us with."""
        self.membership = Membership(core, around.membership, self)
        self._view = around.overlay_of(self.membership.rows())
        self._miss_at_s = math.inf
        """When neighbors that nobody has met are missed."""
        self._has_left = False
        neighborhood.own = lambda: self.membership.own

    # -- what the membership asks ------------------------------------------------------------------

    def say(self, peer: str, message: Talk) -> bool:
        """Over whatever connection stands; `False`: none."""
        link = self._neighborhood.links.get(peer)
        return link is not None and self._neighborhood.say(link, message)

    def neighbors(self) -> Sequence[str]:
        """Whom we are joined with."""
        return [peer for peer, link in self._neighborhood.links.items() if link.is_attached]

    def is_dialled(self, peer: str) -> bool:
        """Whether our shell keeps a connection to a peer, or tries to."""
        return peer in self._dialled

    def around(self, member: str) -> Collection[str]:
        """Its neighbors in the overlay as it is now."""
        return self._view.neighbors.get(member, ())

    # -- what happens ------------------------------------------------------------------------------

    def start(self, address: str) -> None:
        """We are up, and listen there; others may have to reach us elsewhere."""
        self.membership.start(self.membership.own.address or address)

    def begin(self) -> None:
        """We wait no longer for those that have not started; before long they are missed."""
        if self._miss_at_s == math.inf:
            self._miss_at_s = self._core.now + NEVER_MET_S

    def _miss(self) -> None:
        """The overlay is to do without those that have never started, until they do."""
        self._miss_at_s = -math.inf
        for peer, link in self._neighborhood.links.items():
            row = self.membership.row(peer)
            if link.is_attached and link.boot is None and row is not None and not row.boot:
                self.membership.miss(peer)

    def inquired(self, route: bytes, inquire: Inquire) -> None:
        """Somebody wants to know what run this is, perhaps to come."""
        charter = self._around.charter(self.membership.rows())
        message = answer(inquire, charter, self._core.tick()) if charter else closed(self._core)
        self._core.emit(Reply(route=route, message=message))

    def called(self, route: bytes, hello: Hello) -> None:
        """A caller that agrees with us is a member; one that we thought gone is told so, and will
        contradict."""
        us = self._core.us
        link = self._neighborhood.links.get(hello.node)
        if link is None and (hello.node == us.node or disagreement(hello, us) is not None):
            return
        # Somebody else's id, as long as we are connected with that one, changes nothing.
        if link is not None and (link.is_gone(hello.boot) or check_hello(hello, us, link)):
            return
        row = Member(
            node=hello.node,
            boot=hello.boot,
            address=hello.address,
            incarnation=hello.incarnation,
            since=hello.since,
        )
        if not self.membership.met(row):
            self._contradict(route, hello.node)
        self.follow()
        is_member = self.membership.row(hello.node) is not None
        if is_member and hello.node not in self._neighborhood.links:
            # It knows of an edge that we have not heard of yet, or no more: it may call, and what
            # it sends is taken; nothing is sent there.
            self._meet(hello.node)
            self._neighborhood.attach(hello.node, False)

    def _contradict(self, route: bytes, node: str) -> None:
        ours = self.membership.row(node)
        if ours is not None:
            message = Rumors(clock=self._core.tick(), rows=(ours,))
            self._core.emit(Reply(route=route, message=message))

    def welcomed(self, link: Link, welcome: Welcome) -> None:
        """A peer that we called answers for itself."""
        ours = self.membership.row(link.peer)
        row = Member(
            node=link.peer,
            boot=welcome.boot,
            incarnation=welcome.incarnation,
            since=ours.since if ours is not None else 0,
        )
        if not self.membership.met(row) and ours is not None:
            self._neighborhood.say(link, Rumors(clock=self._core.tick(), rows=(ours,)))

    def hear(self, peer: str, message: Talk) -> None:
        """A peer says something of members."""
        self.membership.hear(peer, message)

    def lost(self, peer: str) -> None:
        """Our connection to a peer broke: it may be gone, or be elsewhere."""
        self.membership.lost(peer)
        self._redial(peer)

    def leave(self) -> None:
        """We are about to stop: nobody's coming and going matters to us any more."""
        self._has_left = True
        self.membership.leave()

    def follow(self) -> None:
        """Has the links follow the members, if some have come or gone."""
        if -math.inf < self._miss_at_s <= self._core.now:
            self._miss()
        changes = self.membership.take_changes()
        if not changes or self._has_left:
            return
        for change in changes:
            self._note(change)
        if any(_alters(change) for change in changes):
            self._rejoin()

    def tidy(self) -> None:
        """Closes connections that the overlay needs no more, unless something is on its way there;
        a peer that leaves closes them itself, once it has heard all that it waits for."""
        for peer in sorted(self._loose):
            row, link = self.membership.row(peer), self._neighborhood.links[peer]
            state = row.state if row is not None else "alive"
            is_over = link.outward is Outward.DOWN if state == "left" else state != "dead"
            if is_over and not self._exchanges.owes(peer):
                self._core.emit(HangUp(peer=peer))
                self._neighborhood.lose(peer, "detached")
                self._loose.discard(peer)
                del self._dialled[peer]

    # -- links -------------------------------------------------------------------------------------

    def _note(self, change: Change) -> None:
        """A member has gone, or is reached elsewhere."""
        before, after = change.before, change.after
        if after.state == "dead" and (before is None or before.state not in GONE):
            self._core.record("peer_lost", peer=after.node, reason="silent")
        self._redial(after.node)

    def _redial(self, peer: str) -> None:
        """Follows a peer that is reached elsewhere now. Where our connection stands, whoever it
        leads to is the one; another process that goes by its name does not make us leave it."""
        row, at = self.membership.row(peer), self._dialled.get(peer)
        if row is None or at is None or row.address in ("", at) or self._has_left:
            return
        if self._neighborhood.links[peer].outward is not Outward.READY:
            self._neighborhood.lose(peer)
            self._dial(row)

    def _rejoin(self) -> None:
        """Members have come or gone: the overlay is another."""
        before = self._view
        rows = self.membership.rows()
        self._view = self._around.overlay_of(rows)
        if self._view.neighbors == before.neighbors:
            return
        ours = self.around(self._core.us.node)
        for peer, link in self._neighborhood.links.items():
            if link.is_attached != (peer in ours):
                self._neighborhood.attach(peer, peer in ours)
        for peer in sorted({*ours} - self._neighborhood.links.keys()):
            self._meet(peer)
        for peer in sorted({*ours} - self._dialled.keys()):
            row = self.membership.row(peer)
            assert row is not None, f"{peer} is in the overlay, and nobody knows it"
            self._dial(row)
        self._loose = self._dialled.keys() - {*ours}
        self._core.record(
            "overlay_changed",
            nodes=len(self._view.neighbors),
            edges=self._view.edges,
            spectral_gap=self._view.spectral_gap,
        )

    def _meet(self, peer: str) -> None:
        """We have to do with a peer for the first time."""
        self._neighborhood.add(peer)
        self._exchanges.meet(peer)

    def _dial(self, row: Member) -> None:
        """Has our shell connect to a member, once it is known where it is."""
        if row.address:
            self._dialled[row.node] = row.address
            self._core.emit(Dial(peer=row.node, address=row.address))

    def believed(self, peer: str) -> str:
        """What is believed of a peer, if it is not just there: `suspect`, `dead`, `left`,
        `degraded`; or `detached`, where the overlay joins us no more."""
        row = self.membership.row(peer)
        if row is not None and row.state != "alive":
            return row.state
        if peer in self._loose or peer not in self._dialled:
            return "detached"
        return "degraded" if peer in self.membership.degraded else ""

    def statistics(self) -> MemberStatistics:
        """For status pages."""
        membership = self.membership
        states = Counter(row.state for row in membership.rows())
        return MemberStatistics(
            alive=states["alive"],
            suspects=states["suspect"],
            dead=states["dead"],
            left=states["left"],
            local_health=membership.health,
        )

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        self.membership.validate()

    def validate_all(self) -> None:
        """Asserts them for every member and link."""
        self.membership.validate_all()
        if self._has_left:
            return
        ours, links = self.around(self._core.us.node), self._neighborhood.links
        attached = {peer for peer, link in links.items() if link.is_attached}
        assert attached == {*ours}, f"joined with {sorted(attached)}, not {sorted(ours)}"
        assert self._loose == self._dialled.keys() - attached, "connections that nobody closes"


def closed(core: Core) -> Refuse:
    """The answer to whoever would come to a run that nobody can come to."""
    text = f"run `{core.us.run}` admits nobody"
    return Refuse(clock=core.tick(), node=core.us.node, code="closed", text=text)


def _alters(change: Change) -> bool:
    """Whether the overlay may be another for it."""
    was_there = change.before is not None and change.before.state not in GONE
    return was_there != (change.after.state not in GONE)
