"""MD-GAN's worker against FL-GAN's node: both sides do what the systems do, and are told apart."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from p2pgan.gan.blocks import Critics
from p2pgan.gan.cohort import Cohort
from p2pgan.gan.models import model
from tools import bench_split
from tools.bench_counts import criticism, iteration, products
from tools.bench_split import ROUND, WORKLOADS, Cost, Workload, cost_s, measure
from tools.bench_workloads import chosen

DIGITS = Workload("mlp-digits", 4)


def test_workloads_are_chosen_by_name_in_the_order_of_the_table() -> None:
    names = ["mlp-digits-b16", "mlp-mnist-b10", "mlp-mnist-b100", "cnn-mnist-b10"]
    assert list(WORKLOADS) == names
    assert chosen("", WORKLOADS) == list(WORKLOADS.values())
    assert [w.name for w in chosen(f" {names[2]}, {names[0]} ", WORKLOADS)] == [names[0], names[2]]
    with pytest.raises(typer.BadParameter, match="got `w9` - at --only"):
        chosen("w9", WORKLOADS)


def test_a_worker_learns_and_gives_feedback_once_per_iteration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    for name in ("learn", "feedback"):
        usual = getattr(Critics, name)

        def watched(*given: Any, name: str = name, usual: Any = usual) -> Any:
            seen.append(name)
            return usual(*given)

        monkeypatch.setattr(Critics, name, watched)
    bench_split.split_worker(DIGITS)()
    assert seen == ["learn", "feedback"] * ROUND


def test_a_node_trains_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    usual = Cohort.train

    def watched(cohort: Cohort, iterations: int) -> Any:
        before = {net: vectors.clone() for net, vectors in cohort.vectors.items()}
        seen.append(iterations)
        result = usual(cohort, iterations)
        assert not any(torch.equal(cohort.vectors[net], before[net]) for net in before)
        return result

    monkeypatch.setattr(Cohort, "train", watched)
    bench_split.federated_node(DIGITS)()
    assert seen == [ROUND]


def test_a_cost_is_that_of_an_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round is always whole, and samples are as long as asked."""
    clock = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    rounds: list[None] = []

    def train() -> None:
        rounds.append(None)
        clock[0] += 0.4

    assert cost_s(train, 1.0) == pytest.approx(0.4 / ROUND)
    assert len(rounds) == 3
    assert cost_s(train, 0.0) == pytest.approx(0.4 / ROUND)
    assert len(rounds) == 4


def test_sides_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    costs = iter([1.0, 4.0, 2.0, 4.0, 3.0, 4.0])

    def cost(train: Any, seconds: float) -> float:
        train()
        assert seconds == 0.5
        return next(costs)

    monkeypatch.setattr(bench_split, "split_worker", lambda _: lambda: turns.append("worker"))
    monkeypatch.setattr(bench_split, "federated_node", lambda _: lambda: turns.append("node"))
    monkeypatch.setattr(bench_split, "cost_s", cost)
    measured = measure(DIGITS, 3, 0.5)
    assert turns == ["worker", "node"] * 4  # the first ones warm up
    assert measured.ratios == [0.25, 0.5, 0.75]
    assert measured.ratio == 0.5
    assert "| 0.50 | 0.25 to 0.75 |" in measured.row()


def test_what_is_expected_leaves_the_generator_out() -> None:
    """Forward and backward in both networks, against the discriminator's part."""
    pair = model("mlp-mnist")
    g = products(pair.generator, (pair.latent,))
    whole, part = iteration(pair, 10), criticism(pair, 10)
    assert whole.flops - part.flops == 2 * 10 * (4 * g.macs - g.first_macs)
    adam = 32 * g.parameters
    assert whole.bytes - part.bytes == adam + 4 * (3 * g.weights - g.first_weights)
    expected = Cost(Workload("mlp-mnist", 10), [(1.0, 2.0)]).expected
    assert expected == part.flops / whole.flops
    assert 0.6 < expected < 0.65


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("worker", "status"), [(0.6, 0), (0.61, 1)])
def test_the_command_tells_whether_the_bar_is_met(
    monkeypatch: pytest.MonkeyPatch, worker: float, status: int
) -> None:
    monkeypatch.setattr(
        bench_split, "measure", lambda workload, *_: Cost(workload, [(worker, 1.0)])
    )
    result = CliRunner().invoke(bench_split.app, ["--only", "mlp-digits-b16"])
    assert result.exit_code == status
    assert f"| `mlp-digits` | 16 | {1000 * worker:.3g} | 1e+03 | {worker:.2f} |" in result.output
