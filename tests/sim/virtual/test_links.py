"""Links: when messages arrive, how often, and in what state."""

from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import OverlayError
from p2pgan.overlay.graph import Overlay
from p2pgan.seeds import EVERYONE, position, stream
from p2pgan.sim.virtual.links import HELD_ROUNDS, Delivery, Links
from p2pgan.virtual import VirtualConfig

PAIR = Overlay("pair", nx.path_graph(["a", "b"]))
ROUND_S = 20.0
MANY = 4000


def links(overlay: Overlay = PAIR, *, seed: int = 0, **settings: Any) -> Links:
    return Links(VirtualConfig(**settings), overlay, seed=seed, round_s=ROUND_S)


def sent(by: Links, count: int = MANY, *, is_vector: bool = False) -> list[list[Delivery]]:
    """Messages of one byte, or vectors of one chunk, one a second."""
    return [
        by.passage("a", "b", 1, float(now), vector=f"v{now}" if is_vector else None)
        for now in range(count)
    ]


def share(happened: list[bool]) -> float:
    return sum(happened) / len(happened)


def margin(of: float, count: int = MANY) -> float:
    """Four standard deviations of a share."""
    return 4 * float(np.sqrt(of * (1 - of) / count))


@given(st.floats(0, 1e9), st.integers(0, 10**9), st.sampled_from([None, "v"]))
def test_by_default_messages_are_there_at_once(now: float, size: int, vector: str | None) -> None:
    one = links()
    assert one.passage("a", "b", size, now, vector=vector) == [Delivery(now, False, False)]
    untouched = stream(0, EVERYONE, "links")
    assert position(one._rng) == position(untouched)


@pytest.mark.parametrize("text", ["0.25", "uniform:0.1,0.4", "lognormal:0.25,0.5"])
def test_every_message_takes_its_latency(text: str) -> None:
    arrivals = [only.at_s - now for now, (only,) in enumerate(sent(links(latency_s=text)))]
    assert min(arrivals) > 0
    assert np.median(arrivals) == pytest.approx(0.25, rel=0.05)
    assert len(set(arrivals)) == 1 if text == "0.25" else len(set(arrivals)) > MANY / 2


def test_latency_comes_after_the_line() -> None:
    one = links(latency_s="0.5", bandwidth_mbps="8")
    arrivals = [one.passage("a", "b", 10**6, 0.0, vector="v")[0].at_s for _ in range(3)]
    assert arrivals == pytest.approx([1.5, 2.5, 3.5])


def test_what_is_lost_never_comes() -> None:
    arrivals = sent(links(loss=0.3))
    assert share([not found for found in arrivals]) == pytest.approx(0.3, abs=margin(0.3))
    assert sent(links(loss=1.0), 10) == [[]] * 10


def test_what_is_lost_was_sent_all_the_same() -> None:
    """The others of its line wait for it."""
    one = links(loss=0.5, bandwidth_mbps="8")
    passages = [one.passage("a", "b", 10**6, 0.0, vector=f"v{n}") for n in range(40)]
    assert [] in passages
    for place, found in enumerate(passages):
        assert [arrival.at_s for arrival in found] == pytest.approx([place + 1.0] * len(found))


def test_what_is_doubled_comes_twice() -> None:
    arrivals = sent(links(duplication=0.2, latency_s="uniform:0,1"))
    doubled = [len(found) == 2 for found in arrivals]
    assert share(doubled) == pytest.approx(0.2, abs=margin(0.2))
    assert {len(found) for found in arrivals} == {1, 2}
    assert all(found[0].at_s != found[-1].at_s for found in arrivals if len(found) == 2)


def test_what_is_corrupt_says_so() -> None:
    arrivals = sent(links(corruption=0.1))
    assert share([one.corrupted for (one,) in arrivals]) == pytest.approx(0.1, abs=margin(0.1))
    assert [one.at_s for (one,) in arrivals] == list(range(MANY))


def test_what_is_held_back_lets_others_pass() -> None:
    arrivals = [one for (one,) in sent(links(reordering=0.25))]
    held = [(now, one) for now, one in enumerate(arrivals) if one.overtakes]
    assert share([one.overtakes for one in arrivals]) == pytest.approx(0.25, abs=margin(0.25))
    late_s = [one.at_s - now for now, one in held]
    assert 0 <= min(late_s) < 1
    assert 0.95 * HELD_ROUNDS * ROUND_S < max(late_s) < HELD_ROUNDS * ROUND_S
    assert all(one.at_s == now for now, one in enumerate(arrivals) if not one.overtakes)
    overtaken = [
        any(later.at_s < one.at_s for later in arrivals[now + 1 :][:20]) for now, one in held
    ]
    assert share(overtaken) > 0.8


def test_vectors_alone_are_delayed_by_rounds() -> None:
    one = links(delay_rounds=3.0)
    late_s = [only.at_s - now for now, (only,) in enumerate(sent(one, is_vector=True))]
    assert 0 <= min(late_s) < 1
    assert 59 < max(late_s) < 60
    assert np.mean(late_s) == pytest.approx(30, abs=4 * 60 / np.sqrt(12 * MANY))
    assert all(only.overtakes for (only,) in sent(one, 10, is_vector=True))
    assert sent(one, 10) == [[Delivery(now, False, False)] for now in range(10)]


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({"loss": 0.3}, {(0, 0.0), (1, 0.0)}),
        ({"duplication": 0.3}, {(1, 0.0), (2, 0.0)}),
        ({"reordering": 0.3}, None),
        ({"delay_rounds": 3.0}, None),
    ],
)
def test_a_vector_has_one_fate(
    settings: dict[str, Any], kinds: set[tuple[int, float]] | None
) -> None:
    """Whatever the number of its chunks, and whatever else goes between the two meanwhile."""
    one = links(**settings)
    fates: list[tuple[int, float]] = []
    for number in range(200):
        found: set[tuple[int, float]] = set()
        for _ in range(7):
            chunk = one.passage("a", "b", 1, 0.0, vector=f"v{number}")
            one.passage("a", "b", 1, 0.0, vector=None)
            one.passage("b", "a", 1, 0.0, vector=f"w{number}")
            found.add((len(chunk), max((arrival.at_s for arrival in chunk), default=0.0)))
        assert len(found) == 1
        fates += found
    assert set(fates) == kinds if kinds else len(set(fates)) > 40


def test_chunks_are_corrupted_one_by_one() -> None:
    one = links(corruption=0.3)
    chunks = [one.passage("a", "b", 1, 0.0, vector="v")[0] for _ in range(MANY)]
    changed = [chunk.corrupted for chunk in chunks]
    assert share(changed) == pytest.approx(0.3, abs=margin(0.3))


def test_a_vector_that_has_begun_keeps_its_fate_in_the_calm() -> None:
    """Half of one would be refused, though nothing is wrong any more."""
    one = links(loss=1.0)
    assert one.passage("a", "b", 1, 0.0, vector="v") == []
    one.be_calm()
    assert one.passage("a", "b", 1, 0.0, vector="v") == []
    assert len(one.passage("a", "b", 1, 0.0, vector="w")) == 1


FAULTY: Mapping[str, Any] = {
    "loss": 0.2,
    "duplication": 0.2,
    "reordering": 0.2,
    "corruption": 0.2,
    "delay_rounds": 2.0,
}


def test_calm_links_do_nothing_wrong() -> None:
    one = links(latency_s="0.1", bandwidth_mbps="8", **FAULTY)
    sent(one, 50, is_vector=True)
    one.be_calm()
    for now in range(1, 50):
        (calm,) = one.passage("a", "b", 10**6, 100.0 * now, vector=f"calm{now}")
        assert calm == Delivery(calm.at_s, False, False)
        assert calm.at_s == pytest.approx(100.0 * now + 1.1)


def test_the_seed_decides_everything() -> None:
    settings: dict[str, Any] = {
        **FAULTY,
        "latency_s": "lognormal:0.1,1",
        "bandwidth_mbps": "uniform:1,9",
    }
    first, again, other = (sent(links(seed=seed, **settings), 200) for seed in (4, 4, 5))
    assert first == again
    assert first != other


def test_edges_say_their_latency() -> None:
    graph = nx.Graph()
    graph.add_edge("a", "b", latency_s=0.25)
    graph.add_edge("b", "c", latency_s=0)
    one = links(Overlay("net", graph), latency_s="overlay")
    assert one.passage("b", "a", 9, 1.0, vector=None) == [Delivery(1.25, False, False)]
    assert one.passage("b", "c", 9, 1.0, vector=None) == [Delivery(1.0, False, False)]
    with pytest.raises(OverlayError, match=r"got one from `c` to `a` - at virtual\.latency_s"):
        one.passage("c", "a", 9, 1.0, vector=None)
    graph.edges["b", "c"]["latency_s"] = -1
    with pytest.raises(OverlayError, match="of 0 or more, got `-1` - at overlay `net`: edge `b`"):
        links(Overlay("net", graph), latency_s="overlay")
    with pytest.raises(
        OverlayError, match="`latency_s` of every edge, got none - at overlay `pair`"
    ):
        links(latency_s="overlay")
