"""Our layerwise Adam against PyTorch's optimiser and against the paper's algorithm."""

import pytest
import torch

from p2pgan.gan.adam import Adam


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_steps_are_those_of_torchs_optimiser(dtype: torch.dtype) -> None:
    """Also where the kernel is PyTorch's own affair: a new version must not change its meaning."""
    start = [random(3, 5, seed=1).to(dtype), random(3, 1, seed=2).to(dtype)]
    theirs = [tensor.clone().requires_grad_() for tensor in start]
    reference = torch.optim.Adam(theirs, 2e-3, (0.3, 0.9), foreach=False)
    mine = [tensor.clone() for tensor in start]
    moments = ([torch.zeros_like(t) for t in mine], [torch.zeros_like(t) for t in mine])
    count = torch.zeros(())
    adam = Adam(learning_rate=2e-3, beta1=0.3, beta2=0.9)
    for step in range(5):
        gradients = [random(*t.shape, seed=10 + step).to(dtype) for t in mine]
        for leaf, gradient in zip(theirs, gradients, strict=True):
            leaf.grad = gradient.clone()
        reference.step()
        count += 1
        adam.step(mine, gradients, moments, [count])
    for got, wanted in zip(mine, theirs, strict=True):
        torch.testing.assert_close(got, wanted.detach(), rtol=1e-6, atol=1e-7)


def test_rows_may_have_made_different_numbers_of_steps() -> None:
    """Each is stepped as it would be on its own."""
    adam, shapes = Adam(learning_rate=2e-3, beta1=0.3, beta2=0.9), [(3, 5), (3, 2, 2)]
    start, gradients, first, second = (
        [random(*shape, seed=10 * part + i) for i, shape in enumerate(shapes)] for part in range(4)
    )
    moments = (first, [moment.square() for moment in second])
    counts = [torch.tensor(float(count)) for count in (1, 7, 3)]
    together = [tensor.clone() for tensor in start]
    own = ([tensor.clone() for tensor in moments[0]], [tensor.clone() for tensor in moments[1]])
    adam.step(together, gradients, own, counts)
    for row, count in enumerate(counts):
        alone = [tensor[row].clone() for tensor in start]
        of_row = ([m[row].clone() for m in moments[0]], [m[row].clone() for m in moments[1]])
        adam.step(alone, [gradient[row] for gradient in gradients], of_row, [count])
        for tensor, moment, mine, left in zip(together, own[1], alone, of_row[1], strict=True):
            torch.testing.assert_close(tensor[row], mine, rtol=1e-12, atol=0)
            torch.testing.assert_close(moment[row], left, rtol=1e-12, atol=0)


def test_the_first_step_is_the_learning_rate_against_the_gradients_sign() -> None:
    """Kingma and Ba 2015: bias correction makes the first moments the gradient itself."""
    parameter, gradient = torch.zeros(4), torch.tensor([2.0, -3.0, 1e-3, 0.0])
    moments = ([torch.zeros(4)], [torch.zeros(4)])
    Adam(0.1, 0.5, 0.999).step([parameter], [gradient], moments, [torch.ones(())])
    torch.testing.assert_close(parameter, torch.tensor([-0.1, 0.1, -0.1, 0.0]), rtol=1e-4, atol=0)


def test_strided_memory_is_our_own_mistake() -> None:
    wide = torch.zeros(4, 4)
    moments = ([torch.zeros(4, 2)], [torch.zeros(4, 2)])
    with pytest.raises(AssertionError):
        Adam(0.1, 0.5, 0.999).step([wide[:, :2]], [torch.ones(4, 2)], moments, [torch.ones(())])
