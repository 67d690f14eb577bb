"""Results of the benchmark: kept, printed, and written into a page."""

from pathlib import Path

import msgspec
import pytest

from p2pgan.errors import RecordError
from tools import bench_report
from tools.bench_jobs import Ceilings
from tools.bench_report import BEGIN, END, HEADER, Machine, Report, cells, draw, load, save, table
from tools.bench_workloads import Bar, Outcome, Point, Row, Speed

SPEED = Speed(
    per_s=2000.4, gflops=18.68, gbytes_per_s=4.83, compute_share=0.1868, memory_share=0.2415
)
GOOD = Row(
    workload="w1",
    title="W1: digits",
    bar=Bar(limit=8, aim=14),
    value=9.876,
    low=8.0,
    high=12.345,
    plain_per_s=202.5,
    plain_setting="1 thread",
    ours=SPEED,
    peak_bytes=430_000_000,
)
BAD = Row(workload="start-up", title="start-up", bar=Bar(limit=3, unit=" s"), error="no disk")
POINTS = [
    Point(side=side, nodes=nodes, ms=ms, low=0.9 * ms, high=1.1 * ms)
    for side, nodes, ms in (
        ("ours", 1, 0.4),
        ("ours", 10, 0.1),
        ("ours", 10_000, 0.1),
        ("plain", 1, 1.2),
        ("plain", 10, 1.2),
    )
]


def report(**outcomes: Outcome) -> Report:
    return Report(
        date="2026-01-01",
        machine=Machine(
            cpu="CPU", cores=2, caches=["L1 32K", "L2 1024K"], memory_gb=24, python="3", torch="2"
        ),
        repeats=5,
        seconds=1.5,
        ceilings=[Ceilings(threads=2, gflops=180.4, gbytes_per_s=31.26)],
        outcomes={name.replace("_", "-"): outcome for name, outcome in outcomes.items()},
    )


FULL = report(start_up=Outcome(rows=[BAD]), w1=Outcome(rows=[GOOD], points=POINTS))


def test_cells_have_three_digits_and_shares() -> None:
    assert dict(zip(HEADER, cells(GOOD), strict=True)) == {
        "workload": "W1: digits",
        "plain/s": "202",
        "plain at": "1 thread",
        "ours/s": "2,000",
        "value": "9.88x",
        "range": "8.00 to 12.3",
        "bar": "≥ 8x, aim 14",
        "met": "yes",
        "GFLOP/s": "18.7 (19%)",
        "GB/s": "4.83 (24%)",
        "bound by": "memory 24%",
        "peak": "0.43 GB",
    }


def test_what_failed_has_a_line_and_a_reason() -> None:
    line = dict(zip(HEADER, cells(BAD), strict=True))
    assert (line["value"], line["met"], line["range"], line["ours/s"]) == ("failed", "no", "", "")
    assert table(FULL).splitlines()[-1] == "failed: start-up: no disk"


def test_what_others_disturbed_is_said() -> None:
    quiet = Outcome(rows=[GOOD], others_cores=0.04)
    busy = Outcome(rows=[GOOD], others_cores=0.84)
    assert bench_report.notes(report(w1=quiet)) == []
    (note,) = bench_report.notes(report(w1=quiet, w2=busy))
    assert note == "disturbed (cores that other programs used): w2 (0.8)"


def test_the_table_is_aligned_in_the_order_of_the_workloads() -> None:
    lines = table(FULL).splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("workload"))
    column = lines[head].index("value")
    assert [line[:column].split("  ")[0] for line in lines[head + 1 : head + 3]] == [
        "W1: digits",
        "start-up",
    ]
    assert [line[column:].split()[0] for line in lines[head + 1 : head + 3]] == ["9.88x", "failed"]
    assert "Ceilings with 2 threads: product 180 GFLOP/s, copy 31.3 GB/s (read + write)." in lines


def test_everything_has_to_be_met() -> None:
    assert report(w1=Outcome(rows=[GOOD])).is_met
    assert not FULL.is_met
    low = msgspec.structs.replace(GOOD, value=7.9)
    assert not report(w1=Outcome(rows=[GOOD, low])).is_met


def test_results_are_the_same_after_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save(FULL, path)
    assert load(path) == FULL
    path.write_text("{}")
    with pytest.raises(RecordError, match="expected results"):
        load(path)
    with pytest.raises(RecordError, match="expected results"):
        load(tmp_path / "none.json")


def test_only_the_marked_block_of_a_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    bench_report.write_page(FULL, page)
    text = page.read_text()
    assert text.startswith(f"# Before\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nafter\n")
    assert "old" not in text
    assert "| W1: digits | 202 | 2,000 | 9.88x | 8.00 to 12.3 | ≥ 8x, aim 14 | yes |" in text
    assert "(pictures/performance.svg)" in text
    assert (tmp_path / "pictures" / "performance.svg").is_file()
    bench_report.write_page(FULL, page)
    assert page.read_text() == text


def test_without_points_there_is_no_figure(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}{END}")
    bench_report.write_page(report(w1=Outcome(rows=[GOOD])), page)
    assert "performance.svg" not in page.read_text()
    assert not (tmp_path / "pictures").exists()


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} {BEGIN}"])
def test_a_page_without_block_is_refused(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(RecordError, match="expected a page with a block"):
        bench_report.write_page(FULL, page)


def test_the_figure_is_small_and_the_same_every_time(tmp_path: Path) -> None:
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    draw(POINTS, first)
    draw(list(reversed(POINTS)), second)
    assert first.read_bytes() == second.read_bytes()
    assert len(first.read_bytes()) < 100_000


def test_the_machine_is_read_from_its_files(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast One\nflags\t: x\n")
    assert bench_report._cpu_name(cpuinfo) == "Fast One"
    assert bench_report._cpu_name(tmp_path / "none") != ""
    for number, (kind, level, size) in enumerate(
        (("Data", "1", "32K"), ("Instruction", "1", "32K"), ("Unified", "2", "1024K"))
    ):
        index = tmp_path / f"index{number}"
        index.mkdir()
        for name, value in (("type", kind), ("level", level), ("size", size)):
            (index / name).write_text(f"{value}\n")
    assert bench_report._caches(tmp_path) == ["L1 32K", "L2 1024K"]


def test_this_machine_has_cores_and_no_name() -> None:
    machine = bench_report.this_machine()
    assert machine.cores >= 1
    assert set(msgspec.structs.asdict(machine)) == {
        *("cpu", "cores", "caches", "memory_gb", "python", "torch")
    }
