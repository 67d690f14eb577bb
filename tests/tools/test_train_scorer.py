"""The tool that trains scorers: its augmentation, its files, and that the seed decides."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from p2pgan.gan.scorer import load_scorer, read_card

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_scorer", ROOT / "tools/train_scorer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_scorer"] = module
    spec.loader.exec_module(module)
    return module


def test_images_are_shifted_with_background_moving_in(tool: ModuleType) -> None:
    images = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3).expand(200, 1, 3, 3)
    recipe = tool.Recipe(epochs=1, shift_max=1)
    moved = tool.augment(images, recipe, np.random.default_rng(0))
    padded = torch.nn.functional.pad(images[0], (1, 1, 1, 1), value=-1.0)
    windows = {
        tuple(padded[0, row : row + 3, column : column + 3].flatten().tolist())
        for row in range(3)
        for column in range(3)
    }
    assert {tuple(image.flatten().tolist()) for image in moved} == windows


def test_mirroring_is_left_to_right_and_keeps_channels_together(tool: ModuleType) -> None:
    images = torch.arange(12.0).reshape(1, 2, 2, 3).expand(50, 2, 2, 3)
    recipe = tool.Recipe(epochs=1, shift_max=0, mirror=True)
    moved = tool.augment(images, recipe, np.random.default_rng(0))
    mirrored = [bool((image == images[0].flip(-1)).all()) for image in moved]
    same = [bool((image == images[0]).all()) for image in moved]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 10 < sum(mirrored) < 40


def test_one_epoch_writes_a_scorer_that_loads(tool: ModuleType, tmp_path: Path) -> None:
    tool.main(["digits", "--epochs", "1", "--out", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "digits.json",
        "digits.safetensors",
    ]
    card = read_card(tmp_path / "digits.json")
    assert (card.dataset, card.epochs, card.seed) == ("digits", 1, 0)
    assert (card.train_images, card.test_images) == (1600, 197)
    assert 0.3 < card.test_accuracy <= 1
    assert load_scorer("digits", folder=tmp_path).test_accuracy == card.test_accuracy


def test_the_seed_decides(tool: ModuleType, tmp_path: Path) -> None:
    sums = []
    for run, seed in enumerate(["3", "3", "4"]):
        out = tmp_path / str(run)
        tool.main(["digits", "--epochs", "1", "--seed", seed, "--out", str(out)])
        sums.append(read_card(out / "digits.json").sha256)
    assert sums[0] == sums[1] != sums[2]


@pytest.mark.parametrize("kind", ["--validate", "--cross-validate"])
def test_measuring_writes_nothing(
    tool: ModuleType, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tool.main(["digits", "--epochs", "1", "--out", str(tmp_path), kind])
    assert list(tmp_path.iterdir()) == []
    assert "accuracy 0." in capsys.readouterr().out.splitlines()[-1]
