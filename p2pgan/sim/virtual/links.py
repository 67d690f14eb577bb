"""What happens to a message on its way: when it arrives, how often, and in what state.

A message first waits for its line (`capacity.py`), then takes its latency. Faults are drawn for
each message alone, and for a vector once, whatever the number of its chunks: a vector of which
every chunk had luck of its own would hardly ever arrive. A connection keeps the order of what is
sent over it, as TCP does: whoever carries the messages sees to that, but for those that are
`Delivery.overtakes`.
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


class Fate(NamedTuple):
    """What the links do to a message, or to a vector with all its chunks."""

    copies: int
    """How often it arrives: 0 if it is lost, 2 if it is doubled."""
    late_s: float
    overtakes: bool


LOST: Final = Fate(copies=0, late_s=0.0, overtakes=False)
UNHARMED: Final = Fate(copies=1, late_s=0.0, overtakes=False)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Shares of messages and vectors that suffer something; none by default."""

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
        self._is_calm = self._rates == Rates()
        """Whether nothing can happen: nothing is drawn then, nor looked up for every message."""
        self._vectors: dict[Ends, tuple[str, Fate]] = {}
        """The latest one between two nodes: its chunks follow each other."""

    def passage(
        self, sender: str, receiver: str, size_bytes: int, now: float, *, vector: str | None
    ) -> list[Delivery]:
        """The arrivals of a message that is sent now: none if it is lost, two if it is doubled.

        What is lost was sent all the same, and kept others from the sender's line.

        Args:
            sender: who sends it.
            receiver: who shall have it.
            size_bytes: of all its frames, at least 1.
            now: virtual seconds, never less than in the call before.
            vector: tells the vector that it is a chunk of from others between the two; `None`: it
                is none. Vectors alone are delayed by rounds.
        Raises:
            OverlayError: if only edges have a latency or a bandwidth, and none joins the two.
        """
        ends = (sender, receiver)
        bits = self._capacity.send(ends, size_bytes, now)
        fate = self._fate(ends, vector)
        return [self._delivery(ends, size_bytes, bits, now, fate) for _ in range(fate.copies)]

    def be_calm(self) -> None:
        """From now on nothing is lost, doubled, reordered, corrupted or delayed by rounds, but for
        what is left of vectors that have begun."""
        self._rates, self._is_calm = Rates(), True

    def _fate(self, ends: Ends, vector: str | None) -> Fate:
        if vector is None:
            return self._drawn(0.0)
        latest = self._vectors.get(ends)
        if latest is None or latest[0] != vector:
            latest = self._vectors[ends] = vector, self._drawn(self._rates.delay_s)
        return latest[1]

    def _drawn(self, delay_s: float) -> Fate:
        if self._is_calm:
            return UNHARMED
        if self._happens(self._rates.loss):
            return LOST
        copies = 2 if self._happens(self._rates.duplication) else 1
        late_s = self._rng.uniform(0, delay_s) if delay_s else 0.0
        is_held = self._happens(self._rates.reordering)
        if is_held:
            late_s += self._rng.uniform(0, self._held_s)
        return Fate(copies, late_s, is_held or delay_s > 0)

    def _delivery(
        self, ends: Ends, size_bytes: int, bits: tuple[float, float], now: float, fate: Fate
    ) -> Delivery:
        is_corrupt = self._happens(self._rates.corruption)
        on_the_way_s = self._latency(ends) + fate.late_s
        there = bits[0] + on_the_way_s, bits[1] + on_the_way_s
        at_s = self._capacity.receive(ends, size_bytes, there, now)
        return Delivery(at_s, is_corrupt, fate.overtakes)

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
