"""Mixing, consensus and collecting over ranks, against one process that has all nodes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from p2pgan.errors import ConfigError
from p2pgan.mixing import rules
from p2pgan.mixing.draws import Arrivals, everyone, permutation, push
from p2pgan.sim import shares as module
from p2pgan.sim.ranks import Alone, Ranks
from p2pgan.sim.shares import Shares

RoomOf = Callable[[int], Any]


def random_vectors(nodes: int, size: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(nodes, size))).float()


def mixed_over(here: Any, w: rules.Rows, vectors_NP: torch.Tensor) -> torch.Tensor:
    """`W X` by ranks that are threads, each with its own rows of a copy."""

    def mix(ranks: Ranks) -> torch.Tensor:
        shares = Shares(ranks, len(vectors_NP))
        own_OP = vectors_NP[shares.own.start : shares.own.stop].clone()
        shares.mix(w, own_OP)
        return own_OP

    return torch.cat(here.run(mix))


@st.composite
def mixings(draw: st.DrawFn) -> tuple[int, np.ndarray, int]:
    """Ranks, a row-stochastic `W` with many zeros, rows that stay and equal rows; a seed."""
    nodes = draw(st.integers(1, 9))
    ranks = draw(st.integers(1, nodes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    w_NN = rng.random((nodes, nodes)) * (rng.random((nodes, nodes)) < draw(st.floats(0, 1)))
    for node in range(nodes):
        kind = draw(st.sampled_from(["own", "stays", "as another"]))
        if kind == "as another":
            w_NN[node] = w_NN[draw(st.integers(0, nodes - 1))]
        if kind == "stays" or not w_NN[node].any():
            w_NN[node] = np.eye(nodes)[node]
    return ranks, w_NN / w_NN.sum(1, keepdims=True), draw(st.integers(0, 999))


@given(mixing=mixings())
def test_mixing_over_ranks_is_mixing(room: RoomOf, mixing: tuple[int, np.ndarray, int]) -> None:
    count, w_NN, seed = mixing
    vectors_NP = random_vectors(len(w_NN), 7, seed)
    expected_NP = vectors_NP.clone()
    w = rules.unique_rows(csr_array(w_NN))
    rules.mix(w, expected_NP)
    found_NP = mixed_over(room(count), w, vectors_NP)
    torch.testing.assert_close(found_NP, expected_NP, rtol=1e-5, atol=1e-6)
    exact_NP = torch.from_numpy(w_NN) @ vectors_NP.double()
    torch.testing.assert_close(found_NP.double(), exact_NP, rtol=1e-5, atol=1e-6)


@given(mixing=mixings(), data=st.data())
def test_what_is_no_number_reaches_those_alone_who_hear_from_it(
    room: RoomOf, mixing: tuple[int, np.ndarray, int], data: st.DataObject
) -> None:
    """One diverged node must not spoil the rank that it lives on, nor the one it is summed at."""
    count, w_NN, seed = mixing
    vectors_NP = random_vectors(len(w_NN), 3, seed)
    diverged = data.draw(st.integers(0, len(w_NN) - 1))
    vectors_NP[diverged] = data.draw(st.sampled_from([float("nan"), float("inf")]))
    found_NP = mixed_over(room(count), rules.unique_rows(csr_array(w_NN)), vectors_NP)
    assert (~found_NP.isfinite()).any(1).tolist() == (w_NN[:, diverged] > 0).tolist()


@pytest.mark.parametrize("at_once", [1, 10, 15])
def test_long_vectors_are_mixed_part_by_part(
    room: RoomOf, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Bounded memory changes nothing in the result."""
    vectors_NP = random_vectors(5, 11, 1)
    w = rules.mixing_rows([[1, 4], [], [0], [4], [3]])
    whole_NP = mixed_over(room(2), w, vectors_NP)
    monkeypatch.setattr(module, "VALUES_AT_ONCE", at_once)
    assert torch.equal(mixed_over(room(2), w, vectors_NP), whole_NP)


NEIGHBORS = [[other for other in range(6) if other != node] for node in range(6)]
SIZE = 4


@pytest.mark.parametrize("count", [2, 3, 6])
def test_a_coordinators_mean_costs_one_vector_per_pair_of_ranks(room: RoomOf, count: int) -> None:
    """However many nodes there are; and all end with the same bits, as in one process."""
    here = room(count)
    w = rules.mixing_rows(everyone(NEIGHBORS, np.random.default_rng(0)))
    found_NP = mixed_over(here, w, random_vectors(6, SIZE, 2))
    pairs = {(a, b) for a in range(count) for b in range(count) if a != b}
    assert here.sent == dict.fromkeys(pairs, SIZE)
    assert torch.equal(found_NP, found_NP[:1].expand(6, -1))


@pytest.mark.parametrize("count", [2, 3])
def test_gossip_costs_one_vector_per_arrival_that_crosses(room: RoomOf, count: int) -> None:
    here, ends = room(count), np.arange(6) * count // 6
    arrivals = permutation(fixed_points=True)(NEIGHBORS, np.random.default_rng(3))
    mixed_over(here, rules.mixing_rows(arrivals), random_vectors(6, SIZE, 4))
    crossing = sum(
        ends[node] != ends[source] for node, sources in enumerate(arrivals) for source in sources
    )
    assert crossing > 0
    assert sum(here.sent.values()) == SIZE * crossing


def test_several_arrivals_from_one_rank_travel_as_one(room: RoomOf) -> None:
    here = room(2)
    arrivals: Arrivals = [[2, 3], [], [], []]
    mixed_over(here, rules.mixing_rows(arrivals), random_vectors(4, SIZE, 5))
    assert here.sent == {(1, 0): SIZE}


def test_who_hears_nothing_keeps_its_vector_and_nothing_travels(room: RoomOf) -> None:
    here, vectors_NP = room(3), random_vectors(6, SIZE, 6)
    arrivals = push(1)([[] for _ in range(6)], np.random.default_rng(0))
    assert torch.equal(mixed_over(here, rules.mixing_rows(arrivals), vectors_NP), vectors_NP)
    assert here.sent == {}


def test_two_who_average_have_equal_bits_on_two_ranks(room: RoomOf) -> None:
    found_NP = mixed_over(room(2), rules.mixing_rows([[1], [0]]), random_vectors(2, 1000, 7))
    assert torch.equal(found_NP[0], found_NP[1])


@pytest.mark.parametrize(("nodes", "count"), [(5, 1), (5, 2), (5, 3), (5, 5)])
def test_consensus_is_that_of_all_nodes(room: RoomOf, nodes: int, count: int) -> None:
    vectors_NP = random_vectors(nodes, 50, 8)

    def distance(ranks: Ranks) -> float:
        shares = Shares(ranks, nodes)
        return shares.consensus_distance(vectors_NP[shares.own.start : shares.own.stop])

    found = room(count).run(distance)
    assert found == [pytest.approx(rules.consensus_distance(vectors_NP), rel=1e-9)] * count


def test_figures_of_uneven_shares_are_gathered_in_order(room: RoomOf) -> None:
    """A diverged loss stays where it belongs."""
    figures_NK = np.array([[1.5, 0], [float("nan"), 1], [float("inf"), 2], [-0.25, 3], [4, 4]])

    def gather(ranks: Ranks) -> list[Any]:
        shares = Shares(ranks, 5)
        gathered: list[Any] = shares.gather(figures_NK[shares.own.start : shares.own.stop]).tolist()
        return gathered

    for found in room(3).run(gather):
        np.testing.assert_array_equal(found, figures_NK)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_nodes_vector_can_be_fetched_and_nothing_changes(room: RoomOf, count: int) -> None:
    vectors_NP, sources = random_vectors(5, 4, 11), [3, 3, 0, 1, 4]

    def fetch(ranks: Ranks) -> list[Any]:
        shares = Shares(ranks, 5)
        own_OP = vectors_NP[shares.own.start : shares.own.stop].clone()
        before_OP = own_OP.clone()
        fetched = [vector_P.tolist() for vector_P in shares.fetch(sources, own_OP)]
        assert torch.equal(own_OP, before_OP)
        return fetched

    found = [fetch(Ranks(Alone()))] if count == 1 else room(count).run(fetch)
    assert [row for part in found for row in part] == vectors_NP[sources].tolist()


def test_the_first_rank_gets_every_vector_in_order(room: RoomOf) -> None:
    vectors_NP = {"G": random_vectors(5, 3, 9), "D": random_vectors(5, 2, 10)}

    def collect(ranks: Ranks) -> list[Any]:
        shares = Shares(ranks, 5)
        own = {
            net: matrix[shares.own.start : shares.own.stop] for net, matrix in vectors_NP.items()
        }
        collected = list(shares.collect(own))
        return [(node, both["G"].tolist(), both["D"].tolist()) for node, both in collected]

    first, *others = room(3).run(collect)
    assert first == [
        (node, vectors_NP["G"][node].tolist(), vectors_NP["D"][node].tolist()) for node in range(5)
    ]
    assert others == [[], []]


def test_ranges_cover_all_nodes_evenly() -> None:
    for nodes in range(1, 12):
        for count in range(1, nodes + 1):
            ranges = Shares(Ranks(Pretending(count)), nodes).ranges
            assert [node for share in ranges for node in share] == list(range(nodes))
            assert {len(share) for share in ranges} <= {nodes // count, -(-nodes // count)}


def test_more_ranks_than_nodes_are_refused() -> None:
    with pytest.raises(ConfigError, match="no more processes than nodes, which are 2"):
        Shares(Ranks(Pretending(3)), 2)


class Pretending(Alone):
    """The first of several who are not there."""

    def __init__(self, count: int) -> None:
        self.count = count
