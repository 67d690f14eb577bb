"""Push-sum: a node gives parts of its mass away, and none of it may be lost or come twice.

A part of the peer machine. The mass of a node is its weight, and its networks times that weight.
Sums over all nodes stay what they were if every piece that a node parts with is merged by exactly
one, whoever that is (Kempe et al. 2003; on lossy links Hadjicostis et al. 2016).

A piece is *in doubt* from when it is sent until its receiver has decided. It is kept, and sent
again under the same exchange id after a while and whenever the receiver is ready anew; `Decisions`
make sure that the receiver says the same every time. A refusal brings the piece back, and it is
merged as if it had come from another. No peer is sent another piece before it has decided about the
first. With a peer that is started anew, the pieces that it had not answered for are lost: it may
have had them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from p2pgan.protocol.chunks import Arrival
from p2pgan.protocol.core import Core, Settings, Weighting
from p2pgan.protocol.exchanges import Exchanges, Outgoing, Parcel
from p2pgan.protocol.instructions import Forget, Mix, Resend, SetTimer
from p2pgan.protocol.links import Link, Outward
from p2pgan.protocol.neighborhood import Neighborhood
from p2pgan.protocol.trading import Trade, weighted

RESEND_TIMER: Final = "resend"

RESEND_FIRST_S: Final = 5.0
"""Wait for an answer before anybody knows how long they take: a few seconds of a slow link."""

RESEND_MIN_S: Final = 0.5
RESEND_MAX_S: Final = 60.0
"""Waits double from one repetition to the next, up to this."""

ANSWERS: Final = 4
"""The wait is so many times the longest of late answers: a repetition of what is merely slow costs
as much as the vector itself."""

FADING: Final = 0.9
"""What is left of the longest answer with each that comes, so that one freeze is forgotten."""


@dataclass(slots=True, kw_only=True)
class Doubt:
    """A piece of our mass whose receiver has not decided."""

    out: Outgoing
    weight: float
    boot: str
    """The life of the receiver that it was sent to."""
    sent_s: float
    due_s: float
    """When it is sent again."""
    wait_s: float
    """From one time to the next."""
    is_repeated: bool = False


class Mass(Trade):
    """Parts with mass, and answers for it.

    Invariants: one piece at most of each receiver is in doubt, and it is outstanding; what came
    back has weight.
    """

    __slots__ = ("_answer_s", "_doubts", "_is_leaving", "_returned", "_rule")

    def __init__(
        self, core: Core, settings: Settings, neighborhood: Neighborhood, exchanges: Exchanges
    ) -> None:
        super().__init__(core, settings, neighborhood, exchanges)
        assert settings.weighting is not None, "mass without weights"
        self._rule: Weighting = settings.weighting
        self._doubts: dict[str, Doubt] = {}
        """By receiver."""
        self._returned: list[Arrival] = []
        """What was refused, and is to be merged by us; without data, which the shell has."""
        self._answer_s = 0.0
        """The longest that an answer of late has taken."""
        self._is_leaving = False

    # -- rounds ------------------------------------------------------------------------------------

    def send(self, ready: Sequence[str], round: int) -> None:
        free = [peer for peer in ready if peer not in self._doubts]
        peers = self.drawn(free) if free else ()
        if not peers or not self._rule.may_give(len(peers)):
            return
        (nets,) = self.settings.groups
        weight = self._rule.give(len(peers))
        for peer in peers:
            parcel = Parcel(purpose="mass", weight=weight)
            exchange = self.exchanges.send(peer, nets, round=round, parcel=parcel)
            self._doubt(self.exchanges.outstanding[exchange], weight)
        self._set_timer()

    def take(self, round: int) -> Mix | None:
        arrivals = (*self.exchanges.take("mass"), *self._returned)
        self._returned.clear()
        return weighted(self.settings, arrivals, round)

    def mixed(self, mix: Mix) -> None:
        self._rule.take(sum(mix.weights))

    def unwanted(self, arrival: Arrival) -> str:
        waits = (arrival.peer, arrival.nets, arrival.purpose) in self.exchanges.inbox
        return "busy" if waits else ""

    # -- pieces in doubt ---------------------------------------------------------------------------

    def _doubt(self, out: Outgoing, weight: float) -> None:
        wait_s = max(RESEND_MIN_S, ANSWERS * self._answer_s) if self._answer_s else RESEND_FIRST_S
        wait_s = min(wait_s, RESEND_MAX_S)
        self._doubts[out.peer] = Doubt(
            out=out,
            weight=weight,
            boot=self.neighborhood.links[out.peer].boot or "",
            sent_s=self.core.now,
            due_s=self.core.now + wait_s,
            wait_s=wait_s,
        )

    def accepted(self, out: Outgoing) -> None:
        doubt = self._decided(out)
        if doubt is None:
            return
        if not doubt.is_repeated:  # else nobody knows which of the two was answered
            took_s = self.core.now - doubt.sent_s
            self._answer_s = max(took_s, FADING * self._answer_s)
        self.core.emit(Forget(exchange=out.exchange))

    def returned(self, out: Outgoing) -> None:
        doubt = self._decided(out)
        if doubt is None:
            return
        self._returned.append(
            Arrival(
                peer=self.core.us.node,
                exchange=out.exchange,
                nets=out.nets,
                round=out.round,
                data=b"",
                purpose=out.purpose,
                weight=doubt.weight,
            )
        )

    def _decided(self, out: Outgoing) -> Doubt | None:
        """The doubt about a vector, which is over; `None`: it was of another kind."""
        if out.purpose != "mass":
            return None
        doubt = self._doubts.pop(out.peer)
        assert doubt.out == out, "two pieces of one receiver were in doubt"
        return doubt

    def welcomed(self, link: Link) -> None:
        doubt = self._doubts.get(link.peer)
        if doubt is None or link.outward is not Outward.READY:
            return
        if doubt.boot == link.boot:
            self._resend(doubt)
            self._set_timer()
        else:
            self._lose(doubt, "restarted")

    def lost(self, peer: str) -> None:
        if self._is_leaving and peer in self._doubts:
            self._lose(self._doubts[peer], "peer_lost")

    def fired(self, name: str) -> None:
        if name != RESEND_TIMER:
            return
        links = self.neighborhood.links
        for doubt in self._doubts.values():
            if doubt.due_s <= self.core.now and links[doubt.out.peer].outward is Outward.READY:
                self._resend(doubt)
        self._set_timer()

    def _resend(self, doubt: Doubt) -> None:
        doubt.is_repeated = True
        doubt.wait_s = min(2 * doubt.wait_s, RESEND_MAX_S)
        doubt.due_s = self.core.now + doubt.wait_s
        self.core.emit(Resend(exchange=doubt.out.exchange, clock=self.core.tick()))

    def _lose(self, doubt: Doubt, reason: str) -> None:
        del self._doubts[doubt.out.peer]
        self.exchanges.give_up(doubt.out, reason)
        self.core.emit(Forget(exchange=doubt.out.exchange))

    def _set_timer(self) -> None:
        """Until the next piece is sent again; those of peers that are not there wait for them."""
        links = self.neighborhood.links
        ready = [d for d in self._doubts.values() if links[d.out.peer].outward is Outward.READY]
        if ready:
            self.core.emit(SetTimer(name=RESEND_TIMER, at_s=min(doubt.due_s for doubt in ready)))

    # -- the end -----------------------------------------------------------------------------------

    def let_go(self, *, now: bool) -> None:
        self._is_leaving = True
        if now:
            self._doubts.clear()
            return
        links = self.neighborhood.links
        for doubt in list(self._doubts.values()):
            if links[doubt.out.peer].outward is not Outward.READY:
                self._lose(doubt, "peer_lost")

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        for peer, doubt in self._doubts.items():
            assert doubt.out.peer == peer, "a doubt is filed under another receiver"
            assert doubt.out.exchange in self.exchanges.outstanding, "a doubt that is decided"
        assert all(arrival.weight > 0 for arrival in self._returned), "nothing came back"
