"""The switches of a GPU's products: set while we train, and only then."""

import pytest
import torch

from p2pgan.gan.precision import Precision, products_in


def switches() -> list[str]:
    conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    return [torch.backends.cuda.matmul.fp32_precision, conv.fp32_precision]


@pytest.mark.parametrize(("precision", "value"), [("float32", "ieee"), ("tf32", "tf32")])
def test_switches_are_set_and_set_back(precision: Precision, value: str) -> None:
    """By default convolutions would be rounded too; and others in the process keep their own."""
    before = switches()
    with products_in(precision):
        assert switches() == [value, value]
    assert switches() == before


def test_switches_are_set_back_after_an_error() -> None:
    before = switches()
    with pytest.raises(RuntimeError), products_in("tf32"):
        raise RuntimeError
    assert switches() == before
