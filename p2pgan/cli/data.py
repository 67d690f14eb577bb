"""`p2pgan data`: which data sets are there, fetching them, and how they would be cut."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pgan.cli.paths import check_free, data_dir
from p2pgan.errors import DataError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from p2pgan.data.download import Progress
    from p2pgan.data.partition import Shard
    from p2pgan.data.verify import State

app = typer.Typer(help="Data sets and how they are cut into shards.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("list")
def list_datasets(as_json: Json = False) -> None:
    """Show each data set: whether it is there and undamaged, and how many images it has.

    Example: p2pgan data list
    """
    from p2pgan.data.datasets import DATASETS
    from p2pgan.data.verify import verify

    folder = data_dir()
    states = [verify(name, folder) for name in DATASETS]
    if as_json:
        document = {"data_dir": str(folder), "datasets": [asdict(state) for state in states]}
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo(f"data directory: {folder}")
        typer.echo("\n".join(_state_line(state) for state in states))


@app.command()
def download(name: Annotated[str, typer.Argument(help="`mnist` or `cifar10`.")]) -> None:
    """Fetch a data set from public mirrors, checked, going on where an earlier attempt stopped.

    Example: p2pgan data download mnist
    """
    from p2pgan.data.download import download

    with _progress() as progress:
        paths = download(name, data_dir(), progress=progress)
    if paths:
        typer.echo("\n".join(str(path) for path in paths))
    else:
        typer.echo(f"`{name}` comes with the installation: nothing to download")


@app.command()
def partition(
    dataset: Annotated[str, typer.Option(help="The data set, as in a run.")] = "digits",
    spec: Annotated[
        str,
        typer.Option(
            "--partition",
            help="`iid`, `by-class`, `by-class:K`, `dirichlet:ALPHA` or `quantity:ALPHA`.",
        ),
    ] = "iid",
    nodes: Annotated[int, typer.Option(min=1, help="Number of shards.")] = 10,
    seed: Annotated[int, typer.Option(help="The run's seed.")] = 0,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Fail if a shard cannot fill such a batch.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also draw the shards: .png, .svg or .pdf.")
    ] = None,
    as_json: Json = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing picture.")] = False,
) -> None:
    """Show what each node would hold in a run with these settings.

    Example: p2pgan data partition --dataset mnist --partition by-class --nodes 10
    """
    from p2pgan.data import partition as cuts
    from p2pgan.data.datasets import load
    from p2pgan.data.picture import check_suffix, draw_shards
    from p2pgan.seeds import EVERYONE, stream

    if out is not None:
        check_suffix(out)
        check_free(out, DataError, force=force)
    data = load(dataset, data_dir(), seed=seed)
    shards = cuts.partition(spec, data.labels, nodes, stream(seed, EVERYONE, "partition"))
    described = cuts.describe(shards, data.labels, data.classes)
    if batch_size is not None:
        cuts.check_shards(shards, batch_size, [shard.node for shard in described])
    if out is not None:
        draw_shards(described, f"{dataset}, {spec}, seed {seed}", out)
    if as_json:
        document = {
            "dataset": dataset,
            "partition": spec,
            "seed": seed,
            "nodes": [asdict(shard) for shard in described],
        }
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo("\n".join(_shard_lines(described, data.classes)))
        if out is not None:
            typer.echo(f"picture: {out}")


def _state_line(state: "State") -> str:
    shape = " x ".join(str(size) for size in state.image_shape)
    images = f"{state.train_images:,} + {state.test_images:,} of {shape}" if shape else ""
    return f"{state.name:<8}  {state.state:<8}  {images:<28}  {state.note}".rstrip()


def _shard_lines(shards: Sequence["Shard"], classes: int) -> list[str]:
    """A table: node, size, and the images of each class."""
    width = max(5, *(len(str(shard.size)) for shard in shards))
    header = [f"{'node':<8}", f"{'images':>7}", *(f"{label:>{width}}" for label in range(classes))]
    rows = [
        [f"{shard.node:<8}", f"{shard.size:>7}", *(f"{count:>{width}}" for count in shard.counts)]
        for shard in shards
    ]
    return [" ".join(cells) for cells in (header, *rows)]


@contextmanager
def _progress() -> "Iterator[Progress]":
    """Bars on standard error; rich leaves them out where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def show(name: str, received_bytes: int, total_bytes: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name)
            bars.update(tasks[name], completed=received_bytes, total=total_bytes)

        yield show
