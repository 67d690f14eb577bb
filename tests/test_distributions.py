"""The texts of virtual time: what they mean, and how wrong ones are refused."""

import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan import distributions as of
from p2pgan.distributions import Constant, Distribution, LogNormal, PerEdge, Table, Uniform
from p2pgan.errors import ConfigError
from p2pgan.virtual import VirtualConfig

KEYS = {
    "latency_s": of.latency,
    "bandwidth_mbps": of.bandwidth,
    "speeds": of.speeds,
    "sessions": of.sessions,
}


def configured(key: str, text: str) -> VirtualConfig:
    settings: dict[str, Any] = {key: text}
    return VirtualConfig(**settings)


MEANINGS = [
    ("latency_s", "0", Constant(0)),
    ("latency_s", " 1e-3 ", Constant(0.001)),
    ("latency_s", "uniform:0,0.5", Uniform(0, 0.5)),
    ("latency_s", "uniform: 0.5 , 0.5", Uniform(0.5, 0.5)),
    ("latency_s", "lognormal:0.05,0", LogNormal(0.05, 0)),
    ("latency_s", "overlay", PerEdge()),
    ("bandwidth_mbps", "unlimited", of.UNLIMITED),
    ("bandwidth_mbps", "12.5", Constant(12.5)),
    ("bandwidth_mbps", "uniform:1,5", Uniform(1, 5)),
    ("bandwidth_mbps", "lognormal:20,5", LogNormal(20, 5)),
    ("bandwidth_mbps", "home:100,10", of.Home(100, 10)),
    ("bandwidth_mbps", "overlay", PerEdge()),
    ("speeds", "equal", Constant(1)),
    ("speeds", "lognormal:0.7", LogNormal(1, 0.7)),
    ("speeds", "classes:1x2", of.Classes((1.0,), (2.0,))),
    ("speeds", "classes: 0.3x100, 0.4 x 10,0.3x1", of.Classes((0.3, 0.4, 0.3), (100, 10, 1))),
    (
        "speeds",
        "classes:0.333333x1,0.333333x2,0.333334x3",
        of.Classes((0.333333,) * 2 + (0.333334,), (1, 2, 3)),
    ),
    ("speeds", "file:my speeds.csv", Table("my speeds.csv")),
    ("speeds", "file:C:/x,y.csv", Table("C:/x,y.csv")),
    ("sessions", "none", None),
    ("sessions", "file:a:b", Table("a:b")),
]


@pytest.mark.parametrize(("key", "text", "meaning"), MEANINGS)
def test_a_text_has_its_meaning(key: str, text: str, meaning: object) -> None:
    assert KEYS[key](text, key) == meaning
    configured(key, text)


def test_sessions_have_the_means_that_are_given() -> None:
    """`MEAN_S` is no median, which would be shorter."""
    found = of.sessions("lognormal:180,0.5,20", "sessions")
    assert isinstance(found, of.Sessions)
    assert [found.on_s.mean, found.off_s.mean] == pytest.approx([180, 20])
    assert (found.on_s.sigma, found.off_s.sigma) == (0.5, 0.5)


REFUSALS = [
    *[("latency_s", text, "`lognormal:MEDIAN,SIGMA` or `overlay`") for text in ("", "fast")],
    *[("latency_s", text, "a number, `uniform:FROM,TO`") for text in ("nan", "inf", "1_0", "٣")],
    *[("latency_s", text, "`uniform:FROM,TO`") for text in ("home:1,1", "0,1", "overlay:1", ":1")],
    ("latency_s", "-0.1", "a number of 0 or more"),
    *[("latency_s", f"uniform:{v}", "with 2 numbers") for v in ("", "1", "1,2,3", "1,x", "1,")],
    ("latency_s", "uniform:2,1", "`FROM` no larger than `TO`"),
    ("latency_s", "uniform:-1,1", "a `FROM` of 0 or more"),
    ("latency_s", "lognormal:0,1", "a `MEDIAN` above 0"),
    *[("latency_s", f"lognormal:1,{v}", "a `SIGMA` from 0 to 5") for v in ("-0.1", "5.1")],
    *[("bandwidth_mbps", text, "`unlimited`, a number") for text in ("", "none", "inf")],
    *[("bandwidth_mbps", text, "a number above 0") for text in ("0", "-1")],
    ("bandwidth_mbps", "uniform:0,1", "a `FROM` above 0"),
    ("bandwidth_mbps", "home:10", "`home:DOWN,UP` with 2 numbers"),
    *[("bandwidth_mbps", f"home:{v}", "two numbers above 0") for v in ("0,1", "1,0", "-1,1")],
    *[
        ("speeds", text, "`equal`, `lognormal:SIGMA`")
        for text in ("", "1", "uniform:1,2", "equal:1")
    ],
    ("speeds", "lognormal:1,2", "`lognormal:SIGMA` with a number"),
    ("speeds", "lognormal:6", "a `SIGMA` from 0 to 5"),
    *[
        ("speeds", f"classes:{v}", "with shares and speeds above 0")
        for v in ("", "1", "0.5x1,", "0x1,1x1", "1x0", "1x1x1", "1xfast", "-1x1,2x1")
    ],
    ("speeds", "classes:0.3x1,0.4x2", "shares that sum to 1, not to 0.7"),
    *[(key, "file: ", "`file:PATH` with a path") for key in ("speeds", "sessions")],
    *[("sessions", text, "`none`, `lognormal:MEAN_S") for text in ("", "always", "uniform:1,2")],
    ("sessions", "lognormal:1,1", "`lognormal:MEAN_S,SIGMA,OFF_S` with 3 numbers"),
    *[
        ("sessions", f"lognormal:{v}", "a `MEAN_S` and an `OFF_S` above 0")
        for v in ("0,1,1", "1,1,0")
    ],
    ("sessions", "lognormal:1,9,1", "a `SIGMA` from 0 to 5"),
]


@pytest.mark.parametrize(("key", "text", "expected"), REFUSALS)
def test_a_wrong_text_is_refused_with_its_key(key: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(key, text)
    assert expected in caught.value.expected
    assert caught.value.got == f"`{text}`"
    assert caught.value.at == f"virtual.{key}"


@given(st.text(alphabet="0123456789.,:x-eE lognormaluniformhomefileclasses", max_size=30))
def test_any_text_has_a_meaning_or_one_error(text: str) -> None:
    for key, parse in KEYS.items():
        with suppress(ConfigError):
            parse(text, key)


@pytest.mark.parametrize(
    "distribution", [Constant(3), Uniform(1, 4), LogNormal(2, 0.5), LogNormal.of_mean(7, 0.8)]
)
def test_draws_have_the_mean_that_is_said(distribution: Distribution) -> None:
    rng = np.random.default_rng(1)
    drawn = np.array([distribution.draw(rng) for _ in range(20_000)])
    error = 4 * drawn.std() / math.sqrt(len(drawn))
    assert drawn.mean() == pytest.approx(distribution.mean, abs=error + 1e-12)


def test_draws_are_shaped_as_they_are_named() -> None:
    rng = np.random.default_rng(2)
    uniform = np.array([Uniform(1, 4).draw(rng) for _ in range(4000)])
    assert 1 <= uniform.min() < 1.02
    assert 3.98 < uniform.max() <= 4
    log = np.log([LogNormal(2, 0.5).draw(rng) for _ in range(4000)])
    assert np.median(log) == pytest.approx(math.log(2), abs=0.03)
    assert log.std() == pytest.approx(0.5, abs=0.03)


def test_a_constant_draws_nothing() -> None:
    rng, untouched = np.random.default_rng(3), np.random.default_rng(3)
    assert Constant(5).draw(rng) == 5
    assert rng.random() == untouched.random()
