"""What a machine is told of the others."""

import dataclasses

import numpy as np
import pytest

from p2pgan.daemons import MembershipConfig
from p2pgan.node import around
from p2pgan.node.around import Views, timing_of
from p2pgan.overlay.generate import generate
from p2pgan.overlay.mending import overlay_now
from p2pgan.protocol.membership.timing import PRESETS
from p2pgan.protocol.messages import Member, MemberState

RING = generate("ring", 6, np.random.default_rng(0))


def rows(gone: dict[str, MemberState], joined: dict[str, int]) -> list[Member]:
    base = [Member(node=node, state=gone.get(node, "alive")) for node in RING.nodes]
    return base + [Member(node=node, since=since) for node, since in joined.items()]


def test_a_view_is_the_overlay_by_the_rule() -> None:
    view = Views(RING, mend=True).of(rows({"2": "dead", "4": "left"}, {"x": 1}))
    overlay = overlay_now(RING, [(1, "x")], {"2", "4"})
    assert view.neighbors == {node: {*overlay.neighbors(node)} for node in overlay.nodes}
    assert view.edges == overlay.graph.number_of_edges()
    assert view.spectral_gap is not None
    assert 0 < view.spectral_gap < 1


def test_who_is_suspected_is_still_there() -> None:
    views = Views(RING, mend=True)
    assert views.of(rows({"2": "suspect"}, {})) is views.of(rows({}, {}))


def test_without_mending_an_edge_that_goes_is_gone() -> None:
    view = Views(RING, mend=False).of(rows({"2": "dead"}, {}))
    assert (view.neighbors["1"], view.edges) == ({"0"}, 4)


def test_a_gap_that_would_take_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(around, "GAP_NODES_MAX", 5)
    assert Views(RING, mend=True).of(rows({}, {})).spectral_gap is None
    assert Views(RING, mend=True).of(rows({"0": "dead"}, {})).spectral_gap is not None


def test_presets_and_what_is_set_beside_them() -> None:
    assert timing_of(MembershipConfig(), "off") is None
    assert timing_of(MembershipConfig(preset="off"), "lan") is None
    assert timing_of(MembershipConfig(), "local") == PRESETS["local"]
    timing = timing_of(MembershipConfig(preset="wan", probe_s=9.0), "off")
    assert timing == dataclasses.replace(PRESETS["wan"], probe_s=9.0)
