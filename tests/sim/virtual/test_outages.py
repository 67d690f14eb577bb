"""Outages: their order, their calm, their rates, and what the traces say."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import ConfigError
from p2pgan.sim.virtual.outages import KINDS, Outage, outages
from p2pgan.virtual import VirtualConfig

HORIZON_S = 600.0

EVERYTHING: Mapping[str, Any] = {
    "crash": 0.002,
    "restart_s": 20.0,
    "sessions": "lognormal:90,1,30",
    "joins": 0.5,
    "partitions": 30.0,
    "freezes": 20.0,
    "pauses": 60.0,
    "full_disks": 20.0,
}


def names(count: int) -> list[str]:
    return [str(node) for node in range(count)]


def planned(
    count: int = 5,
    seed: int = 0,
    horizon_s: float = HORIZON_S,
    iteration_s: float = 0.1,
    **settings: Any,
) -> list[Outage]:
    nodes = names(count)
    config = VirtualConfig(**settings)
    return outages(config, nodes, horizon_s, dict.fromkeys(nodes, iteration_s), seed)


def spans(found: Sequence[Outage], kind: str, node: str | None = None) -> list[tuple[float, float]]:
    return [
        (one.from_s, one.to_s)
        for one in found
        if one.kind == kind and (node is None or node in one.nodes)
    ]


@st.composite
def settings(draw: st.DrawFn) -> dict[str, Any]:
    """Some of everything, each kind perhaps left out."""
    kept = {key: value for key, value in EVERYTHING.items() if draw(st.booleans())}
    return kept | {"calm_s": draw(st.sampled_from([0.0, 100.0, 599.0, 600.0, 1000.0]))}


@given(settings(), st.integers(1, 8), st.integers(0, 1000))
def test_outages_are_in_order_and_apart(given: dict[str, Any], count: int, seed: int) -> None:
    found = planned(count, seed, **given)
    assert found == sorted(found, key=lambda one: (one.from_s, one.kind, sorted(one.nodes)))
    for one in found:
        assert 0 <= one.from_s < one.to_s
        assert one.nodes <= set(names(count))
        assert one.nodes if one.kind == "partition" else len(one.nodes) == 1
    for kind in KINDS:
        for node in [None] if kind == "partition" else names(count):
            for (_, end), (start, _) in pairwise(spans(found, kind, node)):
                assert end < start


@given(settings(), st.integers(1, 8), st.integers(0, 1000))
def test_the_end_is_calm(given: dict[str, Any], count: int, seed: int) -> None:
    calm_from_s = HORIZON_S - given["calm_s"]
    for one in planned(count, seed, **given):
        assert one.from_s < calm_from_s
        is_for_good = one.kind == "crash" and "restart_s" not in given
        if given["calm_s"] and not is_for_good:
            assert one.to_s <= calm_from_s


@given(settings(), st.integers(2, 8), st.integers(0, 1000))
def test_nothing_happens_before_a_node_comes_or_after_it_is_gone(
    given: dict[str, Any], count: int, seed: int
) -> None:
    found = planned(count, seed, **given)
    assert spans(found, "late", "0") == []
    alone = [one for one in found if one.kind not in ("partition", "late")]
    for node in names(count):
        comes_s = max((to_s for _, to_s in spans(found, "late", node)), default=0.0)
        assert comes_s <= HORIZON_S / 2
        gone_s = min(
            (f for f, to_s in spans(found, "crash", node) if to_s == math.inf), default=math.inf
        )
        for one in alone:
            if node in one.nodes:
                assert comes_s <= one.from_s <= gone_s


def test_by_default_nothing_happens() -> None:
    assert planned(50) == []


def test_more_nodes_do_not_change_the_others() -> None:
    few, many = planned(4, **EVERYTHING), planned(9, **EVERYTHING)
    for node in names(4):
        for kind in KINDS:
            if kind != "partition":
                assert spans(few, kind, node) == spans(many, kind, node)


@pytest.mark.parametrize("key", ["crash", "sessions", "partitions", "freezes", "pauses"])
def test_a_fault_that_is_left_out_does_not_change_the_others(key: str) -> None:
    """So that what broke a run is found by leaving one after the other out."""
    kind = {"crash": "crash", "sessions": "absence", "partitions": "partition"}.get(key, key[:-1])
    every = planned(**EVERYTHING)
    fewer = planned(**{name: value for name, value in EVERYTHING.items() if name != key})
    assert spans(every, kind)
    assert fewer == [one for one in every if one.kind != kind]


def test_the_seed_decides() -> None:
    assert planned(**EVERYTHING) == planned(**EVERYTHING)
    assert planned(**EVERYTHING) != planned(seed=1, **EVERYTHING)


def test_crashes_are_geometric_per_iteration() -> None:
    """The thesis's 0.0004; a machine of double speed crashes twice as often."""
    nodes = names(2000)
    iteration_s = {node: 0.1 if int(node) % 2 else 0.2 for node in nodes}
    found = outages(VirtualConfig(crash=0.0004), nodes, 1e9, iteration_s, 0)
    assert {one.to_s for one in found} == {math.inf}
    assert len(found) == 2000
    for parity, each_s in ((1, 0.1), (0, 0.2)):
        iterations = [one.from_s / each_s for one in found if int(min(one.nodes)) % 2 == parity]
        assert all(count == pytest.approx(round(count)) for count in iterations)
        # A geometric distribution's deviation is about its mean.
        assert np.mean(iterations) == pytest.approx(2500, rel=4 / math.sqrt(1000))
        assert np.median(iterations) == pytest.approx(2500 * math.log(2), rel=0.15)


def test_who_starts_again_crashes_again() -> None:
    found = planned(200, crash=0.01, restart_s=5.0, iteration_s=0.1, horizon_s=3000.0)
    down_s = [to_s - from_s for from_s, to_s in spans(found, "crash")]
    cycles = 200 * 3000 / (10 + 5)
    assert len(down_s) == pytest.approx(cycles, rel=0.03)
    assert np.mean(down_s) == pytest.approx(5, rel=0.05)


def test_sessions_have_their_means_and_shape() -> None:
    found = planned(200, sessions="lognormal:90,0.5,30", horizon_s=36_000.0)
    by_node: dict[str, list[tuple[float, float]]] = {}
    for one in found:
        by_node.setdefault(min(one.nodes), []).append((one.from_s, one.to_s))
    offs, ons = [], []
    for own in by_node.values():
        offs += [to_s - from_s for from_s, to_s in own]
        ons += [start - end for (_, end), (start, _) in pairwise(own)]
    assert np.mean(ons) == pytest.approx(90, rel=0.02)
    assert np.mean(offs) == pytest.approx(30, rel=0.02)
    assert np.log(ons).std() == pytest.approx(0.5, rel=0.02)
    assert np.log(offs).std() == pytest.approx(0.5, rel=0.02)
    first = [own[0][0] for own in by_node.values()]
    assert np.mean(first) == pytest.approx(45, abs=4 * 40 / math.sqrt(200))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("freeze", {"freezes": 20.0, "freeze_s": 30.0}),
        ("pause", {"pauses": 20.0, "pause_s": 30.0}),
        ("full_disk", {"full_disks": 20.0, "full_disk_s": 30.0}),
    ],
)
def test_rates_are_per_hour_between_two(kind: str, settings: dict[str, Any]) -> None:
    found = spans(planned(300, horizon_s=36_000.0, **settings), kind)
    lengths = [to_s - from_s for from_s, to_s in found]
    wanted = 300 * 36_000 / (180 + 30)
    assert len(found) == pytest.approx(wanted, rel=4 / math.sqrt(wanted))
    assert np.mean(lengths) == pytest.approx(30, rel=4 / math.sqrt(wanted))
    assert np.std(lengths) == pytest.approx(30, rel=0.05)


def test_partitions_halve_the_overlay_anew_each_time() -> None:
    found = planned(9, partitions=60.0, partition_s=60.0, horizon_s=360_000.0)
    assert {one.kind for one in found} == {"partition"}
    assert {len(one.nodes) for one in found} == {4}
    wanted = 360_000 / (60 + 60)
    assert len(found) == pytest.approx(wanted, rel=4 / math.sqrt(wanted))
    sides = Counter(node for one in found for node in one.nodes)
    for node in names(9):
        assert sides[node] / len(found) == pytest.approx(4 / 9, abs=0.04)
    assert planned(1, partitions=60.0) == []


def test_joins_are_a_share_of_all_but_the_first() -> None:
    found = planned(2000, joins=0.25)
    assert {(one.kind, one.from_s) for one in found} == {("late", 0.0)}
    assert len(found) == pytest.approx(500, abs=4 * math.sqrt(2000 * 0.25 * 0.75))
    joined_s = [one.to_s for one in found]
    assert max(joined_s) <= 300
    assert np.mean(joined_s) == pytest.approx(150, abs=4 * 300 / math.sqrt(12 * 500))
    assert len(planned(20, joins=1.0)) == 19
    assert max(one.to_s for one in planned(2000, joins=1.0, calm_s=500.0)) <= 100


def trace(folder: Path, lines: str, **settings: Any) -> list[Outage]:
    path = folder / "trace.csv"
    path.write_text(f"node,on_s,off_s\n{lines}")
    return planned(2, sessions=f"file:{path}", **settings)


def test_a_trace_is_played(tmp_path: Path) -> None:
    lines = "1,0,50\n0,300,9000\n0,100,200\n0,200,250\n"
    found = trace(tmp_path, lines)
    assert spans(found, "absence", "0") == [(0, 100), (250, 300)]
    assert spans(found, "absence", "1") == [(50, math.inf)]
    assert {one.kind for one in found} == {"absence"}
    calm = trace(tmp_path, lines, calm_s=320.0)
    assert spans(calm, "absence", "0") == [(0, 100), (250, 280)]
    assert spans(calm, "absence", "1") == [(50, 280)]


def test_a_trace_begins_when_a_node_comes(tmp_path: Path) -> None:
    for seed in range(10):
        found = trace(tmp_path, "0,0,9000\n1,50,100\n1,599,9000\n", joins=1.0, seed=seed)
        ((_, comes_s),) = spans(found, "late", "1")
        recorded = [(0.0, 50.0), (100.0, 599.0)]
        wanted = [(max(from_s, comes_s), to_s) for from_s, to_s in recorded if to_s > comes_s]
        assert spans(found, "absence", "1") == wanted


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0,0,9\n", "a line for every node of the run, got none for `1`"),
        ("0,0,9\n1,5,5\n", "an `off_s` after it, got `5` and `5` - at virtual.sessions: .*line 3"),
        ("0,0,9\n1,-1,5\n", "an `on_s` of 0 or more"),
        (
            "0,0,9\n1,1,5\n0,8,10\n",
            "`0` that do not overlap, got one from `8`, before .* `9` - .*line 4",
        ),
    ],
)
def test_a_wrong_trace_is_refused(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trace(tmp_path, lines)
