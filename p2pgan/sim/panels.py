"""All discriminators of a simulated run of MD-GAN, those of one architecture in one computation.

Discriminators have rows of their own and stay where they are; what moves is whose images they see.

Shape letters: N discriminators of one architecture, P parameters, B batch, C H W image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from p2pgan.experiment import ShardBatches
from p2pgan.gan.blocks import Batch, DiscriminatorStep, Judged
from p2pgan.gan.cohort import Losses, mean_losses
from p2pgan.gan.latents import LatentSource
from p2pgan.gan.networks import Network
from p2pgan.gan.split import Fakes, criticise
from p2pgan.parties import Parties


class Panel:
    """Discriminators of one architecture."""

    def __init__(self, parties: Parties, network: Network, slots: Sequence[int]) -> None:
        """As they begin.

        Args:
            parties: what they are of.
            network: their architecture.
            slots: their numbers, ascending.
        """
        self._parties, self._network = parties, network
        self.slots = list(slots)
        self._rows_NE = torch.cat([parties.discriminator_row(slot) for slot in slots])
        self._critics = parties.critics(network, self._rows_NE)
        self._steps: list[DiscriminatorStep] = []
        self._judged: list[Judged] = []

    def criticise(
        self, real: Batch, learnt: Fakes, judged: Fakes, proportions: Iterator[Tensor]
    ) -> Tensor:
        """An iteration of all; their feedback, `(N, B, C, H, W)` in order of slots."""
        criticism = criticise(self._critics, real, learnt, judged, proportions)
        self._steps += criticism.steps
        self._judged.append(criticism.judged)
        return criticism.feedback

    def losses(self) -> Losses:
        """Means since they were last asked for; at least one iteration ago."""
        losses = mean_losses(self._parties.game, self._steps, self._judged)
        self._steps, self._judged = [], []
        return losses

    @torch.inference_mode()
    def vectors(self) -> Tensor:
        """Their networks, `(N, P)`."""
        self._critics.player.store()
        self._critics.player.load()
        return self._rows_NE[:, : self._network.size]

    @torch.inference_mode()
    def forget(self) -> None:
        """Starts Adam again."""
        player = self._critics.player
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
        assert not self._steps, "losses that nobody has asked for"
        player = self._critics.player
        player.store()
        place = {slot: row for row, slot in enumerate(self.slots)}
        rows = [
            self._parties.discriminator_row(slot)
            if source is None
            else self._rows_NE[place[source]][None].clone()
            for slot, source in sorted(sources.items())
        ]
        self.slots = sorted(sources)
        if rows:
            self._rows_NE = torch.cat(rows)
            self._critics = self._parties.critics(self._network, self._rows_NE)
            # One count for all, as in a block; who begins anew has nobody beside it to copy.
            is_new = None in sources.values()
            self._critics.player.steps = 0 if is_new else player.steps


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
