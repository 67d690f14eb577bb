"""What a configuration stands for: shards, networks, overlay and scores, ready to run.

Simulator and daemons prepare their experiment here, from the same streams, so that a node gets the
same shard, initial weights, batches and latents in both.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor

from p2pgan.checks import check_enough, check_fits, check_judges, check_parties, check_scorer
from p2pgan.config import RunConfig, common_settings
from p2pgan.data.batches import BatchSampler
from p2pgan.data.datasets import Dataset, kind_of, load, scaled, to_float
from p2pgan.data.partition import check_shards, partition
from p2pgan.design import DEFAULT_EXCHANGE_EVERY, Design, overlay_of
from p2pgan.errors import ConfigError
from p2pgan.gan.blocks import Batch
from p2pgan.gan.cohort import Cohort, Inputs
from p2pgan.gan.latents import GPU_AT_ONCE, LatentSource, LatentStreams, to_device
from p2pgan.gan.losses import loss
from p2pgan.gan.models import USUAL_MODEL, model
from p2pgan.gan.plan import Machine
from p2pgan.gan.precision import products_in
from p2pgan.gan.quality import Quality, Yardstick
from p2pgan.gan.sampling import images
from p2pgan.gan.scorer import Scorer, load_scorer, usual_scorer
from p2pgan.gan.scores import Reference, Scores, reference, score
from p2pgan.mixing.algorithms import algorithm
from p2pgan.seeds import EVERYONE, stream
from p2pgan.types import NETS, Net

JUDGED_IMAGES = 1000
"""Images of a shard that a vote rests on, if there are as many."""

OWN_WITH_COORDINATOR = ("coordinator", "dataset", "allow_disconnected")
"""Beside `config.LOCAL_KEYS`: how the coordinator and its workers wait for each other, the path of
a data set, of which the name counts, and what is asked of an overlay where all run is a star."""

BATCHES_AT_ONCE = 200
"""Bounds the memory of a long round's indices; what is drawn does not depend on it."""

PIXELS_AT_ONCE = 200_000
"""Of images turned into floats in one go: it amortises the calls, and stays in the cache."""

TRAINING_AT_ONCE = 5_000
"""Of the training images that others are held against: 16 MB of MNIST, 61 MB of CIFAR-10."""


@dataclass(frozen=True)
class Experiment(Design):
    """A prepared run.

    `shards` maps each node to the positions of its training images; for pooled algorithms the one
    node holds them all.
    """

    dataset: Dataset
    shards: Mapping[str, np.ndarray]
    whole: Dataset
    """The data set with all its training images, of which `dataset` may have fewer."""

    @property
    def architecture(self) -> str:
        """A short hash of what peers must have in common to exchange vectors."""
        config = self.config
        agreed: tuple[object, ...] = (
            config.train.conditional,  # the same vectors, but other latents
            config.exchange.moments,  # other vectors, or another use of the same
            config.final,  # to who takes another last step, its messages are faults
        )
        if self.algorithm.has_coordinator:  # workers do what one model is made of
            common = common_settings(config)
            for key in OWN_WITH_COORDINATOR:
                common.pop(key)
            agreed += (self.dataset.name, self.nodes, sorted(common.items()))
        parts = (self.model.name, self.model.digest(), self.algorithm.name, *agreed)
        return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    @property
    def data_name(self) -> str:
        return self.dataset.name

    @property
    def scorer_name(self) -> str:
        return self.scorer.name

    @property
    def device(self) -> torch.device:
        """Where the networks live: on a machine with several GPUs, torch's current one."""
        if self.config.device == "cuda":
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device(self.config.device)

    @property
    def machine(self) -> Machine:
        """What a simulation may use."""
        engine = self.config.engine
        return Machine(
            threads=self.threads,
            block_nodes=engine.block_nodes,
            share=self.round_nodes / len(self.nodes),
            is_gpu=self.device.type == "cuda",
            precision=engine.precision,
        )

    def exchanged_size(self, net: Net) -> int:
        """Values of a network as it is exchanged: P, or 3P if Adam's moments travel with it.

        Moments have the layout of a vector. Those of buffers are always 0, and are sent for the
        sake of one layout: they are a few in a thousand.
        """
        return (3 if self.moments == "travel" else 1) * self.model.networks[net].size

    def initial_rows(self, nodes: int) -> dict[Net, Tensor]:
        """Networks before the first iteration, the same for all nodes.

        Each is `(N, exchanged_size)`: moments that travel are behind the network, and 0. With
        `train.ema`, the generator is followed by its running mean, `(N, P)`: itself.
        """
        rng = stream(self.config.seed, EVERYONE, "initial-weights")
        init = self.config.train.init
        initial = {net: self.model.networks[net].initial_vector(rng, init) for net in NETS}
        rows = {net: torch.zeros(1, self.exchanged_size(net)) for net in NETS}
        for net in NETS:
            rows[net][0, : len(initial[net])] = initial[net]
        if self.config.train.ema:
            rows["G"] = torch.cat([rows["G"], initial["G"][None]], 1)
        return {net: rows[net].to(self.device).repeat(nodes, 1) for net in NETS}

    def cohort(
        self,
        nodes: Sequence[str],
        *,
        threads: int | None = None,
        rows: dict[Net, Tensor] | None = None,
    ) -> Cohort:
        """These nodes, about to start, each with its streams.

        Args:
            nodes: ids.
            threads: CPU threads to train on; `None`: those of the machine.
            rows: as `initial_rows` makes them, used in place; `None`: made here.
        """
        machine = self.machine
        return Cohort(
            self.model,
            self.config.train,
            rows or self.initial_rows(len(nodes)),
            self._inputs(nodes),
            replace(machine, threads=threads or machine.threads),
        )

    def _inputs(self, nodes: Sequence[str]) -> Inputs:
        assert self.config.batch_size is not None
        batches = self.batches(nodes)
        return Inputs(
            batches=batches,
            latents=self.latents(nodes),
            batch=self.config.batch_size,
            samplers=batches.samplers,
        )

    def batches(self, nodes: Sequence[str]) -> "ShardBatches":
        """Real images of these nodes, each one's stream at its start."""
        config, seed = self.config, self.config.seed
        assert config.batch_size is not None
        samplers = [
            BatchSampler(self.shards[node], config.batch_size, stream(seed, node, "batches"))
            for node in nodes
        ]
        return ShardBatches(self.dataset, samplers, self.device)

    def latents(self, nodes: Sequence[str]) -> LatentSource:
        """Latents of these nodes, each one's streams at their start."""
        seed = self.config.seed
        streams = [
            LatentStreams(
                latents=stream(seed, node, "latents"),
                labels=stream(seed, node, "labels"),
                proportions=stream(seed, node, "proportions"),
            )
            for node in nodes
        ]
        classes = self.model.classes if self.config.train.conditional else 0
        return LatentSource(streams, self.model.latent, classes=classes, device=self.device)

    def score(self, vector_P: Tensor, node: str) -> Scores:
        """Scores of one node's generator.

        The latents are the same at every call, so that a curve shows the generator and not the
        draw, and they come from a stream of their own: scoring changes nothing in training. Both
        scores of a generator that has diverged are NaN.
        """
        rng = stream(self.config.seed, node, "scores")
        images_KCHW = self._generated(vector_P, self.config.score.samples, rng)
        if not images_KCHW.isfinite().all():
            return Scores(fid=math.nan, ms=math.nan, samples=len(images_KCHW))
        return score(self.scorer, self.reference, images_KCHW)

    def judge(self, vector_P: Tensor, judge: str) -> float:
        """A node's vote for a generator: the FID of its images against images of the node's shard.

        The shard's images and the latents are the same for every generator that the node judges, so
        that its votes differ by the generators alone. Infinity for one that has diverged.

        Args:
            vector_P: somebody else's generator; who has seen the shard is too well off.
            judge: id of the node that judges.
        """
        rng = stream(self.config.seed, judge, "judgement")
        shard = self.dataset.images[self.shards[judge]]
        chosen = _choose(shard, JUDGED_IMAGES, rng)  # every time: the latents come after it
        if judge not in self._judged_on:
            self._judged_on[judge] = reference(self.scorer, chosen)
        real = self._judged_on[judge]
        images_KCHW = self._generated(vector_P, self.config.score.samples, rng)
        if not images_KCHW.isfinite().all():
            return math.inf
        return score(self.scorer, real, images_KCHW).fid

    def score_real(self) -> Scores:
        """Scores of training images in place of generated ones: what a perfect generator gets.

        Of all training images, also where `images` leaves the nodes fewer.
        """
        rng = stream(self.config.seed, EVERYONE, "sample")
        chosen = _choose(self.whole.images, self.config.score.samples, rng)
        return score(self.scorer, self.reference, chosen)

    @property
    def measured_nodes(self) -> list[str]:
        """The nodes whose quality is measured at the end."""
        return spread_out(self.generators, self.config.score.final_nodes)

    def quality(self, vector_P: Tensor, node: str) -> Quality:
        """Quality of one node's generator, on `score.final_samples` images.

        As with `score`, the latents are the same at every call, and a stream of their own.
        """
        rng = stream(self.config.seed, node, "quality")
        return self.yardstick.quality(
            self._generated(vector_P, self.config.score.final_samples, rng)
        )

    def quality_real(self) -> Quality:
        """Quality of training images in place of generated ones: what a perfect generator gets.

        Its `nearest` is that of test images, which nobody has copied.
        """
        rng = stream(self.config.seed, EVERYONE, "sample")
        chosen = _choose(self.whole.images, self.config.score.final_samples, rng)
        return self.yardstick.real(chosen)

    def _generated(self, vector_P: Tensor, samples: int, rng: np.random.Generator) -> Tensor:
        conditional = self.config.train.conditional
        with products_in(self.config.engine.precision):
            return images(self.model, vector_P, samples, rng, conditional=conditional)

    @cached_property
    def _judged_on(self) -> dict[str, Reference]:
        """Of each judge's shard: half of what a vote costs, and the same for all its votes."""
        return {}

    @cached_property
    def scorer(self) -> Scorer:
        name = self.config.score.scorer or usual_scorer(self.dataset.name)
        return load_scorer(name, self.device)

    @cached_property
    def reference(self) -> Reference:
        """Of as many test images as are generated (all, if there are fewer), as in the thesis."""
        rng = stream(self.config.seed, EVERYONE, "scores")
        chosen = _choose(self.dataset.test_images, self.config.score.samples, rng)
        return reference(self.scorer, chosen)

    @cached_property
    def yardstick(self) -> Yardstick:
        """What `quality` holds images against: test images, and all training images."""
        rng = stream(self.config.seed, EVERYONE, "quality")
        data = self.dataset
        counts = np.bincount(data.labels, minlength=data.classes)
        return Yardstick(
            self.scorer,
            _choose(data.test_images, self.config.score.final_samples, rng),
            lambda: _float_parts(data.images),
            torch.from_numpy(counts / counts.sum()),
        )


class ShardBatches:
    """Real batches of a cohort: each node's own sampler over the images, which are kept once."""

    def __init__(
        self, dataset: Dataset, samplers: Sequence[BatchSampler], device: torch.device
    ) -> None:
        self._images = torch.from_numpy(dataset.images).to(device)
        self._labels = torch.from_numpy(dataset.labels).to(device)
        self.samplers = samplers
        self._pixels_at_once = PIXELS_AT_ONCE * (GPU_AT_ONCE if self._images.is_cuda else 1)

    def __call__(self, nodes: Sequence[int], count: int) -> Iterator[Batch]:
        """`count` batches of each of these nodes (by index)."""
        for start in range(0, count, BATCHES_AT_ONCE):
            taken = min(BATCHES_AT_ONCE, count - start)
            index_KNB = np.stack([self.samplers[node].take(taken) for node in nodes], 1)
            pixels = index_KNB[0].size * self._images[0].numel()
            index = to_device(index_KNB, self._images.device)
            for part in torch.split(index, max(1, self._pixels_at_once // pixels)):
                yield from self._gather(part)

    def _gather(self, index_KNB: Tensor) -> Iterator[Batch]:
        chosen = index_KNB.flatten()
        images: Tensor = scaled(self._images.index_select(0, chosen).float())
        labels_KNB = self._labels.index_select(0, chosen).view_as(index_KNB)
        images = images.view(*index_KNB.shape, *images.shape[1:])
        yield from map(Batch, images.unbind(), labels_KNB.unbind())


def prepare(config: RunConfig, data_dir: Path) -> Experiment:
    """The experiment that a configuration describes.

    Args:
        config: as read; its open fields are resolved here.
        data_dir: folder of the data sets.
    Raises:
        ConfigError, OverlayError, DataError: for whatever in it cannot be run.
    """
    chosen = algorithm(config.algorithm)
    loss(config.train.loss)
    pair = model(config.model or USUAL_MODEL[kind_of(config.dataset)])
    shape, seed = pair.image_shape, config.seed
    dataset = whole = load(config.dataset, data_dir, image_shape=shape, seed=seed)
    if config.images is not None:
        dataset = whole.reduced(config.images, stream(config.seed, EVERYONE, "images"))
    batch_size = config.batch_size or pair.batch_size
    check_fits(pair, dataset, config, batch_size)
    if not chosen.is_pooled:
        check_enough(config, dataset, batch_size)
    overlay = overlay_of(config, chosen)
    rng = stream(config.seed, EVERYONE, "partition")
    scheme = "iid" if chosen.is_pooled else config.partition  # one node holds the union either way
    shards = partition(scheme, dataset.labels, len(overlay.nodes), rng)
    check_shards(shards, batch_size, overlay.nodes)
    if not chosen.is_split:  # there is one generator, and no last step
        check_judges(config, overlay, shards)
    else:
        check_parties(config, pair, len(overlay.nodes), batch_size)
    resolved = msgspec.structs.replace(
        config,
        nodes=len(overlay.nodes),
        model=pair.name,
        batch_size=batch_size,
        exchange_every=_exchange_every(config, batch_size, shards),
        exchange_epochs=None,
        device=_device(config),
    )
    by_node = dict(zip(overlay.nodes, shards, strict=True))
    experiment = Experiment(resolved, chosen, overlay, pair, dataset, by_node, whole)
    check_scorer(experiment.scorer, dataset)
    return experiment


def _exchange_every(config: RunConfig, batch_size: int, shards: Sequence[np.ndarray]) -> int:
    """Iterations of a round; epochs are counted on the mean shard, so that rounds stay common."""
    if config.exchange_epochs is None:
        return config.exchange_every or DEFAULT_EXCHANGE_EVERY
    mean_size = sum(len(shard) for shard in shards) / len(shards)
    return max(1, round(config.exchange_epochs * mean_size / batch_size))


def _device(config: RunConfig) -> str:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            expected="a CUDA device", got="none", at="--device", hint="`--device cpu` runs anywhere"
        )
    return "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"


def _choose(images_u8: np.ndarray, count: int, rng: np.random.Generator) -> Tensor:
    """`count` images without repetition (all, if there are fewer), as floats.

    They stay in the order drawn, so that whoever takes only the first of them has a fair sample:
    the first half of MNIST's test images is cleaner than the second.
    """
    chosen = rng.permutation(len(images_u8))[:count]
    return torch.from_numpy(to_float(images_u8[chosen]))


def _float_parts(images_u8: np.ndarray) -> Iterator[Tensor]:
    """All images as floats, some at a time."""
    for start in range(0, len(images_u8), TRAINING_AT_ONCE):
        yield torch.from_numpy(to_float(images_u8[start : start + TRAINING_AT_ONCE]))


def spread_out(items: Sequence[str], count: int) -> list[str]:
    """At most `count` items, evenly spaced; the first, and the last unless it is one."""
    if len(items) <= count:
        return list(items)
    last = max(1, count - 1)
    return [items[round(i * (len(items) - 1) / last)] for i in range(count)]
