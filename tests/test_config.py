"""The configuration: every check, every complaint, and the way to TOML and back."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.config import (
    CoordinatorConfig,
    EngineConfig,
    ExchangeConfig,
    FederatedConfig,
    RunConfig,
    ScoreConfig,
    SplitConfig,
    TrainConfig,
    config_from,
    keys,
    merge,
    read_settings,
    read_tables,
    to_toml,
)
from p2pgan.daemons import DaemonConfig, MembershipConfig
from p2pgan.errors import ConfigError
from p2pgan.virtual import VirtualConfig


def nested(key: str, value: Any) -> dict[str, Any]:
    """`a.b` as `{"a": {"b": value}}`."""
    for name in reversed(key.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def complaint(tables: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config_from(tables, at="my.toml")
    assert "\n" not in str(caught.value)
    return caught.value


OUT_OF_RANGE = [
    ("nodes", 0),
    ("iterations", 0),
    ("exchange_every", 0),
    ("exchange_epochs", 0.0),
    ("exchange_epochs", float("inf")),
    ("batch_size", 0),
    ("train.discriminator_steps", 0),
    ("train.learning_rate_g", 0.0),
    ("train.learning_rate_d", -1.0),
    ("train.learning_rate_d", float("nan")),
    ("train.learning_rate_g", float("inf")),
    ("train.beta1", 1.0),
    ("train.ema", 1.0),
    ("train.beta2", -0.1),
    ("train.gradient_penalty", -1.0),
    ("train.gradient_penalty", float("nan")),
    ("exchange.fanout", 0),
    ("exchange.probability", 0.0),
    ("exchange.probability", 1.1),
    ("exchange.probability", float("nan")),
    ("exchange.staleness", "linear:1"),
    ("exchange.staleness", "polynomial"),
    ("exchange.staleness", "polynomial:-1"),
    ("exchange.staleness", "polynomial:nan"),
    ("exchange.staleness", "polynomial:many"),
    ("score.every", -1),
    ("score.samples", 1),
    ("score.samples", 100_001),
    ("images", 0),
    ("score.final_samples", 1),
    ("score.final_samples", 100_001),
    ("score.final_nodes", 0),
    ("daemon.wait_s", -0.1),
    ("daemon.drain_s", float("nan")),
    ("daemon.chunk_bytes", 1023),
    ("daemon.chunk_bytes", 524_289),
    ("daemon.threads", 0),
    ("daemon.checkpoint_every", -1),
    ("coordinator.deadline_first_s", 0.0),
    ("coordinator.deadline_min_s", -1.0),
    ("coordinator.lost_after_s", float("inf")),
    ("coordinator.deadline_spread", -0.1),
    ("coordinator.wait_s", float("nan")),
    ("coordinator.checkpoint_every", -1),
    ("coordinator.lose_every", -1),
    ("fl.fraction", 0.0),
    ("fl.fraction", 1.1),
    ("fl.over_selection", 0.9),
    ("fl.momentum", 1.0),
    ("md.discriminators", 0),
    ("md.batches", 0),
    ("md.batches", -1),
    ("md.share", 0.0),
    ("md.share", 1.1),
    ("md.share", float("nan")),
    ("engine.threads", 0),
    ("engine.block_nodes", 0),
    ("engine.checkpoint_every", -1),
    ("engine.rank_timeout_s", 0.0),
    ("engine.rank_timeout_s", 86_401.0),
]


@pytest.mark.parametrize(("key", "value"), OUT_OF_RANGE)
def test_out_of_range(key: str, value: float) -> None:
    error = complaint(nested(key, value))
    assert error.at == f"my.toml: {key}"
    assert error.got == f"`{value}`"


AT_THE_EDGE = [
    ("nodes", 1),
    ("train.beta1", 0.0),
    ("train.gradient_penalty", 0.0),
    ("score.every", 0),
    ("score.samples", 2),
    ("score.final_samples", 0),
    ("score.final_samples", 2),
    ("score.final_nodes", 1),
    ("daemon.wait_s", 0.0),
    ("daemon.chunk_bytes", 1024),
    ("daemon.chunk_bytes", 524_288),
    ("coordinator.checkpoint_every", 0),
    ("coordinator.wait_s", 0.0),
    ("fl.fraction", 1.0),
    ("fl.over_selection", 1.0),
    ("fl.momentum", 0.0),
    ("md.discriminators", 1),
    ("md.batches", 1),
    ("md.batches", "log"),
    ("md.share", 1.0),
    ("engine.threads", 1),
    ("engine.block_nodes", 1),
    ("engine.checkpoint_every", 0),
    ("engine.rank_timeout_s", 86_400.0),
    ("seed", -5),
]


@pytest.mark.parametrize(("key", "value"), AT_THE_EDGE)
def test_the_edge_of_the_range_is_in_it(key: str, value: float | str) -> None:
    found: Any = config_from(nested(key, value), at="")
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("nodes", "x", "a whole number"),
        ("seed", 1.5, "a whole number"),
        ("nodes", True, "a whole number"),
        ("train.beta1", "x", "a number"),
        ("train.learning_rate_g", "x", "a number"),
        ("train.conditional", "ja", "`true` or `false`"),
        ("algorithm", 3, "text"),
        ("train", "x", "a table"),
        ("train.init", "hee", "one of `he`, `glorot`"),
        ("device", "gpu", "one of `auto`, `cpu`, `cuda`"),
    ],
)
def test_wrong_type(key: str, value: Any, expected: str) -> None:
    error = complaint(nested(key, value))
    assert (error.expected, error.got, error.at) == (expected, f"`{value}`", f"my.toml: {key}")


@pytest.mark.parametrize("value", ["x", "", "0", "-1", "1.5", "LOG", "2 3"])
def test_a_number_of_batches_is_a_number_or_log(value: str) -> None:
    error = complaint({"md": {"batches": value}})
    assert (error.got, error.at) == (f"`{value}`", "my.toml: md.batches")
    assert error.expected == "`log` or a whole number of at least 1"


@pytest.mark.parametrize("value", [1.5, True, ["log"]])
def test_batches_of_another_type(value: Any) -> None:
    error = complaint({"md": {"batches": value}})
    assert error.at == "my.toml: md.batches"
    assert error.got == f"`{value}`"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("train.los", "did you mean `train.loss`?"),
        ("loss", "did you mean `train.loss`?"),
        ("node", "did you mean `nodes`?"),
        ("score.sampels", "did you mean `score.samples`?"),
        ("zzz", "`docs/reference/configuration.md` lists every key"),
    ],
)
def test_unknown_key(key: str, hint: str) -> None:
    error = complaint(nested(key, 1))
    assert error.at == "my.toml"
    assert (error.got, error.hint) == (f"`{key}`", hint)


def test_two_periods_are_refused() -> None:
    error = complaint({"exchange_every": 5, "exchange_epochs": 1.0})
    assert error.got == "both"


def test_text_is_read_as_numbers() -> None:
    """Options of `--set` and the environment are text."""
    tables = {"nodes": "5", "seed": "-3", "train": {"beta1": "0.9", "conditional": "true"}}
    config = config_from(tables, at="")
    assert (config.nodes, config.seed) == (5, -3)
    assert (config.train.beta1, config.train.conditional) == (0.9, True)


def test_keys_name_every_field() -> None:
    assert {"seed", "train.loss", "exchange.fanout", "score.samples", "daemon.threads"} <= set(
        keys()
    )
    assert not {"train", "exchange", "score", "daemon", "engine", "virtual"} & set(keys())
    structs = (
        *(TrainConfig, ExchangeConfig, ScoreConfig, DaemonConfig, EngineConfig),
        *(CoordinatorConfig, FederatedConfig, SplitConfig, VirtualConfig, MembershipConfig),
    )
    tables = len(structs)
    assert len(keys()) == len(msgspec.structs.fields(RunConfig)) - tables + sum(
        len(msgspec.structs.fields(struct)) for struct in structs
    )


FULL = RunConfig(
    algorithm="gossip-ind",
    nodes=7,
    overlay="ring",
    allow_disconnected=True,
    dataset="mnist",
    partition="dirichlet:0.5",
    model="mlp-mnist",
    iterations=10,
    exchange_epochs=0.5,
    batch_size=3,
    seed=-9,
    device="cpu",
    train=TrainConfig(loss="wgan-gp", learning_rate_g=1e-4, init="glorot", conditional=True),
    exchange=ExchangeConfig(draw="push", fixed_points=False, fanout=3),
    score=ScoreConfig(every=0, samples=9, scorer="inception"),
    coordinator=CoordinatorConfig(deadline_spread=2.5, lose_every=7),
    fl=FederatedConfig(fraction=0.5, send="deltas", momentum=0.9),
    md=SplitConfig(discriminators=3, batches=2, models=("mlp-mnist", "mlp-mnist-small")),
    daemon=DaemonConfig(wait_s=0.25, chunk_bytes=2048, threads=2),
    engine=EngineConfig(threads=3, block_nodes=2, precision="tf32", checkpoint_every=5),
)


@pytest.mark.parametrize("config", [RunConfig(), FULL])
def test_toml_and_back(config: RunConfig, tmp_path: Path) -> None:
    """A `run.toml` can be given back as `--config`."""
    path = tmp_path / "run.toml"
    path.write_text(to_toml(config, run={"name": "x", "versions": {"torch": "2"}}))
    assert config_from(read_settings(path), at=str(path)) == config
    assert read_tables(path)["run"] == {"name": "x", "versions": {"torch": "2"}}


@given(
    st.builds(
        RunConfig,
        nodes=st.none() | st.integers(1, 10**6),
        overlay=st.text(max_size=20),
        seed=st.integers(-(2**62), 2**62),
        exchange_epochs=st.none() | st.floats(1e-6, 1e6),
        train=st.builds(TrainConfig, beta1=st.floats(0, 1, exclude_max=True)),
    )
)
def test_any_value_survives_toml(
    tmp_path_factory: pytest.TempPathFactory, config: RunConfig
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert config_from(read_settings(path), at="") == config


def test_merge_joins_tables_and_later_wins() -> None:
    low = {"a": 1, "t": {"x": 1, "y": 2}}
    assert merge(low, {"a": 2, "t": {"y": 3, "z": 4}}, {"b": 5}) == {
        "a": 2,
        "b": 5,
        "t": {"x": 1, "y": 3, "z": 4},
    }
    assert merge({"t": 1}, {"t": {"x": 1}}) == {"t": {"x": 1}}
    assert merge({"t": {"x": 1}}, {"t": 1}) == {"t": 1}
    assert low == {"a": 1, "t": {"x": 1, "y": 2}}


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"readable TOML file, got No such file .*none\.toml"):
        read_tables(tmp_path / "none.toml")


@pytest.mark.parametrize("content", [b"nodes = [", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"expected TOML, .*bad\.toml$"):
        read_tables(path)


def test_a_permutation_leaves_nobody_out() -> None:
    error = complaint({"exchange": {"draw": "permutation", "probability": 0.5}})
    assert "exchange.probability" in str(error)


@pytest.mark.parametrize(
    ("staleness", "exponent"), [("none", 0.0), ("polynomial:0.5", 0.5), ("polynomial:0", 0.0)]
)
def test_the_exponent_of_staleness(staleness: str, exponent: float) -> None:
    assert ExchangeConfig(staleness=staleness).staleness_exponent == exponent
