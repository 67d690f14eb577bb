"""How much a node's own networks and those that come to it count in a mean.

Two kinds of weights. An average's follow from how old an arrival is, and do not travel. Those of
sum-weights gossip do: a node that sends gives a part of its weight away with its networks, and who
merges them adds it to its own,

    to f peers at once, each piece:   a_i <- a_i / (f + 1)
    with what arrived:                x_i <- (a_i x_i + Σ a_k x_k) / (a_i + Σ a_k),
                                      a_i <- a_i + Σ a_k

so that a node that hears from few does not count for more than it has heard. Then `Σ a_i x_i` and
`Σ a_i` over nodes and messages stay what they were, and all estimates go to their quotient, which
for `a_i = 1` at the start is the mean; a push without weights moves it (Kempe, Dobra and Gehrke,
*Gossip-based computation of aggregate information*, FOCS 2003). GoSGD (Blot et al., *Gossip
training for deep learning*, 2016) and SGP (Assran et al., *Stochastic gradient push*, ICML 2019)
train with it. What travels is `x`, not `a x` as in the papers: the same numbers, and a vector is
worth the same to whoever looks at it. Training changes `x`, as in GoSGD; SGP changes `a x`.

`SumWeights` is what one node keeps, in the simulator as in a daemon.

Shape letters: N nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from p2pgan.config import ExchangeConfig
from p2pgan.mixing.draws import Arrivals
from p2pgan.mixing.rules import Rows, shares
from p2pgan.types import LEAST_WEIGHT, MOST_WEIGHT

Merging = Literal["average", "sum-weights", "push-sum", "pairwise"]
"""What becomes of arrivals. `average`: a mean by age. `sum-weights`, `push-sum`: a mean by weights
that travel, and that of a lost vector is lost, or is not. `pairwise`: two nodes move towards each
other."""


@dataclass(frozen=True, kw_only=True)
class Averaging:
    """A mean in which old arrivals count less: `(1 + s)^-A`, where the own networks count 1.

    FedAsync's polynomial (Xie, Koyejo and Gupta, *Asynchronous federated optimization*, 2019), with
    rounds in the place of the server's versions.
    """

    exponent: float = 0.0
    """A; 0: all count the same."""

    @property
    def own(self) -> float:
        """Weight of the own networks."""
        return 1.0

    @property
    def travels(self) -> bool:
        """Whether vectors carry weights."""
        return False

    def may_give(self, receivers: int) -> bool:
        """Whether there is enough to send to so many."""
        del receivers
        return True

    def give(self, receivers: int) -> float:
        """What a vector carries: nothing."""
        del receivers
        return 0.0

    def of(self, carried: float, staleness_rounds: int) -> float:
        """Weight of an arrival; one from a peer that is ahead of us is not old."""
        del carried
        weight: float = (1 + max(0, staleness_rounds)) ** -self.exponent
        return weight

    def take(self, weight: float) -> None:
        """Weights do not add up."""
        del weight

    def recall(self, own: float) -> None:
        """There is nothing that could have changed."""
        del own


class SumWeights:
    """The weight of one node, of which it gives parts away.

    It never falls below `LEAST_WEIGHT`. There a conserving node sends nothing until something has
    come: it holds next to nothing of what all hold together. Any other gives copies of the least
    instead of parts: where vectors get lost for long, all weights sink, and in the end they would
    be 0. Only their ratios matter, and those who are all at the least average as equals.

    A piece never carries more than `MOST_WEIGHT`, and the node keeps the rest: where one lies about
    its weight, those who have merged it must not send what nobody may.
    """

    def __init__(self, *, conserves: bool) -> None:
        """Weight 1.

        Args:
            conserves: whether the sum over all nodes must never change.
        """
        self.own = 1.0
        self._conserves = conserves

    @property
    def travels(self) -> bool:
        """Whether vectors carry weights."""
        return True

    def may_give(self, receivers: int) -> bool:
        """Whether there is enough to send to so many."""
        return not self._conserves or self.own / (receivers + 1) >= LEAST_WEIGHT

    def give(self, receivers: int) -> float:
        """Parts with weight; what each of so many vectors carries."""
        piece = min(max(self.own / (receivers + 1), LEAST_WEIGHT), MOST_WEIGHT)
        self.own = max(self.own - receivers * piece, LEAST_WEIGHT)
        return piece

    def of(self, carried: float, staleness_rounds: int) -> float:
        """Weight of an arrival: what it carries."""
        del staleness_rounds
        return carried

    def take(self, weight: float) -> None:
        """Adds what was merged."""
        self.own += weight

    def recall(self, own: float) -> None:
        """Goes on with the weight of an earlier start."""
        self.own = own


def weighting(merging: Merging, config: ExchangeConfig) -> Averaging | SumWeights | None:
    """The weights of one node that has not exchanged yet; `None`: it mixes by difference."""
    match merging:
        case "average":
            return Averaging(exponent=config.staleness_exponent)
        case "pairwise":
            return None
        case _:
            return SumWeights(conserves=merging == "push-sum")


def weighted_rows(
    arrivals: Arrivals, weights_N: Sequence[Averaging | SumWeights]
) -> tuple[Arrivals, Rows]:
    """An exchange of all nodes at one instant, by everybody's weights, which change with it.

    Args:
        arrivals: who was drawn to hear from whom.
        weights_N: every node's.
    Returns:
        Who really hears from whom, nodes without enough weight sending nothing; and `W`, by which
        `X <- W X`.
    """
    nodes = len(arrivals)
    sent_N = np.bincount([j for sources in arrivals for j in sources], minlength=nodes)
    pieces = {
        node: weights.give(int(count))
        for node, (weights, count) in enumerate(zip(weights_N, sent_N, strict=True))
        if count and weights.may_give(int(count))
    }
    heard = [[source for source in sources if source in pieces] for sources in arrivals]
    values: list[np.ndarray] = []
    for node, sources in enumerate(heard):
        came = [weights_N[node].of(pieces[source], 0) for source in sources]
        values.append(shares(weights_N[node].own, came))
        weights_N[node].take(sum(came))
    columns = [index for node, sources in enumerate(heard) for index in (node, *sources)]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in values])])
    w_NN = csr_array((np.concatenate(values), np.array(columns), starts), shape=(nodes, nodes))
    return heard, Rows(w_NN, np.arange(nodes))
