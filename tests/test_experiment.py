"""What a configuration stands for, and that a node meets the same in any company."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import msgspec
import networkx as nx
import numpy as np
import pytest
import torch

from p2pgan.config import (
    CoordinatorConfig,
    ExchangeConfig,
    FederatedConfig,
    RunConfig,
    ScoreConfig,
    SplitConfig,
    TrainConfig,
)
from p2pgan.daemons import DaemonConfig
from p2pgan.data.batches import BatchSampler
from p2pgan.data.datasets import to_float
from p2pgan.errors import ConfigError, DataError, OverlayError, P2PGanError
from p2pgan.experiment import BATCHES_AT_ONCE, Experiment, ShardBatches, prepare
from p2pgan.gan.models import model
from p2pgan.gan.sampling import images
from p2pgan.gan.scores import reference
from p2pgan.overlay.files import write
from p2pgan.overlay.graph import Overlay
from p2pgan.seeds import stream
from p2pgan.types import NETS

NOWHERE = Path("no-data-needed")


def experiment(**settings: Any) -> Experiment:
    defaults: dict[str, Any] = {"nodes": 3, "iterations": 40, "score": ScoreConfig(samples=50)}
    return prepare(RunConfig(**defaults | settings), NOWHERE)


def complaint(kind: type[P2PGanError], **settings: Any) -> str:
    with pytest.raises(kind) as caught:
        experiment(**settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_open_settings_are_resolved() -> None:
    config = experiment(nodes=None, iterations=3000).config
    assert (config.nodes, config.model, config.batch_size) == (10, "mlp-digits", 16)
    assert (config.exchange_every, config.exchange_epochs) == (20, None)
    assert config.device in ("cpu", "cuda")


def test_what_was_resolved_prepares_the_same_again() -> None:
    """`run.toml` given back as `--config` is the same run."""
    first = experiment(exchange_epochs=0.3, partition="dirichlet:2")
    again = prepare(first.config, NOWHERE)
    assert again.config == first.config
    assert all(np.array_equal(again.shards[node], first.shards[node]) for node in first.nodes)


def test_a_node_alone_trains_as_in_company() -> None:
    """A daemon's node has the shard, initial weights, batches and latents of the simulator's."""
    prepared = experiment(nodes=4, seed=5)
    together = prepared.cohort(prepared.nodes)
    losses = together.train(6)
    for index in (0, 2):
        alone = prepared.cohort([prepared.nodes[index]])
        own = alone.train(6)
        for net in NETS:
            difference = alone.vectors[net][0] - together.vectors[net][index]
            assert difference.abs().max() < 1e-5
        assert own.d[0] == pytest.approx(losses.d[index], abs=1e-4)
        assert own.g[0] == pytest.approx(losses.g[index], abs=1e-4)


def test_all_start_with_the_same_weights_and_no_shared_memory() -> None:
    cohort = experiment().cohort(["0", "1"])
    for net in NETS:
        first, second = cohort.vectors[net]
        assert torch.equal(first, second)
        first.add_(1.0)
        assert not torch.equal(first, second)


def test_moments_that_travel_begin_at_0_behind_the_network() -> None:
    plain, travel = (
        experiment(exchange=ExchangeConfig(moments=moments)).initial_rows(2)
        for moments in ("stay", "travel")
    )
    for net in NETS:
        size = plain[net].shape[1]
        assert travel[net].shape == (2, 3 * size)
        assert torch.equal(travel[net][:, :size], plain[net])
        assert not travel[net][:, size:].any()


@pytest.mark.parametrize("moments", ["stay", "travel"])
def test_a_generator_and_its_running_mean_start_alike_and_part(moments: Any) -> None:
    """The networks train as if nobody kept a mean of them, and are exchanged without it."""
    exchange = ExchangeConfig(moments=moments)
    plain, other = (
        experiment(exchange=exchange, train=TrainConfig(ema=ema)).cohort(["0", "1"])
        for ema in (0.0, 0.1)
    )
    assert plain.judged.data_ptr() == plain.vectors["G"].data_ptr()
    assert torch.equal(other.judged, other.vectors["G"])
    wanted_NP = other.judged.clone()
    for _ in range(3):
        plain.train(1)
        other.train(1)
        wanted_NP = 0.1 * wanted_NP + 0.9 * other.vectors["G"]
        torch.testing.assert_close(other.judged, wanted_NP)
        for net in NETS:
            assert torch.equal(plain.exchanged[net], other.exchanged[net])
    assert not torch.equal(other.judged, other.vectors["G"])


@pytest.mark.parametrize("init", ["he", "glorot"])
def test_the_seed_and_the_scheme_decide_the_initial_weights(init: Any) -> None:
    def generator(seed: int, scheme: Any) -> torch.Tensor:
        prepared = experiment(seed=seed, train=TrainConfig(init=scheme))
        return prepared.cohort(["0"]).vectors["G"][0]

    assert torch.equal(generator(1, init), generator(1, init))
    assert not torch.equal(generator(1, init), generator(2, init))
    assert not torch.equal(generator(1, "he"), generator(1, "glorot"))


def test_batches_hold_the_images_of_the_shard_and_their_labels() -> None:
    prepared = experiment(partition="by-class")
    inputs: Any = prepared.cohort(prepared.nodes)._inputs
    batch, _ = inputs.batches(range(3), 2)
    assert batch.images.shape == (3, 16, 1, 8, 8)
    assert batch.labels_NB.tolist() == [[label] * 16 for label in range(3)]
    assert batch.images.min() == -1
    assert batch.images.max() == 1


def test_batches_are_the_shards_images_as_floats() -> None:
    """Each node's own stream decides which; a block asks for its nodes only."""
    prepared = experiment()
    dataset, rng = prepared.dataset, np.random.default_rng
    shards = [np.arange(40), np.arange(40, 90), np.arange(90, 130)]
    samplers = [BatchSampler(shard, 4, rng(node)) for node, shard in enumerate(shards)]
    (batch,) = ShardBatches(dataset, samplers, torch.device("cpu"))(range(1, 3), 1)
    for row, node in enumerate((1, 2)):
        (chosen,) = BatchSampler(shards[node], 4, rng(node)).take(1)
        assert np.array_equal(batch.images[row].numpy(), to_float(dataset.images[chosen]))
        assert np.array_equal(batch.labels_NB[row].numpy(), dataset.labels[chosen])


class CountingSampler:
    """A sampler of one image a batch that notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def take(self, count: int) -> np.ndarray:
        start = sum(self.asked)
        self.asked.append(count)
        return np.arange(start, start + count)[:, None]


def test_a_long_round_draws_its_batches_in_portions() -> None:
    """A round of millions of iterations must not fill the memory with indices."""
    dataset: Any = experiment().dataset
    sampler: Any = CountingSampler()
    count = 2 * BATCHES_AT_ONCE + 1
    batches = ShardBatches(dataset, [sampler], torch.device("cpu"))
    labels = [int(batch.labels_NB) for batch in batches(range(1), count)]
    assert sampler.asked == [BATCHES_AT_ONCE, BATCHES_AT_ONCE, 1]
    assert labels == dataset.labels[:count].tolist()


@pytest.mark.parametrize(
    ("iterations", "every", "rounds"), [(40, 20, 2), (41, 20, 3), (19, 20, 1), (5, 1, 5)]
)
def test_rounds(iterations: int, every: int, rounds: int) -> None:
    assert experiment(iterations=iterations, exchange_every=every).rounds == rounds


@pytest.mark.parametrize(
    ("rounds", "every", "scored"),
    [
        (20, None, list(range(2, 21, 2))),
        (3, None, [1, 2, 3]),
        (5, 0, [5]),
        (5, 2, [2, 4, 5]),
        (4, 9, [4]),
    ],
)
def test_scores_are_due(rounds: int, every: int | None, scored: list[int]) -> None:
    prepared = experiment(
        iterations=rounds, exchange_every=1, score=ScoreConfig(samples=50, every=every)
    )
    assert [r for r in range(1, rounds + 1) if prepared.is_scored(r)] == scored


@pytest.mark.parametrize(("epochs", "every"), [(1.0, 33), (0.5, 17), (2.0, 67), (1e-6, 1)])
def test_epochs_become_iterations_of_the_mean_shard(epochs: float, every: int) -> None:
    """1600 training images on 3 nodes are 533 each, 33 batches of 16."""
    assert experiment(exchange_epochs=epochs).exchange_every == every


def test_fl_gan_alone_lets_nodes_stand_still() -> None:
    for name, count in (("fl-gan", 2), ("gossip", 5), ("standalone", 5)):
        prepared = experiment(algorithm=name, nodes=5, fl=FederatedConfig(fraction=0.4))
        assert prepared.round_nodes == count
        assert prepared.machine.share == count / 5


@pytest.mark.parametrize(("discriminators", "count"), [(None, 5), (2, 2)])
def test_in_md_gan_those_train_who_have_a_discriminator(
    discriminators: int | None, count: int
) -> None:
    md = SplitConfig(discriminators=discriminators)
    assert experiment(algorithm="md-gan", nodes=5, md=md).round_nodes == count


def test_epochs_of_unequal_shards_are_common_to_all() -> None:
    unequal = experiment(exchange_epochs=1.0, partition="quantity:2", seed=1)
    assert len({len(shard) for shard in unequal.shards.values()}) > 1
    assert unequal.exchange_every == 33


@pytest.mark.parametrize("partition", ["iid", "by-class:4", "dirichlet:5"])
def test_pooled_is_the_union_of_the_shards(partition: str) -> None:
    apart = experiment(partition=partition, nodes=5)
    pooled = experiment(partition=partition, nodes=5, algorithm="centralised")
    assert pooled.nodes == ("0",)
    assert pooled.config.nodes == 1
    together = np.sort(np.concatenate([apart.shards[node] for node in apart.nodes]))
    assert np.array_equal(np.sort(pooled.shards["0"]), together)


def test_fewer_images_are_dealt_to_all_nodes() -> None:
    experiment = prepare(RunConfig(nodes=4, images=200, seed=3), Path("unused"))
    assert len(experiment.dataset.images) == 200
    assert sorted(np.concatenate(list(experiment.shards.values())).tolist()) == list(range(200))
    again = prepare(RunConfig(nodes=2, images=200, seed=3), Path("unused"))
    whole = prepare(RunConfig(nodes=2, seed=3), Path("unused"))
    assert again.score_real() == whole.score_real()
    assert (again.dataset.images == experiment.dataset.images).all()


def test_pooled_looks_at_no_overlay() -> None:
    assert experiment(algorithm="centralised", overlay="star", nodes=50).nodes == ("0",)


def test_too_many_nodes_are_refused_before_an_overlay_is_made() -> None:
    """A complete overlay of a billion nodes would never be finished."""
    text = complaint(DataError, nodes=10**9)
    assert "at most 100 nodes, for 1600 images and batches of 16" in text
    assert len(experiment(nodes=100).shards) == 100


def test_a_batch_larger_than_the_data_blames_the_batch() -> None:
    text = complaint(DataError, nodes=2, batch_size=1601)
    assert "at most 1600, the images of `digits`, got `1601` - at --batch-size" in text


def test_a_shard_too_small_for_a_batch() -> None:
    text = complaint(DataError, nodes=10, partition="quantity:0.1")
    assert "expected at least 16 images in every shard" in text
    assert " - at node " in text


@pytest.mark.parametrize(
    ("settings", "nearest"),
    [
        ({"algorithm": "gosip"}, "gossip"),
        ({"overlay": "rign"}, "ring"),
        ({"dataset": "digts"}, "digits"),
        ({"model": "mlp-digit"}, "mlp-digits"),
        ({"partition": "by-clas"}, "by-class:K"),
        ({"train": TrainConfig(loss="hing")}, "hinge"),
        ({"score": ScoreConfig(scorer="digit")}, "digits"),
    ],
)
def test_unknown_names_come_with_the_nearest(settings: dict[str, Any], nearest: str) -> None:
    assert f"(hint: did you mean `{nearest}`?)" in complaint(P2PGanError, **settings)


def test_a_model_of_other_images() -> None:
    text = complaint(ConfigError, model="mlp-mnist")
    assert "got `mlp-mnist`, for (1, 28, 28) - at --model" in text
    assert "`mlp-digits` is the usual model" in text


def test_a_scorer_of_other_images() -> None:
    text = complaint(ConfigError, score=ScoreConfig(scorer="mnist"))
    assert "`mnist`, of (1, 28, 28) - at score.scorer" in text


def test_batch_norm_needs_more_than_one_image() -> None:
    data_dir = Path(os.environ.get("P2PGAN_DATA_DIR", "/nonexistent"))
    if not (data_dir / "mnist").is_dir():
        pytest.skip("no `mnist` in P2PGAN_DATA_DIR")
    config = RunConfig(dataset="mnist", model="cnn-mnist-ch4", nodes=2, batch_size=1)
    with pytest.raises(ConfigError, match=r"at least 2 images, for batch norm.*--batch-size"):
        prepare(config, data_dir)


def test_a_model_without_classes_cannot_be_conditional() -> None:
    assert "train.conditional" in complaint(ConfigError, train=TrainConfig(conditional=True))


def test_a_disconnected_overlay(tmp_path: Path) -> None:
    path = tmp_path / "two.edges"
    path.write_text("a b\nc d\n")
    text = complaint(OverlayError, overlay=str(path), nodes=None)
    assert all(f"`{node}`" in text for node in "ac")
    accepted = experiment(overlay=str(path), nodes=None, allow_disconnected=True)
    assert accepted.nodes == ("a", "b", "c", "d")


@pytest.mark.parametrize("algorithm", ["fl-gan", "md-gan"])
@pytest.mark.parametrize("overlay", ["random-regular:12", "watts-strogatz:4,0.5"])
def test_a_family_is_drawn_as_for_other_algorithms(overlay: str, algorithm: str) -> None:
    """With a coordinator nobody needs it, but a comparison has it for all alike."""
    settings: dict[str, Any] = {"overlay": overlay, "nodes": 20}
    ours = experiment(algorithm=algorithm, **settings).overlay
    wanted = experiment(algorithm="gossip", **settings).overlay
    assert ours.neighbor_indices() == wanted.neighbor_indices()


@pytest.mark.parametrize("nodes", [None, 3])
@pytest.mark.parametrize("algorithm", ["fl-gan", "md-gan"])
def test_a_hub_in_the_overlay_is_the_coordinator(
    tmp_path: Path, algorithm: str, nodes: int | None
) -> None:
    """A star around the coordinator is a file for daemons; its leaves are the workers."""
    path = tmp_path / "star.json"
    write(Overlay("star", nx.star_graph(["coordinator", "a", "b", "c", "d"])), path)
    found = experiment(algorithm=algorithm, overlay=str(path), nodes=nodes)
    assert found.nodes == ("a", "b", "c", "d")[:nodes]
    assert list(found.shards) == list(found.nodes)


def test_an_overlay_of_fewer_nodes(tmp_path: Path) -> None:
    path = tmp_path / "two.edges"
    path.write_text("a b\n")
    assert "2" in complaint(OverlayError, overlay=str(path), nodes=3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device() -> None:
    assert "--device cpu" in complaint(ConfigError, device="cuda")


def test_scoring_does_not_disturb_training() -> None:
    prepared = experiment()
    scored, plain = prepared.cohort(["0", "1"]), prepared.cohort(["0", "1"])
    for _ in range(2):
        scored.train(3)
        plain.train(3)
        prepared.score(scored.vectors["G"][0], "0")
        prepared.score_real()
    for net in NETS:
        assert torch.equal(scored.vectors[net], plain.vectors[net])


def test_scoring_twice_gives_the_same_and_changes_nothing() -> None:
    prepared = experiment()
    vector = prepared.cohort(["0"]).vectors["G"][0]
    before = vector.clone()
    first = prepared.score(vector, "0")
    assert first == prepared.score(vector, "0")
    assert first != prepared.score(vector, "1")
    assert first.samples == 50
    assert torch.equal(vector, before)


def test_a_diverged_generator_scores_nothing() -> None:
    """Training that blows up must not end the run of all others."""
    prepared = experiment()
    vector = prepared.cohort(["0"]).vectors["G"][0]
    vector[5] = float("nan")
    scores = prepared.score(vector, "0")
    assert math.isnan(scores.fid)
    assert math.isnan(scores.ms)
    assert scores.samples == 50


def test_real_images_score_better_than_untrained_generators() -> None:
    prepared = experiment()
    untrained = prepared.score(prepared.cohort(["0"]).vectors["G"][0], "0")
    real = prepared.score_real()
    assert real.fid < untrained.fid / 5
    assert real.ms > untrained.ms + 2


@pytest.mark.parametrize(
    ("count", "measured"),
    [(1, "0"), (2, "0 8"), (3, "0 4 8"), (4, "0 3 5 8"), (9, "0 1 2 3 4 5 6 7 8"), (50, None)],
)
def test_measured_nodes_are_spread_evenly(count: int, measured: str | None) -> None:
    prepared = experiment(nodes=9, score=ScoreConfig(samples=50, final_nodes=count))
    expected = list(prepared.nodes) if measured is None else measured.split()
    assert prepared.measured_nodes == expected


def test_measuring_does_not_disturb_training_and_repeats() -> None:
    prepared = experiment(score=ScoreConfig(samples=50, final_samples=60))
    measured, plain = prepared.cohort(["0", "1"]), prepared.cohort(["0", "1"])
    for cohort in (measured, plain):
        cohort.train(3)
    first = prepared.quality(measured.vectors["G"][0], "0")
    assert first == prepared.quality(measured.vectors["G"][0], "0")
    assert first != prepared.quality(measured.vectors["G"][0], "1")
    assert first.samples == 60
    prepared.quality_real()
    for cohort in (measured, plain):
        cohort.train(3)
    for net in NETS:
        assert torch.equal(measured.vectors[net], plain.vectors[net])


def test_real_images_are_of_better_quality_than_untrained_generators() -> None:
    prepared = experiment(score=ScoreConfig(samples=50, final_samples=200))
    untrained = prepared.quality(prepared.cohort(["0"]).vectors["G"][0], "0")
    real = prepared.quality_real()
    assert (real.samples, real.compared, real.nearest_samples) == (200, 197, 197)
    assert real.fid < untrained.fid / 5
    assert real.precision > untrained.precision
    assert real.recall > untrained.recall
    assert real.class_kl < 0.1 < untrained.class_kl
    assert 0 < real.nearest < untrained.nearest


def test_nearest_images_are_of_the_whole_training_set() -> None:
    """Copies of training images, wherever they lie in it, are found out."""
    prepared = experiment(score=ScoreConfig(samples=50, final_samples=200))
    images = torch.from_numpy(to_float(prepared.dataset.images[-200:]))
    assert prepared.yardstick.quality(images).nearest == 0


def test_real_images_are_in_random_order() -> None:
    """Precision, recall and nearest images take the first of them only."""
    prepared = experiment(score=ScoreConfig(samples=50, final_samples=1000))
    chosen, whole = prepared.yardstick.test_MCHW, to_float(prepared.dataset.test_images)
    assert not np.array_equal(chosen.numpy(), whole)
    assert np.array_equal(np.sort(chosen.numpy(), axis=0), np.sort(whole, axis=0))


def test_the_quality_of_a_diverged_generator_is_nan() -> None:
    prepared = experiment(score=ScoreConfig(samples=50, final_samples=20))
    vector = prepared.cohort(["0"]).vectors["G"][0]
    vector[5] = float("nan")
    quality = prepared.quality(vector, "0")
    assert math.isnan(quality.fid)
    assert math.isnan(quality.nearest)
    assert quality.samples == 20


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"seed": 3}, True),
        ({"nodes": 2, "partition": "by-class"}, True),
        ({"exchange": ExchangeConfig(fanout=2)}, True),
        ({"train": TrainConfig(loss="hinge")}, True),
        ({"exchange": ExchangeConfig(probability=0.5, staleness="polynomial:1")}, True),
        ({"algorithm": "gossip-ind"}, False),
        ({"algorithm": "gosgd"}, False),
        ({"algorithm": "push-sum"}, False),
        ({"algorithm": "ad-psgd"}, False),
        ({"exchange": ExchangeConfig(moments="reset")}, False),
        ({"exchange": ExchangeConfig(moments="travel")}, False),
    ],
)
def test_the_architecture_says_who_can_exchange(settings: dict[str, Any], same: bool) -> None:
    assert (experiment().architecture == experiment(**settings).architecture) is same


@pytest.mark.parametrize("algorithm", ["fl-gan", "md-gan"])
@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"seed": 3}, False),
        ({"train": TrainConfig(loss="hinge")}, False),
        ({"exchange_every": 7}, False),
        ({"partition": "by-class"}, False),
        ({"nodes": 2}, False),
        ({"coordinator": CoordinatorConfig(wait_s=1.0, deadline_min_s=0.1)}, True),
        ({"daemon": DaemonConfig(wait_s=1.0)}, True),
        ({"score": ScoreConfig(samples=60)}, True),
        ({"allow_disconnected": True}, True),
    ],
)
def test_with_a_coordinator_all_settings_are_shared_that_make_the_run(
    algorithm: str, settings: dict[str, Any], same: bool
) -> None:
    """A worker of another run would spoil the one model; how nodes wait is their own."""
    ours = experiment(algorithm=algorithm)
    assert (ours.architecture == experiment(algorithm=algorithm, **settings).architecture) is same


def test_the_architecture_of_another_model_differs() -> None:
    """Conditional networks have the vectors of unconditional ones, but expect other latents."""
    plain = experiment()
    train = TrainConfig(conditional=True)
    others = [
        dataclasses.replace(plain, model=model("mlp-mnist")),
        dataclasses.replace(plain, model=model("cnn-mnist")),
        dataclasses.replace(plain, config=msgspec.structs.replace(plain.config, train=train)),
        dataclasses.replace(plain, config=msgspec.structs.replace(plain.config, final="agree")),
    ]
    assert len({each.architecture for each in (plain, *others)}) == 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_round_on_a_gpu_never_waits_for_it() -> None:
    """Batches, latents and steps are queued ahead; one value read back would drain the queue."""
    cohort = experiment(device="cuda").cohort(["0", "1", "2"])
    cohort.train(2)  # kernels are loaded, memory is taken
    torch.cuda.set_sync_debug_mode("error")
    try:
        ((nodes, block),) = cohort.blocks.items()
        feed = cohort._feed(nodes, 4)
        with torch.inference_mode(), block.loaded():
            for _ in range(4):
                block.iterate(feed)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_vote_rests_on_the_judges_shard_alone() -> None:
    """By a naive computation, and the same again whatever else is judged meanwhile."""
    prepared = experiment(partition="by-class:4")
    cohort = prepared.cohort(["0", "1"])
    cohort.train(20)
    first, other = cohort.vectors["G"]
    vote = prepared.judge(first, "2")
    assert prepared.judge(other, "2") != vote
    assert prepared.judge(first, "2") == vote != prepared.judge(first, "1")
    rng = stream(0, "2", "judgement")
    shard = prepared.dataset.images[prepared.shards["2"]]
    real = torch.from_numpy(to_float(shard[np.sort(rng.permutation(len(shard))[:1000])]))
    fake = images(prepared.model, first, 50, rng)
    features = [prepared.scorer(part)[1].double().numpy() for part in (real, fake)]
    (mean_a, cov_a), (mean_b, cov_b) = ((f.mean(0), np.cov(f.T)) for f in features)
    roots = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).astype(complex)).real
    wanted = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b) - 2 * roots.sum()
    assert vote == pytest.approx(wanted, rel=1e-3)


def test_a_judge_looks_at_its_shard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = experiment()
    scored: list[int] = []

    def count(scorer: Any, images_KCHW: torch.Tensor) -> Any:
        scored.append(len(images_KCHW))
        return reference(scorer, images_KCHW)

    monkeypatch.setattr("p2pgan.experiment.reference", count)
    first = prepared.cohort(["0"]).vectors["G"][0]
    votes = [prepared.judge(first, judge) for judge in ("1", "2", "1", "2")]
    assert scored == [len(prepared.shards[judge]) for judge in ("1", "2")]
    assert votes[:2] == votes[2:]
    assert votes[0] != votes[1]


@pytest.mark.parametrize(("final", "nodes"), [("agree", 1), ("average", 100), ("none", 100)])
def test_shards_of_one_image_do_where_nobody_judges(final: Any, nodes: int) -> None:
    assert len(experiment(final=final, nodes=nodes, images=100, batch_size=1).shards) == nodes


def test_a_shard_that_nobody_can_judge_on_is_refused_before_the_training() -> None:
    text = complaint(DataError, final="agree", nodes=51, images=100, batch_size=1)
    assert "expected at least 2 images in every shard, to judge on, got `1`" in text
    assert "at node 49, with `final=agree`" in text


def test_a_diverged_generator_gets_the_worst_vote() -> None:
    prepared = experiment()
    vector = prepared.cohort(["0"]).vectors["G"][0]
    vector[5] = float("inf")
    assert prepared.judge(vector, "1") == math.inf
