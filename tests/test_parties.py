"""What a configuration stands for in MD-GAN; the same for simulator and daemons."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from p2pgan.config import RunConfig, SplitConfig, TrainConfig
from p2pgan.experiment import prepare
from p2pgan.gan.latents import LatentSource
from p2pgan.gan.models import MODELS, Model, model
from p2pgan.gan.networks import Network
from p2pgan.mixing.moves import first_places
from p2pgan.parties import Parties
from p2pgan.seeds import EVERYONE, stream
from p2pgan.types import COORDINATOR

DIGITS = model("mlp-digits")
P = DIGITS.discriminator.size


def parties(**settings: Any) -> Parties:
    defaults: dict[str, Any] = {
        "algorithm": "md-gan",
        "nodes": 4,
        "iterations": 40,
        "device": "cpu",
    }
    return Parties(prepare(RunConfig(**defaults | settings), Path("no-data-needed")))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Model:
    """A second model for the same images."""
    layers = DIGITS.discriminator.layers
    network = Network((*layers[:2], *layers[4:]))
    other = dataclasses.replace(DIGITS, name="narrow", discriminator=network)
    monkeypatch.setitem(MODELS, "narrow", lambda: other)
    return other


def test_there_is_one_discriminator_per_worker_unless_somebody_says() -> None:
    assert parties().discriminators == 4
    assert parties(md=SplitConfig(discriminators=3)).discriminators == 3


def test_batches_are_counted_on_the_discriminators() -> None:
    assert parties(nodes=10).batches == 2
    assert parties(nodes=10, md=SplitConfig(discriminators=3)).batches == 1
    assert parties(md=SplitConfig(batches=4)).batches == 4


@pytest.mark.parametrize(("batches", "own"), [(1, 1), (2, 2), (4, 2)])
def test_who_is_served_alone_gets_as_many_batches_as_it_needs(batches: int, own: int) -> None:
    assert parties(md=SplitConfig(batches=batches)).own_batches == own


def test_architectures_are_dealt_in_turn(narrow: Model) -> None:
    dealt = parties(md=SplitConfig(models=("mlp-digits", "narrow")))
    assert [dealt.model(slot).name for slot in range(4)] == ["mlp-digits", "narrow"] * 2
    assert dealt.network(1).size < dealt.network(0).size
    assert [parties().model(slot) for slot in range(2)] == [DIGITS] * 2


def test_discriminators_begin_different_or_the_same() -> None:
    """With Adam's moments, still 0, behind the network."""
    different = parties()
    rows = torch.cat([different.discriminator_row(slot) for slot in range(3)])
    assert rows.shape == (3, 3 * P)
    assert not rows[:, P:].any()
    assert len({row.numpy().tobytes() for row in rows}) == 3
    same = parties(md=SplitConfig(initial="same"))
    rows = torch.cat([same.discriminator_row(slot) for slot in range(3)])
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])


def test_a_discriminator_does_not_depend_on_how_many_there_are() -> None:
    """A daemon makes its own alone."""
    assert torch.equal(parties().discriminator_row(1), parties(nodes=9).discriminator_row(1))


def test_the_generator_begins_as_that_of_the_other_systems() -> None:
    """The same seed under several algorithms starts from the same generator."""
    row = parties(seed=3).generator_row()
    size = DIGITS.generator.size
    rng = stream(3, EVERYONE, "initial-weights")
    assert row.shape == (1, size)
    assert torch.equal(row[0], DIGITS.generator.initial_vector(rng, "he"))
    with_mean = parties(seed=3, train=TrainConfig(ema=0.9)).generator_row()
    assert torch.equal(with_mean, torch.cat([row, row], 1))


def test_the_source_draws_from_the_coordinators_stream() -> None:
    prepared = parties(seed=5)
    with torch.inference_mode():
        made = prepared.source(prepared.generator_row()).generate(3)
    b, *shape = prepared.batch_shape
    assert made.images.shape == (3, b, *shape)
    wanted = stream(5, COORDINATOR, "latents").standard_normal((3, b, DIGITS.latent), np.float32)
    np.testing.assert_array_equal(made.z_KBZ.numpy(), wanted)


def test_the_running_mean_follows_the_generator() -> None:
    prepared = parties(train=TrainConfig(ema=0.9))
    row = prepared.generator_row()
    source, size = prepared.source(row), DIGITS.generator.size
    start = row.clone()
    with torch.inference_mode():
        made = source.generate(1)
        source.learn(made, torch.ones_like(made.images))
    moved = row - start
    assert moved[0, :size].any()
    torch.testing.assert_close(moved[0, size:], 0.9 * moved[0, :size], rtol=1e-2, atol=1e-6)


def test_the_game_is_as_configured() -> None:
    game = parties(train=TrainConfig(loss="hinge", discriminator_steps=3)).game
    assert (game.loss.name, game.discriminator_steps, game.conditional) == ("hinge", 3, False)


def test_workers_images_and_streams_are_those_of_their_nodes() -> None:
    """An active worker of MD-GAN sees what the same node of gossip would."""
    prepared = parties()
    one = next(prepared.real(["2"])(range(1), 1))
    together = next(prepared.real(prepared.experiment.nodes)([2], 1))
    assert torch.equal(one.images, together.images)
    looks = prepared.proportions(["2"])
    assert isinstance(looks, LatentSource)
    wanted = stream(0, "2", "proportions").random(5, "f")
    np.testing.assert_array_equal(looks.proportions([0], 5)[0].numpy(), wanted)


def test_places_are_drawn_from_the_coordinators_stream() -> None:
    """Each time from its start, so that whoever asks first changes nothing."""
    prepared = parties(nodes=9, md=SplitConfig(discriminators=3), seed=2)
    places = [first_places(prepared.experiment.nodes, 3, prepared.draws()) for _ in range(2)]
    assert places[0] == places[1]
