"""Who may talk to us and to whom we may talk: links, routes and handshakes.

A part of the peer machine; `links` explains the rules.
"""

from collections.abc import Callable
from typing import Final

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol.core import Core
from p2pgan.protocol.greetings import GREET_AGAIN_MAX_S, GREET_AGAIN_S, REFUSED_S, Greetings
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
    Member,
    Message,
    Refuse,
    Welcome,
)

NOT_YET_S: Final = 5.0
"""Until we greet somebody again that knows of no edge between us: news may be on its way to it."""

MAX_REFUSALS_RECORDED: Final = 256
"""Different refusals that go to the log; a stranger that knocks for ever does not fill the disk."""


class Neighborhood:
    """The links to all neighbors.

    Invariants: every route belongs to exactly one link, and that link knows it; a link with a route
    or a welcome knows its boot; a link with too many faults has no route and is not ready; whoever
    has not answered our hello, or is refused, will be greeted again.
    """

    __slots__ = ("_changed", "_core", "_greetings", "_ready", "_recorded", "_sorted", "_unsettled",
                 "links", "own", "refusals", "routes", "routes_lost", "strangers")  # fmt: skip

    def __init__(self, core: Core) -> None:
        self._core = core
        self._greetings = Greetings(core)
        self.links = {peer: Link(peer=peer) for peer in core.settings.neighbors}
        self.routes: dict[bytes, str] = {}
        self.routes_lost = False
        """Whether a route was given up; whoever has seen to what came over it says no again."""
        self._ready: set[str] = set()
        self._sorted: tuple[str, ...] | None = ()
        """The same in order; `None`: not known yet."""
        self._unsettled = {*self.links}
        self._changed: set[str] = set()
        """Links that have changed since they were last validated."""
        self.refusals = 0
        """Handshakes that failed, by us or them."""
        self.strangers = 0
        """Messages from callers that were not welcomed."""
        self._recorded: set[tuple[str, str, str]] = set()
        self.own: Callable[[], Member] = lambda: Member(node=core.us.node, boot=core.us.boot)
        """What we say of ourselves."""

    def add(self, peer: str) -> None:
        """The overlay joins us with a peer that we had no link to."""
        link = self.links[peer] = Link(peer=peer)
        self._note(link)

    def attach(self, peer: str, is_attached: bool) -> None:
        """The overlay joins us with a peer that we have a link to, or does no more."""
        self.links[peer].is_attached = is_attached
        self._note(self.links[peer])

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

    def ready(self) -> tuple[str, ...]:
        """Neighbors that a vector may be sent to, in order of their ids."""
        if self._sorted is None:
            self._sorted = tuple(sorted(self._ready))
        return self._sorted

    def is_settled(self) -> bool:
        """Whether nobody is left to wait for."""
        return not self._unsettled

    def _note(self, link: Link) -> None:
        """Takes note of a link that has changed, so that nobody has to look at all of them."""
        peer = link.peer
        self._changed.add(peer)
        if link.is_ready != (peer in self._ready):
            (self._ready.add if link.is_ready else self._ready.discard)(peer)
            self._sorted = None
        (self._unsettled.discard if link.is_settled else self._unsettled.add)(peer)

    def greet(self, peer: str) -> None:
        """Our connection stands: say who we are."""
        link = self.link_of(peer)
        link.patience_s = GREET_AGAIN_S
        self._say_hello(link)

    def greet_again(self) -> None:
        """The timer of greetings has fired: some have not answered, or were refused long ago."""
        for peer in self._greetings.take():
            link = self.links[peer]
            if link.faults >= MAX_FAULTS:
                link.faults = 0
            if link.outward is not Outward.DOWN:
                self._say_hello(link)

    def turned_away(self, link: Link) -> None:
        """A neighbor takes us for somebody else, but not for long: greet it again soon."""
        link.patience_s = GREET_AGAIN_S
        self._greetings.put(link.peer, GREET_AGAIN_S)

    def introduce(self, link: Link) -> None:
        """A neighbor that welcomed us does not know us any more, and its refusal was lost."""
        if link.outward is Outward.READY:
            self._emit_hello(link)

    def _say_hello(self, link: Link) -> None:
        """And again, if no answer comes; whoever is refused has its own time."""
        link.outward = Outward.GREETED
        self._note(link)
        self._emit_hello(link)
        if link.faults < MAX_FAULTS:
            self._greetings.put(link.peer, link.patience_s)
            link.patience_s = min(2 * link.patience_s, GREET_AGAIN_MAX_S)

    def _emit_hello(self, link: Link) -> None:
        us, own = self._core.us, self.own()
        hello = Hello(
            clock=self._core.tick(),
            protocol=PROTOCOL_VERSION,
            run=us.run,
            node=us.node,
            architecture=us.architecture,
            boot=us.boot,
            address=own.address,
            incarnation=own.incarnation,
            since=own.since,
        )
        self._core.emit(Send(peer=link.peer, message=hello))

    def lose(self, peer: str, reason: str = "disconnected") -> None:
        """Our connection broke, or is closed. The caller's side, if it stands, is left alone."""
        link = self.link_of(peer)
        if link.outward is Outward.READY:
            told = "left" if link.left else reason
            self._core.record("peer_lost", peer=peer, reason=told)
        link.outward = Outward.DOWN
        self._note(link)
        if link.faults < MAX_FAULTS:
            self._greetings.drop(peer)

    def answer_hello(
        self, route: bytes, hello: Hello, *, round: int, is_leaving: bool
    ) -> Link | None:
        """Welcomes or refuses a caller. A stranger's clock moves ours no more than its word.

        Returns:
            The neighbor, if it calls anew; a hello that came twice, or whose answer was lost, is
            answered again and changes nothing.
        """
        link = self.links.get(hello.node)
        if link is not None and link.faults >= MAX_FAULTS and self._greetings.is_due(link.peer):
            link.faults = 0
        if link is not None and link.is_gone(hello.boot):
            self.strangers += 1
            return None
        refusal = check_hello(hello, self._core.us, link)
        if refusal is None and is_leaving:
            refusal = leaving(self._core.us.node)
        if refusal is not None or link is None:
            assert refusal is not None, "a caller without a link is refused"
            self._refuse(route, hello.node, refusal)
            return None
        self._core.observe(hello.clock)
        is_new = (link.route, link.boot) != (route, hello.boot)
        if is_new:
            self._bind(link, route)
            link.meet(hello.boot)
            self._note(link)
        welcome = Welcome(
            clock=self._core.tick(),
            node=self._core.us.node,
            boot=self._core.us.boot,
            round=round,
            incarnation=self.own().incarnation,
        )
        self._core.emit(Reply(route=route, message=welcome))
        if link.outward is Outward.REFUSED:  # it has forgiven us, or the two agree by now
            self.greet(link.peer)
        return link if is_new else None

    def welcomed(self, link: Link, welcome: Welcome) -> bool:
        """Whether a neighbor takes our vectors from now on. If a caller under its name turns out to
        be another process, that one is shown the door."""
        if link.outward is not Outward.GREETED:
            return False
        refusal = check_welcome(welcome, link)
        if refusal is not None:
            self._give_up(link)
            self._record_refusal(link.peer, refusal.code, "us")
            return False
        if link.route is not None and link.boot != welcome.boot:
            self._refuse(link.route, link.peer, identity_taken(link.peer))
            self._unbind(link)
        link.meet(welcome.boot)
        link.round = welcome.round
        is_taken = link.faults < MAX_FAULTS
        link.outward = Outward.READY if is_taken else Outward.REFUSED
        self._note(link)
        if is_taken:
            self._greetings.drop(link.peer)
            self._core.record("peer_joined", peer=link.peer)
        return is_taken

    def refused(self, link: Link, refuse: Refuse) -> None:
        """A neighbor does not take our vectors."""
        if link.outward is Outward.DOWN:
            return
        self._give_up(link)
        if refuse.code == "not_neighbor" and link.is_attached:
            self._greetings.put(link.peer, NOT_YET_S)
        self._record_refusal(link.peer, refuse.code, "them")

    def forgive(self, link: Link) -> None:
        """A whole vector came, which makes up for a fault."""
        link.faults = max(0, link.faults - 1)

    def leaves(self, link: Link) -> None:
        """A neighbor is about to stop."""
        link.left = True
        self._note(link)

    def _give_up(self, link: Link) -> None:
        """Our vectors do not go there for now."""
        if link.outward is not Outward.DOWN:
            link.outward = Outward.REFUSED
        link.patience_s = GREET_AGAIN_S
        self._greetings.put(link.peer, REFUSED_S)
        self._note(link)

    def blame(self, link: Link) -> None:
        """Counts a fault; with one too many the peer is refused for a while."""
        link.faults += 1
        if link.faults != MAX_FAULTS:
            return
        if link.route is not None:
            self._refuse(link.route, link.peer, too_many_faults())
            self._unbind(link)
        else:
            self._record_refusal(link.peer, "faults", "us")
        self._give_up(link)

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
        return self.say(link, Leave(clock=self._core.tick()))

    def say_leave_ack(self, link: Link) -> None:
        """Tells a leaving neighbor that nothing of ours is on the way behind this message."""
        self.say(link, LeaveAck(clock=self._core.tick()))

    def say(self, link: Link, message: Message) -> bool:
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
            self.routes_lost = True
            self._note(link)

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
        """Asserts the invariants of the class, for all links that have changed."""
        if not self._changed:
            return
        for peer in self._changed:
            self._validate(self.links[peer])
        assert len(self.routes) <= len(self.links), "routes that no link knows"
        self._changed.clear()

    def validate_all(self) -> None:
        """Asserts them for every link, and that nothing changed unnoticed."""
        bound = {link.route: peer for peer, link in self.links.items() if link.route is not None}
        assert bound == self.routes, "routes and links disagree"
        self._changed |= self.links.keys()
        self.validate()

    def _validate(self, link: Link) -> None:
        peer, route = link.peer, link.route
        assert route is None or self.routes.get(route) == peer, f"{peer}: a route of another"
        known = route is not None or link.outward is Outward.READY
        assert not known or link.boot is not None, f"{peer}: welcomed without a boot"
        assert link.is_ready == (peer in self._ready), f"{peer}: ready, or not, unnoticed"
        assert link.is_settled == (peer not in self._unsettled), f"{peer}: settled unnoticed"
        waits = link.outward in (Outward.GREETED, Outward.REFUSED)
        assert not waits or self._greetings.has(peer), f"{peer}: waits for ever"
        if link.faults >= MAX_FAULTS:
            assert route is None, f"{peer}: refused, but has a route"
            assert not link.is_ready, f"{peer}: refused, but ready"
            assert self._greetings.has(peer), f"{peer}: refused for ever"
        self._greetings.validate(peer)
