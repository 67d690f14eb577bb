"""Moments as bytes, and back."""

import torch

from p2pgan.gan.memory import to_bytes, to_tensor


def test_moments_come_back_to_the_bit() -> None:
    rng = torch.Generator().manual_seed(0)
    first, second = torch.randn(7, generator=rng), torch.rand(7, generator=rng)
    back = to_tensor(to_bytes([first, second]))
    assert torch.equal(back, torch.cat([first, second]))
    back.zero_()  # a copy: nothing else changes
    assert first.abs().sum() > 0
