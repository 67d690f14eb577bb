"""Several processes (ranks) of one run, and the way between them.

Two operations are all that has to cross: sums over everybody, and vectors between some. A run in
one process is the same code over a link to nobody.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import msgspec
import torch
from torch import Tensor

from p2pgan.errors import ConfigError, P2PGanError

T = TypeVar("T")


class Link(Protocol):
    """The way to the other ranks. Every rank calls the same operations in the same order."""

    rank: int
    """This process, from 0."""
    count: int
    """Number of ranks, this one included."""

    def add(self, values: Tensor) -> Tensor:
        """The sum over all ranks of float64 values of one shape, the same at every rank.

        Raises:
            RankLostError: if a rank is gone or silent for too long, here and below.
        """

    def swap(self, outgoing: Mapping[int, Tensor], incoming: Mapping[int, int]) -> list[Tensor]:
        """Vectors sent to some ranks and received from some.

        Args:
            outgoing: by receiving rank, float32 values of any shape, at least one.
            incoming: by sending rank, how many values it sends.
        Returns:
            What came, flat float32, in the order of `incoming`.
        """


class Alone:
    """The link of a run in one process."""

    rank = 0
    count = 1

    def add(self, values: Tensor) -> Tensor:
        return values

    def swap(self, outgoing: Mapping[int, Tensor], incoming: Mapping[int, int]) -> list[Tensor]:
        assert not outgoing
        assert not incoming
        return []


class Ranks:
    """All ranks of a run, seen from one: what they agree on."""

    def __init__(self, link: Link) -> None:
        self.link = link

    @property
    def is_first(self) -> bool:
        """Whether this rank keeps the log and the files."""
        return self.link.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is nobody else."""
        return self.link.count == 1

    def agree(self, wanted: bool) -> bool:
        """Whether any rank wants it; when it returns, every rank has come this far."""
        return bool(self.link.add(torch.tensor([float(wanted)], dtype=torch.float64)))

    def everywhere(self, action: Callable[[], T]) -> T:
        """Does something at every rank; the first rank's failure, if any, is everybody's.

        Raises:
            P2PGanError: whatever the action raises, here or elsewhere.
        """
        result, failure = None, None
        try:
            result = action()
        except P2PGanError as error:
            failure = error
        told = self._texts("" if failure is None else _written(failure))
        failed = [rank for rank, text in enumerate(told) if text]
        if failed and (failure is None or failed[0] != self.link.rank):
            raise _read(told[failed[0]], failed[0])
        if failure is not None:
            raise failure
        return result  # type: ignore[return-value]

    def from_first(self, action: Callable[[], str]) -> str:
        """The text that an action returns at the first rank, for all.

        Raises:
            P2PGanError: whatever the action raises there.
        """
        return self._texts(self.everywhere(action if self.is_first else str))[0]

    def check_same(self, text: str) -> None:
        """Refuses ranks that are about to run different things.

        Raises:
            ConfigError: at every rank, if their texts are not all the same.
        """
        told = self._texts(text)
        others = [str(rank) for rank, other in enumerate(told) if other != told[0]]
        if others:
            raise ConfigError(
                expected="the same settings, overlay, data and kind of device at every rank",
                got=f"others than the first rank's at {', '.join(others)}",
                at=f"the {self.link.count} processes of the run",
                hint="give every process the same options and files",
            )

    def _texts(self, own: str) -> list[str]:
        """Everybody's text, in the order of the ranks; as sums, since they are short and rare."""
        data, me, count = own.encode(), self.link.rank, self.link.count
        sizes_R = torch.zeros(count, dtype=torch.float64)
        sizes_R[me] = len(data)
        sizes = [int(size) for size in self.link.add(sizes_R)]
        letters_RL = torch.zeros(count, max(sizes), dtype=torch.float64)
        letters_RL[me, : len(data)] = torch.tensor(list(data), dtype=torch.float64)
        if max(sizes):
            letters_RL = self.link.add(letters_RL)
        return [
            bytes(int(letter) for letter in letters_L[:size]).decode()
            for letters_L, size in zip(letters_RL, sizes, strict=True)
        ]


def _written(error: P2PGanError) -> str:
    return msgspec.json.encode((error.expected, error.got, error.at, error.hint)).decode()


def _read(text: str, rank: int) -> P2PGanError:
    expected, got, at, hint = msgspec.json.decode(text, type=tuple[str, str, str, str])
    return P2PGanError(expected=expected, got=got, at=f"rank {rank}: {at}", hint=hint)
