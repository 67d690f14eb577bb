"""Playing a run once more: the same to the record, or the first difference is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from p2pgan.errors import P2PGanError, RecordError
from p2pgan.record.rundir import RunDirectory
from p2pgan.sim.run import Finished as Lockstep
from p2pgan.sim.virtual.replay import check_same, first_play
from p2pgan.sim.virtual.run import Finished, simulate

Virtual = Callable[..., Finished]

EVENTFUL: dict[str, Any] = {
    "train": "gradient-free",
    "preset": "random",
    "loss": 0.1,
    "crash": 0.005,
    "restart_s": 0.1,
}


def again(first: Finished, out: Path) -> Finished:
    config, name = first_play(first.directory.path)
    return simulate(config, Path("no-data-needed"), out, name=name)


def test_a_run_is_the_same_twice(virtual: Virtual, tmp_path: Path) -> None:
    """And a replay can be replayed."""
    first = virtual("a name of its own", nodes=8, made_up=EVENTFUL)
    second = again(first, tmp_path / "second")
    count = check_same(first.directory, second.directory)
    assert count == len(first.directory.events.read_text().splitlines()) > 100
    third = again(second, tmp_path / "third")
    assert check_same(second.directory, third.directory) == count


def test_networks_are_the_same_twice(virtual: Virtual, tmp_path: Path) -> None:
    first = virtual(made_up={"speeds": "lognormal:0.5", "latency_s": "0.003"})
    second = again(first, tmp_path / "second")
    check_same(first.directory, second.directory)
    for node in "012":
        one, other = (run.directory.checkpoint(node).read_bytes() for run in (first, second))
        assert one == other


def test_another_seed_is_another_run(virtual: Virtual) -> None:
    first, second = (virtual(str(seed), nodes=8, seed=seed, made_up=EVENTFUL) for seed in (0, 1))
    with pytest.raises(RecordError, match="record 1"):
        check_same(first.directory, second.directory)


@pytest.fixture
def pair(virtual: Virtual, tmp_path: Path) -> tuple[RunDirectory, RunDirectory]:
    """A run, and what will be its replay once the test has changed it."""
    first = virtual(made_up=EVENTFUL)
    return first.directory, again(first, tmp_path / "second").directory


def test_a_record_that_differs_is_named(pair: tuple[RunDirectory, RunDirectory]) -> None:
    first, second = pair
    lines = second.events.read_text().splitlines()
    changed = json.loads(lines[20])
    changed["time_s"] += 1e-9
    second.events.write_text("\n".join([*lines[:20], json.dumps(changed), *lines[21:]]))
    with pytest.raises(RecordError) as caught:
        check_same(first, second)
    assert caught.value.at == f"{second.events}, record 21"
    assert str(changed["time_s"]) in caught.value.got
    assert caught.value.got != caught.value.expected
    assert "another version or commit" in caught.value.hint


@pytest.mark.parametrize("shorter", [0, 1])
def test_a_log_that_ends_early_is_another(
    pair: tuple[RunDirectory, RunDirectory], shorter: int
) -> None:
    lines = pair[shorter].events.read_text().splitlines(keepends=True)
    pair[shorter].events.write_text("".join(lines[:-1]))
    with pytest.raises(RecordError, match="no further record") as caught:
        check_same(*pair)
    assert f"record {len(lines)}" in caught.value.at


def test_what_each_play_has_of_its_own_is_no_difference(
    pair: tuple[RunDirectory, RunDirectory],
) -> None:
    first, second = pair
    lines = second.events.read_text().splitlines()
    started = json.loads(lines[0])
    started["config"]["engine"]["threads"] = 7
    started["wall"] = "2001-01-01T00:00:00Z"
    second.events.write_text("\n".join([json.dumps(started), *lines[1:]]))
    check_same(first, second)


@pytest.mark.parametrize("content", [None, b"{", b"\xff", b"5\n", b'{"no": "kind"}\n'])
def test_a_log_that_is_none_is_one_line(
    pair: tuple[RunDirectory, RunDirectory], content: bytes | None
) -> None:
    first, second = pair
    if content is None:
        first.events.unlink()
    else:
        first.events.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        check_same(first, second)
    assert "\n" not in str(caught.value)


# -- what cannot be replayed -----------------------------------------------------------------------


def test_a_run_by_another_clock_is_refused(simulated: Callable[..., Lockstep]) -> None:
    finished = simulated(iterations=10)
    with pytest.raises(P2PGanError, match="a run in virtual time") as caught:
        first_play(finished.directory.path)
    assert "--clock virtual" in caught.value.hint


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RecordError, match="a run directory"):
            first_play(path)


def test_a_run_that_was_interrupted_is_refused(virtual: Virtual) -> None:
    finished = virtual(made_up=EVENTFUL)
    finished.directory.write_summary({**finished.summary, "interrupted": True})
    with pytest.raises(P2PGanError, match="one that was interrupted"):
        first_play(finished.directory.path)


def test_the_threads_of_the_first_play_are_those_of_the_second(virtual: Virtual) -> None:
    finished = virtual(made_up=EVENTFUL)
    config, name = first_play(finished.directory.path)
    assert config.engine.threads == finished.directory.read_run_toml()["run"]["threads"]
    assert name == "run"
