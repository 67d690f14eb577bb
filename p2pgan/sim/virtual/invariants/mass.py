"""Push-sum: all mass is somewhere, once, however its pieces travel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from p2pgan.gan.cohort import Trainees
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.mass import RESEND_MAX_S
from p2pgan.protocol.peer import PeerMachine
from p2pgan.protocol.phases import Phase
from p2pgan.sim.virtual.invariants.ground import Ground, Invariant, Obey, Read, See
from p2pgan.sim.virtual.invariants.members import HEALED_S, LEAVES
from p2pgan.sim.virtual.world import Moment

Amount = npt.NDArray[np.float64]
"""A weight, and the numbers that it weighs times the weight, if nobody trains them."""

GIVEN_UP: Final = frozenset({"restarted", "peer_lost", "unacknowledged"})
"""Why a sender stops to ask about a piece; its receiver may have it, or have had it."""

DECIDED_S: Final = HEALED_S + RESEND_MAX_S
"""Two who know each other: the longest wait until a piece is sent again, and its answer."""

ROUNDING: Final = 2.0**-22
"""Of a number around 1 that is mixed in float32, times its weight: a few roundings."""

EXACT: Final = 1e-9
"""Sums of weights are float64 and hundreds at most."""


@dataclass(slots=True, kw_only=True)
class Piece:
    """Mass between its first sending and the end of the mixing that it went into."""

    sender: str
    receiver: str
    weight: float
    amount: Amount
    sent_s: float
    holder: str = ""
    """Who has it for certain; empty: it is in doubt."""


class Masses(Invariant):
    """What all nodes and pieces hold together stays what it was, but for what ends with a life;
    a piece is merged by one node and in its next mixing, and is forgotten by its sender only if
    another has it; where nothing disturbs two nodes, none stays in doubt."""

    def __init__(self, ground: Ground, cohort: Trainees) -> None:
        super().__init__(ground)
        (self._nets,) = ground.design.algorithm.groups
        self._vectors = {net: cohort.exchanged[net].numpy() for net in self._nets}
        self._is_weighed = ground.design.config.virtual.train == "none"
        self._rows = {node: index for index, node in enumerate(ground.design.nodes)}
        nothing = self._numbers(ground.design.nodes[0]) * 0.0
        self._own: dict[str, Amount] = dict.fromkeys(ground.design.nodes, nothing)
        """What each node holds itself, or held when its process ended."""
        self._mixed_numbers: dict[str, Amount] = {}
        """Of each node, after its latest mixing of mass: the last step moves networks as well."""
        self._pieces: dict[str, Piece] = {}
        """Not merged, by exchange."""
        self._open: dict[str, Piece] = {}
        """Those that their senders wait for an answer about, merged or not."""
        self._taken: dict[str, dict[str, Piece]] = {}
        """What each node is mixing, by exchange."""
        self._due: dict[str, frozenset[str]] = {}
        """What each node must mix in the round at hand."""
        self._all = nothing
        """What there should be."""
        self._rounding = EXACT

    def events(self) -> Mapping[type[ev.Event], See]:
        """As `Invariant.events`."""
        return {
            ev.Started: self._begins,
            ev.TrainingDone: self._trained,
            ev.MixingDone: self._mixed,
        }

    def orders(self) -> Mapping[type[do.Instruction], Obey]:
        """As `Invariant.orders`."""
        return {do.SendVector: self._sends, do.Mix: self._mixes, do.Forget: self._forgets}

    def records(self) -> Mapping[str, Read]:
        """As `Invariant.records`."""
        return {
            "vector_received": self._takes,
            "vector_dropped": self._drops,
            "round_finished": self._finishes,
        }

    # -- nodes -------------------------------------------------------------------------------------

    def _numbers(self, node: str) -> Amount:
        """What a weight of 1 stands for at a node."""
        row = self._rows[node]
        parts = [self._vectors[net][row] for net in self._nets] if self._is_weighed else []
        return np.concatenate([[1.0], *parts]).astype(np.float64)

    def _weight(self, node: str) -> float:
        machine = self.ground.member(node).machine
        assert isinstance(machine, PeerMachine)
        return machine.weight

    def _begins(self, moment: Moment) -> None:
        """A life begins with mass of its own; that of the one before is gone, and what it held."""
        node = moment.node
        for exchange, piece in list(self._pieces.items()):
            if piece.holder == node:
                self._all = self._all - piece.amount
                del self._pieces[exchange]
        for exchange, piece in list(self._open.items()):
            if piece.sender == node:
                del self._open[exchange]
        self._taken.pop(node, None)
        self._due.pop(node, None)
        self._mixed_numbers[node] = self._numbers(node)
        own = self._weight(node) * self._mixed_numbers[node]
        self._all = self._all + own - self._own[node]
        self._own[node] = own

    def _trained(self, moment: Moment) -> None:
        node = moment.node
        held = (exchange for exchange, piece in self._pieces.items() if piece.holder == node)
        self._due[node] = frozenset(held)
        self._own[node] = self._weight(node) * self._mixed_numbers[node]

    def _mixed(self, moment: Moment) -> None:
        node = moment.node
        for exchange in self._taken.pop(node, {}):
            del self._pieces[exchange]
            self._mixed_numbers[node] = self._numbers(node)
        self._own[node] = self._weight(node) * self._mixed_numbers[node]
        self._rounding += ROUNDING * float(self._own[node][0])

    def _finishes(self, moment: Moment, record: do.Record) -> None:
        del record
        left = self._due.pop(moment.node, frozenset()) & self._pieces.keys()
        if left:
            self.ground.fail(
                moment.node,
                expected="a round to mix all pieces that were there when it was trained",
                got=f"`{min(left)}` left over",
            )

    # -- pieces ------------------------------------------------------------------------------------

    def _sends(self, moment: Moment, order: do.Instruction) -> None:
        assert isinstance(order, do.SendVector)
        if order.purpose != "mass":
            return
        self._pieces[order.exchange] = self._open[order.exchange] = Piece(
            sender=moment.node,
            receiver=order.peer,
            weight=order.weight,
            amount=order.weight * self._mixed_numbers[moment.node],
            sent_s=moment.now,
        )

    def _takes(self, moment: Moment, record: do.Record) -> None:
        exchange = record.fields["exchange"]
        if record.fields.get("purpose") != "mass":
            return
        piece = self._pieces.get(exchange)
        if piece is None or piece.holder:
            self.ground.fail(
                moment.node,
                expected="a piece of mass to be taken once",
                got=f"`{exchange}`, which {piece.holder if piece else 'nobody'} has",
            )
        piece.holder = moment.node

    def _drops(self, moment: Moment, record: do.Record) -> None:
        exchange, reason = record.fields["exchange"], record.fields["reason"]
        asked = self._open.get(exchange)
        piece = self._pieces.get(exchange)
        if asked is not None and moment.node == asked.sender:
            del self._open[exchange]
            if reason not in GIVEN_UP:
                self._comes_back(exchange, asked, reason)
        elif piece is None:
            return
        elif moment.node == piece.holder and self._phase(moment.node) not in LEAVES:
            self.ground.fail(
                moment.node,
                expected="what is taken of a mass to be mixed",
                got=f"`{exchange}` dropped: `{reason}`",
            )

    def _comes_back(self, exchange: str, piece: Piece, reason: str) -> None:
        if piece.holder:
            self.ground.fail(
                piece.sender,
                expected="a piece to come back only if it was refused",
                got=f"`{exchange}`, `{reason}`, which `{piece.holder}` has taken",
            )
        piece.holder = piece.sender

    def _mixes(self, moment: Moment, order: do.Instruction) -> None:
        assert isinstance(order, do.Mix)
        taken = self._taken.setdefault(moment.node, {})
        for arrival in order.arrivals:
            if arrival.purpose != "mass":
                continue
            piece = self._pieces.get(arrival.exchange)
            held = piece.weight if piece is not None and piece.holder == moment.node else 0.0
            if piece is None or held != arrival.weight:
                self.ground.fail(
                    moment.node,
                    expected=f"a weight of {held} for `{arrival.exchange}`, which it has",
                    got=f"{arrival.weight}",
                )
            taken[arrival.exchange] = piece

    def _forgets(self, moment: Moment, order: do.Instruction) -> None:
        assert isinstance(order, do.Forget)
        is_open = self._open.pop(order.exchange, None) is not None
        piece = self._pieces.get(order.exchange)
        if piece is None:
            return
        is_mixed = order.exchange in self._taken.get(moment.node, ())
        has_other = piece.holder not in ("", moment.node)
        if (is_open and not has_other) or (piece.holder == moment.node and not is_mixed):
            self.ground.fail(
                moment.node,
                expected="a piece to be forgotten once another has it, or it is mixed",
                got=f"`{order.exchange}`, which nobody has",
            )

    # -- the whole ---------------------------------------------------------------------------------

    def sweep(self) -> None:
        """The sum of everything, and what is in doubt for long."""
        amounts = [*self._own.values(), *(piece.amount for piece in self._pieces.values())]
        error = np.abs(np.sum(amounts, 0) - self._all)
        if error[0] > EXACT or error.max() > self._rounding:
            self.ground.fail(
                self.ground.design.nodes[0],
                expected=f"a weight of {self._all[0]:.9f} at all nodes and between them",
                got=f"{error[0]:.3g} more or less, and {error.max():.3g} in the weighted sums",
            )
        weather = self.ground.weather
        calm_s = self.ground.now - max(weather.whole_since_s(), weather.calm_since_s())
        if calm_s > DECIDED_S:
            for exchange, piece in self._open.items():
                self._check_doubt(exchange, piece)

    def _check_doubt(self, exchange: str, piece: Piece) -> None:
        ground, both = self.ground, (piece.sender, piece.receiver)
        if not all(map(ground.is_awake, both)):
            return
        waited_s = min(ground.now - piece.sent_s, ground.quiet_s(*both))
        if waited_s > DECIDED_S and LEAVES.isdisjoint(map(self._phase, both)):
            ground.fail(
                piece.sender,
                expected=f"an answer about a piece within {DECIDED_S:.0f} s",
                got=f"`{exchange}`, in doubt for {waited_s:.3f} s in which nothing disturbed",
            )

    def _phase(self, node: str) -> Phase:
        machine = self.ground.member(node).machine
        assert machine is not None
        return machine.phase
