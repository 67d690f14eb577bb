"""Shipped scorers: as good as their cards say, and refused when damaged."""

import hashlib
import json
import os
import shutil
import sys
import types
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from p2pgan.data.datasets import Dataset, to_float
from p2pgan.data.datasets import load as load_dataset
from p2pgan.errors import CheckpointError, ConfigError
from p2pgan.gan.scorer import (
    ARCHITECTURES,
    Classifier,
    load_scorer,
    read_card,
    scorer_names,
    stored_state,
)

SHIPPED = Path(str(files("p2pgan.gan"))) / "scorers"
BARS = {"digits": 0.98, "mnist": 0.992, "cifar10": 0.80}
"""The least accuracy on test images; CIFAR-10's network is small and saw 20,000 images."""


def real(name: str) -> Dataset:
    data_dir = Path(os.environ.get("P2PGAN_DATA_DIR", "/nonexistent"))
    folder = {"mnist": "mnist", "cifar10": "cifar-10-batches-bin"}.get(name)
    if folder is not None and not (data_dir / folder).is_dir():
        pytest.skip(f"no `{folder}` in P2PGAN_DATA_DIR")
    return load_dataset(name, data_dir)


def accuracy(name: str, images: np.ndarray, labels: np.ndarray) -> float:
    scorer = load_scorer(name)
    guesses = [scorer(part)[0].argmax(dim=1) for part in torch.split(torch.from_numpy(images), 500)]
    return float((torch.cat(guesses).numpy() == labels).mean())


@pytest.mark.parametrize(
    "name", ["digits", "cifar10", pytest.param("mnist", marks=pytest.mark.slow)]
)
def test_the_card_tells_the_truth_about_the_test_images(name: str) -> None:
    dataset = real(name)
    card = read_card(SHIPPED / f"{name}.json")
    if len(dataset.test_labels) != card.test_images:
        pytest.skip(f"{len(dataset.test_labels)} test images, the card is of {card.test_images}")
    measured = accuracy(name, to_float(dataset.test_images), dataset.test_labels)
    assert measured == pytest.approx(card.test_accuracy, abs=1.5 / card.test_images)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_the_card_is_above_the_bar_and_of_this_architecture(name: str) -> None:
    card = read_card(SHIPPED / f"{name}.json")
    assert card.dataset == name
    assert card.test_accuracy >= BARS[name]
    network = Classifier(ARCHITECTURES[name])
    assert card.parameters == sum(values.numel() for values in network.parameters())
    assert card.sha256 not in {"", "0" * 64}


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_weights_are_under_two_megabytes(name: str) -> None:
    assert (SHIPPED / f"{name}.safetensors").stat().st_size < 2_000_000


def test_nothing_but_weights_and_cards_is_shipped() -> None:
    names = {f"{name}.{suffix}" for name in ARCHITECTURES for suffix in ("json", "safetensors")}
    assert {path.name for path in SHIPPED.iterdir()} == names


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_probabilities_and_features_have_their_shapes(name: str) -> None:
    scorer = load_scorer(name)
    assert scorer.image_shape is not None
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.uniform(-1, 1, (5, *scorer.image_shape)).astype(np.float32))
    probabilities, features = scorer(images)
    assert probabilities.shape == (5, scorer.classes) == (5, 10)
    assert features.shape == (5, scorer.features)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(5))
    assert (features >= 0).all(), "after ReLU"
    assert not features.requires_grad


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_scorer_computes_what_its_stored_layers_say(name: str) -> None:
    """Folding batch norm away is for speed only."""
    plain = Classifier(ARCHITECTURES[name])
    stored = load((SHIPPED / f"{name}.safetensors").read_bytes())
    plain.load_state_dict({key: value.float() for key, value in stored.items()}, strict=False)
    rng = np.random.default_rng(0)
    shape = (20, *ARCHITECTURES[name].image_shape)
    images = torch.from_numpy(rng.uniform(-1, 1, shape).astype(np.float32))
    logits, features = plain.eval()(images)
    got_probabilities, got_features = load_scorer(name)(images)
    assert torch.allclose(got_features, features, rtol=1e-5, atol=1e-5)
    assert torch.allclose(got_probabilities, torch.softmax(logits, 1), atol=1e-5)


def test_an_images_score_does_not_depend_on_its_batch() -> None:
    """A scorer left in training mode would look at the other images."""
    scorer = load_scorer("digits")
    images = torch.from_numpy(to_float(real("digits").test_images[:16]))
    together, _ = scorer(images)
    alone = torch.cat([scorer(image[None])[0] for image in images])
    assert torch.allclose(together, alone, atol=1e-6)


def test_what_the_classifier_computes_is_what_its_layers_say() -> None:
    """Against the layers applied one by one, in float64."""
    network = Classifier(ARCHITECTURES["digits"]).double().eval()
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 1, 8, 8)))
    state = stored_state(network)
    maps = images
    for index in (0, 3, 7):
        maps = torch.nn.functional.conv2d(maps, state[f"convolutions.{index}.weight"], padding=1)
        norm = f"convolutions.{index + 1}"
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        maps = (maps - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        maps = maps * state[f"{norm}.weight"][:, None, None] + state[f"{norm}.bias"][:, None, None]
        maps = maps.clamp(min=0)
        if index == 3:
            maps = maps.unflatten(2, (4, 2)).unflatten(4, (4, 2)).amax(dim=(3, 5))  # type: ignore[no-untyped-call]
    hidden = maps.flatten(1) @ state["hidden.weight"].T + state["hidden.bias"]
    features = hidden.clamp(min=0)
    logits = features @ state["output.weight"].T + state["output.bias"]
    got_logits, got_features = network(images)
    assert torch.allclose(got_features, features)
    assert torch.allclose(got_logits, logits)


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"images of shape \(1, 8, 8\), got \(1, 28, 28\)"):
        load_scorer("digits")(torch.zeros(2, 1, 28, 28))


def test_names_are_known_and_others_get_the_nearest() -> None:
    assert scorer_names() == ("digits", "mnist", "cifar10", "inception", "random")
    with pytest.raises(ConfigError, match="did you mean `mnist`"):
        load_scorer("mnst")


def test_inception_without_its_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ConfigError) as caught:
        load_scorer("inception")
    assert "pip install 'p2pgan[inception]'" in str(caught.value)


class FakeExtractor(torch.nn.Module):
    """Stands for Inception: gives back what it was fed."""

    def __init__(self, name: str, features_list: list[str]) -> None:
        super().__init__()
        self.wanted = features_list

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert images.dtype == torch.uint8
        assert self.wanted == ["2048", "logits_unbiased"]
        pixels = images.float().flatten(1)
        return pixels, torch.zeros(len(images), 1008)


def test_inception_is_fed_bytes_in_three_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = FakeExtractor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    scorer = load_scorer("inception")
    grey = torch.tensor([-1.0, 0.0, 1.0, 2.0]).reshape(1, 1, 2, 2)
    probabilities, features = scorer(grey)
    assert features.tolist() == [[0.0, 128.0, 255.0, 255.0] * 3]
    assert probabilities.shape == (1, scorer.classes) == (1, 1008)
    assert scorer(grey.expand(1, 3, 2, 2))[1].tolist() == features.tolist()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with the digits scorer, to be damaged."""
    for suffix in ("json", "safetensors"):
        shutil.copy(SHIPPED / f"digits.{suffix}", tmp_path)
    return tmp_path


def rewrite_card(folder: Path, **fields: object) -> None:
    path = folder / "digits.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_folder_of_ones_own_serves_as_well(copied: Path) -> None:
    assert load_scorer("digits", folder=copied).test_accuracy == load_scorer("digits").test_accuracy


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty"])
def test_changed_weights_are_refused(copied: Path, damage: str) -> None:
    path = copied / "digits.safetensors"
    raw = bytearray(path.read_bytes())
    raw[5000] ^= 1
    changed = {"flipped": bytes(raw), "truncated": bytes(raw[:-1]), "empty": b""}
    path.write_bytes(changed[damage])
    with pytest.raises(CheckpointError, match="SHA-256") as caught:
        load_scorer("digits", folder=copied)
    assert caught.value.at == str(path)


def test_weights_that_are_no_safetensors_are_refused(copied: Path) -> None:
    raw = b"not tensors"
    (copied / "digits.safetensors").write_bytes(raw)
    rewrite_card(copied, sha256=hashlib.sha256(raw).hexdigest())
    with pytest.raises(CheckpointError, match="a safetensors file"):
        load_scorer("digits", folder=copied)


@pytest.mark.parametrize("change", ["renamed", "reshaped"])
def test_weights_of_another_architecture_are_refused(copied: Path, change: str) -> None:
    path = copied / "digits.safetensors"
    tensors = load(path.read_bytes())
    weight = tensors.pop("output.weight")
    if change == "renamed":
        tensors["other.weight"] = weight
    else:
        tensors["output.weight"] = weight[:, :-1].contiguous()
    path.write_bytes(save(tensors))
    rewrite_card(copied, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(CheckpointError, match="another name or shape for `o"):
        load_scorer("digits", folder=copied)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b'{"dataset": 3}'])
def test_a_damaged_card_is_refused(copied: Path, raw: bytes) -> None:
    (copied / "digits.json").write_bytes(raw)
    with pytest.raises(CheckpointError, match="the card of a scorer"):
        load_scorer("digits", folder=copied)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_missing_file_is_refused(copied: Path, suffix: str) -> None:
    (copied / f"digits.{suffix}").unlink()
    with pytest.raises(CheckpointError, match="No such file"):
        load_scorer("digits", folder=copied)


def test_cards_survive_the_way_through_json() -> None:
    card = read_card(SHIPPED / "digits.json")
    assert msgspec.json.decode(msgspec.json.encode(card), type=type(card)) == card
