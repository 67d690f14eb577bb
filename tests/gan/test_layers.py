"""Every batched layer against the plain torch computation of one node after the other, in float64.

The reference of a node never sees another node's tensors, so agreement also shows that nodes do not
mix; a test of its own makes sure of it to the bit.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from p2pgan.gan.layers import (
    BATCH_NORM_MOMENTUM,
    BatchNorm,
    Layer,
    Linear,
    MinibatchDiscrimination,
    Reshape,
    leaky_relu,
    relu,
    tanh,
)

NODES, BATCH = 3, 4

Reference = Callable[[Sequence[Tensor], Tensor], Tensor]
"""One node's tensors and inputs `(B, ...)` to its outputs `(B, ...)`."""


def naive_discrimination(tensors: Sequence[Tensor], x: Tensor) -> Tensor:
    """Salimans et al. 2016, section 3.2, sample by sample, for 3 kernels of 2 dimensions."""
    m = (x @ tensors[0]).view(len(x), 3, 2)
    rows = []
    for i in range(len(x)):
        others = [torch.exp(-(m[i] - m[j]).abs().sum(1)) for j in range(len(x)) if j != i]
        rows.append(torch.cat([x[i], torch.stack(others).sum(0)]))
    return torch.stack(rows)


def batch_norm_of(tensors: Sequence[Tensor], x: Tensor) -> Tensor:
    y: Tensor = functional.batch_norm(x, None, None, tensors[0], tensors[1], training=True)
    return y


CASES: dict[str, tuple[Layer, tuple[int, ...], Reference]] = {
    "linear": (
        Linear(5, 7),
        (5,),
        lambda t, x: functional.linear(x, t[0].T, t[1][0]),
    ),
    "linear-one-output": (
        Linear(5, 1),
        (5,),
        lambda t, x: functional.linear(x, t[0].T, t[1][0]),
    ),
    "batch-norm": (BatchNorm(5), (5,), batch_norm_of),
    "batch-norm-images": (BatchNorm(3), (3, 4, 4), batch_norm_of),
    "reshape": (Reshape((2, 3)), (6,), lambda t, x: x.view(-1, 2, 3)),
    "leaky-relu": (leaky_relu(), (5,), lambda t, x: torch.where(x > 0, x, 0.2 * x)),
    "relu": (relu(), (5,), lambda t, x: x.clamp(min=0)),
    "tanh": (tanh(), (5,), lambda t, x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())),
    "minibatch-discrimination": (MinibatchDiscrimination(5, 3, 2), (5,), naive_discrimination),
}


def random_case(
    layer: Layer, sample: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> tuple[list[Tensor], Tensor]:
    """Tensors and inputs of `NODES` nodes; running variances are positive, as they must be."""
    rng = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(NODES, *slot.shape, generator=rng, dtype=torch.float64).to(dtype)
        for slot in layer.slots()
    ]
    for tensor, slot in zip(tensors, layer.slots(), strict=True):
        if slot.role == "running_var":
            tensor.abs_().add_(0.5)
    x = torch.randn(NODES, BATCH, *sample, generator=rng, dtype=torch.float64).to(dtype)
    return tensors, x


def per_node(reference: Reference, tensors: Sequence[Tensor], x: Tensor) -> Tensor:
    return torch.stack([reference([t[i] for t in tensors], x[i]) for i in range(len(x))])


@pytest.mark.parametrize("name", CASES)
def test_forward_is_the_plain_computation_of_each_node(name: str) -> None:
    layer, sample, reference = CASES[name]
    for dtype in (torch.float64, torch.float32):
        tensors, x = random_case(layer, sample, dtype)
        wanted = per_node(reference, tensors, x)
        torch.testing.assert_close(layer.apply(tensors, x, training=True), wanted)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_each_node(name: str) -> None:
    """For a loss with a different slope at every output; for tensors and for inputs."""
    layer, sample, reference = CASES[name]
    tensors, x = random_case(layer, sample)
    trained = [
        t.requires_grad_() for t, s in zip(tensors, layer.slots(), strict=True) if not s.is_buffer
    ]
    leaves = [*trained, x.requires_grad_()]
    wanted = per_node(reference, tensors, x)
    slopes = torch.linspace(-1, 1, wanted.numel(), dtype=torch.float64).view_as(wanted)
    expected = torch.autograd.grad((wanted * slopes).sum(), leaves)
    got = torch.autograd.grad((layer.apply(tensors, x, training=True) * slopes).sum(), leaves)
    torch.testing.assert_close(got, expected)


def own_vjp(
    layer: Layer, tensors: list[Tensor], x: Tensor, slopes: Tensor
) -> tuple[Tensor, Tensor | None, Sequence[Tensor]]:
    """Output, gradient of the inputs and gradients of the tensors, as training takes them."""
    with torch.no_grad():
        y, pullback = layer.vjp(tensors, x)
        gradient, gradients = pullback(slopes.clone(), inputs=True, parameters=True)
    return y, gradient, gradients


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_pullbacks_are_the_gradients_of_each_node(name: str, dtype: torch.dtype) -> None:
    """What training uses against autograd over the plain computation, in either precision."""
    layer, sample, reference = CASES[name]
    tensors, x = random_case(layer, sample, dtype)
    copies = [t.clone() for t in tensors]
    trained = [
        t.requires_grad_() for t, s in zip(copies, layer.slots(), strict=True) if not s.is_buffer
    ]
    leaf = x.clone().requires_grad_()
    wanted = per_node(reference, copies, leaf)
    slopes = torch.linspace(-1, 1, wanted.numel(), dtype=dtype).view_as(wanted)
    expected = torch.autograd.grad((wanted * slopes).sum(), [leaf, *trained])
    y, gradient, gradients = own_vjp(layer, tensors, x, slopes)
    torch.testing.assert_close(y, wanted.detach())
    torch.testing.assert_close([gradient, *gradients], list(expected))


@pytest.mark.parametrize("name", CASES)
def test_pullbacks_give_what_is_asked_for_in_one_piece(name: str) -> None:
    """Adam's kernel walks through memory, so a strided gradient would be taken for another."""
    layer, sample, _ = CASES[name]
    tensors, x = random_case(layer, sample)
    trained = [t for t, s in zip(tensors, layer.slots(), strict=True) if not s.is_buffer]
    with torch.no_grad():
        y, pullback = layer.vjp(tensors, x)
        neither = pullback(torch.ones_like(y), inputs=False, parameters=False)
        if trained:
            assert neither[0] is None
        assert not list(neither[1])
        y, pullback = layer.vjp(tensors, x)
        gradient, gradients = pullback(torch.ones_like(y), inputs=True, parameters=True)
    assert gradient is not None
    assert gradient.shape == x.shape
    assert [g.shape for g in gradients] == [t.shape for t in trained]
    assert all(g.is_contiguous() for g in gradients)


@pytest.mark.parametrize("name", CASES)
def test_a_forward_pass_changes_neither_inputs_nor_weights(name: str) -> None:
    layer, sample, _ = CASES[name]
    tensors, x = random_case(layer, sample)
    before = [t.clone() for t in tensors]
    x_before = x.clone()
    own_vjp(layer, tensors, x, torch.ones_like(layer.apply(before, x, training=False)))
    assert torch.equal(x, x_before)
    for tensor, old, slot in zip(tensors, before, layer.slots(), strict=True):
        assert slot.is_buffer or torch.equal(tensor, old)


@pytest.mark.parametrize("name", CASES)
def test_a_layer_knows_whether_it_couples_samples(name: str) -> None:
    """If it does not, real and generated images may go through it in one batch."""
    layer, sample, _ = CASES[name]
    tensors, x = random_case(layer, sample)
    whole = layer.apply([t.clone() for t in tensors], x, training=True)
    parts = [
        layer.apply([t.clone() for t in tensors], part, training=True) for part in x.chunk(2, 1)
    ]
    assert layer.couples_samples != torch.allclose(torch.cat(parts, 1), whole)


@pytest.mark.parametrize("name", CASES)
def test_nodes_never_mix(name: str) -> None:
    """A node's outputs keep every bit when another node's tensors and inputs change."""
    layer, sample, _ = CASES[name]
    tensors, x = random_case(layer, sample, torch.float32)
    before = layer.apply([t.clone() for t in tensors], x.clone(), training=True)
    for tensor in [*tensors, x]:
        tensor[1].mul_(3).add_(1)
    after = layer.apply(tensors, x, training=True)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.equal(before[1], after[1])


@pytest.mark.parametrize("name", CASES)
def test_a_node_gets_the_same_alone_as_among_others(name: str) -> None:
    layer, sample, _ = CASES[name]
    tensors, x = random_case(layer, sample)
    together = layer.apply([t.clone() for t in tensors], x, training=True)
    for i in range(NODES):
        alone = layer.apply([t[i : i + 1].clone() for t in tensors], x[i : i + 1], training=True)
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("name", CASES)
def test_tensors_may_be_strided_views_of_a_larger_matrix(name: str) -> None:
    """As a network's views are: rows of one matrix, not contiguous over the nodes."""
    layer, sample, _ = CASES[name]
    tensors, x = random_case(layer, sample)
    wanted = layer.apply([t.clone() for t in tensors], x, training=True)
    views = []
    for tensor in tensors:
        wide = torch.zeros(NODES, tensor[0].numel() + 3, dtype=tensor.dtype)
        wide[:, 2:-1] = tensor.flatten(1)
        views.append(wide[:, 2:-1].view(tensor.shape))
    torch.testing.assert_close(layer.apply(views, x, training=True), wanted)


def _modules(tensors: Sequence[Tensor]) -> list[nn.BatchNorm2d]:
    """torch's own batch norm, one per node, with that node's tensors."""
    modules = []
    for scale, bias, mean, var in zip(*tensors, strict=True):
        module = nn.BatchNorm2d(len(scale), momentum=BATCH_NORM_MOMENTUM, dtype=scale.dtype)
        with torch.no_grad():
            module.weight.copy_(scale)
            module.bias.copy_(bias)
        assert module.running_mean is not None
        assert module.running_var is not None
        module.running_mean.copy_(mean)
        module.running_var.copy_(var)
        modules.append(module)
    return modules


def test_batch_norm_keeps_the_running_statistics_of_torchs_own() -> None:
    layer = BatchNorm(3)
    tensors, x = random_case(layer, (3, 4, 4))
    modules = _modules(tensors)
    for step in range(3):
        layer.apply(tensors, x * (step + 1), training=True)
        for node, module in enumerate(modules):
            module(x[node] * (step + 1))
    for node, module in enumerate(modules):
        torch.testing.assert_close(tensors[2][node], module.running_mean)
        torch.testing.assert_close(tensors[3][node], module.running_var)


def test_batch_norm_in_evaluation_uses_the_running_statistics_and_leaves_them() -> None:
    layer = BatchNorm(3)
    tensors, x = random_case(layer, (3, 4, 4))
    before = [t.clone() for t in tensors]
    y = layer.apply(tensors, x, training=False)
    for node, module in enumerate(_modules(before)):
        torch.testing.assert_close(y[node], module.eval()(x[node]))
    assert all(torch.equal(t, b) for t, b in zip(tensors, before, strict=True))


def test_batch_norm_updates_statistics_that_need_no_gradient_during_backward() -> None:
    """Two forward passes, one backward: the first pass's graph survives the second's update."""
    layer = BatchNorm(2)
    tensors, x = random_case(layer, (2,))
    tensors[0].requires_grad_()
    loss = layer.apply(tensors, x, training=True).pow(3).sum()
    loss = loss + layer.apply(tensors, x + 1, training=True).pow(3).sum()
    (gradient,) = torch.autograd.grad(loss, [tensors[0]])
    assert gradient.isfinite().all()


def test_closeness_of_a_collapsed_batch_is_the_number_of_others() -> None:
    layer = MinibatchDiscrimination(5, 3, 2)
    (weight,), x = random_case(layer, (5,))
    y = layer.apply([weight], x[:, :1].expand_as(x).contiguous(), training=True)
    torch.testing.assert_close(y[..., 5:], torch.full((NODES, BATCH, 3), BATCH - 1.0).double())


def test_closeness_of_a_lone_image_is_zero() -> None:
    layer = MinibatchDiscrimination(5, 3, 2)
    (weight,), x = random_case(layer, (5,))
    assert layer.apply([weight], x[:, :1], training=True)[..., 5:].abs().max() == 0


@pytest.mark.parametrize(
    ("layer", "weight_shape", "fan_in", "fan_out"),
    [
        (Linear(5, 7), (5, 7), 5, 7),
        (MinibatchDiscrimination(5, 3, 2), (5, 6), 5, 6),
    ],
)
def test_weights_and_fans(
    layer: Layer, weight_shape: tuple[int, ...], fan_in: int, fan_out: int
) -> None:
    weight = layer.slots()[0]
    assert (weight.shape, weight.fan_in, weight.fan_out) == (weight_shape, fan_in, fan_out)
    assert not weight.is_buffer


def test_only_running_statistics_are_buffers() -> None:
    roles = {slot.role: slot.is_buffer for slot in BatchNorm(3).slots()}
    assert roles == {"scale": False, "bias": False, "running_mean": True, "running_var": True}


def test_activations_compare_and_print_by_name() -> None:
    """Two networks built alike are equal and have one digest, whatever the functions' addresses."""
    assert leaky_relu() == leaky_relu()
    assert leaky_relu() != relu()
    assert repr(leaky_relu()) == "Activation(name='leaky-relu')"
