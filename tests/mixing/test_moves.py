"""Who gets which batches, and where discriminators are, go, and are made again."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.mixing.moves import (
    Places,
    batch_count,
    batches_of,
    first_places,
    moved,
    replacement,
)

SEEDS = st.integers(0, 2**32)

SIZES = st.integers(1, 12).flatmap(lambda w: st.tuples(st.just(w), st.integers(1, w)))
"""w workers, n discriminators."""


def workers_of(count: int) -> list[str]:
    return [f"w{index}" for index in range(count)]


def check_places(places: Places, workers: list[str], slots: int) -> None:
    """Every discriminator is somewhere, and no worker has two."""
    assert sorted(places) == list(range(slots))
    assert set(places.values()) <= set(workers)
    assert len(set(places.values())) == slots


@pytest.mark.parametrize(
    ("discriminators", "batches"),
    [(1, 1), (2, 1), (7, 1), (8, 2), (10, 2), (20, 2), (21, 3), (100, 4), (500, 6)],
)
def test_log_is_the_whole_part_of_the_natural_logarithm(discriminators: int, batches: int) -> None:
    assert batch_count("log", discriminators) == batches
    assert batches == max(1, math.floor(math.log(discriminators)))


def test_a_number_of_batches_is_itself() -> None:
    assert batch_count(3, 10) == batch_count("3", 10) == 3


@given(st.integers(0, 500), st.integers(1, 40))
def test_batches_are_those_of_the_thesis(slot: int, k: int) -> None:
    """Counted from 1 there, from 0 here."""
    j = slot + 1
    judged, learnt = (j % k) + 1, ((j + 1) % k) + 1
    assert batches_of(slot, k) == (judged - 1, learnt - 1)


@given(st.integers(0, 500), st.integers(2, 40))
def test_the_two_batches_of_a_discriminator_are_two(slot: int, k: int) -> None:
    """The point that other implementations get wrong."""
    judged, learnt = batches_of(slot, k)
    assert judged != learnt
    assert min(judged, learnt) >= 0
    assert max(judged, learnt) < k


def test_a_single_batch_is_both() -> None:
    assert [batches_of(slot, 1) for slot in range(3)] == [(0, 0)] * 3


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_every_batch_is_judged(sizes: tuple[int, int]) -> None:
    """As evenly as it goes, so that no batch is generated for nothing."""
    n, k = sizes
    judged = np.bincount([batches_of(slot, k)[0] for slot in range(n)], minlength=k)
    assert judged.min() >= 1
    assert judged.max() - judged.min() <= 1


@given(SIZES, SEEDS)
def test_discriminators_begin_on_different_workers(sizes: tuple[int, int], seed: int) -> None:
    w, n = sizes
    places = first_places(workers_of(w), n, np.random.default_rng(seed))
    check_places(places, workers_of(w), n)
    order = [workers_of(w).index(places[slot]) for slot in range(n)]
    assert order == sorted(order)


def test_one_on_each_begins_in_order() -> None:
    assert first_places(["b", "a", "c"], 3, np.random.default_rng(0)) == {0: "b", 1: "a", 2: "c"}


def test_first_places_are_random_where_there_are_more_workers() -> None:
    found = {
        tuple(first_places(workers_of(6), 2, np.random.default_rng(seed)).values())
        for seed in range(200)
    }
    assert len(found) == math.comb(6, 2)


@given(SIZES, SEEDS)
def test_everybody_moves_to_another_worker(sizes: tuple[int, int], seed: int) -> None:
    w, n = sizes
    workers, rng = workers_of(w), np.random.default_rng(seed)
    places = first_places(workers, n, rng)
    for _ in range(3):
        before, places = places, moved(places, workers, rng)
        check_places(places, workers, n)
        if w > 1:
            assert all(places[slot] != before[slot] for slot in before)
        if w == n:
            assert sorted(places.values()) == sorted(workers)  # a permutation


def test_all_moves_without_a_fixed_point_are_equally_likely() -> None:
    """Nine derangements of four; 2,000 draws, each within five standard deviations."""
    rng, start = np.random.default_rng(0), dict(enumerate(workers_of(4)))
    counts: dict[tuple[str, ...], int] = {}
    for _ in range(2000):
        drawn = tuple(moved(start, workers_of(4), rng).values())
        counts[drawn] = counts.get(drawn, 0) + 1
    expected, spread = 2000 / 9, math.sqrt(2000 / 9)
    assert len(counts) == 9
    assert all(abs(count - expected) < 5 * spread for count in counts.values())


def test_every_worker_gets_its_turn() -> None:
    """With more workers than discriminators no shard is left out."""
    workers, rng = workers_of(12), np.random.default_rng(1)
    places = first_places(workers, 3, rng)
    turns = dict.fromkeys(workers, 0)
    for _ in range(400):
        places = moved(places, workers, rng)
        for worker in places.values():
            turns[worker] += 1
    assert min(turns.values()) > 60  # 100 each on average


def test_a_lone_discriminator_with_one_worker_stays() -> None:
    places: Places = {2: "w0"}
    after = moved(places, ["w0"], np.random.default_rng(0))
    assert after == places
    assert after is not places


def test_slots_that_are_lost_are_not_moved() -> None:
    places: Places = {0: "w0", 3: "w1"}
    after = moved(places, ["w0", "w1"], np.random.default_rng(0))
    assert after == {0: "w1", 3: "w0"}
    assert places == {0: "w0", 3: "w1"}


def test_the_same_stream_is_the_same_moves() -> None:
    places = dict(enumerate(workers_of(5)))
    one, again = (moved(places, workers_of(9), np.random.default_rng(4)) for _ in range(2))
    assert one == again


def test_a_lost_discriminator_is_copied_to_an_idle_worker() -> None:
    places: Places = {0: "w0", 2: "w2"}
    found = {
        replacement(1, places, workers_of(5), 1, np.random.default_rng(seed)) for seed in range(100)
    }
    assert found == {(source, idle) for source in (0, 2) for idle in ("w1", "w3", "w4")}


def test_where_nobody_is_idle_it_is_not_made_again() -> None:
    assert replacement(1, {0: "w0", 2: "w2"}, ["w0", "w2"], 1, np.random.default_rng(0)) is None


def test_a_copy_is_of_the_same_architecture() -> None:
    """Slots are dealt to two architectures in turn; only slot 3 is like slot 1."""
    places: Places = {0: "w0", 2: "w2", 3: "w3"}
    for seed in range(20):
        found = replacement(1, places, workers_of(5), 2, np.random.default_rng(seed))
        assert found is not None
        assert found[0] == 3


def test_without_another_of_its_architecture_it_begins_anew() -> None:
    found = replacement(1, {0: "w0", 2: "w2"}, workers_of(4), 2, np.random.default_rng(0))
    assert found is not None
    source, idle = found
    assert source is None
    assert idle in ("w1", "w3")
