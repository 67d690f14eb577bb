"""The algorithms as values: what travels together, and that the thesis's special cases coincide."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor

from p2pgan.config import ExchangeConfig
from p2pgan.errors import ConfigError
from p2pgan.mixing.algorithms import ALGORITHMS, Algorithm, algorithm
from p2pgan.mixing.draws import Neighbors
from p2pgan.mixing.rules import consensus_distance, mix, mixing_rows, unique_rows
from p2pgan.types import NETS, Net

COMPLETE = [[j for j in range(8) if j != i] for i in range(8)]


def some_vectors(nodes: int) -> dict[Net, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {net: torch.randn(nodes, 50, generator=generator) for net in NETS}


def matrices(
    value: Algorithm, neighbors: Neighbors, config: ExchangeConfig, seed: int = 0
) -> dict[Net, np.ndarray]:
    """`W` of each network at one exchange in lockstep; identity where nothing is exchanged."""
    draw, stream = value.draw(config, lockstep=True), np.random.default_rng(seed)
    by_net = {net: np.eye(len(neighbors)) for net in NETS}
    for group in value.groups:
        rows = mixing_rows(draw(neighbors, stream))
        w_NN = rows.w_MN[rows.row_of_N].toarray()
        by_net |= dict.fromkeys(group, w_NN)
    return by_net


def exchange(
    value: Algorithm, neighbors: Neighbors, config: ExchangeConfig, rounds: int
) -> dict[Net, Tensor]:
    vectors = some_vectors(len(neighbors))
    for seed in range(rounds):
        for net, w_NN in matrices(value, neighbors, config, seed).items():
            mix(unique_rows(csr_array(w_NN)), vectors[net])
    return vectors


def test_names() -> None:
    gossip = {"gossip", "gossip-ind", "gosgd", "push-sum", "ad-psgd"}
    assert set(ALGORITHMS) == {"standalone", "centralised", *gossip, "fl-gan", "md-gan"}
    assert all(algorithm(name).name == name for name in ALGORITHMS)
    with pytest.raises(ConfigError, match="did you mean `gossip-ind`"):
        algorithm("gosip-ind")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_network_is_exchanged_twice(name: str) -> None:
    nets = [net for group in algorithm(name).groups for net in group]
    assert len(nets) == len(set(nets))
    assert set(nets) in ({"G", "D"}, set())


@pytest.mark.parametrize("name", ["standalone", "centralised"])
def test_who_shares_nothing_keeps_the_own_networks(name: str) -> None:
    vectors = exchange(algorithm(name), COMPLETE, ExchangeConfig(), rounds=3)
    assert all(torch.equal(vectors[net], some_vectors(8)[net]) for net in NETS)


def test_gossip_draws_for_both_networks_at_once() -> None:
    for seed in range(10):
        w = matrices(algorithm("gossip"), COMPLETE, ExchangeConfig(), seed)
        np.testing.assert_array_equal(w["G"], w["D"])


def test_gossip_ind_draws_for_each_network_on_its_own() -> None:
    """Over many exchanges a generator's source says nothing about its discriminator's."""
    together = 0
    for seed in range(200):
        w = matrices(algorithm("gossip-ind"), COMPLETE, ExchangeConfig(fixed_points=False), seed)
        together += int(((w["G"] > 0) & (w["D"] > 0)).sum()) - 8  # everyone has the own in both
    assert together / (200 * 8) == pytest.approx(1 / 7, abs=0.03)


def test_fl_gan_takes_the_mean_of_everybody_whatever_the_overlay() -> None:
    alone: Neighbors = [[] for _ in range(8)]
    vectors = exchange(algorithm("fl-gan"), alone, ExchangeConfig(draw="push"), rounds=1)
    for net in NETS:
        wanted = some_vectors(8)[net].mean(0).expand(8, -1)
        torch.testing.assert_close(vectors[net], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gossip", "gossip-ind"])
def test_two_nodes_with_a_forced_exchange_are_fl_gan_bit_for_bit(name: str) -> None:
    """Thesis, section 4.2: for n = 2 all methods that share coincide."""
    forced = ExchangeConfig(fixed_points=False)
    pair: Neighbors = [[1], [0]]
    gossip = exchange(algorithm(name), pair, forced, rounds=4)
    fl_gan = exchange(algorithm("fl-gan"), pair, forced, rounds=4)
    assert all(torch.equal(gossip[net], fl_gan[net]) for net in NETS)


@pytest.mark.parametrize("name", ["gossip", "gossip-ind"])
@pytest.mark.parametrize("kind", ["permutation", "push"])
def test_gossip_alone_brings_the_nodes_together(name: str, kind: str) -> None:
    config = ExchangeConfig(draw="push" if kind == "push" else "permutation")
    vectors = exchange(algorithm(name), COMPLETE, config, rounds=40)
    for net in NETS:
        assert consensus_distance(vectors[net]) < 1e-3 * consensus_distance(some_vectors(8)[net])


def test_auto_is_a_permutation_in_lockstep_and_a_push_at_ones_own_pace() -> None:
    gossip, stream = algorithm("gossip"), np.random.default_rng(0)
    lockstep = gossip.draw(ExchangeConfig(), lockstep=True)
    daemons = gossip.draw(ExchangeConfig(), lockstep=False)
    in_lockstep = [len(a) for _ in range(20) for a in lockstep(COMPLETE, stream)]
    at_own_pace = [len(a) for _ in range(20) for a in daemons(COMPLETE, stream)]
    assert max(in_lockstep) == 1
    assert max(at_own_pace) > 1
    assert sum(at_own_pace) == 20 * 8


def test_the_fanout_is_the_number_of_pushes() -> None:
    draw = algorithm("gossip").draw(ExchangeConfig(draw="push", fanout=3), lockstep=True)
    assert sum(len(a) for a in draw(COMPLETE, np.random.default_rng(0))) == 3 * 8


def test_fixed_points_are_as_configured() -> None:
    stream = np.random.default_rng(0)
    draws = {
        allowed: algorithm("gossip").draw(ExchangeConfig(fixed_points=allowed), lockstep=True)
        for allowed in (True, False)
    }
    kept = {a: sum(d(COMPLETE, stream).count([]) for _ in range(50)) for a, d in draws.items()}
    assert kept[False] == 0
    assert kept[True] / 50 == pytest.approx(1, abs=0.5)  # a random permutation keeps one on average


def test_daemons_cannot_agree_on_a_permutation() -> None:
    with pytest.raises(ConfigError, match=r"`push` or `auto`, got `permutation`"):
        algorithm("gossip").draw(ExchangeConfig(draw="permutation"), lockstep=False)


def test_who_makes_a_mean_of_whole_networks() -> None:
    assert [name for name, value in ALGORITHMS.items() if value.is_federated] == ["fl-gan"]


@pytest.mark.parametrize("name", ["gosgd", "push-sum", "ad-psgd"])
def test_what_has_weights_or_pairs_is_one_group(name: str) -> None:
    value = algorithm(name)
    assert value.groups == (("G", "D"),)
    assert value.merging != "average"


def test_weights_and_chances_are_of_pushes() -> None:
    """Under a permutation all weights would stay 1; explicitly asked for, it is drawn."""
    stream = np.random.default_rng(0)
    auto, permuted = ExchangeConfig(), ExchangeConfig(draw="permutation")
    unlikely = ExchangeConfig(probability=1e-9)
    for name in ("gosgd", "push-sum"):
        drawn = [algorithm(name).draw(auto, lockstep=True)(COMPLETE, stream) for _ in range(20)]
        assert any(len(sources) > 1 for arrivals in drawn for sources in arrivals)
        (single,) = {
            max(map(len, algorithm(name).draw(permuted, lockstep=True)(COMPLETE, stream)))
            for _ in range(20)
        }
        assert single == 1
    for name in ("gossip", "gosgd", "push-sum", "ad-psgd"):
        assert not any(algorithm(name).draw(unlikely, lockstep=True)(COMPLETE, stream))


def test_pairs_are_drawn_in_lockstep_and_asked_elsewhere() -> None:
    """A daemon's last step pushes, whatever the training did."""
    stream = np.random.default_rng(0)
    drawn = algorithm("ad-psgd").draw(ExchangeConfig(), lockstep=True)(COMPLETE, stream)
    assert all(list(drawn[partner]) == [node] for node, (partner,) in enumerate(drawn))
    pushed = algorithm("ad-psgd").draw(ExchangeConfig(), lockstep=False)
    assert sum(map(len, pushed(COMPLETE, stream))) == len(COMPLETE)
