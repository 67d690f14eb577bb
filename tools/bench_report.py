"""What a benchmark has found: kept as JSON, printed, written into a page with a figure."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from p2pgan.errors import RecordError
from p2pgan.files import write_atomic
from tools.bench_jobs import Ceilings
from tools.bench_workloads import WORKLOADS, Outcome, Point, Row

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
"""Around what `--write` replaces in a page."""

FIGURE = Path("pictures") / "performance.svg"
"""Beside the page."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures depend on."""

    cpu: str
    cores: int
    """That this process may use."""
    caches: list[str]
    """Of the first core, with their sizes."""
    memory_gb: float
    python: str
    torch: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark."""

    date: str
    machine: Machine
    repeats: int
    seconds: float
    ceilings: list[Ceilings]
    outcomes: dict[str, Outcome]
    """By workload."""

    @property
    def rows(self) -> list[Row]:
        """In the order of the workloads, whenever they were measured."""
        known = [name for name in WORKLOADS if name in self.outcomes]
        return [row for name in known for row in self.outcomes[name].rows]

    @property
    def points(self) -> list[Point]:
        return [point for outcome in self.outcomes.values() for point in outcome.points]

    @property
    def is_met(self) -> bool:
        """Whether everything was measured and reaches its bar."""
        return all(row.is_met for row in self.rows)


def this_machine() -> Machine:
    import torch

    return Machine(
        cpu=_cpu_name(Path("/proc/cpuinfo")),
        cores=len(os.sched_getaffinity(0)),
        caches=_caches(Path("/sys/devices/system/cpu/cpu0/cache")),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        python=platform.python_version(),
        torch=str(torch.__version__),
    )


def _cpu_name(cpuinfo: Path) -> str:
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _caches(folder: Path) -> list[str]:
    """Such as `L2 1024K`; the instruction cache is left out."""
    found = []
    for index in sorted(folder.glob("index*")):
        kind, level, size = (
            (index / name).read_text(encoding="utf-8").strip() for name in ("type", "level", "size")
        )
        if kind != "Instruction":
            found.append(f"L{level} {size}")
    return found


def load(path: Path) -> Report:
    """A report from its JSON.

    Raises:
        RecordError: if it cannot be read, or is none.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError) as error:
        raise RecordError(
            expected="results that `tools/bench --json` has kept", got=str(error), at=str(path)
        ) from None


def save(report: Report, path: Path) -> None:
    data = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    write_atomic(path, data, RecordError)


HEADER = (
    *("workload", "plain/s", "plain at", "ours/s", "value", "range", "bar", "met"),
    *("GFLOP/s", "GB/s", "bound by", "peak"),
)


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table, as `HEADER` names it."""
    unit, ours = row.bar.unit, row.ours
    return (
        row.title,
        _number(row.plain_per_s),
        row.plain_setting,
        _number(ours.per_s if ours else None),
        f"{_number(row.value)}{unit}" if row.value is not None else "failed",
        f"{_number(row.low)} to {_number(row.high)}" if row.low is not None else "",
        str(row.bar),
        "yes" if row.is_met else "no",
        f"{_number(ours.gflops)} ({ours.compute_share:.0%})" if ours else "",
        f"{_number(ours.gbytes_per_s)} ({ours.memory_share:.0%})" if ours else "",
        f"{ours.bound} {ours.share:.0%}" if ours else "",
        f"{_number(row.peak_bytes / 1e9)} GB" if row.peak_bytes else "",
    )


def _number(value: float | None) -> str:
    """Three digits that matter; empty for nothing."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(report: Report) -> str:
    """Aligned text, with what failed and why below."""
    lines = [HEADER, *map(cells, report.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*about(report), "", *aligned, *notes(report)])


def about(report: Report) -> list[str]:
    """The machine and its ceilings, a line each."""
    m = report.machine
    caches = ", ".join(m.caches)
    lines = [
        f"{m.cpu}, {m.cores} cores, {caches}, {m.memory_gb:.0f} GB.",
        f"Python {m.python}, torch {m.torch}.",
        f"{report.date}, {report.repeats} repetitions of at least {report.seconds:g} s.",
    ]
    for one in report.ceilings:
        threads = f"{one.threads} thread{'s' if one.threads > 1 else ''}"
        lines.append(
            f"Ceilings with {threads}: product {one.gflops:.0f} GFLOP/s, "
            f"copy {one.gbytes_per_s:.1f} GB/s (read + write)."
        )
    return lines


DISTURBED_CORES = 0.1
"""From so many on, what other programs used is said."""


def notes(report: Report) -> list[str]:
    """What failed and why, and what was measured while others were busy."""
    failed = [f"failed: {row.title}: {row.error}" for row in report.rows if row.error]
    disturbed = [
        f"{name} ({outcome.others_cores:.1f})"
        for name, outcome in report.outcomes.items()
        if outcome.others_cores >= DISTURBED_CORES
    ]
    if not disturbed:
        return failed
    return [*failed, f"disturbed (cores that other programs used): {', '.join(disturbed)}"]


MARKDOWN_COLUMNS = (0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11)
"""Of `HEADER`; the setting at which plain was best is in the JSON."""


def markdown(report: Report, figure: Path | None) -> str:
    """The block of a page: machine, table, figure."""
    lines = [*about(report), ""]
    lines += [_markdown_row(HEADER), _markdown_row(["---"] * len(HEADER))]
    lines += [_markdown_row(cells(row)) for row in report.rows]
    lines += ["", *(f"{note}\n" for note in notes(report))]
    if figure is not None:
        lines += [f"![Milliseconds per node-iteration against the number of nodes]({figure})", ""]
    return "\n".join(lines)


def _markdown_row(row: Sequence[str]) -> str:
    return "| " + " | ".join(row[column] for column in MARKDOWN_COLUMNS) + " |"


def check_page(page: Path) -> tuple[str, str]:
    """What stands before and after a page's marked block.

    Raises:
        RecordError: if there is no such block.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise RecordError(
            expected=f"a page with a block between `{BEGIN}` and `{END}`",
            got="none",
            at=str(page),
        )
    return head, tail


def write_page(report: Report, page: Path) -> None:
    """Replaces the marked block of a page, and draws the figure beside it.

    Raises:
        RecordError: if the page has no such block, or cannot be written.
    """
    head, tail = check_page(page)
    if report.points:
        (page.parent / FIGURE).parent.mkdir(exist_ok=True)
        draw(report.points, page.parent / FIGURE)
    figure = FIGURE if report.points else None
    block = f"{BEGIN}\n\n{markdown(report, figure)}\n{END}"
    write_atomic(page, (head + block + tail).encode(), RecordError)


STYLES: Mapping[str, tuple[str, str]] = {"ours": ("black", "o-"), "plain": ("dimgrey", "s--")}
LABELS = {"ours": "p2pgan, with exchanges", "plain": "plain PyTorch loop, 1 thread"}


def draw(points: Sequence[Point], path: Path) -> None:
    """Cost of a node-iteration against the number of nodes, both logarithmic; bars are ranges."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    # Without a date and with a fixed salt, the same points give the same file.
    with mpl.rc_context({"svg.hashsalt": "p2pgan", "font.size": 10}):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        for side, (color, style) in STYLES.items():
            own = sorted((p for p in points if p.side == side), key=lambda p: p.nodes)
            if own:
                spread = [[p.ms - p.low for p in own], [p.high - p.ms for p in own]]
                nodes, costs = [p.nodes for p in own], [p.ms for p in own]
                axes.errorbar(
                    *(nodes, costs, spread),
                    fmt=style,
                    color=color,
                    capsize=3,
                    label=LABELS[side],
                )
        axes.set(xscale="log", yscale="log", xlabel="nodes", ylabel="ms per node-iteration")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:,g}")
            axis.set_minor_formatter("")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(path, metadata={"Date": None})
