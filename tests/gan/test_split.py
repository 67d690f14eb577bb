"""MD-GAN's arithmetic: the generator's gradient is the whole system's, and what feedback becomes.

Whole trainings are tested against a textbook loop in `tests/sim/test_split.py`.
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from p2pgan.gan.adam import Adam
from p2pgan.gan.blocks import Batch, Critics, Game
from p2pgan.gan.latents import LatentSource, LatentStreams
from p2pgan.gan.losses import LOSSES, loss
from p2pgan.gan.models import Model, model
from p2pgan.gan.networks import Network
from p2pgan.gan.players import Player
from p2pgan.gan.split import (
    Fakes,
    Source,
    combined,
    criticise,
    dense,
    kept_values,
    sparse,
)
from tests.gan.pairs import CONV, DIGITS

BOUND = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Largest relative error of a gradient (issue: figures to reach)."""


def streams(seed: int = 9) -> list[LatentStreams]:
    return [LatentStreams(*(np.random.default_rng((seed, purpose)) for purpose in range(3)))]


def latents_of(pair: Model, *, conditional: bool, dtype: torch.dtype) -> LatentSource:
    classes = pair.classes * conditional
    return LatentSource(streams(), pair.latent, classes=classes, dtype=dtype)


def vector(network: Network, seed: int, dtype: torch.dtype) -> Tensor:
    return network.initial_vector(np.random.default_rng((5, seed)), "he").to(dtype)


def with_moments(vectors_NP: Tensor) -> Tensor:
    return torch.cat(
        [vectors_NP, vectors_NP.new_zeros(len(vectors_NP), 2 * vectors_NP.shape[1])], 1
    )


class System:
    """A generator, n discriminators and the batches between them."""

    def __init__(
        self,
        pair: Model,
        seeds: Sequence[int],
        *,
        game: str = "nonsaturating",
        conditional: bool = False,
        dtype: torch.dtype = torch.float64,
        batch: int = 5,
    ) -> None:
        """Discriminators with these seeds, equal ones equal; Adam without a first moment."""
        self.pair, self.game, self.conditional = pair, game, conditional
        self.lambda_P = vector(pair.generator, 100, dtype)
        self.row_13P = with_moments(self.lambda_P[None])
        player = Player(pair.generator, self.row_13P, Adam(1e-3, 0.0, 0.999))
        player.load()
        latents = latents_of(pair, conditional=conditional, dtype=dtype)
        self.source = Source(player, latents, batch)
        self.theta_NP = torch.stack([vector(pair.discriminator, s, dtype) for s in seeds])
        rows_NP = self.theta_NP.clone()
        judge = Player(pair.discriminator, rows_NP, Adam(1e-3, 0.5, 0.999))
        judge.load()
        self.critics = Critics(Game(loss(game), 10.0, 1, conditional), judge)

    def gradient(self, k: int, judged: Sequence[int]) -> Tensor:
        """The generator's gradient `(P,)`, where discriminator j judges batch `judged[j]`.

        Without a decay, Adam's first moment is the gradient itself.
        """
        with torch.inference_mode():
            self.batches = made = self.source.generate(k)
            images = torch.stack([made.images[index] for index in judged])
            labels_NB = torch.stack([made.labels_KB[index] for index in judged])
            _, feedback = self.critics.feedback(images, labels_NB)
            self.source.learn(made, combined(list(feedback), judged, k))
        size = self.pair.generator.size
        return self.row_13P[0, size : 2 * size].clone()

    def by_autograd(self, theta_NP: Tensor, judged: Sequence[int]) -> Tensor:
        """The same of `1/n Σ_j B̃_j(G(Z))`, recorded as a whole.

        In the same precision: where rounding takes a value of a few images across the kink of a
        ReLU, the gradients of float32 and float64 are 0.5 % apart, whoever computes them.
        """
        lambda_1P = self.lambda_P[None].clone().requires_grad_()
        generator, discriminator = self.pair.generator, self.pair.discriminator
        total = torch.zeros((), dtype=self.lambda_P.dtype)
        for theta_P, index in zip(theta_NP, judged, strict=True):
            z_1BZ = self.batches.z_KBZ[index : index + 1].clone()
            labels_B = self.batches.labels_KB[index].clone()
            buffers = [view.clone() for view in generator.views(lambda_1P.detach())]
            views = [
                view if place < generator.trained else buffers[place]
                for place, view in enumerate(generator.views(lambda_1P))
            ]
            images = generator.apply(views, z_1BZ, training=True)
            logits_BO = discriminator.apply(
                discriminator.views(theta_P[None].clone()), images, training=True
            )[0]
            total = total + self._fooling(logits_BO[:, 0])
            if self.conditional:
                total = total + functional.cross_entropy(logits_BO[:, 1:], labels_B)
        (gradient,) = torch.autograd.grad(total / len(theta_NP), lambda_1P)
        return gradient[0]

    def _fooling(self, logit_B: Tensor) -> Tensor:
        match self.game:
            case "minimax":
                return torch.log(1 - torch.sigmoid(logit_B)).mean()
            case "nonsaturating":
                return -torch.log(torch.sigmoid(logit_B)).mean()
            case "lsgan":
                return 0.5 * (logit_B - 1).square().mean()
        return -logit_B.mean()


def relative_error(got: Tensor, wanted: Tensor) -> float:
    return float((got.double() - wanted.double()).norm() / wanted.double().norm())


SETUPS = {
    "equal discriminators, k = 1": ([7, 7, 7, 7], 1),
    "distinct discriminators, k = n": ([1, 2, 3, 4], 4),
    "distinct discriminators, k = 2": ([1, 2, 3], 2),
    "one discriminator": ([3], 1),
}

PAIRS = {"mlp": (DIGITS, False), "batch norm": (CONV, False), "conditional": (CONV, True)}


def check_gradient(system: System, k: int, dtype: torch.dtype) -> None:
    judged = [(slot + 1) % k for slot in range(len(system.theta_NP))]
    got = system.gradient(k, judged)
    wanted = system.by_autograd(system.theta_NP, judged)
    assert wanted.norm() > 1e-6
    assert got.dtype == dtype
    assert relative_error(got, wanted) < BOUND[dtype]


@pytest.mark.parametrize("dtype", BOUND, ids=str)
@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("kind", PAIRS)
def test_the_generators_gradient_is_that_of_the_whole(
    kind: str, setup: str, dtype: torch.dtype
) -> None:
    """What comes of feedback and one backward pass is the mean loss's gradient (algorithm 4)."""
    (pair, conditional), (seeds, k) = PAIRS[kind], SETUPS[setup]
    check_gradient(System(pair, seeds, conditional=conditional, dtype=dtype), k, dtype)


@pytest.mark.parametrize("game", LOSSES)
def test_the_gradient_is_right_for_every_loss(game: str) -> None:
    check_gradient(System(DIGITS, [1, 2, 3], game=game), 2, torch.float64)


@pytest.mark.parametrize("dtype", BOUND, ids=str)
@pytest.mark.parametrize("setup", ["equal discriminators, k = 1", "distinct discriminators, k = n"])
def test_the_gradient_is_right_for_the_thesiss_convolutions(setup: str, dtype: torch.dtype) -> None:
    """Batch norm in the generator, mini-batch discrimination and class outputs beyond it."""
    seeds, k = SETUPS[setup]
    pair = model("cnn-mnist")
    system = System(pair, seeds[: max(2, k)], conditional=True, dtype=dtype, batch=3)
    check_gradient(system, k, dtype)


@pytest.mark.parametrize("kind", PAIRS)
def test_equal_discriminators_on_one_batch_give_the_centralised_gradient(kind: str) -> None:
    """However many they are: the division by n is in it, and that by b no second time."""
    pair, conditional = PAIRS[kind]
    alone = System(pair, [7], conditional=conditional)
    centralised = alone.gradient(1, [0])
    assert relative_error(centralised, alone.by_autograd(alone.theta_NP, [0])) < 1e-12
    for n in (2, 5):
        got = System(pair, [7] * n, conditional=conditional).gradient(1, [0] * n)
        assert relative_error(got, centralised) < 1e-12


def test_batches_share_a_pass_unless_samples_are_coupled() -> None:
    """Batch norm takes the statistics of each batch, as if it were generated alone."""
    together, apart = System(DIGITS, [1, 2]), System(CONV, [1, 2])
    for system, tapes in ((together, 1), (apart, 3)):
        with torch.inference_mode():
            made = system.source.generate(3)
        assert len(made.tapes) == tapes
        assert made.images.shape == (3, 5, *system.pair.image_shape)
        assert made.labels_KB.shape == (3, 5)


def test_batches_are_made_of_the_next_latents_in_turn() -> None:
    """Simulator and daemons get the same images from the same stream, many at a time or few."""
    one, other = System(DIGITS, [1]), System(DIGITS, [1])
    with torch.inference_mode():
        at_once = one.source.generate(4)
        apart = [other.source.generate(2) for _ in range(2)]
    assert torch.equal(at_once.z_KBZ, torch.cat([made.z_KBZ for made in apart]))
    torch.testing.assert_close(at_once.images, torch.cat([made.images for made in apart]))


def test_batches_made_again_are_those_of_the_generator_as_it_is_now() -> None:
    """The gradient is taken where the generator is; how late it is counts from the first time."""
    system = System(DIGITS, [1, 2])
    with torch.inference_mode():
        first = system.source.generate(2)
        unmoved = system.source.again(first, 1)
        torch.testing.assert_close(unmoved.images, first.images[:1])
        system.source.learn(system.source.again(first, 1), torch.ones_like(first.images[:1]))
        moved = system.source.again(first, 1)
    assert torch.equal(moved.z_KBZ, first.z_KBZ[:1])
    assert moved.reading is first.reading
    assert not torch.equal(moved.images, unmoved.images)


@pytest.mark.parametrize("game", ["nonsaturating", "wgan-gp"])
def test_all_steps_of_a_discriminator_see_the_same_two_batches(game: str) -> None:
    """Thesis, algorithm 3: what is received and drawn is kept for all L steps."""
    rng = np.random.default_rng(0)
    shape = (2, 5, *DIGITS.image_shape)
    labels_NB = torch.zeros(2, 5, dtype=torch.int64)
    real = Batch(torch.from_numpy(rng.uniform(-1, 1, shape)), labels_NB)
    learnt, judged = (
        Fakes(torch.from_numpy(rng.uniform(-1, 1, shape)), labels_NB) for _ in range(2)
    )
    looks = torch.from_numpy(rng.random((4, 2, 5)))

    def critics(steps: int) -> Critics:
        system = System(DIGITS, [1, 2], game=game)
        game_ = Game(loss(game), 10.0, steps, conditional=False)
        return Critics(game_, system.critics.player)

    whole, by_hand = critics(3), critics(1)
    with torch.inference_mode():
        got = criticise(whole, real, learnt, judged, iter(looks))
        losses = [
            by_hand.learn(real, learnt.images, labels_NB, iter(looks[step : step + 1]))
            for step in range(3)
        ]
        _, feedback = by_hand.feedback(judged.images, labels_NB)
    assert torch.equal(got.feedback, feedback)
    assert len(got.steps) == 3
    for mine, wanted in zip(got.steps, losses, strict=True):
        assert torch.equal(mine.real.logits, wanted.real.logits)
        assert torch.equal(mine.fake.logits, wanted.fake.logits)
    assert not torch.equal(losses[0].real.logits, losses[1].real.logits)


def test_feedback_changes_no_discriminator() -> None:
    system = System(CONV, [1, 2])
    before = [tensor.clone() for tensor in system.critics.player.tensors]
    system.gradient(1, [0, 0])
    after = system.critics.player.tensors
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


@given(
    st.integers(1, 5).flatmap(
        lambda k: st.tuples(st.just(k), st.lists(st.integers(0, k - 1), min_size=1, max_size=8))
    )
)
def test_feedback_is_the_mean_over_discriminators_summed_per_batch(
    given_: tuple[int, list[int]],
) -> None:
    batches, judged = given_
    feedback = np.random.default_rng(0).normal(size=(len(judged), 2, 1, 3, 3))
    wanted = np.zeros((batches, 2, 1, 3, 3))
    for own, batch in zip(feedback, judged, strict=True):
        wanted[batch] += own / len(judged)
    got = combined(list(torch.from_numpy(feedback)), judged, batches)
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-12, atol=1e-15)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_min=True))
def test_at_least_one_value_is_kept_and_never_more_than_there_are(
    values: int, share: float
) -> None:
    kept = kept_values(values, share)
    assert 1 <= kept <= values
    assert kept == 1 or abs(kept - share * values) < 1


def test_rounding_keeps_no_further_value() -> None:
    """0.07 times 100 is more than 7 in binary."""
    assert [kept_values(100, share) for share in (0.001, 0.07, 0.29, 0.57, 0.999, 1)] == (
        [1, 7, 29, 57, 100, 100]
    )


@given(st.integers(0, 2**32), st.floats(0.01, 1))
def test_the_largest_values_are_kept_where_they_were(seed: int, share: float) -> None:
    feedback = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, 1, 4, 4)))
    values, positions = sparse(feedback, share)
    assert len(values) == len(positions) == kept_values(48, share)
    assert (positions.diff() > 0).all()
    back = dense(values, positions, feedback.shape)
    kept = torch.zeros(48, dtype=torch.bool)
    kept[positions] = True
    kept = kept.view_as(feedback)
    assert torch.equal(back[kept], feedback[kept])
    assert not back[~kept].any()
    if not kept.all():
        assert feedback[kept].abs().min() >= feedback[~kept].abs().max()


def test_all_of_a_feedback_is_the_feedback() -> None:
    feedback = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dense(*sparse(feedback, 1), feedback.shape), feedback)
    assert math.prod(feedback.shape) == kept_values(feedback.numel(), 1)
