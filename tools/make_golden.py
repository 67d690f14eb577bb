"""Records tiny training curves in tests/golden/; `--check` trains again and compares instead.

Run from anywhere: .venv/bin/python tools/make_golden.py [--check]

A change that should not touch training must leave `--check` silent; one that does records anew,
and says why.
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from p2pgan.config import ExchangeConfig, TrainConfig
from p2pgan.gan.blocks import Batch
from p2pgan.gan.cohort import Cohort, Inputs, Losses
from p2pgan.gan.latents import LatentSource, LatentStreams
from p2pgan.gan.models import model
from p2pgan.gan.plan import Machine
from p2pgan.mixing.algorithms import algorithm
from p2pgan.mixing.rules import consensus_distance, mix, mixing_rows
from p2pgan.seeds import EVERYONE, stream
from p2pgan.types import NETS

FOLDER = Path(__file__).parents[1] / "tests" / "golden"

NODES, BATCH, ROUNDS, ITERATIONS = 3, 16, 4, 5

TOLERANCE = 1e-3
"""Relative difference that another processor's rounding may make; see `measured_sensitivity`."""

DIGITS = 7
"""Significant digits that are recorded."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a curve was trained with."""

    algorithm: str
    train: TrainConfig


SETTINGS = {
    "gossip": Setting(algorithm="gossip", train=TrainConfig()),
    "gossip-ind": Setting(
        algorithm="gossip-ind", train=TrainConfig(loss="hinge", discriminator_steps=2)
    ),
    "fl-gan": Setting(algorithm="fl-gan", train=TrainConfig(loss="lsgan", init="glorot")),
}

Curve = dict[str, list[float]]
"""Each figure's values, round after round and node after node."""


def stripes(count: int) -> Iterator[Batch]:
    """Images of slanted waves: another slant for every node, another phase for every image."""
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    for batch in range(count):
        phase_B111 = (torch.arange(float(BATCH)) + batch).view(-1, 1, 1, 1)
        nodes = [torch.cos(0.6 * x + 0.4 * node * y + phase_B111) for node in range(NODES)]
        yield Batch(torch.stack(nodes), torch.zeros(NODES, BATCH, dtype=torch.int64))


def curve(setting: Setting, *, disturbance: float = 0.0) -> Curve:
    """Trains three nodes of `mlp-digits` for four rounds of five iterations.

    Args:
        setting: algorithm and losses.
        disturbance: relative size of random changes to the initial vectors.
    """
    pair = model("mlp-digits")
    rng, noise = stream(0, EVERYONE, "initial-weights"), np.random.default_rng(1)
    vectors = {}
    for net in NETS:
        start_P = pair.networks[net].initial_vector(rng, setting.train.init)
        factors = 1 + disturbance * noise.standard_normal((NODES, len(start_P)))
        vectors[net] = start_P * torch.from_numpy(factors).float()
    streams = [LatentStreams(*[stream(0, str(i), "latents")] * 3) for i in range(NODES)]
    images = stripes(ROUNDS * ITERATIONS * setting.train.discriminator_steps)
    inputs = Inputs(lambda *_: images, LatentSource(streams, pair.latent), BATCH)
    cohort = Cohort(pair, setting.train, vectors, inputs, Machine(block_nodes=NODES))
    chosen = algorithm(setting.algorithm)
    draw = chosen.draw(ExchangeConfig(), lockstep=True)
    draws, neighbors = stream(0, EVERYONE, "draws"), [[1, 2], [0, 2], [0, 1]]
    recorded: Curve = {}
    for _ in range(ROUNDS):
        figures = _figures(cohort.train(ITERATIONS), cohort)
        for group in chosen.groups:
            rows = mixing_rows(draw(neighbors, draws))
            for net in group:
                mix(rows, vectors[net])
        for figure, values in figures.items():
            recorded.setdefault(figure, []).extend(float(f"{v:.{DIGITS}g}") for v in values)
    return recorded


def _figures(losses: Losses, cohort: Cohort) -> dict[str, Sequence[float]]:
    """A round's figures before its exchange; the exchange shows in those of the next."""
    figures: dict[str, Sequence[float]] = {
        "loss_d": losses.d.tolist(),
        "loss_g": losses.g.tolist(),
    }
    for net, vectors_NP in cohort.vectors.items():
        figures[f"norm_{net}"] = [float(torch.linalg.vector_norm(row)) for row in vectors_NP]
        figures[f"consensus_{net}"] = [consensus_distance(vectors_NP)]
    return figures


def difference(recorded: Curve, fresh: Curve) -> float:
    """The largest difference of two curves, relative to the largest value of its figure.

    Infinite if they do not have the same figures, or one has a value that is not finite.
    """
    if {f: len(v) for f, v in recorded.items()} != {f: len(v) for f, v in fresh.items()}:
        return math.inf
    largest = 0.0
    for figure, values in recorded.items():
        a, b = np.array(values), np.array(fresh[figure])
        scale = max(float(np.abs(a).max()), 1e-12)
        relative = float(np.abs(a - b).max() / scale)
        largest = max(largest, relative if math.isfinite(relative) else math.inf)
    return largest


def measured_sensitivity() -> float:
    """How far the curves move when the initial vectors change in their last digits."""
    return max(
        difference(curve(setting), curve(setting, disturbance=2**-22))
        for setting in SETTINGS.values()
    )


def check(folder: Path) -> list[str]:
    """A line for every recorded curve that training no longer gives."""
    lines = []
    for name, setting in SETTINGS.items():
        path = folder / f"{name}.json"
        recorded: Curve = json.loads(path.read_text()) if path.is_file() else {}
        distance = difference(recorded, curve(setting))
        if distance > TOLERANCE:
            lines.append(f"{path.name}: off by {distance:.2g} of its scale, above {TOLERANCE:g}")
    return lines


def write(folder: Path) -> None:
    """Records all curves."""
    for name, setting in SETTINGS.items():
        (folder / f"{name}.json").write_text(json.dumps(curve(setting), indent=1) + "\n")


def main(arguments: Sequence[str]) -> int:
    """Writes the curves, or with `--check` compares them; 1 if they differ."""
    torch.set_num_threads(1)
    if "--check" not in arguments:
        write(FOLDER)
        return 0
    lines = check(FOLDER)
    print(*lines, sep="\n", end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
