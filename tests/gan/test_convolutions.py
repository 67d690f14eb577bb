"""Convolutions of many nodes against torch's own, one node after the other, in float64.

The reference never sees two nodes at once, and its gradients are autograd's.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from p2pgan.gan import convolutions
from p2pgan.gan.convolutions import THIN, Conv, Deconv

Convolution = Conv | Deconv

WIDE = THIN + 1

CASES: dict[str, tuple[Convolution, tuple[int, int]]] = {
    "conv": (Conv(WIDE, 7, 3), (5, 6)),
    "conv-stride": (Conv(WIDE, 7, 4, 2, 1), (8, 6)),
    "conv-rest": (Conv(WIDE, 7, 3, 2, 1), (8, 7)),
    "conv-stride-over-kernel": (Conv(WIDE, 7, 2, 3), (7, 9)),
    "conv-of-picture": (Conv(1, 6, 4, 2, 1), (8, 8)),
    "conv-of-picture-rest": (Conv(3, 6, 3, 2, 0), (8, 7)),
    "conv-to-picture": (Conv(WIDE, 1, 5, 1, 2), (6, 5)),
    "conv-to-picture-unpadded": (Conv(WIDE, 3, 3), (6, 5)),
    "conv-to-picture-stride": (Conv(WIDE, 3, 3, 2, 1), (6, 5)),
    "conv-to-picture-wide-padding": (Conv(WIDE, 2, 2, 1, 3), (4, 5)),
    "conv-of-points": (Conv(WIDE, 6, 1), (1, 1)),
    "deconv": (Deconv(6, WIDE, 4, 2, 1), (3, 4)),
    "deconv-output-padding": (Deconv(6, WIDE, 5, 2, 2, 1), (4, 3)),
    "deconv-stride-over-kernel": (Deconv(6, WIDE, 2, 3, 0, 2), (3, 4)),
    "deconv-to-picture": (Deconv(6, 3, 5, 2, 2, 1), (4, 3)),
    "deconv-to-picture-stride-1": (Deconv(6, 1, 3, 1, 1), (4, 3)),
}
"""Layers that take every route, with the height and width of their inputs."""


@pytest.fixture(params=["per-node", "grouped"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to compute many nodes: that of CPUs, and that of GPUs on the CPU."""
    monkeypatch.setattr(convolutions, "_is_grouped", lambda device: request.param == "grouped")


def random_case(
    layer: Convolution, sides: tuple[int, int], nodes: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[list[Tensor], Tensor]:
    """Tensors and inputs of a batch of 4."""
    rng = torch.Generator().manual_seed(0)
    shapes = [(nodes, *slot.shape) for slot in layer.slots()]
    shapes.append((nodes, 4, layer.inputs, *sides))
    values = [torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype) for shape in shapes]
    return values[:-1], values[-1]


def naive(layer: Convolution, tensors: Sequence[Tensor], x: Tensor) -> Tensor:
    """Node after node, by torch's own."""
    settings = {"stride": layer.stride, "padding": layer.padding}
    function: Callable[..., Tensor] = functional.conv2d
    if isinstance(layer, Deconv):
        function = functional.conv_transpose2d
        settings["output_padding"] = layer.output_padding
    return torch.stack(
        [function(x[i], *(t[i] for t in tensors), **settings) for i in range(len(x))]
    )


def naive_gradients(
    layer: Convolution, tensors: Sequence[Tensor], x: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """A gradient of the outputs, and what autograd makes of it: for the inputs, then tensors."""
    leaves = [leaf.detach().requires_grad_() for leaf in (x, *tensors)]
    y = naive(layer, leaves[1:], leaves[0])
    gradient = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return gradient, list(torch.autograd.grad(y, leaves, gradient))


def check_vjp(layer: Convolution, tensors: Sequence[Tensor], x: Tensor) -> None:
    """Outputs and gradients are the naive ones, up to rounding."""
    gradient, (expected_x, *expected) = naive_gradients(layer, tensors, x)
    with torch.no_grad():
        y, pullback = layer.vjp(tensors, x)
        got_x, got = pullback(gradient.clone(), inputs=True, parameters=True)
    # Sums of hundreds of values near 1, in another order.
    tolerance = 1e-11 if x.dtype == torch.float64 else 1e-3
    torch.testing.assert_close(y, naive(layer, tensors, x), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(got_x, expected_x, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(list(got), expected, rtol=tolerance, atol=tolerance)
    assert all(part.is_contiguous() for part in got)


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("nodes", [1, 2, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_pullback_is_autograds_of_each_node(name: str, nodes: int, dtype: torch.dtype) -> None:
    layer, sides = CASES[name]
    check_vjp(layer, *random_case(layer, sides, nodes, dtype))


@given(st.data())
def test_pullback_for_any_geometry(data: st.DataObject) -> None:
    """No combination of channels, kernel, stride, padding and sides goes wrong on its own."""
    draw = data.draw
    inputs, outputs = draw(st.integers(1, THIN + 2)), draw(st.integers(1, THIN + 2))
    kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, 3))
    sides = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    layer: Convolution = Conv(inputs, outputs, kernel, stride, padding)
    if draw(st.booleans()):
        more = draw(st.integers(0, stride - 1))
        layer = Deconv(inputs, outputs, kernel, stride, padding, more)
        assume((min(sides) - 1) * stride - 2 * padding + kernel + more > 0)
    else:
        assume(min(sides) + 2 * padding >= kernel)
    check_vjp(layer, *random_case(layer, sides, nodes=2))


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize("name", CASES)
def test_gradients_only_as_wanted(name: str) -> None:
    """What is not asked for is not computed, and the rest does not depend on it."""
    layer, sides = CASES[name]
    tensors, x = random_case(layer, sides)
    gradient, _ = naive_gradients(layer, tensors, x)
    _, pullback = layer.vjp(tensors, x)
    both_x, both = pullback(gradient.clone(), inputs=True, parameters=True)
    only_x, none = pullback(gradient.clone(), inputs=True, parameters=False)
    no_x, only = pullback(gradient.clone(), inputs=False, parameters=True)
    assert no_x is None
    assert not none
    torch.testing.assert_close(only_x, both_x, rtol=0, atol=0)
    torch.testing.assert_close(list(only), list(both), rtol=0, atol=0)


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize("name", CASES)
def test_first_derivatives_of_apply_are_the_pullbacks(name: str) -> None:
    layer, sides = CASES[name]
    tensors, x = random_case(layer, sides)
    gradient, expected = naive_gradients(layer, tensors, x)
    leaves = [leaf.requires_grad_() for leaf in (x, *tensors)]
    y = layer.apply(leaves[1:], leaves[0], training=True)
    torch.testing.assert_close(list(torch.autograd.grad(y, leaves, gradient)), expected)


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize(
    ("layer", "sides"),
    [
        (Conv(WIDE, WIDE, 2, 2), (2, 3)),
        (Conv(1, 2, 3, 2, 1), (3, 2)),
        (Conv(WIDE, 1, 3, 1, 1), (2, 2)),
        (Deconv(2, WIDE, 3, 2, 1, 1), (2, 1)),
        (Deconv(2, 1, 4, 2, 1), (1, 2)),
    ],
)
def test_apply_can_be_differentiated_twice(layer: Convolution, sides: tuple[int, int]) -> None:
    """As the gradient penalty needs: its own gradient goes through the gradient of the inputs."""
    tensors, x = random_case(layer, sides, nodes=2)
    leaves = [leaf.requires_grad_() for leaf in (x[:, :2].contiguous(), *tensors)]

    def function(x: Tensor, *tensors: Tensor) -> Tensor:
        return layer.apply(tensors, x, training=True)

    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize("name", CASES)
def test_nodes_never_mix(name: str) -> None:
    """A node's outputs and gradients keep every bit when all of another node changes."""
    layer, sides = CASES[name]
    tensors, x = random_case(layer, sides, dtype=torch.float32)

    def all_of_it() -> list[Tensor]:
        y, pullback = layer.vjp(tensors, x)
        gradient_x, gradients = pullback(y.clone(), inputs=True, parameters=True)
        assert gradient_x is not None
        return [y, gradient_x, *gradients]

    before = all_of_it()
    for tensor in (*tensors, x):
        tensor[1].mul_(3).add_(1)
    after = all_of_it()
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old[[0, 2]], new[[0, 2]])
        assert not torch.equal(old[1], new[1])


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize("name", CASES)
def test_inputs_and_gradients_in_any_layout(name: str) -> None:
    """Images that came transposed, channels last, or as rows of something larger."""
    layer, sides = CASES[name]
    tensors, x = random_case(layer, sides)
    gradient, (expected_x, *expected) = naive_gradients(layer, tensors, x)
    layouts: list[Callable[[Tensor], Tensor]] = [
        lambda t: t.movedim(2, -1).contiguous().movedim(-1, 2),
        lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
        lambda t: torch.stack([t, t], -1)[..., 1],
    ]
    for layout in layouts:
        y, pullback = layer.vjp([layout_rows(t) for t in tensors], layout(x))
        got_x, got = pullback(layout(gradient), inputs=True, parameters=True)
        torch.testing.assert_close(y, naive(layer, tensors, x))
        torch.testing.assert_close(got_x, expected_x)
        torch.testing.assert_close(list(got), expected)
        assert all(part.is_contiguous() for part in got)


def layout_rows(tensor: Tensor) -> Tensor:
    """The same values as views into the rows of a larger matrix."""
    wide = torch.zeros(len(tensor), tensor[0].numel() + 3, dtype=tensor.dtype)
    wide[:, 2:-1] = tensor.flatten(1)
    return wide[:, 2:-1].view(tensor.shape)


@pytest.mark.parametrize("name", CASES)
def test_nothing_handed_in_is_changed(name: str) -> None:
    """Weights and inputs outlive the step; only the gradient may be used up."""
    layer, sides = CASES[name]
    tensors, x = random_case(layer, sides)
    before = [value.clone() for value in (*tensors, x)]
    y, pullback = layer.vjp(tensors, x)
    pullback(torch.ones_like(y), inputs=True, parameters=True)
    assert all(torch.equal(a, b) for a, b in zip(before, (*tensors, x), strict=True))


@pytest.mark.parametrize(
    ("layer", "weight_shape", "fan_in", "fan_out"),
    [
        (Conv(2, 3, 3, 2, 1), (3, 2, 3, 3), 18, 27),
        (Deconv(3, 2, 4, 2, 1), (3, 2, 4, 4), 12, 32),
        (Deconv(3, 2, 5, 2, 2, 1), (3, 2, 5, 5), 18, 50),
    ],
)
def test_weights_and_fans(
    layer: Convolution, weight_shape: tuple[int, ...], fan_in: int, fan_out: int
) -> None:
    weight, bias = layer.slots()
    assert (weight.shape, weight.fan_in, weight.fan_out) == (weight_shape, fan_in, fan_out)
    assert bias.shape == (layer.outputs,)
    assert not weight.is_buffer
    assert not bias.is_buffer
