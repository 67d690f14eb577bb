"""What happens to a message on its way: when it arrives, how often, and in what state.

A message first waits for its line (`capacity.py`), then takes its latency. Faults are drawn for
each message alone. A connection keeps the order of what is sent over it, as TCP does: whoever
carries the messages sees to that, but for those that are `Delivery.overtakes`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from p2pgan.distributions import Constant, PerEdge
from p2pgan.distributions import latency as parsed
from p2pgan.overlay.graph import Overlay
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim.virtual.capacity import Ends, capacity, edge_numbers, of_edge
from p2pgan.virtual import VirtualConfig

HELD_ROUNDS: Final = 1.0
"""For up to so many rounds a message is held back that others shall overtake: most nodes send more
over each connection within a round."""


class Delivery(NamedTuple):
    """One arrival of a message."""

    at_s: float
    corrupted: bool
    """One bit of it has changed."""
    overtakes: bool
    """The order of the connection does not count for it: it may be overtaken, or overtake."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Shares of messages that suffer something; none by default."""

    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    corruption: float = 0.0
    delay_s: float = 0.0
    """Vectors are late by up to so much."""


class Links:
    """All connections of a run."""

    def __init__(
        self, config: VirtualConfig, overlay: Overlay, *, seed: int, round_s: float
    ) -> None:
        """Nothing is on its way.

        Args:
            config: latency, bandwidth and the faults of links.
            overlay: whose edges may have latencies and bandwidths.
            seed: the run's.
            round_s: how long a round takes on a machine of speed 1.
        Raises:
            OverlayError: if the overlay's edges are to say what they do not.
        """
        self._rng = stream(seed, EVERYONE, "links")
        self._capacity = capacity(config, overlay, seed)
        self._latency = _latency(config, overlay, self._rng)
        self._held_s = HELD_ROUNDS * round_s
        self._rates = Rates(
            loss=config.loss,
            duplication=config.duplication,
            reordering=config.reordering,
            corruption=config.corruption,
            delay_s=config.delay_rounds * round_s,
        )

    def passage(
        self, sender: str, receiver: str, size_bytes: int, now: float, *, is_vector: bool
    ) -> list[Delivery]:
        """The arrivals of a message that is sent now: none if it is lost, two if it is doubled.

        What is lost was sent all the same, and kept others from the sender's line.

        Args:
            sender: who sends it.
            receiver: who shall have it.
            size_bytes: of all its frames.
            now: virtual seconds, never less than in the call before.
            is_vector: whether it carries networks, which alone are delayed by rounds.
        Raises:
            OverlayError: if only edges have a latency or a bandwidth, and none joins the two.
        """
        ends, rates = (sender, receiver), self._rates
        bits = self._capacity.send(ends, size_bytes, now)
        if self._happens(rates.loss):
            return []
        copies = 2 if self._happens(rates.duplication) else 1
        delay_s = rates.delay_s if is_vector else 0.0
        return [self._delivery(ends, size_bytes, bits, now, delay_s) for _ in range(copies)]

    def be_calm(self) -> None:
        """From now on nothing is lost, doubled, reordered, corrupted or delayed by rounds."""
        self._rates = Rates()

    def _delivery(
        self, ends: Ends, size_bytes: int, bits: tuple[float, float], now: float, delay_s: float
    ) -> Delivery:
        is_held = self._happens(self._rates.reordering)
        is_corrupt = self._happens(self._rates.corruption)
        on_the_way_s = self._latency(ends)
        if delay_s:
            on_the_way_s += self._rng.uniform(0, delay_s)
        if is_held:
            on_the_way_s += self._rng.uniform(0, self._held_s)
        there = bits[0] + on_the_way_s, bits[1] + on_the_way_s
        at_s = self._capacity.receive(ends, size_bytes, there, now)
        return Delivery(at_s, is_corrupt, is_held or delay_s > 0)

    def _happens(self, share: float) -> bool:
        """Nothing is drawn for what cannot happen."""
        return share > 0 and self._rng.random() < share


def _latency(
    config: VirtualConfig, overlay: Overlay, rng: np.random.Generator
) -> Callable[[Ends], float]:
    """Draws the seconds of one message between two nodes."""
    found = parsed(config.latency_s, "virtual.latency_s")
    if isinstance(found, PerEdge):
        numbers = edge_numbers(overlay, "latency_s", above_0=False)
        return lambda ends: of_edge(numbers, ends, "latency_s")
    if isinstance(found, Constant):
        return lambda ends: found.value
    return lambda ends: found.draw(rng)
