"""Machines: their speeds have the shares, the shape or the file that was asked for."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import ConfigError
from p2pgan.sim.virtual.hardware import iterations_s, speeds
from p2pgan.virtual import VirtualConfig

THESIS = "classes:0.3x100,0.4x10,0.3x1"


def names(count: int) -> list[str]:
    return [str(node) for node in range(count)]


def dealt(text: str, count: int, seed: int = 0) -> list[float]:
    found = speeds(VirtualConfig(speeds=text), names(count), np.random.default_rng(seed))
    assert list(found) == names(count)
    return list(found.values())


def test_equal_machines_draw_nothing() -> None:
    rng, untouched = np.random.default_rng(0), np.random.default_rng(0)
    assert speeds(VirtualConfig(), names(3), rng) == {"0": 1, "1": 1, "2": 1}
    assert rng.random() == untouched.random()


def test_the_thesiss_classes_are_dealt_exactly() -> None:
    assert Counter(dealt(THESIS, 200)) == {100: 60, 10: 80, 1: 60}
    assert Counter(dealt(THESIS, 10)) == {100: 3, 10: 4, 1: 3}
    assert Counter(dealt(THESIS, 1)) == {10: 1}


@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=6),
    st.integers(1, 300),
    st.integers(0, 9),
)
def test_every_class_is_within_one_machine_of_its_share(
    parts: list[int], count: int, seed: int
) -> None:
    shares = [part / sum(parts) for part in parts]
    text = ",".join(f"{share:.12f}x{place + 1}" for place, share in enumerate(shares))
    sizes = Counter(dealt(f"classes:{text}", count, seed))
    assert sum(sizes.values()) == count
    for place, share in enumerate(shares):
        assert abs(sizes[place + 1] - share * count) < 1 + 1e-6
        if abs(share * count - round(share * count)) < 1e-7:
            assert sizes[place + 1] >= round(share * count)


def test_classes_are_shuffled_by_the_seed() -> None:
    assert dealt(THESIS, 50) == dealt(THESIS, 50)
    assert dealt(THESIS, 50) != dealt(THESIS, 50, seed=1)
    assert dealt(THESIS, 50) not in (sorted(dealt(THESIS, 50)), sorted(dealt(THESIS, 50))[::-1])


def test_log_normal_speeds_have_a_median_of_1() -> None:
    logs = np.log(dealt("lognormal:0.8", 4000))
    assert np.median(logs) == pytest.approx(0, abs=4 * 0.8 * 1.25 / math.sqrt(4000))
    assert logs.std() == pytest.approx(0.8, rel=0.05)
    assert dealt("lognormal:0.8", 10) == dealt("lognormal:0.8", 4000)[:10]


def test_speeds_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "speeds.csv"
    path.write_text("node,speed\n2,0.5\n0,3\n1,10\n")
    assert dealt(f"file:{path}", 3) == [3, 10, 0.5]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0,1\n1,0\n", "expected a speed above 0, got `0` - at virtual.speeds: .*: line 3"),
        ("0,1\n1,-2\n", "expected a speed above 0, got `-2`"),
        ("0,1\n0,1\n1,1\n", "expected every node once, got `0` again - at .*: line 3"),
        ("0,1\n", "a line for every node of the run, got none for `1`"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "speeds.csv"
    path.write_text(f"node,speed\n{lines}")
    with pytest.raises(ConfigError, match=message):
        dealt(f"file:{path}", 2)


def test_a_fast_machine_takes_less_time() -> None:
    config = VirtualConfig(iteration_s=0.5)
    assert iterations_s(config, {"a": 1, "b": 100, "c": 0.25}) == {"a": 0.5, "b": 0.005, "c": 2}
