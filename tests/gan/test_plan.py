"""How nodes are cut: every node once, blocks that fit the cache, workers with a task."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.gan.models import MODELS, model
from p2pgan.gan.plan import (
    BLOCK_BYTES_MAX,
    BLOCK_BYTES_MIN,
    Machine,
    blocks,
    even,
    node_bytes,
    threads_of_calls,
    workers,
)

names = st.sampled_from(sorted(MODELS))
counts = st.integers(1, 3000)


def sizes(cut: tuple[range, ...]) -> list[int]:
    return [len(part) for part in cut]


@given(counts, st.data())
def test_even_parts_hold_everyone_once_and_in_order(nodes: int, data: st.DataObject) -> None:
    parts = even(nodes, data.draw(st.integers(1, nodes)))
    assert [node for part in parts for node in part] == list(range(nodes))
    assert 1 <= min(sizes(parts)) >= max(sizes(parts)) - 1


@given(names, counts, st.none() | st.integers(1, 50), st.booleans())
def test_blocks_hold_every_node_once(
    name: str, nodes: int, block_nodes: int | None, is_gpu: bool
) -> None:
    cut = blocks(model(name), nodes, Machine(block_nodes=block_nodes, is_gpu=is_gpu))
    assert [node for block in cut for node in block] == list(range(nodes))
    assert max(sizes(cut)) <= (block_nodes or nodes)


@given(names, counts)
def test_blocks_fit_the_cache_or_are_a_single_node(name: str, nodes: int) -> None:
    largest = max(sizes(blocks(model(name), nodes, Machine())))
    assert largest == 1 or largest * node_bytes(model(name)) <= BLOCK_BYTES_MAX


@given(names, counts, st.integers(1, 64))
def test_workers_are_as_many_as_have_enough_to_do(name: str, nodes: int, threads: int) -> None:
    count = workers(model(name), nodes, Machine(threads=threads))
    assert 1 <= count <= min(nodes, threads)
    assert count == 1 or nodes // count * node_bytes(model(name)) >= BLOCK_BYTES_MIN


@pytest.mark.parametrize(
    ("name", "nodes", "cut", "processes"),
    [
        ("mlp-digits", 1, [1], 1),
        ("mlp-digits", 5, [5], 1),  # too little to share
        ("mlp-digits", 10, [5, 5], 2),
        ("mlp-digits", 27, [9, 9, 9], 2),
        ("mlp-mnist", 4, [1, 1, 1, 1], 2),
        ("mlp-mnist", 1, [1], 1),
        ("cnn-mnist-ch4", 3, [1, 1, 1], 2),
    ],
)
def test_plans(name: str, nodes: int, cut: list[int], processes: int) -> None:
    machine = Machine(threads=2)
    assert sizes(blocks(model(name), nodes, machine)) == cut
    assert workers(model(name), nodes, machine) == processes


@pytest.mark.parametrize(
    ("nodes", "share", "cut", "processes"),
    [(20, 1.0, [6, 7, 7], 2), (20, 0.5, [10, 10], 2), (20, 0.2, [20], 1), (100, 0.1, [50, 50], 2)],
)
def test_blocks_are_larger_where_few_of_their_nodes_train(
    nodes: int, share: float, cut: list[int], processes: int
) -> None:
    """What trains at a time is to fit the cache, and to keep a process busy."""
    machine = Machine(threads=2, share=share)
    assert sizes(blocks(model("mlp-digits"), nodes, machine)) == cut
    assert workers(model("mlp-digits"), nodes, machine) == processes


@pytest.mark.parametrize(("name", "shared"), [("mlp-digits", 1), ("cnn-mnist-ch4", 2)])
def test_calls_are_shared_among_threads_only_if_they_are_large(name: str, shared: int) -> None:
    """Threads that wait for each other tens of times an iteration cost more than they bring."""
    assert threads_of_calls(model(name), model(name).batch_size, Machine(threads=2)) == shared


def test_a_gpu_takes_all_nodes_at_once_in_one_process() -> None:
    machine = Machine(threads=16, is_gpu=True)
    assert sizes(blocks(model("cnn-mnist-ch4"), 100, machine)) == [100]
    assert workers(model("cnn-mnist-ch4"), 100, machine) == 1
