"""How arrivals come into the mixture, with the rules of the training."""

from collections.abc import Callable
from typing import Any

import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.mixing.merging import Averaging, SumWeights
from p2pgan.protocol import instructions as do
from p2pgan.types import MOST_WEIGHT

PAIR = [("A", "B")]


def mixes(party: Any, node: str) -> list[do.Mix]:
    """Every mixing of a node, to the end."""
    found: list[do.Mix] = []

    def look() -> bool:
        work = party.members[node].work
        if isinstance(work, do.Mix) and work not in found:
            found.append(work)
        return False

    party.settle(until=look)
    return found


def test_old_arrivals_count_less(party_of: Callable[..., Any]) -> None:
    """B is slow: what it hears is never old, and what it sends is."""
    party = party_of(PAIR, iterations=20, weighting=Averaging(exponent=1.0))
    party.work_s[do.Train] = 1.0
    party.slower["B"] = 3.5
    party.start()
    found = mixes(party, "A")
    ages = [order.weights[0] for order in found]
    assert min(ages) <= 1 / 3
    staleness = [f["staleness_rounds"] for f in party.members["A"].kinds("vector_mixed")]
    assert ages == [1 / (1 + max(0, rounds)) for rounds in staleness]
    assert all(order.own == 1.0 for order in found)


def test_weights_travel_and_add_up(party_of: Callable[..., Any]) -> None:
    """GoSGD: a node's weight is halved with everything it sends, and grows by what it merges."""
    rules = {node: SumWeights(conserves=False) for node in "AB"}
    overrides = {node: {"weighting": rule} for node, rule in rules.items()}
    party = party_of(PAIR, iterations=8, overrides=overrides)
    party.start()
    (first, *_) = mixes(party, "B")
    assert first.arrivals[0].weight in (0.5, 0.25)
    assert first.weights == (first.arrivals[0].weight,)
    party.check_closed()
    party.check_accounts()


def test_a_vector_without_a_weight_is_refused_where_weights_travel(
    party_of: Callable[..., Any],
) -> None:
    """B follows another rule under the same name."""
    party = party_of(PAIR, overrides={"A": {"weighting": SumWeights(conserves=False)}})
    party.start()
    party.settle()
    reasons = {fields["reason"] for _, fields in party.logged("vector_dropped")}
    assert "weight" in reasons
    assert not party.logged("vector_mixed")


class Liar(SumWeights):
    """Always sends the most that it may."""

    def give(self, receivers: int) -> float:
        del receivers
        return MOST_WEIGHT


@pytest.mark.parametrize("exchange", ["mass", "push"])
def test_who_was_lied_to_is_heard_all_the_same(party_of: Callable[..., Any], exchange: str) -> None:
    """C lies to A, whose weight is soon more than a message may say; B hears it to the end."""
    heads = {"A": "B", "B": "A", "C": "A"}
    rules = {node: Liar if node == "C" else SumWeights for node in heads}
    weights = {node: rule(conserves=exchange == "mass") for node, rule in rules.items()}
    overrides = {
        node: {
            "weighting": weights[node],
            "draw": lambda ready, head=head: [head] if head in ready else [],
        }
        for node, head in heads.items()
    }
    edges = [("A", "B"), ("A", "C")]
    party = party_of(edges, overrides=overrides, exchange=exchange, iterations=80)
    party.work_s[do.Train] = 1.0
    party.start()
    party.settle()
    assert weights["A"].own > 2 * MOST_WEIGHT
    party.check_closed()
    party.check_accounts()
    assert not party.logged("peer_refused")


@pytest.mark.parametrize("exchange", ["mass", "pair"])
def test_one_weight_or_pair_is_of_one_group(
    party_of: Callable[..., Any], independent: Any, exchange: str
) -> None:
    with pytest.raises(LocalProtocolError, match="one group"):
        party_of(PAIR, groups=independent, exchange=exchange)
