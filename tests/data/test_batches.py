"""Batches: every image once per pass, and the same stream however it is taken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.data.batches import BatchSampler
from p2pgan.errors import DataError
from p2pgan.seeds import stream


def sampler(size: int, batch_size: int, seed: int = 0) -> BatchSampler:
    return BatchSampler(np.arange(100, 100 + size), batch_size, np.random.default_rng(seed))


@given(
    st.integers(1, 40),
    st.lists(st.integers(0, 9), max_size=8),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_the_stream_does_not_depend_on_how_it_is_taken(
    size: int, counts: list[int], seed: int, data: st.DataObject
) -> None:
    """A daemon takes one batch at a time, the simulator a thousand: both must train alike."""
    batch_size = data.draw(st.integers(1, size))
    in_parts, at_once = sampler(size, batch_size, seed), sampler(size, batch_size, seed)
    parts = [in_parts.take(count) for count in counts]
    together = np.concatenate([*parts, in_parts.take(1)])
    assert (together == at_once.take(sum(counts) + 1)).all()


@given(st.integers(1, 30), st.data())
def test_every_pass_holds_every_image_once(size: int, data: st.DataObject) -> None:
    batch_size = data.draw(st.integers(1, size))
    stream = sampler(size, batch_size).take(3 * size).reshape(-1)
    for start in range(0, len(stream) - size + 1, size):
        assert sorted(stream[start : start + size]) == list(range(100, 100 + size))


def test_passes_are_shuffled_differently_and_by_the_seed() -> None:
    stream = sampler(50, 50).take(2)
    assert (stream[0] != stream[1]).any()
    assert (sampler(50, 50, seed=1).take(1) != stream[:1]).any()
    assert (sampler(50, 50, seed=0).take(1) == stream[:1]).all()


def test_batches_are_int64_of_the_asked_shape() -> None:
    assert sampler(10, 4).take(3).shape == (3, 4)
    assert sampler(10, 4).take(3).dtype == np.int64
    assert sampler(10, 4).take(0).shape == (0, 4)


@pytest.mark.parametrize("batch_size", [0, 11])
def test_a_batch_larger_than_the_shard_is_refused(batch_size: int) -> None:
    with pytest.raises(DataError, match=f"1 to 10 images.*got `{batch_size}`"):
        sampler(10, batch_size)


@pytest.mark.parametrize("taken", [0, 1, 3, 5, 6, 11])
def test_a_sampler_goes_on_where_another_stood(taken: int) -> None:
    """Amid a pass, and between two."""
    shard = np.arange(100, 115)
    one, other = (BatchSampler(shard, 3, stream(0, "n", "batches")) for _ in "ab")
    if taken:
        one.take(taken)
    where = one.position
    other.take(4)
    other.go_to(where)
    assert other.position == where
    np.testing.assert_array_equal(one.take(9), other.take(9))
    assert one.position == other.position


@pytest.mark.parametrize("where", ["", "3", "x 1 2 3 4", "3 1 2 3"])
def test_a_position_that_is_none_is_refused(where: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (whatever it says)
        BatchSampler(np.arange(9), 3, stream(0, "n", "batches")).go_to(where)
