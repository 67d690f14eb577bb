"""The work of MD-GAN's two sides: a coordinator with the generator, workers with discriminators.

Source: thesis, chapter 5, section 5.2. Steps, draws and rules are the simulator's: `gan.split`,
`parties`, `mixing.moves`.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from p2pgan.errors import RemoteProtocolError
from p2pgan.gan.blocks import Batch, Critics
from p2pgan.gan.checkpoint import Checkpoint
from p2pgan.gan.cohort import mean_losses
from p2pgan.gan.precision import products_in
from p2pgan.gan.split import Batches, combined, criticise
from p2pgan.mixing.moves import batches_of
from p2pgan.node.jobs import Criticised, NodeScores, NodeWork
from p2pgan.node.kept import Kept, positions, previous_of, set_positions
from p2pgan.node.seat import Seat
from p2pgan.node.work import without_negative_moments
from p2pgan.parties import Parties
from p2pgan.payloads import Payloads, numbers, words
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival
from p2pgan.types import COORDINATOR

AHEAD = 50
"""Batches of real images that are drawn in one go; which ones does not depend on it."""


class GeneratorWork(NodeWork):
    """The coordinator's side. Belongs to the training thread.

    Args:
        parties: the two sides of the run.
        seat: the coordinator's.
    """

    def __init__(self, parties: Parties, seat: Seat) -> None:
        torch.set_num_threads(parties.config.daemon.threads)
        self._parties, self._seat = parties, seat
        resumption = seat.resumption
        self._payloads = Payloads.of(parties)
        self._device = parties.experiment.device
        self._asynchronous = parties.config.md.asynchronous
        size = parties.experiment.model.generator.size
        first = parties.generator_row()
        # Moments lie behind the network, so that they can be saved with it.
        self._row_1E = torch.cat(
            [first[:, :size], first.new_zeros(1, 2 * size), first[:, size:]], 1
        )
        if resumption is not None:
            self._row_1E[0].copy_(_saved_row(resumption.checkpoint))
        self._source = parties.source(self._row_1E)
        self._waiting: dict[int, Batches] = {}
        """What each discriminator has been sent."""
        if resumption is not None:
            self._source.player.resume(resumption.kept.steps)
            set_positions(self._source.latents.generators, resumption.kept.streams)

    def generate(self, slots: Sequence[int]) -> tuple[bytes, ...]:
        """The batch to learn from and the batch to judge, for each discriminator: of k that all
        share, or where each is served on its own, of batches of its own."""
        with _computing(self._parties):
            if not self._asynchronous:
                return self._shared(slots)
            return tuple(self._own(slot) for slot in slots)

    def _shared(self, slots: Sequence[int]) -> tuple[bytes, ...]:
        batches = self._source.generate(self._parties.batches)
        self._waiting = dict.fromkeys(slots, batches)
        parts = self._parts(batches)
        chosen = [batches_of(slot, len(parts)) for slot in slots]
        made = {pair: parts[pair[1]] + parts[pair[0]] for pair in set(chosen)}
        return tuple(made[pair] for pair in chosen)

    def _own(self, slot: int) -> bytes:
        self._waiting[slot] = batches = self._source.generate(self._parties.own_batches)
        parts = self._parts(batches)
        return parts[-1] + parts[0]

    def _parts(self, batches: Batches) -> list[bytes]:
        pairs = zip(batches.images, batches.labels_KB, strict=True)
        return [self._payloads.batch(images, labels_B) for images, labels_B in pairs]

    def learn(self, feedback: Sequence[do.Feedback]) -> Sequence[int]:
        """One step along the mean of what makes sense; none, if nothing does."""
        said, refused = {}, []
        with _computing(self._parties):
            for one in feedback:
                try:
                    said[one.slot] = self._payloads.received(one.data, self._device)
                except RemoteProtocolError:
                    refused.append(one.slot)
            if self._asynchronous:
                for slot, given in said.items():
                    made = self._source.again(self._waiting.pop(slot), 1)
                    self._source.learn(made, given[None])
            elif said:
                batches = self._waiting[next(iter(said))]
                judged = [batches_of(slot, self._parties.batches)[0] for slot in said]
                total = combined(list(said.values()), judged, self._parties.batches)
                self._source.learn(batches, total)
        return refused

    def score(self) -> NodeScores:
        scores = self._parties.experiment.score(self._judged, COORDINATOR)
        return NodeScores(fid=scores.fid, ms=scores.ms, samples=scores.samples)

    def save(self, state: bytes) -> Path:
        """Writes the generator, its running mean, Adam's moments, and where its streams stand."""
        config, player = self._parties.config, self._source.player
        size = self._parties.experiment.model.generator.size
        row_E = self._row_1E[0]
        per_iteration = self._parties.discriminators if self._asynchronous else 1
        kept = Kept(
            sealed=state,
            streams=positions(self._source.latents.generators),
            steps=player.steps,
        )
        checkpoint = Checkpoint(
            vectors={"G": row_E[:size]},
            ema=self._judged if config.train.ema else None,
            run=self._seat.run,
            node=COORDINATOR,
            iterations=player.steps // per_iteration,
            kept={"G.moments": row_E[size : 3 * size]},
            state=kept.encode(),
        )
        return self._seat.save(checkpoint, self._parties.experiment.model)

    @property
    def _judged(self) -> torch.Tensor:
        """The generator that is scored and sampled, `(P,)`."""
        size = self._parties.experiment.model.generator.size
        return self._row_1E[0, -size:] if self._parties.config.train.ema else self._row_1E[0, :size]


class CriticWork(NodeWork):
    """A worker's side. Belongs to the training thread.

    Args:
        parties: the two sides of the run.
        seat: one of its workers.
    """

    def __init__(self, parties: Parties, seat: Seat) -> None:
        torch.set_num_threads(parties.config.daemon.threads)
        self._parties, self._seat, self._node = parties, seat, seat.node
        self._payloads = Payloads.of(parties)
        self._device = parties.experiment.device
        self._travels = parties.config.md.moments == "travel"
        self._real = self._draw_real()
        looks, batch = parties.proportions([seat.node]), parties.batch_shape[0]
        self._proportions = iter(lambda: looks.proportions(range(1), batch), None)
        self._iterations = 0
        self._slot = 0
        self._row_1E = torch.empty(1, 0)
        self._critics: Critics | None = None

    def make(self, slot: int) -> None:
        self._hold(slot, self._parties.discriminator_row(slot), 0)

    def take(self, arrival: Arrival) -> None:
        """Adam goes on if its moments have come along, and starts again if not."""
        row = self._parties.discriminator_row(arrival.slot)
        values = numbers(arrival.data).to(row)
        row[0, : len(values)] = values
        without_negative_moments(row[0], self._parties.network(arrival.slot))
        self._hold(arrival.slot, row, arrival.number if self._travels else 0)

    def criticise(self, arrival: Arrival) -> Criticised:
        begun_s = time.monotonic()
        assert self._critics is not None, "batches without a discriminator"
        with _computing(self._parties):
            learnt, judged = self._payloads.batches(arrival.data, self._device)
            real = next(self._real)
            done = criticise(self._critics, real, learnt, judged, self._proportions)
            losses = mean_losses(self._parties.game, done.steps, [done.judged])
            feedback = self._payloads.feedback(done.feedback[0])
        self._iterations += 1
        return Criticised(
            feedback, float(losses.g[0]), float(losses.d[0]), time.monotonic() - begun_s
        )

    def pack(self) -> tuple[bytes, int]:
        """The discriminator, with its moments if they go along, and Adam's steps."""
        assert self._critics is not None, "no discriminator to send"
        size = self._parties.network(self._slot).size
        sent = self._row_1E[0] if self._travels else self._row_1E[0, :size]
        return words(sent), self._critics.player.steps

    def save(self, state: bytes) -> Path | None:
        """Writes the discriminator, unless it has gone to another worker: the machine knows. What
        an earlier start of this worker has saved is then nobody's."""
        if not state:
            for path in (self._seat.checkpoint, previous_of(self._seat.checkpoint)):
                path.unlink(missing_ok=True)
            return None
        size = self._parties.network(self._slot).size
        checkpoint = Checkpoint(
            vectors={"D": self._row_1E[0, :size]},
            run=self._seat.run,
            node=self._node,
            iterations=self._iterations,
        )
        return self._seat.save(checkpoint, self._parties.model(self._slot))

    def _hold(self, slot: int, row_1E: torch.Tensor, steps: int) -> None:
        self._slot, self._row_1E = slot, row_1E
        self._critics = self._parties.critics(self._parties.network(slot), row_1E)
        self._critics.player.steps = steps

    def _draw_real(self) -> Iterator[Batch]:
        drawn = self._parties.real([self._node])
        while True:
            yield from drawn(range(1), AHEAD)


@contextmanager
def _computing(parties: Parties) -> Iterator[None]:
    """As a cohort trains: nothing is recorded, and a GPU's products are as precise as asked for."""
    with products_in(parties.config.engine.precision), torch.inference_mode():
        yield


def _saved_row(saved: Checkpoint) -> torch.Tensor:
    ema = [saved.ema] if saved.ema is not None else []
    return torch.cat([saved.vectors["G"], saved.kept["G.moments"], *ema])
