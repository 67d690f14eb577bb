"""Late gradients: divided by their delay, or per parameter as AdaComp counts."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from p2pgan.gan.adam import Adam
from p2pgan.gan.layers import Linear, leaky_relu
from p2pgan.gan.networks import Network
from p2pgan.gan.players import Player
from p2pgan.gan.staleness import Reading, Rule, Staleness

RATE = 0.1
SIZES = [(1, 7, 3), (1, 5)]
"""Of the tensors of one network; sparse gradients touch some of their values."""


class Server:
    """Plain descent of some tensors under a rule, and the same in numpy, counted naively."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.tensors = [torch.zeros(size, dtype=torch.float64) for size in SIZES]
        self.staleness = Staleness(rule, self.tensors)
        self.values = [np.zeros(size) for size in SIZES]
        self.updates: list[list[np.ndarray]] = []
        """For every update so far and each tensor, which values it changed."""

    def read(self) -> tuple[Reading, int]:
        """The staleness's reading, and the update that the naive count goes from."""
        return self.staleness.reading(), len(self.updates)

    def apply(self, gradients: list[np.ndarray], since: tuple[Reading, int]) -> None:
        self.staleness.begin(since[0])
        for place in reversed(range(len(SIZES))):  # layer by layer, the last one first
            gradient = torch.from_numpy(gradients[place])
            self.staleness.step(
                [place], [self.tensors[place]], [gradient], self._take(place, gradient)
            )
        for place, own in enumerate(gradients):
            self.values[place] -= RATE * own / self._divisor(place, since[1])
        self.updates.append([gradient != 0 for gradient in gradients])

    def _take(self, place: int, gradient: Tensor) -> Callable[[], None]:
        def take() -> None:
            self.tensors[place].sub_(RATE * gradient)

        return take

    def _divisor(self, place: int, since: int) -> np.ndarray | int:
        """`max(1, σ)`: σ_j = Σ_{u=k}^{t-1} 1[Δ_j(u) ≠ 0], or t - k (thesis, section 3.2)."""
        match self.rule:
            case "none":
                return 1
            case "delay":
                return max(1, len(self.updates) - since)
        counts = np.zeros(SIZES[place], int)
        for changed in self.updates[since:]:
            counts += changed[place]
        return np.maximum(1, counts)


def sparse_gradients(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.normal(size=size) * (rng.random(size) < 0.3) for size in SIZES]


@pytest.mark.parametrize("rule", ["none", "delay", "parameter"])
def test_steps_are_divided_as_a_naive_count_says(rule: Rule) -> None:
    """Sixty updates of workers that have read up to a dozen updates ago."""
    rng = np.random.default_rng(3)
    server = Server(rule)
    readings = [server.read()]
    for _ in range(60):
        late = min(len(readings), 1 + int(rng.integers(12)))
        server.apply(sparse_gradients(rng), readings[-late])
        readings.append(server.read())
    for tensor, wanted in zip(server.tensors, server.values, strict=True):
        np.testing.assert_allclose(tensor.numpy(), wanted, rtol=1e-10, atol=1e-12)
    assert np.abs(server.values[0]).max() > RATE


def test_the_rules_part_where_updates_are_late_and_sparse() -> None:
    """Otherwise the test above would show nothing."""
    ends = []
    for rule in ("none", "delay", "parameter"):
        rng, server = np.random.default_rng(3), Server(rule)
        first = server.read()
        for _ in range(10):
            server.apply(sparse_gradients(rng), first)
        ends.append(server.tensors[0].clone())
    assert not torch.allclose(ends[0], ends[1])
    assert not torch.allclose(ends[1], ends[2])


def test_a_gradient_in_time_takes_the_full_step() -> None:
    for rule in ("none", "delay", "parameter"):
        rng, server = np.random.default_rng(1), Server(rule)
        for _ in range(5):
            before, gradients = server.tensors[0].clone(), sparse_gradients(rng)
            server.apply(gradients, server.read())
            step = RATE * torch.from_numpy(gradients[0])
            torch.testing.assert_close(server.tensors[0], before - step)


def test_a_reading_stays_what_it_was() -> None:
    """It is kept with the batches while the generator goes on."""
    server = Server("parameter")
    reading, _ = since = server.read()
    server.apply([np.ones(size) for size in SIZES], since)
    assert reading.updates == 0
    assert not any(counts.any() for counts in reading.touched)
    assert server.read()[0].updates == 1
    assert all((counts == 1).all() for counts in server.read()[0].touched)


def test_only_the_rule_per_parameter_keeps_counts() -> None:
    for rule in ("none", "delay"):
        assert Server(rule).read()[0].touched == ()


NETWORK = Network((Linear(4, 6), leaky_relu(), Linear(6, 3)))


def trained(rule: Rule | None, late: int = 0) -> Tensor:
    """A network after eight steps of Adam, whose gradients are so many updates late."""
    vector_1P = NETWORK.initial_vector(np.random.default_rng(0), "he")[None].clone()
    player = Player(NETWORK, vector_1P, Adam(1e-2, 0.5, 0.999))
    player.load()
    staleness = None if rule is None else Staleness(rule, player.tensors[: NETWORK.trained])
    readings = [] if staleness is None else [staleness.reading()]
    x = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(8):
        with torch.inference_mode():
            y, tape = player(x)
            if staleness is not None:
                staleness.begin(readings[-1 - min(late, len(readings) - 1)])
            player.descend([(tape, torch.ones_like(y))], staleness=staleness)
        if staleness is not None:
            readings.append(staleness.reading())
    player.store()
    return vector_1P


@pytest.mark.parametrize("late", [0, 3])
def test_without_a_rule_it_is_adam_to_the_bit(late: int) -> None:
    assert torch.equal(trained("none", late), trained(None))


def test_adams_late_steps_are_shorter_by_the_delay() -> None:
    """The step is divided and not the gradient, of whose size Adam makes nothing."""
    before = NETWORK.initial_vector(np.random.default_rng(0), "he")[None]
    in_time, late = trained("delay", 0), trained("delay", 4)
    torch.testing.assert_close(in_time, trained(None))
    assert (late - before).norm() < 0.6 * (in_time - before).norm()


def test_dense_gradients_are_as_late_as_all_their_parameters() -> None:
    """Where every update touches every value, both rules are one."""
    torch.testing.assert_close(trained("parameter", 3), trained("delay", 3))
