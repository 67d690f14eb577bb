"""How far images are from the nearest training image: a generator that copies shows itself here.

Shape letters: K images, M training images, D pixels of an image.
"""

from collections.abc import Iterable

import torch
from torch import Tensor


def nearest_distances(
    images_KCHW: Tensor, training: Iterable[Tensor], device: torch.device
) -> Tensor:
    """Euclidean distance of each image to the nearest training image, over all its pixels.

    It is not divided by the number of pixels, as is usual: it compares within one data set only.
    The nearest is found in float32, by products; its distance is then taken anew, in float64, so
    that a copy has distance 0.

    Args:
        images_KCHW: images in [-1, 1], float32.
        training: all training images, `(M, C, H, W)` each time; some thousands at a time bound the
            memory.
        device: where it is computed.
    Returns:
        Distances, float64, shape `(K,)`, on the CPU.
    """
    images_KD = images_KCHW.flatten(1).to(device)
    least_K = torch.full((len(images_KD),), torch.inf, device=device)
    distance_K = least_K.double()
    for part in training:
        part_MD = part.flatten(1).to(device)
        squares_M = part_MD.square().sum(1)
        # |x - t|^2 less |x|^2, which is the same for every t.
        found_K, index_K = torch.addmm(squares_M, images_KD, part_MD.mT, alpha=-2.0).min(1)
        exact_K = (images_KD.double() - part_MD[index_K].double()).square().sum(1).sqrt()
        distance_K = torch.where(found_K < least_K, exact_K, distance_K)
        least_K = torch.minimum(found_K, least_K)
    return distance_K.cpu()
