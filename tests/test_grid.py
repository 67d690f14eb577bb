"""Which runs a grid has, and which of them would be the same run twice."""

from typing import Any

import pytest

from p2pgan.config import ExchangeConfig, RunConfig, keys
from p2pgan.errors import ConfigError
from p2pgan.grid import Grid, grid_there, in_order, irrelevant, plan, varied, without_a_run
from p2pgan.mixing.algorithms import algorithm
from p2pgan.record.comparison import Manifest

BASE = RunConfig()


def names(base: RunConfig = BASE, **axes: Any) -> list[str]:
    return [planned.cell.run for planned in plan(base, Grid(**axes))]


def test_every_combination_is_a_run_once_and_in_order() -> None:
    assert names(algorithms=("fl-gan", "gossip"), nodes=(10, 2, 10), seeds=(1, 0)) == [
        "gossip-n2-s0",
        "gossip-n2-s1",
        "gossip-n10-s0",
        "gossip-n10-s1",
        "fl-gan-n2-s0",
        "fl-gan-n2-s1",
        "fl-gan-n10-s0",
        "fl-gan-n10-s1",
    ]


def test_one_node_is_the_pooled_algorithm_which_has_one_run_per_seed() -> None:
    sizes = (1, 2)
    assert names(algorithms=("centralised", "gossip"), nodes=sizes) == [
        "centralised-n1-s0",
        "gossip-n2-s0",
    ]
    with pytest.raises(ConfigError, match="a grid without a run - at --nodes"):
        names(algorithms=("gossip",), nodes=(1,))


def test_that_one_node_has_no_run_is_told() -> None:
    alone = Grid(algorithms=("gossip",), nodes=(1, 10))
    assert names(algorithms=alone.algorithms, nodes=alone.nodes) == ["gossip-n10-s0"]
    assert "nothing is run with 1 node: that is `centralised`" in without_a_run(alone)
    for nodes in ((2, 10), (1,)):
        assert without_a_run(Grid(algorithms=("gossip",), nodes=nodes)) == ""
    assert without_a_run(Grid(algorithms=("gossip", "centralised"), nodes=(1, 10))) == ""


def test_configurations_are_those_of_the_cells() -> None:
    axes = Grid(algorithms=("gossip",), nodes=(4,), seeds=(7,), vary={"train.loss": ("hinge",)})
    [planned] = plan(BASE, axes)
    assert planned.config == varied(
        BASE, {"algorithm": "gossip", "nodes": 4, "seed": 7, "train.loss": "hinge"}
    )
    assert planned.cell.vary == {"train.loss": "hinge"}
    assert planned.cell.run == "gossip-n4-train.loss-hinge-s7"


def test_values_may_be_text_and_the_same_value_is_one_cell() -> None:
    runs = plan(BASE, Grid(algorithms=("gossip",), vary={"exchange.fanout": ("2", 2, "10", 1)}))
    assert [planned.cell.vary["exchange.fanout"] for planned in runs] == [1, 2, 10]


def test_what_cannot_matter_to_an_algorithm_stays_at_its_base_value() -> None:
    vary = {"exchange.fanout": (1, 2), "partition": ("iid", "by-class")}
    runs = plan(BASE, Grid(vary=vary))
    by_name: dict[str, list[dict[str, Any]]] = {}
    for planned in runs:
        by_name.setdefault(planned.cell.algorithm, []).append(dict(planned.cell.vary))
    assert by_name["centralised"] == [{}]
    assert by_name["standalone"] == [{"partition": "iid"}, {"partition": "by-class"}]
    assert by_name["fl-gan"] == by_name["standalone"]
    assert len(by_name["gossip"]) == 4
    assert {planned.config.exchange for planned in runs if planned.cell.algorithm == "fl-gan"} == {
        ExchangeConfig()
    }


SYSTEMS = {"fl", "md", "coordinator"}
"""Tables of systems with a coordinator."""


@pytest.mark.parametrize("final", ["none", "average"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("fl-gan", {"fl.fraction", "fl.weighting", "fl.momentum"}),
        ("md-gan", {key for key in keys() if key.startswith(("md.", "coordinator."))}),
        ("gossip", set()),
        ("standalone", set()),
        ("centralised", set()),
    ],
)
def test_settings_of_a_system_matter_to_it_alone(final: str, name: str, read: set[str]) -> None:
    spared = irrelevant(algorithm(name), varied(BASE, {"final": final}))
    of_systems = {key for key in keys() if key.partition(".")[0] in SYSTEMS}
    assert of_systems - spared == read


def test_a_period_of_moves_matters() -> None:
    spared = irrelevant(algorithm("md-gan"), BASE)
    assert {"exchange.moments", "overlay"} <= spared
    assert not {"exchange_every", "exchange_epochs"} & spared


def test_a_last_step_makes_the_overlay_matter_to_all_who_have_peers() -> None:
    agree = varied(BASE, {"final": "agree"})
    assert {key.partition(".")[0] for key in irrelevant(algorithm("standalone"), agree)} == SYSTEMS
    assert "overlay" in irrelevant(algorithm("centralised"), agree)
    [alone] = plan(agree, Grid(algorithms=("centralised",)))
    assert alone.config.final == "none"


def test_gossip_and_moments_of_the_coordinators_algorithm_matter() -> None:
    assert {key.partition(".")[0] for key in irrelevant(algorithm("gossip"), BASE)} == SYSTEMS
    assert "exchange.moments" not in irrelevant(algorithm("fl-gan"), BASE)
    assert "exchange_every" not in irrelevant(algorithm("fl-gan"), BASE)


def test_one_period_replaces_the_other() -> None:
    base = RunConfig(exchange_epochs=2.0)
    runs = plan(base, Grid(algorithms=("gossip",), vary={"exchange_every": (1, 5)}))
    assert [(p.config.exchange_every, p.config.exchange_epochs) for p in runs] == [
        (1, None),
        (5, None),
    ]


def test_overlays_keep_their_order_and_have_names_that_folders_may_have() -> None:
    overlays = ("ring", "watts-strogatz:4,0.1", "my/file.json")
    assert names(algorithms=("gossip",), vary={"overlay": overlays}) == [
        "gossip-n10-overlay-ring-s0",
        "gossip-n10-overlay-watts-strogatz-4-0.1-s0",
        "gossip-n10-overlay-my-file.json-s0",
    ]


def test_cells_are_put_in_order_whatever_order_they_came_in() -> None:
    vary = {"exchange.fanout": (1, 2), "train.loss": ("hinge", "lsgan")}
    cells = [p.cell for p in plan(BASE, Grid(nodes=(2, 3), seeds=(0, 1), vary=vary))]
    shuffled = sorted(cells, key=lambda cell: (cell.seed, cell.vary.get("exchange.fanout", 0)))
    assert shuffled != cells
    assert in_order(shuffled, list(vary)) == cells


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        ({"algorithms": ("gosip",)}, "did you mean `gossip`?"),
        ({"seeds": ()}, "at least one value, got none - at grid: seeds"),
        ({"vary": {"exchange.fanout": ()}}, "at --vary exchange.fanout"),
        ({"vary": {"nodes": (1,)}}, "`--nodes` gives its values"),
        ({"vary": {"exchange.fan": (1,)}}, "did you mean `exchange.fanout`?"),
        ({"vary": {"exchange.fanout": (0,)}}, "exchange.fanout"),
        ({"vary": {"exchange.moments": ("go",)}}, "one of `stay`, `reset`, `travel`"),
        ({"vary": {"overlay": ("a:1", "a/1")}}, "two cells named `gossip-n10-overlay-a-1-s0`"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(axes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        names(**{"algorithms": ("gossip",), **axes})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "there",
    [
        Grid(algorithms=("centralised", "gossip"), nodes=(2, 10), seeds=(3, 4)),
        Grid(algorithms=("centralised",), nodes=(1,)),
        Grid(algorithms=("standalone", "gossip"), nodes=(3,), vary={"overlay": ("star", "ring")}),
    ],
)
def test_the_axes_of_what_is_there(there: Grid) -> None:
    cells = tuple(planned.cell for planned in plan(BASE, there))
    assert grid_there(Manifest(vary=tuple(there.vary), cells=cells)) == there


@pytest.mark.parametrize(
    ("key", "values", "told"),
    [
        ("overlay", ("ring", "watts-strogatz:2", 0.1), "text, got `0.1` - at --vary overlay"),
        ("exchange.fanout", (1, 0), "- at --vary exchange.fanout"),
        ("exchange_every", (1, "x"), "a whole number, got `x` - at --vary exchange_every"),
        ("exchange.fan", (1,), "- at --vary exchange.fan"),
        ("seed", (1,), "- at --vary seed"),
        ("overlay", (), "at least one value, got none - at --vary overlay"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(key: str, values: tuple[Any, ...], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        names(vary={key: values})
    assert told in str(caught.value)
    are_torn = 0.1 in values
    assert ("put semicolons between values that hold commas" in str(caught.value)) == are_torn


def test_one_generator_takes_no_last_step_in_a_grid() -> None:
    base = RunConfig(final="agree")
    planned = plan(base, Grid(algorithms=("gossip", "md-gan"), nodes=(4,)))
    assert [cell.config.final for cell in planned] == ["agree", "none"]
    varied = Grid(algorithms=("md-gan",), nodes=(4,), vary={"final": ("none", "agree")})
    assert len(plan(RunConfig(), varied)) == 1


@pytest.mark.parametrize(
    ("name", "key", "matters"),
    [
        ("gossip", "exchange.staleness", True),
        ("push-sum", "exchange.staleness", False),
        ("fl-gan", "exchange.staleness", False),
        ("gosgd", "exchange.probability", True),
        ("ad-psgd", "exchange.probability", True),
        ("fl-gan", "exchange.probability", False),
        ("ad-psgd", "exchange.fanout", False),
        ("push-sum", "exchange.fanout", True),
    ],
)
def test_which_keys_of_an_exchange_matter(name: str, key: str, matters: bool) -> None:
    assert (key not in irrelevant(algorithm(name), BASE)) is matters
