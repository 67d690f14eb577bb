"""Recipes on the command line: the argument that names one, and the list of all."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from p2pgan.cli.options import Layer
from p2pgan.config import RunConfig

if TYPE_CHECKING:
    from p2pgan.recipes import Recipe

RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE", show_default=False, help="Named settings; `--list` of simulate shows."
    ),
]


def recipe_named(name: str | None) -> "Recipe | None":
    """The recipe that was asked for.

    Raises:
        ConfigError: if there is none of that name.
    """
    # Here, since the rules of algorithms are slow to import, and help must not wait for them.
    from p2pgan.recipes import recipe

    return None if name is None else recipe(name)


def recipe_layers(name: str | None) -> tuple[Layer, ...]:
    """The configuration of a recipe, as a layer beneath all others.

    Raises:
        ConfigError: if there is none of that name.
    """
    found = recipe_named(name)
    return () if found is None else ((found.settings, found.at),)


def usual_nodes(config: RunConfig) -> int:
    """As many as a single run has: those of the configuration, or of its overlay.

    Raises:
        OverlayError: for an overlay that cannot be read.
    """
    from p2pgan.overlay.resolve import resolve
    from p2pgan.seeds import EVERYONE, stream

    rng = stream(config.seed, EVERYONE, "overlay")
    return len(resolve(config.overlay, config.nodes, rng, allow_disconnected=True).nodes)


def print_recipes(*, as_json: bool) -> None:
    """What recipes there are and how large each is, on stdout."""
    from p2pgan.inspect.text import count_text
    from p2pgan.recipes import names, recipe
    from p2pgan.record.rundir import to_json

    told = []
    for found in map(recipe, names()):
        told.append({**found.about_it(), "simulated_nodes": usual_nodes(found.config)})
    if as_json:
        sys.stdout.write(to_json(told))
        return
    for about in told:
        nodes = ", ".join(map(str, about["nodes"]))
        model = about["model"] or f"the usual model of {about['dataset']}"
        name = about["name"]
        typer.echo(f"{name}: {about['about']}")
        typer.echo(
            f"    {model}, {about['iterations']:,} iterations; "
            f"{count_text(about['simulated_nodes'], 'node')} in `p2pgan simulate {name}`; "
            f"{about['runs']} runs of {nodes} nodes in `p2pgan compare {name}`"
        )
