"""`p2pgan topology`: make, show, measure, draw and convert overlays."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2pgan.cli.paths import check_free
from p2pgan.errors import OverlayError
from p2pgan.inspect.text import count_text

if TYPE_CHECKING:
    from p2pgan.overlay.graph import Overlay

app = typer.Typer(
    name="topology",
    help="Make, show, measure, draw and convert overlays.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

SpecArgument = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A family (ring, watts-strogatz:4,0.1), a ready file's name, or a path.",
        show_default=False,
    ),
]
OutArgument = Annotated[Path, typer.Argument(metavar="OUT", help="File to write.")]
NodesOption = Annotated[
    int | None,
    typer.Option("--nodes", "-n", min=1, help="Number of nodes.  [default: the file's, or 10]"),
]
SeedOption = Annotated[int, typer.Option(help="Seed of random families.")]
FormatOption = Annotated[
    str | None,
    typer.Option(help="json, graphml, gexf, edges or dot.  [default: by the suffix]"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]


@app.command()
def new(
    spec: SpecArgument = "",
    nodes: NodesOption = None,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option(help="File to write.  [default: standard output]")
    ] = None,
    format: FormatOption = None,
    address_base: Annotated[
        str | None,
        typer.Option(help="Address of the first node; the others get the ports that follow."),
    ] = None,
    hub: Annotated[
        bool,
        typer.Option(
            "--hub", help="Make it a star around a further node, `coordinator` (fl-gan, md-gan)."
        ),
    ] = False,
    allow_disconnected: Annotated[
        bool, typer.Option("--allow-disconnected", help="Accept more than one piece.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List families and ready files.")] = False,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Make an overlay, or list what there is to choose from.

    Example: p2pgan topology new watts-strogatz:4,0.1 --nodes 20 --seed 7 --out my-overlay.json
    """
    if listed:
        _list(as_json)
        return
    if not spec:
        raise typer.BadParameter("give one, or --list", param_hint="SPEC")
    overlay = _resolve(spec, nodes, seed, allow_disconnected=allow_disconnected)
    if hub:
        from p2pgan.types import COORDINATOR

        overlay = overlay.with_hub(COORDINATOR)
    if address_base is not None:
        from p2pgan.overlay.addresses import numbered_addresses

        addresses = numbered_addresses(address_base, overlay.nodes, "--address-base")
        overlay = overlay.with_addresses(addresses)
    if out is None:
        from p2pgan.overlay.files import render

        typer.echo(render(overlay, format or "json").decode(), nl=False)
        return
    _write(overlay, out, format, force=force)
    _tell_written(overlay, out, as_json=as_json)


@app.command()
def show(
    spec: SpecArgument,
    nodes: NodesOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """List the nodes with their neighbors and addresses.

    Example: p2pgan topology show small-world-10
    """
    overlay = _resolve(spec, nodes, seed)
    if as_json:
        from p2pgan.overlay.files import to_node_link

        _echo_json(to_node_link(overlay))
        return
    _echo_overlay(overlay)
    rows = (
        (node, str(len(peers)), " ".join(peers), overlay.address(node) or "-")
        for node in overlay.nodes
        for peers in [overlay.neighbors(node)]
    )
    _echo_table(("node", "degree", "neighbors", "address"), rows)


@app.command()
def stats(
    spec: SpecArgument,
    nodes: NodesOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure how well an overlay spreads news.

    Example: p2pgan topology stats ring --nodes 50
    """
    from p2pgan.overlay.analysis import stats as measure
    from p2pgan.seeds import EVERYONE, stream

    overlay = _resolve(spec, nodes, seed)
    measured = measure(overlay, stream(seed, EVERYONE, "draws")).to_dict()
    if as_json:
        _echo_json(measured)
        return
    _echo_table(
        ("measure", "value"), ((name, _readable(value)) for name, value in measured.items())
    )


@app.command()
def draw(
    spec: SpecArgument,
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .svg or .pdf.")],
    nodes: NodesOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Draw an overlay.

    Example: p2pgan topology draw torus-36 --out torus.png
    """
    from p2pgan.overlay.picture import draw as paint

    overlay = _resolve(spec, nodes, seed)
    check_free(out, OverlayError, force=force)
    paint(overlay, out)
    _tell_written(overlay, out, as_json=as_json)


@app.command()
def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Overlay file, or a ready file's name.")
    ],
    out: OutArgument,
    format: FormatOption = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Write an overlay file in another format.

    Example: p2pgan topology convert my-overlay.json my-overlay.gexf
    """
    overlay = _resolve(source, None, 0)
    _write(overlay, out, format, force=force)
    _tell_written(overlay, out, as_json=as_json)


def _resolve(
    spec: str, nodes: int | None, seed: int, *, allow_disconnected: bool = True
) -> "Overlay":
    # What only looks at an overlay takes it in pieces too: that is when one wants to look.
    from p2pgan.overlay.resolve import resolve
    from p2pgan.seeds import EVERYONE, stream

    rng = stream(seed, EVERYONE, "overlay")
    return resolve(spec, nodes, rng, allow_disconnected=allow_disconnected)


def _write(overlay: "Overlay", out: Path, format: str | None, *, force: bool) -> None:
    from p2pgan.overlay.files import write

    check_free(out, OverlayError, force=force)
    write(overlay, out, format)


def _tell_written(overlay: "Overlay", out: Path, *, as_json: bool) -> None:
    if as_json:
        nodes, edges = len(overlay.nodes), overlay.graph.number_of_edges()
        _echo_json({"path": str(out), "name": overlay.name, "nodes": nodes, "edges": edges})
    else:
        typer.echo(f"{out}: {overlay.name}, {_size_text(overlay)}")


def _list(as_json: bool) -> None:
    from p2pgan.overlay.files import read, ready
    from p2pgan.overlay.generate import families

    drawn = [
        {"usage": f.usage, "aliases": list(f.aliases), "description": f.description}
        for f in families()
    ]
    kept = {name: read(path).description for name, path in ready().items()}
    if as_json:
        _echo_json({"families": drawn, "files": kept})
        return
    usages = ((" or ".join([f.usage, *f.aliases]), f.description) for f in families())
    _echo_table(("family", "description"), usages)
    _echo_table(("ready file", "description"), kept.items())


def _echo_overlay(overlay: "Overlay") -> None:
    typer.echo(f"{overlay.name}: {_size_text(overlay)}")
    if overlay.description:
        typer.echo(overlay.description)


def _size_text(overlay: "Overlay") -> str:
    nodes, edges = len(overlay.nodes), overlay.graph.number_of_edges()
    return f"{count_text(nodes, 'node')}, {count_text(edges, 'edge')}"


def _readable(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _echo_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False))


def _echo_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        # Ids are the user's: no markup in them.
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console().print(table)
