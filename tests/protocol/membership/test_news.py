"""What is told to whom, and when tables go."""

from collections.abc import Collection, Sequence

import pytest

from p2pgan.protocol.membership.news import PARTS_AT_ONCE, SPARE, News
from p2pgan.protocol.membership.settings import MembershipSettings
from p2pgan.protocol.membership.table import Table
from p2pgan.protocol.membership.timing import PRESETS
from p2pgan.protocol.messages import MAX_RUMORS, Member, Rumors, Talk
from tests.protocol.membership.party import Party, complete, names

PEERS = names(9)[1:]


class Desk:
    """The news of `n000`, whose neighbors are all linked with each other."""

    def __init__(self, members: int = 9) -> None:
        self.core = Party(complete(9)).nodes["n000"].core
        self.said: list[tuple[str, Rumors]] = []
        self.linked = {*PEERS}
        self.table = Table(Member(node=node) for node in names(members))
        settings = MembershipSettings(
            members=tuple(self.table.rows()), timing=PRESETS["local"], order=lambda some: some
        )
        self.news = News(self.core, settings, self, self.table)

    def say(self, peer: str, message: Talk) -> bool:
        if peer in self.linked:
            assert isinstance(message, Rumors)
            self.said.append((peer, message))
        return peer in self.linked

    def neighbors(self) -> Sequence[str]:
        return PEERS

    def around(self, member: str) -> Collection[str]:
        return {*names(9)} - {member}

    def flush(self, seconds: float = 0.0) -> list[tuple[str, Rumors]]:
        self.core.now += seconds
        self.news.flush()
        self.news.validate_all()
        said, self.said = self.said, []
        return said


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_our_own_word_goes_to_all_once(desk: Desk) -> None:
    desk.news.tell("n000")
    assert [peer for peer, _ in desk.flush()] == PEERS
    assert desk.flush(1.0) == []


def test_of_those_who_hear_it_from_the_teller_a_few_are_told(desk: Desk) -> None:
    desk.news.tell("n005", "n001")
    assert [peer for peer, _ in desk.flush()] == ["n002", "n003", "n004"][:SPARE]


def test_what_goes_along_with_a_probe_is_not_told_again(desk: Desk) -> None:
    desk.news.tell("n000")
    assert [row.node for row in desk.news.take("n001")] == ["n000"]
    desk.news.knows("n002", "n000")
    assert [peer for peer, _ in desk.flush()] == PEERS[2:]


def test_who_is_doubted_hears_it_with_every_word(desk: Desk) -> None:
    desk.table.put(Member(node="n001", state="suspect", by=("n004",)))
    for _ in range(2):
        assert [row.node for row in desk.news.take("n001")] == ["n001"]
        assert desk.news.take("n002") == ()


def test_tables_go_where_digests_differ_but_not_in_a_row(desk: Desk) -> None:
    desk.news.compare("n001", desk.table.digest)
    assert desk.flush() == []
    desk.news.compare("n001", b"another!")
    (first, second) = desk.flush()
    assert (len(first[1].rows), len(second[1].rows)) == (MAX_RUMORS, 1)
    assert (first[1].wants_table, second[1].wants_table) == (True, False)
    assert first[1].is_table
    for again in (0.5, 0.6):
        desk.core.now += again
        desk.news.compare("n001", b"another!")
        desk.news.wanted("n001")
        assert bool(desk.flush()) == (again == 0.6)


def test_no_table_goes_while_there_is_news(desk: Desk) -> None:
    desk.news.tell("n000")
    desk.news.compare("n001", b"another!")
    assert not any(rumors.is_table for _, rumors in desk.flush())
    desk.core.now += 0.5
    desk.news.compare("n001", b"another!")
    assert desk.flush() == []
    desk.core.now += 0.6
    desk.news.compare("n001", b"another!")
    assert desk.flush()


def test_long_tables_go_a_few_messages_at_a_time() -> None:
    desk = Desk(members=100)
    desk.news.wanted("n001")
    rows = []
    while said := desk.flush(0.1):
        assert len(said) <= PARTS_AT_ONCE
        assert not any(rumors.wants_table for _, rumors in said)
        rows += [row.node for _, rumors in said for row in rumors.rows]
    assert rows == names(100)


def test_nothing_waits_for_who_cannot_be_reached(desk: Desk) -> None:
    desk.linked.discard("n001")
    desk.news.tell("n000")
    assert [peer for peer, _ in desk.flush()] == PEERS[1:]
    desk.linked.add("n001")
    assert desk.flush(1.0) == []
