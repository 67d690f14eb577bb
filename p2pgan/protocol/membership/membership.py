"""Who is a member of the run, and who of them is there: SWIM with Lifeguard, along the overlay.

Theory of operation. Every node has a table with a row for each member. A neighbor that answers no
probe, neither to us nor to helpers, becomes a suspect; news of it goes round, to itself as well. A
member that hears of itself what is not so outbids it: it raises its incarnation, which nobody else
may, and that goes round in turn. A suspect that does not do so in time is dead.

    alive --silent--> suspect --not refuted in time--> dead
    alive, suspect --says that it goes--> left
    suspect, dead, left --a higher incarnation of its own--> alive

Nobody talks to strangers: probes and news go along the overlay's links only. Whatever is lost on
the way is repaired by comparing digests (`news`).

Deviations from memberlist: probes along links instead of to anybody; news goes to all neighbors
once instead of to some several times; who suspects is told by name, so that confirmations count
whichever way they come. Sources: Das, Gupta, Motivala 2002 (SWIM); Dadgar, Phillips, Currey 2018
(Lifeguard); hashicorp/memberlist.
"""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from p2pgan.protocol.core import Core
from p2pgan.protocol.membership.news import RUMOR_TIMER, News
from p2pgan.protocol.membership.probes import ANSWER_TIMER, PROBE_TIMER, Probes
from p2pgan.protocol.membership.settings import MembershipSettings
from p2pgan.protocol.membership.suspicion import SUSPICION_TIMER, Suspicions
from p2pgan.protocol.membership.table import MAX_MEMBERS, Change, Table, joined
from p2pgan.protocol.membership.voice import Voice
from p2pgan.protocol.messages import MAX_COUNT, Ask, Member, Ping, Pong, Rumors, Talk

TIMERS: Final = frozenset({PROBE_TIMER, ANSWER_TIMER, SUSPICION_TIMER, RUMOR_TIMER})
"""Names of all timers of the membership."""

MAX_JUMP: Final = 2**32
"""How far a row may raise an incarnation; what is above counts as that much. Honest ones go up by
one; a hostile peer would need 2^30 messages to use up those of a member, who could then refute
nothing any more."""

MAX_PLACES: Final = 4096
"""How far behind the last that came a newcomer may be: as many may come at once, and nobody can use
the places up."""

MAX_HERD: Final = 16
"""Neighbors of a suspect up to which each of them probes it out of turn, to confirm or refute; of
more, enough probe it in their turn."""


class Membership:
    """The table, and how it is kept.

    Invariants: our own row is what we say of ourselves; every suspect has a time after which it is
    dead; those of the parts.
    """

    __slots__ = ("_changes", "_core", "_degraded", "_greeting", "_is_degraded", "_is_leaving",
                 "_is_running", "_news", "_probes", "_settings", "_suspicions", "_table",
                 "_touched", "_voice", "refused")  # fmt: skip

    def __init__(self, core: Core, settings: MembershipSettings, voice: Voice) -> None:
        self._core = core
        self._settings = settings
        self._voice = voice
        self._table = Table(settings.members)
        self._news = News(core, settings, voice, self._table)
        self._probes = Probes(core, settings, voice, self._table, self._news)
        self._suspicions = Suspicions(core, settings.timing)
        self._changes: list[Change] = []
        self._degraded: set[str] = set()
        self._is_degraded = False
        self._is_running = False
        self._is_leaving = False
        self._greeting: dict[str, None] = {}
        """Whom we have just met, and probe with the next news: digests tell what each has missed.
        """
        self._touched: set[str] = set()
        """Members whose rows have changed since they were last validated."""
        self.refused = 0
        """Rows of strangers that were not let in, and what they said."""
        assert self._table.row(core.us.node) is not None, "we are no member"

    # -- what others see ---------------------------------------------------------------------------

    @property
    def own(self) -> Member:
        """What we say of ourselves."""
        return self._known(self._core.us.node)

    def row(self, node: str) -> Member | None:
        """What is known of a member; `None`: it is none."""
        return self._table.row(node)

    def rows(self) -> Sequence[Member]:
        """All members in order of their ids."""
        return self._table.rows()

    @property
    def degraded(self) -> frozenset[str]:
        """Neighbors that answer and do not get on."""
        return frozenset(self._degraded)

    @property
    def health(self) -> int:
        """Lifeguard's score of our own senses, from 0, the best, to 8."""
        return self._probes.health.score

    @property
    def suspects(self) -> int:
        """Number of members that are suspected."""
        return self._table.count("suspect")

    @property
    def dead(self) -> int:
        """Number of members that are taken for dead."""
        return self._table.count("dead")

    def take_changes(self) -> list[Change]:
        """Members whose state, boot or address have changed since the last call, in order."""
        taken, self._changes = self._changes, []
        return taken

    # -- what the machine tells --------------------------------------------------------------------

    def start(self, address: str) -> None:
        """We are up, and others reach us there."""
        self._is_running = True
        self._probes.begin()
        for row in self._table.rows():
            if row.state == "suspect":
                self._suspicions.begin(row.node)
                self._weigh(row, is_heard=False)
        self._put(replace(self.own, boot=self._core.us.boot, address=address, state="alive", by=()))

    def fired(self, name: str) -> None:
        """One of our timers is over."""
        if not self._is_running:
            return
        if name == PROBE_TIMER:
            self._probes.turn()
        elif name == ANSWER_TIMER:
            for peer in self._probes.silent():
                self._suspect(peer)
        elif name == SUSPICION_TIMER:
            for node in self._suspicions.take():
                self._put(replace(self._known(node), state="dead", by=()))
        elif name == RUMOR_TIMER:
            greeting, self._greeting = self._greeting, {}
            for peer in greeting:
                self._probes.greet(peer)
            self._news.flush()

    def set_degraded(self, is_degraded: bool) -> None:
        """Whether our own training gets on; answers to probes say so."""
        self._is_degraded = is_degraded

    def heard(self, peer: str) -> None:
        """Anything came from a peer."""
        self._probes.heard(peer)

    def lost(self, peer: str) -> None:
        """A connection to a peer broke: it may be gone."""
        if self._is_running and not self._is_leaving:
            self._greeting.pop(peer, None)
            self._probes.rescue(peer)

    def miss(self, peer: str) -> None:
        """A neighbor that nobody has met should be there by now."""
        if self._is_running and not self._is_leaving:
            self._suspect(peer)

    def met(self, row: Member) -> bool:
        """A peer says of itself, as it calls or answers our call, who it is.

        Returns:
            Whether it is a member and alive. If not, and it is one, our row outbids what it says;
            it is told, and if it is there it will outbid that in turn.
        """
        known = self._table.row(row.node)
        if not self._is_running or row.node == self._core.us.node:
            return False
        if known is not None:  # not all greetings say everything
            address, since = row.address or known.address, row.since or known.since
            row = replace(row, address=address, since=since)
        self._probes.heard(row.node)
        self._take(row, row.node)
        after = self._table.row(row.node)
        if after is None:
            return False
        self._greeting[row.node] = None
        self._news.arm()
        return after.state == "alive" and after.boot == row.boot

    def leave(self) -> None:
        """We are about to stop in good order; all who can be reached hear it now."""
        if self._is_running and not self._is_leaving:
            self._is_leaving = True
            self._probes.rest()
            self._put(replace(self.own, state="left"))
            self._news.flush()

    def stop(self) -> None:
        """The machine closes."""
        if self._is_running:
            self._is_running = False
            self._news.stop()
            self._probes.stop()
            self._suspicions.stop()

    # -- what members say --------------------------------------------------------------------------

    def hear(self, peer: str, message: Talk) -> None:
        """A member says something; from others nothing is taken."""
        if not self._is_running or peer == self._core.us.node:
            return
        if self._table.row(peer) is None:
            self.refused += 1
            return
        self._probes.heard(peer)
        is_table = isinstance(message, Rumors) and message.is_table
        for row in message.rows if isinstance(message, Rumors) else message.rumors:
            self._take(row, peer, is_table=is_table)
        match message:
            case Ping():
                self._answer(peer, message)
            case Pong():
                self._hear_pong(peer, message)
            case Ask():
                self._probes.favour(peer, message)
            case Rumors(wants_table=True):
                self._news.wanted(peer)

    def _answer(self, peer: str, ping: Ping) -> None:
        self._news.compare(peer, ping.digest)
        pong = Pong(
            clock=self._core.tick(),
            number=ping.number,
            is_degraded=self._is_degraded,
            digest=self._table.digest,
            rumors=self._news.take(peer),
        )
        self._voice.say(peer, pong)

    def _hear_pong(self, peer: str, pong: Pong) -> None:
        self._probes.answered(peer, pong)
        if not pong.subject:
            self._news.compare(peer, pong.digest)
            self._note_degraded(peer, pong.is_degraded)

    def _note_degraded(self, peer: str, is_degraded: bool) -> None:
        if is_degraded != (peer in self._degraded):
            (self._degraded.add if is_degraded else self._degraded.discard)(peer)
            self._core.record("peer_degraded", peer=peer, is_degraded=is_degraded)

    # -- rows --------------------------------------------------------------------------------------

    def _take(self, told: Member, teller: str, *, is_table: bool = False) -> None:
        """Somebody says something of a member: joins it with what we know, and tells it on."""
        before = self._table.row(told.node)
        if before is None and not self._may_come(told):
            self.refused += 1
            return
        highest = MAX_JUMP + (0 if before is None else before.incarnation)
        row = replace(
            told,
            incarnation=min(told.incarnation, highest),
            since=min(told.since, self._table.latest + MAX_PLACES),
        )
        row = joined(row, row)  # as everybody writes it
        if told.node == self._core.us.node:
            self._hear_of_us(row)
        else:
            doubted = _doubted(row, teller) if is_table and before is not None else row
            after = doubted if before is None else joined(before, doubted)
            if after != before:
                self._put(after, teller)
        after = self._known(told.node)
        if joined(row, after) != row:
            self._news.owe(teller, told.node)
        elif after == told:
            self._news.knows(teller, told.node)

    def _may_come(self, stranger: Member) -> bool:
        is_let_in = self._settings.admits and stranger.since > 0
        return is_let_in and len(self._table) < MAX_MEMBERS

    def _hear_of_us(self, told: Member) -> None:
        """Whoever says what is not so is outbid, and so is a former process of ours."""
        own = self.own
        is_true = joined(own, told) == own
        if is_true or self._is_leaving or told.incarnation >= MAX_COUNT:
            return
        if told.state in ("suspect", "dead") and told.boot in ("", own.boot):
            self._probes.health.worse()
        since = max(own.since, told.since)  # others cannot lower it any more
        self._put(replace(own, incarnation=told.incarnation + 1, since=since))

    def _suspect(self, peer: str) -> None:
        row = self._known(peer)
        if row.state in ("alive", "suspect"):
            us = self._core.us.node
            after = joined(row, replace(row, state="suspect", by=(us,)))
            if after != row:
                self._put(after)

    def _put(self, after: Member, teller: str = "") -> None:
        """A row is new, by what `teller` said; empty: by our own word."""
        node = after.node
        before = self._table.row(node)
        self._table.put(after)
        self._touched.add(node)
        self._news.tell(node, teller)
        if before is None or _shown(before) != _shown(after):
            self._changes.append(Change(node=node, before=before, after=after))
        if node != self._core.us.node:
            self._follow(before, after, teller)

    def _follow(self, before: Member | None, after: Member, teller: str) -> None:
        """What comes of another's new row."""
        node = after.node
        was = "alive" if before is None else before.state
        if after.state == "suspect":
            is_new = was != "suspect" or (before and before.incarnation < after.incarnation)
            if is_new:
                self._suspicions.begin(node)
                by = teller or self._core.us.node
                self._core.record("peer_suspected", peer=node, by=by)
            self._weigh(after, is_heard=bool(is_new and teller))
            return
        self._suspicions.end(node)
        if after.state != "alive":
            self._probes.gone(node)
            self._degraded.discard(node)
        elif was in ("suspect", "dead"):
            self._core.record("peer_recovered", peer=node, state=was)

    def _weigh(self, row: Member, *, is_heard: bool) -> None:
        """How long a suspect has left; if we only hear of it, we look ourselves."""
        around = self._voice.around(row.node)
        self._suspicions.weigh(
            row.node, doubters=len(row.by), around=len(around), members=self._table.there
        )
        if is_heard and len(around) <= MAX_HERD:
            self._probes.soon(row.node)

    def _known(self, node: str) -> Member:
        row = self._table.row(node)
        assert row is not None, f"{node} is no member"
        return row

    # -- checks ------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Asserts the invariants of the class, for all members whose rows have changed."""
        self._news.validate()
        self._probes.validate()
        for node in self._touched:
            self._validate(node)
        self._touched.clear()

    def validate_all(self) -> None:
        """Asserts them for everybody."""
        self._table.validate_all()
        self._news.validate_all()
        self._probes.validate_all()
        self._touched.update(self._table.nodes())
        self.validate()

    def _validate(self, node: str) -> None:
        is_suspect = self._table.state(node) == "suspect" and self._is_running
        assert is_suspect == self._suspicions.has(node), f"{node}: suspected for ever, or not"
        self._suspicions.validate(node)


def _shown(row: Member) -> tuple[str, str, str]:
    """What of a row others are told of."""
    return row.state, row.boot, row.address


def _doubted(told: Member, teller: str) -> Member:
    """A row in a table: whoever is dead there may have come back here, and is given the time."""
    return replace(told, state="suspect", by=(teller,)) if told.state == "dead" else told
