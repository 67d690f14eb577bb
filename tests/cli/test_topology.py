import json
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest
from typer.testing import CliRunner

from p2pgan.cli.topology import app
from p2pgan.errors import OverlayError


class Result(Protocol):
    """What the runner gives, whichever library it comes from."""

    @property
    def exit_code(self) -> int: ...
    @property
    def exception(self) -> BaseException | None: ...
    @property
    def output(self) -> str: ...
    @property
    def stdout(self) -> str: ...


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def done(*words: str | Path) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*words: str | Path) -> OverlayError:
    result = run(*words)
    assert isinstance(result.exception, OverlayError), result.output
    return result.exception


def test_new_writes_a_file_that_says_how_it_was_made(tmp_path: Path) -> None:
    out = tmp_path / "o.json"
    said = done("new", "watts-strogatz:4,0.1", "--nodes", "20", "--seed", "7", "--out", out)
    assert said == f"{out}: watts-strogatz-20, 20 nodes, 40 edges\n"
    tables = json.loads(out.read_text())
    assert len(tables["nodes"]) == 20
    assert tables["graph"]["family"] == "watts-strogatz:4,0.1"


def test_new_follows_the_seed() -> None:
    one, two, three = (done("new", "random-regular", "--seed", seed) for seed in "112")
    assert one == two != three


def test_new_without_a_file_prints_the_overlay() -> None:
    assert len(json.loads(done("new", "ring", "-n", "4"))["edges"]) == 4
    assert done("new", "ring", "-n", "3", "--format", "edges").endswith("0 1\n0 2\n1 2\n")


def test_new_numbers_addresses(tmp_path: Path) -> None:
    out = tmp_path / "o.graphml"
    done("new", "ring", "-n", "3", "--out", out, "--address-base", "tcp://127.0.0.1:5550")
    nodes = json.loads(done("show", out, "--json"))["nodes"]
    assert [node["address"] for node in nodes] == [f"tcp://127.0.0.1:555{i}" for i in range(3)]
    error = refused("new", "ring", "--address-base", "127.0.0.1:5550")
    assert (error.got, error.at) == ("`127.0.0.1:5550`", "--address-base")


def test_new_puts_a_coordinator_into_the_middle(tmp_path: Path) -> None:
    """The file that daemons of fl-gan and md-gan need: everybody has an address."""
    out = tmp_path / "hub.json"
    done("new", "ring", "-n", "3", "--hub", "--out", out, "--address-base", "tcp://127.0.0.1:5550")
    tables = json.loads(done("show", out, "--json"))
    assert [node["id"] for node in tables["nodes"]] == ["coordinator", "0", "1", "2"]
    assert tables["nodes"][0]["address"] == "tcp://127.0.0.1:5550"
    assert {frozenset((e["source"], e["target"])) for e in tables["edges"]} == {
        frozenset(("coordinator", node)) for node in "012"
    }


@pytest.mark.parametrize(
    "words", [("new", "ring", "--out"), ("draw", "ring", "--out"), ("convert", "ring-10")]
)
def test_nothing_is_overwritten_unless_forced(tmp_path: Path, words: tuple[str, ...]) -> None:
    out = tmp_path / ("o.png" if words[0] == "draw" else "o.json")
    out.write_text("mine")
    error = refused(*words, out)
    assert (error.at, error.hint) == (str(out), "pass `--force` to replace it")
    assert out.read_text() == "mine"
    done(*words, out, "--force")
    assert out.read_bytes() != b"mine"


def test_new_in_pieces_must_be_asked_for() -> None:
    words = ("new", "erdos-renyi:0", "-n", "3")
    assert "3 components" in refused(*words).got
    assert json.loads(done(*words, "--allow-disconnected"))["edges"] == []


def test_new_without_a_specification_is_a_wrong_use() -> None:
    result = run("new")
    assert result.exit_code == 2
    assert "SPEC" in result.output


@pytest.mark.parametrize("words", [("new", "ring", "-n", "0"), ("new", "ring", "-n", "x"), ("x",)])
def test_wrong_use_exits_with_2(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_list_shows_families_and_ready_files() -> None:
    text = done("new", "--list")
    for word in ("watts-strogatz:K,P or small-world", "barabasi-albert:M", "two-hosts-2"):
        assert word in text
    tables = json.loads(done("new", "--list", "--json"))
    assert {
        "usage": "ring",
        "aliases": [],
        "description": "Each node has the two neighbors beside it.",
    }
    assert "ring" in [family["usage"] for family in tables["families"]]
    assert tables["files"]["torus-36"].startswith("Six by six")


def test_show_lists_neighbors_and_addresses() -> None:
    text = done("show", "two-hosts-2")
    assert text.startswith("two-hosts-2: 2 nodes, 1 edge\nTwo daemons")
    row = next(line.split() for line in text.splitlines() if line.strip().startswith("alice"))
    assert row == ["alice", "1", "bob", "tcp://127.0.0.1:5550"]


def test_show_gives_one_json_document() -> None:
    tables = json.loads(done("show", "star", "--nodes", "4", "--json"))
    assert [edge["target"] for edge in tables["edges"]] == ["1", "2", "3"]


def test_show_names_nothing_by_markup(tmp_path: Path) -> None:
    path = tmp_path / "o.edges"
    path.write_text("[red]a b\n")
    assert "[red]a" in done("show", path)


def test_stats_are_readable_and_json() -> None:
    text = done("stats", "ring", "--nodes", "8")
    rows = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
    assert rows["degree_mean"] == "2"
    assert rows["connected"] == "yes"
    assert rows["diameter"] == "4"
    measured = json.loads(done("stats", "ring", "--nodes", "8", "--json"))
    assert measured["diameter"] == 4
    assert measured["spectral_gap"] == pytest.approx(0.19526, abs=1e-5)


def test_stats_of_pieces_are_shown(tmp_path: Path) -> None:
    """Whoever is told that an overlay is disconnected wants to look at it."""
    path = tmp_path / "o.edges"
    path.write_text("a b\nc d\n")
    measured = json.loads(done("stats", path, "--json"))
    assert (measured["components"], measured["diameter"]) == (2, None)
    assert "diameter" in done("stats", path)


def test_draw_writes_a_picture(tmp_path: Path) -> None:
    out = tmp_path / "torus.png"
    told = json.loads(done("draw", "torus-36", "--out", out, "--json"))
    assert told == {"path": str(out), "name": "torus-36", "nodes": 36, "edges": 72}
    assert out.read_bytes().startswith(b"\x89PNG")


def test_convert_there_and_back(tmp_path: Path) -> None:
    steps = [tmp_path / f"o.{suffix}" for suffix in ("graphml", "gexf", "edges", "json")]
    source: str | Path = "two-clusters-10"
    for step in steps:
        done("convert", source, step)
        source = step
    first, last = (json.loads(done("show", o, "--json")) for o in ("two-clusters-10", steps[-1]))
    assert first["graph"] == last["graph"]
    assert first["nodes"] == last["nodes"]
    assert first["edges"] == last["edges"]


def test_convert_takes_a_format(tmp_path: Path) -> None:
    done("convert", "ring-10", tmp_path / "ring", "--format", "dot")
    assert (tmp_path / "ring").read_text().startswith('graph "ring-10"')


@pytest.mark.parametrize("command", ["show", "stats"])
def test_an_unknown_overlay_gets_the_nearest(command: str) -> None:
    assert refused(command, "torus-63").hint == "did you mean `torus-36`?"


@pytest.mark.parametrize("command", ["new", "show", "stats", "draw", "convert"])
def test_every_command_has_an_example(command: str) -> None:
    assert f"Example: p2pgan topology {command} " in done(command, "--help")


def test_no_command_shows_the_help() -> None:
    assert "convert" in run().output


def test_the_module_loads_nothing_heavy() -> None:
    """`p2pgan --help` must not wait for libraries that it does not use."""
    heavy = "{'networkx', 'matplotlib', 'numpy', 'torch', 'scipy'}"
    code = f"import sys, p2pgan.cli.topology; print({heavy} & set(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout == "set()\n"
