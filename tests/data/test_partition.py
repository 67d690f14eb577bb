"""Partitions: disjoint, covering, seeded, and shaped as their names say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.data.partition import Shards, check_shards, describe, partition
from p2pgan.errors import DataError

LABELS = np.repeat(np.arange(10), 40)
BY_CLASS = ["by-class", "by-class:3", "by-class:10"]
SPECS = ["iid", *BY_CLASS, "dirichlet:0.1", "dirichlet:100", "quantity:0.5"]


def cut(spec: str, nodes: int, seed: int = 0, labels: np.ndarray = LABELS) -> Shards:
    return partition(spec, labels, nodes, np.random.default_rng(seed))


def classes_of(shard: np.ndarray) -> list[int]:
    return sorted(set(LABELS[shard].tolist()))


@given(st.sampled_from(SPECS), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_shards_are_disjoint_sorted_and_within_the_data(spec: str, nodes: int, seed: int) -> None:
    shards = cut(spec, nodes, seed)
    assert len(shards) == nodes
    everything = np.concatenate(shards)
    assert everything.dtype == np.int64
    assert len(set(everything.tolist())) == len(everything)
    assert all((np.diff(shard) > 0).all() for shard in shards)
    if not spec.startswith("by-class"):
        assert sorted(everything.tolist()) == list(range(len(LABELS))), "nothing may be lost"


@given(st.sampled_from(SPECS), st.integers(1, 30), st.integers(0, 1000))
def test_the_same_seed_gives_the_same_shards(spec: str, nodes: int, seed: int) -> None:
    first, second = cut(spec, nodes, seed), cut(spec, nodes, seed)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("spec", SPECS)
def test_another_seed_gives_other_shards(spec: str) -> None:
    first, second = cut(spec, 20, 0), cut(spec, 20, 1)
    assert any(a.tolist() != b.tolist() for a, b in zip(first, second, strict=True))


@given(st.integers(1, 60))
def test_iid_sizes_differ_by_one_at_most(nodes: int) -> None:
    sizes = [len(shard) for shard in cut("iid", nodes)]
    assert max(sizes) - min(sizes) <= 1


def test_by_class_gives_node_i_class_i() -> None:
    """The thesis's non-i.i.d. split: ten nodes, one digit each."""
    assert [classes_of(shard) for shard in cut("by-class", 10)] == [[i] for i in range(10)]
    assert [len(shard) for shard in cut("by-class", 10)] == [40] * 10


def test_by_class_deals_classes_in_turn() -> None:
    shards = cut("by-class:3", 4)
    assert [classes_of(shard) for shard in shards] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 1, 9]]
    counts = [shard.counts for shard in describe(shards, LABELS, 10)]
    assert counts[0][:3] == (20, 20, 40), "classes 0 and 1 are shared with the last node"
    assert counts[3][:2] == (20, 20)


def test_more_nodes_than_classes_share_evenly() -> None:
    shards = cut("by-class", 25)
    assert [len(shard) for shard in shards[:5]] == [14, 14, 14, 14, 14]
    assert sum(len(shard) for shard in shards) == len(LABELS)
    assert classes_of(shards[23]) == [3]


def test_fewer_nodes_than_classes_leave_classes_out() -> None:
    assert sum(len(shard) for shard in cut("by-class", 4)) == 160


def skew(spec: str) -> float:
    """Mean share of a node's largest class."""
    rows = np.array([shard.counts for shard in describe(cut(spec, 10), LABELS, 10)])
    return float((rows.max(axis=1) / rows.sum(axis=1).clip(min=1)).mean())


def test_alpha_goes_from_one_class_to_even() -> None:
    assert skew("dirichlet:1000") < 0.15 < skew("dirichlet:1") < 0.5 < skew("dirichlet:0.05")


def test_dirichlet_proportions_are_those_drawn() -> None:
    """Against a plain loop over the same stream."""
    rng = np.random.default_rng(5)
    shares = []
    for label in range(10):
        rng.permutation(np.flatnonzero(label == LABELS))
        shares.append(rng.dirichlet([0.5] * 6))
    wanted = np.array(shares).T * 40
    rows = np.array([shard.counts for shard in describe(cut("dirichlet:0.5", 6, 5), LABELS, 10)])
    assert abs(rows - wanted).max() <= 1.0


def test_quantity_skews_sizes_only() -> None:
    shards = cut("quantity:0.3", 5)
    sizes = [len(shard) for shard in shards]
    assert max(sizes) > 2 * min(sizes)
    largest = max(shards, key=len)
    assert len(classes_of(largest)) == 10


@pytest.mark.parametrize("spec", ["dirichlet:1e-300", "quantity:1e-300"])
def test_a_vanishing_alpha_still_loses_nothing(spec: str) -> None:
    assert sum(len(shard) for shard in cut(spec, 7)) == len(LABELS)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("idd", "did you mean `iid`"),
        ("iid:3", "`iid` alone"),
        ("by-class:0", "K from 1 to 10"),
        ("by-class:11", "K from 1 to 10"),
        ("by-class:two", "got `by-class:two`"),
        ("dirichlet", "such as `dirichlet:0.5`, got `dirichlet`"),
        ("dirichlet:0", "ALPHA above 0"),
        ("dirichlet:nan", "ALPHA above 0"),
        ("quantity:-1", "ALPHA above 0"),
    ],
)
def test_wrong_specs_say_what_would_be_right(spec: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        cut(spec, 3)
    assert said in str(caught.value)


def test_no_nodes_are_refused() -> None:
    with pytest.raises(DataError, match="at least 1 node"):
        cut("iid", 0)


def test_a_shard_smaller_than_a_batch_names_node_and_size() -> None:
    shards = [np.arange(20), np.arange(20, 23), np.arange(23, 40)]
    check_shards(shards, 3, ["a", "b", "c"])
    with pytest.raises(DataError, match=r"at least 16 images.*got `3` - at node b.*3 shards"):
        check_shards(shards, 16, ["a", "b", "c"])


def test_a_description_counts_classes_under_the_nodes_ids() -> None:
    described = describe([np.array([0, 1, 45]), np.array([399])], LABELS, 10, ["left", "right"])
    assert [(shard.node, shard.size) for shard in described] == [("left", 3), ("right", 1)]
    assert described[0].counts == (2, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    assert described[1].counts[9] == 1
