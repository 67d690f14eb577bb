"""The configuration of a run: one frozen struct per part, each field with its meaning and unit.

The same TOML file serves `simulate`, `up` and `node start`. Values that depend on each other (the
model of a data set, the learning rate of a model) are left `None` here and resolved when the run is
prepared; `run.toml` holds the resolved ones.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
import tomli_w

from p2pgan.daemons import DaemonConfig, MembershipConfig
from p2pgan.errors import ConfigError, nearest
from p2pgan.ranges import check, check_least
from p2pgan.virtual import VirtualConfig

SAMPLES_MAX = 100_000
"""Of one generator at a time; they are all in memory at once."""

RUN_TABLE = "run"
"""Table of a `run.toml` that says which run it was; the rest is configuration."""


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How each node trains between two exchanges."""

    loss: str = "nonsaturating"
    """`minimax`, `nonsaturating`, `hinge`, `lsgan` or `wgan-gp`."""
    discriminator_steps: int = 1
    """L: discriminator steps before each generator step."""
    learning_rate_g: float | None = None
    """Adam's step size of the generator; `None`: the model's usual one."""
    learning_rate_d: float | None = None
    """Adam's step size of the discriminator; `None`: the model's usual one."""
    beta1: float = 0.5
    """Adam's decay of the first moment; GANs want it lower than 0.9."""
    beta2: float = 0.999
    """Adam's decay of the second moment."""
    gradient_penalty: float = 10.0
    """Weight of the gradient penalty of `wgan-gp`; other losses ignore it."""
    init: Literal["he", "glorot"] = "he"
    """Initial weights: He et al. 2015 with the leaky-ReLU gain, or Glorot and Bengio 2010."""
    conditional: bool = False
    """ACGAN: labels enter the latent, and the discriminator also classifies."""
    ema: float = 0.0
    """Decay, per iteration, of a running mean of the generator's weights, which every node keeps to
    itself, and which is scored and sampled in the generator's place. 0.999 looks back about 1,000
    iterations; 0: none. It follows an exchange only in the iterations after it."""

    def __post_init__(self) -> None:
        check_least("train.discriminator_steps", self.discriminator_steps, 1)
        for name in ("learning_rate_g", "learning_rate_d"):
            rate = getattr(self, name)
            if rate is not None:
                check(0 < rate < math.inf, f"train.{name}", "a learning rate above 0", rate)
        for name in ("beta1", "beta2", "ema"):
            decay = getattr(self, name)
            check(0 <= decay < 1, f"train.{name}", "a decay in [0, 1)", decay)
        penalty = self.gradient_penalty
        check(0 <= penalty < math.inf, "train.gradient_penalty", "0 or more", penalty)


class ExchangeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is drawn at an exchange."""

    draw: Literal["auto", "permutation", "push"] = "auto"
    """`permutation`: everyone sends to one and hears from one; `push`: everyone sends to `fanout`
    random neighbors and hears from whoever chose it. `auto`: permutation in lockstep, push in
    daemons, which cannot agree on a permutation without a coordinator, and wherever weights travel
    or `probability` is below 1. `ad-psgd` draws pairs whatever it says."""
    fixed_points: bool = True
    """Whether a permutation may leave a node with itself (the thesis lets it)."""
    fanout: int = 1
    """Neighbors that a push goes to. More mixes faster and costs as many times the traffic."""
    probability: float = 1.0
    """Of a node's push, or of its asking for a pair, after a round (GoSGD's p): less costs less."""
    staleness: str = "none"
    """Weight of what `gossip` and `gossip-ind` average: `none`: the same for all; `polynomial:A`:
    `(1 + s)^-A` for what is s rounds older than the receiver's own, which counts 1. Nobody is
    behind in lockstep."""
    moments: Literal["stay", "reset", "travel"] = "stay"
    """What becomes of Adam's moments at an exchange: they stay as they are, start again at 0 (at
    every node and after every round, whoever was drawn), or travel with the networks and are mixed
    like them, at three times the traffic."""

    def __post_init__(self) -> None:
        check_least("exchange.fanout", self.fanout, 1)
        chance = self.probability
        check(0 < chance <= 1, "exchange.probability", "a probability in (0, 1]", chance)
        check(
            0 <= self.staleness_exponent < math.inf,
            "exchange.staleness",
            "`none` or `polynomial:A` with a number A of at least 0",
            self.staleness,
        )
        check(
            self.draw != "permutation" or chance == 1,
            "exchange.probability",
            "1 with a permutation, in which everybody sends",
            chance,
        )

    @property
    def staleness_exponent(self) -> float:
        """A of `polynomial:A`; 0: age does not count; NaN: it is neither."""
        if self.staleness == "none":
            return 0.0
        name, _, exponent = self.staleness.partition(":")
        try:
            return float(exponent) if name == "polynomial" else math.nan
        except ValueError:
            return math.nan


class ScoreConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When and how generators are scored."""

    every: int | None = None
    """Rounds between two scores; 0: only at the end; `None`: about ten times in a run."""
    samples: int = 500
    """Generated images per score (the thesis: 500). FID depends on it: compare equal sizes only."""
    scorer: str | None = None
    """The classifier in Inception's place; `None`: the data set's, or for a folder `random`, an
    untrained network, by which large differences show and no small ones. `inception` needs an
    extra."""
    final_samples: int = 0
    """Generated images per generator for the quality at the end (FID, MS, precision, recall,
    classes, nearest training images); 0: not measured."""
    final_nodes: int = 10
    """Nodes whose quality is measured at the end, evenly spaced; all, if there are fewer."""

    def __post_init__(self) -> None:
        if self.every is not None:
            check_least("score.every", self.every, 0)
        asked = f"a whole number from 2 to {SAMPLES_MAX:,}"
        check(2 <= self.samples <= SAMPLES_MAX, "score.samples", asked, self.samples)
        check(
            self.final_samples == 0 or 2 <= self.final_samples <= SAMPLES_MAX,
            "score.final_samples",
            f"0 or {asked}",
            self.final_samples,
        )
        check_least("score.final_nodes", self.final_nodes, 1)


class CoordinatorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the two systems with a coordinator share: how long it waits, and what it keeps."""

    deadline_first_s: float = 30.0
    """Seconds that the coordinator waits for answers while too few have come to tell the usual; or
    4 times the longest that has come, if that is more."""
    deadline_min_s: float = 1.0
    """Shortest deadline, however regular the answers are."""
    deadline_spread: float = 6.0
    """The deadline is the median time of an answer plus so many times the spread (1.48 times the
    median absolute deviation, which is the standard deviation of a normal distribution), but at
    least one and a half medians."""
    lost_after_s: float = 30.0
    """Seconds after which a worker that owes an answer is given up, with its discriminator; or 4
    deadlines, if that is more. While too few answers have come, only a broken connection counts."""
    wait_s: float = 60.0
    """Seconds that a worker waits for a coordinator that is gone, before it saves and stops."""
    checkpoint_every: int = 1
    """Rounds between two checkpoints of the coordinator, which it can be started again from; 0:
    only at the end."""
    lose_every: int = 0
    """MD-GAN simulated: iterations after which a random worker is lost, with its shard and its
    discriminator (thesis, figure 5.6: `I / n`). 0: never."""

    def __post_init__(self) -> None:
        for name in ("deadline_first_s", "deadline_min_s", "lost_after_s"):
            value = getattr(self, name)
            check(0 < value < math.inf, f"coordinator.{name}", "more than 0 seconds", value)
        spread, wait_s = self.deadline_spread, self.wait_s
        check(0 <= spread < math.inf, "coordinator.deadline_spread", "0 or more", spread)
        check(0 <= wait_s < math.inf, "coordinator.wait_s", "0 or more seconds", wait_s)
        check_least("coordinator.checkpoint_every", self.checkpoint_every, 0)
        check_least("coordinator.lose_every", self.lose_every, 0)


class FederatedConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """FL-GAN: who takes part in a round, and what becomes of their networks."""

    fraction: float = 1.0
    """C: share of the workers whose networks make a round; at least one."""
    over_selection: float = 1.3
    """Daemons: so many times more workers are asked, and the first to answer make the round. Nobody
    is slow in lockstep, where none are asked in vain."""
    weighting: Literal["samples", "uniform"] = "samples"
    """Weight of a worker in the mean: the size of its shard, or the same for all."""
    send: Literal["weights", "deltas"] = "weights"
    """What a worker sends back: its networks, or what the round has changed in them. The mean is
    the same up to rounding, and so is the traffic; in lockstep it makes no difference."""
    momentum: float = 0.0
    """β of the coordinator's own step `v <- β v + mean change`, `x <- x + v` (Hsu et al. 2019), in
    which changes of earlier rounds go on; 0: the plain mean."""

    def __post_init__(self) -> None:
        fraction, over = self.fraction, self.over_selection
        check(0 < fraction <= 1, "fl.fraction", "a share in (0, 1]", fraction)
        check(1 <= over < math.inf, "fl.over_selection", "1 or more", over)
        check(0 <= self.momentum < 1, "fl.momentum", "a decay in [0, 1)", self.momentum)


class SplitConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """MD-GAN: one generator at the coordinator, discriminators that move between workers."""

    discriminators: int | None = None
    """n: discriminators, at most one per worker; `None`: one on each."""
    batches: int | str = "log"
    """k: batches that the coordinator generates per iteration, a number up to n or `log`, the whole
    part of the natural logarithm of n (at least 1)."""
    moves: bool = True
    """Whether discriminators move to random workers after every round."""
    moments: Literal["travel", "reset"] = "travel"
    """What becomes of Adam's moments of discriminators that move: they go along, at three times the
    traffic, or start again at 0."""
    initial: Literal["different", "same"] = "different"
    """Initial weights of the discriminators: drawn for each, or once for all."""
    models: tuple[str, ...] = ()
    """Models whose discriminators are dealt out in turn, such as `["mlp-mnist", "cnn-mnist"]`;
    empty: the run's own. They must be for the same images."""
    asynchronous: bool = False
    """Whether the coordinator applies each feedback as it comes and waits for no other."""
    staleness: Literal["none", "delay", "parameter"] = "none"
    """Asynchronous: what divides the step of a late feedback. `delay`: the generator's updates
    since its batches were made. `parameter`: of those the ones that changed that very parameter
    (AdaComp), which differs where feedback is sparse."""
    share: float = 1.0
    """Share of the feedback's values that a worker sends, the largest in absolute value; below 1,
    each goes with its position, so that only shares below a half save traffic."""

    def __post_init__(self) -> None:
        if self.discriminators is not None:
            check_least("md.discriminators", self.discriminators, 1)
        is_number = isinstance(self.batches, int) or self.batches.isdecimal()
        check(
            self.batches == "log" or (is_number and int(self.batches) >= 1),
            "md.batches",
            "`log` or a whole number of at least 1",
            self.batches,
        )
        check(0 < self.share <= 1, "md.share", "a share in (0, 1]", self.share)


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the machine is used. A step differs by rounding only, which a long training amplifies as
    it does another seed; the same threads, blocks and processes repeat a run to the bit."""

    threads: int | None = None
    """Processors that a simulation trains on; `None`: as many threads as PyTorch takes. Daemons:
    `daemon.threads`."""
    block_nodes: int | None = None
    """Nodes that are trained side by side in one computation; `None`: as many as fit the cache."""
    precision: Literal["float32", "tf32"] = "float32"
    """Of products on a GPU: `tf32` rounds what is multiplied to 10 bits, and should be several
    times as fast (not measured here). CPUs always take `float32`."""
    checkpoint_every: int = 0
    """Rounds between two checkpoints of a simulation; 0: only at the end. Daemons:
    `daemon.checkpoint_every`."""
    rank_timeout_s: float = 300.0
    """Seconds that a process of a simulation waits for another before it gives the run up. One that
    has ended is noticed at once; more only bears with slower ones."""

    def __post_init__(self) -> None:
        for name in ("threads", "block_nodes"):
            value = getattr(self, name)
            if value is not None:
                check_least(f"engine.{name}", value, 1)
        check_least("engine.checkpoint_every", self.checkpoint_every, 0)
        timeout_s = self.rank_timeout_s
        check(
            0 < timeout_s <= 86_400,
            "engine.rank_timeout_s",
            "more than 0 and at most 86400 seconds",
            timeout_s,
        )


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides a run, the machine apart."""

    algorithm: str = "gossip"
    """`standalone`, `centralised`, `gossip`, `gossip-ind`, `gosgd`, `push-sum`, `ad-psgd`, `fl-gan`
    or `md-gan`."""
    nodes: int | None = None
    """Number of nodes; `None`: those of the overlay file, else 10."""
    overlay: str = "complete"
    """A family such as `ring` or `watts-strogatz:4,0.1`, a ready file's name, or a path."""
    allow_disconnected: bool = False
    """Accept an overlay in more than one piece."""
    dataset: str = "digits"
    """`digits`, `mnist`, `cifar10`, or `folder:PATH` for any folder of images, where PATH is
    absolute or begins in the folder of the data sets; its subfolders, if there are any, are
    classes."""
    images: int | None = None
    """Training images of all nodes together, chosen at random; `None`: all there are. Fewer show in
    a short run what otherwise needs a long one."""
    partition: str = "iid"
    """`iid`, `by-class`, `by-class:K`, `dirichlet:ALPHA` or `quantity:ALPHA`."""
    model: str | None = None
    """A pair of networks, such as `mlp-digits`; `None`: the data set's usual one."""
    iterations: int = 3000
    """Generator steps per node; with `fl.fraction`, of a node that takes part in every round."""
    exchange_every: int | None = None
    """Iterations between two exchanges; `None`: `exchange_epochs` decides, else 20."""
    exchange_epochs: float | None = None
    """Passes over the shard between two exchanges; excludes `exchange_every`."""
    batch_size: int | None = None
    """Images per step; `None`: the model's usual number."""
    final: Literal["none", "agree", "average"] = "none"
    """What the nodes do once all iterations are made: nothing, agree on the best pair of networks
    by gossip alone, or go on averaging by gossip without training until all are nearly equal."""
    seed: int = 0
    """Every random draw follows from it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks live."""
    train: TrainConfig = TrainConfig()
    exchange: ExchangeConfig = ExchangeConfig()
    score: ScoreConfig = ScoreConfig()
    coordinator: CoordinatorConfig = CoordinatorConfig()
    fl: FederatedConfig = FederatedConfig()
    md: SplitConfig = SplitConfig()
    virtual: VirtualConfig = VirtualConfig()
    daemon: DaemonConfig = DaemonConfig()
    membership: MembershipConfig = MembershipConfig()
    engine: EngineConfig = EngineConfig()

    def __post_init__(self) -> None:
        if self.nodes is not None:
            check_least("nodes", self.nodes, 1)
        check_least("iterations", self.iterations, 1)
        if self.images is not None:
            check_least("images", self.images, 1)
        if self.exchange_every is not None:
            check_least("exchange_every", self.exchange_every, 1)
        if self.exchange_epochs is not None:
            epochs = self.exchange_epochs
            check(0 < epochs < math.inf, "exchange_epochs", "a number above 0", epochs)
        if self.batch_size is not None:
            check_least("batch_size", self.batch_size, 1)
        if self.exchange_every is not None and self.exchange_epochs is not None:
            raise ConfigError(
                expected="`exchange_every` or `exchange_epochs`",
                got="both",
                at="exchange_every, exchange_epochs",
                hint="give the period in iterations or in passes over the shard",
            )


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables joined key by key; later layers win."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping):
                below = merged.get(key)
                merged[key] = merge(below if isinstance(below, dict) else {}, value)
            else:
                merged[key] = value
    return merged


def nested(key: str, value: Any) -> dict[str, Any]:
    """`train.loss` and a value as `{"train": {"loss": value}}`."""
    first, _, rest = key.partition(".")
    return {first: nested(rest, value) if rest else value}


def value_of(config: RunConfig, key: str) -> Any:
    """The value of a key such as `train.loss`."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def config_from(tables: Mapping[str, Any], *, at: str) -> RunConfig:
    """The configuration that nested tables describe; text is read as numbers where one is due.

    Args:
        tables: keys and sub-tables as in TOML; values may be text (options, environment).
        at: where the tables come from, for the error.
    Raises:
        ConfigError: for an unknown key or a value of the wrong type or range.
    """
    try:
        return msgspec.convert(tables, RunConfig, strict=False)
    except ConfigError as error:
        raise ConfigError(
            expected=error.expected, got=error.got, at=f"{at}: {error.at}", hint=error.hint
        ) from None
    except msgspec.ValidationError as error:
        raise _explained(error, tables, at) from None


LOCAL_KEYS: Final = (
    "daemon", "device", "engine", "membership", "overlay", "score", "virtual",
)  # fmt: skip
"""What two nodes of one run may have different: how they wait and watch each other, where they
compute, how they score, where their copy of the overlay lies, and what virtual time makes up."""


def common_settings(config: RunConfig) -> dict[str, Any]:
    """What all nodes of a run have in common, as plain values by key."""
    tables: dict[str, Any] = msgspec.to_builtins(config)
    return {key: value for key, value in tables.items() if key not in LOCAL_KEYS}


def flat(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Values by key, those of tables with a dot: `seed`, `train.loss`."""
    found: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{inner}": below for inner, below in flat(value).items()}
        else:
            found[key] = value
    return found


def keys() -> list[str]:
    """Every key of the configuration, those of tables with a dot: `seed`, `train.loss`."""
    names: list[str] = []
    for field in msgspec.structs.fields(RunConfig):
        is_table = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
        below = msgspec.structs.fields(field.type) if is_table else ()
        names += [f"{field.name}.{inner.name}" for inner in below] or [field.name]
    return names


def _explained(error: msgspec.ValidationError, tables: Mapping[str, Any], at: str) -> ConfigError:
    """What msgspec found wrong, with the key in our own notation and the value that was there."""
    what, _, path = str(error).partition(" - at ")
    place = path.strip("`").removeprefix("$").removeprefix(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    if unknown:
        key = f"{place}.{unknown[1]}".removeprefix(".")
        return ConfigError(
            expected="a key of the configuration",
            got=f"`{key}`",
            at=at,
            hint=nearest(key, keys()) or "`docs/reference/configuration.md` lists every key",
        )
    kind, value = _field_type(place), _value_at(tables, place)
    return ConfigError(expected=_KINDS.get(kind, kind), got=f"`{value}`", at=f"{at}: {place}")


_KINDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "`true` or `false`"}


def _field_type(key: str) -> str:
    """The type of a key in words that `_KINDS` translates; choices are listed, `None` left out."""
    kind: Any = RunConfig
    for name in key.split("."):
        kind = next(f.type for f in msgspec.structs.fields(kind) if f.name == name)
    if get_origin(kind) is tuple:
        return 'a list of texts, such as `["a", "b"]`'
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in get_args(kind))
    kinds = [k.__name__ for k in get_args(kind) or (kind,) if k is not NoneType]
    return "a table" if kinds[0].endswith("Config") else kinds[0]


def _value_at(tables: Any, key: str) -> Any:
    for name in key.split("."):
        tables = tables[name]
    return tables


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: if the file cannot be read or is not TOML.
    """
    try:
        return tables_of(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(
            expected="a readable TOML file", got=error.strerror or str(error), at=str(path)
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(expected="TOML", got=str(error), at=str(path)) from None


def tables_of(text: str, at: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ConfigError: if it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(expected="TOML", got=str(error), at=at) from None


def read_settings(path: Path) -> dict[str, Any]:
    """The configuration tables of a file, without what a `run.toml` says of its run.

    Raises:
        ConfigError: if the file cannot be read or is not TOML.
    """
    tables = read_tables(path)
    tables.pop(RUN_TABLE, None)
    return tables


def to_toml(config: RunConfig, **extra: Any) -> str:
    """The configuration as TOML, `None` fields left out, with further top-level tables after it."""
    return tomli_w.dumps(merge(to_tables(config), extra))


def to_tables(config: RunConfig) -> dict[str, Any]:
    """The configuration as nested tables, `None` fields left out, since TOML has none."""
    return _without_none(msgspec.to_builtins(config))


def _without_none(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in tables.items()
        if value is not None
    }
