"""FL-GAN's rules against their definitions, in float64 and by hand."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from p2pgan.mixing.draws import everyone
from p2pgan.mixing.federated import Server, asked, count, mean, mean_rows, select, shares
from p2pgan.mixing.rules import mix, mixing_rows
from p2pgan.seeds import EVERYONE, stream

SIZE = 9


def vectors(number: int, seed: int = 0) -> Tensor:
    values = np.random.default_rng(seed).normal(size=(number, SIZE))
    return torch.from_numpy(values.astype(np.float32))


@pytest.mark.parametrize(
    ("fraction", "workers", "wanted"),
    [(1.0, 10, 10), (0.5, 10, 5), (0.1, 10, 1), (0.01, 10, 1), (0.34, 3, 1), (0.5, 3, 2)],
)
def test_how_many_make_a_round(fraction: float, workers: int, wanted: int) -> None:
    assert count(fraction, workers) == wanted


@pytest.mark.parametrize(
    ("made_of", "over", "workers", "wanted"),
    [(10, 1.3, 100, 13), (1, 1.3, 10, 2), (10, 1.3, 12, 12), (30, 1.1, 100, 33), (4, 1.0, 9, 4)],
)
def test_how_many_are_asked(made_of: int, over: float, workers: int, wanted: int) -> None:
    assert asked(made_of, over, workers) == wanted


@given(st.floats(0.001, 1), st.floats(1, 5), st.integers(1, 500))
def test_no_fewer_are_asked_than_needed_and_no_more_than_there_are(
    fraction: float, over: float, workers: int
) -> None:
    made_of = count(fraction, workers)
    assert 1 <= made_of <= asked(made_of, over, workers) <= workers


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 99))
def test_the_selected_are_distinct_and_in_order(workers: int, number: int, seed: int) -> None:
    names = [f"n{index}" for index in range(workers)]
    chosen = select(names, number, stream(seed, EVERYONE, "selection"))
    assert len(chosen) == min(number, workers)
    assert chosen == [name for name in names if name in set(chosen)]
    assert chosen == select(names, number, stream(seed, EVERYONE, "selection"))


def test_everybody_is_selected_as_often() -> None:
    """Each of the 10 pairs of 5, 200 times in the mean; the standard deviation is 13."""
    rng = stream(0, EVERYONE, "selection")
    pairs = Counter(tuple(select(range(5), 2, rng)) for _ in range(2000))
    assert len(pairs) == 10
    assert all(130 < times < 270 for times in pairs.values())


def test_weights_are_in_proportion_to_samples_or_all_the_same() -> None:
    np.testing.assert_allclose(shares([1, 3, 4], "samples"), [1 / 8, 3 / 8, 1 / 2], rtol=1e-15)
    np.testing.assert_allclose(shares([1, 3, 4], "uniform"), [1 / 3] * 3, rtol=1e-15)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=50))
def test_weights_sum_to_one(samples: list[int]) -> None:
    for weighting in ("samples", "uniform"):
        weights_K = shares(samples, weighting)
        assert weights_K.dtype == np.float64
        assert weights_K.sum() == pytest.approx(1, rel=1e-12)


@given(st.integers(1, 200), st.integers(1, 10**6))
def test_equal_shards_weigh_as_if_uniform_to_the_bit(workers: int, samples: int) -> None:
    equal = shares([samples] * workers, "samples")
    assert equal.tolist() == shares([1] * workers, "uniform").tolist() == [1 / workers] * workers


@pytest.mark.parametrize("samples", [[], [3, 0], [-1]])
def test_nobody_and_who_has_no_data_weigh_nothing(samples: list[int]) -> None:
    with pytest.raises(AssertionError):
        shares(samples, "samples")


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=9), st.integers(0, 2**32 - 1))
def test_the_mean_of_networks_is_the_old_one_plus_that_of_deltas(
    samples: list[int], seed: int
) -> None:
    weights_K = shares(samples, "samples")
    trained, old_P = vectors(len(samples), seed), vectors(1, seed + 1)[0]
    wanted = (weights_K[:, None] * trained.double().numpy()).sum(0)
    by_weights, by_deltas = Server(old_P.clone()), Server(old_P.clone())
    by_weights.step(mean(list(trained), weights_K))
    by_deltas.step(mean(list(trained - old_P), weights_K), deltas=True)
    np.testing.assert_allclose(by_weights.model_P.numpy(), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_deltas.model_P.numpy(), wanted, rtol=1e-5, atol=1e-6)


@given(st.sets(st.integers(0, 7), min_size=1), st.integers(0, 2**32 - 1))
def test_a_matrix_gets_the_mean_of_the_chosen_in_every_row(chosen: set[int], seed: int) -> None:
    """What a simulator does with all nodes is what a coordinator does with those who answer."""
    order, vectors_NP = sorted(chosen), vectors(8, seed)
    weights_K = shares([1 + index for index in order], "samples")
    wanted_P = mean([vectors_NP[index] for index in order], weights_K)
    mix(mean_rows(order, weights_K, 8), vectors_NP)
    assert all(torch.equal(row_P, wanted_P) for row_P in vectors_NP)


def test_a_diverged_network_that_nobody_chose_reaches_nobody() -> None:
    vectors_NP = vectors(3)
    vectors_NP[1] = float("nan")
    mix(mean_rows([0, 2], shares([5, 5], "samples"), 3), vectors_NP)
    assert vectors_NP.isfinite().all()


def test_all_nodes_with_equal_shards_are_everyones_mean_to_the_bit() -> None:
    given_rows = mixing_rows(everyone([[]] * 10, np.random.default_rng(0)))
    rows = mean_rows(range(10), shares([150] * 10, "samples"), 10)
    assert rows.w_MN.toarray().tobytes() == given_rows.w_MN.toarray().tobytes()
    assert rows.row_of_N.tolist() == given_rows.row_of_N.tolist()


@pytest.mark.parametrize("deltas", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_step_with_momentum_over_several_rounds(momentum: float, deltas: bool) -> None:
    """`v <- β v + Δ; x <- x + v`, in float64."""
    server = Server(vectors(1)[0], momentum)
    x, v = server.model_P.double().numpy().copy(), np.zeros(SIZE)
    for round_ in range(1, 6):
        mean_P = vectors(1, round_)[0]
        v = momentum * v + mean_P.double().numpy() - x
        x = x + v
        server.step(mean_P - server.model_P if deltas else mean_P, deltas=deltas)
        np.testing.assert_allclose(server.model_P.numpy(), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("deltas", [False, True])
def test_what_is_not_trained_takes_the_plain_mean(deltas: bool) -> None:
    server, whole = Server(vectors(1)[0], 0.9, trained=4), Server(vectors(1)[0], 0.9)
    for round_ in range(1, 4):
        mean_P = vectors(1, round_)[0]
        for one in (server, whole):
            one.step(mean_P - one.model_P if deltas else mean_P, deltas=deltas)
        assert torch.equal(server.model_P[:4], whole.model_P[:4])
        torch.testing.assert_close(server.model_P[4:], mean_P[4:])
    assert not torch.allclose(whole.model_P[4:], mean_P[4:], atol=0.1)


def test_without_momentum_the_mean_is_the_next_network_to_the_bit() -> None:
    server, mean_P = Server(vectors(1)[0] * 1e6), vectors(1, 1)[0]
    server.step(mean_P)
    assert torch.equal(server.model_P, mean_P)
    assert len(server.velocity_T) == 0


def test_a_server_that_is_restored_goes_on_as_if_nothing_had_happened() -> None:
    server = Server(vectors(1)[0], 0.9, 5)
    server.step(vectors(1, 1)[0])
    again = Server(server.model_P.clone(), 0.9, 5, server.velocity_T.clone())
    without = Server(server.model_P.clone(), 0.9, 5)
    for one in (server, again, without):
        one.step(vectors(1, 2)[0])
    assert torch.equal(again.model_P, server.model_P)
    assert not torch.allclose(without.model_P, server.model_P, atol=0.01)


def test_a_velocity_of_another_size_is_refused() -> None:
    with pytest.raises(AssertionError):
        Server(vectors(1)[0], 0.9, 5, torch.zeros(6))
