"""The reference page says what the schema says."""

from pathlib import Path

import pytest

from p2pgan.record.reference import records_page
from p2pgan.record.schema import KINDS, Envelope

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "records.md"


def test_the_page_is_up_to_date() -> None:
    """If not: `python -m p2pgan.record.reference > docs/reference/records.md`."""
    assert PAGE.read_text(encoding="utf-8") == records_page()


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_row_with_a_meaning(kind: str) -> None:
    section = records_page().split(f"## `{kind}`\n")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) == len(KINDS[kind].__struct_fields__)
    assert {row[0] for row in rows} == {f"| `{name}`" for name in KINDS[kind].__struct_fields__}
    assert all(len(row[2].removesuffix(" |")) > 5 for row in rows)


def test_the_envelope_is_there_too() -> None:
    section = records_page().split("## Every record")[1].split("\n## ")[0]
    assert all(f"| `{name}` |" in section for name in Envelope.__struct_fields__)
