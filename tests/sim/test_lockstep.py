"""What happens between two rounds: who sends what to whom, and what becomes of the vectors."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from p2pgan.config import ExchangeConfig, FederatedConfig, RunConfig, ScoreConfig
from p2pgan.experiment import prepare
from p2pgan.gan.checkpoint import load
from p2pgan.gan.models import model
from p2pgan.record.reader import read
from p2pgan.record.schema import (
    Quality,
    RoundFinished,
    VectorMixed,
    VectorReceived,
    VectorSent,
)
from p2pgan.sim.lockstep import Lockstep
from p2pgan.sim.run import Finished
from p2pgan.types import NETS

Simulate = Callable[..., Finished]

SETTINGS: dict[str, Any] = {
    "nodes": 3,
    "iterations": 40,
    "exchange_every": 10,
    "device": "cpu",
}
"""As in `simulated`."""

PAIR = model("mlp-digits")
SIZE_BYTES = {net: 4 * PAIR.networks[net].size for net in NETS}


def bodies(finished: Finished, kind: type[Any]) -> list[tuple[str, Any]]:
    """Node and body of every record of a kind."""
    records = read(finished.directory.events)
    return [(record.node, record.body) for record in records if type(record.body) is kind]


def vectors(finished: Finished, node: int) -> dict[str, torch.Tensor]:
    saved = load(finished.directory.checkpoint(str(node)), PAIR).vectors
    return {str(net): saved[net] for net in NETS}


def test_two_gossiping_nodes_that_must_exchange_are_fl_gan(simulated: Simulate) -> None:
    """The thesis's n = 2: averaging with the only peer is the coordinator's mean, bit for bit."""
    forced = ExchangeConfig(fixed_points=False)
    gossip = simulated("gossip", nodes=2, exchange=forced)
    fl_gan = simulated("fl-gan", nodes=2, algorithm="fl-gan")
    for node in (0, 1):
        for net in NETS:
            assert torch.equal(vectors(gossip, node)[net], vectors(fl_gan, node)[net])
    assert gossip.summary["consensus"] == {"g": 0, "d": 0}


def test_fl_gan_ends_in_agreement_and_standalone_does_not(simulated: Simulate) -> None:
    assert simulated("fl", algorithm="fl-gan").summary["consensus"]["g"] < 1e-5
    alone = simulated("alone", algorithm="standalone").summary["consensus"]
    gossip = simulated("gossip").summary["consensus"]
    assert 0 < gossip["g"] < alone["g"]


@pytest.mark.parametrize("algorithm", ["standalone", "centralised"])
def test_who_exchanges_nothing_sends_nothing(simulated: Simulate, algorithm: str) -> None:
    finished = simulated(algorithm=algorithm)
    assert bodies(finished, VectorSent) == []
    traffic = finished.summary["traffic"]
    assert (traffic["messages"], traffic["bytes_total"], traffic["bytes_per_node"]) == (0, 0, 0)


def test_standalone_nodes_train_as_if_nobody_else_were_there(simulated: Simulate) -> None:
    """Rounds of another length change nothing where nothing is exchanged."""
    short = simulated("short", algorithm="standalone")
    long = simulated("long", algorithm="standalone", exchange_every=40)
    for net in NETS:
        assert torch.equal(vectors(short, 1)[net], vectors(long, 1)[net])


FORCED = ExchangeConfig(fixed_points=False)


@pytest.mark.parametrize(
    ("algorithm", "messages", "each"),
    [
        ("gossip", 3 * 4, SIZE_BYTES["G"] + SIZE_BYTES["D"]),
        ("fl-gan", 2 * 3 * 4, SIZE_BYTES["G"] + SIZE_BYTES["D"]),
    ],
)
def test_traffic_of_whole_pairs(
    simulated: Simulate, algorithm: str, messages: int, each: int
) -> None:
    finished = simulated(algorithm=algorithm, exchange=FORCED)
    traffic = finished.summary["traffic"]
    assert traffic["messages"] == messages == len(bodies(finished, VectorSent))
    assert traffic["bytes_total"] == messages * each
    assert traffic["bytes_per_node"] == messages * each / 3
    assert {body.bytes for _, body in bodies(finished, VectorSent)} == {each}


def test_traffic_of_independent_networks(simulated: Simulate) -> None:
    finished = simulated(algorithm="gossip-ind", exchange=FORCED, nodes=5)
    sent = [body for _, body in bodies(finished, VectorSent)]
    assert Counter(tuple(body.nets) for body in sent) == {("G",): 20, ("D",): 20}
    assert finished.summary["traffic"]["bytes_total"] == sum(body.bytes for body in sent)
    assert {(body.nets[0], body.bytes) for body in sent} == set(SIZE_BYTES.items())
    choices: dict[str, list[tuple[int, str, str]]] = {"G": [], "D": []}
    for node, body in bodies(finished, VectorSent):
        choices[body.nets[0]].append((body.round, node, body.peer))
    assert sorted(choices["G"]) != sorted(choices["D"])


@pytest.mark.parametrize(
    "algorithm", ["gossip", "gossip-ind", "gosgd", "push-sum", "ad-psgd", "fl-gan"]
)
@pytest.mark.parametrize("draw", ["permutation", "push"])
def test_every_vector_arrives_and_is_mixed(simulated: Simulate, algorithm: str, draw: str) -> None:
    exchange = ExchangeConfig(draw=draw)  # type: ignore[arg-type]
    finished = simulated(algorithm=algorithm, exchange=exchange)
    sent = {body.exchange: (node, body.peer) for node, body in bodies(finished, VectorSent)}
    received = {b.exchange: (b.peer, node) for node, b in bodies(finished, VectorReceived)}
    mixed = {b.exchange: (b.peer, node) for node, b in bodies(finished, VectorMixed)}
    assert len(sent) == len(bodies(finished, VectorSent)) > 0
    assert sent == received == mixed
    assert all(0 < body.weight <= 1 for _, body in bodies(finished, VectorMixed))
    assert all(body.staleness_rounds == 0 for _, body in bodies(finished, VectorMixed))


def test_vectors_travel_along_edges_only(simulated: Simulate) -> None:
    finished = simulated(nodes=4, overlay="ring", iterations=100, exchange_every=5)
    pairs = {(node, body.peer) for node, body in bodies(finished, VectorSent)}
    assert pairs <= {(str(i), str((i + step) % 4)) for i in range(4) for step in (1, -1)}
    assert len(pairs) > 4


def test_fl_gan_goes_through_the_coordinator(simulated: Simulate) -> None:
    fl = FederatedConfig(weighting="uniform")
    finished = simulated(algorithm="fl-gan", overlay="ring", fl=fl)
    pairs = {(node, body.peer) for node, body in bodies(finished, VectorSent)}
    assert pairs == {(n, "coordinator") for n in "012"} | {("coordinator", n) for n in "012"}
    weights = {(node == "coordinator", b.weight) for node, b in bodies(finished, VectorMixed)}
    assert weights == {(True, 1 / 3), (False, 1.0)}


def test_the_last_round_may_be_short_and_exchanges_too(simulated: Simulate) -> None:
    finished = simulated(iterations=25, exchange=FORCED)
    rounds = [(body.round, body.iterations) for _, body in bodies(finished, RoundFinished)]
    assert sorted(set(rounds)) == [(1, 10), (2, 20), (3, 25)]
    assert finished.summary["rounds"] == 3
    assert {body.round for _, body in bodies(finished, VectorSent)} == {1, 2, 3}


def test_every_node_tells_its_story(simulated: Simulate) -> None:
    finished = simulated()
    by_node: dict[str, list[Any]] = {}
    for record in read(finished.directory.events):
        by_node.setdefault(record.node, []).append(record)
    assert by_node.keys() == {"", "0", "1", "2"}
    for records in by_node.values():
        assert [record.seq for record in records] == list(range(len(records)))
        clocks = [record.clock for record in records]
        assert clocks == sorted(clocks)
    assert by_node[""][0].kind == "run_started"
    assert by_node["1"][0].kind == "node_started"
    assert [r.kind for r in by_node["1"]][-2:] == ["checkpoint_saved", "node_stopped"]
    kinds = Counter(record.kind for record in by_node["1"])
    assert (kinds["round_finished"], kinds["scores"]) == (4, 2)


def test_the_quality_is_on_record_once_at_the_end(simulated: Simulate) -> None:
    """Of the nodes asked for; the rest of the run is as without."""
    score = ScoreConfig(samples=50, every=2, final_samples=60, final_nodes=2)
    finished = simulated("measured", score=score)
    records = bodies(finished, Quality)
    assert [node for node, _ in records] == ["0", "2"]
    experiment = prepare(RunConfig(**{**SETTINGS, "score": score}), Path("no-data-needed"))
    for node, body in records:
        quality = experiment.quality(vectors(finished, int(node))["G"], node)
        assert (body.round, body.iterations, body.samples) == (4, 40, 60)
        assert body.fid == pytest.approx(quality.fid)
        assert body.nearest == pytest.approx(quality.nearest)
        assert body.histogram == pytest.approx(quality.histogram)
    plain = simulated("plain")
    assert plain.summary["quality"] is None
    assert bodies(plain, Quality) == []
    assert plain.summary["scores"] == finished.summary["scores"]
    assert torch.equal(vectors(plain, 0)["G"], vectors(finished, 0)["G"])


def test_the_quality_is_in_the_summary_with_its_floor(simulated: Simulate) -> None:
    score = ScoreConfig(samples=50, every=2, final_samples=60, final_nodes=2)
    finished = simulated(score=score)
    quality, records = finished.summary["quality"], [b for _, b in bodies(finished, Quality)]
    assert (quality["samples"], quality["compared"], quality["nearest_samples"]) == (60, 60, 60)
    assert quality["nodes"] == ["0", "2"]
    for name in ("fid", "ms", "precision", "recall", "classes", "class_kl", "nearest"):
        figures = [getattr(body, name) for body in records]
        assert quality[name]["mean"] == pytest.approx(sum(figures) / 2)
        assert quality[name]["max"] == max(figures)
        assert quality["real"][name] >= 0
    assert sum(quality["histogram"]) == pytest.approx(1)
    assert quality["real"]["fid"] < quality["fid"]["min"]


def test_an_interrupted_run_is_not_measured(simulated: Simulate) -> None:
    def stop(simulation: Lockstep) -> None:
        if simulation.round == 3:
            raise KeyboardInterrupt

    finished = simulated(on_round=stop, score=ScoreConfig(samples=50, final_samples=60))
    assert finished.summary["interrupted"]
    assert finished.summary["quality"] is None
    assert bodies(finished, Quality) == []


def test_a_run_can_be_measured_more_than_once(simulated: Simulate) -> None:
    """Before and after a last step, say; the summary has the last one."""

    def look(simulation: Lockstep) -> None:
        if simulation.round == 2:
            simulation.measure()

    finished = simulated(on_round=look, score=ScoreConfig(samples=50, final_samples=60))
    records = bodies(finished, Quality)
    assert [body.round for _, body in records] == [2, 2, 2, 4, 4, 4]
    last = [body.fid for _, body in records[3:]]
    assert finished.summary["quality"]["fid"]["max"] == max(last)


def test_losses_are_on_record(simulated: Simulate) -> None:
    losses = [(body.loss_d, body.loss_g) for _, body in bodies(simulated(), RoundFinished)]
    assert len(losses) == 12
    assert all(0 < d < 10 and 0 < g < 10 for d, g in losses)


def test_whoever_looks_on_sees_every_round(simulated: Simulate) -> None:
    seen: list[tuple[int, int, bool]] = []

    def look(simulation: Lockstep) -> None:
        seen.append((simulation.round, simulation.iterations, bool(simulation.scores)))

    simulated(on_round=look)
    assert seen == [(1, 10, False), (2, 20, True), (3, 30, True), (4, 40, True)]


def replayed(finished: Finished, nodes: int) -> np.ndarray:
    """The mass of each node by the log: who sent to whom, all weights halved or divided."""
    weights_N = np.ones(nodes)
    mixed = bodies(finished, VectorMixed)
    for round_ in sorted({body.round for _, body in mixed}):
        ways = [(int(b.peer), int(node), b) for node, b in mixed if b.round == round_]
        sent_N = np.bincount([sender for sender, _, _ in ways], minlength=nodes)
        pieces_N = weights_N / (1 + sent_N)
        weights_N = pieces_N.copy()
        for sender, receiver, _ in ways:
            weights_N[receiver] += pieces_N[sender]
        for sender, receiver, body in ways:
            assert body.weight == pytest.approx(pieces_N[sender] / weights_N[receiver])
    return weights_N


@pytest.mark.parametrize("algorithm", ["gosgd", "push-sum"])
@pytest.mark.parametrize("fanout", [1, 2])
def test_weights_travel_in_lockstep(simulated: Simulate, algorithm: str, fanout: int) -> None:
    exchange = ExchangeConfig(fanout=fanout, probability=0.8)
    finished = simulated(algorithm=algorithm, nodes=5, iterations=80, exchange=exchange)
    weights_N = replayed(finished, 5)
    assert weights_N.sum() == pytest.approx(5)
    assert weights_N.std() > 0.01
    purpose = "mass" if algorithm == "push-sum" else None
    assert {body.purpose for _, body in bodies(finished, VectorSent)} == {purpose}


def test_pairs_in_lockstep_ask_and_answer(simulated: Simulate) -> None:
    """Two nodes that are always paired are FL-GAN, as the thesis has it of gossip."""
    finished = simulated("pairs", algorithm="ad-psgd", nodes=2)
    sent = [(body.purpose, node, body.peer) for node, body in bodies(finished, VectorSent)]
    assert sent == [("pair", "0", "1"), ("answer", "1", "0")] * 4
    assert {body.weight for _, body in bodies(finished, VectorMixed)} == {0.5}
    fl_gan = simulated("fl-gan", nodes=2, algorithm="fl-gan")
    for net in NETS:
        assert torch.equal(vectors(finished, 1)[net], vectors(fl_gan, 1)[net])


@pytest.mark.parametrize("algorithm", ["gosgd", "push-sum", "ad-psgd"])
def test_the_last_step_averages_plainly(simulated: Simulate, algorithm: str) -> None:
    finished = simulated(algorithm=algorithm, final="average")
    averaged = [b for _, b in bodies(finished, VectorMixed) if b.purpose == "average"]
    assert averaged
    assert {round(1 / body.weight) for body in averaged} <= {2, 3}
    assert all(body.weight in (1 / 2, 1 / 3) for body in averaged)
    assert finished.summary["consensus"]["g"] < 0.1
