"""Images out of a finished generator."""

import numpy as np
import torch
from torch import Tensor

from p2pgan.gan.latents import LatentSource, LatentStreams
from p2pgan.gan.models import Model

IMAGES_AT_ONCE = 500
"""Bounds the memory of a large sample."""


def images(
    model: Model,
    vector_P: Tensor,
    count: int,
    rng: np.random.Generator,
    *,
    conditional: bool = False,
) -> Tensor:
    """`count` images of one generator, `(K, C, H, W)` float32 in [-1, 1], on the CPU.

    Batch norm uses its running statistics, and nothing of the network changes.

    Args:
        model: the pair that the generator belongs to.
        vector_P: the generator's vector.
        count: K.
        rng: draws the latents, and the classes if conditional.
        conditional: whether the generator was trained with classes.
    """
    classes = model.classes if conditional else 0
    streams = LatentStreams(latents=rng, labels=rng, proportions=rng)
    source = LatentSource([streams], model.latent, classes=classes, device=vector_P.device)
    views = model.generator.views(vector_P.unsqueeze(0))
    with torch.no_grad():
        parts = [
            model.generator.apply(views, latents.z_NBZ, training=False)[0].cpu()
            for part in _parts(count)
            for latents in source.draws(range(1), 1, part)
        ]
        return torch.cat(parts)


def _parts(count: int) -> list[int]:
    full, rest = divmod(count, IMAGES_AT_ONCE)
    return [IMAGES_AT_ONCE] * full + ([rest] if rest else [])
