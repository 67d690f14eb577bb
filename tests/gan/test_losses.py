"""Every loss against the formula as it is printed, in float64, and the gradient penalty by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from p2pgan.errors import ConfigError
from p2pgan.gan.losses import LOSSES, Curve, gradient_penalty, loss

Formula = Callable[[list[float], list[float]], float]


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def negative_log_likelihood(real: list[float], fake: list[float]) -> float:
    return -mean([math.log(sigmoid(a)) for a in real]) - mean(
        [math.log(1 - sigmoid(a)) for a in fake]
    )


DISCRIMINATOR: dict[str, Formula] = {
    "minimax": negative_log_likelihood,
    "nonsaturating": negative_log_likelihood,
    "hinge": lambda real, fake: (
        mean([max(0.0, 1 - a) for a in real]) + mean([max(0.0, 1 + a) for a in fake])
    ),
    "lsgan": lambda real, fake: (
        0.5 * mean([(a - 1) ** 2 for a in real]) + 0.5 * mean([a**2 for a in fake])
    ),
    "wgan-gp": lambda real, fake: mean(fake) - mean(real),
}

GENERATOR: dict[str, Callable[[list[float]], float]] = {
    "minimax": lambda fake: mean([math.log(1 - sigmoid(a)) for a in fake]),
    "nonsaturating": lambda fake: -mean([math.log(sigmoid(a)) for a in fake]),
    "hinge": lambda fake: -mean(fake),
    "lsgan": lambda fake: 0.5 * mean([(a - 1) ** 2 for a in fake]),
    "wgan-gp": lambda fake: -mean(fake),
}


def discriminator_loss(name: str, real_NB: Tensor, fake_NB: Tensor) -> Tensor:
    """`(N,)`: what training minimises, without class term and penalty."""
    return loss(name).real.value(real_NB).mean(1) + loss(name).fake.value(fake_NB).mean(1)


def generator_loss(name: str, fake_NB: Tensor) -> Tensor:
    return loss(name).fooling.value(fake_NB).mean(1)


logits = st.lists(st.floats(-8, 8), min_size=3, max_size=3)


def test_every_loss_has_its_formula_here() -> None:
    assert set(LOSSES) == set(DISCRIMINATOR) == set(GENERATOR)
    assert all(name == value.name for name, value in LOSSES.items())


@pytest.mark.parametrize("name", LOSSES)
@given(real=st.lists(logits, min_size=2, max_size=2), fake=st.lists(logits, min_size=2, max_size=2))
def test_losses_are_their_formulas(
    name: str, real: list[list[float]], fake: list[list[float]]
) -> None:
    real_NB, fake_NB = torch.tensor(real).double(), torch.tensor(fake).double()
    exact_real, exact_fake = real_NB.tolist(), fake_NB.tolist()
    d_N = discriminator_loss(name, real_NB, fake_NB).tolist()
    g_N = generator_loss(name, fake_NB).tolist()
    pairs = zip(exact_real, exact_fake, strict=True)
    assert d_N == pytest.approx([DISCRIMINATOR[name](r, f) for r, f in pairs], rel=1e-6, abs=1e-9)
    assert g_N == pytest.approx([GENERATOR[name](f) for f in exact_fake], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "d", "g"),
    [
        ("minimax", 2 * math.log(2), -math.log(2)),
        ("nonsaturating", 2 * math.log(2), math.log(2)),
        ("hinge", 2.0, 0.0),
        ("lsgan", 0.5, 0.5),
        ("wgan-gp", 0.0, 0.0),
    ],
)
def test_losses_of_a_discriminator_that_cannot_tell(name: str, d: float, g: float) -> None:
    zeros = torch.zeros(1, 4)
    assert discriminator_loss(name, zeros, zeros).item() == pytest.approx(d)
    assert generator_loss(name, zeros).item() == pytest.approx(g)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("part", ["real", "fake", "fooling"])
@given(logits=st.lists(st.floats(-30, 30), min_size=1, max_size=8))
def test_slopes_are_the_derivatives(name: str, part: str, logits: list[float]) -> None:
    """They are written out for speed; autograd over the value is the reference."""
    curve: Curve = getattr(loss(name), part)
    a_B = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    (wanted,) = torch.autograd.grad(curve.value(a_B).sum(), a_B)
    kink = {"real": 1.0, "fake": -1.0}.get(part) if name == "hinge" else None
    smooth = a_B.detach() != kink
    torch.testing.assert_close(curve.slope(a_B.detach())[smooth], wanted[smooth])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_extreme_logits_overflow_neither_value_nor_slope(name: str, logit: float) -> None:
    real, fake = (torch.full((1, 2), sign * logit).requires_grad_() for sign in (1, -1))
    values = torch.stack([discriminator_loss(name, real, fake), generator_loss(name, fake)])
    slopes = [
        *torch.autograd.grad(values.sum(), [real, fake]),
        *(curve.slope(real.detach()) for curve in (loss(name).real, loss(name).fooling)),
        loss(name).fake.slope(fake.detach()),
    ]
    assert values.isfinite().all()
    assert all(slope.isfinite().all() for slope in slopes)


@pytest.mark.parametrize("name", LOSSES)
def test_both_players_pull_the_generated_logit_apart(name: str) -> None:
    """Descending, the discriminator lowers it and raises the real one; the generator raises it."""
    real, fake = (torch.zeros(1, 1).requires_grad_() for _ in range(2))
    d_real, d_fake = torch.autograd.grad(discriminator_loss(name, real, fake).sum(), [real, fake])
    (g_fake,) = torch.autograd.grad(generator_loss(name, fake).sum(), [fake])
    assert d_real.item() < 0 <= d_fake.item()
    assert g_fake.item() < 0
    if name != "lsgan":  # its target for generated images is 0, where it stands
        assert d_fake.item() > 0


def test_the_generator_learns_from_a_winning_discriminator_only_when_not_saturating() -> None:
    slopes = {}
    for name in ("minimax", "nonsaturating"):
        fake = torch.full((1, 1), -20.0).requires_grad_()
        (slope,) = torch.autograd.grad(generator_loss(name, fake).sum(), [fake])
        slopes[name] = slope.item()
    assert abs(slopes["minimax"]) < 1e-8
    assert slopes["nonsaturating"] == pytest.approx(-1)


def random_penalty_case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of two nodes, real and generated images, and proportions."""
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    share_NB = torch.rand(2, 3, generator=rng, dtype=torch.float64)
    return draw(2, 8, 5), draw(2, 3, 2, 2, 2), draw(2, 3, 2, 2, 2), share_NB


def critic_of(weight: Tensor, images: Tensor) -> Tensor:
    """A critic with curvature, of one node or of several; images `(..., C, H, W)` to logits."""
    return (images.flatten(-3) @ weight).tanh().sum(-1)


def test_gradient_penalty_is_the_loop_over_nodes_and_images() -> None:
    """Gulrajani et al. 2017, algorithm 1, line 7, with each gradient taken on its own."""
    weight, real, fake, share_NB = random_penalty_case()
    wanted = []
    for node in range(2):
        terms = []
        for k in range(3):
            share = share_NB[node, k]
            point = share * real[node, k] + (1 - share) * fake[node, k]
            point.requires_grad_()
            (slope,) = torch.autograd.grad(critic_of(weight[node], point), point)
            terms.append((slope.square().sum().sqrt() - 1) ** 2)
        wanted.append(sum(terms) / 3)
    got = gradient_penalty(lambda x: critic_of(weight, x), real, fake, share_NB)
    torch.testing.assert_close(got, torch.stack([torch.as_tensor(w) for w in wanted]))


def test_gradient_penaltys_own_gradient_is_that_of_finite_differences() -> None:
    weight, real, fake, share_NB = random_penalty_case()

    def penalty(weight: Tensor) -> Tensor:
        return gradient_penalty(lambda x: critic_of(weight, x), real, fake, share_NB).sum()

    assert torch.autograd.gradcheck(penalty, weight.requires_grad_())


def test_gradient_penalty_does_not_reach_the_generator() -> None:
    weight, real, fake, share_NB = random_penalty_case()
    fake.requires_grad_()
    penalty = gradient_penalty(
        lambda x: critic_of(weight.requires_grad_(), x), real, fake, share_NB
    )
    (slope,) = torch.autograd.grad(penalty.sum(), fake, allow_unused=True, materialize_grads=True)
    assert not slope.any()


def test_gradient_penalty_of_a_dead_critic_has_a_finite_slope() -> None:
    """The norm has no derivative at 0, where a critic that ignores its input stands."""
    weight, real, fake, share_NB = random_penalty_case()
    weight = torch.zeros_like(weight).requires_grad_()
    penalty = gradient_penalty(lambda x: critic_of(weight, x), real, fake, share_NB)
    (slope,) = torch.autograd.grad(penalty.sum(), weight)
    torch.testing.assert_close(penalty, torch.ones(2).double())
    assert slope.isfinite().all()


def test_only_wgan_gp_has_a_penalty() -> None:
    assert [name for name, value in LOSSES.items() if value.penalty] == ["wgan-gp"]


def test_an_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"`hing`.*did you mean `hinge`"):
        loss("hing")
