"""Views heal: whoever is there is known to its neighbors, and nobody else is taken for ready."""

from typing import Final

from p2pgan.protocol.greetings import GREET_AGAIN_MAX_S, REFUSED_S
from p2pgan.protocol.phases import Phase
from p2pgan.sim.virtual.invariants.ground import Ground, Invariant
from p2pgan.sim.virtual.network import RECONNECT_MAX_S, SILENCE_S

HANDSHAKE_S: Final = 10.0
"""For the dialling, a greeting and its answer, with latencies of seconds."""

HEALED_S: Final = (
    SILENCE_S + RECONNECT_MAX_S + max(GREET_AGAIN_MAX_S, REFUSED_S) + HANDSHAKE_S
)  # fmt: skip
"""A dead connection is found to be so and is made again; whoever had refused, or had lost the
answer to a greeting, greets again."""

LEAVES: Final = frozenset({Phase.SAVING, Phase.LEAVING, Phase.CLOSED})


class Members(Invariant):
    """Some time after the last disturbance of two neighbors, each is ready for the other exactly
    if that one is there, and is not about to leave."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        neighbors = ground.world.neighbors
        self._pairs = [(node, peer) for node, peers in neighbors.items() for peer in peers]

    def sweep(self) -> None:
        """Every pair that has had the time."""
        ground = self.ground
        whole_s = max(ground.weather.whole_since_s(), ground.weather.calm_since_s())
        if ground.now - whole_s <= HEALED_S:
            return
        for node, peer in self._pairs:
            if ground.is_awake(node) and ground.quiet_s(node) > HEALED_S:
                self._check(node, peer)

    def _check(self, node: str, peer: str) -> None:
        ground = self.ground
        machine = ground.member(node).machine
        assert machine is not None
        is_there = ground.is_awake(peer)
        # Who has been away for long is as good as who was never there, whatever else befalls it.
        settled_s = ground.quiet_s(peer) if is_there else ground.now - ground.weather.last_s(peer)
        if settled_s <= HEALED_S or is_leaving(ground, node) or is_leaving(ground, peer):
            return
        if machine.is_ready(peer) == is_there or ground.world.network.is_busy(node, peer):
            return
        states = {one.peer: one.state for one in machine.statistics().peers}
        ground.fail(
            node,
            expected=f"`{peer}` to be {'ready' if is_there else 'gone'} after {HEALED_S:.0f} s",
            got=f"`{states[peer]}`",
        )


def is_leaving(ground: Ground, node: str) -> bool:
    """Whether a process is about to end, which is a matter of seconds."""
    machine = ground.member(node).machine
    return machine is not None and ground.world.is_up(node) and machine.phase in LEAVES
