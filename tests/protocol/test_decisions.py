"""Whoever is asked twice answers the same."""

from p2pgan.protocol.decisions import Decisions
from p2pgan.protocol.windows import REPEATED

LIFE = "B.01234567."


def test_nothing_is_decided_at_first() -> None:
    assert Decisions().of("B", LIFE, 1) is None


def test_the_latest_answers_are_given_again() -> None:
    decisions = Decisions()
    decisions.decide("B", LIFE, 3, "busy")
    decisions.decide("B", LIFE, 5, "")
    assert decisions.of("B", LIFE, 3) == "busy"
    assert decisions.of("B", LIFE, 5) == ""
    assert decisions.of("B", LIFE, 4) == REPEATED
    assert decisions.of("B", LIFE, 6) is None
    assert decisions.of("C", LIFE, 5) is None


def test_what_was_accepted_stays_so_when_a_later_one_is_refused() -> None:
    decisions = Decisions()
    decisions.decide("B", LIFE, 3, "")
    decisions.decide("B", LIFE, 7, "digest")
    assert decisions.of("B", LIFE, 3) == ""
    assert decisions.of("B", LIFE, 7) == "digest"


def test_a_new_life_begins_anew() -> None:
    decisions = Decisions()
    decisions.decide("B", LIFE, 3, "")
    assert decisions.of("B", "B.other.", 3) is None
    decisions.decide("B", "B.other.", 1, "busy")
    assert decisions.of("B", "B.other.", 1) == "busy"
    assert decisions.of("B", LIFE, 3) is None
