"""Who is asked whether it is there, and who else is asked if no answer comes.

Theory of operation. One neighbor after the other is probed, in an order that is drawn anew each
time round; out of turn whoever seems to be in trouble. A probe goes through

    pinged --no answer in time--> helped, pinged again --still none--> silent
    pinged --answer, or any message--> over
    helped --answer to us or to a helper, or any message--> over

and begins with helpers where no connection stands. Helpers are neighbors that the subject has in
common with us; they ping it themselves and tell what came of it, an answer or none.

How long an answer may take is told from the answers of that neighbor so far. Whatever else comes
from it is a sign of life as well: on a slow link answers wait behind vectors. Late answers count
among those that the usual is told from, but end no probe. A neighbor that nobody has met since we
are up is not probed: it may not have started yet.
"""

from dataclasses import dataclass
from typing import Final

from p2pgan.protocol.alarms import Alarms
from p2pgan.protocol.core import Core
from p2pgan.protocol.deadline import Deadline
from p2pgan.protocol.instructions import CancelTimer, SetTimer
from p2pgan.protocol.membership.health import Health
from p2pgan.protocol.membership.news import News
from p2pgan.protocol.membership.settings import MembershipSettings
from p2pgan.protocol.membership.table import Table
from p2pgan.protocol.membership.voice import Voice
from p2pgan.protocol.messages import Ask, Ping, Pong
from p2pgan.protocol.roles import DeadlineSettings

PROBE_TIMER: Final = "member-probe"
ANSWER_TIMER: Final = "member-answer"

HELP_TIMES: Final = 1.5
"""Times the wait for an answer that helpers have: theirs, and the two ways between us."""

MAX_TIMES: Final = 6
"""Times `timeout_s` that an answer is waited for at most, however late others have come."""

MAX_FAVOURS: Final = 64
"""Probes for others at a time; who asks for more gets no answer."""


@dataclass(slots=True, kw_only=True)
class Probe:
    """One that is under way."""

    peer: str
    sent_s: float
    is_pinged: bool = False
    """Whether a ping of ours has set out."""
    helpers: tuple[str, ...] | None = None
    """Who was asked to help; `None`: nobody yet."""
    is_answered: bool = False
    """Whether at least a helper has said that it got no answer either."""
    asker: str = ""
    """For whom we probe; empty: for ourselves."""
    number: int = 0
    """Of the asker's own probe."""


class Probes:
    """Probes under way, and whose turn it is.

    Invariant: every probe under way has an alarm.
    """

    __slots__ = ("_alarms", "_core", "_deadlines", "_heard_s", "_news", "_number", "_open",
                 "_order", "_pinged", "_round", "_soon", "_table", "_timing", "_under",
                 "_voice", "health")  # fmt: skip

    def __init__(
        self, core: Core, settings: MembershipSettings, voice: Voice, table: Table, news: News
    ) -> None:
        self._core = core
        self._timing = settings.timing
        self._order = settings.order
        self._voice = voice
        self._table = table
        self._news = news
        self.health = Health()
        self._alarms = Alarms[int](core, ANSWER_TIMER)
        self._number = 0
        self._open: dict[int, Probe] = {}
        self._under: dict[str, int] = {}
        """Number of our own probe of a peer that is under way."""
        self._pinged: dict[str, tuple[int, float]] = {}
        """Number and time of the last ping to a peer, until it is answered, however late."""
        self._heard_s: dict[str, float] = {}
        """When something came from a peer last; who is missing here was not met."""
        self._deadlines: dict[str, Deadline] = {}
        self._round: list[str] = []
        """Who is still to be probed this time round, the next one last."""
        self._soon: dict[str, None] = {}
        """Who is probed before them."""

    # -- turns -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The machine is up."""
        self._set_timer()

    def turn(self) -> None:
        """The timer has fired: probes the next neighbor."""
        peer = self._next()
        if peer is not None:
            self.probe(peer)
        self._set_timer()

    def soon(self, peer: str) -> None:
        """A peer is to be probed out of turn, as the next one."""
        self._soon[peer] = None

    def _set_timer(self) -> None:
        at_s = self._core.now + self._timing.probe_s * self.health.factor
        self._core.emit(SetTimer(name=PROBE_TIMER, at_s=at_s))

    def _next(self) -> str | None:
        neighbors = self._voice.neighbors()
        while self._soon:
            peer = next(iter(self._soon))
            del self._soon[peer]
            if peer in neighbors and self._is_due(peer):
                return peer
        left = len(self._round) + len(neighbors)
        for _ in range(left):
            if not self._round:
                self._round = [*self._order(neighbors)]
            peer = self._round.pop()
            if peer in neighbors and self._is_due(peer):
                return peer
        return None

    def _is_due(self, peer: str) -> bool:
        return self._may_miss(peer) and peer not in self._under

    def _may_miss(self, peer: str) -> bool:
        return peer in self._heard_s and self._table.state(peer) in ("alive", "suspect")

    # -- a probe -----------------------------------------------------------------------------------

    def probe(self, peer: str) -> None:
        """Asks a neighbor whether it is there; by helpers if nothing leads there."""
        if self._is_due(peer):
            number = self._begin(peer)
            if not self._open[number].is_pinged:
                self._seek_help(number)

    def greet(self, peer: str) -> None:
        """Asks a peer that we have just met; if nothing leads there yet, that says nothing."""
        if peer in self._voice.neighbors() and self._is_due(peer):
            number = self._begin(peer)
            if not self._open[number].is_pinged:
                self._close(number)

    def _begin(self, peer: str) -> int:
        number = self._send(Probe(peer=peer, sent_s=self._core.now))
        self._under[peer] = number
        return number

    def rescue(self, peer: str) -> None:
        """A connection to a neighbor broke: helpers are asked at once."""
        self.probe(peer)
        number = self._under.get(peer)
        if number is not None and self._open[number].helpers is None:
            self._seek_help(number)

    def favour(self, asker: str, ask: Ask) -> None:
        """Somebody wants us to probe a neighbor of ours."""
        favours = len(self._open) - len(self._under)
        if ask.subject in self._voice.neighbors() and favours < MAX_FAVOURS:
            sent_s = self._core.now
            self._send(Probe(peer=ask.subject, sent_s=sent_s, asker=asker, number=ask.number))

    def _send(self, probe: Probe) -> int:
        self._number += 1
        number, peer = self._number, probe.peer
        self._open[number] = probe
        probe.is_pinged = self._say_ping(peer, number)
        if probe.is_pinged:
            self._pinged[peer] = (number, self._core.now)
        self._alarms.put(number, self._limit_s(peer) if probe.is_pinged else 0.0)
        return number

    def _say_ping(self, peer: str, number: int) -> bool:
        ping = Ping(
            clock=self._core.tick(),
            number=number,
            digest=self._table.digest,
            rumors=self._news.take(peer),
        )
        return self._voice.say(peer, ping)

    def _seek_help(self, number: int) -> None:
        """Asks helpers, and once more ourselves: the first ping may have been lost."""
        probe = self._open[number]
        if probe.sent_s < self._core.now:
            probe.is_pinged = self._say_ping(probe.peer, number) or probe.is_pinged
        around = frozenset(self._voice.around(probe.peer))
        common = [peer for peer in self._voice.neighbors() if peer in around]
        asked: list[str] = []
        for peer in self._order(common) if common else ():
            if len(asked) == self._timing.helpers:
                break
            if self._may_miss(peer) and self._say_ask(peer, number, probe.peer):
                asked.append(peer)
        probe.helpers = tuple(asked)
        wait_s = HELP_TIMES * self._limit_s(probe.peer) if asked or probe.is_pinged else 0.0
        self._alarms.put(number, wait_s)

    def _say_ask(self, helper: str, number: int, subject: str) -> bool:
        rumors = self._news.take(helper)
        ask = Ask(clock=self._core.tick(), number=number, subject=subject, rumors=rumors)
        return self._voice.say(helper, ask)

    def _limit_s(self, peer: str) -> float:
        """How long an answer may take."""
        least_s = self._timing.timeout_s
        known = self._deadlines.get(peer)
        usual_s = least_s if known is None else min(known.limit_s, MAX_TIMES * least_s)
        return usual_s * self.health.factor

    def silent(self) -> list[str]:
        """The timer of answers has fired: neighbors of which nobody has heard anything."""
        found = []
        for number in self._alarms.take():
            probe = self._open[number]
            if self._heard_s.get(probe.peer, probe.sent_s) > probe.sent_s:
                self._close(number)
                if not probe.is_pinged:  # it may have been on its way before the connection broke
                    self.soon(probe.peer)
            elif probe.asker:
                self._close(number)
                self._report(probe, is_there=False)
            elif probe.helpers is None:
                self._seek_help(number)
            else:
                self._close(number)
                if (probe.is_pinged or probe.helpers) and not probe.is_answered:
                    self.health.worse()
                found.append(probe.peer)
        return found

    def _close(self, number: int) -> None:
        probe = self._open.pop(number)
        self._alarms.drop(number)
        if not probe.asker:
            del self._under[probe.peer]

    # -- answers -----------------------------------------------------------------------------------

    def heard(self, peer: str) -> None:
        """Anything came from a peer."""
        self._heard_s[peer] = self._core.now

    def answered(self, peer: str, pong: Pong) -> None:
        """A peer says that it is there, or whether another is."""
        probe = self._open.get(pong.number)
        if pong.subject in ("", peer):
            self._observe(peer, pong.number)
            if probe is not None and probe.peer == peer:
                self._over(pong.number, probe, is_degraded=pong.is_degraded)
        elif probe is not None and probe.peer == pong.subject and peer in (probe.helpers or ()):
            probe.is_answered = True
            if pong.is_there:
                self._close(pong.number)

    def _over(self, number: int, probe: Probe, *, is_degraded: bool) -> None:
        self._close(number)
        if probe.asker:
            self._report(probe, is_there=True, is_degraded=is_degraded)
        elif probe.helpers is None:
            self.health.better()

    def _observe(self, peer: str, number: int) -> None:
        last = self._pinged.get(peer)
        if last is not None and last[0] == number:
            del self._pinged[peer]
            if peer not in self._deadlines:
                least_s = self._timing.timeout_s
                self._deadlines[peer] = Deadline(DeadlineSettings(first_s=least_s, min_s=least_s))
            self._deadlines[peer].observe(self._core.now - last[1])

    def _report(self, probe: Probe, *, is_there: bool, is_degraded: bool = False) -> None:
        pong = Pong(
            clock=self._core.tick(),
            number=probe.number,
            subject=probe.peer,
            is_there=is_there,
            is_degraded=is_degraded,
            rumors=self._news.take(probe.asker),
        )
        self._voice.say(probe.asker, pong)

    # -- ends --------------------------------------------------------------------------------------

    def gone(self, peer: str) -> None:
        """A member is gone: whoever comes back under its name is another."""
        number = self._under.get(peer)
        if number is not None:
            self._close(number)
        self._deadlines.pop(peer, None)
        self._pinged.pop(peer, None)
        self._heard_s.pop(peer, None)
        self._soon.pop(peer, None)

    def rest(self) -> None:
        """We probe no more, but for others."""
        self._core.emit(CancelTimer(name=PROBE_TIMER))

    def stop(self) -> None:
        """Nobody is probed any more."""
        self.rest()
        self._alarms.clear()
        self._open.clear()
        self._under.clear()

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        assert len(self._under) <= len(self._open), "a probe that is not under way"

    def validate_all(self) -> None:
        """Asserts them for every probe."""
        self.validate()
        for number in self._open:
            assert self._alarms.has(number), f"probe {number} never ends"
            self._alarms.validate(number)
        for peer, number in self._under.items():
            assert self._open[number].peer == peer, f"{peer}: a probe of another"
