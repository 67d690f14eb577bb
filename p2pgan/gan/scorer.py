"""Small classifiers in Inception's place: what scores look at generated images with.

A scorer sorts images into classes (MS needs the probabilities) and gives the activations of its
last hidden layer (FID needs their mean and covariance). The weights come with the package, trained
by `tools/train_scorer.py`; a card beside each file says on what, how well it does, and its SHA-256.

Shape letters: B batch, C channels, H height, W width, F features.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from p2pgan.errors import CheckpointError, ConfigError, unknown_name
from p2pgan.gan.precision import products_in
from p2pgan.gan.random_features import FEATURES as RANDOM_FEATURES
from p2pgan.gan.random_features import RandomFeatures
from p2pgan.seeds import EVERYONE, stream

POOL = 0
"""In `Architecture.layers`: a 2 x 2 max pooling in place of a convolution."""

INCEPTION = "inception"
RANDOM = "random"
"""An untrained network: for images that no scorer was trained on."""

_UNTRAINED_BUFFER = "num_batches_tracked"
"""Batch norm's counter; inference does not look at it, so it is not stored."""


@dataclass(frozen=True)
class Architecture:
    """A plain convolutional classifier."""

    image_shape: tuple[int, int, int]
    """`(C, H, W)`."""
    layers: tuple[int, ...]
    """Channels of each 3 x 3 convolution (with batch norm and ReLU), or `POOL`."""
    features: int
    """F, width of the last hidden layer: few, so that 500 samples determine their covariance."""
    classes: int = 10


ARCHITECTURES = {
    "digits": Architecture((1, 8, 8), (32, 32, POOL, 64), features=32),
    "mnist": Architecture((1, 28, 28), (16, 16, POOL, 32, 32, POOL, 64, POOL), features=64),
    "cifar10": Architecture((3, 32, 32), (32, POOL, 64, 64, POOL, 128, POOL), features=64),
}
"""The scorers of our own, by name of the data set that they are trained on."""


class Classifier(nn.Module):
    """Convolutions, a hidden layer of F units, and one unit per class.

    Args:
        architecture: sizes of everything.
        dropout: probability that a hidden unit is silenced while training.
    """

    def __init__(self, architecture: Architecture, dropout: float = 0.0) -> None:
        super().__init__()
        channels, height, width = architecture.image_shape
        blocks: list[nn.Module] = []
        for layer in architecture.layers:
            if layer == POOL:
                blocks.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            else:
                convolution = nn.Conv2d(channels, layer, 3, padding=1, bias=False)
                blocks += [convolution, nn.BatchNorm2d(layer), nn.ReLU()]
                channels = layer
        self.convolutions = nn.Sequential(*blocks)
        self.hidden = nn.Linear(channels * height * width, architecture.features)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(architecture.features, architecture.classes)

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[B, classes]` and features `[B, F]` (after ReLU)."""
        maps = self.convolutions(images_BCHW).flatten(1)
        features_BF = torch.relu(self.hidden(maps))
        return self.output(self.dropout(features_BF)), features_BF


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a trained scorer; the JSON file beside its weights."""

    dataset: str
    """The data set that it was trained on."""
    test_accuracy: float
    """Share of the test images sorted rightly; none of them was trained or selected on."""
    test_images: int
    train_images: int
    seed: int
    epochs: int
    parameters: int
    """Number of trained values."""
    sha256: str
    """Of the weights file."""
    torch: str
    """Version that trained it."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """A classifier in evaluation mode, with what is known of it."""

    name: str
    network: nn.Module
    """Images `[B, C, H, W]` in [-1, 1] to logits `[B, classes]` and features `[B, F]`."""
    device: torch.device
    classes: int
    features: int
    """F."""
    image_shape: tuple[int, int, int] | None
    """`(C, H, W)`; `None`: any."""
    test_accuracy: float | None
    """From its card; `None`: not known."""

    @torch.inference_mode()
    def __call__(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Class probabilities `[B, classes]` and features `[B, F]`, float32, on its device.

        A GPU rounds no product here, however training is told to multiply.

        Raises:
            ConfigError: for images of another shape than it was trained on.
        """
        self._check_shape(images_BCHW)
        with products_in("float32"):
            logits_BC, features_BF = self.network(images_BCHW.to(self.device))
        return torch.softmax(logits_BC, dim=1), features_BF

    def _check_shape(self, images_BCHW: Tensor) -> None:
        shape = tuple(images_BCHW.shape[1:])
        if self.image_shape is not None and shape != self.image_shape:
            raise ConfigError(
                expected=f"images of shape {self.image_shape}",
                got=f"{shape}",
                at=f"the scorer `{self.name}`",
                hint="score images with the scorer of their own data set",
            )


def scorer_names() -> tuple[str, ...]:
    """The names that `load_scorer` knows."""
    return (*ARCHITECTURES, INCEPTION, RANDOM)


def usual_scorer(dataset: str) -> str:
    """The scorer of a data set when none is named: its own, or else `random`."""
    return dataset if dataset in ARCHITECTURES else RANDOM


def load_scorer(
    name: str, device: str | torch.device = "cpu", *, folder: Traversable | None = None
) -> Scorer:
    """A scorer, its weights checked against its card.

    Args:
        name: a data set with a scorer of its own, `inception` (an optional extra; its weights
            are fetched once by torch-fidelity), or `random`.
        device: where it computes.
        folder: where the weights and cards lie; the package's own by default.
    Raises:
        ConfigError: for an unknown name, or `inception` where the extra is not installed.
        CheckpointError: if the weights or the card are missing, damaged or do not match.
    """
    if name == INCEPTION:
        return _inception(torch.device(device))
    if name == RANDOM:
        return _random(torch.device(device))
    if name not in ARCHITECTURES:
        raise unknown_name(
            ConfigError, "a known scorer", name=name, known=scorer_names(), at="score.scorer"
        )
    architecture = ARCHITECTURES[name]
    place = folder if folder is not None else files("p2pgan.gan") / "scorers"
    card = read_card(place / f"{name}.json")
    network = Classifier(architecture)
    _fill(network, place / f"{name}.safetensors", card)
    return Scorer(
        name=name,
        network=_fast(network).to(device),
        device=torch.device(device),
        classes=architecture.classes,
        features=architecture.features,
        image_shape=architecture.image_shape,
        test_accuracy=card.test_accuracy,
    )


def read_card(path: Traversable) -> Card:
    """The card of a scorer.

    Raises:
        CheckpointError: if it cannot be read or lacks a field.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except OSError as error:
        raise _damaged(path, "a readable card", error.strerror or str(error)) from None
    except msgspec.MsgspecError as error:
        raise _damaged(path, "the card of a scorer", f"`{error}`") from None


def stored_state(network: nn.Module) -> dict[str, Tensor]:
    """What a weights file holds: parameters and batch-norm statistics, by name."""
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.endswith(_UNTRAINED_BUFFER)
    }


def _fast(network: Classifier) -> Classifier:
    """The same function within rounding, in a third of the time on a CPU.

    Batch norm, a constant scale and shift in evaluation mode, goes into the convolution before it;
    channels lie innermost, where the CPU's convolutions want them; ReLU allocates nothing.
    """
    network.eval().requires_grad_(False)
    folded: list[nn.Module] = []
    for layer in network.convolutions:
        if isinstance(layer, nn.BatchNorm2d):
            convolution = folded.pop()
            assert isinstance(convolution, nn.Conv2d)
            layer = fuse_conv_bn_eval(convolution, layer)
        folded.append(nn.ReLU(inplace=True) if isinstance(layer, nn.ReLU) else layer)
    network.convolutions = nn.Sequential(*folded).requires_grad_(False)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _fill(network: nn.Module, path: Traversable, card: Card) -> None:
    """Copies the stored weights (float16 or float32) into a network, once they are known good."""
    try:
        raw = path.read_bytes()
        sha256 = hashlib.sha256(raw).hexdigest()
        if sha256 != card.sha256:
            expected = f"the SHA-256 `{card.sha256[:12]}…` of its card"
            raise _damaged(path, expected, f"`{sha256[:12]}…`")
        stored = load_tensors(raw)
    except OSError as error:
        raise _damaged(path, "readable weights", error.strerror or str(error)) from None
    except SafetensorError as error:
        raise _damaged(path, "a safetensors file", f"`{error}`") from None
    wanted = stored_state(network)
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    found = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    if found != shapes:
        names = sorted(shapes.keys() ^ found.keys()) or sorted(
            name for name in shapes if shapes[name] != found[name]
        )
        got = f"another name or shape for `{names[0]}`"
        raise _damaged(path, "the weights of this architecture", got)
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(stored[name])


def _damaged(path: Traversable, expected: str, got: str) -> CheckpointError:
    return CheckpointError(
        expected=expected, got=got, at=str(path), hint="install p2pgan again, or train the scorer"
    )


class _Inception(nn.Module):
    """The Inception network of the published FID figures, fed as they prescribe.

    It takes bytes, three channels, and resizes to 299 x 299 by itself.
    """

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        bytes_BCHW = ((images_BCHW + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
        if bytes_BCHW.shape[1] == 1:
            bytes_BCHW = bytes_BCHW.expand(-1, 3, -1, -1)
        features_BF, logits_BC = self.extractor(bytes_BCHW)
        return logits_BC, features_BF


def _random(device: torch.device) -> Scorer:
    network = RandomFeatures(stream(0, EVERYONE, "scorer")).eval().to(device)
    return Scorer(
        name=RANDOM,
        network=network,
        device=device,
        classes=1,
        features=RANDOM_FEATURES,
        image_shape=None,
        test_accuracy=None,
    )


def _inception(device: torch.device) -> Scorer:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise ConfigError(
            expected="the optional extra for `inception`",
            got="no module `torch_fidelity`",
            at="score.scorer",
            hint="`pip install 'p2pgan[inception]'`, or take the data set's own scorer",
        ) from None
    extractor = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"])
    network = _Inception(extractor).eval().requires_grad_(False).to(device)
    return Scorer(
        name=INCEPTION,
        network=network,
        device=device,
        classes=1008,
        features=2048,
        image_shape=None,
        test_accuracy=None,
    )
