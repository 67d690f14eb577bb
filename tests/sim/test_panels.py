"""Discriminators side by side: as if each were alone, left out, copied and begun anew."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from p2pgan.config import EngineConfig, RunConfig, SplitConfig, TrainConfig
from p2pgan.experiment import prepare
from p2pgan.gan.blocks import Batch
from p2pgan.gan.models import MODELS, Model, model
from p2pgan.gan.networks import Network
from p2pgan.gan.split import Fakes, criticise
from p2pgan.parties import Parties
from p2pgan.sim.panels import Data, Panel, panels_of

PAIR = model("mlp-digits")
SIZE = PAIR.discriminator.size
B = 16


def parties(loss: str = "nonsaturating", **settings: Any) -> Parties:
    defaults: dict[str, Any] = {"algorithm": "md-gan", "nodes": 4, "iterations": 40}
    train = TrainConfig(loss=loss, discriminator_steps=2)
    config = RunConfig(**defaults | {"train": train, "device": "cpu"} | settings)
    return Parties(prepare(config, Path("no-data-needed")))


def panel_of(side: Parties, *slots: int) -> Panel:
    return Panel(side, side.network(0), slots)


def some(count: int, seed: int) -> Fakes:
    """Images for so many discriminators."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(-1, 1, (count, B, *PAIR.image_shape)).astype("f")
    return Fakes(torch.from_numpy(images), torch.zeros(count, B, dtype=torch.int64))


def looks(rows: slice) -> Iterator[Tensor]:
    rng = np.random.default_rng(7)
    while True:
        yield torch.from_numpy(rng.random((4, B), "f"))[rows]


def play(panel: Panel, rows: slice, iterations: int = 3) -> list[Tensor]:
    """Iterations of the discriminators in those rows of what four are given; their feedback."""
    feedback, proportions = [], looks(rows)
    for iteration in range(iterations):
        real, learnt, judged = (some(4, 3 * iteration + part) for part in range(3))
        with torch.inference_mode():
            feedback.append(
                panel.criticise(
                    Batch(real.images[rows], real.labels_NB[rows]),
                    Fakes(learnt.images[rows], learnt.labels_NB[rows]),
                    Fakes(judged.images[rows], judged.labels_NB[rows]),
                    proportions,
                )
            )
    return feedback


def assert_near(got: Tensor, wanted: Tensor) -> None:
    """To 1e-5, but for a few values with hardly a gradient, of which Adam makes full steps."""
    assert ((got - wanted).abs() > 1e-5).double().mean() < 1e-3
    assert (got - wanted).abs().max() < 1e-3


@pytest.mark.parametrize("loss", ["nonsaturating", "wgan-gp"])
def test_each_discriminator_is_as_if_it_were_alone(loss: str) -> None:
    """A worker's daemon has one of them."""
    side = parties(loss)
    together = panel_of(side, 0, 1, 2, 3)
    feedback = play(together, slice(0, 4))
    losses = together.losses()
    for slot in range(4):
        rows = slice(slot, slot + 1)
        alone = panel_of(side, slot)
        own = play(alone, rows)
        assert_near(together.vectors()[rows], alone.vectors())
        for all_N, mine in zip(feedback, own, strict=True):
            assert_near(all_N[rows], mine)
        mine_losses = alone.losses()
        np.testing.assert_allclose(losses.d[rows], mine_losses.d, rtol=1e-4)
        np.testing.assert_allclose(losses.g[rows], mine_losses.g, rtol=1e-4)


def test_a_panel_does_what_a_daemon_does() -> None:
    """`criticise` of the same discriminators, bit for bit."""
    side = parties()
    panel = panel_of(side, 0, 1)
    rows = torch.cat([side.discriminator_row(slot) for slot in (0, 1)])
    critics = side.critics(side.network(0), rows)
    real, learnt, judged = (some(2, part) for part in range(3))
    batch = Batch(real.images, real.labels_NB)
    with torch.inference_mode():
        got = panel.criticise(batch, learnt, judged, looks(slice(0, 2)))
        wanted = criticise(critics, batch, learnt, judged, looks(slice(0, 2)))
    assert torch.equal(got, wanted.feedback)


def test_losses_are_means_since_they_were_last_asked_for() -> None:
    side = parties()
    whole, parts = panel_of(side, 0, 1, 2, 3), panel_of(side, 0, 1, 2, 3)
    play(whole, slice(0, 4), 4)
    kept = []
    for iteration in range(4):
        real, learnt, judged = (some(4, 3 * iteration + part) for part in range(3))
        with torch.inference_mode():
            batch = Batch(real.images, real.labels_NB)
            parts.criticise(batch, learnt, judged, looks(slice(0, 4)))
        kept.append(parts.losses())
    got = whole.losses()
    np.testing.assert_allclose(got.d, np.mean([part.d for part in kept], 0), rtol=1e-5)
    np.testing.assert_allclose(got.g, np.mean([part.g for part in kept], 0), rtol=1e-5)


def test_looking_at_the_networks_changes_nothing() -> None:
    side = parties()
    watched, other = panel_of(side, 0, 1, 2, 3), panel_of(side, 0, 1, 2, 3)
    for panel in (watched, other):
        play(panel, slice(0, 4))
    seen = watched.vectors().clone()
    for panel in (watched, other):
        play(panel, slice(0, 4))
    assert torch.equal(watched.vectors(), other.vectors())
    assert not torch.equal(watched.vectors(), seen)


def moments(panel: Panel) -> Tensor:
    """Adam's, `(N, 2P)`."""
    panel.vectors()  # takes them into the rows
    return panel._rows_NE[:, SIZE:].clone()


def test_who_forgets_keeps_the_network() -> None:
    side = parties()
    panel = panel_of(side, 0, 1)
    play(panel, slice(0, 2))
    before = panel.vectors().clone()
    assert moments(panel).any()
    panel.forget()
    assert torch.equal(panel.vectors(), before)
    assert not moments(panel).any()
    assert panel._parts[0].critics.player.steps == 0


def trained_panel() -> tuple[Parties, Panel]:
    side = parties()
    panel = panel_of(side, 0, 1, 2, 3)
    play(panel, slice(0, 4))
    panel.losses()
    return side, panel


def test_who_is_left_goes_on_as_if_nothing_had_happened() -> None:
    """A discriminator that is lost takes nothing of the others with it."""
    _, panel = trained_panel()
    _, whole = trained_panel()
    panel.arrange({0: 0, 1: 1})
    assert panel.slots == [0, 1]
    play(panel, slice(0, 2))
    play(whole, slice(0, 4))
    assert_near(panel.vectors(), whole.vectors()[:2])
    assert_near(moments(panel), moments(whole)[:2])


def test_a_copy_has_network_moments_and_steps_of_the_other() -> None:
    _, panel = trained_panel()
    before, carried = panel.vectors().clone(), moments(panel)
    steps = panel._parts[0].critics.player.steps
    panel.arrange({0: 0, 1: 3, 2: 2, 3: 3})
    order = [0, 3, 2, 3]
    assert torch.equal(panel.vectors(), before[order])
    assert torch.equal(moments(panel), carried[order])
    assert panel._parts[0].critics.player.steps == steps == 6
    play(panel, slice(0, 4), 1)  # and they share no memory
    assert not torch.equal(panel.vectors()[1], panel.vectors()[3])


def test_a_copy_may_be_all_that_is_left() -> None:
    _, panel = trained_panel()
    before = panel.vectors().clone()
    panel.arrange({1: 3})
    assert panel.slots == [1]
    assert torch.equal(panel.vectors(), before[[3]])


def test_who_begins_anew_has_made_no_steps() -> None:
    """Otherwise Adam would take its empty moments for full ones, and make steps many times as
    long."""
    side = parties()
    panel = panel_of(side, 2)
    play(panel, slice(2, 3))
    panel.losses()
    panel.arrange({2: None})
    assert torch.equal(panel.vectors(), side.discriminator_row(2)[:, :SIZE])
    assert not moments(panel).any()
    assert panel._parts[0].critics.player.steps == 0
    fresh = panel_of(side, 2)
    for one in (panel, fresh):
        play(one, slice(2, 3))
    assert torch.equal(panel.vectors(), fresh.vectors())


def test_a_panel_may_become_empty() -> None:
    _, panel = trained_panel()
    panel.arrange({})
    assert panel.slots == []


def test_losses_have_to_be_asked_for_before() -> None:
    panel = panel_of(parties(), 0, 1)
    play(panel, slice(0, 2))
    with pytest.raises(AssertionError, match="losses that nobody has asked for"):
        panel.arrange({0: 0})


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Model:
    """A second architecture for the same images."""
    layers = PAIR.discriminator.layers
    network = Network((*layers[:2], *layers[4:]))
    other = dataclasses.replace(PAIR, name="narrow", discriminator=network)
    monkeypatch.setitem(MODELS, "narrow", lambda: other)
    return other


def test_there_is_a_panel_for_every_architecture(narrow: Model) -> None:
    side = parties(nodes=5, md=SplitConfig(models=("mlp-digits", "narrow"), batches=2))
    panels = panels_of(side)
    assert [panel.slots for panel in panels] == [[0, 2, 4], [1, 3]]
    assert panels[1].vectors().shape == (2, narrow.discriminator.size)
    assert [panel.slots for panel in panels_of(parties(nodes=5))] == [[0, 1, 2, 3, 4]]


def test_there_is_no_panel_without_discriminators(narrow: Model) -> None:
    md = SplitConfig(models=("mlp-digits", "narrow"), discriminators=1)
    assert [panel.slots for panel in panels_of(parties(md=md))] == [[0]]


def test_data_are_those_of_the_workers_in_turn() -> None:
    """Whoever is idle draws nothing; a worker goes on where it stopped."""
    side = parties()

    def data() -> Data:
        nodes = side.experiment.nodes
        places = {node: index for index, node in enumerate(nodes)}
        return Data(places, side.real(nodes), side.proportions(nodes), B)

    one, other = data(), data()
    batches, proportions = one.of(["2", "0"], 2)
    first, second = list(batches)
    assert first.images.shape == (2, B, *PAIR.image_shape)
    look = next(proportions)
    assert look.shape == (2, B)
    alone, alone_looks = other.of(["0"], 1)
    assert torch.equal(next(alone).images[0], first.images[1])
    assert torch.equal(next(alone_looks)[0], look[1])
    assert torch.equal(next(other.of(["0"], 1)[0]).images[0], second.images[1])


def test_blocks_of_one_compute_what_lone_discriminators_do() -> None:
    """To the bit, so that the simulator can be held against daemons."""
    one_by_one = panel_of(parties(engine=EngineConfig(block_nodes=1)), 0, 1, 2, 3)
    feedback = play(one_by_one, slice(0, 4))
    losses, vectors = one_by_one.losses(), one_by_one.vectors()
    for slot in range(4):
        alone = panel_of(parties(), slot)
        for together, own in zip(feedback, play(alone, slice(slot, slot + 1)), strict=True):
            assert torch.equal(together[slot], own[0])
        assert torch.equal(vectors[slot], alone.vectors()[0])
        assert losses.d[slot] == alone.losses().d[0]
