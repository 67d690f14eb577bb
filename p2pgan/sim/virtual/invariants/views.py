"""Everybody knows who is there: tables of members agree with the world, once that is calm."""

from collections.abc import Collection, Sequence
from typing import Final

from p2pgan.node.around import timing_of
from p2pgan.overlay.mending import adjacency_now
from p2pgan.protocol.attachment import GONE
from p2pgan.protocol.membership.timing import Timing
from p2pgan.sim.virtual.invariants.ground import Ground, Invariant
from p2pgan.sim.virtual.invariants.members import HEALED_S, is_leaving

SUSPICIONS: Final = 12
"""Probe intervals, times the factor of suspicion: six of them are the longest that a suspicion
takes while nobody confirms it, and our own senses may be dulled."""

NEWS_S: Final = 30.0
"""For news to go round, and for tables to be compared where some was lost."""


class Views(Invariant):
    """Where members watch each other: after the last disturbance every one of them that is there
    takes for alive exactly those that are, as far as the overlay joins them."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        timing = timing_of(ground.design.config.membership, "off")
        self._settled_s = settled_s(timing) if timing is not None else None
        self._pieces = [frozenset(piece) for piece in _pieces(ground)]

    def sweep(self) -> None:
        """Every table, once all is calm for long."""
        ground, settled_s = self.ground, self._settled_s
        if settled_s is None:
            return
        calm_s = max(ground.weather.whole_since_s(), ground.weather.calm_since_s())
        if ground.now - calm_s <= settled_s:
            return
        for piece in self._pieces:
            if all(self._is_settled(node, settled_s) for node in piece):
                for node in sorted(piece):
                    self._check(node, piece)

    def _is_settled(self, node: str, settled_s: float) -> bool:
        """Whether a node has long been there, or has long been away."""
        ground = self.ground
        if ground.is_awake(node):
            return ground.quiet_s(node) > settled_s and not is_leaving(ground, node)
        return ground.now - ground.weather.last_s(node) > settled_s

    def _check(self, node: str, piece: Collection[str]) -> None:
        ground = self.ground
        machine = ground.member(node).machine
        if machine is None or not ground.is_awake(node):
            return
        gone = set()
        for row in machine.members():
            is_there = row.node in piece and ground.is_awake(row.node)
            gone |= {row.node} if row.state in GONE else set()
            if row.node in piece and row.state not in (("alive",) if is_there else GONE):
                self._fail(node, f"`{row.node}` to be {_word(is_there)}", f"`{row.state}`")
        if ground.design.config.membership.mend:
            for peer in sorted(adjacency_now(ground.design.overlay, (), gone)[node]):
                is_busy = peer not in piece or ground.world.network.is_busy(node, peer)
                if not is_busy and not machine.is_ready(peer):
                    self._fail(node, f"`{peer}` to be ready", "a peer that is not")

    def _fail(self, node: str, expected: str, got: str) -> None:
        told = f"{expected} after {self._settled_s:.0f} s"
        self.ground.fail(node, expected=told, got=got)


def _word(is_there: bool) -> str:
    return "alive" if is_there else "gone"


def settled_s(timing: Timing) -> float:
    """How long it may take until all agree, after the links have healed."""
    return HEALED_S + SUSPICIONS * timing.suspicion * timing.probe_s + NEWS_S


def _pieces(ground: Ground) -> Sequence[Collection[str]]:
    """Nodes that news can go round among."""
    return ground.design.overlay.components()
