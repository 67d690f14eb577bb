"""How much is sent, by formula: the costs of MD-GAN, FL-GAN and gossip (thesis, section 5.2.4).

Tables 5.3 and 5.4 of the thesis for the run at hand, in bytes of float32. They are written anew
from sizes and settings, and share nothing with what sends, so that the one checks the other.

Letters: n discriminators (or nodes), b images of a batch, d values of an image, θ and λ the values
of discriminator and generator, I iterations, R rounds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import msgspec

from p2pgan.config import RunConfig
from p2pgan.gan.models import Model, model
from p2pgan.inspect.traffic import Prediction
from p2pgan.mixing.algorithms import algorithm
from p2pgan.types import COORDINATOR

BYTES_PER_VALUE = 4
"""float32."""

WITH_MOMENTS = 3
"""A network that takes Adam's two moments along is so many times as large."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """How far a run has come."""

    iterations: int
    """I: of the coordinator, or most of a node."""
    rounds: Mapping[str, int]
    """R of each node."""
    is_networked: bool
    """Whether its nodes are daemons: they ask more workers than they need, and push."""

    @property
    def most_rounds(self) -> int:
        """Those of the coordinator, if they are known."""
        return self.rounds.get(COORDINATOR, max(self.rounds.values(), default=0))


class Communication(msgspec.Struct, frozen=True, kw_only=True):
    """Table 5.4 for a configured run that nobody disturbs: bytes of one communication, and how
    many there are. `None`: the algorithm has none. C: coordinator, W: one worker."""

    coordinator_sends: int | None = None
    """C → W, at C."""
    worker_receives: int | None = None
    """C → W, at W."""
    worker_sends: int | None = None
    """W → C, at W."""
    coordinator_receives: int | None = None
    """W → C, at C."""
    with_coordinator: int = 0
    """Number of C ↔ W."""
    between_workers: int | None = None
    """W → W, at W: the most, where discriminators differ or networks travel apart."""
    among_workers: int = 0
    """Number of W ↔ W: one a round; MD-GAN leaves out the last, after which nobody learns."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


def predict(config: RunConfig, made: Made) -> dict[str, Prediction]:
    """What a run has sent during the training, by kind of message.

    Lost workers, and what is sent again or in vain, are not in the formulas.

    Args:
        config: resolved, as in `run.toml`; nothing is predicted where it names no model.
        made: how far the run has come.
    Raises:
        ConfigError: for an unknown algorithm or model.
    """
    rule = algorithm(config.algorithm)
    if config.model is None:
        return {}
    if rule.is_split:
        return _split(config, made)
    if rule.has_coordinator:
        return _federated(config, made)
    return _gossip(config, made) if rule.groups else {}


def communication(config: RunConfig) -> Communication:
    """The bytes of each communication of a configured run, and their numbers.

    Args:
        config: resolved, as in `run.toml`; empty where it names no model.
    Raises:
        ConfigError: for an unknown algorithm or model.
    """
    rule, nodes = algorithm(config.algorithm), _nodes(config)
    rounds = -(-config.iterations // (config.exchange_every or 1))
    if config.model is None:
        return Communication()
    if rule.is_split:
        count = config.md.discriminators or nodes
        is_moved = config.md.moves and nodes > 1
        moves = max(_moved_bytes(config)) if is_moved else None
        return Communication(
            coordinator_sends=count * _batches_bytes(config),
            worker_receives=_batches_bytes(config),
            worker_sends=_feedback_bytes(config),
            coordinator_receives=count * _feedback_bytes(config),
            with_coordinator=config.iterations,
            between_workers=moves,
            among_workers=rounds - 1 if is_moved else 0,
        )
    if rule.has_coordinator:
        chosen, size = _chosen(config), _exchanged_bytes(config, ("G", "D"))
        return Communication(
            coordinator_sends=chosen * size,
            worker_receives=size,
            worker_sends=size,
            coordinator_receives=chosen * size,
            with_coordinator=rounds,
        )
    if rule.groups:
        size = sum(_exchanged_bytes(config, group) for group in rule.groups)
        return Communication(between_workers=size, among_workers=rounds)
    return Communication()


def _split(config: RunConfig, made: Made) -> dict[str, Prediction]:
    """MD-GAN, per iteration and discriminator `2bd` values one way and `bd` the other, per round
    and discriminator `|θ|`, but for the last one. Where feedback is applied as it comes, an
    iteration is as much of it."""
    count = config.md.discriminators or _nodes(config)
    answers = made.iterations * count
    sizes = {"batches": _batches_bytes(config), "feedback": _feedback_bytes(config)}
    predicted = {
        kind: Prediction(messages=answers, payload_bytes=answers * size)
        for kind, size in sizes.items()
    }
    if config.md.moves and _nodes(config) > 1:
        rounds = made.most_rounds - (made.iterations >= config.iterations)
        predicted["move"] = Prediction(
            messages=rounds * count,
            payload_bytes=rounds * sum(_moved_bytes(config)),
        )
    return predicted


def _federated(config: RunConfig, made: Made) -> dict[str, Prediction]:
    """FL-GAN, per round and worker that takes part `|θ| + |λ|` each way."""
    chosen, size = _chosen(config), _exchanged_bytes(config, ("G", "D"))
    asked = min(_nodes(config), math.ceil(round(config.fl.over_selection * chosen, 6)))
    messages = made.most_rounds * (asked if made.is_networked else chosen)
    each = Prediction(messages=messages, payload_bytes=messages * size)
    return {"model": each, "update": each}


def _gossip(config: RunConfig, made: Made) -> dict[str, Prediction]:
    """Gossip, per round and node each group of networks to as many as a draw allows. Of pairs a
    node asks for one a round and answers one, and where all exchange at once each has one role."""
    rule, rounds = algorithm(config.algorithm), sum(made.rounds.values())
    size = sum(_exchanged_bytes(config, group) for group in rule.groups)
    if rule.merging == "pairwise":
        each = rounds if made.is_networked else rounds // 2
        most = Prediction(messages=each, payload_bytes=each * size, is_most=True)
        return {"pair": most, "answer": most}
    weighs = rule.merging != "average"
    pushes = made.is_networked or config.exchange.draw == "push" or config.exchange.probability < 1
    pushes = pushes or (weighs and config.exchange.draw == "auto")
    each = rounds * (config.exchange.fanout if pushes else 1)
    messages = each * len(rule.groups)
    most = Prediction(messages=messages, payload_bytes=each * size, is_most=True)
    return {"mass" if rule.merging == "push-sum" else "mix": most}


def _batches_bytes(config: RunConfig) -> int:
    """`2bd`: two batches of images, each with its label if there are any."""
    values = math.prod(_pair(config).image_shape) + config.train.conditional
    return BYTES_PER_VALUE * 2 * (config.batch_size or 0) * values


def _feedback_bytes(config: RunConfig) -> int:
    """`bd`, or of the share that is sent the values and their positions. Labels get none."""
    values = (config.batch_size or 0) * math.prod(_pair(config).image_shape)
    if config.md.share < 1:
        share = Fraction(config.md.share).limit_denominator(10**6)  # 0.07 is 7/100
        values = 2 * max(1, math.ceil(values * share))
    return BYTES_PER_VALUE * values


def _moved_bytes(config: RunConfig) -> list[int]:
    """`|θ|` of each discriminator, with its moments if they travel."""
    names = config.md.models or (config.model or "",)
    sizes = [model(name).discriminator.size for name in names]
    times = WITH_MOMENTS if config.md.moments == "travel" else 1
    count = config.md.discriminators or _nodes(config)
    return [BYTES_PER_VALUE * times * sizes[slot % len(sizes)] for slot in range(count)]


def _exchanged_bytes(config: RunConfig, group: tuple[str, ...]) -> int:
    """Of a vector with these networks, and their moments if they travel."""
    times = WITH_MOMENTS if config.exchange.moments == "travel" else 1
    sizes = {net: network.size for net, network in _pair(config).networks.items()}
    return BYTES_PER_VALUE * times * sum(size for net, size in sizes.items() if net in group)


def _chosen(config: RunConfig) -> int:
    """Workers whose networks make a round."""
    return max(1, round(config.fl.fraction * _nodes(config)))


def _nodes(config: RunConfig) -> int:
    return config.nodes or 1


def _pair(config: RunConfig) -> Model:
    return model(config.model or "")
