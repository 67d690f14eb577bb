"""Who is asked for help, and what comes of it; one node among others that are played."""

from collections.abc import Collection, Sequence

import pytest

from p2pgan.protocol.core import Core
from p2pgan.protocol.membership.news import News
from p2pgan.protocol.membership.probes import MAX_FAVOURS, MAX_TIMES, Probes
from p2pgan.protocol.membership.settings import MembershipSettings
from p2pgan.protocol.membership.table import Table
from p2pgan.protocol.membership.timing import PRESETS
from p2pgan.protocol.messages import Ask, Member, Ping, Pong, Talk
from tests.protocol.membership.party import Party, complete, names

PEERS = names(6)[1:]


class Desk:
    """The probes of `n000`; what it says is kept, and reaches those who are linked."""

    def __init__(self) -> None:
        self.core: Core = Party(complete(6)).nodes["n000"].core
        self.said: list[tuple[str, Talk]] = []
        self.linked = {*PEERS}
        table = Table(Member(node=node) for node in names(6))
        settings = MembershipSettings(
            members=tuple(table.rows()), timing=PRESETS["local"], order=lambda some: some
        )
        news = News(self.core, settings, self, table)
        self.probes = Probes(self.core, settings, self, table, news)
        for peer in PEERS:
            self.probes.heard(peer)
        self.core.now = 1.0

    def say(self, peer: str, message: Talk) -> bool:
        if peer in self.linked:
            self.said.append((peer, message))
        return peer in self.linked

    def neighbors(self) -> Sequence[str]:
        return PEERS

    def around(self, member: str) -> Collection[str]:
        return {*names(6)} - {member}

    def take(self, kind: type[Talk]) -> list[tuple[str, Talk]]:
        said, self.said = self.said, []
        return [(peer, message) for peer, message in said if isinstance(message, kind)]

    def silent_after(self, seconds: float) -> list[str]:
        self.core.now += seconds
        silent = self.probes.silent()
        self.probes.validate_all()
        return silent


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_who_does_not_answer_is_asked_by_others_and_pinged_again(desk: Desk) -> None:
    desk.probes.probe("n001")
    assert [peer for peer, _ in desk.take(Ping)] == ["n001"]
    assert desk.silent_after(0.5) == []
    said = [(peer, type(message)) for peer, message in desk.said]
    assert said == [("n001", Ping), *[(peer, Ask) for peer in ("n002", "n003", "n004")]]
    assert desk.silent_after(0.75) == ["n001"]
    assert desk.probes.health.score == 1


def test_a_helper_that_got_no_answer_either_says_that_we_hear_well(desk: Desk) -> None:
    desk.probes.probe("n001")
    desk.silent_after(0.5)
    pong = Pong(clock=1, number=1, subject="n001", is_there=False)
    desk.probes.answered("n005", pong)  # nobody has asked it
    desk.probes.answered("n002", pong)
    assert desk.silent_after(0.75) == ["n001"]
    assert desk.probes.health.score == 0


def test_a_helper_that_got_an_answer_ends_the_probe(desk: Desk) -> None:
    desk.probes.probe("n001")
    desk.silent_after(0.5)
    desk.probes.answered("n003", Pong(clock=1, number=1, subject="n001"))
    assert desk.silent_after(5.0) == []


@pytest.mark.parametrize("word", ["answer", "any"])
def test_a_word_of_its_own_ends_the_probe(desk: Desk, word: str) -> None:
    desk.probes.probe("n001")
    desk.core.now += 0.2
    desk.probes.heard("n001")
    if word == "answer":
        desk.probes.answered("n001", Pong(clock=1, number=1))
    assert desk.silent_after(0.3) == []
    assert not any(isinstance(message, Ask) for _, message in desk.said)


def test_an_answer_with_another_number_is_none(desk: Desk) -> None:
    desk.probes.probe("n001")
    desk.probes.answered("n001", Pong(clock=1, number=7))
    desk.probes.answered("n002", Pong(clock=1, number=1))
    assert desk.silent_after(0.5) == []
    assert desk.silent_after(0.75) == ["n001"]


def test_where_no_connection_stands_helpers_are_asked_at_once(desk: Desk) -> None:
    desk.linked.discard("n001")
    desk.probes.rescue("n001")
    assert len(desk.take(Ask)) == 3
    assert desk.silent_after(0.75) == ["n001"]
    desk.linked.clear()
    desk.probes.rescue("n002")
    assert desk.silent_after(0.0) == ["n002"]


def test_late_answers_lengthen_the_wait_up_to_a_bound(desk: Desk) -> None:
    for number in range(1, 12):
        desk.probes.probe("n001")
        desk.silent_after(0.5)
        desk.core.now += 30.0
        desk.probes.heard("n001")
        desk.probes.answered("n001", Pong(clock=1, number=number))
    desk.said.clear()
    desk.probes.probe("n001")
    desk.silent_after(MAX_TIMES * 0.5 - 0.1)
    assert not desk.take(Ask)
    desk.silent_after(0.2)
    assert desk.take(Ask)


def test_a_favour_is_answered_either_way(desk: Desk) -> None:
    for number, is_there in ((5, True), (6, False)):
        desk.probes.favour("n002", Ask(clock=1, number=number, subject="n001"))
        ((peer, ping),) = desk.take(Ping)
        assert peer == "n001"
        assert isinstance(ping, Ping)
        if is_there:
            desk.probes.answered("n001", Pong(clock=1, number=ping.number, is_degraded=True))
        assert desk.silent_after(0.5) == []
        ((asker, pong),) = desk.take(Pong)
        assert asker == "n002"
        assert isinstance(pong, Pong)
        told = (pong.number, pong.subject, pong.is_there, pong.is_degraded)
        assert told == (number, "n001", is_there, is_there)


def test_favours_have_a_bound_and_are_for_neighbors(desk: Desk) -> None:
    desk.probes.favour("n002", Ask(clock=1, number=1, subject="stranger"))
    for number in range(MAX_FAVOURS + 9):
        desk.probes.favour("n002", Ask(clock=1, number=number, subject="n001"))
    assert len(desk.take(Ping)) == MAX_FAVOURS


def test_all_neighbors_have_their_turn(desk: Desk) -> None:
    probed = []
    for _ in range(10):
        desk.probes.turn()
        ((peer, ping),) = desk.take(Ping)
        assert isinstance(ping, Ping)
        desk.probes.answered(peer, Pong(clock=1, number=ping.number))
        probed.append(peer)
    assert sorted(probed[:5]) == sorted(probed[5:]) == PEERS
    desk.probes.soon("n003")
    desk.probes.turn()
    assert desk.take(Ping)[0][0] == "n003"
