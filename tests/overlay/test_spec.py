import pytest

from p2pgan.errors import OverlayError
from p2pgan.overlay.spec import Spec


def test_a_specification_falls_into_family_and_values() -> None:
    spec = Spec(" grid : 3 , 4", 12)
    assert spec.family == "grid"
    assert spec.arguments == ("3", "4")
    assert Spec("ring", 3).arguments == ()


def test_values_that_are_not_given_are_none() -> None:
    assert Spec("x", 3).whole(0, "A", least=1, most=9) is None
    assert Spec("x:1", 3).probability(1, "P") is None


def test_values_are_read_by_position() -> None:
    spec = Spec("x:4,0.25", 3)
    assert spec.whole(0, "A", least=1, most=4) == 4
    assert spec.probability(1, "P") == 0.25


@pytest.mark.parametrize("text", ["0", "5", "-1", "2.0", "", "1_0", "٣", "x", "9" * 5000])
def test_a_whole_number_outside_names_the_range(text: str) -> None:
    with pytest.raises(OverlayError, match="A, a whole number from 1 to 4") as caught:
        Spec(f"x:{text}", 7).whole(0, "A", least=1, most=4)
    assert caught.value.got == f"`{text}`"
    assert caught.value.at == f"overlay `x:{text}` of 7 nodes"


def test_a_range_for_too_few_nodes_says_so() -> None:
    with pytest.raises(OverlayError, match="of at least 2, which so few nodes do not allow"):
        Spec("x:2", 2).whole(0, "K", least=2, most=1)
    with pytest.raises(OverlayError, match=r"equal to 1, .*at overlay `x:2` of 1 node$"):
        Spec("x:2", 1).whole(0, "K", least=1, most=1)


@pytest.mark.parametrize("text", ["-0.1", "1.01", "nan", "inf", "", "half"])
def test_a_probability_outside_is_refused(text: str) -> None:
    with pytest.raises(OverlayError, match="P, a number from 0 to 1"):
        Spec(f"x:{text}", 7).probability(0, "P")


def test_more_values_than_parameters_are_refused() -> None:
    Spec("grid:1,2", 2).check_count(("ROWS", "COLS"))
    with pytest.raises(OverlayError, match="expected `grid:ROWS,COLS`, got `grid:1,2,3`"):
        Spec("grid:1,2,3", 2).check_count(("ROWS", "COLS"))
    with pytest.raises(OverlayError, match="expected ring alone, got `ring:3`"):
        Spec("ring:3", 2).check_count(())
