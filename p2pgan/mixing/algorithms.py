"""The algorithms, each a value: which networks travel together, and who hears from whom."""

from dataclasses import dataclass

from p2pgan.config import ExchangeConfig
from p2pgan.errors import ConfigError, unknown_name
from p2pgan.mixing.draws import Draw, everyone, matching, permutation, push
from p2pgan.mixing.merging import Merging
from p2pgan.types import Net


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """What is exchanged and with whom (thesis, section 4.1.2).

    Every group of networks is drawn for on its own: one group of both is the joint exchange, a
    group each is the independent one, and no group is no exchange.
    """

    name: str
    groups: tuple[tuple[Net, ...], ...] = ()
    merging: Merging = "average"
    """What a node does with what it hears; weights and pairs are of one joint group."""
    has_coordinator: bool = False
    """Everyone sends to the coordinator and gets the mean back, whatever the overlay."""
    is_pooled: bool = False
    """One node holds all the data."""
    is_split: bool = False
    """The coordinator has the only generator, and the nodes have discriminators (MD-GAN, thesis
    chapter 5)."""

    @property
    def is_federated(self) -> bool:
        """Whether the coordinator makes a mean of whole networks, of some of the nodes or all."""
        return self.has_coordinator and not self.is_split

    def draw(self, config: ExchangeConfig, *, lockstep: bool) -> Draw:
        """The draw of each group's exchange.

        Args:
            config: the configured draw.
            lockstep: whether all nodes exchange at one instant, which a permutation needs.
        Raises:
            ConfigError: if a permutation is asked for where nodes exchange at their own pace.
        """
        if self.has_coordinator:
            return everyone
        if self.merging == "pairwise" and lockstep:
            return matching(config.probability)
        kind = config.draw
        if kind == "permutation" and not lockstep:
            raise ConfigError(
                expected="`push` or `auto`",
                got="`permutation`",
                at="exchange.draw",
                hint="daemons exchange at their own pace and cannot agree on a permutation",
            )
        pushes = not lockstep or self.merging != "average" or config.probability < 1
        if kind == "push" or (kind == "auto" and pushes):
            return push(config.fanout, config.probability)
        return permutation(fixed_points=config.fixed_points)


ALGORITHMS = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(name="standalone"),
        Algorithm(name="centralised", is_pooled=True),
        Algorithm(name="gossip", groups=(("G", "D"),)),
        Algorithm(name="gossip-ind", groups=(("G",), ("D",))),
        Algorithm(name="gosgd", groups=(("G", "D"),), merging="sum-weights"),
        Algorithm(name="push-sum", groups=(("G", "D"),), merging="push-sum"),
        Algorithm(name="ad-psgd", groups=(("G", "D"),), merging="pairwise"),
        Algorithm(name="fl-gan", groups=(("G", "D"),), has_coordinator=True),
        Algorithm(name="md-gan", has_coordinator=True, is_split=True),
    )
}


def algorithm(name: str) -> Algorithm:
    """The algorithm of that name.

    Raises:
        ConfigError: if there is none, with the nearest match.
    """
    if name not in ALGORITHMS:
        raise unknown_name(ConfigError, "an algorithm", name, ALGORITHMS, "--algorithm")
    return ALGORITHMS[name]
