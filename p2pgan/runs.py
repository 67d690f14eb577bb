"""A run directory and what it means: begun, summed up, opened again, asked for images and pictures.

Everything after the run is read from the directory alone, so that simulated runs and those of real
daemons are looked at in the same way.
"""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch

from p2pgan import __version__
from p2pgan.config import RUN_TABLE, RunConfig, ScoreConfig, config_from, read_settings, to_toml
from p2pgan.design import Design
from p2pgan.errors import RecordError, unknown_name
from p2pgan.experiment import Experiment, prepare, spread_out
from p2pgan.gan.checkpoint import Checkpoint, load
from p2pgan.gan.models import Model, model
from p2pgan.gan.quality import Quality
from p2pgan.gan.sampling import images
from p2pgan.gan.scores import Scores
from p2pgan.inspect.summary import quality_statistics, score_statistics, summarise, traffic
from p2pgan.inspect.traffic import vectors_of
from p2pgan.mixing.algorithms import algorithm
from p2pgan.overlay import files as overlay_files
from p2pgan.overlay.graph import Overlay
from p2pgan.record import schema
from p2pgan.record.rundir import RunDirectory, write_text_atomic
from p2pgan.seeds import stream
from p2pgan.types import COORDINATOR, Net

PICTURED_NODES = 5
"""Nodes whose samples are drawn at the end of a run."""

PICTURED_SAMPLES = 12

QUALITY_SAMPLES = 10_000
"""Images per generator when nobody says: as many as MNIST and CIFAR-10 have test images."""


def begin(design: Design, out: Path | None, overlay: Overlay, **about: Any) -> RunDirectory:
    """A new run directory with its configuration and overlay.

    Args:
        design: what will run.
        out: the directory; `None`: a new one under `runs/`.
        overlay: the overlay to save, with addresses where nodes are daemons.
        about: what else `run.toml` is to say of the run, such as its clock.
    Raises:
        RecordError: if there is something already, or nothing can be written.
    """
    config = design.config
    name = f"{config.algorithm}-{design.data_name}-n{config.nodes}-s{config.seed}"
    directory = RunDirectory.create(out, name=name)
    about = {
        "name": directory.path.name,
        "versions": versions(),
        "commit": commit() or "",
        "threads": design.threads,  # blocks, and so bits, depend on it
        **about,
    }
    write_text_atomic(directory.run_toml, to_toml(config, **{RUN_TABLE: about}))
    overlay_files.write(overlay, directory.overlay_json)
    return directory


def run_started(
    config: RunConfig, time: Literal["virtual"] | None = None, *, is_anew: bool = False
) -> schema.RunStarted:
    """The first record of a log, or of a start that found nothing to go on from."""
    return schema.RunStarted(
        config=msgspec.to_builtins(config),
        versions=versions(),
        commit=commit(),
        time=time,
        is_anew=is_anew or None,
    )


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    return {
        "p2pgan": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def commit() -> str | None:
    """Commit of the checkout that p2pgan runs from; `None` if it is installed elsewhere."""
    checkout = Path(__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Where the time of a simulated run went, in seconds; start-up left out.

    Of a run on several ranks: the first rank's, the time that it waited for others included.
    """

    train_s: float = 0.0
    exchange_s: float = 0.0
    """Drawing, moving vectors and mixing."""
    score_s: float = 0.0
    """Scores and consensus distances."""
    log_s: float = 0.0
    """Writing records and checkpoints."""


NodeScores = Sequence[tuple[float | None, float | None]]
"""FID and MS of each node; `None` where they are not finite."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the nodes are worth at some time."""

    scores: NodeScores
    consensus: Mapping[Net, float]
    """Empty: nobody knows."""
    quality: Mapping[str, Quality] = field(default_factory=dict)
    """Of each measured node; empty where it was not asked for, or the run was interrupted."""

    def to_dict(self, samples: int) -> dict[str, Any]:
        """`scores`, `consensus` and `quality` as in `summary.json`, but for real images."""
        rows = {node: asdict(quality) for node, quality in self.quality.items()}
        return {
            "scores": score_statistics(self.scores, samples),
            "consensus": {"g": self.consensus.get("G"), "d": self.consensus.get("D")},
            "quality": quality_statistics(rows) if rows else None,
        }


@dataclass(frozen=True, kw_only=True)
class LastStep:
    """What the nodes did after the training."""

    step: Literal["agree", "average"]
    rounds: int
    """0: there was nothing to do."""
    agreed: int | None
    """Nodes that hold the same pair; `None` after averaging."""
    origin: str | None
    """Who has trained it; `None` after averaging, or where all were equal before."""
    before: Standing


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a shell knows at the end of a run, whoever ran it."""

    rounds: int
    iterations: int
    """Of each node (the most, where they differ)."""
    node_iterations: int
    """Of all nodes together."""
    standing: Standing
    """At the end."""
    messages: int
    bytes_total: int
    wall_s: float
    busy_s: float
    """Seconds of training and exchanging; scoring and start-up left out."""
    interrupted: bool
    last_step: LastStep | None = None
    """If there was one, and it came to its end."""
    costs: Costs | None = None
    """Where the time went, if somebody measured it (the lockstep simulator does)."""
    kinds: Mapping[str, schema.Tally] = field(default_factory=dict)
    """What all nodes sent, by kind of message. In MD-GAN `messages` and `bytes_total` follow from
    it, since its batches and feedback are no networks."""


def summary(directory: RunDirectory, design: Design, outcome: Outcome) -> dict[str, Any]:
    """The content of `summary.json`, as the contract names it.

    Beyond the contract: `overlay`, `model`, `scorer`, `interrupted`; `final`, what the last step
    changed, or `null`; `real`, the scores of real training images in place of generated ones, which
    no generator can be expected to beat; `quality`, the `quality_summary` or `null`; in `traffic`
    the `kinds`; and in `speed` the `Costs`, left out where nobody measured them: daemons train,
    send and log side by side.
    """
    config = design.config
    real = design.score_real()
    samples = config.score.samples
    after = outcome.standing.to_dict(samples)
    speed = outcome.node_iterations / outcome.busy_s if outcome.busy_s else 0.0
    return {
        "run": directory.path.name,
        "algorithm": config.algorithm,
        "dataset": config.dataset,
        "partition": config.partition,
        "overlay": design.overlay.name,
        "model": config.model,
        "scorer": design.scorer_name,
        "nodes": len(design.nodes),
        "iterations": outcome.iterations,
        "rounds": outcome.rounds,
        "exchange_every": config.exchange_every,
        "seed": config.seed,
        "interrupted": outcome.interrupted,
        "scores": after["scores"],
        "real": {"fid": real.fid, "ms": real.ms, "samples": real.samples},
        "quality": quality_summary(design, outcome.standing.quality),
        "consensus": after["consensus"],
        "final": _final(outcome.last_step, after, samples),
        "traffic": _traffic(design, outcome),
        "speed": {
            "wall_s": outcome.wall_s,
            "node_iterations_per_s": speed,
            **(asdict(outcome.costs) if outcome.costs else {}),
        },
    }


def _traffic(design: Design, outcome: Outcome) -> dict[str, Any]:
    messages, bytes_total = outcome.messages, outcome.bytes_total
    if design.algorithm.is_split:
        sent = vectors_of(outcome.kinds)
        messages, bytes_total = sent.messages, sent.payload_bytes
    return traffic(messages, bytes_total, len(design.nodes), outcome.kinds)


def quality_summary(design: Design, measured: Mapping[str, Quality]) -> dict[str, Any] | None:
    """Spread of each figure over the measured nodes, and `real`, those of real images in place of
    generated ones; `None` if nobody was measured.
    """
    if not measured:
        return None
    assert isinstance(design, Experiment), "quality of what is no network"
    rows = {node: asdict(quality) for node, quality in measured.items()}
    return {**quality_statistics(rows), "real": asdict(design.quality_real())}


def _final(step: LastStep | None, after: dict[str, Any], samples: int) -> dict[str, Any] | None:
    if step is None:
        return None
    return {
        "step": step.step,
        "rounds": step.rounds,
        "agreed": step.agreed,
        "origin": step.origin,
        "before": step.before.to_dict(samples),
        "after": after,
    }


@dataclass(frozen=True)
class Run:
    """A run that is over, or far enough to have saved networks."""

    directory: RunDirectory
    config: RunConfig

    @classmethod
    def open(cls, path: Path) -> "Run":
        """The run in a directory.

        Raises:
            RecordError: if it is none.
            ConfigError: if its `run.toml` is not ours.
        """
        directory = RunDirectory.open(path)
        tables = read_settings(directory.run_toml)
        return cls(directory, config_from(tables, at=str(directory.run_toml)))

    @cached_property
    def model(self) -> Model:
        return model(self.config.model or "")

    @cached_property
    def overlay(self) -> Overlay:
        return overlay_files.read(self.directory.overlay_json)

    @property
    def saved_nodes(self) -> list[str]:
        """Nodes with saved networks, in overlay order; if a coordinator has, it alone: its
        generator is the run's."""
        has_coordinator = algorithm(self.config.algorithm).has_coordinator
        if has_coordinator and self.directory.checkpoint(COORDINATOR).is_file():
            return [COORDINATOR]
        return [node for node in self.overlay.nodes if self.directory.checkpoint(node).is_file()]

    @property
    def unsaved_nodes(self) -> list[str]:
        """Nodes that have trained a generator of the run and not saved it, in overlay order."""
        saved = self.saved_nodes
        if saved == [COORDINATOR]:
            return []
        return [node for node in self.overlay.nodes if node not in saved]

    def checkpoint(self, node: str) -> Checkpoint:
        """A node's saved networks.

        Raises:
            RecordError: if the run has no such node, with the nearest match.
            CheckpointError: if they are missing, corrupt or of another model.
        """
        known = {*self.overlay.nodes, *self.saved_nodes}
        if node not in known:
            at = str(self.directory.path)
            raise unknown_name(RecordError, "a node of the run", node, sorted(known), at)
        return load(self.directory.checkpoint(node), self.model)

    def images(self, node: str, count: int, seed: int) -> np.ndarray:
        """Images of a node's generator, `[K, C, H, W]` float32 in [-1, 1].

        Raises:
            as `checkpoint`.
        """
        vector = self.checkpoint(node).generator
        rng = stream(seed, node, "sample")
        conditional = self.config.train.conditional
        return images(self.model, vector, count, rng, conditional=conditional).numpy()

    def scores(self, data_dir: Path, samples: int | None = None) -> dict[str, Scores]:
        """Scores of every saved generator, on fresh samples of the run's own scoring stream.

        Args:
            data_dir: folder of the data sets.
            samples: generated images each; `None`: as many as during the run.
        Raises:
            RecordError: if nothing is saved.
            DataError, CheckpointError: for data or networks that cannot be read.
        """
        score = self.config.score
        score = msgspec.structs.replace(score, samples=samples or score.samples)
        experiment = self._prepare(data_dir, score)
        return {
            node: experiment.score(self.checkpoint(node).generator, node)
            for node in self.saved_nodes
        }

    def quality(
        self, data_dir: Path, samples: int | None = None
    ) -> tuple[dict[str, Quality], dict[str, Any]]:
        """Quality of every saved generator, and `quality` of a summary with these nodes.

        Args:
            data_dir: folder of the data sets.
            samples: generated images each; `None`: as many as at the end of the run, or
                `QUALITY_SAMPLES`.
        Raises:
            as `scores`.
        """
        score = self.config.score
        samples = samples or score.final_samples or QUALITY_SAMPLES
        score = msgspec.structs.replace(score, final_samples=samples)
        experiment = self._prepare(data_dir, score)
        measured = {
            node: experiment.quality(self.checkpoint(node).generator, node)
            for node in self.saved_nodes
        }
        return measured, quality_summary(experiment, measured) or {}

    def _prepare(self, data_dir: Path, score: ScoreConfig) -> Experiment:
        """The experiment again, with these settings for scores; somebody has saved."""
        if not self.saved_nodes:
            raise RecordError(
                expected="saved networks", got="none", at=str(self.directory.path / "nodes")
            )
        overlay = str(self.directory.overlay_json)
        config = msgspec.structs.replace(self.config, overlay=overlay, nodes=None, score=score)
        return prepare(config, data_dir)

    def draw_pictures(self) -> list[Path]:
        """Samples of several nodes, score curves and the overlay, into `pictures/`.

        Raises:
            RecordError: if the disk refuses.
        """
        # Here, since a run that draws at its end need not wait for matplotlib at its start.
        from p2pgan.inspect.pictures import sample_grid, score_curves
        from p2pgan.overlay.picture import draw

        folder = self.directory.pictures
        _make_folder(folder)
        samples, curves, overlay = (
            folder / name for name in ("samples.png", "scores.png", "overlay.png")
        )
        shown = spread_out(self.saved_nodes, PICTURED_NODES)
        seed, title = self.config.seed, self.directory.path.name
        if shown:
            by_node = {node: self.images(node, PICTURED_SAMPLES, seed) for node in shown}
            sample_grid(by_node, samples, title)
        score_curves({title: summarise(self.directory).curves}, curves, title)
        draw(self.overlay, overlay)
        return [path for path in (samples, curves, overlay) if path.is_file()]


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise RecordError(
            expected="a folder that can be made", got=error.strerror or str(error), at=str(path)
        ) from None
