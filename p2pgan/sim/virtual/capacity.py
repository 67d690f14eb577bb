"""What bandwidth does to messages: they wait for those before them, and take time themselves.

A line carries one message after the other, at its full rate. What goes over two lines, an uplink
and a downlink, is on both at once: alone, it takes as long as the slower one does.
"""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping

from p2pgan.distributions import UNLIMITED, Distribution, Home, PerEdge
from p2pgan.distributions import bandwidth as parsed
from p2pgan.errors import OverlayError
from p2pgan.overlay.graph import Overlay
from p2pgan.seeds import stream
from p2pgan.virtual import VirtualConfig

BITS_PER_MBIT = 1e6

Ends = tuple[str, str]
"""Sender and receiver of a message, or two nodes joined by an edge."""


class Line:
    """One direction of a connection, or of a machine's own connection: when it is busy."""

    def __init__(self) -> None:
        """Free for ever."""
        self._busy: list[tuple[float, float]] = []

    def take(self, length_s: float, ready_s: float, now: float) -> float:
        """Takes the first gap that is long enough; when it begins.

        Args:
            length_s: how long the line is needed.
            ready_s: when the message is there, not before `now`.
            now: never less than in the call before.
        """
        del self._busy[: bisect_right(self._busy, now, key=lambda busy: busy[1])]
        start_s, place = ready_s, len(self._busy)
        for later, (from_s, to_s) in enumerate(self._busy):
            if start_s + length_s <= from_s:
                place = later
                break
            start_s = max(start_s, to_s)
        if place and self._busy[place - 1][1] == start_s:  # one queue is one entry
            self._busy[place - 1] = (self._busy[place - 1][0], start_s + length_s)
        else:
            self._busy.insert(place, (start_s, start_s + length_s))
        return start_s


class Capacity(ABC):
    """What the lines of a run carry."""

    @abstractmethod
    def send(self, ends: Ends, size_bytes: int, now: float) -> tuple[float, float]:
        """When a message's first and last bit leave its sender."""

    @abstractmethod
    def receive(self, ends: Ends, size_bytes: int, bits: tuple[float, float], now: float) -> float:
        """When all of it is there, if its first and last bit could be there at two times."""


class Unlimited(Capacity):
    """Nothing takes time."""

    def send(self, ends: Ends, size_bytes: int, now: float) -> tuple[float, float]:
        """At once."""
        del ends, size_bytes
        return now, now

    def receive(self, ends: Ends, size_bytes: int, bits: tuple[float, float], now: float) -> float:
        """With its last bit."""
        del ends, size_bytes, now
        return bits[1]


class PerConnection(Capacity):
    """Every connection has a bandwidth of its own, in each direction."""

    def __init__(self, bandwidth: "Bandwidths") -> None:
        """All lines are free."""
        self._bandwidth, self._lines = bandwidth, dict[Ends, Line]()

    def send(self, ends: Ends, size_bytes: int, now: float) -> tuple[float, float]:
        """Behind what went the same way before."""
        length_s = _seconds(size_bytes, self._bandwidth.mbps(ends))
        start_s = self._lines.setdefault(ends, Line()).take(length_s, now, now)
        return start_s, start_s + length_s

    def receive(self, ends: Ends, size_bytes: int, bits: tuple[float, float], now: float) -> float:
        """With its last bit: the connection was paid for by the sender."""
        del ends, size_bytes, now
        return bits[1]


class PerMachine(Capacity):
    """All connections of a machine share its uplink and its downlink."""

    def __init__(self, home: Home) -> None:
        """All lines are free."""
        self._home = home
        self._uplinks, self._downlinks = dict[str, Line](), dict[str, Line]()

    def send(self, ends: Ends, size_bytes: int, now: float) -> tuple[float, float]:
        """Behind what the sender sent before, to whomever."""
        length_s = _seconds(size_bytes, self._home.up_mbps)
        start_s = self._uplinks.setdefault(ends[0], Line()).take(length_s, now, now)
        return start_s, start_s + length_s

    def receive(self, ends: Ends, size_bytes: int, bits: tuple[float, float], now: float) -> float:
        """Once the receiver's downlink has had the time for it."""
        length_s = _seconds(size_bytes, self._home.down_mbps)
        ready_s = max(bits[0], bits[1] - length_s)  # a slow uplink does not hold the downlink
        downlink = self._downlinks.setdefault(ends[1], Line())
        return downlink.take(length_s, ready_s, now) + length_s


class Bandwidths:
    """Mbit/s of every connection, the same in both directions."""

    def __init__(self, source: Distribution | PerEdge, overlay: Overlay, seed: int) -> None:
        """
        Args:
            source: what is drawn from for each connection, or the overlay's edges.
            overlay: who is joined to whom.
            seed: the run's; a connection's draw depends on no other.
        Raises:
            OverlayError: if an edge has no bandwidth, or none above 0.
        """
        self._seed = seed
        self._source = None if isinstance(source, PerEdge) else source
        self._known = {} if self._source else edge_numbers(overlay, "bandwidth_mbps", above_0=True)

    def mbps(self, ends: Ends) -> float:
        """Of the connection between two nodes.

        Raises:
            OverlayError: if only edges have a bandwidth, and none joins them.
        """
        if self._source is None:
            return of_edge(self._known, ends, "bandwidth_mbps")
        key = (min(ends), max(ends))
        if key not in self._known:
            rng = stream(self._seed, "\x1f".join(key), "links")
            self._known[key] = self._source.draw(rng)
        return self._known[key]


def capacity(config: VirtualConfig, overlay: Overlay, seed: int) -> Capacity:
    """What `virtual.bandwidth_mbps` asks for.

    Raises:
        OverlayError: as `Bandwidths`.
    """
    found = parsed(config.bandwidth_mbps, "virtual.bandwidth_mbps")
    if isinstance(found, Home):
        return PerMachine(found)
    if found == UNLIMITED:
        return Unlimited()
    return PerConnection(Bandwidths(found, overlay, seed))


def edge_numbers(overlay: Overlay, name: str, *, above_0: bool) -> dict[Ends, float]:
    """An attribute of every edge that is a number of 0 or more, or above 0.

    Raises:
        OverlayError: if an edge has another.
    """
    numbers = overlay.edge_numbers(name)
    for (source, target), value in numbers.items():
        if value < 0 or (above_0 and value == 0):
            raise OverlayError(
                expected=f"a `{name}` " + ("above 0" if above_0 else "of 0 or more"),
                got=f"`{value:g}`",
                at=f"overlay `{overlay.name}`: edge `{source}` - `{target}`",
            )
    return numbers


def of_edge(numbers: Mapping[Ends, float], ends: Ends, name: str) -> float:
    """The number of the edge between two nodes.

    Raises:
        OverlayError: if no edge joins them.
    """
    if ends not in numbers:
        raise OverlayError(
            expected="messages along the overlay's edges only",
            got=f"one from `{ends[0]}` to `{ends[1]}`",
            at=f"virtual.{name}",
            hint="say it for all connections alike: some go beside the edges",
        )
    return numbers[ends]


def _seconds(size_bytes: int, mbps: float) -> float:
    return size_bytes * 8 / (mbps * BITS_PER_MBIT)
