"""All discriminators of a simulated run of MD-GAN, those of one architecture in one computation.

Discriminators have rows of their own and stay where they are; what moves is whose images they see.

Shape letters: N discriminators of one architecture, P parameters, B batch, C H W image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from p2pgan.experiment import ShardBatches
from p2pgan.gan.blocks import Batch, Critics, DiscriminatorStep, Judged
from p2pgan.gan.cohort import Losses, mean_losses
from p2pgan.gan.latents import LatentSource
from p2pgan.gan.networks import Network
from p2pgan.gan.plan import even
from p2pgan.gan.split import Fakes, criticise
from p2pgan.parties import Parties


@dataclass
class Part:
    """Some discriminators of a panel that are computed together, and what they did lately."""

    rows: slice
    critics: Critics
    steps: list[DiscriminatorStep] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)

    def of(self, fakes: Fakes) -> Fakes:
        """Their part of what all get."""
        return Fakes(fakes.images[self.rows], fakes.labels_NB[self.rows])


class Panel:
    """Discriminators of one architecture.

    They are one computation, or blocks of `engine.block_nodes`; in blocks of one they compute to
    the bit what daemons do.
    """

    def __init__(self, parties: Parties, network: Network, slots: Sequence[int]) -> None:
        """As they begin.

        Args:
            parties: what they are of.
            network: their architecture.
            slots: their numbers, ascending.
        """
        self._parties, self._network = parties, network
        self.slots = list(slots)
        self._set(torch.cat([parties.discriminator_row(slot) for slot in slots]), 0)

    def criticise(
        self, real: Batch, learnt: Fakes, judged: Fakes, proportions: Iterator[Tensor]
    ) -> Tensor:
        """An iteration of all; their feedback, `(N, B, C, H, W)` in order of slots."""
        game, feedback = self._parties.game, []
        count = game.discriminator_steps if game.loss.penalty is not None else 0
        looks = [next(proportions) for _ in range(count)]
        for part in self._parts:
            own = Batch(real.images[part.rows], real.labels_NB[part.rows])
            made = criticise(
                part.critics,
                own,
                part.of(learnt),
                part.of(judged),
                (look_NB[part.rows] for look_NB in looks),
            )
            part.steps += made.steps
            part.judged.append(made.judged)
            feedback.append(made.feedback)
        return torch.cat(feedback)

    def losses(self) -> Losses:
        """Means since they were last asked for; at least one iteration ago."""
        game = self._parties.game
        losses = [mean_losses(game, part.steps, part.judged) for part in self._parts]
        for part in self._parts:
            part.steps, part.judged = [], []
        return Losses.joined(losses)

    @torch.inference_mode()
    def vectors(self) -> Tensor:
        """Their networks, `(N, P)`."""
        for part in self._parts:
            part.critics.player.store()
            part.critics.player.load()
        return self._rows_NE[:, : self._network.size]

    @torch.inference_mode()
    def forget(self) -> None:
        """Starts Adam again."""
        for part in self._parts:
            player = part.critics.player
            player.store()
            player.forget()
            player.load()

    @torch.inference_mode()
    def arrange(self, sources: Mapping[int, int | None]) -> None:
        """Leaves discriminators out, and makes new ones of others.

        Args:
            sources: for each slot that there is from now on, the slot whose discriminator and
                moments it gets (its own, if nothing changes); `None`: it begins anew.
        """
        for part in self._parts:
            assert not part.steps, "losses that nobody has asked for"
            part.critics.player.store()
        place = {slot: row for row, slot in enumerate(self.slots)}
        rows = [
            self._parties.discriminator_row(slot)
            if source is None
            else self._rows_NE[place[source]][None].clone()
            for slot, source in sorted(sources.items())
        ]
        self.slots = sorted(sources)
        if rows:
            # One count for all, as in a block; who begins anew has nobody beside it to copy.
            is_new = None in sources.values()
            self._set(torch.cat(rows), 0 if is_new else self._parts[0].critics.player.steps)

    def _set(self, rows_NE: Tensor, steps: int) -> None:
        self._rows_NE = rows_NE
        most = self._parties.experiment.config.engine.block_nodes or len(rows_NE)
        self._parts = []
        for rows in even(len(rows_NE), -(-len(rows_NE) // most)):
            own = slice(rows.start, rows.stop)
            critics = self._parties.critics(self._network, rows_NE[own])
            critics.player.steps = steps
            self._parts.append(Part(own, critics))


@dataclass(frozen=True)
class Data:
    """The workers' own images and streams."""

    workers: Mapping[str, int]
    """Place of each in the run's order."""
    real: ShardBatches
    proportions: LatentSource
    batch: int

    def of(self, workers: Sequence[str], count: int) -> tuple[Iterator[Batch], Iterator[Tensor]]:
        """`count` batches of each of these workers, and where their gradient penalties look."""
        nodes = [self.workers[worker] for worker in workers]
        looks = iter(lambda: self.proportions.proportions(nodes, self.batch), None)
        return self.real(nodes, count), looks


def panels_of(parties: Parties) -> list[Panel]:
    """A panel for every architecture."""
    slots = range(parties.discriminators)
    kinds = len(parties.kinds)
    return [
        Panel(parties, pair.discriminator, slots[kind::kinds])
        for kind, pair in enumerate(parties.kinds)
        if slots[kind::kinds]
    ]
