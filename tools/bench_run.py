"""Starts the benchmark's processes, lets them take turns, and collects what they answer."""

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Self

import msgspec

from tools.bench_jobs import WORKER, Ceilings, Failure, Job, Sample

ROOT = Path(__file__).parents[1]

PATIENCE_S = 120.0
"""For one answer; a side that needs longer has failed."""

LEAVING_S = 10.0
"""For a process that is not asked for more to leave in good order."""

HOPELESS = 0.5
"""A plain setting that is slower than this, relative to another, in the warm-up is left out."""

Answer = Sample | Failure


@dataclass
class Measured:
    """All samples of one side, or why there are none."""

    per_s: list[float] = field(default_factory=list)
    """Node-iterations per second, one per repetition."""
    peak_bytes: int = 0
    error: str = ""

    @property
    def median_per_s(self) -> float:
        return statistics.median(self.per_s)

    @property
    def costs_ms(self) -> list[float]:
        """Milliseconds per node-iteration, in the order of measurement."""
        return [1e3 / rate for rate in self.per_s]

    def add(self, answer: Answer) -> None:
        match answer:
            case Sample():
                self.per_s.append(answer.per_s)
                self.peak_bytes = max(self.peak_bytes, answer.peak_bytes)
            case Failure():
                self.error = answer.why


class Worker:
    """A measured process that waits while others are measured. A context manager: it is ended."""

    def __init__(self, job: Job, seconds: float, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER, msgspec.json.encode(job).decode(), str(seconds)],
            cwd=ROOT,
            env=environment(job.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # a group of its own, which is ended as a whole
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=LEAVING_S)
        self._kill()
        self._process.communicate()
        self._errors.close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):  # all of them have gone
            os.killpg(self._process.pid, signal.SIGKILL)

    def again(self) -> None:
        """Asks for the next sample; a process that has gone says so at `answer`."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def answer(self) -> str:
        """The next line, waited for; empty if the process has ended or was too slow."""
        assert self._process.stdout is not None
        timer = threading.Timer(self._patience_s, self._kill)
        timer.start()
        try:
            return self._process.stdout.readline()
        finally:
            timer.cancel()

    def sample(self) -> Answer:
        """The next sample, or why there is none."""
        line = self.answer()
        if not line:
            return Failure(self._last_words())
        return msgspec.json.decode(line, type=_ANSWERS[line.startswith('{"type"')])

    def _last_words(self) -> str:
        code = self._process.wait()
        if code < 0:
            return (
                f"ended by signal {-code}: out of memory, or no answer in {self._patience_s:.0f} s"
            )
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), f"exit code {code}")


_ANSWERS: tuple[type[Answer], type[Answer]] = (Sample, Failure)


def environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """Our own environment with these variables set, or unset where they are `None`."""
    merged: dict[str, str | None] = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def measure(jobs: Mapping[str, Job], repeats: int, seconds: float) -> dict[str, Measured]:
    """All jobs in turn, so often: A B C A B C ..., so that a slow moment meets all of them.

    Args:
        jobs: the sides by name.
        repeats: samples of each, the warm-up not counted.
        seconds: least length of a sample; it ends with a piece of work.
    """
    results = {name: Measured() for name in jobs}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        warm_ups: dict[str, float] = {}
        for name, job in jobs.items():
            worker = stack.enter_context(Worker(job, seconds))
            warm_up = worker.sample()
            if isinstance(warm_up, Failure):
                results[name].add(warm_up)
            else:
                workers[name], warm_ups[name] = worker, warm_up.per_s
        for name in hopeless(jobs, warm_ups):
            results[name].error = "far slower than another setting"
        for _ in range(repeats):
            for name, worker in workers.items():
                if not results[name].error:
                    worker.again()
                    results[name].add(worker.sample())
    return results


def hopeless(jobs: Mapping[str, Job], warm_ups: Mapping[str, float]) -> list[str]:
    """Settings of the plain side that cannot be its best.

    Threads that spin on a machine that others use as well may take a hundred times as long.

    Args:
        jobs: the sides by name.
        warm_ups: node-iterations per second of the warm-ups that succeeded.
    """
    plain = [name for name in warm_ups if jobs[name].side == "plain"]
    return [
        name
        for name in plain
        for other in plain
        if _is_rival(jobs[name], jobs[other]) and warm_ups[name] < HOPELESS * warm_ups[other]
    ]


def _is_rival(job: Job, other: Job) -> bool:
    return msgspec.structs.replace(job, threads=other.threads, spins=other.spins) == other


def measure_ceilings(seconds: float) -> dict[int, Ceilings]:
    """The machine's ceilings by number of threads, 0: all; nothing if they cannot be measured."""
    with Worker(Job(side="ceilings"), seconds) as worker:
        line = worker.answer()
        return msgspec.json.decode(line, type=dict[int, Ceilings]) if line else {}


def best_ceilings(
    before: Mapping[int, Ceilings], now: Mapping[int, Ceilings]
) -> dict[int, Ceilings]:
    """The best of two measurements, by number of threads; one that failed is empty."""
    if not (before and now):
        return dict(before or now)
    return {
        threads: Ceilings(
            threads=known.threads,
            gflops=max(known.gflops, now[threads].gflops),
            gbytes_per_s=max(known.gbytes_per_s, now[threads].gbytes_per_s),
        )
        for threads, known in before.items()
    }


@dataclass(frozen=True)
class Simulation:
    """A run of `p2pgan simulate` as a user types it, on digits with batches of 16."""

    iterations: int
    exchange_every: int = 20
    nodes: int = 100
    ranks: int = 1

    def run(self, folder: Path, threads: int) -> float:
        """Runs it into an empty folder; the seconds from its start to the first finished round.

        Args:
            folder: of the run.
            threads: CPU threads of all ranks together; 0: what torch takes.
        Raises:
            ValueError: if it fails, with its last line.
        """
        started_s = time.time()
        done = subprocess.run(
            [*self.launcher(), "-m", "p2pgan", "simulate", *self._options(folder)],
            cwd=ROOT,
            env=environment(self.environment(threads)),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if done.returncode:
            lines = [line for line in done.stderr.split("\n") if line.strip()]
            raise ValueError(
                next((line for line in lines if line.startswith("p2pgan:")), lines[-1])
            )
        return first_round_s(folder / "events.jsonl") - started_s

    def launcher(self) -> list[str]:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        return [sys.executable, *([*torchrun, str(self.ranks)] if self.ranks > 1 else [])]

    def _options(self, folder: Path) -> list[str]:
        return [
            *("--dataset", "digits", "--nodes", str(self.nodes), "--batch-size", "16"),
            *("--iterations", str(self.iterations), "--exchange-every", str(self.exchange_every)),
            *("--set", "score.every=0", "--set", "score.samples=50", "--device", "cpu"),
            *("--no-pictures", "--json", "--out", str(folder)),
        ]

    def environment(self, threads: int) -> dict[str, str | None]:
        # Waiting is left to the command line, which asks for passive waiting.
        each = str(threads // self.ranks) if threads else None
        return {"OMP_WAIT_POLICY": None, "OMP_NUM_THREADS": each}


def first_round_s(events: Path) -> float:
    """Wall-clock time of the first `round_finished` in a log, in seconds since the epoch.

    Raises:
        ValueError: if there is none.
    """
    for line in events.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["kind"] == "round_finished":
            return datetime.fromisoformat(record["wall"]).timestamp()
    raise ValueError("no round was finished")


def measure_runs(
    runs: Mapping[str, Callable[[Path], float]], repeats: int
) -> dict[str, tuple[list[float], str]]:
    """Whole runs in turn, each into a folder of its own.

    Returns:
        What each run gave, one number per repetition, and why it stopped (empty if it did not).
    """
    values: dict[str, list[float]] = {name: [] for name in runs}
    errors = dict.fromkeys(runs, "")
    for _ in range(repeats):
        for name, run in runs.items():
            if errors[name]:
                continue
            with tempfile.TemporaryDirectory() as folder:
                try:
                    values[name].append(run(Path(folder) / "run"))
                except (ValueError, OSError, subprocess.SubprocessError) as error:
                    errors[name] = " ".join(str(error).split())
    return {name: (values[name], errors[name]) for name in runs}


class Bystanders:
    """How much of the machine other programs use, from now on. Linux only; elsewhere nothing."""

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._start_s, self._busy_s, self._own_s = self._now()

    def cores(self) -> float:
        """Cores that were busy on average with anything but us and our ended processes."""
        now_s, busy_s, own_s = self._now()
        others_s = busy_s - self._busy_s - (own_s - self._own_s)
        return max(0.0, others_s / max(now_s - self._start_s, 1e-9))

    def _now(self) -> tuple[float, float, float]:
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        own_s = sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))
        busy_s = busy_seconds(self._stat.read_text()) if self._stat.is_file() else 0.0
        return time.monotonic(), busy_s, own_s


def busy_seconds(stat: str) -> float:
    """Of all cores since the start, by `/proc/stat`: all but idle and waiting for disks."""
    ticks = [int(word) for word in stat.splitlines()[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def speed_of(folder: Path) -> float:
    """Node-iterations per second in a run's summary."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return float(summary["speed"]["node_iterations_per_s"])
