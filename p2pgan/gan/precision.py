"""How precisely a GPU multiplies."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["float32", "tf32"]

_SWITCH = {"float32": "ieee", "tf32": "tf32"}


@contextmanager
def products_in(precision: Precision) -> Iterator[None]:
    """Sets PyTorch's switches for products and convolutions on CUDA devices, and sets them back.

    They belong to the whole process. Left alone, PyTorch multiplies in float32 and convolves in
    TF32; we round nothing unless asked to.
    """
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = _SWITCH[precision]
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value
