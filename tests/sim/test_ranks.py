"""What ranks agree on, with threads for ranks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from p2pgan.errors import ConfigError, DataError, P2PGanError
from p2pgan.sim.ranks import Alone, Ranks

RoomOf = Callable[[int], Any]


@pytest.mark.parametrize("wanting", [set[int](), {0}, {2}, {0, 1, 2}])
def test_what_one_wants_is_everybodys(room: RoomOf, wanting: set[int]) -> None:
    """An interrupt that reached one process ends the run of all."""
    assert room(3).run(lambda ranks: ranks.agree(ranks.link.rank in wanting)) == [bool(wanting)] * 3


def test_everybody_does_it_and_keeps_the_own_result(room: RoomOf) -> None:
    assert room(3).run(lambda ranks: ranks.everywhere(lambda: ranks.link.rank)) == [0, 1, 2]


def failing(at: set[int]) -> Callable[[Ranks], Any]:
    def act(ranks: Ranks) -> None:
        if (rank := ranks.link.rank) in at:
            raise DataError(expected="a file", got=f"none, `{rank}`", at="ü.gz", hint="download")

    return lambda ranks: ranks.everywhere(lambda: act(ranks))


def test_a_failure_of_one_is_everybodys_and_says_where(room: RoomOf) -> None:
    """Or the others would wait for it, and the first one could not tell the user."""
    errors = room(3).run(failing({1, 2}))
    assert [str(error) for error in errors] == [
        "expected a file, got none, `1` - at rank 1: ü.gz (hint: download)",
        "expected a file, got none, `1` - at ü.gz (hint: download)",
        "expected a file, got none, `1` - at rank 1: ü.gz (hint: download)",
    ]
    assert all(isinstance(error, P2PGanError) for error in errors)


def test_a_failure_of_all_is_told_by_the_first_as_if_it_were_alone(room: RoomOf) -> None:
    errors = room(2).run(failing({0, 1}))
    assert isinstance(errors[0], DataError)
    assert str(errors[0]) == "expected a file, got none, `0` - at ü.gz (hint: download)"


def test_the_first_ones_text_goes_round(room: RoomOf) -> None:
    def tell(ranks: Ranks) -> str:
        return ranks.from_first(lambda: f"runs/größe-{ranks.link.rank}")

    assert room(3).run(tell) == ["runs/größe-0"] * 3


def test_only_the_first_one_acts_and_its_failure_is_everybodys(room: RoomOf) -> None:
    acted = []

    def tell(ranks: Ranks) -> str:
        def act() -> str:
            acted.append(ranks.link.rank)
            raise DataError(expected="room", got="none", at="disk")

        return ranks.from_first(act)

    errors = room(2).run(tell)
    assert acted == [0]
    assert [type(error) for error in errors] == [DataError, P2PGanError]


def test_ranks_with_other_settings_are_refused_by_all(room: RoomOf) -> None:
    """They would average networks of different runs, or wait for each other for ever."""
    errors = room(3).run(lambda ranks: ranks.check_same("b" if ranks.link.rank == 2 else "a"))
    assert all(isinstance(error, ConfigError) for error in errors)
    assert {error.got for error in errors} == {"others than the first rank's at 2"}
    assert room(3).run(lambda ranks: ranks.check_same("a")) == [None] * 3


def test_alone_one_agrees_with_oneself() -> None:
    ranks = Ranks(Alone())
    assert ranks.is_first
    assert ranks.is_alone
    assert ranks.agree(True)
    assert not ranks.agree(False)
    assert ranks.from_first(lambda: "") == ""
    assert ranks.from_first(lambda: "x" * 5000) == "x" * 5000
    ranks.check_same("anything")
    with pytest.raises(DataError, match="at disk"):
        ranks.everywhere(lambda: (_ for _ in ()).throw(DataError(expected="", got="", at="disk")))


def test_the_link_to_nobody_adds_nothing() -> None:
    values = torch.tensor([1.0, float("nan")], dtype=torch.float64)
    assert Alone().add(values) is values
    assert Alone().swap({}, {}) == []
