"""How cohorts are cut: every node once, blocks that fit the cache, threads that have work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.gan.models import MODELS, model
from p2pgan.gan.plan import BLOCK_BYTES_MAX, BYTES_PER_PARAMETER, Machine, Plan, plan


def node_bytes(name: str) -> int:
    return BYTES_PER_PARAMETER * sum(net.size for net in model(name).networks.values())


def sizes(cut: Plan) -> list[int]:
    return [len(block) for block in cut.blocks]


@given(
    st.sampled_from(sorted(MODELS)),
    st.integers(1, 3000),
    st.integers(1, 64),
    st.none() | st.integers(1, 50),
    st.booleans(),
)
def test_blocks_hold_every_node_once_and_in_order(
    name: str, nodes: int, threads: int, block_nodes: int | None, is_gpu: bool
) -> None:
    machine = Machine(threads=threads, block_nodes=block_nodes, is_gpu=is_gpu)
    cut = plan(model(name), nodes, 10, machine)
    assert [node for block in cut.blocks for node in block] == list(range(nodes))
    assert min(sizes(cut)) >= max(sizes(cut)) - 1 > -1
    assert 1 <= cut.workers <= min(threads, len(cut.blocks))
    assert 1 <= cut.threads_each * cut.workers <= threads
    assert max(sizes(cut)) <= (block_nodes or nodes)


@given(st.sampled_from(sorted(MODELS)), st.integers(1, 3000), st.integers(1, 64))
def test_blocks_fit_the_cache_or_are_a_single_node(name: str, nodes: int, threads: int) -> None:
    cut = plan(model(name), nodes, 10, Machine(threads=threads))
    largest = max(sizes(cut))
    assert largest == 1 or largest * node_bytes(name) <= BLOCK_BYTES_MAX


@pytest.mark.parametrize(
    ("name", "nodes", "threads", "blocks", "workers"),
    [
        ("mlp-digits", 1, 2, [1], 1),
        ("mlp-digits", 5, 2, [5], 1),  # too little to share
        ("mlp-digits", 10, 1, [10], 1),
        ("mlp-digits", 10, 2, [5, 5], 2),
        ("mlp-digits", 100, 2, [16, 17, 17, 16, 17, 17], 2),
        ("mlp-digits", 28, 4, [7, 7, 7, 7], 4),
        ("mlp-mnist", 10, 2, [1] * 10, 2),
        ("mlp-mnist", 1, 2, [1], 1),
        ("cnn-mnist-ch4", 3, 2, [1, 1, 1], 2),
    ],
)
def test_plans(name: str, nodes: int, threads: int, blocks: list[int], workers: int) -> None:
    cut = plan(model(name), nodes, model(name).batch_size, Machine(threads=threads))
    assert (sizes(cut), cut.workers) == (blocks, workers)


@pytest.mark.parametrize(("name", "shared"), [("mlp-digits", 1), ("cnn-mnist-ch4", 2)])
def test_calls_of_a_lone_node_are_shared_only_if_they_are_large(name: str, shared: int) -> None:
    """Threads that wait for each other tens of times an iteration cost more than they bring."""
    cut = plan(model(name), 1, model(name).batch_size, Machine(threads=2))
    assert (cut.workers, cut.threads_each) == (1, shared)


def test_a_gpu_takes_all_nodes_at_once() -> None:
    cut = plan(model("cnn-mnist-ch4"), 100, 32, Machine(threads=16, is_gpu=True))
    assert (sizes(cut), cut.workers) == ([100], 1)


def test_a_plan_does_not_ask_the_machine_for_more_than_its_threads() -> None:
    """The same run is cut in the same way every time."""
    first, second = (plan(model("mlp-digits"), 77, 16, Machine(threads=2)) for _ in range(2))
    assert first == second
