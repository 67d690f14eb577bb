"""How a peer exchanges networks while it trains: to whom they go, and what comes into the mixture.

A part of the peer machine. A `Trade` is asked for its turn after every round's training: it sends,
and says what of all that has come is to be mixed now. `Push` is gossip as it is; `mass` and
`pairing` have the others.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from p2pgan.protocol.chunks import Arrival
from p2pgan.protocol.core import Core, Settings
from p2pgan.protocol.exchanges import Exchanges, Outgoing, Parcel
from p2pgan.protocol.instructions import Mix
from p2pgan.protocol.links import Link
from p2pgan.protocol.neighborhood import Neighborhood


class Trade(ABC):
    """What a peer does with its neighbors between two trainings."""

    __slots__ = ("core", "exchanges", "neighborhood", "settings")

    def __init__(
        self, core: Core, settings: Settings, neighborhood: Neighborhood, exchanges: Exchanges
    ) -> None:
        self.core, self.settings = core, settings
        self.neighborhood, self.exchanges = neighborhood, exchanges

    def drawn(self, ready: Sequence[str]) -> Sequence[str]:
        """Whom to send to; `ready` are those who may be drawn, one at least."""
        peers = self.settings.draw(ready)
        assert {*peers} <= {*ready}, f"the draw chose {peers}, some of whom are not ready"
        return peers

    def send(self, ready: Sequence[str], round: int) -> None:
        """A round is trained: sends networks as they are before mixing, if some peer is ready."""
        del ready, round

    @abstractmethod
    def take(self, round: int) -> Mix | None:
        """What is to be mixed in that round; `None`: nothing has come."""

    def mixed(self, mix: Mix) -> None:
        """What was taken is in our own networks."""
        del mix

    def go_on(self, ready: Sequence[str], round: int) -> None:
        """A round is over, and the next one is about to be trained."""
        del ready, round

    def unwanted(self, arrival: Arrival) -> str:
        """Why an arrival is not taken now, by somebody who will mix again; empty: it is."""
        del arrival
        return ""

    def keep(self, arrival: Arrival) -> None:
        """Takes an arrival."""
        self.exchanges.keep(arrival)

    def accepted(self, out: Outgoing) -> None:
        """A vector of ours was taken."""
        del out

    def returned(self, out: Outgoing) -> None:
        """A vector of ours was refused."""
        del out

    def welcomed(self, link: Link) -> None:
        """A peer takes our vectors, perhaps again."""
        del link

    def lost(self, peer: str) -> None:
        """Our connection to a peer broke."""
        del peer

    def fired(self, name: str) -> None:
        """A timer has fired, which may be ours."""
        del name

    def let_go(self, *, now: bool) -> None:
        """The peer leaves and mixes no more; `now`: it does not wait for answers either."""
        del now

    def held_bytes(self) -> int:
        """Bytes of vectors in hand, beside those in the inbox."""
        return 0

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        return


class Push(Trade):
    """Sends each group of networks to those drawn for it, and mixes what has come meanwhile."""

    __slots__ = ()

    def send(self, ready: Sequence[str], round: int) -> None:
        rule = self.settings.weighting
        for nets in self.settings.groups:
            peers = self.drawn(ready)
            weight = rule.give(len(peers)) if rule is not None and peers else 0.0
            for peer in peers:
                self.exchanges.send(peer, nets, round=round, parcel=Parcel(weight=weight))

    def take(self, round: int) -> Mix | None:
        return weighted(self.settings, self.exchanges.take("mix"), round)

    def mixed(self, mix: Mix) -> None:
        if self.settings.weighting is not None:
            self.settings.weighting.take(sum(mix.weights))


def weighted(settings: Settings, arrivals: tuple[Arrival, ...], round: int) -> Mix | None:
    """Arrivals with their weights in the mixture of a round; `None`: there are none."""
    rule = settings.weighting
    if not arrivals:
        return None
    if rule is None:
        return Mix(arrivals=arrivals)
    weights = tuple(rule.of(arrival.weight, round - arrival.round) for arrival in arrivals)
    return Mix(arrivals=arrivals, own=rule.own, weights=weights)
