"""Recipes on the command line."""

import json

import pytest

from p2pgan.cli.options import Sources
from p2pgan.cli.recipes import print_recipes, recipe_layers, recipe_named
from p2pgan.errors import ConfigError
from p2pgan.recipes import names


def test_the_list_has_every_recipe_and_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    print_recipes(as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[::2]] == names()
    assert lines[1].endswith(
        "20,000 iterations; 10 nodes in `p2pgan simulate chapter4`; "
        "39 runs of 1, 2, 10, 100 nodes in `p2pgan compare chapter4`"
    )


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_recipes(as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert [about["name"] for about in document] == names()
    assert document[0]["model"] == "cnn-mnist-ch4"
    assert [about["simulated_nodes"] for about in document] == [10] * len(names())


def test_every_other_source_is_above_a_recipe() -> None:
    layers = recipe_layers("chapter4")
    assert Sources({}).config(*layers).iterations == 20_000
    assert Sources({"iterations": 5}).config(*layers).iterations == 5
    period = Sources({}, environment={"P2PGAN_EXCHANGE_EPOCHS": "2"}).config(*layers)
    assert (period.exchange_epochs, period.exchange_every) == (2.0, None)


def test_without_a_name_there_is_none() -> None:
    assert recipe_named(None) is None
    assert recipe_layers(None) == ()


def test_an_unknown_one_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean `quickstart`"):
        recipe_layers("quickstrat")
