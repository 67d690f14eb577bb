"""Who may talk to us and to whom we may talk: links, routes and handshakes.

A part of the peer machine; `links` explains the rules.
"""

from typing import Final

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol.core import Core
from p2pgan.protocol.instructions import Reply, Send
from p2pgan.protocol.links import (
    MAX_FAULTS,
    Link,
    Outward,
    Refusal,
    check_hello,
    check_welcome,
    identity_taken,
    leaving,
    too_many_faults,
)
from p2pgan.protocol.messages import (
    PROTOCOL_VERSION,
    Hello,
    Leave,
    LeaveAck,
    Refuse,
    Welcome,
)

MAX_REFUSALS_RECORDED: Final = 256
"""Different refusals that go to the log; a stranger that knocks for ever does not fill the disk."""


class Neighborhood:
    """The links to all neighbors.

    Invariants: every route belongs to exactly one link, and that link knows it; a link with a route
    or a welcome knows its boot; a link with too many faults has no route and is not ready.
    """

    __slots__ = ("_core", "_recorded", "links", "refusals", "routes", "strangers")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.links = {peer: Link(peer=peer) for peer in core.settings.neighbors}
        self.routes: dict[bytes, str] = {}
        self.refusals = 0
        """Handshakes that failed, by us or them."""
        self.strangers = 0
        """Messages from callers that were not welcomed."""
        self._recorded: set[tuple[str, str, str]] = set()

    def link_of(self, peer: str) -> Link:
        """The link to a neighbor that our own shell names."""
        if peer not in self.links:
            raise LocalProtocolError(expected="a neighbor", got=f"`{peer}`", at="peer machine")
        return self.links[peer]

    def caller(self, route: bytes) -> Link | None:
        """The neighbor behind a route; `None` if it was not welcomed."""
        peer = self.routes.get(route)
        if peer is None:
            self.strangers += 1
            return None
        return self.links[peer]

    def ready(self) -> list[str]:
        """Neighbors that a vector may be sent to, in order of their ids."""
        return sorted(peer for peer, link in self.links.items() if link.is_ready)

    def is_settled(self) -> bool:
        """Whether nobody is left to wait for."""
        return all(link.is_settled for link in self.links.values())

    def greet(self, peer: str) -> None:
        """Our connection stands: say who we are."""
        self.link_of(peer).outward = Outward.GREETED
        us = self._core.us
        hello = Hello(
            clock=self._core.tick(),
            protocol=PROTOCOL_VERSION,
            run=us.run,
            node=us.node,
            architecture=us.architecture,
            boot=us.boot,
        )
        self._core.emit(Send(peer=peer, message=hello))

    def lose(self, peer: str) -> None:
        """Our connection broke. The caller's side, if it stands, is left alone."""
        link = self.link_of(peer)
        if link.outward is Outward.READY:
            reason = "left" if link.left else "disconnected"
            self._core.record("peer_lost", peer=peer, reason=reason)
        link.outward = Outward.DOWN

    def answer_hello(self, route: bytes, hello: Hello, *, round: int, is_leaving: bool) -> None:
        """Welcomes or refuses a caller. A stranger's clock moves ours no more than its word."""
        link = self.links.get(hello.node)
        refusal = check_hello(hello, self._core.us, link)
        if refusal is None and is_leaving:
            refusal = leaving(self._core.us.node)
        if refusal is not None or link is None:
            assert refusal is not None, "a caller without a link is refused"
            self._refuse(route, hello.node, refusal)
            return
        self._core.observe(hello.clock)
        self._bind(link, route)
        link.meet(hello.boot)
        us = self._core.us
        clock = self._core.tick()
        welcome = Welcome(clock=clock, node=us.node, boot=us.boot, round=round)
        self._core.emit(Reply(route=route, message=welcome))

    def welcomed(self, link: Link, welcome: Welcome) -> None:
        """A neighbor takes our vectors. If a caller under its name turns out to be another process,
        that one is shown the door."""
        if link.outward is not Outward.GREETED:
            return
        refusal = check_welcome(welcome, link)
        if refusal is not None:
            link.outward = Outward.REFUSED
            self._record_refusal(link.peer, refusal.code, "us")
            return
        if link.route is not None and link.boot != welcome.boot:
            self._refuse(link.route, link.peer, identity_taken(link.peer))
            self._unbind(link)
        link.meet(welcome.boot)
        link.round = welcome.round
        if link.faults >= MAX_FAULTS:
            link.outward = Outward.REFUSED
            return
        link.outward = Outward.READY
        self._core.record("peer_joined", peer=link.peer)

    def refused(self, link: Link, refuse: Refuse) -> None:
        """A neighbor does not take our vectors."""
        if link.outward is not Outward.DOWN:
            link.outward = Outward.REFUSED
            self._record_refusal(link.peer, refuse.code, "them")

    def blame(self, link: Link) -> None:
        """Counts a fault; with one too many the peer is refused from now on."""
        link.faults += 1
        if link.faults != MAX_FAULTS:
            return
        if link.route is not None:
            self._refuse(link.route, link.peer, too_many_faults())
            self._unbind(link)
        else:
            self._record_refusal(link.peer, "faults", "us")
        if link.outward is not Outward.DOWN:
            link.outward = Outward.REFUSED

    def malformed(self, peer: str | None, route: bytes | None) -> None:
        """Counts a fault of whoever sent no message: over our own link, or as a caller."""
        link = None
        if peer is not None:
            link = self.link_of(peer)
        elif route is not None:
            link = self.caller(route)
        if link is not None:
            self.blame(link)

    def say_leave(self, link: Link) -> bool:
        """Tells a neighbor that we are about to stop; `False` if nothing leads to it."""
        return self._say(link, Leave(clock=self._core.tick()))

    def say_leave_ack(self, link: Link) -> None:
        """Tells a leaving neighbor that nothing of ours is on the way behind this message."""
        self._say(link, LeaveAck(clock=self._core.tick()))

    def _say(self, link: Link, message: Leave | LeaveAck) -> bool:
        """Over our own connection, behind our vectors; else, having sent none, as an answer."""
        if link.outward is Outward.READY:
            self._core.emit(Send(peer=link.peer, message=message))
        elif link.route is not None:
            self._core.emit(Reply(route=link.route, message=message))
        else:
            return False
        return True

    def _bind(self, link: Link, route: bytes) -> None:
        """One route per link, one link per route: a caller that says hello again, even as somebody
        else, gives up what it was."""
        self._unbind(link)
        former = self.routes.get(route)
        if former is not None:
            self._unbind(self.links[former])
        link.route = route
        self.routes[route] = link.peer

    def _unbind(self, link: Link) -> None:
        if link.route is not None:
            del self.routes[link.route]
            link.route = None

    def _refuse(self, route: bytes, node: str, refusal: Refusal) -> None:
        self._record_refusal(node, refusal.code, "us")
        message = Refuse(
            clock=self._core.tick(), node=self._core.us.node, code=refusal.code, text=refusal.text
        )
        self._core.emit(Reply(route=route, message=message))

    def _record_refusal(self, node: str, code: str, by: str) -> None:
        self.refusals += 1
        key = (node, code, by)
        if key not in self._recorded and len(self._recorded) < MAX_REFUSALS_RECORDED:
            self._recorded.add(key)
            self._core.record("peer_refused", peer=node, reason=code, by=by)

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        bound = {link.route: peer for peer, link in self.links.items() if link.route is not None}
        assert bound == self.routes, "routes and links disagree"
        for link in self.links.values():
            known = link.route is not None or link.outward is Outward.READY
            assert not known or link.boot is not None, f"{link.peer}: welcomed without a boot"
            if link.faults >= MAX_FAULTS:
                assert link.route is None, f"{link.peer}: refused, but has a route"
                assert not link.is_ready, f"{link.peer}: refused, but ready"
