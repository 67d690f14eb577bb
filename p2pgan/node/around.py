"""What the machine of a gossip run is told of the others: members, the overlay's rule, the run."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

import msgspec

from p2pgan.daemons import MembershipConfig
from p2pgan.design import Design
from p2pgan.node.seat import Seat
from p2pgan.overlay import nodelink
from p2pgan.overlay.analysis import metropolis_hastings, spectral_gap
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.mending import adjacency_now, overlay_now
from p2pgan.protocol.charter import Charter
from p2pgan.protocol.membership.settings import MembershipSettings
from p2pgan.protocol.membership.timing import PRESETS, Timing
from p2pgan.protocol.messages import Member
from p2pgan.protocol.views import Around, View
from p2pgan.seeds import stream

GAP_NODES_MAX: Final = 200
"""Members up to which the spectral gap is computed whenever one comes or goes: milliseconds."""

VIEWS_KEPT: Final = 64
"""Overlays that are remembered: in virtual time many nodes see the same changes."""


@dataclass(frozen=True, kw_only=True)
class Company:
    """What a node knows of the members when it starts."""

    base: Overlay
    """The overlay that the run began with, with addresses."""
    config: str = ""
    """The shared settings, TOML, for those who ask; empty: nobody is told."""
    members: tuple[Member, ...] = ()
    """Of those that have come since, and of all of whom more is known than the overlay says."""
    address: str = ""
    """Where others reach us; empty: where we listen."""
    since: int = 0
    """As in `Member`, of ourselves."""
    is_new: bool = False
    """Whether we have just come, and have nothing to go on from."""


class Views:
    """The overlay of any members: one rule for all nodes, each result computed once."""

    def __init__(self, base: Overlay, *, mend: bool) -> None:
        self._base, self._mend = base, mend
        self._known: dict[tuple[tuple[tuple[int, str], ...], frozenset[str]], View] = {}

    def of(self, members: Sequence[Member]) -> View:
        """As the machine sees it."""
        joined = tuple(sorted((row.since, row.node) for row in members if row.since))
        gone = frozenset(row.node for row in members if row.state in ("dead", "left"))
        view = self._known.get((joined, gone))
        if view is None:
            if len(self._known) >= VIEWS_KEPT:
                self._known.pop(next(iter(self._known)))
            view = self._known[joined, gone] = self._seen(joined, gone)
        return view

    def _seen(self, joined: Sequence[tuple[int, str]], gone: Collection[str]) -> View:
        links = adjacency_now(self._base, joined, gone, mend=self._mend)
        gap = None
        if 1 < len(links) <= GAP_NODES_MAX:
            # Only here as a graph, which takes longer than the rule itself.
            overlay = overlay_now(self._base, joined, gone, mend=self._mend)
            gap = spectral_gap(metropolis_hastings(overlay))
        return View(
            neighbors={node: frozenset(peers) for node, peers in links.items()},
            edges=sum(map(len, links.values())) // 2,
            spectral_gap=gap,
        )


def timing_of(config: MembershipConfig, auto: Literal["off", "local", "lan"]) -> Timing | None:
    """How a node probes; `None`: it does not.

    Args:
        config: what is configured.
        auto: what that leaves to whoever runs the node.
    """
    preset = auto if config.preset == "auto" else config.preset
    if preset == "off":
        return None
    changes = {
        key: value
        for key in ("probe_s", "timeout_s", "helpers", "suspicion", "rumor_s")
        if (value := getattr(config, key)) is not None
    }
    return replace(PRESETS[preset], **changes)


def around_of(design: Design, seat: Seat, company: Company, timing: Timing, views: Views) -> Around:
    """What the machine of a node is told.

    Args:
        design: what is run.
        seat: the node.
        company: whom it knows of.
        timing: how it probes.
        views: of the same base.
    """
    rng = stream(design.config.seed, seat.node, "probes")

    def shuffled(peers: Sequence[str]) -> Sequence[str]:
        return [peers[index] for index in rng.permutation(len(peers))]

    @lru_cache(maxsize=1)  # it is asked for in many parts
    def charter_of(members: tuple[Member, ...]) -> bytes:
        overlay = nodelink.render(company.base).decode()
        return Charter(
            run=seat.run, config=company.config, overlay=overlay, members=members
        ).encode()

    def charter(members: Sequence[Member]) -> bytes:
        return charter_of(tuple(members))

    has_last_step = design.config.final != "none"
    settings = MembershipSettings(
        members=_rows(seat, company),
        timing=timing,
        order=shuffled,
        admits=design.config.membership.joins and not has_last_step,
    )
    told = {"charter": charter} if company.config and settings.admits else {}
    return Around(membership=settings, overlay_of=views.of, is_new=company.is_new, **told)


def _rows(seat: Seat, company: Company) -> tuple[Member, ...]:
    """Everybody who is known, ourselves included."""
    rows = {
        node: Member(node=node, address=company.base.address(node) or "")
        for node in company.base.nodes
    }
    rows |= {row.node: row for row in company.members}
    ours = rows.get(seat.node, Member(node=seat.node, since=company.since))
    rows[seat.node] = msgspec.structs.replace(
        ours, boot=seat.boot, address=company.address or ours.address, state="alive"
    )
    return tuple(rows[node] for node in sorted(rows))
