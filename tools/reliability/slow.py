"""A peer behind a slow link, and the others' rounds."""

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

import msgspec

from p2pgan.daemon.family import Family
from p2pgan.record.schema import VectorReceived
from tools.chaos import ROUTES, Chaos, addresses, put_beside
from tools.faulty_link import FaultyLinks, Link
from tools.reliability.runs import CONFIG, Asked, Outcome

RATE: Final = 100_000.0
"""Bytes a second, in each direction of each connection of the slow node."""

BAR: Final = 1.1

PHASE_S: Final = 20.0

SETTLE_S: Final = 30.0
"""Until what was on its way before a change has come: up to 4 MiB to each peer that was quick."""

PHASES: Final = 3
"""Of each kind, by turns, so that what else the machine does falls on both alike."""

SLOW_CONFIG: Final = msgspec.structs.replace(CONFIG, nodes=4, overlay="complete", exchange_every=20)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What happened in one."""

    round_s: float
    """Median over all rounds of the others."""
    came_bytes: int
    """Of vectors that came whole at the slow node, or from it."""
    superseded: int
    """Vectors that gave way to newer ones."""
    lost: int
    """Peers, in the time that is looked at."""
    lost_before: int
    """Peers, from the change on until then."""


def slow(asked: Asked) -> Outcome:
    """Everything to and from one node goes over slow links, by turns with quick ones."""
    with FaultyLinks() as links:
        through: list[Link] = []
        config = asked.config(SLOW_CONFIG)
        with asked.run(config, lambda family: _lead_through(family, links, through)) as run:
            phases = [_phase(run, through, rate) for rate in (math.inf, RATE) * PHASES]
    pairs = zip(phases[::2], phases[1::2], strict=True)
    ratios = [late.round_s / quick.round_s for quick, late in pairs]
    limited = phases[1::2]
    lost = sum(phase.lost for phase in limited)
    return Outcome(
        measured=f"{PHASES} phases of {PHASE_S:g} s each: {median(ratios):.2f} times "
        f"({min(ratios):.2f} to {max(ratios):.2f}); vectors of "
        f"{sum(phase.came_bytes for phase in limited) / PHASES / PHASE_S:,.0f} bytes a second came "
        f"over the slow links, {sum(phase.superseded for phase in limited)} gave way to newer "
        f"ones, {lost} peers lost, and {sum(phase.lost_before for phase in limited)} in the "
        f"{SETTLE_S:g} s after the links had become slow",
        is_met=median(ratios) <= BAR and lost == 0,
    )


def _lead_through(family: Family, links: FaultyLinks, through: list[Link]) -> None:
    """Has all that goes to and from the last node go over links, which are added to `through`."""
    places = addresses(family)
    *others, last = places
    to_last = links.to(places[last])
    from_last = {places[node]: links.to(places[node]) for node in others}
    through += [to_last, *from_last.values()]
    for node in others:
        put_beside(family, node, ROUTES, json.dumps({places[last]: to_last.address}))
    routes = {real: link.address for real, link in from_last.items()}
    put_beside(family, last, ROUTES, json.dumps(routes))


def _phase(run: Chaos, through: Sequence[Link], rate: float) -> Phase:
    for link in through:
        link.slow(rate)
    changed_s = time.time()
    run.watch(SETTLE_S)
    begun_s = time.time()
    run.watch(PHASE_S)
    *others, last = run.nodes
    rounds_s: list[float] = []
    for node in others:
        at_s = [record.time_s for record in run.logged("round_finished", [node], begun_s)]
        rounds_s += [after - before for before, after in pairwise(at_s)]
    phase = Phase(
        round_s=median(rounds_s),
        came_bytes=_came_bytes(run, last, begun_s),
        superseded=_superseded(run, begun_s),
        lost=(lost := len(run.logged("peer_lost", since_s=begun_s))),
        lost_before=len(run.logged("peer_lost", since_s=changed_s)) - lost,
    )
    print(phase, file=sys.stderr, flush=True)
    return phase


def _came_bytes(run: Chaos, last: str, since_s: float) -> int:
    found = run.logged("vector_received", since_s=since_s)
    mine = [r.body for r in found if last in (r.node, getattr(r.body, "peer", ""))]
    return sum(body.bytes for body in mine if isinstance(body, VectorReceived))


def _superseded(run: Chaos, since_s: float) -> int:
    found = run.logged("vector_dropped", since_s=since_s)
    return sum(getattr(record.body, "reason", "") == "superseded" for record in found)
