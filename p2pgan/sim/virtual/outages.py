"""What happens to nodes at times that are known before a run begins.

Crashes follow the thesis, section 3.3.4: each iteration is the last with a small probability.
Sessions are log-normal, as Saroiu, Gummadi and Gribble (2002) and Stutzbach and Rejaie (2006)
measured those of file-sharing peers, or come from a trace. The rest begins as a Poisson process
and lasts for an exponential time.

Every node draws from streams of its own, one for each kind: neither more nodes nor another rate of
one fault change when the others happen.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Literal, get_args

import numpy as np

from p2pgan.distributions import Sessions, Table
from p2pgan.distributions import sessions as parsed
from p2pgan.errors import ConfigError
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim.virtual.tables import read_table
from p2pgan.virtual import VirtualConfig

Kind = Literal["crash", "absence", "freeze", "pause", "partition", "full_disk", "late"]
"""What can happen:

- `crash`: the process is gone, and starts again from its checkpoint at the end, if there is one;
- `absence`: the machine sleeps between two sessions: connections are cut, its state is kept;
- `freeze`: the process stands still with its connections open;
- `pause`: training stands still, the network goes on;
- `partition`: the nodes hear nothing of the others, nor these of them;
- `full_disk`: nothing can be saved;
- `late`: the node has not come yet.
"""

KINDS: tuple[Kind, ...] = get_args(Kind)

KEY = "virtual.sessions"

HOUR_S = 3600.0

Span = tuple[float, float]
"""From when to when, in virtual seconds; for ever, if the second is infinite."""


@dataclass(frozen=True, kw_only=True)
class Outage:
    """Something that happens to one node, or to one side of a partition."""

    kind: Kind
    nodes: frozenset[str]
    from_s: float
    to_s: float
    """When it is over; infinite: never."""


def outages(
    config: VirtualConfig,
    nodes: Sequence[str],
    horizon_s: float,
    iteration_s: Mapping[str, float],
    seed: int,
) -> list[Outage]:
    """All outages of a run, in the order in which they begin.

    Those of one kind and node never overlap; nothing happens to a node before it comes, or after it
    has crashed for good, but partitions, which are of the overlay.

    Args:
        config: how much of everything.
        nodes: ids in node order; the first one is never late, so that a run begins.
        horizon_s: when the run ends; nothing begins later, or in the calm before it.
        iteration_s: of every node; crashes are per iteration of a node that nothing else disturbs.
        seed: the run's.
    Raises:
        ConfigError: if the trace of sessions cannot be read, has sessions of one node that overlap
            or end before they begin, or fits the nodes badly.
    """
    plan = _Plan(config, nodes, horizon_s)
    found = list(plan.partitions(stream(seed, EVERYONE, "outages")))
    for place, node in enumerate(nodes):
        rngs = stream(seed, node, "outages").spawn(len(KINDS))
        streams = dict(zip(KINDS, rngs, strict=True))
        found += plan.of_node(node, iteration_s[node], streams, may_be_late=place > 0)
    return sorted(found, key=lambda o: (o.from_s, o.kind, sorted(o.nodes)))


class _Plan:
    """What there can be in one run."""

    def __init__(self, config: VirtualConfig, nodes: Sequence[str], horizon_s: float) -> None:
        self._config, self._nodes = config, nodes
        self._half_s, self._end_s = horizon_s / 2, max(0.0, horizon_s - config.calm_s)
        sessions = parsed(config.sessions, KEY)
        self._sessions = sessions if isinstance(sessions, Sessions) else None
        self._trace = _trace(sessions.path, nodes) if isinstance(sessions, Table) else {}

    def partitions(self, rng: np.random.Generator) -> Iterator[Outage]:
        """Those of the overlay: a half of the nodes, chosen anew each time."""
        half = len(self._nodes) // 2
        if half:
            config = self._config
            for span in self._poisson(config.partitions, config.partition_s, rng, 0.0):
                side = [self._nodes[place] for place in rng.permutation(len(self._nodes))[:half]]
                yield self._outage("partition", side, span)

    def of_node(
        self,
        node: str,
        iteration_s: float,
        rngs: Mapping[Kind, np.random.Generator],
        *,
        may_be_late: bool,
    ) -> Iterator[Outage]:
        """What happens to one node, in no order."""
        config = self._config
        joins_s = self._joining_s(rngs["late"]) if may_be_late else 0.0
        if joins_s:
            yield self._outage("late", [node], (0.0, joins_s))
        crashes = list(self._crashes(iteration_s, rngs["crash"], joins_s))
        dies_s = crashes[-1][0] if crashes and crashes[-1][1] == math.inf else math.inf
        spans: dict[Kind, Iterable[Span]] = {
            "crash": crashes,
            "absence": self._absences(node, rngs["absence"], joins_s),
            "freeze": self._poisson(config.freezes, config.freeze_s, rngs["freeze"], joins_s),
            "pause": self._poisson(config.pauses, config.pause_s, rngs["pause"], joins_s),
            "full_disk": self._poisson(
                config.full_disks, config.full_disk_s, rngs["full_disk"], joins_s
            ),
        }
        for kind, found in spans.items():
            for span in found:
                if span[0] < dies_s or kind == "crash":
                    yield self._outage(kind, [node], span)

    def _outage(self, kind: Kind, nodes: Iterable[str], span: Span) -> Outage:
        from_s, to_s = span
        is_for_good = kind == "crash" and to_s == math.inf
        if self._config.calm_s and not is_for_good:
            to_s = min(to_s, self._end_s)
        return Outage(kind=kind, nodes=frozenset(nodes), from_s=from_s, to_s=to_s)

    def _joining_s(self, rng: np.random.Generator) -> float:
        """When a node comes; 0: it is there from the beginning."""
        is_late = rng.random() < self._config.joins
        return rng.uniform(0, min(self._half_s, self._end_s)) if is_late else 0.0

    def _crashes(
        self, iteration_s: float, rng: np.random.Generator, start_s: float
    ) -> Iterator[Span]:
        if not self._config.crash:
            return iter(())
        ups = (int(rng.geometric(self._config.crash)) * iteration_s for _ in count())
        restart_s = self._config.restart_s
        downs = (rng.exponential(restart_s) if restart_s else math.inf for _ in count())
        return self._spans(ups, downs, start_s)

    def _absences(self, node: str, rng: np.random.Generator, start_s: float) -> Iterator[Span]:
        if node in self._trace:
            return self._recorded(node, start_s)
        if self._sessions is None:
            return iter(())
        on_s, off_s = self._sessions.on_s, self._sessions.off_s
        # A run meets its nodes in the midst of their sessions, so that they do not all leave at
        # once.
        first_s = on_s.draw(rng) * rng.random()
        ons = chain([first_s], (on_s.draw(rng) for _ in count()))
        return self._spans(ons, (off_s.draw(rng) for _ in count()), start_s)

    def _recorded(self, node: str, start_s: float) -> Iterator[Span]:
        """What is left of a trace's absences once the node has come, and before the calm."""
        for from_s, to_s in self._trace[node]:
            if to_s > start_s and from_s < self._end_s:
                yield max(from_s, start_s), to_s

    def _poisson(
        self, per_hour: float, mean_s: float, rng: np.random.Generator, start_s: float
    ) -> Iterator[Span]:
        if not per_hour:
            return iter(())
        gaps = (rng.exponential(HOUR_S / per_hour) for _ in count())
        return self._spans(gaps, (rng.exponential(mean_s) for _ in count()), start_s)

    def _spans(
        self, gaps: Iterator[float], lengths: Iterator[float], start_s: float
    ) -> Iterator[Span]:
        """Gap, outage, gap, outage, until the calm."""
        from_s = start_s + next(gaps)
        while from_s < self._end_s:
            to_s = from_s + next(lengths)
            yield from_s, to_s
            from_s = to_s + next(gaps)


def _trace(path: str, nodes: Sequence[str]) -> dict[str, list[Span]]:
    """For every node the times between its sessions, before the first one and after the last."""
    rows = read_table(path, ("on_s", "off_s"), nodes, KEY)
    gone_s = dict.fromkeys(nodes, 0.0)
    absences: dict[str, list[Span]] = {node: [] for node in nodes}
    for row in sorted(rows, key=lambda row: row.numbers):
        on_s, off_s = row.numbers
        if not 0 <= on_s < off_s:
            raise ConfigError(
                expected="an `on_s` of 0 or more and an `off_s` after it",
                got=f"`{on_s:g}` and `{off_s:g}`",
                at=row.at,
            )
        if on_s < gone_s[row.node]:
            raise ConfigError(
                expected=f"sessions of `{row.node}` that do not overlap",
                got=f"one from `{on_s:g}`, before the end of another at `{gone_s[row.node]:g}`",
                at=row.at,
            )
        if on_s > gone_s[row.node]:
            absences[row.node].append((gone_s[row.node], on_s))
        gone_s[row.node] = off_s
    for node, off_s in gone_s.items():
        absences[node].append((off_s, math.inf))
    return absences
