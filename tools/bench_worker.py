"""One measured process of the benchmark; `tools.bench_run` starts it and tells it when to go on.

    python -m tools.bench_worker JOB SECONDS

It trains for at least that many seconds, prints a `Sample` as one line of JSON, waits for a line
on stdin, and so on until stdin ends. The first sample is the warm-up. With the side `ceilings` it
prints `Ceilings` with all threads (0) and with one, once. What goes wrong is printed as a
`Failure`.
"""

import itertools
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import torch

from p2pgan.cli.paths import data_dir
from p2pgan.config import ExchangeConfig, RunConfig, ScoreConfig
from p2pgan.data.datasets import load, to_float
from p2pgan.errors import P2PGanError
from p2pgan.experiment import Experiment, prepare
from p2pgan.gan.models import model
from p2pgan.mixing.algorithms import algorithm
from p2pgan.overlay.resolve import resolve
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.writer import RecordWriter
from p2pgan.sim.lockstep import Lockstep
from p2pgan.sim.ranks import Alone, Ranks
from p2pgan.sim.run import RECORDS_AT_ONCE
from p2pgan.sim.shares import Shares
from tools.bench_jobs import SEED, Ceilings, Failure, Job, Sample
from tools.bench_plain import PlainNode, train_plain

ENDLESS = 10**9
"""Iterations of a run that somebody else ends."""

COMPLETE_MAX = 10
"""Up to so many resampled nodes are all joined; a regular overlay of degree 8 needs more."""

PRODUCT_SIDE = 2048
COPY_BYTES = 256 * 2**20

Tell = Callable[[int, float], None]
"""Told the node-iterations and the busy seconds so far, after every piece of work."""


class Enough(Exception):  # noqa: N818 - not an error
    """Nobody asks for more."""


class Meter:
    """Cuts the totals that it is told into samples of at least `seconds`."""

    def __init__(
        self, seconds: float, answer: Callable[[Sample], None], is_wanted: Callable[[], bool]
    ) -> None:
        self._seconds, self._answer, self._is_wanted = seconds, answer, is_wanted
        self._iterations, self._busy_s = 0, 0.0

    def __call__(self, node_iterations: int, busy_s: float) -> None:
        """Answers if the sample is long enough, and waits until the next one is wanted.

        Raises:
            Enough: if none is.
        """
        if busy_s - self._busy_s < self._seconds:
            return
        self._answer(
            Sample(
                node_iterations=node_iterations - self._iterations,
                busy_s=busy_s - self._busy_s,
                peak_bytes=peak_bytes(),
            )
        )
        self._iterations, self._busy_s = node_iterations, busy_s
        if not self._is_wanted():
            raise Enough


def peak_bytes() -> int:
    """Most memory that this process has held so far, or now holds together with its children.

    What several of them share is counted once; the children's part is what they hold right now.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    children = multiprocessing.active_children()
    if not children:
        return own
    family = [os.getpid(), *(child.pid for child in children)]
    return max(own, sum(_share_bytes(Path(f"/proc/{pid}/smaps_rollup")) for pid in family))


def _share_bytes(rollup: Path) -> int:
    """A process's memory, with what it shares divided by those who share it."""
    found = re.search(r"^Pss:\s+(\d+) kB$", rollup.read_text(encoding="ascii"), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def run_plain(job: Job, tell: Tell) -> None:
    """The bare loop over the nodes' shards."""
    experiment = prepared(job)
    torch.manual_seed(SEED)
    images = torch.from_numpy(to_float(experiment.dataset.images))
    nodes = [
        PlainNode(experiment.model, images[torch.from_numpy(shard)], job.batch)
        for shard in experiment.shards.values()
    ]
    pieces = train_plain(nodes, job.exchange_every)
    busy_s = 0.0
    while True:
        start_s = time.perf_counter()
        done = next(pieces)
        busy_s += time.perf_counter() - start_s
        tell(done, busy_s)


def run_node(job: Job, tell: Tell) -> None:
    """One node, trained round by round as a daemon's thread does, without an exchange."""
    experiment = prepared(job)
    cohort = experiment.cohort(experiment.nodes, threads=job.threads or None)
    busy_s = 0.0
    for rounds in itertools.count(1):
        start_s = time.perf_counter()
        cohort.train(job.exchange_every)
        busy_s += time.perf_counter() - start_s
        tell(rounds * job.exchange_every, busy_s)


def run_simulator(job: Job, tell: Tell) -> None:
    """The lockstep simulator with its exchanges and its log, without scores and pictures."""
    experiment = prepared(job)

    def after_round(simulation: Lockstep) -> None:
        tell(simulation.iterations * len(experiment.nodes), simulation.busy_s)

    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory.create(Path(folder) / "run", name="bench")
        with RecordWriter(
            directory.events,
            "bench",
            node="",
            wall=lambda: datetime.now(UTC),
            time_s=time.monotonic,
            flush_every=RECORDS_AT_ONCE,
        ) as records:
            Lockstep(
                experiment=experiment,
                shares=Shares(Ranks(Alone()), len(experiment.nodes)),
                directory=directory,
                records=records,
                time_s=time.perf_counter,
                on_round=after_round,
            ).run()


def prepared(job: Job) -> Experiment:
    """The experiment of a job, never scored."""
    config = RunConfig(
        model=job.model,
        dataset=job.dataset,
        batch_size=job.batch,
        nodes=job.nodes,
        exchange_every=job.exchange_every,
        iterations=ENDLESS,
        seed=SEED,
        device="cpu",
        score=ScoreConfig(every=0),
    )
    return resampled(config) if job.resampled else prepare(config, data_dir())


def resampled(config: RunConfig) -> Experiment:
    """Nodes with one batch of images each, drawn with repetition: more nodes than there are images.

    Nodes push along the edges of a random regular overlay.
    """
    rng = np.random.default_rng(SEED)
    assert config.nodes is not None
    assert config.batch_size is not None
    dataset = load(config.dataset, data_dir())
    is_small = config.nodes <= COMPLETE_MAX
    spec = "complete" if is_small else "random-regular:8"
    overlay = resolve(spec, config.nodes, rng, allow_disconnected=False)
    return Experiment(
        config=msgspec.structs.replace(config, exchange=ExchangeConfig(draw="push")),
        algorithm=algorithm(config.algorithm),
        overlay=overlay,
        dataset=dataset,
        shards={
            node: rng.integers(len(dataset.images), size=config.batch_size)
            for node in overlay.nodes
        },
        model=model(config.model or ""),
        whole=dataset,
    )


def ceilings(seconds: float) -> Ceilings:
    """The best of what fits into so many seconds, each."""
    torch.manual_seed(SEED)
    a, b = torch.randn(2, PRODUCT_SIDE, PRODUCT_SIDE)
    product = torch.empty_like(a)
    product_s = _quickest(lambda: torch.mm(a, b, out=product), seconds)
    source = torch.ones(COPY_BYTES // 4)
    target = torch.empty_like(source)
    copy_s = _quickest(lambda: target.copy_(source), seconds)
    return Ceilings(
        threads=torch.get_num_threads(),
        gflops=2 * PRODUCT_SIDE**3 / product_s / 1e9,
        gbytes_per_s=2 * COPY_BYTES / copy_s / 1e9,
    )


def _quickest(work: Callable[[], object], seconds: float) -> float:
    work()
    begun_s = time.perf_counter()
    times: list[float] = []
    while not times or time.perf_counter() - begun_s < seconds:
        start_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - start_s)
    return min(times)


SIDES: dict[str, Callable[[Job, Tell], None]] = {
    "plain": run_plain,
    "node": run_node,
    "simulator": run_simulator,
}


def say(answer: Sample | Failure) -> None:
    print(msgspec.json.encode(answer).decode(), flush=True)


def main(arguments: list[str]) -> int:
    job, seconds = msgspec.json.decode(arguments[0], type=Job), float(arguments[1])
    if job.threads:
        torch.set_num_threads(job.threads)
    if job.side == "ceilings":
        every = {0: ceilings(seconds)}
        torch.set_num_threads(1)
        print(msgspec.json.encode({**every, 1: ceilings(seconds)}).decode(), flush=True)
        return 0
    try:
        SIDES[job.side](job, Meter(seconds, say, lambda: bool(sys.stdin.readline())))
    except Enough:
        return 0
    except (P2PGanError, MemoryError) as error:
        say(Failure(" ".join(str(error).split()) or type(error).__name__))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
