"""The training step's parts: gradients of the losses, and what a step may not do.

Whole steps are tested against textbook trainings in `test_cohort.py`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from p2pgan.gan.adam import Adam
from p2pgan.gan.blocks import Batch, Block, Feed, Game, Judged
from p2pgan.gan.latents import Latents
from p2pgan.gan.losses import LOSSES, Curve, loss
from p2pgan.gan.models import Model, model
from p2pgan.gan.players import Player

NODES, BATCH = 2, 4


def some(outputs: int) -> Judged:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(NODES, BATCH, outputs)))
    return Judged(logits, torch.from_numpy(rng.integers(max(outputs - 1, 1), size=(NODES, BATCH))))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("part", ["real", "fake", "fooling"])
@pytest.mark.parametrize(("outputs", "conditional"), [(1, False), (4, False), (4, True)])
def test_gradients_are_those_of_the_value(
    name: str, part: str, outputs: int, conditional: bool
) -> None:
    """In every logit, the class outputs among them: 0 there unless training is conditional."""
    curve: Curve = getattr(loss(name), part)
    seen = some(outputs)
    leaf = Judged(seen.logits.clone().requires_grad_(), seen.labels_NB)
    value_N = leaf.value(curve, conditional=conditional)
    assert value_N.shape == (NODES,)
    (wanted,) = torch.autograd.grad(value_N.sum(), leaf.logits)
    got = seen.gradient(curve, conditional=conditional)
    torch.testing.assert_close(got, wanted)
    assert conditional or not got[..., 1:].any()


def test_values_of_many_steps_are_those_of_each() -> None:
    """Losses are computed once for a whole round."""
    steps = [some(4), some(4)]
    stacked = Judged(
        torch.stack([s.logits for s in steps]), torch.stack([s.labels_NB for s in steps])
    )
    curve = loss("hinge").real
    wanted = torch.stack([s.value(curve, conditional=True) for s in steps])
    torch.testing.assert_close(stacked.value(curve, conditional=True), wanted)


def make_block(pair: Model, name: str, steps: int = 1) -> Block:
    rng = np.random.default_rng(0)
    players = []
    for network in (pair.generator, pair.discriminator):
        vector_NP = network.initial_vector(rng, "he").repeat(NODES, 1)
        players.append(Player(network, vector_NP, Adam(1e-3, 0.5, 0.999)))
        players[-1].load()
    return Block(Game(loss(name), 10.0, steps, conditional=False), *players)


def make_feed(pair: Model) -> Feed:
    def endless(make: Any) -> Iterator[Any]:
        while True:
            yield make()

    labels_NB = torch.zeros(NODES, BATCH, dtype=torch.int64)
    return Feed(
        real=endless(lambda: Batch(torch.zeros(NODES, BATCH, *pair.image_shape), labels_NB)),
        latents=endless(lambda: Latents(torch.ones(NODES, BATCH, pair.latent), labels_NB)),
        proportions=endless(lambda: torch.full((NODES, BATCH), 0.5)),
    )


class NoWaiting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses what would make the host wait for a GPU: values and sizes that depend on values."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "unique", "equal")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        assert not name.startswith(self.WAITING), f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


def test_the_dispatch_mode_sees_a_wait() -> None:
    with NoWaiting(), pytest.raises(AssertionError, match="waits for the device"):  # type: ignore[no-untyped-call]
        torch.ones(()).item()


@pytest.mark.parametrize("name", ["nonsaturating", "wgan-gp"])
@pytest.mark.parametrize("model_name", ["mlp-digits", "cnn-mnist"])
def test_an_iteration_never_waits_for_the_device(model_name: str, name: str) -> None:
    """On a GPU a round is queued ahead; one value read back would drain the queue each time."""
    pair = model(model_name)
    block, feed = make_block(pair, name), make_feed(pair)
    with torch.no_grad(), NoWaiting():  # type: ignore[no-untyped-call]
        block.iterate(feed)


@pytest.mark.parametrize(
    ("model_name", "passes"), [("mlp-digits", [2 * BATCH]), ("cnn-mnist", [BATCH, BATCH])]
)
def test_real_and_generated_images_share_a_pass_unless_samples_are_coupled(
    model_name: str, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = model(model_name)
    block, seen = make_block(pair, "hinge"), []

    class Watching:
        network = pair.discriminator
        descend = block.critics.player.descend

        def __call__(self, x: Tensor) -> Any:
            seen.append(x.shape[1])
            return watched(x)

        def pull(self, *_: Any) -> Any:
            return torch.zeros(NODES, BATCH, *pair.image_shape)

    watched = block.critics.player
    monkeypatch.setattr(block.critics, "player", Watching())
    with torch.no_grad():
        block.iterate(make_feed(pair))
    assert seen == [*passes, BATCH]  # the last one is the generator's


def test_an_iteration_takes_as_many_discriminator_steps_as_configured() -> None:
    pair = model("mlp-digits")
    with torch.no_grad():
        judged, _ = make_block(pair, "hinge", steps=3).iterate(make_feed(pair))
    assert len(judged) == 3
