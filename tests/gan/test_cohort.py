"""One training step for all nodes against textbook trainings of one node after the other.

The reference builds each node's networks from `torch.nn` modules, takes the same batches and
latents, writes its losses out, and steps with one `torch.optim.Adam` per network. Both run in
float64, where they agree to `TOLERANCE`. (In float32 they need not: Adam divides a gradient by its
own size, so where the true one is 0, as at a bias before batch norm, it makes steps of rounding.)
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from p2pgan.config import TrainConfig
from p2pgan.gan.blocks import Batch
from p2pgan.gan.cohort import Cohort, Inputs, Losses
from p2pgan.gan.latents import Latents, LatentSource, LatentStreams
from p2pgan.gan.losses import LOSSES
from p2pgan.gan.models import MODELS, Model, model
from p2pgan.gan.plan import Machine
from p2pgan.types import NETS, Net
from tests.gan.pairs import CONV, DIGITS, fill, flatten, modules_of

TOLERANCE = 1e-8
"""Largest difference of any value, after a few steps of Adam at 1e-3, in float64."""

Data = list[tuple[Tensor, Tensor]]
"""Batches: images `(N, B, C, H, W)` and labels `(N, B)`."""


def some_data(pair: Model, nodes: int, batches: int, batch: int = 5) -> Data:
    rng = np.random.default_rng(42)
    return [
        (
            torch.from_numpy(rng.uniform(-1, 1, (nodes, batch, *pair.image_shape)).astype("f")),
            torch.from_numpy(rng.integers(max(pair.classes, 1), size=(nodes, batch))),
        )
        for _ in range(batches)
    ]


class Replay:
    """Hands out recorded batches, to each node from where it stopped."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.taken: Counter[int] = Counter()

    def __call__(self, nodes: Sequence[int], count: int) -> Iterator[Batch]:
        begins = [(self.taken[node], node) for node in nodes]
        self.taken.update(dict.fromkeys(nodes, count))
        for number in range(count):
            own = [[part[node] for part in self.data[begin + number]] for begin, node in begins]
            images, labels = map(torch.stack, zip(*own, strict=True))
            yield Batch(images, labels)


def streams(nodes: Sequence[int]) -> list[LatentStreams]:
    return [
        LatentStreams(*(np.random.default_rng((9, node, purpose)) for purpose in range(3)))
        for node in nodes
    ]


def draw(source: LatentSource, batch: int) -> Latents:
    """The next latents of a source of one node."""
    return next(source.draws(range(1), 1, batch))


def initial(pair: Model, nodes: Sequence[int]) -> dict[Net, Tensor]:
    """Another start for every node, so that none can pass for another."""
    return {
        net: torch.stack(
            [
                pair.networks[net].initial_vector(np.random.default_rng((5, node)), "he")
                for node in nodes
            ]
        )
        for net in NETS
    }


def make_cohort(
    pair: Model,
    config: TrainConfig,
    data: Data,
    nodes: Sequence[int],
    *,
    precise: bool = False,
    machine: Machine = Machine(),  # noqa: B008
    replay: Callable[[Data], Replay] = Replay,
) -> Cohort:
    """A cohort of some of the nodes, each with its own start, streams and share of the data."""
    rows = list(nodes)
    dtype = torch.float64 if precise else torch.float32
    classes = pair.classes * config.conditional
    batches = replay([(images[rows].to(dtype), labels[rows]) for images, labels in data])
    start = {net: vectors.to(dtype) for net, vectors in initial(pair, nodes).items()}
    if config.ema:
        start["G"] = start["G"].repeat(1, 2)
    return Cohort(
        pair,
        config,
        start,
        Inputs(
            batches,
            LatentSource(streams(nodes), pair.latent, classes=classes, dtype=dtype),
            data[0][0].shape[1],
        ),
        machine,
    )


@dataclass
class Textbook:
    """One node trained with torch's own modules, losses written out."""

    config: TrainConfig
    g: nn.Module
    d: nn.Module
    latents: LatentSource

    def __post_init__(self) -> None:
        rates = (self.config.learning_rate_g or 1e-3, self.config.learning_rate_d or 1e-3)
        betas = (self.config.beta1, self.config.beta2)
        self.adam_g = torch.optim.Adam(self.g.parameters(), rates[0], betas, foreach=False)
        self.adam_d = torch.optim.Adam(self.d.parameters(), rates[1], betas, foreach=False)

    def train(self, data: Data) -> tuple[float, float]:
        """Trains on the batches `(1, B, ...)`; mean losses of discriminator and generator."""
        steps = self.config.discriminator_steps
        d_losses, g_losses = [], []
        for first in range(0, len(data), steps):
            for images, labels in data[first : first + steps]:
                d_losses.append(self._step_d(images[0], labels[0]))
            g_losses.append(self._step_g(images.shape[1]))
        return sum(d_losses) / len(d_losses), sum(g_losses) / len(g_losses)

    def _step_d(self, images: Tensor, labels: Tensor) -> float:
        latents = draw(self.latents, len(images))
        fakes = self.g(latents.z_NBZ[0]).detach()
        real, fake = self.d(images), self.d(fakes)
        loss = self._judge(real[:, 0], fake[:, 0])
        if self.config.conditional:
            loss = loss + functional.cross_entropy(real[:, 1:], labels)
            loss = loss + functional.cross_entropy(fake[:, 1:], latents.labels_NB[0])
        if self.config.loss == "wgan-gp":
            loss = loss + self.config.gradient_penalty * self._penalty(images, fakes)
        self.adam_d.zero_grad()
        torch.autograd.backward(loss)
        self.adam_d.step()
        return float(loss.detach())

    def _step_g(self, batch: int) -> float:
        latents = draw(self.latents, batch)
        fake = self.d(self.g(latents.z_NBZ[0]))
        p = torch.sigmoid(fake[:, 0])  # float64: no need for softplus here
        loss = {
            "minimax": torch.log(1 - p).mean(),
            "nonsaturating": -torch.log(p).mean(),
            "hinge": -fake[:, 0].mean(),
            "lsgan": 0.5 * (fake[:, 0] - 1).square().mean(),
            "wgan-gp": -fake[:, 0].mean(),
        }[self.config.loss]
        if self.config.conditional:
            loss = loss + functional.cross_entropy(fake[:, 1:], latents.labels_NB[0])
        self.adam_g.zero_grad()
        torch.autograd.backward(loss)
        self.adam_g.step()
        return float(loss.detach())

    def _judge(self, real: Tensor, fake: Tensor) -> Tensor:
        ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
        match self.config.loss:
            case "hinge":
                return (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
            case "lsgan":
                return 0.5 * (functional.mse_loss(real, ones) + functional.mse_loss(fake, zeros))
            case "wgan-gp":
                return fake.mean() - real.mean()
        return functional.binary_cross_entropy_with_logits(
            real, ones
        ) + functional.binary_cross_entropy_with_logits(fake, zeros)

    def _penalty(self, images: Tensor, fakes: Tensor) -> Tensor:
        share = self.latents.proportions(range(1), len(images))[0].view(-1, 1, 1, 1)
        points = (share * images + (1 - share) * fakes).requires_grad_()
        (slopes,) = torch.autograd.grad(self.d(points)[:, 0].sum(), points, create_graph=True)
        return (slopes.flatten(1).square().sum(1).sqrt() - 1).square().mean()


def check_against_textbook(
    pair: Model, config: TrainConfig, nodes: int = 3, iterations: int = 4
) -> None:
    """Vectors (buffers included) and mean losses of every node equal those of the textbook."""
    data = some_data(pair, nodes, iterations * config.discriminator_steps)
    cohort = make_cohort(pair, config, data, range(nodes), precise=True)
    losses = cohort.train(iterations)
    for node in range(nodes):
        g, d = (module.double() for module in modules_of(pair))
        start = initial(pair, [node])
        fill(g, start["G"][0])
        fill(d, start["D"][0])
        classes = pair.classes * config.conditional
        latents = LatentSource(streams([node]), pair.latent, classes=classes, dtype=torch.float64)
        row = slice(node, node + 1)
        own = [(images[row].double(), labels[row]) for images, labels in data]
        wanted_d, wanted_g = Textbook(config, g, d, latents).train(own)
        assert (cohort.vectors["G"][node] - flatten(g)).abs().max() < TOLERANCE
        assert (cohort.vectors["D"][node] - flatten(d)).abs().max() < TOLERANCE
        assert losses.d[node] == pytest.approx(wanted_d, rel=1e-6, abs=1e-6)  # kept in float32
        assert losses.g[node] == pytest.approx(wanted_g, rel=1e-6, abs=1e-6)
        assert (flatten(g) - start["G"][0]).abs().max() > 1e-3  # not a comparison of two starts


@pytest.mark.parametrize("name", LOSSES)
def test_nodes_equal_textbook_trainings(name: str) -> None:
    check_against_textbook(DIGITS, TrainConfig(loss=name))


@pytest.mark.parametrize("name", LOSSES)
def test_convolutional_nodes_with_batch_norm_equal_textbook_trainings(name: str) -> None:
    check_against_textbook(CONV, TrainConfig(loss=name))


@pytest.mark.parametrize("name", ["nonsaturating", "wgan-gp"])
def test_several_discriminator_steps_equal_textbook_trainings(name: str) -> None:
    check_against_textbook(DIGITS, TrainConfig(loss=name, discriminator_steps=3), iterations=2)


@pytest.mark.parametrize("name", ["nonsaturating", "wgan-gp"])
def test_conditional_nodes_equal_textbook_acgans(name: str) -> None:
    check_against_textbook(CONV, TrainConfig(loss=name, conditional=True))


def test_learning_rates_and_decays_are_each_networks_own() -> None:
    config = TrainConfig(learning_rate_g=3e-3, learning_rate_d=2e-3, beta1=0.3, beta2=0.9)
    check_against_textbook(DIGITS, config, nodes=2)


MODELS_AND_LOSSES = [
    *((name, game, False) for name in MODELS for game in ("nonsaturating", "wgan-gp")),
    *((name, "nonsaturating", True) for name in MODELS if model(name).classes),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "game", "conditional"), MODELS_AND_LOSSES)
def test_every_model_equals_what_autograd_makes_of_it(
    name: str, game: str, conditional: bool
) -> None:
    """Mini-batch discrimination, class outputs and batch norm are all among them."""
    config = TrainConfig(
        loss=game, conditional=conditional, learning_rate_g=1e-3, learning_rate_d=1e-3
    )
    check_against_textbook(model(name), config, nodes=2, iterations=2)


def test_in_float32_training_stays_close_to_the_textbook() -> None:
    """What users run: a few steps in float32 against the same in float64."""
    data = some_data(DIGITS, 3, 4)
    single = vectors_after(make_cohort(DIGITS, TrainConfig(), data, range(3)), 4)
    double = vectors_after(make_cohort(DIGITS, TrainConfig(), data, range(3), precise=True), 4)
    for net in NETS:
        far = (single[net].double() - double[net]).abs() > 1e-5
        assert far.double().mean() < 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("pair", [DIGITS, CONV], ids=lambda pair: pair.name)
def test_a_gpu_computes_what_a_cpu_does(pair: Model) -> None:
    data = some_data(pair, 4, 3)
    config = TrainConfig(conditional=bool(pair.classes))
    classes = pair.classes * config.conditional
    device = torch.device("cuda")
    on_gpu = Cohort(
        pair,
        config,
        {net: vectors.to(device) for net, vectors in initial(pair, range(4)).items()},
        Inputs(
            Replay([(images.to(device), labels.to(device)) for images, labels in data]),
            LatentSource(streams(range(4)), pair.latent, classes=classes, device=device),
            data[0][0].shape[1],
        ),
        Machine(is_gpu=True),
    )
    vectors_after(on_gpu, 3)
    wanted = vectors_after(make_cohort(pair, config, data, range(4)), 3)
    for net in NETS:
        assert (on_gpu.vectors[net].cpu() - wanted[net]).norm() < 1e-3 * wanted[net].norm()


def vectors_after(cohort: Cohort, *iterations: int) -> dict[Net, Tensor]:
    for count in iterations:
        cohort.train(count)
    return cohort.vectors


@pytest.mark.parametrize("pair", [DIGITS, CONV], ids=lambda pair: pair.name)
def test_a_cohort_equals_cohorts_of_one(pair: Model) -> None:
    """The simulator and a daemon compute the same."""
    config = TrainConfig(loss="hinge")
    data = some_data(pair, 4, 5)
    together = vectors_after(make_cohort(pair, config, data, range(4), precise=True), 5)
    for node in range(4):
        alone = vectors_after(make_cohort(pair, config, data, [node], precise=True), 5)
        for net in NETS:
            assert (together[net][node] - alone[net][0]).abs().max() < TOLERANCE


@pytest.mark.parametrize("loss", ["nonsaturating", "hinge"])
def test_in_float32_a_cohort_equals_cohorts_of_one_up_to_rounding(loss: str) -> None:
    """To 1e-5, but for a few values with hardly a gradient, of which Adam makes full steps."""
    config = TrainConfig(loss=loss)
    data = some_data(DIGITS, 4, 5)
    together = vectors_after(make_cohort(DIGITS, config, data, range(4)), 5)
    for node in range(4):
        alone = vectors_after(make_cohort(DIGITS, config, data, [node]), 5)
        for net in NETS:
            difference_P = (together[net][node] - alone[net][0]).abs()
            assert (difference_P > 1e-5).double().mean() < 1e-3
            assert difference_P.max() < 1e-3


@pytest.mark.parametrize("pair", [DIGITS, CONV], ids=lambda pair: pair.name)
def test_a_node_does_not_feel_the_others_data(pair: Model) -> None:
    """Nothing leaks between nodes that do not exchange: not one bit."""
    data = some_data(pair, 3, 4)
    before = vectors_after(make_cohort(pair, TrainConfig(), data, range(3)), 4)
    for images, _ in data:
        images[1] *= -1
    after = vectors_after(make_cohort(pair, TrainConfig(), data, range(3)), 4)
    for net in NETS:
        assert torch.equal(before[net][[0, 2]], after[net][[0, 2]])
        assert not torch.equal(before[net][1], after[net][1])


@pytest.mark.parametrize("loss", ["nonsaturating", "wgan-gp"])
@pytest.mark.parametrize("pair", [DIGITS, CONV], ids=lambda pair: pair.name)
def test_training_in_two_calls_is_training_in_one(pair: Model, loss: str) -> None:
    """Bit for bit on one thread: a daemon's slices of a round change nothing."""
    config = TrainConfig(loss=loss, discriminator_steps=2)
    data = some_data(pair, 2, 14)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        once = vectors_after(make_cohort(pair, config, data, range(2)), 7)
        twice = vectors_after(make_cohort(pair, config, data, range(2)), 3, 4)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(once[net], twice[net]) for net in NETS)


def test_reported_losses_are_means_over_the_call() -> None:
    data = some_data(DIGITS, 2, 4)
    whole = make_cohort(DIGITS, TrainConfig(), data, range(2)).train(4)
    cohort = make_cohort(DIGITS, TrainConfig(), data, range(2))
    single = [cohort.train(1) for _ in range(4)]
    np.testing.assert_allclose(whole.d, np.mean([s.d for s in single], axis=0), rtol=1e-5)
    np.testing.assert_allclose(whole.g, np.mean([s.g for s in single], axis=0), rtol=1e-5)
    assert whole.d.shape == whole.g.shape == (2,)


def test_a_step_of_one_player_leaves_the_other_alone() -> None:
    """Only the generator's batch statistics follow its images in discriminator steps too.

    A rate of almost 0 for one player shows what the other's steps do to it.
    """
    trained = CONV.generator.parameters
    data, still = some_data(CONV, 2, 3), 1e-30
    start = initial(CONV, range(2))
    only_d = make_cohort(CONV, TrainConfig(learning_rate_g=still), data, range(2))
    only_g = make_cohort(CONV, TrainConfig(learning_rate_d=still), data, range(2))
    only_d.train(3)
    only_g.train(3)
    assert (only_d.vectors["G"] - start["G"])[:, :trained].abs().max() < 1e-20
    assert not torch.equal(only_d.vectors["G"][:, trained:], start["G"][:, trained:])
    assert not torch.equal(only_d.vectors["D"], start["D"])
    assert (only_g.vectors["D"] - start["D"]).abs().max() < 1e-20
    assert not torch.equal(only_g.vectors["G"][:, :trained], start["G"][:, :trained])


def test_mixing_in_place_is_what_training_goes_on_from() -> None:
    """Whoever changes `vectors` in place changes the networks themselves."""
    data = some_data(DIGITS, 2, 4)
    cohort, other = (make_cohort(DIGITS, TrainConfig(), data, range(2)) for _ in range(2))
    cohort.train(2)
    other.train(2)
    for net in NETS:
        cohort.vectors[net].copy_(cohort.vectors[net].flip(0))
    before = {net: cohort.vectors[net].clone() for net in NETS}
    cohort.train(1)
    other.train(1)
    for net in NETS:  # a step of Adam is hardly longer than the learning rate
        assert 0 < (cohort.vectors[net] - before[net]).abs().max() < 3 * DIGITS.learning_rate
        assert not torch.equal(cohort.vectors[net], other.vectors[net])


CUTS = {"one by one": 1, "equal blocks": 2, "unequal blocks": 3}


@pytest.mark.parametrize("block_nodes", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("pair", [DIGITS, CONV], ids=lambda pair: pair.name)
def test_the_result_does_not_depend_on_how_nodes_are_cut(pair: Model, block_nodes: int) -> None:
    """The same vectors and losses as of all nodes in one block."""
    data = some_data(pair, 7, 6)

    def trained(machine: Machine) -> tuple[Cohort, list[Losses]]:
        cohort = make_cohort(pair, TrainConfig(), data, range(7), precise=True, machine=machine)
        return cohort, [cohort.train(2), cohort.train(4)]

    cut, cut_losses = trained(Machine(block_nodes=block_nodes))
    whole, whole_losses = trained(Machine(block_nodes=7))
    assert len(cut.blocks) > 1
    assert len(whole.blocks) == 1
    for net in NETS:
        assert (cut.vectors[net] - whole.vectors[net]).abs().max() < TOLERANCE
    for mine, wanted in zip(cut_losses, whole_losses, strict=True):
        np.testing.assert_allclose(mine.d, wanted.d, rtol=1e-6)
        np.testing.assert_allclose(mine.g, wanted.g, rtol=1e-6)


SOME = [[0, 2, 3], [2], [0, 1, 2, 3, 4], [1, 4], [0, 2, 4]]
"""Who trains, round after round; nodes then differ in the steps that they have made."""


@pytest.mark.parametrize("block_nodes", [1, 3, 5])
@pytest.mark.parametrize("pair", [DIGITS, CONV], ids=lambda pair: pair.name)
@pytest.mark.parametrize(("loss", "ema"), [("nonsaturating", 0.5), ("wgan-gp", 0.0)])
def test_some_nodes_train_as_if_the_others_were_not_there(
    pair: Model, block_nodes: int, loss: str, ema: float
) -> None:
    """Against cohorts of one, each with its own count of steps; who stands still stays as it is."""
    config, data = TrainConfig(loss=loss, ema=ema), some_data(pair, 5, 10)
    machine = Machine(block_nodes=block_nodes)
    cohort = make_cohort(pair, config, data, range(5), precise=True, machine=machine)
    alone = [make_cohort(pair, config, data, [node], precise=True) for node in range(5)]
    for chosen in SOME:
        before = {net: cohort.vectors[net].clone() for net in NETS}
        losses = cohort.train(2, chosen)
        for node in range(5):
            if node in chosen:
                own = alone[node].train(2)
                assert losses.d[node] == pytest.approx(own.d[0], rel=1e-5)
                assert losses.g[node] == pytest.approx(own.g[0], rel=1e-5)
            else:
                assert np.isnan([losses.d[node], losses.g[node]]).all()
                assert all(
                    torch.equal(cohort.vectors[net][node], before[net][node]) for net in NETS
                )
    for node, single in enumerate(alone):
        for net in NETS:
            assert (cohort.vectors[net][node] - single.vectors[net][0]).abs().max() < TOLERANCE
        assert (cohort.judged[node] - single.judged[0]).abs().max() < TOLERANCE


def test_nobody_trains_and_nothing_happens() -> None:
    """As on a rank none of whose nodes was selected."""
    cohort = make_cohort(DIGITS, TrainConfig(), some_data(DIGITS, 2, 1), range(2))
    losses = cohort.train(1, [])
    assert np.isnan(losses.d).all()
    assert losses.d.shape == losses.g.shape == (2,)
    assert torch.equal(cohort.vectors["G"], initial(DIGITS, range(2))["G"])


def test_after_an_error_the_networks_are_still_there_and_finite() -> None:
    """Ctrl-C in the middle of a round: what is saved then is no half of a network."""

    class Failing(Replay):
        def __call__(self, nodes: Sequence[int], count: int) -> Iterator[Batch]:
            yield from super().__call__(nodes, 2)
            raise KeyboardInterrupt

    data = some_data(DIGITS, 3, 2)
    cohort = make_cohort(
        DIGITS, TrainConfig(), data, range(3), machine=Machine(block_nodes=2), replay=Failing
    )
    with pytest.raises(KeyboardInterrupt):
        cohort.train(5)
    wanted = vectors_after(make_cohort(DIGITS, TrainConfig(), data, range(3)), 2)
    for net in NETS:  # the first block has done two iterations, the second none
        torch.testing.assert_close(cohort.vectors[net][0], wanted[net][0])
        assert torch.equal(cohort.vectors[net][1:], initial(DIGITS, [1, 2])[net])


def test_training_leaves_the_number_of_threads_as_it_was() -> None:
    """Scores, and whatever else the process does, may share their calls among more."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        make_cohort(DIGITS, TrainConfig(), some_data(DIGITS, 2, 1), range(2)).train(1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_labels_mean_nothing_without_conditional_training() -> None:
    """The class outputs of the discriminator stay at their start."""
    data = some_data(CONV, 2, 4)
    cohort = make_cohort(CONV, TrainConfig(), data, range(2))
    cohort.train(4)
    start = initial(CONV, range(2))["D"]
    weight, bias = (CONV.discriminator.views(cohort.vectors["D"])[i] for i in (-2, -1))
    first_weight, first_bias = (CONV.discriminator.views(start)[i] for i in (-2, -1))
    assert torch.equal(weight[..., 1:], first_weight[..., 1:])
    assert torch.equal(bias[..., 1:], first_bias[..., 1:])
    assert not torch.equal(weight[..., 0], first_weight[..., 0])


def test_conditional_training_with_latents_without_classes_is_our_own_mistake() -> None:
    config = TrainConfig(conditional=True)
    with pytest.raises(AssertionError):
        Cohort(
            CONV,
            config,
            initial(CONV, [0]),
            Inputs(Replay(some_data(CONV, 1, 1)), LatentSource(streams([0]), CONV.latent), batch=5),
            Machine(),
        )


def test_the_discriminator_learns_to_tell_images_apart() -> None:
    """The whole step goes downhill: against a generator that hardly moves, its loss falls."""
    config = TrainConfig(learning_rate_g=1e-9)
    cohort = make_cohort(DIGITS, config, some_data(DIGITS, 2, 60), range(2))
    first = cohort.train(10)
    cohort.train(40)
    last = cohort.train(10)
    assert (last.d < 0.5 * first.d).all()
    assert (last.g > first.g).all()
