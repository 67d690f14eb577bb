"""`p2pgan sample` and `p2pgan score`: what the saved generators of a run can do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pgan.cli.paths import check_free
from p2pgan.config import SAMPLES_MAX
from p2pgan.errors import ConfigError, RecordError

if TYPE_CHECKING:
    from p2pgan.runs import Run

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]


def sample(
    run: RunArgument,
    *,
    node: Annotated[str, typer.Option(help="Whose generator.")],
    out: Annotated[Path, typer.Option(help="FILE.npy (float32 [K, C, H, W]) or FILE.png.")],
    count: Annotated[int, typer.Option(min=1, max=SAMPLES_MAX, help="K: number of images.")] = 64,
    seed: Annotated[int, typer.Option(help="Decides the latents.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Save images that a node's generator makes.

    Example: p2pgan sample runs/demo --node 3 --count 64 --out digits.png
    """
    import io

    import numpy as np

    from p2pgan.files import write_atomic
    from p2pgan.inspect.pictures import image_grid
    from p2pgan.runs import Run

    if out.suffix not in (".npy", ".png"):
        raise ConfigError(expected="a file named `.npy` or `.png`", got=f"`{out}`", at="--out")
    check_free(out, ConfigError, force=force)
    if not out.parent.is_dir():
        raise ConfigError(expected="an existing folder", got="none", at=str(out.parent))
    images = Run.open(run).images(node, count, seed)
    if out.suffix == ".npy":
        data = io.BytesIO()
        np.save(data, images)
        write_atomic(out, data.getvalue(), RecordError)
    else:
        image_grid(images, out)
    typer.echo(f"{count} images of node {node}: {out}")


def score(
    run: RunArgument,
    *,
    samples: Annotated[
        int | None,
        typer.Option(min=2, max=SAMPLES_MAX, help="Images per generator.  [as in the run]"),
    ] = None,
    quality: Annotated[
        bool,
        typer.Option(
            "--quality",
            help="Measure precision, recall, classes and nearest training images as well; on "
            "10,000 images unless the run or `--samples` says otherwise.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score the saved generators of a run, one row per node.

    Example: p2pgan score runs/demo --samples 10000 --quality
    """
    from p2pgan.runs import Run

    opened = Run.open(run)
    if missing := opened.unsaved_nodes:
        typer.echo(f"without saved networks, and not scored: {', '.join(missing)}", err=True)
    if quality:
        _print_quality(opened, samples, as_json=json)
    else:
        _print_scores(opened, samples, as_json=json)


def _print_scores(run: "Run", samples: int | None, *, as_json: bool) -> None:
    import dataclasses
    import sys

    from rich.console import Console
    from rich.table import Table

    from p2pgan.cli.paths import data_dir
    from p2pgan.inspect.summary import score_statistics
    from p2pgan.record.rundir import to_json

    scores = run.scores(data_dir(), samples)
    taken = next(iter(scores.values())).samples
    statistics = score_statistics([(s.fid, s.ms) for s in scores.values()], taken)
    if as_json:
        by_node = {node: dataclasses.asdict(s) for node, s in scores.items()}
        name = run.directory.path.name
        sys.stdout.write(to_json({"run": name, "scores": statistics, "nodes": by_node}))
        return
    table = Table("node", "FID", "MS", box=None, pad_edge=False)
    for node, s in scores.items():
        table.add_row(node, f"{s.fid:.2f}", f"{s.ms:.2f}")
    for row in ("mean", "std"):
        table.add_row(row, *(f"{statistics[key][row]:.2f}" for key in ("fid", "ms")))
    console = Console()
    console.print(table)
    console.print(f"{taken} samples per generator", highlight=False)


def _print_quality(run: "Run", samples: int | None, *, as_json: bool) -> None:
    import dataclasses
    import sys

    from rich.console import Console
    from rich.table import Table

    from p2pgan.cli.paths import data_dir
    from p2pgan.cli.show import fixed_text
    from p2pgan.inspect.summary import QUALITY_FIGURES
    from p2pgan.inspect.tables import quality_head
    from p2pgan.record.rundir import to_json

    measured, summary = run.quality(data_dir(), samples)
    by_node = {node: dataclasses.asdict(quality) for node, quality in measured.items()}
    if as_json:
        name = run.directory.path.name
        sys.stdout.write(to_json({"run": name, "quality": summary, "nodes": by_node}))
        return
    statistics = {
        row: {figure: summary[figure][row] for figure in QUALITY_FIGURES} for row in ("mean", "std")
    }
    rows = by_node | statistics | {"real data": summary["real"]}
    table = Table("node", *QUALITY_FIGURES, box=None, pad_edge=False)
    for title, figures in rows.items():
        table.add_row(title, *(fixed_text(figures[name], "{:.3f}") for name in QUALITY_FIGURES))
    console = Console()
    console.print(table)
    console.print(quality_head(summary), highlight=False, soft_wrap=True)
