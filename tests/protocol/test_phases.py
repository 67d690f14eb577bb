"""The tables of lives, and their pictures in the documentation."""

from pathlib import Path

import pytest

from p2pgan.protocol.phases import TABLES, Cause, Phase, Table, diagram

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "protocol.md"

every_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())


def test_every_phase_and_every_cause_is_used() -> None:
    assert {phase for table in TABLES.values() for phase in table} == set(Phase)
    assert {cause for t in TABLES.values() for row in t.values() for cause in row} == set(Cause)


@every_table
def test_every_phase_is_reached_and_the_end_is_reached_from_everywhere(table: Table) -> None:
    reached = {Phase.IDLE} | {end for exits in table.values() for end in exits.values()}
    assert reached == set(table)
    for start in table:
        seen, todo = {start}, [start]
        while todo:
            new = set(table[todo.pop()].values()) - seen
            seen |= new
            todo += new
        assert Phase.CLOSED in seen


@every_table
def test_the_end_is_the_end_and_can_be_forced_from_everywhere_else(table: Table) -> None:
    assert not table[Phase.CLOSED]
    for phase in set(table) - {Phase.CLOSED}:
        assert table[phase][Cause.ABORTED] is Phase.CLOSED


@every_table
def test_the_page_shows_the_table(table: Table) -> None:
    """Regenerate the picture with `p2pgan.protocol.phases.diagram(table)`."""
    assert f"```mermaid\n{diagram(table)}\n```" in PAGE.read_text(encoding="utf-8")
