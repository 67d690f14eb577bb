"""What cannot be dealt out is refused by one clear error, before anything is made."""

from pathlib import Path
from typing import Any

import pytest

from p2pgan.checks import check_parties
from p2pgan.config import CoordinatorConfig, RunConfig, SplitConfig
from p2pgan.errors import ConfigError
from p2pgan.experiment import Experiment, prepare
from p2pgan.gan.models import model

DIGITS = model("mlp-digits")


def split(workers: int = 4, lose_every: int = 0, iterations: int = 40, **md: Any) -> None:
    config = RunConfig(
        algorithm="md-gan",
        iterations=iterations,
        md=SplitConfig(**md),
        coordinator=CoordinatorConfig(lose_every=lose_every),
    )
    check_parties(config, DIGITS, workers, 16)


def complaint(**settings: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        split(**settings)
    assert "\n" not in str(caught.value)
    return caught.value


def test_more_discriminators_than_workers() -> None:
    error = complaint(discriminators=5)
    assert (error.at, error.got) == ("md.discriminators", "`5`")
    assert "at most 4 discriminators" in error.expected
    split(discriminators=4)


@pytest.mark.parametrize("batches", [3, "3"])
def test_more_batches_than_discriminators(batches: int | str) -> None:
    error = complaint(discriminators=2, batches=batches)
    assert (error.at, error.got) == ("md.batches", "`3`")
    assert "at most 2 batches" in error.expected
    split(discriminators=3, batches=batches)


def test_log_always_fits() -> None:
    for discriminators in range(1, 30):
        split(workers=30, discriminators=discriminators, batches="log")


@pytest.mark.parametrize("name", ["mlp-mnist", "cnn-cifar10"])
def test_discriminators_of_other_images(name: str) -> None:
    error = complaint(models=("mlp-digits", name))
    assert error.at == "md.models"
    assert f"`{name}`" in error.got
    split(models=("mlp-digits", "mlp-digits"))


def test_discriminators_of_other_classes() -> None:
    """They would be asked for class outputs that they do not have."""
    config = RunConfig(algorithm="md-gan", md=SplitConfig(models=("cnn-mnist-ch4",)))
    with pytest.raises(ConfigError) as caught:
        check_parties(config, model("cnn-mnist"), 4, 16)
    assert caught.value.at == "md.models"
    assert "10 classes" in caught.value.expected


def test_an_unknown_model_comes_with_the_nearest() -> None:
    assert "mlp-digits" in str(complaint(models=("mlp-digit",)))


@pytest.mark.parametrize("rule", ["delay", "parameter"])
def test_staleness_where_nothing_is_late(rule: str) -> None:
    error = complaint(staleness=rule)
    assert (error.at, error.got) == ("md.staleness", f"`{rule}`")
    assert "md.asynchronous=true" in error.hint
    split(staleness=rule, asynchronous=True)


@pytest.mark.parametrize(
    ("iterations", "workers", "least"), [(40, 4, 10), (41, 4, 11), (3, 4, 1), (100, 1, 100)]
)
def test_somebody_has_to_be_left(iterations: int, workers: int, least: int) -> None:
    """A fault is after each so many iterations but for the last one."""
    split(workers=workers, iterations=iterations, lose_every=least)
    faults = sum(done % least == 0 for done in range(1, iterations))
    assert faults < workers
    if least > 1:
        error = complaint(workers=workers, iterations=iterations, lose_every=least - 1)
        assert error.at == "coordinator.lose_every"
        assert f"at least {least}" in error.expected
        assert sum(done % (least - 1) == 0 for done in range(1, iterations)) >= workers


def prepared(**settings: Any) -> Experiment:
    return prepare(RunConfig(**{"nodes": 4, "iterations": 40} | settings), Path("no-data-needed"))


def test_preparing_asks() -> None:
    with pytest.raises(ConfigError, match=r"md\.discriminators"):
        prepared(algorithm="md-gan", md=SplitConfig(discriminators=5))


@pytest.mark.parametrize("algorithm", ["gossip", "fl-gan"])
def test_other_algorithms_do_not_mind(algorithm: str) -> None:
    prepared(algorithm=algorithm, md=SplitConfig(discriminators=5, staleness="delay"))


def test_one_generator_has_no_last_step() -> None:
    config = RunConfig(algorithm="md-gan", final="agree")
    with pytest.raises(ConfigError, match="nobody has to agree on"):
        check_parties(config, DIGITS, 4, 16)
