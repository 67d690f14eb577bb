"""The options that commands which train share, and where their values come from.

A command decorated with `with_run_options` gets one `RunConfig`, merged in this order, later wins:
defaults, `--config FILE`, environment (`P2PGAN_NODES`, `P2PGAN_TRAIN__LOSS`), options, `--set`.
One decorated with `with_sources` gets the `Sources`, and can put more beneath them, as a recipe is.
"""

import functools
import inspect
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from p2pgan.config import RunConfig, config_from, merge, nested, read_settings
from p2pgan.errors import ConfigError

ENVIRONMENT_PREFIX = "P2PGAN_"
Layer = tuple[Mapping[str, Any], str]
"""Tables as in TOML, and where they come from."""

NOT_CONFIGURATION = frozenset({"P2PGAN_DATA_DIR"})
"""Variables with our prefix that say something else."""


def _option(kind: Any, help: str, *names: str, default: str | None = None) -> Any:
    """An option that may be left out; `default` says what the configuration then holds."""
    ending = f"  [default: {default}]" if default else ""
    return Annotated[kind | None, typer.Option(*names, help=help + ending)]


RUN_OPTIONS: dict[str, Any] = {
    "algorithm": _option(
        str,
        "standalone, centralised, gossip, gossip-ind, gosgd, push-sum, ad-psgd, fl-gan or md-gan.",
        default="gossip",
    ),
    "nodes": _option(int, "Number of nodes.", "--nodes", "-n", default="the file's, or 10"),
    "overlay": _option(
        str,
        "A family (ring, watts-strogatz:4,0.1, …), a ready file's name, or a path.",
        default="complete",
    ),
    "allow_disconnected": _option(
        bool, "Accept an overlay in several pieces.", "--allow-disconnected"
    ),
    "dataset": _option(
        str, "digits, mnist, cifar10, or folder:PATH for any folder of images.", default="digits"
    ),
    "partition": _option(
        str, "iid, by-class, by-class:K, dirichlet:ALPHA or quantity:ALPHA.", default="iid"
    ),
    "model": _option(
        str,
        "mlp-digits, mlp-mnist, cnn-mnist-ch4, cnn-mnist, cnn-cifar10, cnn-celeba, or for short "
        "runs mlp-mnist-small, cnn-mnist-small.",
        default="the data set's usual one",
    ),
    "iterations": _option(int, "Generator steps per node.", "--iterations", "-i", default="3000"),
    "exchange_every": _option(int, "Iterations between exchanges.", default="20"),
    "exchange_epochs": _option(float, "The same in passes over the shard."),
    "batch_size": _option(int, "Images per step.", default="the model's usual number"),
    "final": _option(
        Literal["none", "agree", "average"],
        "A last step: adopt the best pair found by gossip, or average by gossip until equal.",
        default="none",
    ),
    "seed": _option(int, "Decides every random draw.", default="0"),
    "device": _option(Literal["auto", "cpu", "cuda"], "Where to train.", default="auto"),
}
"""Options named as the configuration's keys."""

CONFIG_OPTION = _option(Path, "TOML file with any of these and more.", "--config")
SET_OPTION = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Any key of the configuration, such as train.loss=hinge."
    ),
]


@dataclass(frozen=True)
class Sources:
    """Where one configuration comes from."""

    options: Mapping[str, Any]
    """Values of `RUN_OPTIONS`, `None` where not given."""
    file: Path | None = None
    """The TOML file of `--config`."""
    assignments: Sequence[str] = ()
    """`KEY=VALUE` of each `--set`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The process's variables."""

    def config(self, *beneath: Layer) -> RunConfig:
        """One configuration out of all sources.

        Args:
            beneath: further layers, above the defaults and below all others.
        Raises:
            ConfigError: naming the source, for what is unknown, of the wrong type or out of range.
        """
        tables = _period_once([tables for tables, _ in self._checked(beneath)])
        return config_from(tables, at="configuration")

    def given(self) -> dict[str, Any]:
        """What somebody said, as tables: without defaults and further layers.

        Raises:
            ConfigError: as `config`.
        """
        return _period_once([tables for tables, _ in self._checked(())])

    def _checked(self, beneath: Sequence[Layer]) -> list[Layer]:
        layers = [
            *beneath,
            ({} if self.file is None else read_settings(self.file), str(self.file)),
            (_environment_tables(self.environment), "environment"),
            ({k: v for k, v in self.options.items() if v is not None}, "options"),
            (_assigned_tables(self.assignments), "--set"),
        ]
        for tables, at in layers:
            try:
                config_from(tables, at=at)  # each alone first, so that an error names its source
            except ConfigError as error:
                raise _naming_option(error) from None
        return layers


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the shared options and passes it one `RunConfig` as its first argument."""

    @functools.wraps(command)
    def configured(sources: Sources, *arguments: Any, **named: Any) -> None:
        command(sources.config(), *arguments, **named)

    return with_sources()(configured)


def with_sources(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the shared options and passes it their `Sources` as its first argument.

    Args:
        left_out: keys of `RUN_OPTIONS` that the command asks for in another way.
    """
    options = {key: option for key, option in RUN_OPTIONS.items() if key not in left_out}
    return functools.partial(_with_sources, options)


def _with_sources(options: Mapping[str, Any], command: Callable[..., None]) -> Callable[..., None]:
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> None:
        given = {key: arguments.pop(key) for key in options}
        file, assignments = arguments.pop("config"), arguments.pop("set")
        command(Sources(given, file, assignments or [], os.environ), **arguments)

    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in {**options, "config": CONFIG_OPTION, "set": SET_OPTION}.items()
    ]
    first = [p for p in own if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    rest = [p for p in own if p.kind is inspect.Parameter.KEYWORD_ONLY]
    parameters = [*first, *shared, *rest]
    signature = inspect.Signature(parameters)
    wrapped.__signature__ = signature  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _naming_option(error: ConfigError) -> ConfigError:
    """Options are told as they are typed: `options: batch_size` is `--batch-size`."""
    source, _, keys = error.at.partition("options: ")
    if source or not keys:
        return error
    at = ", ".join(f"--{key}" for key in keys.replace("_", "-").split(", "))
    return ConfigError(expected=error.expected, got=error.got, at=at, hint=error.hint)


def _period_once(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Layers merged; a period in a later layer replaces the other kind of period below it."""
    periods = {"exchange_every", "exchange_epochs"}
    merged: dict[str, Any] = {}
    for tables in layers:
        if periods & tables.keys():
            merged = {key: value for key, value in merged.items() if key not in periods}
        merged = merge(merged, tables)
    return merged


def _environment_tables(environment: Mapping[str, str]) -> dict[str, Any]:
    """`P2PGAN_TRAIN__LOSS=hinge` as `{"train": {"loss": "hinge"}}`."""
    tables: dict[str, Any] = {}
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_CONFIGURATION:
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            tables = merge(tables, nested(key, text))
    return tables


def _assigned_tables(assignments: Sequence[str]) -> dict[str, Any]:
    """`train.loss=hinge` as `{"train": {"loss": "hinge"}}`; values are TOML or bare text."""
    tables: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(expected="KEY=VALUE", got=f"`{assignment}`", at="--set")
        tables = merge(tables, nested(key.strip(), toml_value(text.strip())))
    return tables


def toml_value(text: str) -> Any:
    """A value as TOML has it; whatever is none is taken as text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
