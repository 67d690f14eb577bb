"""Recipes: configurations with a name, and the grid that each is meant for.

`recipes/NAME.toml` in the package: `about` in the table `[recipe]`, the axes in `[recipe.grid]`
(`algorithms`, `nodes`, `seeds`, `vary`), and the rest is configuration as in any file.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from p2pgan.config import RunConfig, config_from, read_tables
from p2pgan.errors import ConfigError, unknown_name
from p2pgan.grid import Grid, plan

FOLDER = Path(__file__).parent / "recipes"


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[recipe]`."""

    about: str
    grid: Grid = Grid()


class Recipe:
    """One recipe.

    Raises:
        ConfigError: for a file that is none.
    """

    def __init__(self, path: Path) -> None:
        self.name, self.settings = path.stem, read_tables(path)
        try:
            table = msgspec.convert(self.settings.pop("recipe", {}), _Table)
        except msgspec.ValidationError as error:
            at = f"{path}: recipe"
            raise ConfigError(expected="`about` and `grid`", got=str(error), at=at) from None
        self.about, self.grid = table.about, table.grid
        self.at = f"recipe {self.name}"
        """The place of errors."""

    @cached_property
    def config(self) -> RunConfig:
        """What `simulate` runs where nothing else is said."""
        return config_from(self.settings, at=self.at)

    def about_it(self) -> dict[str, Any]:
        """Name, what it is, and its size: `runs` is that of its grid."""
        return {
            "name": self.name,
            "about": self.about,
            "dataset": self.config.dataset,
            "model": self.config.model,
            "nodes": list(self.grid.nodes),
            "iterations": self.config.iterations,
            "algorithms": list(self.grid.algorithms),
            "seeds": list(self.grid.seeds),
            "vary": {key: list(values) for key, values in self.grid.vary.items()},
            "runs": len(plan(self.config, self.grid)),
        }


def names() -> list[str]:
    """Names of all recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ConfigError: if there is none, with the nearest match.
    """
    if name not in names():
        raise unknown_name(ConfigError, "a recipe", name, names(), "RECIPE")
    return Recipe(FOLDER / f"{name}.toml")
