"""What the benchmark's processes are told, and what they answer."""

from typing import Literal

import msgspec

SEED = 0

WORKER = "tools.bench_worker"
"""Module that a measured process runs."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What one measured process does."""

    side: Literal["plain", "simulator", "node", "ceilings"]
    """A bare loop; our lockstep simulator; one node as a daemon trains it; the machine itself."""
    model: str = "mlp-digits"
    dataset: str = "digits"
    batch: int = 16
    nodes: int = 1
    exchange_every: int = 20
    threads: int = 0
    """0: as many as torch takes by itself."""
    spins: bool = False
    """Waiting threads spin, as is torch's default; else they sleep, as with our command line."""
    resampled: bool = False
    """Each node draws its images from the whole data set, so that any number of nodes has some;
    the overlay is sparse."""

    @property
    def environment(self) -> dict[str, str | None]:
        """What has to be set (`None`: unset) before the process loads torch."""
        return {
            "OMP_WAIT_POLICY": None if self.spins else "PASSIVE",
            "OMP_NUM_THREADS": str(self.threads) if self.threads else None,
        }


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of one process."""

    node_iterations: int
    busy_s: float
    """Seconds of training and exchanging."""
    peak_bytes: int
    """Most memory that the process has held so far, shared libraries included."""

    @property
    def per_s(self) -> float:
        """Node-iterations per second."""
        return self.node_iterations / self.busy_s


class Ceilings(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine can do at best, with so many threads."""

    threads: int
    gflops: float
    """Float32 product of two large matrices."""
    gbytes_per_s: float
    """A large copy, counting what is read and what is written."""


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """Why a process could not do its job, in a line."""

    why: str
