"""What a configuration may not ask for, told before anything is trained or written."""

import math
from collections.abc import Sequence

import numpy as np

from p2pgan.config import RunConfig
from p2pgan.data.datasets import Dataset
from p2pgan.errors import ConfigError, DataError, unknown_name
from p2pgan.gan.models import MODELS, USUAL_MODEL, Model, model
from p2pgan.gan.scorer import Scorer
from p2pgan.mixing.moves import batch_count
from p2pgan.overlay.graph import Overlay

JUDGED_IMAGES_MIN = 2
"""FID needs a covariance."""

POSITIONS_MAX = 2**24
"""Whole numbers below it are exact in float32."""


def check_fits(pair: Model, dataset: Dataset, config: RunConfig, batch_size: int) -> None:
    if pair.image_shape != dataset.image_shape:
        raise ConfigError(
            expected=f"a model for images of {dataset.image_shape}",
            got=f"`{pair.name}`, for {pair.image_shape}",
            at="--model",
            hint=f"`{USUAL_MODEL[dataset.name]}` is the usual model of `{dataset.name}`",
        )
    if config.train.conditional and not pair.classes:
        raise ConfigError(
            expected="a model with class outputs",
            got=f"`{pair.name}`, which has none",
            at="train.conditional",
            hint="`mlp-mnist`, `cnn-mnist` and `cnn-cifar10` have them",
        )
    batch_min = max(network.batch_min for network in pair.networks.values())
    if batch_size < batch_min:
        raise ConfigError(
            expected=f"batches of at least {batch_min} images, for batch norm",
            got=f"`{batch_size}`",
            at="--batch-size",
        )


def check_scorer(scorer: Scorer, dataset: Dataset) -> None:
    """Refuses a scorer of other images now, and not after the first rounds."""
    if scorer.image_shape not in (None, dataset.image_shape):
        raise ConfigError(
            expected=f"a scorer of images of {dataset.image_shape}",
            got=f"`{scorer.name}`, of {scorer.image_shape}",
            at="score.scorer",
            hint=f"`{dataset.name}` is the scorer of that data set",
        )


def check_enough(config: RunConfig, dataset: Dataset, batch_size: int) -> None:
    """Refuses far too many nodes before an overlay of all of them is made."""
    most = len(dataset.images) // batch_size
    if most == 0:
        raise DataError(
            expected=f"at most {len(dataset.images)}, the images of `{dataset.name}`",
            got=f"`{batch_size}`",
            at="--batch-size",
        )
    if config.nodes is not None and config.nodes > most:
        raise DataError(
            expected=f"at most {most} nodes, for {len(dataset.images)} images and batches of "
            f"{batch_size}",
            got=f"`{config.nodes}`",
            at="--nodes",
            hint="take fewer nodes or a smaller `--batch-size`",
        )


def check_judges(config: RunConfig, overlay: Overlay, shards: Sequence[np.ndarray]) -> None:
    """Refuses shards that nobody can judge on, before the training and not after it."""
    sizes = [len(shard) for shard in shards]
    if config.final == "agree" and len(sizes) > 1 and min(sizes) < JUDGED_IMAGES_MIN:
        raise DataError(
            expected=f"at least {JUDGED_IMAGES_MIN} images in every shard, to judge on",
            got=f"`{min(sizes)}`",
            at=f"node {overlay.nodes[sizes.index(min(sizes))]}, with `final=agree`",
            hint="take fewer nodes, a more even `--partition` or another `--final`",
        )


def check_parties(config: RunConfig, pair: Model, workers: int, batch_size: int) -> None:
    """Refuses what cannot be dealt out, before anything is made.

    Args:
        config: of the run.
        pair: its model.
        workers: w.
        batch_size: b.
    Raises:
        ConfigError: naming the key.
    """
    discriminators = config.md.discriminators or workers
    if discriminators > workers:
        raise ConfigError(
            expected=f"at most {workers} discriminators, one per worker",
            got=f"`{discriminators}`",
            at="md.discriminators",
            hint="take fewer, or more `--nodes`",
        )
    batches = batch_count(config.md.batches, discriminators)
    if batches > discriminators:
        raise ConfigError(
            expected=f"at most {discriminators} batches, one per discriminator",
            got=f"`{batches}`",
            at="md.batches",
            hint="`log` takes the logarithm of their number",
        )
    for name in config.md.models:
        if name not in MODELS:
            raise unknown_name(ConfigError, "a model", name, MODELS, "md.models")
        other = model(name)
        if (other.image_shape, other.classes) != (pair.image_shape, pair.classes):
            raise ConfigError(
                expected=f"discriminators for images of {pair.image_shape} and {pair.classes} "
                "classes",
                got=f"`{name}`, for {other.image_shape} and {other.classes}",
                at="md.models",
            )
    values = batch_size * math.prod(pair.image_shape)
    if config.md.share < 1 and values > POSITIONS_MAX:
        raise ConfigError(
            expected=f"batches of at most {POSITIONS_MAX} values: positions are sent as float32",
            got=f"`{values}`",
            at="md.share",
            hint="take a smaller `--batch-size`, or `md.share=1`",
        )
    if config.final != "none":
        raise ConfigError(
            expected="`none`: there is one generator, which nobody has to agree on",
            got=f"`{config.final}`",
            at="--final",
            hint="leave it out with `md-gan`",
        )
    if config.md.staleness != "none" and not config.md.asynchronous:
        raise ConfigError(
            expected="`none`, where the coordinator waits for all feedback",
            got=f"`{config.md.staleness}`",
            at="md.staleness",
            hint="set `md.asynchronous=true`",
        )
    lose_every = config.coordinator.lose_every
    if lose_every and lose_every * workers < config.iterations:
        raise ConfigError(
            expected=f"at least {-(-config.iterations // workers)}, so that a worker is left",
            got=f"`{lose_every}`",
            at="coordinator.lose_every",
            hint="make fewer `--iterations`, or take more `--nodes`",
        )
