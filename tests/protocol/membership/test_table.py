"""Rows join in one way, whatever the order; the digest follows."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from p2pgan.protocol.membership.table import MAX_MEMBERS, Table, joined
from p2pgan.protocol.messages import MAX_DOUBTERS, Member


def rows(node: str = "n") -> st.SearchStrategy[Member]:
    few: Any = st.sampled_from
    return st.builds(
        Member,
        node=st.just(node),
        boot=few(["", "a", "b"]),
        address=few(["", "tcp://x:1", "tcp://y:2"]),
        incarnation=st.integers(0, 2),
        since=st.integers(0, 2),
        state=few(["alive", "suspect", "dead", "left"]),
        by=st.lists(few("pqrstu"), max_size=MAX_DOUBTERS).map(tuple),
    )


def clean(row: Member) -> Member:
    return joined(row, row)


@given(rows(), rows(), rows())
def test_rows_join_in_any_order_and_grouping(a: Member, b: Member, c: Member) -> None:
    """As everybody writes them; so tables that have heard the same are the same."""
    a, b, c = clean(a), clean(b), clean(c)
    assert clean(a) == a
    assert joined(a, b) == joined(b, a)
    assert joined(joined(a, b), c) == joined(a, joined(b, c))
    assert joined(joined(a, b), b) == joined(a, b)


def test_a_higher_incarnation_outbids_any_state() -> None:
    dead = Member(node="n", boot="a", address="tcp://x:1", incarnation=3, state="dead")
    alive = Member(node="n", boot="b", incarnation=4)
    assert joined(dead, alive) == alive


def test_within_an_incarnation_states_only_go_on_and_nothing_known_is_lost() -> None:
    alive = Member(node="n", boot="a", address="tcp://x:1")
    for state in ("suspect", "dead", "left"):
        after = joined(alive, Member(node="n", state=state))
        assert (after.state, after.boot, after.address) == (state, "a", "tcp://x:1")
        assert joined(after, alive) == after


def test_those_who_suspect_are_counted_once_and_the_dead_have_none() -> None:
    def suspect(*by: str) -> Member:
        return Member(node="n", state="suspect", by=by)

    assert joined(suspect("a", "b"), suspect("b")).by == ("a", "b")
    assert joined(suspect("c", "d"), suspect("a", "b")).by == ("a", "b", "c")
    assert joined(suspect("a"), Member(node="n", state="dead")).by == ()


@given(st.lists(st.sampled_from("abc").flatmap(rows)))
def test_the_digest_and_the_counts_follow_every_row(given_rows: list[Member]) -> None:
    table = Table([])
    for row in given_rows:
        table.put(row)
        table.validate_all()
    assert [row.node for row in table.rows()] == sorted({row.node for row in given_rows})
    assert len(table) == len(table.rows()) <= MAX_MEMBERS


def test_tables_that_differ_have_other_digests() -> None:
    one, other = Table([Member(node="a")]), Table([Member(node="a", incarnation=1)])
    assert one.digest != other.digest
    other.put(Member(node="a"))
    assert one.digest == other.digest
