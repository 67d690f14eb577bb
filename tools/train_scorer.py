#!/usr/bin/env python
"""Trains the classifier that scores a data set's generators and writes its weights and card.

The test images are looked at once, when the finished weights are measured. Choose settings with
`--validate`, which trains on nine tenths of the training images, measures on the rest and writes
nothing. The same seed and thread count give the same weights on the same machine.

    python tools/train_scorer.py digits --cross-validate
    P2PGAN_DATA_DIR=data python tools/train_scorer.py mnist
"""

import argparse
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from p2pgan.data.datasets import Dataset, load, to_float
from p2pgan.gan.scorer import ARCHITECTURES, Card, Classifier, load_scorer, stored_state
from p2pgan.seeds import EVERYONE, stream

SCORERS = Path(__file__).resolve().parent.parent / "p2pgan" / "gan" / "scorers"


@dataclass(frozen=True)
class Recipe:
    """How one data set's scorer is trained; chosen on validation images."""

    epochs: int
    batch_size: int = 128
    learning_rate_max: float = 4e-3
    """Peak of the one-cycle schedule."""
    weight_decay: float = 1e-2
    dropout: float = 0.2
    shift_max: int = 2
    """Images move by up to so many pixels each way, differently in every pass."""
    mirror: bool = False
    """Whether half of the images are mirrored left to right; digits must not be."""


RECIPES = {
    "digits": Recipe(epochs=60, batch_size=32, shift_max=1, dropout=0.3),
    "mnist": Recipe(epochs=10),
    "cifar10": Recipe(epochs=20, shift_max=3, mirror=True),
}


@dataclass(frozen=True, eq=False)
class Part:
    """Images float32 `[M, C, H, W]` in [-1, 1] and labels int64 `[M]`."""

    images: Tensor
    labels: Tensor

    @classmethod
    def from_arrays(cls, images: np.ndarray, labels: np.ndarray) -> "Part":
        return cls(torch.from_numpy(to_float(images)), torch.from_numpy(labels))

    def at(self, positions: np.ndarray) -> "Part":
        chosen = torch.from_numpy(positions)
        return Part(self.images[chosen], self.labels[chosen])


def augment(images: Tensor, recipe: Recipe, rng: np.random.Generator) -> Tensor:
    """Each image shifted, background moving in, and perhaps mirrored."""
    count, _, height, width = images.shape
    reach = recipe.shift_max
    padded = nn.functional.pad(images, (reach,) * 4, value=-1.0)
    down, right = (torch.from_numpy(rng.integers(0, 2 * reach + 1, count)) for _ in range(2))
    rows = (down[:, None] + torch.arange(height))[:, None, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, None, :]
    if recipe.mirror:
        flipped = torch.from_numpy(rng.random(count) < 0.5)[:, None, None, None]
        columns = torch.where(flipped, columns.flip(-1), columns)
    image = torch.arange(count)[:, None, None, None]
    channel = torch.arange(images.shape[1])[None, :, None, None]
    return padded[image, channel, rows, columns]


def train(name: str, part: Part, recipe: Recipe, seed: int) -> Classifier:
    """A trained classifier in evaluation mode."""
    rng = stream(seed, EVERYONE, "scores")
    torch.manual_seed(seed)
    network = Classifier(ARCHITECTURES[name], recipe.dropout)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=recipe.weight_decay)
    batches = len(part.labels) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate_max, epochs=recipe.epochs, steps_per_epoch=batches
    )
    for epoch in range(recipe.epochs):
        started_s = time.perf_counter()
        loss_sum = 0.0
        order = torch.from_numpy(rng.permutation(len(part.labels)))
        for chosen in order[: batches * recipe.batch_size].view(batches, recipe.batch_size):
            images = augment(part.images[chosen], recipe, rng)
            logits, _ = network(images.contiguous(memory_format=torch.channels_last))
            loss = nn.functional.cross_entropy(logits, part.labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            loss_sum += loss.item()
        took_s = time.perf_counter() - started_s
        print(f"epoch {epoch + 1}: loss {loss_sum / batches:.4f}, {took_s:.1f} s", flush=True)
    network.eval()
    return network


@torch.inference_mode()
def accuracy(network: nn.Module, part: Part) -> float:
    """Share of the images sorted rightly."""
    guesses = [network(images)[0].argmax(dim=1) for images in torch.split(part.images, 500)]
    return float((torch.cat(guesses) == part.labels).double().mean())


def validate(dataset: Dataset, recipe: Recipe, seed: int) -> float:
    """Accuracy on a tenth of the training images, trained on the rest."""
    order = stream(seed, EVERYONE, "split").permutation(len(dataset.labels))
    held = len(order) // 10
    part = Part.from_arrays(dataset.images, dataset.labels)
    network = train(dataset.name, part.at(order[held:]), recipe, seed)
    return accuracy(network, part.at(order[:held]))


def cross_validate(dataset: Dataset, recipe: Recipe, seed: int, folds: int = 5) -> list[float]:
    """Accuracy on each fold of all images, trained on the others."""
    part = Part.from_arrays(
        np.concatenate([dataset.images, dataset.test_images]),
        np.concatenate([dataset.labels, dataset.test_labels]),
    )
    order = stream(seed, EVERYONE, "split").permutation(len(part.labels))
    scores = []
    for fold in range(folds):
        rest = np.concatenate([order[other::folds] for other in range(folds) if other != fold])
        network = train(dataset.name, part.at(rest), recipe, seed)
        scores.append(accuracy(network, part.at(order[fold::folds])))
    return scores


def write(dataset: Dataset, network: Classifier, recipe: Recipe, seed: int, out: Path) -> Card:
    """Writes the weights in float16, measures what a reader of them gets, and writes the card."""
    out.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.half().contiguous() for name, tensor in stored_state(network).items()}
    raw = save(state)
    (out / f"{dataset.name}.safetensors").write_bytes(raw)
    card = Card(
        dataset=dataset.name,
        test_accuracy=0.0,
        test_images=len(dataset.test_labels),
        train_images=len(dataset.labels),
        seed=seed,
        epochs=recipe.epochs,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        sha256=hashlib.sha256(raw).hexdigest(),
        torch=str(torch.__version__),
    )
    path = out / f"{dataset.name}.json"
    path.write_bytes(msgspec.json.encode(card))
    stored = load_scorer(dataset.name, folder=out).network
    test = Part.from_arrays(dataset.test_images, dataset.test_labels)
    card = msgspec.structs.replace(card, test_accuracy=accuracy(stored, test))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")
    return card


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset", choices=sorted(ARCHITECTURES))
    parser.add_argument("--out", type=Path, default=SCORERS, help="folder of weights and cards")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--validate", action="store_true", help="measure on held-out training images")
    kind.add_argument("--cross-validate", action="store_true", help="5 folds over all images")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    chosen = options(arguments)
    torch.set_num_threads(chosen.threads)
    dataset = load(chosen.dataset, Path(os.environ.get("P2PGAN_DATA_DIR", "data")))
    recipe = RECIPES[dataset.name]
    if chosen.epochs is not None:
        recipe = Recipe(**{**vars(recipe), "epochs": chosen.epochs})
    if chosen.validate:
        print(f"validation accuracy {validate(dataset, recipe, chosen.seed):.4f}")
    elif chosen.cross_validate:
        scores = cross_validate(dataset, recipe, chosen.seed)
        each = ", ".join(f"{score:.4f}" for score in scores)
        print(f"cross-validated accuracy {np.mean(scores):.4f} (folds {each})")
    else:
        part = Part.from_arrays(dataset.images, dataset.labels)
        network = train(dataset.name, part, recipe, chosen.seed)
        print(write(dataset, network, recipe, chosen.seed, chosen.out))


if __name__ == "__main__":
    main()
