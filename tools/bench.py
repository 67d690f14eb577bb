"""How fast training is, against a plain PyTorch loop and against what the machine can do.

    tools/bench --only w1,w2 --json results.json

Workloads take turns with the plain loop, each side in a process of its own. Exit code 1: something
failed or missed its bar. What is measured and counted: docs/performance.md.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from p2pgan.errors import P2PGanError
from tools import bench_report
from tools.bench_jobs import Ceilings
from tools.bench_report import Report
from tools.bench_run import (
    Bystanders,
    Measured,
    best_ceilings,
    measure,
    measure_ceilings,
    measure_runs,
)
from tools.bench_workloads import WORKLOADS, Workload, chosen

QUICK = (2, 0.3)
"""Repetitions and seconds of a first look."""

CEILING_S = 0.5
"""For each of product and copy, each time."""


class BenchError(P2PGanError):
    """The benchmark itself cannot go on."""


def results_of(workload: Workload, repeats: int, seconds: float) -> dict[str, Measured]:
    """Measures all sides of one workload."""
    results = measure(workload.jobs, repeats, seconds)
    for name, (values, error) in measure_runs(workload.runs, repeats).items():
        results[name] = Measured(per_s=values, error=error)
    return results


app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def bench(
    only: Annotated[str, typer.Option(help="Workloads, such as `w1,w2`.  [default: all]")] = "",
    quick: Annotated[bool, typer.Option(help="A first look: fewer, shorter samples.")] = False,
    repeats: Annotated[int, typer.Option(help="Samples of each side.", min=1)] = 3,
    seconds: Annotated[float, typer.Option(help="Least length of a sample.", min=0)] = 1.5,
    json: Annotated[Path | None, typer.Option(help="Keep the results in this file.")] = None,
    known: Annotated[
        Path | None,
        typer.Option("--from", help="Results to start from; measures only what `--only` names."),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="A page whose marked block to replace.")
    ] = None,
) -> None:
    """Measures, prints the table, and writes what was asked for."""
    if quick:
        repeats, seconds = QUICK
    if write:
        bench_report.check_page(write)  # now, and not after ten minutes
    workloads = chosen(only, WORKLOADS) if only or known is None else []
    report = bench_report.load(known) if known else None
    for newer in run(workloads, repeats, seconds, report):
        report = newer
        if json:
            bench_report.save(report, json)
    assert report is not None
    print(bench_report.table(report))
    if write:
        bench_report.write_page(report, write)
    raise typer.Exit(0 if report.is_met else 1)


def run(
    workloads: list[Workload], repeats: int, seconds: float, before: Report | None
) -> Iterator[Report]:
    """Measures these workloads; the outcomes of others are taken from `before`.

    Yields:
        What there is after each workload, so that nothing is lost if one breaks the benchmark.
    """
    ceiling_s = min(seconds, CEILING_S)
    limits: dict[int, Ceilings] = {}
    results: dict[str, dict[str, Measured]] = {}
    others: dict[str, float] = {}
    for done, workload in enumerate(workloads, 1):
        print(f"{workload.name} …", file=sys.stderr, flush=True)
        # Each time: a moment in which somebody else computes must not pass for a ceiling.
        limits = best_ceilings(limits, measure_ceilings(ceiling_s))
        if not limits:
            raise BenchError(
                expected="the ceilings of the machine", got="no answer", at=workload.name
            )
        bystanders = Bystanders()
        results[workload.name] = results_of(workload, repeats, seconds)
        others[workload.name] = bystanders.cores()
        outcomes = dict(before.outcomes) if before else {}
        for w in workloads[:done]:
            outcome = w.judge(w, results[w.name], limits)
            outcomes[w.name] = msgspec.structs.replace(outcome, others_cores=others[w.name])
        yield Report(
            date=datetime.now(UTC).date().isoformat(),
            machine=bench_report.this_machine(),
            repeats=repeats,
            seconds=seconds,
            ceilings=list(limits.values()),
            outcomes=outcomes,
        )


def main() -> None:
    """Runs the command line; our errors become one line on stderr and exit status 1."""
    try:
        app(prog_name="tools/bench")
    except P2PGanError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
