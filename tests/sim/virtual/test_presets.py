"""Presets: what they stand for, what is kept beside them, and how often each fault is left out."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from p2pgan.sim.virtual.presets import (
    CRASHES_AND_RESTARTS,
    CRASHES_FOR_GOOD,
    LENGTHS,
    RATES,
    RUN_S,
    Range,
    resolved,
)
from p2pgan.virtual import VirtualConfig

RANDOM = VirtualConfig(preset="random")
SEEDS = range(600)
ROUND_S = 20.0


def played(key: str) -> list[Any]:
    return [getattr(resolved(RANDOM, seed, ROUND_S), key) for seed in SEEDS]


def test_without_a_preset_nothing_changes() -> None:
    config = VirtualConfig(loss=0.1, sessions="lognormal:9,1,1")
    assert resolved(config, 3, ROUND_S) == config


def test_the_extreme_is_what_the_literature_says() -> None:
    config = resolved(VirtualConfig(preset="extreme"), 3, ROUND_S)
    wanted = {"loss": 0.5, "delay_rounds": 10.0, "sessions": "lognormal:180,0.5,20"}
    assert config == VirtualConfig(**wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", ["extreme", "random"])
def test_what_is_given_beside_a_preset_counts(preset: Any) -> None:
    given: dict[str, Any] = {
        "loss": 0.25,
        "sessions": "lognormal:9,1,1",
        "train": "none",
        "crash": 0.01,
        "calm_s": 60.0,
    }
    alone = msgspec.structs.asdict(resolved(VirtualConfig(preset=preset), 5, ROUND_S))
    beside = msgspec.structs.asdict(resolved(VirtualConfig(preset=preset, **given), 5, ROUND_S))
    assert beside == {**alone, **given}


def test_a_resolved_configuration_stays_as_it_is() -> None:
    """It is what `run.toml` has, which can be given back."""
    for seed in range(20):
        config = resolved(RANDOM, seed, ROUND_S)
        assert config.preset == "none"
        assert resolved(config, seed + 1, ROUND_S) == config


def test_the_same_seed_draws_the_same_faults() -> None:
    assert resolved(RANDOM, 7, ROUND_S) == resolved(RANDOM, 7, ROUND_S)
    assert len({resolved(RANDOM, seed, ROUND_S) for seed in range(50)}) == 50


@pytest.mark.parametrize("key", RATES)
def test_a_fault_is_left_out_of_half_of_the_runs(key: str) -> None:
    drawn = np.array(played(key))
    # Four standard deviations of a fair coin.
    assert abs((drawn == 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(len(SEEDS))
    logs = np.log(drawn[drawn > 0])
    least, most = math.log(RATES[key].least), math.log(RATES[key].most)
    assert least - 0.01 <= logs.min() <= logs.max() <= most + 0.01
    error = 4 * (most - least) / math.sqrt(12 * len(logs))
    assert logs.mean() == pytest.approx((least + most) / 2, abs=error)


def test_faults_are_left_out_independently() -> None:
    zeros = np.array(
        [[getattr(resolved(RANDOM, seed, ROUND_S), key) == 0 for key in RATES] for seed in SEEDS]
    )
    between = np.corrcoef(zeros, rowvar=False)[~np.eye(len(RATES), dtype=bool)]
    assert np.abs(between).max() < 5 / math.sqrt(len(SEEDS))


@pytest.mark.parametrize("key", LENGTHS)
def test_lengths_are_never_zero(key: str) -> None:
    drawn = played(key)
    assert LENGTHS[key].least <= min(drawn) <= max(drawn) <= LENGTHS[key].most


@pytest.mark.parametrize("iteration_s", [0.01, 0.5])
def test_crashes_are_drawn_per_run_however_long_an_iteration_is(iteration_s: float) -> None:
    config = VirtualConfig(preset="random", iteration_s=iteration_s)
    found = [resolved(config, seed, ROUND_S) for seed in SEEDS]
    for restarts, wanted in ((False, CRASHES_FOR_GOOD), (True, CRASHES_AND_RESTARTS)):
        per_run = [
            one.crash * RUN_S / iteration_s
            for one in found
            if one.crash and (one.restart_s > 0) is restarts
        ]
        assert len(per_run) > len(SEEDS) / 8
        assert wanted.least * 0.99 <= min(per_run) <= max(per_run) <= wanted.most * 1.01


def test_a_crash_is_no_more_than_certain() -> None:
    assert resolved(VirtualConfig(preset="random", iteration_s=86_400.0), 0, ROUND_S).crash in (
        0.0,
        1.0,
    )


@pytest.mark.parametrize(
    ("key", "forms"),
    [
        ("sessions", {"none", "lognormal"}),
        ("latency_s", {"0", "lognormal"}),
        ("bandwidth_mbps", {"unlimited", "number", "home"}),
        ("speeds", {"equal", "lognormal", "classes"}),
    ],
)
def test_every_form_of_a_text_comes(key: str, forms: set[str]) -> None:
    texts = played(key)
    found = {
        form if not form[0].isdigit() or form == "0" else "number"
        for form in (text.partition(":")[0] for text in texts)
    }
    assert found == forms
    default = getattr(VirtualConfig(), key)
    assert abs(texts.count(default) / len(SEEDS) - 0.5) < 4 * 0.5 / math.sqrt(len(SEEDS))


def test_values_are_as_a_person_would_give_them() -> None:
    rng = np.random.default_rng(0)
    values = [Range(0.001, 1000).draw(rng) for _ in range(100)]
    assert all(float(f"{value:.3g}") == value for value in values)
