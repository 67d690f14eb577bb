"""Since when nothing has disturbed a node: from there on the protocol's own times are bounds."""

import math
from collections import Counter
from collections.abc import Iterable

from p2pgan.sim.virtual.outages import Outage


class Weather:
    """Which outages last, and when the last one ended.

    Args:
        nodes: all of the run.
        calm_s: from when on the links lose and change nothing; infinite: never.
    """

    def __init__(self, nodes: Iterable[str], calm_s: float) -> None:
        self._calm_s = calm_s
        self._lasting: Counter[str] = Counter()
        self._since_s = dict.fromkeys(nodes, 0.0)
        self._partitions = 0
        self._healed_s = 0.0

    def injected(self, now: float, outage: Outage, what: str) -> None:
        """An outage begins or ends, or a node joins."""
        for node in outage.nodes:
            self._since_s[node] = now
        change = {"begins": 1, "ends": -1}.get(what, 0)
        if outage.kind == "partition":
            self._partitions += change
            self._healed_s = now
        elif outage.kind != "crash":  # that is over at once: the process is gone
            for node in outage.nodes:
                self._lasting[node] += change

    def shifted(self, now: float, node: str) -> None:
        """A node has begun a life, or ended it."""
        self._since_s[node] = now

    def since_s(self, node: str) -> float:
        """Since when nothing disturbs a node; infinite while something does."""
        return math.inf if self._lasting[node] else self._since_s[node]

    def last_s(self, node: str) -> float:
        """When something last began or ended at a node."""
        return self._since_s[node]

    def whole_since_s(self) -> float:
        """Since when the overlay is in one piece; infinite while it is not."""
        return math.inf if self._partitions else self._healed_s

    def calm_since_s(self) -> float:
        """Since when links lose and change nothing."""
        return self._calm_s
