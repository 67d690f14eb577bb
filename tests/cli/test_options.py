"""Where a run's settings come from, and which source wins."""

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from p2pgan.cli.options import RUN_OPTIONS, Sources, with_run_options
from p2pgan.config import RunConfig, to_toml
from p2pgan.errors import ConfigError

SHARED = {
    "--algorithm",
    "--nodes",
    "--overlay",
    "--allow-disconnected",
    "--dataset",
    "--partition",
    "--model",
    "--iterations",
    "--exchange-every",
    "--exchange-epochs",
    "--batch-size",
    "--final",
    "--seed",
    "--device",
    "--config",
    "--set",
}
"""Scripts rely on these names: adding one is a decision, taking one away breaks somebody."""


def resolved(
    *assignments: str,
    file: Path | None = None,
    environment: dict[str, str] | None = None,
    **options: Any,
) -> RunConfig:
    return Sources(options, file, assignments, environment or {}).config()


def complaint(*arguments: Any, **sources: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        resolved(*arguments, **sources)
    return str(caught.value)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "my.toml"
    path.write_text('nodes = 3\noverlay = "ring"\n[train]\nloss = "lsgan"\nbeta1 = 0.1\n')
    return path


@pytest.fixture
def received() -> list[tuple[RunConfig, dict[str, Any]]]:
    return []


@pytest.fixture
def app(received: list[tuple[RunConfig, dict[str, Any]]]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @with_run_options
    def command(config: RunConfig, place: str = "here", *, loud: bool = False) -> None:
        """Say."""
        received.append((config, {"place": place, "loud": loud}))

    return app


def option_names(app: typer.Typer) -> set[str]:
    command: Any = typer.main.get_command(app)
    return {name for p in command.params for name in p.opts if name.startswith("--")}


def test_the_shared_options_are_these(app: typer.Typer) -> None:
    assert (
        option_names(app)
        - {"--loud", "--place"}
        - {
            "--install-completion",
            "--show-completion",
        }
        == SHARED
    )


def test_help_says_the_defaults_of_the_configuration() -> None:
    config = RunConfig()
    for key in ("algorithm", "overlay", "dataset", "partition", "iterations", "seed", "device"):
        (option,) = RUN_OPTIONS[key].__metadata__
        assert option.help.endswith(f"[default: {getattr(config, key)}]"), key


def test_every_shared_option_is_a_key_of_the_configuration() -> None:
    assert set(RUN_OPTIONS) <= set(RunConfig.__struct_fields__)


def test_a_command_gets_one_configuration_and_its_own_arguments(
    app: typer.Typer,
    received: list[tuple[RunConfig, dict[str, Any]]],
    toml: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("P2PGAN_TRAIN__BETA1", "0.2")
    monkeypatch.setenv("P2PGAN_SEED", "8")
    arguments = ["--config", str(toml), "-n", "4", "--seed", "9", "--set", "train.loss=hinge"]
    result = CliRunner().invoke(app, [*arguments, "--loud"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    ((config, own),) = received
    assert (config.nodes, config.seed, config.overlay) == (4, 9, "ring")
    assert (config.train.loss, config.train.beta1) == ("hinge", 0.2)
    assert own == {"place": "here", "loud": True}


def test_without_anything_it_is_the_default() -> None:
    assert resolved() == RunConfig()


@pytest.mark.parametrize(
    ("key", "texts"),
    [
        ("nodes", ("3", "4", "5", "6")),
        ("overlay", ("ring", "star", "grid", "torus")),
        ("exchange_every", ("3", "4", "5", "6")),
        ("batch_size", ("3", "4", "5", "6")),
        ("allow_disconnected", ("true", "false", "true", "false")),
    ],
)
def test_precedence(tmp_path: Path, key: str, texts: tuple[str, ...]) -> None:
    """Default, file, environment, option, `--set`: each beats those before it."""
    in_file, in_environment, in_option, in_set = (_read(text) for text in texts)
    path = tmp_path / "my.toml"
    path.write_text(f"{key} = {_toml(in_file)}\n")
    environment = {f"P2PGAN_{key.upper()}": texts[1]}

    def value(*assignments: str, **sources: Any) -> Any:
        return getattr(resolved(*assignments, **sources), key)

    assert value(file=path) == in_file
    assert value(file=path, environment=environment) == in_environment
    assert value(file=path, environment=environment, **{key: in_option}) == in_option
    last = value(f"{key}={texts[3]}", file=path, environment=environment, **{key: in_option})
    assert last == in_set


def _read(text: str) -> Any:
    return {"true": True, "false": False}.get(text, int(text) if text.isdigit() else text)


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def test_tables_are_joined_over_all_sources(toml: Path) -> None:
    environment = {"P2PGAN_TRAIN__BETA2": "0.5", "P2PGAN_TRAIN__INIT": "glorot"}
    config = resolved("train.loss=hinge", file=toml, environment=environment)
    train = config.train
    assert (train.loss, train.beta1, train.beta2, train.init) == ("hinge", 0.1, 0.5, "glorot")


@pytest.mark.parametrize(
    ("assignment", "overlay"),
    [
        ("overlay=ring", "ring"),
        ('overlay="ring"', "ring"),
        (" overlay = watts-strogatz:4,0.1 ", "watts-strogatz:4,0.1"),
        ("overlay=a=b.json", "a=b.json"),
    ],
)
def test_set_takes_bare_text_and_toml(assignment: str, overlay: str) -> None:
    assert resolved(assignment).overlay == overlay


def test_of_two_assignments_the_later_wins() -> None:
    assert resolved("seed=1", "train.loss=hinge", "seed=2").seed == 2


@pytest.mark.parametrize("assignment", ["nodes", "=3", "  =3", ""])
def test_an_assignment_without_key_or_value(assignment: str) -> None:
    assert complaint(assignment) == f"expected KEY=VALUE, got `{assignment}` - at --set"


def test_complaints_name_their_source(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("[train]\nlosss = 1\n")
    assert f"`train.losss` - at {path}" in complaint(file=path)
    unknown = {"P2PGAN_TRAIN__LOS": "hinge"}
    assert "`train.los` - at environment (hint: did you mean `train.loss`?)" in complaint(
        environment=unknown
    )
    assert "got `0` - at environment: nodes" in complaint(environment={"P2PGAN_NODES": "0"})
    assert complaint(nodes=0).endswith("got `0` - at --nodes")
    assert complaint(batch_size=0).endswith("at --batch-size")
    assert "`train.los` - at --set (hint: did you mean `train.loss`?)" in complaint("train.los=1")
    assert "got `1.5` - at --set: train.beta1" in complaint("train.beta1=1.5")


def test_a_wrong_value_is_found_even_where_another_source_wins(toml: Path) -> None:
    toml.write_text("nodes = 0\n")
    assert f"{toml}: nodes" in complaint(file=toml, nodes=3)


def test_a_later_period_replaces_the_other_kind(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("exchange_epochs = 2.0\n")
    config = resolved(file=path, exchange_every=7)
    assert (config.exchange_every, config.exchange_epochs) == (7, None)
    environment = {"P2PGAN_EXCHANGE_EVERY": "7"}
    config = resolved("exchange_epochs=0.5", file=path, environment=environment)
    assert (config.exchange_every, config.exchange_epochs) == (None, 0.5)
    assert resolved(file=path, seed=1).exchange_epochs == 2.0


def test_both_periods_in_one_source_are_refused() -> None:
    both = {"P2PGAN_EXCHANGE_EVERY": "7", "P2PGAN_EXCHANGE_EPOCHS": "1"}
    assert "got both - at environment" in complaint(environment=both)
    assert "got both - at --exchange-every, --exchange-epochs" in complaint(
        exchange_every=7, exchange_epochs=1.0
    )
    assert "got both - at --set" in complaint("exchange_every=7", "exchange_epochs=1")


def test_the_rest_of_the_environment_is_left_alone() -> None:
    environment = {"PATH": "/bin", "P2PGAN_DATA_DIR": "/data", "p2pgan_seed": "3"}
    assert resolved(environment=environment) == RunConfig()


def test_a_run_toml_can_be_given_back(tmp_path: Path) -> None:
    config = resolved("train.loss=hinge", "score.every=0", nodes=4, exchange_every=3)
    path = tmp_path / "run.toml"
    path.write_text(to_toml(config, run={"name": "old"}))
    assert resolved(file=path) == config
