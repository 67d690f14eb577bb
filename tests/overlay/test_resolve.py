from pathlib import Path

import numpy as np
import pytest

from p2pgan.errors import OverlayError
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.resolve import resolve


def resolved(
    spec: str, nodes: int | None = None, *, pieces: bool = False, seed: int = 0
) -> Overlay:
    return resolve(spec, nodes, np.random.default_rng(seed), allow_disconnected=pieces)


@pytest.mark.parametrize(
    ("spec", "nodes", "count"),
    [
        ("ring", None, 10),
        ("ring", 7, 7),
        ("grid:3,5", None, 15),
        ("watts-strogatz:4,0.1", 20, 20),
        ("small-world-50", None, 50),
        ("small-world", 12, 12),
        ("complete-5", 3, 3),
        ("complete", 1, 1),
    ],
)
def test_families_and_ready_files_by_name(spec: str, nodes: int | None, count: int) -> None:
    assert len(resolved(spec, nodes).nodes) == count


def test_a_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.edges"
    path.write_text("a b\nb c\nc d\n")
    assert resolved(str(path)).nodes == ("a", "b", "c", "d")
    assert resolved(str(path), 2).nodes == ("a", "b")


def test_a_file_in_this_folder_needs_no_slash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.edges").write_text("a b\n")
    assert resolved("mine.edges").nodes == ("a", "b")


def test_too_few_nodes_in_a_file_are_an_error() -> None:
    with pytest.raises(OverlayError, match="at least 6 nodes, got 5 nodes") as caught:
        resolved("complete-5", 6)
    assert caught.value.at == "overlay `complete-5`"


@pytest.mark.parametrize(
    ("spec", "near"),
    [
        ("rign", "ring"),
        ("smal-world-50", "small-world-50"),
        ("erdos-reny:0.3", "erdos-renyi"),
        ("two-host-2", "two-hosts-2"),
    ],
)
def test_an_unknown_name_gets_the_nearest(spec: str, near: str) -> None:
    with pytest.raises(OverlayError, match=f"did you mean `{near}`"):
        resolved(spec)


def test_a_missing_file_is_no_unknown_name() -> None:
    with pytest.raises(OverlayError, match=r"No such file.*at nowhere/o.json"):
        resolved("nowhere/o.json")


def test_pieces_must_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "apart.edges"
    path.write_text("a b\nc d\n")
    with pytest.raises(OverlayError, match="2 components: `a`, `b`; `c`, `d`"):
        resolved(str(path))
    assert len(resolved(str(path), pieces=True).components()) == 2


def test_the_first_nodes_of_a_file_must_be_connected_themselves(tmp_path: Path) -> None:
    path = tmp_path / "bridge.edges"
    path.write_text("# p2pgan nodes: a b c\na c\nc b\n")
    resolved(str(path))
    with pytest.raises(OverlayError, match="2 components: `a`; `b`"):
        resolved(str(path), 2)


def test_a_disconnected_draw_names_the_way_out() -> None:
    with pytest.raises(OverlayError, match=r"another seed.*--allow-disconnected"):
        resolved("erdos-renyi:0.01", 20)


def test_the_generator_decides_a_random_family() -> None:
    one, two, three = (resolved("random-regular", 20, seed=seed) for seed in (1, 1, 2))
    assert one.neighbor_indices() == two.neighbor_indices() != three.neighbor_indices()


def test_values_that_do_not_fit_name_the_option() -> None:
    """As where a recipe has chosen them."""
    with pytest.raises(OverlayError, match="from 2 to 3, got `4`") as caught:
        resolved("watts-strogatz:4,0.2", 4)
    assert "`--overlay`" in caught.value.hint
