"""Ranks as processes of `torch.distributed`, on one machine or several.

Numbers that everybody needs travel by gloo. Vectors travel by NCCL where every rank has a GPU of
its own, else by gloo. The one process group of torch is made and taken down here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from p2pgan.errors import RankLostError
from p2pgan.sim.ranks import Alone, Ranks

GOT_LETTERS_MAX = 200
"""Of what the libraries below say of a failure that we have no words for."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which of several processes this one is, and where they meet."""

    rank: int
    """This process, from 0."""
    count: int
    """Processes of the run."""
    local_rank: int
    """This process among those of its machine, from 0: its GPU."""
    local_count: int
    """Processes of the run on this machine."""
    meeting: str = "env://"
    """As torch takes it: `env://` where the environment tells it, `file://PATH`, `tcp://…`."""


class Processes:
    """A link over torch's process group, which must be there."""

    def __init__(self, place: Place, carrier: torch.device, timeout_s: float) -> None:
        """Args: the place, where vectors lie when they travel, and the group's own patience."""
        self.rank, self.count = place.rank, place.count
        self._carrier, self._timeout_s = carrier, timeout_s

    def add(self, values: Tensor) -> Tensor:
        values = values.clone()
        with self._losing_nobody():
            distributed.all_reduce(values)
        return values

    def swap(self, outgoing: Mapping[int, Tensor], incoming: Mapping[int, int]) -> list[Tensor]:
        sent = {rank: vectors.contiguous().to(self._carrier) for rank, vectors in outgoing.items()}
        came = {rank: torch.empty(size, device=self._carrier) for rank, size in incoming.items()}
        ways = [distributed.P2POp(distributed.isend, sent[rank], rank) for rank in sent]
        ways += [distributed.P2POp(distributed.irecv, came[rank], rank) for rank in came]
        with self._losing_nobody():
            for work in distributed.batch_isend_irecv(ways) if ways else ():
                work.wait()
        return list(came.values())

    @contextmanager
    def _losing_nobody(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RankLostError(
                expected=f"all {self.count} processes to go on",
                got=_got(error, self._timeout_s),
                at=f"rank {self.rank}",
            ) from None


@contextmanager
def joined(place: Place | None, device: str, timeout_s: float) -> Iterator[Ranks]:
    """The ranks of a run, while entered.

    Args:
        place: `None`: a run in one process.
        device: as configured; `cpu` leaves GPUs alone. Otherwise the GPUs of a machine are dealt
            out to its processes, and each finds its own as torch's current one.
        timeout_s: how long to wait for others, here and later.
    Raises:
        RankLostError: if not all processes come.
    """
    if place is None:
        yield Ranks(Alone())
        return
    has_gpu = device != "cpu" and torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
    has_own = has_gpu and place.local_count <= torch.cuda.device_count()
    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if has_own else "gloo",
            init_method=place.meeting,
            rank=place.rank,
            world_size=place.count,
            timeout=timedelta(seconds=timeout_s),
        )
    except (RuntimeError, ValueError) as error:
        raise RankLostError(
            expected=f"{place.count} processes that meet",
            got=_got(error, timeout_s),
            at=f"rank {place.rank}",
            hint="start all of them, with one address that all can reach",
        ) from None
    try:
        yield Ranks(_link(place, has_own, timeout_s))
    finally:
        distributed.destroy_process_group()


def _link(place: Place, has_own_gpu: bool, timeout_s: float) -> Processes:
    link = Processes(place, torch.device("cpu"), timeout_s)
    owners = link.add(torch.tensor([float(has_own_gpu)], dtype=torch.float64))
    if int(owners) < place.count:
        return link
    gpu = torch.device("cuda")
    distributed.all_reduce(torch.zeros(1, device=gpu))  # NCCL wants everybody at its first call
    return Processes(place, gpu, timeout_s)


def _got(error: Exception, timeout_s: float) -> str:
    """What happened in words; the libraries' own name their source files."""
    text = str(error)
    if "closed by peer" in text or "reset by peer" in text.lower():
        return "a connection that another process has closed"
    if "timed out" in text.lower() or "timeout" in text.lower():
        return f"nothing for {timeout_s:g} s"
    return f"`{(text.splitlines() or [type(error).__name__])[0][:GOT_LETTERS_MAX]}`"
