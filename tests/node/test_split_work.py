"""MD-GAN's two sides on real networks."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from p2pgan.config import RunConfig, ScoreConfig, SplitConfig, TrainConfig
from p2pgan.errors import CheckpointError
from p2pgan.experiment import prepare
from p2pgan.gan.checkpoint import load
from p2pgan.gan.split import Fakes, combined, criticise
from p2pgan.mixing.moves import batches_of
from p2pgan.node.kept import Resumption, Sealed
from p2pgan.node.split_work import CriticWork, GeneratorWork
from p2pgan.parties import Parties
from p2pgan.protocol.chunks import Arrival
from p2pgan.protocol.instructions import Feedback
from tests.node.seats import seat_of

CONFIG = RunConfig(
    algorithm="md-gan",
    nodes=3,
    iterations=20,
    batch_size=8,
    device="cpu",
    score=ScoreConfig(samples=50),
    md=SplitConfig(batches=2),
)
SEALED = Sealed(machine=b"where", draws=()).encode()


def parties_of(tmp_path: Path, **changes: Any) -> Parties:
    return Parties(prepare(msgspec.structs.replace(CONFIG, **changes), tmp_path))


def arrival(data: bytes, slot: int = 0, number: int = 0) -> Arrival:
    return Arrival(peer="x", exchange="x.1", nets=(), round=1, data=data, slot=slot, number=number)


class Team:
    """A coordinator and its workers, discriminator i on worker i."""

    def __init__(self, parties: Parties, tmp_path: Path) -> None:
        self.parties = parties
        self.generator = GeneratorWork(
            parties, seat_of("coordinator", tmp_path / "c" / "checkpoint.safetensors")
        )
        self.critics = [
            CriticWork(parties, seat_of(node, tmp_path / node / "checkpoint.safetensors"))
            for node in parties.experiment.nodes
        ]
        for slot, critic in enumerate(self.critics):
            critic.make(slot)

    def iterate(self, slots: range = range(3)) -> list[tuple[float, float]]:
        payloads, told, losses = self.generator.generate(slots), [], []
        for slot, payload in zip(slots, payloads, strict=True):
            done = self.critics[slot].criticise(arrival(payload, slot))
            told.append(Feedback(slot=slot, data=done.feedback))
            losses.append((done.loss_g, done.loss_d))
        assert not self.generator.learn(told)
        return losses

    @property
    def weights(self) -> bytes:
        return self.generator._row_1E[0].numpy().tobytes()


def by_hand(parties: Parties, iterations: int) -> torch.Tensor:
    """The generator after so many iterations, out of the functions that both sides are made of."""
    row = parties.generator_row()
    source, nodes = parties.source(row), parties.experiment.nodes
    rows = torch.cat([parties.discriminator_row(slot) for slot in range(3)])
    critics = parties.critics(parties.network(0), rows)
    real = parties.real(nodes)(range(3), iterations)
    for _ in range(iterations):
        with torch.inference_mode():
            made = source.generate(2)
            judged = [batches_of(slot, 2)[0] for slot in range(3)]
            learnt = [batches_of(slot, 2)[1] for slot in range(3)]
            done = criticise(
                critics,
                next(real),
                Fakes(made.images[learnt], made.labels_KB[learnt]),
                Fakes(made.images[judged], made.labels_KB[judged]),
                iter(()),
            )
            source.learn(made, combined(list(done.feedback), judged, 2))
    return row[0]


def test_apart_they_compute_what_they_compute_together(tmp_path: Path) -> None:
    parties = parties_of(tmp_path)
    team = Team(parties, tmp_path)
    for _ in range(5):
        losses = team.iterate()
    assert np.isfinite(losses).all()
    size = parties.experiment.model.generator.size
    apart = np.frombuffer(team.weights, dtype="f4")[:size]
    np.testing.assert_allclose(apart, by_hand(parties, 5).numpy(), rtol=1e-4, atol=1e-6)


def test_each_is_sent_the_two_batches_that_are_due_to_it(tmp_path: Path) -> None:
    parties = parties_of(tmp_path)
    payloads = Team(parties, tmp_path).generator.generate(range(3))
    half = len(payloads[0]) // 2
    assert payloads[0][:half] != payloads[0][half:]
    assert payloads[0] == payloads[2]
    assert payloads[1] == payloads[0][half:] + payloads[0][:half]


def test_a_discriminator_that_has_moved_goes_on_where_it_was(tmp_path: Path) -> None:
    """With its moments and the number of its steps."""
    here, there = (Team(parties_of(tmp_path), tmp_path) for _ in range(2))
    for team in (here, there):
        team.iterate()
    data, steps = there.critics[0].pack()
    assert steps == 1
    there.critics[0].take(arrival(data, 0, steps))
    assert here.iterate() == there.iterate()
    assert here.weights == there.weights


def test_without_their_moments_discriminators_start_adam_again(tmp_path: Path) -> None:
    parties = parties_of(tmp_path, md=SplitConfig(batches=2, moments="reset"))
    team = Team(parties, tmp_path)
    team.iterate()
    data, _ = team.critics[0].pack()
    assert len(data) == 4 * parties.network(0).size
    team.critics[1].take(arrival(data, 0, 77))
    packed, steps = team.critics[1].pack()
    assert (packed, steps) == (data, 0)


def test_feedback_that_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    parties = parties_of(tmp_path, md=SplitConfig(batches=2, share=0.1))
    whole, spoilt = (Team(parties, tmp_path / name) for name in "ab")
    for team in (whole, spoilt):
        payloads = team.generator.generate(range(3))
        told = [
            Feedback(slot=slot, data=team.critics[slot].criticise(arrival(data, slot)).feedback)
            for slot, data in enumerate(payloads)
        ]
        if team is spoilt:
            values = np.frombuffer(told[1].data, dtype="<f4").copy()
            values[-1] = 0.5
            told[1] = Feedback(slot=1, data=values.tobytes())
            assert team.generator.learn(told) == [1]
        else:
            assert team.generator.learn([told[0], told[2]]) == []
    assert whole.weights == spoilt.weights


def test_without_any_feedback_that_makes_sense_nothing_is_learned(tmp_path: Path) -> None:
    team = Team(parties_of(tmp_path, md=SplitConfig(batches=2, share=0.1)), tmp_path)
    before = team.weights
    team.generator.generate([0])
    bad = np.full(2 * 52, 9.5, dtype="<f4").tobytes()
    assert team.generator.learn([Feedback(slot=0, data=bad)]) == [0]
    assert team.weights == before


def test_asynchronously_each_is_served_on_its_own(tmp_path: Path) -> None:
    """Feedback counts where the generator is by then; the order of arrivals is any."""
    team = Team(parties_of(tmp_path, md=SplitConfig(batches=2, asynchronous=True)), tmp_path)
    payloads = list(team.generator.generate(range(3)))
    for slot in (2, 0, 0, 1):
        done = team.critics[slot].criticise(arrival(payloads[slot], slot))
        assert team.generator.learn([Feedback(slot=slot, data=done.feedback)]) == []
        (payloads[slot],) = team.generator.generate([slot])
    assert team.generator._source.player.steps == 4


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_coordinator_goes_on_where_it_was_saved(tmp_path: Path, ema: float) -> None:
    """Networks, moments, running mean and latents: the next iterations are the same to the bit."""
    parties = parties_of(tmp_path, train=TrainConfig(ema=ema))
    team = Team(parties, tmp_path)
    for _ in range(3):
        team.iterate()
    path = team.generator.save(SEALED)
    saved = Resumption.read(path, parties.experiment.model)
    assert (saved.checkpoint.iterations, saved.sealed.machine) == (3, b"where")
    assert (saved.checkpoint.ema is not None) == bool(ema)
    again = GeneratorWork(parties, seat_of("coordinator", path, saved))
    feedback = np.random.default_rng(0).normal(size=8 * 64).astype("<f4").tobytes()
    for _ in range(3):
        assert again.generate([0, 1]) == team.generator.generate([0, 1])
        for work in (again, team.generator):
            work.learn([Feedback(slot=slot, data=feedback) for slot in (0, 1)])
    assert again._row_1E[0].numpy().tobytes() == team.weights


def test_a_worker_saves_its_discriminator_alone(tmp_path: Path) -> None:
    parties = parties_of(tmp_path)
    team = Team(parties, tmp_path)
    team.iterate()
    path = team.critics[2].save(b"2")
    assert path is not None
    saved = load(path, parties.experiment.model)
    assert (saved.node, saved.iterations, set(saved.vectors)) == ("2", 1, {"D"})
    assert not saved.kept, "nobody goes on from it"
    with pytest.raises(CheckpointError, match="expected a generator, got a discriminator alone"):
        _ = saved.generator


def test_an_idle_worker_saves_nothing(tmp_path: Path) -> None:
    """And leaves nothing of an earlier start: another worker has that discriminator."""
    path = tmp_path / "checkpoint.safetensors"
    work = CriticWork(parties_of(tmp_path), seat_of("0", path))
    assert work.save(b"") is None
    path.write_text("old")
    assert work.save(b"") is None
    assert not path.exists()


def test_the_generator_is_scored_and_saved(tmp_path: Path) -> None:
    parties = parties_of(tmp_path)
    team = Team(parties, tmp_path)
    team.iterate()
    assert team.generator.score().samples == 50
    saved = load(team.generator.save(SEALED), parties.experiment.model)
    assert (saved.node, set(saved.vectors)) == ("coordinator", {"G"})
    assert (
        parties.experiment.score(saved.generator, "coordinator").fid == team.generator.score().fid
    )
