"""One neighbor as a peer machine sees it, and the rules of the handshake.

Theory of operation. Two connections join two neighbors, one in each direction: we call them (the
`outward` side, over which our vectors go) and they call us (the `inward` side, known by a `route`,
over which theirs come). Each side begins with a `Hello` of the caller. The two live and die apart;
what ties them together is the boot id that the neighbor gives in both.

    outward:  DOWN --LinkUp, Hello--> GREETED --Welcome--> READY
                                              --Refuse---> REFUSED      LinkDown: back to DOWN
              GREETED --no answer, Hello again--> GREETED
              REFUSED --a minute later, Hello again--> GREETED
    inward:   no route --Hello that agrees--> route --next Hello--> another route

An identity is taken while our own connection to that neighbor stands and was welcomed by another
boot. Until then, and as soon as that connection breaks, it is free: whoever held it is gone or will
say hello again. If a caller and the one who answers at the neighbor's address disagree about the
boot, the address is right and the caller is refused. Once another boot of a neighbor was met, a
`Hello` of the former one is not heard any more: it was on its way for long. Only the address can
bring that boot back.

Faults leak: a whole vector takes one away, and a refusal ends after `REFUSED_S`, when the two greet
each other again with a clean slate. So a peer on a bad link is heard as long as less goes wrong
than comes whole, and again after every minute in which more goes wrong. A peer that sends nothing
but rubbish makes `MAX_FAULTS` faults, each a line of the log, in every such minute, and one more
for each whole vector that it sends. A vector that a later one has overtaken is no fault, but a line
as well: each number once, and a thousand at most for each that comes next.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from p2pgan.protocol.messages import PROTOCOL_VERSION, Hello, RefusalCode, Welcome

MAX_FAULTS: Final = 8
"""Malformed messages and unusable vectors, less whole ones, after which a peer is refused. On a
connection that loses nothing an honest peer of our version makes none, but for a diverged one,
whose every vector has a NaN."""

FORMER_BOOTS: Final = 8
"""Boots of a neighbor that are remembered as gone; what an earlier one has sent has long come."""


class Outward(Enum):
    """Where our own connection to a neighbor stands."""

    DOWN = "down"
    GREETED = "greeted"
    READY = "ready"
    REFUSED = "refused"


@dataclass(slots=True, kw_only=True)
class Link:
    """What is known of one neighbor."""

    peer: str
    outward: Outward = Outward.DOWN
    route: bytes | None = None
    """Their connection to us, once they were welcomed over it."""
    boot: str | None = None
    """The neighbor's boot id, from its `Hello` or `Welcome`."""
    former: deque[str] = field(default_factory=lambda: deque(maxlen=FORMER_BOOTS))
    """Boots that it had before."""
    left: bool = False
    """It said `Leave`: it still answers, but is chosen no more."""
    is_attached: bool = True
    """Whether the overlay as it is now joins the two; else it is kept for what is on its way, or
    for a peer that may come back."""
    faults: int = 0
    patience_s: float = 0.0
    """How long the next hello waits for an answer."""
    round: int = 0
    """The neighbor's round, as its `Welcome` said."""

    @property
    def is_ready(self) -> bool:
        """Whether a vector may be sent there."""
        return self.outward is Outward.READY and not self.left and self.is_attached

    @property
    def is_settled(self) -> bool:
        """Whether waiting for this neighbor is over: vectors can go both ways, or never will."""
        met = self.outward is Outward.READY and self.route is not None
        gone = self.left or not self.is_attached
        return met or gone or self.outward is Outward.REFUSED

    def is_gone(self, boot: str) -> bool:
        """Whether that boot is a former one, as far as is known without the address's word. It is
        not answered: a refusal might end a process that the address leads to after all."""
        return boot in self.former and self.outward is not Outward.READY

    def meet(self, boot: str) -> None:
        """Takes note of the boot id; a new one is a new start, and forgives the old one."""
        if boot == self.boot:
            return
        if boot in self.former:  # the address says so: the one in between was another process
            self.former.remove(boot)
        if self.boot is not None:
            self.former.append(self.boot)
        self.boot, self.left, self.faults = boot, False, 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a node says of itself in a handshake."""

    node: str
    run: str
    architecture: str
    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a handshake fails, for machines and for people."""

    code: RefusalCode
    text: str


def check_hello(hello: Hello, us: Identity, link: Link | None) -> Refusal | None:
    """Whether a caller may send us vectors; `None` means yes.

    Args:
        hello: what the caller says.
        us: what we are.
        link: what is known of the neighbor it claims to be; `None` if there is no such neighbor.
    """
    unlike = disagreement(hello, us)
    if unlike is not None:
        return unlike
    if hello.node == us.node:
        if hello.boot == us.boot:
            return Refusal(code="own_address", text="this node has called itself")
        return identity_taken(hello.node)
    if link is None:
        return Refusal(code="not_neighbor", text=f"`{us.node}` has no edge to `{hello.node}`")
    if link.outward is Outward.READY and link.boot != hello.boot:
        return identity_taken(hello.node)
    if link.boot == hello.boot and link.faults >= MAX_FAULTS:
        return too_many_faults()
    return None


def check_welcome(welcome: Welcome, link: Link) -> Refusal | None:
    """Whether the node that answers at a neighbor's address is that neighbor; `None` means yes."""
    if welcome.node != link.peer:
        return Refusal(code="wrong_node", text=f"`{welcome.node}` answers for `{link.peer}`")
    return None


def identity_taken(node: str) -> Refusal:
    """The refusal of a second process under one id."""
    return Refusal(code="identity_taken", text=f"another process is `{node}` in this run")


def too_many_faults() -> Refusal:
    """The refusal of a peer that keeps sending what cannot be used."""
    return Refusal(code="faults", text=f"{MAX_FAULTS} malformed messages or unusable vectors")


def leaving(node: str) -> Refusal:
    """The refusal of a node that is about to stop."""
    return Refusal(code="leaving", text=f"`{node}` is about to stop")


def disagreement(hello: Hello, us: Identity) -> Refusal | None:
    """What keeps two nodes from being of one run; `None`: nothing."""
    if hello.protocol != PROTOCOL_VERSION:
        return Refusal(
            code="protocol", text=f"protocol {PROTOCOL_VERSION} here, {hello.protocol} there"
        )
    if hello.run != us.run:
        return Refusal(code="run", text=f"run `{us.run}` here, `{hello.run}` there")
    if hello.architecture != us.architecture:
        return Refusal(
            code="architecture",
            text="model, algorithm, `train.conditional`, `exchange.moments` or `final` differ; "
            "with a coordinator all settings but `coordinator`, `daemon`, `device`, `engine`, "
            "`score` and `overlay` must be the same, and so must the workers",
        )
    return None
