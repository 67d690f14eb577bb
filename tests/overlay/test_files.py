import contextlib
import json
import os
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pgan.errors import OverlayError
from p2pgan.overlay import files
from p2pgan.overlay.files import FORMATS, from_node_link, read, ready, render, to_node_link, write
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.parts import assemble

NAMES = st.from_regex(r"[a-z][a-z_]{2,9}", fullmatch=True).filter(
    # What one of the formats keeps for itself; tests of that format cover it.
    lambda name: (
        name
        not in {"start", "end", "pid", "viz", "parents", "spells", "slices", "type", "key", "label"}
        | {"weight", "source", "target", "address", "name", "description"}
    )
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r", exclude_categories=["C"]))
VALUES = {
    int: st.integers(-(2**60), 2**60),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    str: TEXT,
}
IDS = st.from_regex(r"[A-Za-z0-9_ÄßΩ][A-Za-z0-9_.:@+-]{0,8}", fullmatch=True)


@st.composite
def attributes_of(draw: st.DrawFn, kinds: dict[str, type]) -> dict[str, Any]:
    chosen = draw(st.sets(st.sampled_from(sorted(kinds)))) if kinds else set()
    return {name: draw(VALUES[kinds[name]]) for name in sorted(chosen)}


@st.composite
def overlays(draw: st.DrawFn) -> Overlay:
    """Any graph, any node order, with addresses and attributes, one type for each name."""
    kind = st.sampled_from([int, float, bool, str])
    of_nodes, of_edges = (draw(st.dictionaries(NAMES, kind, max_size=3)) for _ in range(2))
    nodes = draw(st.lists(IDS, min_size=1, max_size=6, unique=True))
    graph = nx.Graph()
    for index, node in enumerate(nodes):
        graph.add_nodes_from([(node, draw(attributes_of(of_nodes)))])
        if draw(st.booleans()):
            graph.nodes[node]["address"] = f"tcp://10.0.0.{index}:5550"
    for index, node in enumerate(nodes):
        for peer in nodes[:index]:
            if draw(st.booleans()):
                graph.add_edges_from([(node, peer, draw(attributes_of(of_edges)))])
    graph.graph["description"] = draw(TEXT.filter(bool))
    return Overlay(draw(IDS), graph)


def said(overlay: Overlay) -> tuple[Any, ...]:
    """All that an overlay says, types and node order included."""
    graph = overlay.graph
    edges = {frozenset(edge): repr(sorted(data.items())) for *edge, data in graph.edges(data=True)}
    nodes = [(node, repr(sorted(data.items()))) for node, data in graph.nodes(data=True)]
    return overlay.name, overlay.description, nodes, edges


@pytest.mark.parametrize("format", [name for name, form in FORMATS.items() if form.parse])
@settings(deadline=None)
@given(overlay=overlays())
def test_every_format_gives_back_what_it_was_given(format: str, overlay: Overlay) -> None:
    form = FORMATS[format]
    assert form.parse is not None
    graph = assemble(form.parse(render(overlay, format), "file"), "file")
    assert said(Overlay(graph.graph["name"], graph)) == said(overlay)


@settings(deadline=None)
@given(overlays())
def test_node_link_dictionaries_round_trip_through_json(overlay: Overlay) -> None:
    assert said(from_node_link(json.loads(json.dumps(to_node_link(overlay))))) == said(overlay)


@pytest.mark.parametrize("format", [name for name, form in FORMATS.items() if form.parse])
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(format: str, data: st.DataObject) -> None:
    """Nothing but an `OverlayError` may come of a file, whatever is in it."""
    parse = FORMATS[format].parse
    assert parse is not None
    whole = render(read(ready()["two-hosts-2"]), format)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 12)))
    damaged = whole[:start] + data.draw(st.binary(max_size=6)) + whole[end:]
    with contextlib.suppress(OverlayError):
        assemble(parse(damaged, "file"), "file")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "b", "id"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["nodes", "edges", "graph", "id", "source", "target", "address"]), inner
        )
    ),
)


@settings(deadline=None)
@given(tables=JSON | st.fixed_dictionaries({"nodes": st.lists(JSON), "edges": st.lists(JSON)}))
def test_any_json_is_an_overlay_or_refused(tables: object) -> None:
    with contextlib.suppress(OverlayError):
        from_node_link(tables)


@pytest.mark.parametrize("suffix", [s for f in FORMATS.values() if f.parse for s in f.suffixes])
def test_the_suffix_decides_the_format(tmp_path: Path, suffix: str) -> None:
    overlay = read(ready()["two-clusters-10"])
    path = tmp_path / f"clusters{suffix.upper()}"
    write(overlay, path)
    assert said(read(path)) == said(overlay)
    assert os.listdir(tmp_path) == [path.name]


def test_a_format_may_be_named(tmp_path: Path) -> None:
    overlay = read(ready()["ring-10"])
    write(overlay, tmp_path / "ring.txt", "json")
    assert json.loads((tmp_path / "ring.txt").read_text()) == to_node_link(overlay)


def test_a_file_without_a_name_is_called_by_its_stem(tmp_path: Path) -> None:
    (tmp_path / "street.edges").write_text("0 1\n1 2\n")
    overlay = read(str(tmp_path / "street.edges"))
    assert overlay.name == "street"
    assert overlay.neighbors("1") == ("0", "2")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    with pytest.raises(OverlayError, match="a readable overlay file, got No such file") as caught:
        read(path)
    assert caught.value.at == str(path)


def test_a_folder_is_no_overlay(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    with pytest.raises(OverlayError, match="Is a directory"):
        read(tmp_path / "x.json")


def test_errors_name_file_and_place(tmp_path: Path) -> None:
    path = tmp_path / "ring.json"
    path.write_text('{"nodes": [{"id": 0}, {"id": 1}], "edges": [{"source": 0, "target": 2}]}')
    with pytest.raises(OverlayError) as caught:
        read(path)
    assert caught.value.at == f"{path}: $.edges[0]"
    assert caught.value.got == "`2`"


@pytest.mark.parametrize("name", ["ring.jsn", "ring", "ring.yaml"])
def test_an_unknown_suffix_lists_the_known(tmp_path: Path, name: str) -> None:
    overlay = read(ready()["pair-2"])
    for use in (lambda path: read(path), lambda path: write(overlay, path)):
        with pytest.raises(OverlayError, match=r"`.graphml`") as caught:
            use(tmp_path / name)
        assert caught.value.at == str(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(OverlayError, match="did you mean `graphml`"):
        write(read(ready()["pair-2"]), tmp_path / "x.json", "graphxml")


def test_dot_is_only_written(tmp_path: Path) -> None:
    path = tmp_path / "ring.dot"
    write(read(ready()["ring-10"]), path)
    assert path.read_text().startswith('graph "ring-10" {')
    with pytest.raises(OverlayError, match=r"`.dot`, which is only written"):
        read(path)


def test_a_file_too_large_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FILE_BYTES_MAX", 10)
    path = tmp_path / "big.json"
    path.write_bytes(b"x" * 11)
    with pytest.raises(OverlayError, match="at most 10 bytes, got 11 bytes"):
        read(path)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "o.graphml"
    path.write_text("old")
    overlay = Overlay("o", nx.Graph([("a", "b", {"pos": [1, 2]})]))
    with pytest.raises(OverlayError, match="`pos`"):
        write(overlay, path)
    assert path.read_text() == "old"


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "o.json"
    write(read(ready()["pair-2"]), path)
    assert read(path).nodes == read(ready()["pair-2"]).nodes


def test_a_target_that_is_a_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "o.json").mkdir()
    with pytest.raises(OverlayError, match="can be written, got Is a directory"):
        write(read(ready()["pair-2"]), tmp_path / "o.json")
    assert os.listdir(tmp_path) == ["o.json"]


def test_an_installed_package_has_its_ready_files_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder beside it would be anybody's."""
    for folder in ("p2pgan/overlay", "p2pgan/topologies", "topologies"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "topologies" / "foreign.json").touch()
    inside = tmp_path / "p2pgan" / "topologies" / "mine.json"
    inside.touch()
    monkeypatch.setattr(files, "__file__", str(tmp_path / "p2pgan" / "overlay" / "files.py"))
    assert ready() == {"mine": inside}


def test_the_guide_shows_a_file_that_works() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "overlays.md"
    example = guide.read_text(encoding="utf-8").split("```json")[1].split("```")[0]
    overlay = from_node_link(json.loads(example))
    assert overlay.address("cellar") == "tcp://192.168.1.21:5550"


def test_there_are_at_least_ten_ready_files() -> None:
    assert len(ready()) >= 10


@pytest.mark.parametrize("name", sorted(ready()))
def test_ready_files_are_connected_named_and_described(name: str) -> None:
    overlay = read(ready()[name])
    overlay.check_connected()
    assert overlay.name == name
    assert name.endswith(f"-{len(overlay.nodes)}")
    assert overlay.description.endswith(".")


def test_two_hosts_have_addresses() -> None:
    overlay = read(ready()["two-hosts-2"])
    assert [overlay.address(node) for node in overlay.nodes] == [
        "tcp://127.0.0.1:5550",
        "tcp://127.0.0.1:5551",
    ]


def test_two_clusters_know_their_links() -> None:
    graph = read(ready()["two-clusters-10"]).graph
    assert graph.edges["a0", "b0"] == {"latency_ms": 40.0, "bandwidth_mbps": 50}


@pytest.mark.parametrize(
    ("spec", "is_file"),
    [("x.json", True), ("a/b", True), ("x.GEXF", True), ("ring", False), ("small-world-99", False)],
)
def test_paths_are_told_from_names(spec: str, is_file: bool) -> None:
    assert files.is_overlay_file(spec) == is_file
