"""The workloads of the benchmark, and what their measurements are held against."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import typer

from p2pgan.gan.models import model
from tools.bench_counts import iteration, state_bytes
from tools.bench_jobs import Ceilings, Job
from tools.bench_run import Measured, Simulation, speed_of

W = TypeVar("W")
"""A workload."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """What a value has to reach."""

    limit: float
    at_least: bool = True
    """Else: at most."""
    aim: float | None = None
    unit: str = "x"
    of: str = "plain"
    """What the value is a multiple or a part of."""

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        aim = "" if self.aim is None else f", aim {self.aim:g}"
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}{aim}"


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast our side was, and how near to what the machine can do."""

    per_s: float
    """Node-iterations per second, median."""
    gflops: float
    gbytes_per_s: float
    compute_share: float
    """Of the ceiling of products, with as many threads."""
    memory_share: float
    """Of the ceiling of copies; above 1 where the state stays in the cache."""

    @property
    def share(self) -> float:
        """Of the tighter ceiling."""
        return max(self.compute_share, self.memory_share)

    @property
    def bound(self) -> str:
        """The tighter ceiling's name."""
        return "compute" if self.compute_share >= self.memory_share else "memory"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    workload: str
    title: str
    bar: Bar
    value: float | None = None
    """Median; `None`: not measured, see `error`."""
    low: float | None = None
    high: float | None = None
    """Of the repetitions."""
    plain_per_s: float | None = None
    """Node-iterations per second of the best plain setting."""
    plain_setting: str = ""
    ours: Speed | None = None
    peak_bytes: int | None = None
    """Of our process."""
    error: str = ""

    @property
    def is_met(self) -> bool:
        return self.value is not None and self.bar.is_met(self.value)


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One point of the figure."""

    side: str
    nodes: int
    ms: float
    """Milliseconds per node-iteration, median."""
    low: float
    high: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one workload gives."""

    rows: list[Row] = []
    points: list[Point] = []
    others_cores: float = 0.0
    """That other programs used meanwhile."""


Results = Mapping[str, Measured]
Limits = Mapping[int, Ceilings]
"""Ceilings by number of threads; 0: all."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Processes that take turns, and what becomes of their samples."""

    name: str
    jobs: Mapping[str, Job] = field(default_factory=dict)
    judge: Callable[["Workload", Results, Limits], Outcome]
    runs: Mapping[str, Callable[[Path], float]] = field(default_factory=dict)
    """Whole runs in place of jobs; what each gives is in `Measured.per_s`."""


def speed(job: Job, measured: Measured, limits: Limits) -> Speed:
    """A side's median speed against the ceilings with as many threads."""
    counted = iteration(model(job.model), job.batch)
    per_s, ceilings = measured.median_per_s, limits[job.threads]
    gflops, gbytes_per_s = per_s * counted.flops / 1e9, per_s * counted.bytes / 1e9
    return Speed(
        per_s=per_s,
        gflops=gflops,
        gbytes_per_s=gbytes_per_s,
        compute_share=gflops / ceilings.gflops,
        memory_share=gbytes_per_s / ceilings.gbytes_per_s,
    )


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of the medians, and the least and the greatest of one repetition."""
    each = [a / b for a, b in zip(above, below, strict=True)]
    return statistics.median(above) / statistics.median(below), min(each), max(each)


def best_plain(results: Results) -> str:
    """The plain setting with the highest median; those that failed are out.

    Raises:
        ValueError: if all have failed.
    """
    plain = {name: m for name, m in results.items() if name.startswith("plain")}
    there = {name: m.median_per_s for name, m in plain.items() if not m.error}
    if not there:
        raise ValueError("; ".join(f"{name}: {m.error}" for name, m in plain.items()))
    return max(there, key=lambda name: there[name])


def needed(results: Results, *names: str) -> None:
    """Raises: ValueError: if one of these sides has failed, with its reason."""
    for name in names:
        if results[name].error:
            raise ValueError(f"{name}: {results[name].error}")


def against_plain(title: str, bar: Bar) -> Callable[[Workload, Results, Limits], Outcome]:
    """Ours against the best plain setting."""

    def judge(workload: Workload, results: Results, limits: Limits) -> Outcome:
        empty = Row(workload=workload.name, title=title, bar=bar)
        try:
            needed(results, "ours")
            plain = best_plain(results)
        except ValueError as error:
            return Outcome(rows=[msgspec.structs.replace(empty, error=str(error))])
        ours, job = results["ours"], workload.jobs["ours"]
        value, low, high = ratios(ours.per_s, results[plain].per_s)
        row = msgspec.structs.replace(
            empty,
            value=value,
            low=low,
            high=high,
            plain_per_s=results[plain].median_per_s,
            plain_setting=plain.removeprefix("plain, "),
            ours=speed(job, ours, limits),
            peak_bytes=ours.peak_bytes,
        )
        return Outcome(rows=[row])

    return judge


def costs_at_most(
    title: str, bar: Bar, base: str
) -> Callable[[Workload, Results, Limits], Outcome]:
    """The cost of a node-iteration at the costliest of our sides against that of `base`."""

    def judge(workload: Workload, results: Results, limits: Limits) -> Outcome:
        row = Row(workload=workload.name, title=title, bar=bar)
        others = [name for name in workload.jobs if name.startswith("ours") and name != base]
        try:
            needed(results, base, *others)
        except ValueError as error:
            return Outcome(rows=[msgspec.structs.replace(row, error=str(error))])
        name = min(others, key=lambda other: results[other].median_per_s)
        value, low, high = ratios(results[name].costs_ms, results[base].costs_ms)
        row = msgspec.structs.replace(
            row,
            value=value,
            low=low,
            high=high,
            ours=speed(workload.jobs[name], results[name], limits),
            peak_bytes=results[name].peak_bytes,
        )
        return Outcome(rows=[row])

    return judge


SCALED = (100, 1_000, 10_000)
"""Nodes between which the cost of a node-iteration is compared."""


def scaling(workload: Workload, results: Results, limits: Limits) -> Outcome:
    """The cost of a node-iteration with more and more nodes, the figure, and the memory of most."""
    base, *others = (f"ours, {nodes}" for nodes in SCALED)
    among = {name: workload.jobs[name] for name in (base, *others)}
    compared = Workload(name=workload.name, jobs=among, judge=scaling)
    title = "W1, 100 to 10,000 nodes: cost of a node-iteration"
    bar = Bar(limit=1.25, at_least=False, of="100 nodes")
    rows = costs_at_most(title, bar, base)(compared, results, limits).rows
    most, job = results[others[-1]], workload.jobs[others[-1]]
    limit_gb = allowed_bytes(job.nodes * state_bytes(model(job.model))) / 1e9
    memory = Row(
        workload=workload.name,
        title=f"W1, {job.nodes:,} nodes: peak memory",
        bar=Bar(limit=round(limit_gb, 1), at_least=False, unit=" GB", of=""),
        error=most.error,
    )
    if not most.error:
        value = most.peak_bytes / 1e9
        memory = msgspec.structs.replace(memory, value=value, peak_bytes=most.peak_bytes)
    return Outcome(rows=[*rows, memory], points=points(workload, results))


def allowed_bytes(state: int) -> float:
    """1.3 times the networks' state, and 1 GB for everything else."""
    return 1.3 * state + 1e9


def points(workload: Workload, results: Results) -> list[Point]:
    """The figure's points of the sides that were measured, the best plain setting of each size."""
    found: dict[tuple[str, int], Point] = {}
    for name, job in workload.jobs.items():
        if results[name].error:
            continue
        costs = results[name].costs_ms
        side = "plain" if job.side == "plain" else "ours"
        point = Point(
            side=side,
            nodes=job.nodes,
            ms=statistics.median(costs),
            low=min(costs),
            high=max(costs),
        )
        known = found.get((side, job.nodes))
        if known is None or point.ms < known.ms:
            found[side, job.nodes] = point
    return list(found.values())


def share_of_ceiling(title: str, bar: Bar) -> Callable[[Workload, Results, Limits], Outcome]:
    """The share of the tighter ceiling that ours reaches."""

    def judge(workload: Workload, results: Results, limits: Limits) -> Outcome:
        row = Row(workload=workload.name, title=title, bar=bar)
        ours, job = results["ours"], workload.jobs["ours"]
        if ours.error:
            return Outcome(rows=[msgspec.structs.replace(row, error=ours.error)])
        reached = speed(job, ours, limits)
        per_share = 100 * reached.share / reached.per_s
        row = msgspec.structs.replace(
            row,
            value=100 * reached.share,
            low=per_share * min(ours.per_s),
            high=per_share * max(ours.per_s),
            ours=reached,
            peak_bytes=ours.peak_bytes,
        )
        return Outcome(rows=[row])

    return judge


def run_ratio(
    title: str, bar: Bar, above: str, below: str
) -> Callable[[Workload, Results, Limits], Outcome]:
    """One kind of run against another."""

    def judge(workload: Workload, results: Results, limits: Limits) -> Outcome:
        row = Row(workload=workload.name, title=title, bar=bar)
        try:
            needed(results, above, below)
        except ValueError as error:
            return Outcome(rows=[msgspec.structs.replace(row, error=str(error))])
        value, low, high = ratios(results[above].per_s, results[below].per_s)
        return Outcome(rows=[msgspec.structs.replace(row, value=value, low=low, high=high)])

    return judge


def run_value(title: str, bar: Bar) -> Callable[[Workload, Results, Limits], Outcome]:
    """What a run gives, as it is."""

    def judge(workload: Workload, results: Results, limits: Limits) -> Outcome:
        row = Row(workload=workload.name, title=title, bar=bar)
        ours = results["ours"]
        if ours.error:
            return Outcome(rows=[msgspec.structs.replace(row, error=ours.error)])
        values = ours.per_s
        middle = statistics.median(values)
        return Outcome(
            rows=[msgspec.structs.replace(row, value=middle, low=min(values), high=max(values))]
        )

    return judge


def beside_plain(ours: Job) -> dict[str, Job]:
    """Our job and the plain one at every setting that may be its best."""
    plain = msgspec.structs.replace(ours, side="plain")
    every: dict[str, Job] = {
        "plain, 1 thread": msgspec.structs.replace(plain, threads=1),
        "plain, all threads, spinning": msgspec.structs.replace(plain, spins=True),
        "plain, all threads, sleeping": plain,
    }
    return every | {"ours": ours}


def alone(node: Job) -> dict[str, Job]:
    """A daemon's one node on one thread, and the plain loop on one thread too."""
    return {"plain, 1 thread": msgspec.structs.replace(node, side="plain"), "ours": node}


W1 = Job(side="simulator", nodes=100)
W2 = Job(side="simulator", model="mlp-mnist", dataset="mnist", batch=10, nodes=10)
# An exchange every 5, not 20: a round of 20 takes a minute.
W3 = Job(
    side="simulator", model="cnn-mnist-ch4", dataset="mnist", batch=32, nodes=10, exchange_every=5
)
NODE = Job(side="node", threads=1)


def _with(job: Job, **changes: object) -> Job:
    return msgspec.structs.replace(job, **changes)


def _scaling_jobs() -> dict[str, Job]:
    sizes = (1, 10, *SCALED)
    ours = {f"ours, {nodes}": _with(W1, nodes=nodes, resampled=True) for nodes in sizes}
    plain = {
        f"plain, {nodes}": _with(W1, side="plain", nodes=nodes, resampled=True, threads=1)
        for nodes in sizes[:3]
    }
    return ours | plain


def _runs_of(ranks: int, threads: int) -> Callable[[Path], float]:
    def run(folder: Path) -> float:
        Simulation(iterations=400, ranks=ranks).run(folder, threads)
        return speed_of(folder)

    return run


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            name="w1",
            jobs=beside_plain(W1),
            judge=against_plain("W1: digits MLP, batch 16, 100 nodes", Bar(limit=8, aim=14)),
        ),
        Workload(
            name="w1-10",
            jobs=beside_plain(_with(W1, nodes=10)),
            judge=against_plain("W1 with 10 nodes", Bar(limit=6)),
        ),
        Workload(
            name="w2",
            jobs=beside_plain(W2),
            judge=against_plain("W2: MNIST MLP, batch 10, 10 nodes", Bar(limit=1.5, aim=2)),
        ),
        Workload(
            name="w2-100",
            jobs={"ours, 10": W2, "ours, 100": _with(W2, nodes=100)},
            judge=costs_at_most(
                "W2 with 100 nodes: cost of a node-iteration",
                Bar(limit=1.15, at_least=False, of="10 nodes"),
                "ours, 10",
            ),
        ),
        Workload(
            name="w3",
            jobs=beside_plain(W3),
            judge=against_plain("W3: MNIST CNN, batch 32, 10 nodes", Bar(limit=1.2)),
        ),
        Workload(
            name="node-digits",
            jobs=alone(NODE),
            judge=against_plain("one node alone, 1 thread, digits MLP", Bar(limit=1.3)),
        ),
        Workload(
            name="node-mnist",
            jobs=alone(_with(W2, side="node", nodes=1, threads=1)),
            judge=against_plain("one node alone, 1 thread, MNIST MLP", Bar(limit=1.3)),
        ),
        Workload(name="scaling", jobs=_scaling_jobs(), judge=scaling),
        Workload(
            name="w2-b100",
            jobs={"ours": _with(W2, batch=100)},
            judge=share_of_ceiling(
                "W2 with batch 100: share of the tighter ceiling",
                Bar(limit=75, unit=" %", of="ceiling"),
            ),
        ),
        Workload(
            name="ranks",
            runs={"one process": _runs_of(1, 2), "two ranks": _runs_of(2, 2)},
            judge=run_ratio(
                "W1: two ranks against one process of two threads",
                Bar(limit=0.9, of="one process"),
                "two ranks",
                "one process",
            ),
        ),
        Workload(
            name="start-up",
            runs={"ours": lambda folder: Simulation(iterations=1, exchange_every=1).run(folder, 0)},
            judge=run_value(
                "start-up until the first iteration, 100 digits nodes",
                Bar(limit=3, at_least=False, unit=" s", of=""),
            ),
        ),
    )
}
"""All workloads by name, in the order of the table."""


def chosen(only: str, workloads: Mapping[str, W]) -> list[W]:
    """The workloads of a list of their names, such as `w1,w2`; all, if it is empty.

    Raises:
        typer.BadParameter: for an unknown name.
    """
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in workloads:
            known = ", ".join(workloads)
            raise typer.BadParameter(f"expected some of {known}, got `{name}` - at --only")
    return [w for name, w in workloads.items() if not names or name in names]
