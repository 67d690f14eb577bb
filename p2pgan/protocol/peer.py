"""The peer machine: one node of a gossip run.

Theory of operation. A peer waits for its neighbors, then repeats rounds: train, send its networks
to whoever the draw says, mix in what has arrived meanwhile. It never waits for anybody's vector.
When its iterations are made it scores, and takes the last step with the others, if there is one
(`last_step.py`). Then, or when somebody wants it to stop, it saves and leaves: it tells every peer,
and stays until each has said that nothing is on the way any more and has acknowledged what it was
sent, or until the drain timer fires. `phases.TRANSITIONS` is the table of its life.

The machine is the only place that decides. It is fed events one at a time and returns instructions;
work that takes time (training, mixing, scoring, saving) comes back as an event.
"""

from collections import deque
from typing import Final

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival, VectorError
from p2pgan.protocol.core import Core, Settings
from p2pgan.protocol.exchanges import Exchanges
from p2pgan.protocol.last_step import SETTLE_TIMER, LastStep
from p2pgan.protocol.links import Link, Outward
from p2pgan.protocol.messages import (
    Chunk,
    Hello,
    Leave,
    LeaveAck,
    Message,
    News,
    Refuse,
    VectorAck,
    Welcome,
)
from p2pgan.protocol.neighborhood import Neighborhood
from p2pgan.protocol.phases import TRANSITIONS, Cause, Phase
from p2pgan.protocol.statistics import PeerMachineStatistics, PeerStatistics

GATHER_TIMER: Final = "gather"
DRAIN_TIMER: Final = "drain"
ROUND_TIMER: Final = "round"

STORY_EVENTS: Final = 16
"""Events that an error of our own shell is told with."""


class PeerMachine:
    """One node of a gossip run, without any I/O.

    Invariants (`validate` asserts them after every event):
    - the phase was reached along `TRANSITIONS`;
    - rounds and iterations never exceed what was asked for;
    - the Lamport clock never goes back;
    - only a mixing or concluding peer holds vectors that are being mixed;
    - only a concluding peer judges;
    - only a leaving peer waits for acknowledgments of its leave, and only from neighbors;
    - a closed peer holds nothing;
    - those of `Neighborhood`, `Exchanges` and `LastStep`.
    """

    __slots__ = ("_asked", "_awaiting", "_core", "_exchanges", "_failure", "_hint", "_is_due",
                 "_iterations", "_last_step", "_lonely_rounds", "_malformed", "_mixing",
                 "_neighborhood", "_reason", "_round", "_seen_clock", "_story", "_trained",
                 "_trained_at_s", "phase")  # fmt: skip

    def __init__(self, settings: Settings) -> None:
        self._core = Core(settings)
        self._neighborhood = Neighborhood(self._core)
        self._exchanges = Exchanges(self._core)
        self._last_step: LastStep | None = None
        if settings.last_step is not None:
            self._last_step = LastStep(self._core, self._neighborhood, self._exchanges)
        self._is_due = False
        """Whether a round of the last step waits for the work at hand."""
        self.phase = Phase.IDLE
        self._round = 0
        self._iterations = 0
        self._asked = 0
        self._trained = ev.TrainingDone(iterations=0)
        self._trained_at_s = 0.0
        self._mixing: tuple[Arrival, ...] = ()
        self._awaiting: set[str] = set()
        self._reason = ""
        """Why the node stops, once that is known."""
        self._failure = ""
        self._hint = ""
        self._malformed = 0
        self._lonely_rounds = 0
        self._seen_clock = 0
        self._story: deque[str] = deque(maxlen=STORY_EVENTS)

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
        self._story.append(f"{now:.3f} {self.phase.value} {ev.in_short(event)}")
        match event:
            case ev.Received() | ev.Answered() | ev.Malformed() | ev.LinkUp() | ev.LinkDown():
                if self.phase is not Phase.CLOSED:
                    self._on_network(event)
            case ev.WorkDone():
                self._on_work(event)
            case _:
                self._on_wish(event)
        self.validate()
        return self._core.take()

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
                self._timer(event.name)
            case ev.VectorReplaced():
                self._exchanges.replaced(event.peer, event.exchange)
                self._close_if_drained()
            case ev.Abort():
                pass
            case _:
                raise self._impossible(event)

    def _start(self, event: ev.Started) -> None:
        self._enter(Cause.STARTED)
        self._core.record(
            "node_started", pid=event.pid, address=event.address, control=event.control
        )
        settings = self._core.settings
        sends = settings.groups or settings.last_step
        if not sends or settings.wait_s <= 0 or self._neighborhood.is_settled():
            self._train(Cause.GATHERED)
        else:
            self._set_timer(GATHER_TIMER, settings.wait_s)

    def _timer(self, name: str) -> None:
        if name == GATHER_TIMER and self.phase is Phase.GATHERING:
            self._train(Cause.GATHERED)
        elif name == DRAIN_TIMER and self.phase is Phase.LEAVING:
            self._close(Cause.DRAINED)
        elif name == SETTLE_TIMER and self.phase is Phase.SETTLING:
            self._begin_if_wait_is_over()
        elif name == ROUND_TIMER and self.phase is Phase.CONCLUDING:
            self._is_due = True
            self._go_on_concluding()

    def _gathered_if_settled(self) -> None:
        if self.phase is Phase.GATHERING and self._neighborhood.is_settled():
            self._core.emit(do.CancelTimer(name=GATHER_TIMER))
            self._train(Cause.GATHERED)

    def _stop(self, reason: str) -> None:
        """Notes the wish; the work at hand ends first, as early as it can."""
        if self._reason or self.phase in (Phase.LEAVING, Phase.CLOSED):
            return
        self._reason = reason
        if self.phase is Phase.GATHERING:
            self._core.emit(do.CancelTimer(name=GATHER_TIMER))
            self._save(Cause.HALTED)
        elif self.phase is Phase.TRAINING:
            self._core.emit(do.StopTraining())
        elif self.phase is Phase.SETTLING:
            self._core.emit(do.CancelTimer(name=SETTLE_TIMER))
            self._save(Cause.HALTED)
        elif self.phase is Phase.CONCLUDING:
            self._go_on_concluding()
        elif self.phase is Phase.IDLE:
            raise self._impossible(ev.StopRequested(reason=reason))

    # -- rounds ------------------------------------------------------------------------------------

    def _on_work(self, event: ev.Event) -> None:
        match self.phase, event:
            case Phase.TRAINING, ev.TrainingDone():
                self._training_done(event)
            case ((Phase.MIXING | Phase.CONCLUDING), ev.MixingDone()):
                self._mixing_done(event)
            case Phase.CONCLUDING, ev.JudgingDone():
                self._judging_done(event)
            case Phase.ADOPTING, ev.AdoptingDone():
                self._adopting_done()
            case Phase.SCORING, ev.ScoringDone():
                self._scoring_done(event)
            case Phase.SAVING, ev.SavingDone():
                self._core.record("checkpoint_saved", path=event.path, iterations=self._iterations)
                self._leave(Cause.SAVED)
            case _:
                raise self._impossible(event)

    def _train(self, cause: Cause) -> None:
        self._enter(cause)
        settings = self._core.settings
        self._asked = min(settings.exchange_every, settings.iterations - self._iterations)
        self._core.emit(do.Train(iterations=self._asked))

    def _training_done(self, event: ev.TrainingDone) -> None:
        if not 0 <= event.iterations <= self._asked:
            raise self._impossible(event)
        self._iterations += event.iterations
        if self._reason:
            self._save(Cause.HALTED)
            return
        if event.iterations < self._asked:
            raise self._impossible(event)
        self._enter(Cause.TRAINED)
        self._trained, self._trained_at_s = event, self._core.now
        self._exchange()
        self._mixing = self._exchanges.take("mix")
        if self._mixing:
            self._core.emit(do.Mix(arrivals=self._mixing))
        else:
            self._finish_round()

    def _exchange(self) -> None:
        """Sends each group of networks to the peers drawn for it, as they are before mixing."""
        settings = self._core.settings
        ready = self._neighborhood.ready()
        if settings.groups and not ready:
            self._lonely_rounds += 1
            return
        for nets in settings.groups:
            for peer in settings.draw(ready):
                assert peer in ready, f"the draw chose `{peer}`, which is not ready"
                self._exchanges.send(peer, nets, round=self._round + 1)

    def _mixing_done(self, event: ev.MixingDone) -> None:
        weights = dict(event.weights)
        if weights.keys() != {arrival.exchange for arrival in self._mixing}:
            raise self._impossible(event)
        for arrival in self._mixing:
            weight = weights[arrival.exchange]
            self._exchanges.mixed(arrival, weight=weight, round=self._next_round())
        self._mixing = ()
        if self.phase is Phase.CONCLUDING:
            self._go_on_concluding()
        else:
            self._finish_round()

    def _finish_round(self) -> None:
        self._round += 1
        self._core.record(
            "round_finished",
            round=self._round,
            iterations=self._iterations,
            loss_d=self._trained.loss_d,
            loss_g=self._trained.loss_g,
            train_s=self._trained.train_s,
            exchange_s=self._core.now - self._trained_at_s,
        )
        if self._reason:
            self._save(Cause.HALTED)
        elif self._is_finished() or self._core.settings.is_scored(self._round):
            self._enter(Cause.SCORE_DUE)
            self._core.emit(do.Score())
        else:
            self._train(Cause.MIXED)

    def _scoring_done(self, event: ev.ScoringDone) -> None:
        last = self._last_step
        after = last.settings.name if last is not None and last.is_over else None
        self._core.record(
            "scores",
            after=after,
            round=self._round + (last.round if last is not None else 0),
            iterations=self._iterations,
            fid=event.fid,
            ms=event.ms,
            samples=event.samples,
        )
        if self._reason:
            self._save(Cause.HALTED)
        elif self._is_finished() and last is not None and not last.is_over:
            self._settle(last)
        elif self._is_finished():
            self._reason = "finished"
            self._save(Cause.FINISHED)
        else:
            self._train(Cause.SCORED)

    def _is_finished(self) -> bool:
        return self._iterations >= self._core.settings.iterations

    # -- the last step -----------------------------------------------------------------------------

    def _settle(self, last: LastStep) -> None:
        """Waits for the others."""
        self._enter(Cause.LAST_STEP)
        last.settle()
        self._begin_if_settled()

    def _begin_if_settled(self) -> None:
        last = self._last_step
        if self.phase is Phase.SETTLING and last is not None and last.may_begin():
            self._core.emit(do.CancelTimer(name=SETTLE_TIMER))
            self._begin_last_step()

    def _begin_if_wait_is_over(self) -> None:
        if self._last_step is not None and self._last_step.is_wait_over():
            self._begin_last_step()

    def _begin_last_step(self) -> None:
        assert self._last_step is not None
        self._enter(Cause.BEGUN)
        self._last_step.begin()
        self._is_due = True
        self._go_on_concluding()

    def _go_on_concluding(self) -> None:
        """The next thing that can be done: end, play a round, judge; work at hand ends first."""
        last = self._last_step
        assert last is not None
        if not self._reason:
            last.judge_next()
        is_busy = bool(self._mixing) or last.judging is not None
        if self._reason or (self._is_due and last.has_ended()):
            if not is_busy:
                self._conclude(last)
        elif self._is_due and not self._mixing and last.is_next_due():
            self._is_due = False
            self._set_timer(ROUND_TIMER, last.settings.round_s)
            last.play(self._next_round())
            self._mixing = self._exchanges.take("average")
            if self._mixing:
                self._core.emit(do.Mix(arrivals=self._mixing))

    def _next_round(self) -> int:
        """The number of the round that is played, those of the last step being numbered on."""
        return self._round + 1 + (self._last_step.round if self._last_step is not None else 0)

    def _judging_done(self, event: ev.JudgingDone) -> None:
        last = self._last_step
        if last is None or last.judging is None:
            raise self._impossible(event)
        last.judged(event.score)
        self._go_on_concluding()

    def _conclude(self, last: LastStep) -> None:
        self._core.emit(do.CancelTimer(name=ROUND_TIMER))
        last.end()
        if last.held is not None:
            self._enter(Cause.CHOSEN)
            self._core.emit(do.Adopt(arrival=last.held))
        else:
            self._concluded(last)

    def _adopting_done(self) -> None:
        assert self._last_step is not None
        self._last_step.adopted(self._round + self._last_step.round)
        self._concluded(self._last_step)

    def _concluded(self, last: LastStep) -> None:
        last.record()
        if self._reason:
            self._save(Cause.HALTED)
        else:
            self._enter(Cause.SCORE_DUE)
            self._core.emit(do.Score())

    # -- the end -----------------------------------------------------------------------------------

    def _save(self, cause: Cause) -> None:
        self._enter(cause)
        self._core.emit(do.Save())

    def _leave(self, cause: Cause) -> None:
        """Tells all peers, but those that have left: they send no more and need no warning.

        Waits only for those that our own connection leads to: its end would tell of theirs.
        """
        self._enter(cause)
        self._exchanges.discard(self._mixing, self._reason)
        self._mixing = ()
        self._exchanges.discard(self._exchanges.take(), "finished")
        self._discard_pairs()
        for peer, link in self._neighborhood.links.items():
            told = not link.left and self._neighborhood.say_leave(link)
            if told and link.outward is not Outward.DOWN:
                self._awaiting.add(peer)
        self._set_timer(DRAIN_TIMER, self._core.settings.drain_s)
        self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self.phase is Phase.LEAVING and not self._awaiting and not self._exchanges.outstanding:
            self._core.emit(do.CancelTimer(name=DRAIN_TIMER))
            self._close(Cause.DRAINED)

    def _close(self, cause: Cause) -> None:
        self._enter(cause)
        self._awaiting.clear()
        self._exchanges.discard(self._mixing, self._reason)
        self._mixing = ()
        self._discard_pairs()
        self._exchanges.close()
        self._core.record(
            "node_stopped", reason=self._reason, iterations=self._iterations, rounds=self._round
        )
        self._core.emit(do.Close(reason=self._reason, failure=self._failure, hint=self._hint))

    def _discard_pairs(self) -> None:
        if self._last_step is not None:
            self._last_step.discard("finished")

    # -- peers -------------------------------------------------------------------------------------

    def _on_network(self, event: ev.Event) -> None:
        match event:
            case ev.Received():
                self._received(event)
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
        self._exchanges.prune(self._neighborhood.routes)
        self._gathered_if_settled()
        self._begin_if_settled()
        self._close_if_drained()

    def _received(self, event: ev.Received) -> None:
        """What a caller says. Before it is welcomed it can only say hello."""
        message, route = event.message, event.route
        if isinstance(message, Hello):
            is_leaving = self.phase is Phase.LEAVING
            self._neighborhood.answer_hello(
                route, message, round=self._round, is_leaving=is_leaving
            )
            return
        link = self._neighborhood.caller(route)
        if link is None:
            if isinstance(message, Chunk):
                self._exchanges.unwelcome(route, message)
            return
        self._core.observe(message.clock)
        if isinstance(message, Chunk):
            self._chunk(link, message, event)
        elif isinstance(message, Leave | LeaveAck):
            self._farewell(link, message)
        elif not (isinstance(message, News) and self._heard(message)):
            self._neighborhood.blame(link)

    def _heard(self, message: News) -> bool:
        """News of the last step; `False` if they cannot be."""
        return self._last_step is not None and self._last_step.hear(message)

    def _answered(self, link: Link, message: Message) -> None:
        """What comes back over our own connection."""
        self._core.observe(message.clock)
        match message:
            case Welcome():
                self._neighborhood.welcomed(link, message)
                if self._last_step is not None:
                    self._last_step.greeted(link)
            case Refuse():
                self._refused(link, message)
            case VectorAck():
                self._exchanges.acknowledged(link.peer, message)
            case Leave() | LeaveAck():
                self._farewell(link, message)
            case _:
                self._neighborhood.blame(link)

    def _refused(self, link: Link, refuse: Refuse) -> None:
        """Being refused by one is no reason to stop, but for an id that somebody else holds.

        A node that has begun its work saves it first: a peer's word is not worth a day's training.
        """
        taken = refuse.code == "identity_taken" and link.outward is not Outward.DOWN
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

    def _chunk(self, link: Link, chunk: Chunk, event: ev.Received) -> None:
        try:
            arrival = self._exchanges.chunk(link, chunk, event.payload, finite=event.finite)
        except VectorError:
            self._neighborhood.blame(link)
            return
        if arrival is not None and self.phase is Phase.LEAVING:
            self._exchanges.discard((arrival,), "finished")
        elif arrival is not None and arrival.purpose in ("judge", "adopt"):
            assert self._last_step is not None, "a pair without a last step is refused"
            self._last_step.keep(arrival)
            if self.phase is Phase.CONCLUDING:
                self._go_on_concluding()
        elif arrival is not None:
            self._exchanges.keep(arrival)

    def _farewell(self, link: Link, message: Leave | LeaveAck) -> None:
        if isinstance(message, Leave):
            link.left = True
            self._neighborhood.say_leave_ack(link)
            if self._last_step is not None:
                self._last_step.trained((link.peer,))
        else:
            self._awaiting.discard(link.peer)

    # -- looking in --------------------------------------------------------------------------------

    def statistics(self) -> PeerMachineStatistics:
        """A snapshot for status pages."""
        settings, exchanges = self._core.settings, self._exchanges
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
            held_bytes=exchanges.held_bytes()
            + (self._last_step.held_bytes() if self._last_step is not None else 0),
            lonely_rounds=self._lonely_rounds,
            refusals=self._neighborhood.refusals,
            strangers=self._neighborhood.strangers,
            malformed=self._malformed,
            peers=tuple(
                PeerStatistics.of(link, exchanges.traffic[peer])
                for peer, link in self._neighborhood.links.items()
            ),
        )

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        settings, core = self._core.settings, self._core
        assert 0 <= self._iterations <= settings.iterations, "too many iterations"
        assert self._round * settings.exchange_every < settings.iterations + settings.exchange_every
        assert core.clock >= self._seen_clock, "the Lamport clock went back"
        self._seen_clock = core.clock
        mixes = self.phase in (Phase.MIXING, Phase.CONCLUDING)
        assert not self._mixing or mixes, "arrivals are held without mixing"
        last = self._last_step
        if last is not None:
            last.validate()
            assert not last.judging or self.phase is Phase.CONCLUDING, "judges at another time"
        assert not self._awaiting or self.phase is Phase.LEAVING, "waits for leave without leaving"
        assert self._awaiting <= self._neighborhood.links.keys(), "waits for a stranger"
        self._neighborhood.validate()
        self._exchanges.validate(self._neighborhood.routes)
        if self.phase is Phase.CLOSED:
            assert not self._exchanges.outstanding, "closed with vectors on the way"
            assert not self._exchanges.held_bytes(), "closed with vectors in memory"
            assert last is None or not last.held_bytes(), "closed with pairs in memory"

    def _enter(self, cause: Cause) -> None:
        after = TRANSITIONS[self.phase].get(cause)
        if after is None:
            raise self._impossible(cause)
        self.phase = after

    def _set_timer(self, name: str, delay_s: float) -> None:
        self._core.emit(do.SetTimer(name=name, at_s=self._core.now + delay_s))

    def _impossible(self, what: ev.Event | Cause) -> LocalProtocolError:
        told = what.value if isinstance(what, Cause) else ev.in_short(what)
        story = "; ".join(self._story)
        return LocalProtocolError(
            expected=f"something that can happen while {self.phase.value}",
            got=f"`{told}`",
            at=f"peer machine `{self._core.us.node}` after: {story}",
        )
