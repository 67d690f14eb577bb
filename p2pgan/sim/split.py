"""The lockstep simulator of MD-GAN: one generator, and all discriminators in batched computations.

A global iteration is that of the daemons: batches out, steps and feedback at the workers, one step
of the generator. What takes time in the real system (answers, moves, a worker that is gone) takes
none here; in asynchronous mode every discriminator answers once in an iteration, in random order.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from p2pgan.gan.checkpoint import Checkpoint, save
from p2pgan.gan.cohort import calls_on
from p2pgan.gan.models import Model
from p2pgan.gan.plan import threads_of_calls
from p2pgan.gan.precision import products_in
from p2pgan.gan.split import Batches, Fakes, combined, dense, sparse
from p2pgan.inspect.traffic import count_sent
from p2pgan.mixing.moves import batches_of, first_places, moved, replacement
from p2pgan.mixing.rules import consensus_distance
from p2pgan.parties import Parties
from p2pgan.payloads import Payloads, discriminator_bytes
from p2pgan.record import schema
from p2pgan.seeds import EVERYONE, stream
from p2pgan.sim.exchange_log import ExchangeLog
from p2pgan.sim.panels import Data, Panel, panels_of
from p2pgan.sim.simulation import Simulation
from p2pgan.types import COORDINATOR

Count = Counter[str]
"""Messages or bytes by kind."""


class SplitRun(Simulation):
    """A run of MD-GAN; its arguments are those of `Simulation`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        experiment, seed = self.experiment, self.experiment.config.seed
        self.parties = parties = Parties(experiment)
        self.workers = list(experiment.nodes)
        """Who is there, in the run's order."""
        self._draws = parties.draws()
        self._faults, self._arrivals = (
            stream(seed, EVERYONE, purpose) for purpose in ("faults", "arrivals")
        )
        self.places = first_places(self.workers, parties.discriminators, self._draws)
        self._row_1E = parties.generator_row()
        self._source = parties.source(self._row_1E)
        self._panels = panels_of(parties)
        self._data = Data(
            {worker: index for index, worker in enumerate(self.workers)},
            parties.real(self.workers),
            parties.proportions(self.workers),
            parties.batch_shape[0],
        )
        self._waiting: dict[int, Batches] = {}
        """Asynchronous: what each discriminator has been sent."""
        self._losses: dict[int, np.ndarray] = {}
        """Of each discriminator in this round: iterations, and sums of its and its fooling loss."""
        self._counted: dict[tuple[str, str], tuple[Count, Count]] = defaultdict(
            lambda: (Counter(), Counter())
        )
        """Messages and bytes of this round, by node and `sent` or `received`."""

    def _nodes(self) -> Iterable[str]:
        return (COORDINATOR, *self.workers)

    def _take_last_step(self) -> None:
        raise AssertionError("one generator has no other to agree with, and the checks know it")

    def score(self) -> None:
        """Scores of the generator, and the discriminators' consensus distance, into the log."""
        with self._timed("score_s"):
            self.scores = [self.experiment.score(self._generator, COORDINATOR)]
            self.consensus = {}
            if len(self._panels) == 1:  # other architectures have no distance
                self.consensus["D"] = consensus_distance(self._panels[0].vectors())
        with self._timed("log_s"):
            self._record_scores({COORDINATOR: self.scores[0]})
        self.scored_round = self.round

    def measure(self) -> None:
        """Quality of the generator as it is now, into the log."""
        with self._timed("score_s"):
            self.quality = {COORDINATOR: self.experiment.quality(self._generator, COORDINATOR)}
        with self._timed("log_s"):
            self._record_quality()
            self._flush()

    def save(self, reason: str) -> None:
        with self._timed("log_s"):
            self._save()
            body = schema.NodeStopped(reason=reason, iterations=self.iterations, rounds=self.round)
            for node in self._nodes():
                self._record(body, node)

    def close(self) -> None:
        """Nothing else trains."""

    @property
    def _generator(self) -> Tensor:
        """The one that is scored and sampled, `(P,)`."""
        return self._row_1E[0, -self.experiment.model.generator.size :]

    # -- a round -----------------------------------------------------------------------------------

    def _play_round(self) -> None:
        config, before = self.experiment.config, self.costs
        left = min(self.experiment.exchange_every, config.iterations - self.iterations)
        threads = threads_of_calls(
            self.experiment.model,
            self._data.batch * self.parties.discriminators,
            self.experiment.machine,
        )
        with (
            products_in(config.engine.precision),
            calls_on(threads),
            torch.inference_mode(),
        ):
            while left:
                count = min(left, self._until_fault())
                with self._timed("train_s"):
                    self._iterate(count)
                self.iterations, left = self.iterations + count, left - count
                if self._is_fault_due():
                    self._lose_worker()
            self.round += 1
            with self._timed("log_s"):
                self._record_round(self.costs.train_s - before.train_s)
            if config.md.moves and self.iterations < config.iterations:
                with self._timed("exchange_s"):
                    self._move()
        with self._timed("log_s"):
            self._record_traffic()

    def _iterate(self, count: int) -> None:
        """So many global iterations, between two changes of who is where."""
        feeds = [
            (panel, *self._data.of([self.places[slot] for slot in panel.slots], count))
            for panel in self._panels
        ]
        for _ in range(count):
            batches = self._sent_batches()
            feedback: dict[int, Tensor] = {}
            for panel, real, looks in feeds:
                learnt, judged = (self._fakes(panel, batches, part) for part in ("d", "g"))
                given = panel.criticise(next(real), learnt, judged, looks)
                feedback |= zip(panel.slots, map(self._as_received, given), strict=True)
            self._learn(batches, feedback)
        for panel in self._panels:
            losses = panel.losses()
            for slot, d, g in zip(panel.slots, losses.d, losses.g, strict=True):
                made = self._losses.setdefault(slot, np.zeros(3))
                made += count * np.array([1.0, d, g])
        self._count_iterations(count)

    def _sent_batches(self) -> dict[int, Batches]:
        """What each discriminator has before it: the same for all, or batches of its own."""
        if not self.experiment.config.md.asynchronous:
            return dict.fromkeys(sorted(self.places), self._source.generate(self.parties.batches))
        for slot in sorted(self.places):
            if slot not in self._waiting:
                self._waiting[slot] = self._source.generate(self.parties.own_batches)
        return self._waiting

    def _fakes(self, panel: Panel, batches: dict[int, Batches], part: str) -> Fakes:
        """The batches that a panel's discriminators learn from (`d`) or judge (`g`)."""
        chosen = [(batches[slot], self._index(slot, part)) for slot in panel.slots]
        images = torch.stack([made.images[index] for made, index in chosen])
        return Fakes(images, torch.stack([made.labels_KB[index] for made, index in chosen]))

    def _index(self, slot: int, part: str) -> int:
        """Which batch it is; who has its own judges the first and learns from the last."""
        if self.experiment.config.md.asynchronous:
            return 0 if part == "g" else self.parties.own_batches - 1
        judged, learnt = batches_of(slot, self.parties.batches)
        return judged if part == "g" else learnt

    def _as_received(self, feedback: Tensor) -> Tensor:
        share = self.experiment.config.md.share
        return feedback if share == 1 else dense(*sparse(feedback, share), feedback.shape)

    def _learn(self, batches: dict[int, Batches], feedback: dict[int, Tensor]) -> None:
        slots = sorted(feedback)
        if not self.experiment.config.md.asynchronous:
            judged = [self._index(slot, "g") for slot in slots]
            given = [feedback[slot] for slot in slots]
            made = batches[slots[0]]
            self._source.learn(made, combined(given, judged, self.parties.batches))
            return
        for slot in self._arrivals.permutation(slots).tolist():
            made = self._source.again(batches[slot], 1)
            self._source.learn(made, feedback[slot][None].clone())
            self._waiting[slot] = self._source.generate(self.parties.own_batches)

    # -- who is where ------------------------------------------------------------------------------

    def _move(self) -> None:
        """Every discriminator goes to another worker."""
        before, self.places = self.places, moved(self.places, self.workers, self._draws)
        if self.places == before:  # with nowhere to go
            return
        for slot, worker in self.places.items():
            self._record_move(slot, before[slot], worker)
        if self.experiment.config.md.moments == "reset":
            for panel in self._panels:
                panel.forget()

    def _until_fault(self) -> int:
        every = self.experiment.config.coordinator.lose_every
        return every - self.iterations % every if every else self.experiment.config.iterations

    def _is_fault_due(self) -> bool:
        config = self.experiment.config
        every = config.coordinator.lose_every
        return every > 0 and self.iterations % every == 0 and self.iterations < config.iterations

    def _lose_worker(self) -> None:
        """A worker is gone with all it had; its discriminator is made again if somebody is idle.

        The copy has the other's moments in any case: with one count of Adam's steps for a panel,
        empty ones would make its first steps many times too long.
        """
        worker = self.workers.pop(int(self._faults.integers(len(self.workers))))
        self._record(schema.FaultInjected(fault="crash"), worker)
        lost = next((slot for slot, place in self.places.items() if place == worker), None)
        if lost is None:
            return
        del self.places[lost]
        for told in (self._waiting, self._losses):
            told.pop(lost, None)
        kinds = len(self.parties.kinds)
        made = replacement(lost, self.places, self.workers, kinds, self._draws)
        sources: dict[int, int | None] = {slot: slot for slot in self.places}
        if made is not None:
            sources[lost], idle = made
            if (copied := sources[lost]) is not None:
                self._record_move(lost, self.places[copied], idle)
            self.places[lost] = idle
        for panel in self._panels:
            kind = panel.slots[0] % kinds
            panel.arrange({s: source for s, source in sources.items() if s % kinds == kind})
        self._panels = [panel for panel in self._panels if panel.slots]

    # -- the log -----------------------------------------------------------------------------------

    def _record_round(self, train_s: float) -> None:
        """Each active worker's losses, and the coordinator's mean of them."""
        usual = schema.RoundFinished(round=self.round, iterations=self.iterations, train_s=train_s)
        for slot, (iterations, d, g) in sorted(self._losses.items()):
            body = msgspec.structs.replace(usual, loss_d=d / iterations, loss_g=g / iterations)
            self._record(body, self.places[slot])
        if self._losses:  # otherwise the only one with a discriminator was lost at the end
            iterations, _, g = sum(self._losses.values(), np.zeros(3))
            usual = msgspec.structs.replace(usual, loss_g=g / iterations)
        self._record(usual, COORDINATOR)
        self._losses.clear()

    def _count_iterations(self, count: int) -> None:
        """The messages of some iterations, as daemons would have sent them."""
        layout = Payloads.of(self.parties)
        for worker in self.places.values():
            self._sent("batches", COORDINATOR, worker, count, layout.batches_bytes)
            self._sent("feedback", worker, COORDINATOR, count, layout.feedback_bytes)

    def _record_move(self, slot: int, sender: str, receiver: str) -> None:
        """A discriminator on its way from worker to worker."""
        size = discriminator_bytes(self.parties, slot)
        log = ExchangeLog(self.experiment.nodes, self.round, ("D",), size, "move")
        for node, body in log.moved(sender, receiver):
            self._record(body, node)
        self._sent("move", sender, receiver, 1, size)

    def _sent(self, kind: str, sender: str, receiver: str, messages: int, size: int) -> None:
        """Counts messages of so many bytes each."""
        for node, way in ((sender, "sent"), (receiver, "received")):
            counted, sizes = self._counted[node, way]
            counted[kind] += messages
            sizes[kind] += messages * size

    def _record_traffic(self) -> None:
        for node in (COORDINATOR, *self.experiment.nodes):
            sent, received = (self._tallies(node, way) for way in ("sent", "received"))
            if sent or received:
                body = schema.Traffic(round=self.round, sent=sent, received=received)
                self._record(body, node)
                count_sent(self.kinds, body)
        self._counted.clear()

    def _tallies(self, node: str, way: str) -> dict[str, schema.Tally]:
        messages, sizes = self._counted[node, way]
        return {
            kind: schema.Tally(messages=count, payload_bytes=sizes[kind])
            for kind, count in messages.items()
        }

    def _save(self) -> None:
        size = self.experiment.model.generator.size
        ema = self._generator if self.experiment.config.train.ema else None
        self._save_one(
            COORDINATOR,
            Checkpoint(
                vectors={"G": self._row_1E[0, :size]},
                ema=ema,
                run=self.directory.path.name,
                node=COORDINATOR,
                iterations=self.iterations,
            ),
            self.experiment.model,
        )
        for panel in self._panels:
            for slot, vector_P in zip(panel.slots, panel.vectors(), strict=True):
                worker = self.places[slot]
                checkpoint = Checkpoint(
                    vectors={"D": vector_P},
                    run=self.directory.path.name,
                    node=worker,
                    iterations=self.iterations,
                )
                self._save_one(worker, checkpoint, self.parties.model(slot))
        for worker in set(self.experiment.nodes) - set(self.places.values()):
            # Of a discriminator that has moved on, or was lost.
            self.directory.checkpoint(worker).unlink(missing_ok=True)
        self.saved_iterations = self.iterations

    def _save_one(self, node: str, checkpoint: Checkpoint, model: Model) -> None:
        path = self.directory.checkpoint(node)
        save(path, checkpoint, model)
        place = str(path.relative_to(self.directory.path))
        self._record(schema.CheckpointSaved(path=place, iterations=self.iterations), node)
