"""Names and numbers as shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.inspect.text import bytes_text, count_text, natural, number_text, printable


def test_numbers_in_names_are_numbers() -> None:
    names = ["n10", "n2", "n1", "server", "", "n1a", "7", "n2-3", "n2-11", "n²"]
    assert sorted(names, key=natural) == [
        "", "7", "n1", "n1a", "n2", "n2-3", "n2-11", "n10", "n²", "server",
    ]  # fmt: skip


@given(names=st.lists(st.text()))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    assert sorted(sorted(names, key=natural)) == sorted(names)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (10**6, "1.0 MB"), (4 * 10**12, "4000.0 GB")],
)
def test_sizes(size: int, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (math.nan, "-"), (math.inf, "-"), (-math.inf, "-"), (3, "3"), (1 / 3, "0.3333")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number_text(value) == text


@given(text=st.text(st.characters()))
def test_nothing_reaches_the_terminal_that_it_would_obey(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


def test_what_can_be_printed_is_left_alone() -> None:
    assert printable("Knöten 2 → 3") == "Knöten 2 → 3"
    assert printable("\x1b[31mred\n") == "\\x1b[31mred\\n"


def test_counts_agree_with_their_nouns() -> None:
    assert [count_text(n, "node") for n in (0, 1, 2)] == ["0 nodes", "1 node", "2 nodes"]
