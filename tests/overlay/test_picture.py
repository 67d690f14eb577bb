import struct
import warnings
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from p2pgan.errors import OverlayError
from p2pgan.overlay.files import read, ready
from p2pgan.overlay.generate import generate
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.picture import draw, positions


def family(spec: str, nodes: int) -> Overlay:
    return generate(spec, nodes, np.random.default_rng(0))


def size_of_png(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@pytest.mark.parametrize(
    ("spec", "nodes"),
    [
        ("complete", 1),
        ("complete", 2),
        ("ring", 10),
        ("torus", 9),
        ("watts-strogatz", 50),
        ("barabasi-albert", 60),
        ("grid", 200),
        ("grid", 7),
        ("star", 200),
    ],
)
def test_a_png_of_sensible_size(tmp_path: Path, spec: str, nodes: int) -> None:
    path = tmp_path / "o.png"
    draw(family(spec, nodes), path)
    assert size_of_png(path) == (1050, 1050)
    assert path.stat().st_size > 5_000


def test_an_svg_names_overlay_figures_and_degrees(tmp_path: Path) -> None:
    path = tmp_path / "o.svg"
    draw(family("star", 5), path)
    text = path.read_text()
    assert text.lstrip().startswith("<?xml")
    # Text is drawn as outlines, each after a comment that says it.
    for words in ("star-5", "5 nodes, 4 edges, spectral gap 0.2", "degree", "0", "4"):
        assert f"<!-- {words} -->" in text


def test_the_same_overlay_gives_the_same_picture(tmp_path: Path) -> None:
    overlay = read(ready()["two-clusters-10"])
    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        draw(overlay, tmp_path / name)
    for suffix in (".svg", ".png"):
        one, two = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
        assert one == two


def test_names_of_any_kind_are_drawn_as_they_are(tmp_path: Path) -> None:
    """A dollar sign would begin a formula."""
    draw(Overlay("costs $5 $", nx.Graph([("$a", "$b$")])), tmp_path / "o.png")
    assert size_of_png(tmp_path / "o.png") == (1050, 1050)


def test_pieces_are_drawn_apart() -> None:
    overlay = Overlay("apart", nx.Graph([(0, 1), (1, 2), (3, 4), (5, 6)]))
    where = positions(overlay)
    for one in overlay.components():
        for other in overlay.components():
            if one != other:
                gaps = [
                    np.linalg.norm(where[overlay.nodes.index(a)] - where[overlay.nodes.index(b)])
                    for a in one
                    for b in other
                ]
                assert min(gaps) > 0.3


@pytest.mark.parametrize(
    ("spec", "nodes"),
    [("complete", 2), ("ring", 10), ("star", 12), ("torus", 12), ("random-regular", 30)],
)
def test_no_two_nodes_lie_on_each_other(spec: str, nodes: int) -> None:
    where = positions(family(spec, nodes))
    assert where.shape == (nodes, 2)
    distances = np.linalg.norm(where[:, None] - where[None], axis=-1)
    assert distances[~np.eye(nodes, dtype=bool)].min() > 0.05


def test_a_grid_lies_in_rows() -> None:
    where = positions(family("grid:2,3", 6))
    assert where.tolist() == [[0, 0], [1, 0], [2, 0], [0, -1], [1, -1], [2, -1]]


@pytest.mark.parametrize("said", ["grid", "grid:2,9", "torus:x,y", "torus:0,0"])
def test_a_file_that_lies_about_its_sides_is_drawn_anyhow(said: str) -> None:
    graph = nx.path_graph(6)
    graph.graph["family"] = said
    assert np.isfinite(positions(Overlay("liar", graph))).all()


def test_many_nodes_are_laid_out_quickly() -> None:
    assert np.isfinite(positions(family("random-regular", 300))).all()


def test_positions_do_not_depend_on_edge_attributes() -> None:
    plain = nx.path_graph(4)
    heavy = nx.path_graph(4)
    heavy.edges[0, 1]["weight"] = 1000
    np.testing.assert_array_equal(positions(Overlay("a", plain)), positions(Overlay("b", heavy)))


def test_an_unknown_suffix_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(OverlayError, match=r"`.png`, `.svg`") as caught:
        draw(family("ring", 4), tmp_path / "o.jpeg")
    assert caught.value.at.endswith("o.jpeg")


def test_a_place_that_cannot_be_written_is_an_error_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "o.png").mkdir()
    with pytest.raises(OverlayError, match="in a folder that can be written"):
        draw(family("ring", 4), tmp_path / "o.png")
    assert [path.name for path in tmp_path.iterdir()] == ["o.png"]


def test_drawing_warns_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(family("erdos-renyi:0.05", 20), tmp_path / "o.png")
