"""What the coordinators of FL-GAN and MD-GAN share: whom they asked, how long they wait, rounds.

Theory of operation. A coordinator asks workers and waits for their answers, but never longer than
its deadline, which follows the usual time of an answer (`deadline.py`). Who misses it is late: its
answer will be dropped, and counts for the deadline only. Who then owes it for `lost_after_s`, and
for several deadlines, is given up until it says something again. As long as nobody knows what is
usual, nobody is given up for being slow: whoever is frozen or dead breaks its connection. Whoever
is asked owes until it answers, refuses, or its connection breaks; then there is nothing to wait
for. When nobody is left who can be asked or still owes, the coordinator is alone.

A round ends with a record, with scores if they are due, and with a checkpoint, from which a
coordinator that was started again goes on. What a former one has asked for is never taken: workers
drop it themselves when they meet another boot.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival, VectorError
from p2pgan.protocol.deadline import Deadline
from p2pgan.protocol.exchanges import Outgoing
from p2pgan.protocol.keeping import decoded
from p2pgan.protocol.links import Link
from p2pgan.protocol.machine import GATHER_TIMER, Machine
from p2pgan.protocol.messages import Chunk, Done
from p2pgan.protocol.phases import Cause, Phase
from p2pgan.protocol.roles import CoordinatorSettings
from p2pgan.protocol.windows import OVERTAKEN, REPEATED

ANSWER_TIMER: Final = "answer"
SILENCE_TIMER: Final = "silence"
ALONE_TIMER: Final = "alone"

UNASKED: Final = "unasked"
"""Why a vector is dropped that nobody has asked for."""

MAX_OPEN: Final = 8
"""Questions to one worker without an answer; one that is late for so many rounds has lost them."""

Key = tuple[int, int]
"""Round and slot of a question; FL-GAN has no slots, and says 0."""


@dataclass(slots=True, kw_only=True)
class Debtor:
    """What was asked of one worker."""

    open: dict[Key, float] = field(default_factory=dict)
    """When each question without an answer was asked, in that order."""
    asked: deque[Key] = field(default_factory=lambda: deque(maxlen=MAX_OPEN))
    """The last questions, answered or not: one that was asked twice may be answered twice."""
    owed: Key | None = None
    """The one whose answer is waited for."""
    is_late: bool = False
    """Its answer will be dropped."""
    since_s: float = 0.0
    """When it was asked for the first time since it has answered last."""

    def ask(self, key: Key, now: float) -> None:
        """Asks; what was owed before is not waited for any more, but its silence lasts."""
        if self.owed is None:
            self.since_s = now
        self.asked.append(key)
        self.open.pop(key, None)
        if len(self.open) >= MAX_OPEN:
            del self.open[next(iter(self.open))]
        self.open[key] = now
        self.owed, self.is_late = key, False

    def wait_again(self, key: Key, now: float) -> None:
        """Waits again for an answer that was given up."""
        self.owed, self.is_late, self.since_s = key, False, now

    def forgive(self) -> None:
        """Waits no more; an answer that comes all the same is late."""
        self.owed, self.is_late = None, False


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a coordinator goes on from."""

    round: int
    """Rounds finished."""
    updates: int
    """Of the generator (MD-GAN), or iterations made (FL-GAN)."""
    clock: int
    places: dict[int, str]
    """Where the discriminators were."""
    moves_due: bool
    """Whether they were about to move."""


class CoordinatorMachine(Machine):
    """The coordinator of a run, without any I/O.

    Invariants, beside those of `Machine`: rounds and iterations never exceed what was asked for;
    what a worker owes was asked of it; nobody owes anything once the node leaves.
    """

    __slots__ = ("_alone", "_asked_at_s", "_deadline", "_debtors", "_is_gathered", "_is_overdue",
                 "_is_watching", "_moves_due", "_round_at_s", "_settings", "_silent",
                 "_updates")  # fmt: skip

    def __init__(self, settings: CoordinatorSettings) -> None:
        super().__init__(settings, self)
        self._settings = settings
        self._debtors = {worker: Debtor() for worker in settings.neighbors}
        self._deadline = Deadline(settings.deadline)
        self._asked_at_s = 0.0
        """When the deadline of what is asked began."""
        self._is_overdue = False
        """Whether it is over."""
        self._is_watching = False
        self._is_gathered = False
        """Whether the wait for all workers is over."""
        self._alone = False
        self._silent: set[str] = set()
        """Workers that have missed the last deadline, and have not answered since."""
        self._round_at_s = 0.0
        self._updates = 0
        self._moves_due = False
        """Whether discriminators are about to move; FL-GAN has none."""
        if settings.state:
            self._restore(settings.state)

    # -- what a subclass does ----------------------------------------------------------------------

    @abstractmethod
    def _assemble(self) -> None:
        """Asks whoever can be asked."""

    @abstractmethod
    def _collect(self) -> None:
        """Goes on if enough answers are there."""

    @abstractmethod
    def _ready(self) -> list[str]:
        """Workers that can be asked, in the run's order."""

    @abstractmethod
    def _places(self) -> Mapping[int, str]:
        """Where the discriminators are."""

    @abstractmethod
    def bytes_of(self, nets: tuple[str, ...]) -> int:
        """Size of our own networks, as they are sent."""

    @abstractmethod
    def admit(self, link: Link, chunk: Chunk) -> int:
        """As in `exchanges.Gate`."""

    def _begin(self) -> None:
        """The workers are gathered."""

    def _settled(self) -> bool:
        """Whether nobody is left to wait for at the start."""
        return self._neighborhood.is_settled()

    def _given_up(self, worker: str) -> None:
        """A worker has been silent for too long."""

    # -- life --------------------------------------------------------------------------------------

    def _gather(self) -> None:
        self._set_timer(GATHER_TIMER, self._settings.wait_s)
        self._go_on()

    def _timer(self, name: str) -> None:
        if name == GATHER_TIMER:
            self._is_gathered = True
        elif name == ANSWER_TIMER:
            self._missed()
        elif name == SILENCE_TIMER:
            self._is_watching = False
            self._give_up()
        elif name == ALONE_TIMER and self._alone:
            self._abandoned()
        self._go_on()

    def _abandoned(self) -> None:
        self._alone = False
        if not self._reason:
            wait_s = self._settings.alone_s
            self._failure = f"no worker has been there, or has answered, for {wait_s:g} s"
            self._hint = "start workers, and the coordinator again with `--resume`"
            self._stop("alone")

    def _halt(self) -> None:
        if self.phase in (Phase.GATHERING, Phase.ASSEMBLING, Phase.COLLECTING):
            self._save(Cause.HALTED)

    def _go_on(self) -> None:
        self._notice_loss()
        if self._reason:
            return
        if self.phase is Phase.GATHERING and self._may_begin():
            self._core.emit(do.CancelTimer(name=GATHER_TIMER))
            self._enter(Cause.GATHERED)
            self._round_at_s = self._core.now
            self._begin()
        if self.phase is Phase.ASSEMBLING and self._is_finished():
            self._reason = "finished"
            self._save(Cause.FINISHED)
        elif self.phase is Phase.ASSEMBLING:
            self._assemble()
        elif self.phase is Phase.COLLECTING:
            self._collect()
        self._watch_company()

    def _may_begin(self) -> bool:
        return bool(self._ready()) and (self._is_gathered or self._settled())

    def _notice_loss(self) -> None:
        """Whoever cannot be reached any more owes nothing."""
        for worker, debtor in self._debtors.items():
            if debtor.owed is not None and not self._neighborhood.links[worker].is_ready:
                debtor.forgive()

    def _watch_company(self) -> None:
        """Without any worker there is no use in going on for ever; nor with those that hang."""
        waits = self.phase in (Phase.GATHERING, Phase.ASSEMBLING, Phase.COLLECTING)
        is_alone = waits and not self._ready() and not self._is_hopeful()
        if is_alone and not self._alone:
            self._set_timer(ALONE_TIMER, self._settings.alone_s)
        elif self._alone and not is_alone:
            self._core.emit(do.CancelTimer(name=ALONE_TIMER))
        self._alone = is_alone

    def _is_hopeful(self) -> bool:
        """Whether somebody may still come with what it was told to do."""
        return any(debtor.owed is not None for debtor in self._debtors.values())

    # -- questions and answers ---------------------------------------------------------------------

    def _ask(self, worker: str, key: Key) -> None:
        self._debtors[worker].ask(key, self._core.now)
        self._watch_silence()

    def _watch_silence(self) -> None:
        if not self._is_watching and self._is_hopeful():
            self._is_watching = True
            self._set_timer(SILENCE_TIMER, self._settings.lost_after_s)

    def _await_answers(self) -> None:
        """The deadline of all that was just asked."""
        self._is_overdue, self._asked_at_s = False, self._core.now
        self._set_timer(ANSWER_TIMER, self._deadline.limit_s)

    def _await_longer(self) -> None:
        """The first answers tell that the others may take as long."""
        end_s = self._asked_at_s + self._deadline.limit_s
        if self._owing() and end_s > self._core.now:
            self._is_overdue = False
            self._core.emit(do.SetTimer(name=ANSWER_TIMER, at_s=end_s))

    def _owing(self) -> list[str]:
        """Workers whose answer is waited for, and would be taken."""
        return [w for w, d in self._debtors.items() if d.owed is not None and not d.is_late]

    def _missed(self) -> None:
        """The deadline is over."""
        if not self._deadline.is_begun:
            return  # as far as is known, all are as slow as this
        self._is_overdue = True
        for worker in self._owing():
            if worker not in self._silent:
                self._silent.add(worker)
                self._core.record("peer_suspected", peer=worker)

    def _too_late(self) -> None:
        """The others' answers are enough: what is still owed will be dropped."""
        for debtor in self._debtors.values():
            debtor.is_late = debtor.owed is not None

    def _give_up(self) -> None:
        """Waits no more for who has owed an answer for too long."""
        now = self._core.now
        if not self._deadline.is_known:
            return
        limit_s = max(self._settings.lost_after_s, self._deadline.patience_s)
        ends_s = []
        for worker, debtor in self._debtors.items():
            if debtor.owed is None:
                continue
            end_s = debtor.since_s + limit_s
            if end_s > now:
                ends_s.append(end_s)
                continue
            debtor.forgive()
            self._silent.add(worker)
            self._core.record("peer_lost", peer=worker, reason="silent")
            self._given_up(worker)
        if ends_s:
            self._is_watching = True
            self._core.emit(do.SetTimer(name=SILENCE_TIMER, at_s=min(ends_s)))

    def _check_asked(self, link: Link, chunk: Chunk) -> None:
        """Whether a vector answers a question.

        Raises:
            VectorError: it does not.
        """
        key, debtor = (chunk.round, chunk.slot), self._debtors[link.peer]
        if key not in debtor.open and key not in debtor.asked:
            at = f"peer `{link.peer}`"
            raise VectorError(UNASKED, expected="an answer", got="another vector", at=at)

    def _answered_by(self, arrival: Arrival) -> bool:
        """Takes note of an answer; whether it is in time."""
        key = (arrival.round, arrival.slot)
        debtor = self._debtors[arrival.peer]
        since_s = debtor.open.pop(key, None)
        self._silent.discard(arrival.peer)
        debtor.since_s = self._core.now
        if since_s is not None:
            self._deadline.observe(self._core.now - since_s)
        in_time = debtor.owed == key and not debtor.is_late
        if debtor.owed == key:
            debtor.forgive()
        if not self._deadline.is_known:
            self._await_longer()
        self._watch_silence()
        return in_time

    def _spoiled(self, link: Link, reason: str) -> None:
        """An answer that cannot be used is one: nothing else will come. One that has come before
        is none, nor is one that a later one has overtaken."""
        owed = self._debtors[link.peer].owed
        if owed is not None and reason not in (UNASKED, REPEATED, OVERTAKEN):
            self._settle_debt(link.peer, owed)

    def _returned(self, out: Outgoing, reason: str) -> None:
        """A worker cannot use what it was sent, and will not answer."""
        del reason
        owed = self._debtors[out.peer].owed
        if owed is not None and owed[0] == out.round:
            self._settle_debt(out.peer, owed)

    def _settle_debt(self, worker: str, key: Key) -> None:
        debtor = self._debtors[worker]
        if debtor.open.pop(key, None) is not None:
            self._silent.discard(worker)
        if debtor.owed == key:
            debtor.forgive()

    def _called(self, link: Link) -> None:
        """A worker has called again: what it was about to answer is lost with its connection."""
        self._debtors[link.peer].forgive()
        self._silent.discard(link.peer)

    def _lost(self, peer: str) -> None:
        self._debtors[peer].forgive()
        self._silent.discard(peer)

    # -- rounds ------------------------------------------------------------------------------------

    def _is_finished(self) -> bool:
        return self._iterations >= self._settings.iterations

    def _finish_round(self) -> None:
        self._round += 1
        self._core.record(
            "round_finished",
            round=self._round,
            iterations=self._iterations,
            exchange_s=self._core.now - self._round_at_s,
        )

    def _after_round(self, cause: Cause) -> None:
        """Scores and a checkpoint, if they are due; else the next round."""
        if self._reason:
            self._save(Cause.HALTED)
        elif self._is_finished() or self._settings.is_scored(self._round):
            self._enter(Cause.SCORE_DUE)
            self._core.emit(do.Score())
        else:
            self._keep_or(cause)

    def _keep_or(self, cause: Cause) -> None:
        if self._saves.is_due(self._round, self._core.now):
            self._keep()
        else:
            self._next_round(cause)

    def _next_round(self, cause: Cause) -> None:
        self._enter(cause)
        self._round_at_s = self._core.now
        self._go_on()

    def _scoring_done(self, event: ev.ScoringDone) -> None:
        self._core.record(
            "scores",
            round=self._round,
            iterations=self._iterations,
            fid=event.fid,
            ms=event.ms,
            samples=event.samples,
        )
        if self._reason:
            self._save(Cause.HALTED)
        elif self._is_finished():
            self._reason = "finished"
            self._save(Cause.FINISHED)
        else:
            self._keep_or(Cause.SCORED)

    def _kept(self) -> None:
        self._next_round(Cause.KEPT)

    def _saved(self) -> None:
        if self._reason == "finished":
            for worker in self._neighborhood.ready():
                self._say_done(worker)

    def _say_done(self, worker: str) -> None:
        self._core.emit(do.Send(peer=worker, message=Done(clock=self._core.tick())))

    def _welcomed(self, link: Link) -> None:
        """Its connection may have been down when the others were told."""
        if self.phase is Phase.LEAVING and self._reason == "finished":
            self._say_done(link.peer)

    def _let_go(self) -> None:
        for debtor in self._debtors.values():
            debtor.forgive()

    # -- going on from a checkpoint ----------------------------------------------------------------

    def _state(self) -> bytes:
        return msgspec.msgpack.encode(
            State(
                round=self._round,
                updates=self._updates,
                clock=self._core.clock,
                places=dict(self._places()),
                moves_due=self._moves_due,
            )
        )

    def _restore(self, data: bytes) -> None:
        state = decoded(data, State)
        if state.round > self._settings.rounds:
            raise LocalProtocolError(
                expected=f"a run of {state.round} rounds or more",
                got=f"one of {self._settings.rounds}",
                at="checkpoint",
                hint="go on with the settings of the run",
            )
        self._core.clock = self._seen_clock = state.clock
        self._round, self._updates = state.round, state.updates
        self._moves_due = state.moves_due
        self._restored(state)

    @abstractmethod
    def _restored(self, state: State) -> None:
        """Takes over the rest of a state."""

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        super().validate()
        settings = self._settings
        assert 0 <= self._iterations <= settings.iterations, "too many iterations"
        assert 0 <= self._round <= settings.rounds, "too many rounds"
        for worker, debtor in self._debtors.items():
            assert len(debtor.open) <= MAX_OPEN, f"{worker} was asked too often"
            assert debtor.owed is None or debtor.owed in debtor.open, f"{worker} owes nothing"
            is_over = self.phase in (Phase.LEAVING, Phase.CLOSED)
            assert debtor.owed is None or not is_over, f"{worker} is waited for at the end"
