"""The table of a peer's life, and its picture in the documentation."""

from pathlib import Path

from p2pgan.protocol.phases import TRANSITIONS, Cause, Phase, diagram

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "protocol.md"


def test_every_phase_has_a_row() -> None:
    assert set(TRANSITIONS) == set(Phase)


def test_every_phase_is_reached_and_the_end_is_reached_from_everywhere() -> None:
    reached = {Phase.IDLE} | {end for exits in TRANSITIONS.values() for end in exits.values()}
    assert reached == set(Phase)
    for start in Phase:
        seen, todo = {start}, [start]
        while todo:
            new = set(TRANSITIONS[todo.pop()].values()) - seen
            seen |= new
            todo += new
        assert Phase.CLOSED in seen


def test_the_end_is_the_end_and_can_be_forced_from_everywhere_else() -> None:
    assert not TRANSITIONS[Phase.CLOSED]
    for phase in set(Phase) - {Phase.CLOSED}:
        assert TRANSITIONS[phase][Cause.ABORTED] is Phase.CLOSED


def test_every_cause_is_used() -> None:
    assert {cause for exits in TRANSITIONS.values() for cause in exits} == set(Cause)


def test_the_page_shows_the_table() -> None:
    """Regenerate the picture with `p2pgan.protocol.phases.diagram()`."""
    assert f"```mermaid\n{diagram()}\n```" in PAGE.read_text(encoding="utf-8")
