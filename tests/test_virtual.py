"""The configuration of virtual time: what it takes, and that all else is refused by name."""

import math
from typing import Any

import msgspec
import pytest

from p2pgan.errors import ConfigError
from p2pgan.virtual import VirtualConfig

SHARES = ("loss", "duplication", "reordering", "corruption", "crash", "joins")
AT_LEAST_0 = (
    *("duration_s", "calm_s", "delay_rounds", "restart_s"),
    *("pauses", "partitions", "freezes", "full_disks", "score_every_s"),
)
ABOVE_0 = ("iteration_s", "pause_s", "partition_s", "freeze_s", "full_disk_s")

WRONG: list[tuple[str, Any]] = [
    *((name, value) for name in SHARES for value in (-0.1, 1.1, math.nan)),
    *((name, value) for name in AT_LEAST_0 for value in (-1.0, math.inf, math.nan)),
    *((name, value) for name in ABOVE_0 for value in (0.0, -1.0, math.inf, math.nan)),
    ("score_nodes", 0),
    *(("latency_s", text) for text in ("-1", "soon", "uniform:2,1", "lognormal:1")),
    *(("bandwidth_mbps", text) for text in ("0", "-1", "home:1", "fast")),
    *(("speeds", text) for text in ("fast", "classes:1x0", "lognormal:-1", "file:")),
    *(("sessions", text) for text in ("always", "lognormal:0,1,1", "file:")),
]


def test_by_default_nothing_happens_to_anybody() -> None:
    config = VirtualConfig()
    quiet = (*SHARES, "delay_rounds", "pauses", "partitions", "freezes", "full_disks")
    assert {getattr(config, name) for name in quiet} == {0.0}
    assert (config.latency_s, config.bandwidth_mbps) == ("0", "unlimited")
    assert (config.speeds, config.sessions) == ("equal", "none")


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        VirtualConfig(**{name: value})
    assert caught.value.at == f"virtual.{name}"
    assert str(value) in caught.value.got
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in SHARES for value in (0.0, 1.0)),
        *((name, 0.0) for name in AT_LEAST_0),
        *((name, 1e-9) for name in ABOVE_0),
        ("score_every_s", None),
        ("latency_s", "overlay"),
        ("bandwidth_mbps", "home:100,10"),
        ("speeds", "classes:0.3x100,0.4x10,0.3x1"),
        ("sessions", "lognormal:180,0.5,20"),
    ],
)
def test_the_ends_of_ranges_belong_to_them(name: str, value: Any) -> None:
    assert getattr(VirtualConfig(**{name: value}), name) == value


def test_a_key_that_nobody_knows_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="los"):
        msgspec.convert({"los": 0.1}, VirtualConfig)
