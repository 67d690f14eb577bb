"""Every recipe is a configuration that can be run, and a grid."""

from pathlib import Path

import pytest

from p2pgan.config import config_from
from p2pgan.errors import ConfigError
from p2pgan.gan.models import model
from p2pgan.grid import plan
from p2pgan.recipes import Recipe, names, recipe

PROMISED = {
    "quickstart",
    *("chapter4", "chapter4-small", "chapter4-by-class"),
    *("chapter4-digits", "chapter4-small-digits", "chapter4-by-class-digits"),
    *("chapter5", "chapter5-small", "chapter5-digits", "chapter5-colour"),
    *("chapter5-moves", "chapter5-places", "chapter5-faults", "chapter5-late"),
}
"""Scripts rely on these names."""


def test_the_recipes_are_these() -> None:
    assert set(names()) == PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_it_says_what_it_is_and_how_large(name: str) -> None:
    found = recipe(name)
    about = found.about_it()
    assert about["about"].endswith(".")
    assert about["runs"] == len(plan(found.config, found.grid)) > 1
    assert found.config == config_from(found.settings, at=name)
    assert found.config.model is None or model(found.config.model)


def test_chapter_4_is_of_full_size() -> None:
    """Section 4.2 of the thesis."""
    found = recipe("chapter4")
    assert (found.config.dataset, found.config.model) == ("mnist", "cnn-mnist-ch4")
    assert (found.config.iterations, found.config.exchange_every) == (20_000, 200)
    assert (found.grid.nodes, len(found.grid.seeds)) == ((1, 2, 10, 100), 3)


def test_chapter_5_is_of_full_size() -> None:
    """Section 5.3.1 of the thesis, but for k = n, which it leaves out as well."""
    found = recipe("chapter5")
    assert (found.config.dataset, found.config.model) == ("mnist", "mlp-mnist")
    assert (found.config.iterations, found.config.exchange_epochs) == (50_000, 1)
    assert found.config.train.conditional
    assert found.grid.vary["batch_size"] == (10, 100)


def test_all_workers_but_the_last_are_lost_on_time() -> None:
    """Figure 5.6: one every `I / n` iterations."""
    found = recipe("chapter5-faults")
    n = found.config.md.discriminators
    assert n is not None
    assert found.grid.vary["coordinator.lose_every"] == (0, found.config.iterations // n)


@pytest.mark.parametrize("name", ["chapter4", "chapter4-small", "chapter4-by-class"])
def test_its_twin_needs_no_download(name: str) -> None:
    ours, twin = recipe(name), recipe(f"{name}-digits")
    assert twin.config.dataset == "digits"
    assert twin.config.partition == ours.config.partition
    assert twin.grid.algorithms == ours.grid.algorithms


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean `quickstart`"):
        recipe("quickstrat")


@pytest.mark.parametrize(
    "text", ["seed = 1", "[recipe]\ngrid = 3", '[recipe]\nabout = "x"\n[recipe.grid]\nnods = [1]']
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"mine.toml: recipe"):
        Recipe(path)
