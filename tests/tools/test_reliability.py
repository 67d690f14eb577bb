"""The measurements of reliability: figures, and one real run that is disturbed."""

from pathlib import Path

import pytest

from p2pgan.record.schema import RoundFinished
from tools.chaos import DESCRIPTORS, addresses, chaos, put_beside
from tools.reliability.__main__ import ROWS
from tools.reliability.limits import WORD
from tools.reliability.runs import FEW, Outcome, least_squares, spread


def test_a_slope_is_that_of_the_line_through_the_points() -> None:
    assert least_squares({0.0: 1.0, 1.0: 3.0, 2.0: 5.0}) == pytest.approx(2.0)
    assert least_squares({5.0: 7.0}) == 0.0


def test_many_times_are_told_by_their_median_and_the_worst() -> None:
    assert spread([1.0, 9.0, 2.0]) == "median 2.0 s, worst 9.0 s of 3"
    assert spread([]) == "never"


def test_a_row_is_a_line_of_a_table() -> None:
    line = ROWS["3"].line("3", Outcome(measured="none", is_met=True))
    assert line.startswith("| 3 | false deaths")
    assert line.endswith("| 0 | none | yes |")


@pytest.mark.slow
def test_a_run_is_disturbed_and_leaves_nothing(tmp_path: Path) -> None:
    """One node may open too few sockets, one is killed and started again."""
    with chaos(
        FEW, tmp_path, tmp_path / "run", lambda family: put_beside(family, "0", DESCRIPTORS, "39")
    ) as run:
        gone_s = run.kill(["2"])
        run.wait("it is missed", lambda: bool(run.noticed_s("peer_suspected", "2", gone_s)))
        run.start_again("2")
        run.wait("it trains", lambda: bool(run.logged("round_finished", ["2"], gone_s)))
        assert isinstance(run.logged("round_finished", ["2"], gone_s)[0].body, RoundFinished)
        assert len(set(addresses(run.family).values())) == 4
        assert run.tracebacks() == []
        pids = [run.pid(node) for node in run.nodes]
    stderr = run.family.directory.node_events("0").with_name("stderr.log")
    assert stderr.read_text().count(WORD) == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
