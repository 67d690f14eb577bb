"""What all machines share: how they are fed, how they meet their peers, and how they leave.

Theory of operation. A machine is the only place that decides. It is fed events one at a time and
returns instructions; work that takes time comes back as an event. A subclass says what its node
does between the start and the end. Whatever that is, it ends in the same way: it saves and leaves,
which is to tell every peer, and to stay until each has said that nothing is on the way any more and
has acknowledged what it was sent, or until the drain timer fires.

A save amid the run that fails is told and borne; the next one may succeed. A node that was started
again may be taken for its former self by peers that have not noticed its end; it knocks again until
they must have.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.attachment import Attachment, closed
from p2pgan.protocol.chunks import Arrival, VectorError
from p2pgan.protocol.core import Core, NodeSettings
from p2pgan.protocol.exchanges import UNDECIDED, Exchanges, Gate
from p2pgan.protocol.greetings import GREET_TIMER
from p2pgan.protocol.keeping import FINAL_TRIES, Saves
from p2pgan.protocol.links import Link, Outward
from p2pgan.protocol.membership.membership import TIMERS
from p2pgan.protocol.messages import (
    Ask,
    Chunk,
    Credit,
    Hello,
    Inquire,
    Leave,
    LeaveAck,
    Member,
    Message,
    Ping,
    Pong,
    Refuse,
    Rumors,
    Talk,
    VectorAck,
    Welcome,
)
from p2pgan.protocol.moments import Moments
from p2pgan.protocol.neighborhood import Neighborhood
from p2pgan.protocol.phases import Cause, Phase
from p2pgan.protocol.statistics import (
    PeerMachineStatistics,
    PeerStatistics,
)
from p2pgan.protocol.windows import OVERTAKEN

GATHER_TIMER: Final = "gather"
DRAIN_TIMER: Final = "drain"
SAVE_TIMER: Final = "save"

RETURN_S: Final = 20.0
"""Time within which peers must have noticed that our former self has gone; heartbeats end after
15 s."""

STORY_EVENTS: Final = 16
"""Events that an error of our own shell is told with."""


class Machine(Moments, ABC):
    """One node of a run, without any I/O.

    Invariants (`validate` asserts them after every event):
    - the phase was reached along `TRANSITIONS`;
    - the Lamport clock never goes back;
    - only a leaving node waits for acknowledgments of its leave, and only from neighbors;
    - a closed node holds nothing;
    - those of `Neighborhood` and `Exchanges`.
    """

    TRANSITIONS: ClassVar[Mapping[Phase, Mapping[Cause, Phase]]]
    """The table of its life."""

    __slots__ = ("_attachment", "_awaiting", "_core", "_exchanges", "_failure", "_hint",
                 "_is_degraded", "_iterations", "_lonely_rounds", "_malformed",
                 "_neighborhood", "_reason", "_round", "_saves", "_seen_clock", "_started_s",
                 "_story", "_tries", "phase")  # fmt: skip

    def __init__(self, settings: NodeSettings, gate: Gate) -> None:
        self._core = Core(settings)
        self._neighborhood = Neighborhood(self._core)
        self._exchanges = Exchanges(self._core, gate, self._unwanted)
        self._attachment: Attachment | None = None
        if settings.around is not None:
            parts = self._neighborhood, self._exchanges
            self._attachment = Attachment(self._core, settings.around, *parts)
        self._saves = Saves(settings.checkpoint_every, settings.checkpoint_s)
        self.phase = Phase.IDLE
        self._round = 0
        self._iterations = 0
        self._awaiting: set[str] = set()
        self._reason = ""
        """Why the node stops, once that is known."""
        self._failure = ""
        self._hint = ""
        self._tries = 0
        """To save at the end."""
        self._malformed = 0
        self._is_degraded = False
        """Whether the work shows no sign of life."""
        self._lonely_rounds = 0
        self._seen_clock = 0
        self._started_s = 0.0
        self._story: deque[tuple[float, Phase, ev.Kinds]] = deque(maxlen=STORY_EVENTS)

    def handle(self, event: ev.Event, now: float) -> list[do.Instruction]:
        """Takes one event; what the shell has to do about it, in order.

        Args:
            event: what happened.
            now: seconds on a clock that never goes back; timers are set on the same clock.
        Raises:
            LocalProtocolError: the shell told of something that cannot have happened, such as a
                `TrainingDone` without a `Train`. Nothing that a peer sends raises.
        """
        self._core.now = now
        self._story.append((now, self.phase, ev.kinds(event)))
        match event:
            case ev.Received() | ev.Answered() | ev.Malformed() | ev.LinkUp() | ev.LinkDown():
                if self.phase is not Phase.CLOSED:
                    self._on_network(event)
            case ev.WorkDone():
                self._on_work(event)
            case _:
                self._on_wish(event)
        self._follow()
        self.validate()
        return self._core.take()

    # -- what a subclass does ----------------------------------------------------------------------

    @abstractmethod
    def _gather(self) -> None:
        """The node is up."""

    @abstractmethod
    def _halt(self) -> None:
        """Somebody wants it to stop: saves, unless work is at hand, which ends first."""

    @abstractmethod
    def _work_done(self, event: ev.Event) -> None:
        """Some work other than the last `Save` is done."""

    @abstractmethod
    def _timer(self, name: str) -> None:
        """A timer of its own has fired."""

    @abstractmethod
    def _take(self, arrival: Arrival, link: Link) -> None:
        """A vector has come whole."""

    # -- life --------------------------------------------------------------------------------------

    def _on_wish(self, event: ev.Event) -> None:
        match event:
            case ev.Started():
                self._start(event)
            case ev.StopRequested():
                self._stop(event.reason)
            case ev.Abort() if self.phase is not Phase.CLOSED:
                self._reason = event.reason
                self._close(Cause.ABORTED)
            case ev.WorkFailed():
                self._failure, self._reason = event.text, "failed"
                self._leave(Cause.FAILED)
            case ev.TimerFired():
                self._fired(event.name)
            case ev.CheckpointRequested():
                self._want_checkpoint()
            case ev.VectorReplaced():
                self._exchanges.replaced(event.peer, event.exchange)
                self._close_if_drained()
            case ev.WorkStalled():
                self._stalled(event)
            case ev.PauseRequested() | ev.ResumeRequested() | ev.ScoresRequested():
                if not self.objection(event):
                    self._grant(event)
            case ev.Abort():
                pass
            case _:
                raise self._impossible(event)

    def objection(self, wish: ev.Event) -> str:
        """Why a wish to pause, to go on, to score or to save would be in vain; empty: it is not."""
        ends = (Phase.SAVING, Phase.LEAVING, Phase.CLOSED)
        if self.phase is Phase.IDLE:
            return "it is not up yet"
        if self._reason or self.phase in ends:
            return "it is about to end"
        return "" if isinstance(wish, ev.CheckpointRequested) else self._objection(wish)

    def _stalled(self, event: ev.WorkStalled) -> None:
        """Takes note; whoever hangs cannot be helped from here, but others can be told."""
        if self.phase is not Phase.CLOSED and event.is_stalled != self._is_degraded:
            self._is_degraded = event.is_stalled
            if self._attachment is not None:
                self._attachment.membership.set_degraded(event.is_stalled)
            self._core.record("node_degraded", is_degraded=event.is_stalled)

    def _start(self, event: ev.Started) -> None:
        self._enter(Cause.STARTED)
        self._started_s = self._core.now
        self._saves.start(self._core.now)
        self._core.record(
            "node_started", pid=event.pid, address=event.address, control=event.control
        )
        if self._attachment is not None:
            self._attachment.start(event.address or "")
        self._gather()

    def _fired(self, name: str) -> None:
        if name == GREET_TIMER:
            if self.phase is not Phase.CLOSED:
                self._neighborhood.greet_again()
        elif self._attachment is not None and name in TIMERS:
            if self.phase is not Phase.CLOSED:
                self._attachment.membership.fired(name)
        elif name == SAVE_TIMER and self.phase is Phase.SAVING:
            self._core.emit(do.Save(state=self._state()))
        elif name == SAVE_TIMER:
            self._want_checkpoint()
        elif name != DRAIN_TIMER:
            self._timer(name)
        elif self.phase is Phase.LEAVING:
            self._close(Cause.DRAINED)

    def _stop(self, reason: str) -> None:
        """Notes the wish; the work at hand ends first, as early as it can."""
        if self._reason or self.phase in (Phase.LEAVING, Phase.CLOSED):
            return
        if self.phase is Phase.IDLE:
            raise self._impossible(ev.StopRequested(reason=reason))
        self._reason = reason
        self._halt()

    def _on_work(self, event: ev.Event) -> None:
        match self.phase, event:
            case Phase.SAVING, ev.SavingDone():
                self._record_saved(event)
                self._saved()
                self._leave(Cause.SAVED)
            case Phase.SAVING, ev.SavingFailed():
                self._saving_failed(event)
            case Phase.KEEPING, (ev.SavingDone() | ev.SavingFailed()):
                self._keeping_done(event)
            case _:
                self._work_done(event)

    def _want_checkpoint(self) -> None:
        """Notes the wish, unless the node saves as it is, or is about to."""
        busy = (Phase.KEEPING, Phase.SAVING, Phase.LEAVING, Phase.CLOSED)
        if not self._reason and self.phase not in busy:
            self._saves.is_wanted = True
            self._save_soon()

    def _keep(self) -> None:
        """Saves, and will go on."""
        self._enter(Cause.KEEP_DUE)
        self._saves.is_wanted = False
        self._core.emit(do.Save(state=self._state()))

    def _keeping_done(self, event: ev.SavingDone | ev.SavingFailed) -> None:
        if isinstance(event, ev.SavingDone):
            self._record_saved(event)
        else:
            self._record_unsaved(event)
            if self._saves.retry_s is not None and not self._reason:
                self._set_timer(SAVE_TIMER, self._saves.retry_s)
        if self._reason:
            self._save(Cause.HALTED)
        else:
            self._kept()

    def _saving_failed(self, event: ev.SavingFailed) -> None:
        """The last `Save` has failed: there may be room in a moment."""
        self._tries += 1
        wait_s = self._core.settings.drain_s / FINAL_TRIES
        if self._tries < FINAL_TRIES and wait_s > 0:
            self._record_unsaved(event)
            self._set_timer(SAVE_TIMER, wait_s)
        else:
            self._failure, self._reason = event.text, "failed"
            self._leave(Cause.FAILED)

    def _record_unsaved(self, event: ev.SavingFailed) -> None:
        self._saves.failed(event.text, self._core.now)
        self._core.record("checkpoint_failed", reason=event.text)

    def _record_saved(self, event: ev.SavingDone) -> None:
        self._saves.done(self._core.now)
        if event.path:
            self._core.record("checkpoint_saved", path=event.path, iterations=self._iterations)

    # -- the end -----------------------------------------------------------------------------------

    def _save(self, cause: Cause) -> None:
        self._enter(cause)
        self._core.emit(do.CancelTimer(name=SAVE_TIMER))
        self._core.emit(do.Save(state=self._state()))

    def _leave(self, cause: Cause) -> None:
        """Tells all peers, but those that have left: they send no more and need no warning.

        Waits only for those that our own connection leads to: its end would tell of theirs.
        """
        self._enter(cause)
        self._let_go()
        self._exchanges.discard(self._exchanges.take(), "finished")
        for peer, link in self._neighborhood.links.items():
            told = not link.left and self._neighborhood.say_leave(link)
            if told and link.outward is not Outward.DOWN:
                self._awaiting.add(peer)
        if self._attachment is not None:
            self._attachment.leave()
        self._set_timer(DRAIN_TIMER, self._core.settings.drain_s)
        self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self.phase is Phase.LEAVING and not self._awaiting and not self._exchanges.outstanding:
            self._core.emit(do.CancelTimer(name=DRAIN_TIMER))
            self._close(Cause.DRAINED)

    def _close(self, cause: Cause) -> None:
        self._enter(cause)
        self._awaiting.clear()
        if self._attachment is not None:
            self._attachment.membership.stop()
        self._let_go()
        self._exchanges.close()
        self._core.record(
            "node_stopped", reason=self._reason, iterations=self._iterations, rounds=self._round
        )
        self._core.emit(do.Close(reason=self._reason, failure=self._failure, hint=self._hint))

    # -- peers -------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Members may have come or gone."""
        if self._attachment is None or self.phase in (Phase.LEAVING, Phase.CLOSED):
            return
        self._attachment.follow()
        self._attachment.tidy()

    def _on_network(self, event: ev.Event) -> None:
        match event:
            case ev.Received():
                self._received(event)
            case ev.Answered() | ev.LinkUp() | ev.LinkDown() if self._is_closed(event.peer):
                return
            case ev.Answered():
                self._answered(self._neighborhood.link_of(event.peer), event.message)
            case ev.Malformed():
                self._malformed += 1
                self._neighborhood.malformed(event.peer, event.route)
            case ev.LinkUp():
                self._neighborhood.greet(event.peer)
            case ev.LinkDown():
                self._neighborhood.lose(event.peer)
                self._exchanges.lose(event.peer)
                self._awaiting.discard(event.peer)
                self._lost(event.peer)
                if self._attachment is not None:
                    self._attachment.lost(event.peer)
        if self._neighborhood.routes_lost:
            self._neighborhood.routes_lost = False
            self._exchanges.prune(self._neighborhood.routes)
        self._go_on()
        self._close_if_drained()

    def _is_closed(self, peer: str) -> bool:
        """Whether we have closed our connection to a peer: word of it was on its way to us."""
        return self._attachment is not None and not self._attachment.is_dialled(peer)

    def _received(self, event: ev.Received) -> None:
        """What a caller says: at first hello, or what run this is."""
        message, route = event.message, event.route
        if isinstance(message, Inquire):
            if self._attachment is not None:
                self._attachment.inquired(route, message)
            else:
                self._core.emit(do.Reply(route=route, message=closed(self._core)))
            return
        if isinstance(message, Hello):
            is_leaving = self.phase is Phase.LEAVING
            if self._attachment is not None and not is_leaving:
                self._attachment.called(route, message)
            caller = self._neighborhood.answer_hello(
                route, message, round=self._round, is_leaving=is_leaving
            )
            if caller is not None:
                self._called(caller)
            return
        link = self._neighborhood.caller(route)
        if link is None:
            if isinstance(message, Chunk):
                self._exchanges.unwelcome(route, message)
            return
        self._core.observe(message.clock)
        self._heard(link)
        if isinstance(message, Chunk):
            self._chunk(link, message, event)
        elif isinstance(message, Talk) and self._attachment is not None:
            self._attachment.hear(link.peer, message)
        elif isinstance(message, Leave | LeaveAck):
            self._farewell(link, message)
        elif not self._hear(link, message):
            self._neighborhood.blame(link)

    def _answered(self, link: Link, message: Message) -> None:
        """What comes back over our own connection; if that is down, it is from before."""
        if link.outward is Outward.DOWN:
            return
        self._core.observe(message.clock)
        self._heard(link)
        match message:
            case Credit():
                pass
            case Welcome():
                if self._neighborhood.welcomed(link, message):
                    if self._attachment is not None:
                        self._attachment.welcomed(link, message)
                    self._welcomed(link)
            case Ping() | Pong() | Ask() | Rumors() if self._attachment is not None:
                self._attachment.hear(link.peer, message)
            case Refuse():
                self._refused(link, message)
            case VectorAck():
                is_due = self._exchanges.awaits(link.peer, message.exchange)
                if is_due and message.reason == UNDECIDED:
                    self._neighborhood.introduce(link)
                out = self._exchanges.acknowledged(link.peer, message)
                if out is not None and message.accepted:
                    self._accepted(out)
                elif out is not None:
                    self._returned(out, message.reason)
            case Leave() | LeaveAck():
                self._farewell(link, message)
            case _:
                self._neighborhood.blame(link)

    def _heard(self, link: Link) -> None:
        if self._attachment is not None:
            self._attachment.membership.heard(link.peer)

    def _refused(self, link: Link, refuse: Refuse) -> None:
        """Being refused by one is no reason to stop, but for an id that somebody else holds.

        A node that has begun its work saves it first: a peer's word is not worth a day's training.
        """
        taken = refuse.code == "identity_taken" and link.outward is not Outward.DOWN
        if taken and link.outward is Outward.GREETED and self._may_be_taken_for_another():
            self._neighborhood.turned_away(link)
            return
        self._neighborhood.refused(link, refuse)
        if not taken or self._reason:
            return
        us = self._core.us
        self._failure = (
            f"node id `{us.node}` is already taken in run `{us.run}`, says `{link.peer}`"
        )
        self._hint = "stop the other process, or start this one with another `--id`"
        if self.phase is Phase.GATHERING:
            self._reason = "refused"
            self._close(Cause.ABORTED)
        else:
            self._stop("refused")

    def _may_be_taken_for_another(self) -> bool:
        """Whether our id may be held by nobody but what we were before."""
        is_new = self._core.now < self._started_s + RETURN_S
        return self._core.settings.is_again and is_new and not self._reason

    def _chunk(self, link: Link, chunk: Chunk, event: ev.Received) -> None:
        if self._exchanges.cut_off(link, chunk):
            self._neighborhood.blame(link)
            if link.route is None:
                return  # that was one fault too many
        try:
            arrival = self._exchanges.chunk(link, chunk, event.payload, finite=event.finite)
        except VectorError as error:
            if error.reason != OVERTAKEN:  # its sender cannot help it
                self._neighborhood.blame(link)
            self._spoiled(link, error.reason)
            return
        if arrival is None:
            return
        self._neighborhood.forgive(link)
        if self.phase is Phase.LEAVING:
            self._exchanges.discard((arrival,), "finished")
        else:
            self._take(arrival, link)

    def _farewell(self, link: Link, message: Leave | LeaveAck) -> None:
        if isinstance(message, Leave):
            self._neighborhood.leaves(link)
            self._neighborhood.say_leave_ack(link)
            self._left(link)
        else:
            self._awaiting.discard(link.peer)

    # -- looking in --------------------------------------------------------------------------------

    def is_ready(self, peer: str) -> bool:
        """Whether a vector may be sent to a neighbor."""
        link = self._neighborhood.links.get(peer)
        return link is not None and link.is_ready

    def members(self) -> Sequence[Member]:
        """Everybody who was ever there; empty where members do not watch each other."""
        return () if self._attachment is None else self._attachment.membership.rows()

    @property
    def held_bytes(self) -> int:
        """Bytes of vectors in memory, but for those that are being mixed."""
        return self._exchanges.held_bytes() + self._held_bytes()

    def statistics(self) -> PeerMachineStatistics:
        """A snapshot for status pages."""
        settings, exchanges = self._core.settings, self._exchanges
        believed = self._attachment.believed if self._attachment is not None else lambda peer: ""
        return PeerMachineStatistics(
            node=self._core.us.node,
            run=self._core.us.run,
            phase=self.phase.value,
            round=self._round,
            iterations=self._iterations,
            iterations_total=settings.iterations,
            clock=self._core.clock,
            unacknowledged=len(exchanges.outstanding),
            waiting=len(exchanges.inbox),
            held_bytes=self.held_bytes,
            lonely_rounds=self._lonely_rounds,
            refusals=self._neighborhood.refusals,
            strangers=self._neighborhood.strangers,
            malformed=self._malformed,
            save_problem=self._saves.problem,
            is_paused=self._is_paused(),
            is_degraded=self._is_degraded,
            scores=self._scores(),
            members=self._attachment.statistics() if self._attachment is not None else None,
            peers=tuple(
                PeerStatistics.of(link, exchanges.traffic[peer], believed(peer))
                for peer, link in self._neighborhood.links.items()
            ),
        )

    def validate(self) -> None:
        """Asserts the invariants of the class, for all that has changed since the last time."""
        core = self._core
        assert core.clock >= self._seen_clock, "the Lamport clock went back"
        self._seen_clock = core.clock
        if self._awaiting:
            assert self.phase is Phase.LEAVING, "waits for leave without leaving"
            assert self._awaiting <= self._neighborhood.links.keys(), "waits for a stranger"
        self._neighborhood.validate()
        if self._attachment is not None:
            self._attachment.validate()
        self._exchanges.validate(self._neighborhood.routes)
        if self.phase is Phase.CLOSED:
            assert not self._exchanges.outstanding, "closed with vectors on the way"
            assert not self._exchanges.held_bytes(), "closed with vectors in memory"
            assert not self._held_bytes(), "closed with vectors in hand"

    def validate_all(self) -> None:
        """Asserts them for everything, which takes time for each neighbor and vector."""
        self._neighborhood.validate_all()
        if self._attachment is not None:
            self._attachment.validate_all()
        self._exchanges.validate_all(self._neighborhood.routes)
        self.validate()

    def _enter(self, cause: Cause) -> None:
        after = self.TRANSITIONS[self.phase].get(cause)
        if after is None:
            raise self._impossible(cause)
        self.phase = after

    def _set_timer(self, name: str, delay_s: float) -> None:
        self._core.emit(do.SetTimer(name=name, at_s=self._core.now + delay_s))

    def _impossible(self, what: ev.Event | Cause) -> LocalProtocolError:
        told = what.value if isinstance(what, Cause) else ev.in_short(ev.kinds(what))
        story = "; ".join(
            f"{now:.3f} {phase.value} {ev.in_short(kinds)}" for now, phase, kinds in self._story
        )
        return LocalProtocolError(
            expected=f"something that can happen while {self.phase.value}",
            got=f"`{told}`",
            at=f"machine of `{self._core.us.node}` after: {story}",
        )
