"""The peer machine: one node of a gossip run.

Theory of operation. A peer waits for its neighbors, then repeats rounds: train, send its networks
to whoever the draw says, mix in what has arrived meanwhile. It never waits for anybody's vector.
Now and then it saves, and a node that is started again goes on from there. One that comes to a run
that is under way begins with a neighbor's networks (`gifts.py`). Somebody may have it pause, or
score, amid a round; that goes on afterwards where it was cut short.
When its iterations are made it scores, and takes the last step with the others, if there is one
(`last_step.py`). Then, or when somebody wants it to stop, it saves and leaves, as all machines do
(`machine.py`). `phases.TRANSITIONS` is the table of its life.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

import msgspec

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival
from p2pgan.protocol.core import Settings
from p2pgan.protocol.exchanges import KEPT, Outgoing
from p2pgan.protocol.gifts import FETCH_TIMER, Gifts
from p2pgan.protocol.keeping import State, decoded
from p2pgan.protocol.last_step import SETTLE_TIMER, LastStep
from p2pgan.protocol.links import Link
from p2pgan.protocol.machine import GATHER_TIMER, Machine
from p2pgan.protocol.mass import Mass
from p2pgan.protocol.messages import Fetch, Message, News
from p2pgan.protocol.pairing import Pairs
from p2pgan.protocol.phases import TRANSITIONS, Cause, Phase
from p2pgan.protocol.statistics import ScoreStatistics
from p2pgan.protocol.trading import Push, Trade

ROUND_TIMER: Final = "round"

TRADES: Final[Mapping[str, type[Trade]]] = {"push": Push, "mass": Mass, "pair": Pairs}
"""What `Settings.exchange` stands for."""


class PeerMachine(Machine):
    """One node of a gossip run, without any I/O.

    Invariants, beside those of `Machine`:
    - rounds and iterations never exceed what was asked for;
    - only a mixing or concluding peer holds vectors that are being mixed;
    - only a concluding peer judges;
    - those of `LastStep` and of its `Trade`.
    """

    TRANSITIONS = TRANSITIONS

    __slots__ = ("_asked", "_gifts", "_has_trained", "_is_cut", "_is_due", "_last_scores",
                 "_last_step", "_mixing", "_settings", "_trade", "_trained", "_trained_at_s",
                 "_wants_pause", "_wants_scores")  # fmt: skip

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings)
        self._settings = settings
        self._last_step: LastStep | None = None
        if settings.last_step is not None:
            self._last_step = LastStep(self._core, settings, self._neighborhood, self._exchanges)
        trade = TRADES[settings.exchange]
        self._trade = trade(self._core, settings, self._neighborhood, self._exchanges)
        is_new = settings.around is not None and settings.around.is_new
        self._gifts = Gifts(self._core, self._neighborhood, self._exchanges, is_wanted=is_new)
        self._has_trained = False
        """Whether our shell has networks that can be given away."""
        self._is_due = False
        """Whether a round of the last step waits for the work at hand."""
        self._asked = 0
        self._is_cut = False
        """Whether the training at hand was told to end early."""
        self._wants_pause = False
        self._wants_scores = False
        self._last_scores: ScoreStatistics | None = None
        self._trained = ev.TrainingDone(iterations=0)
        """What was trained of the round so far."""
        self._trained_at_s = 0.0
        self._mixing: do.Mix | None = None
        if settings.state:
            self._restore(decoded(settings.state, State))

    @property
    def weight(self) -> float:
        """How much our own networks count for in a mean."""
        rule = self._settings.weighting
        return 1.0 if rule is None else rule.own

    # -- life --------------------------------------------------------------------------------------

    def _gather(self) -> None:
        settings = self._settings
        sends = settings.groups or settings.last_step
        is_settled = self._neighborhood.is_settled() and not self._gifts.is_wanted
        if not sends or settings.wait_s <= 0 or is_settled:
            self._begin()
        else:
            self._set_timer(GATHER_TIMER, settings.wait_s)

    def _timer(self, name: str) -> None:
        if name == GATHER_TIMER and self.phase is Phase.GATHERING:
            self._begin()
        elif name == FETCH_TIMER and self.phase is Phase.GATHERING:
            self._gifts.ask_again()
        elif name == SETTLE_TIMER and self.phase is Phase.SETTLING:
            self._begin_if_wait_is_over()
        elif name == ROUND_TIMER and self.phase is Phase.CONCLUDING:
            self._is_due = True
            self._go_on_concluding()
        elif self.phase is not Phase.CLOSED:
            self._trade.fired(name)

    def _go_on(self) -> None:
        self._gathered_if_settled()
        self._begin_if_settled()

    def _gathered_if_settled(self) -> None:
        waits = self.phase is Phase.GATHERING and not self._gifts.is_wanted
        if waits and self._neighborhood.is_settled():
            self._core.emit(do.CancelTimer(name=GATHER_TIMER))
            self._begin()

    def _begin(self) -> None:
        """A node that had made its iterations before the start has only to take part in the end."""
        self._gifts.end()
        if self._attachment is not None:
            self._attachment.begin()
        if self._is_finished():
            self._score()
        else:
            self._train(Cause.GATHERED)

    def _halt(self) -> None:
        if self.phase is Phase.GATHERING:
            self._core.emit(do.CancelTimer(name=GATHER_TIMER))
            self._save(Cause.HALTED)
        elif self.phase is Phase.TRAINING:
            self._core.emit(do.StopTraining())
        elif self.phase is Phase.PAUSED:
            self._save(Cause.HALTED)
        elif self.phase is Phase.SETTLING:
            self._core.emit(do.CancelTimer(name=SETTLE_TIMER))
            self._save(Cause.HALTED)
        elif self.phase is Phase.CONCLUDING:
            self._go_on_concluding()

    # -- wishes ------------------------------------------------------------------------------------

    def _objection(self, wish: ev.Event) -> str:
        trains = isinstance(wish, ev.PauseRequested | ev.ScoresRequested)
        return "it has made its iterations" if trains and self._is_finished() else ""

    def _grant(self, wish: ev.Event) -> None:
        match wish:
            case ev.PauseRequested():
                self._wants_pause = True
                self._cut()
            case ev.ResumeRequested():
                self._wants_pause = False
                if self.phase is Phase.PAUSED:
                    self._train(Cause.RESUMED)
            case ev.ScoresRequested() if self.phase is Phase.PAUSED:
                self._score()
            case ev.ScoresRequested() if self.phase is not Phase.SCORING:
                self._wants_scores = True
                self._cut()

    def _cut(self) -> None:
        """Ends the training at hand early, if there is any; the round goes on later."""
        if self.phase is Phase.TRAINING and not self._is_cut:
            self._is_cut = True
            self._core.emit(do.StopTraining())

    def _is_paused(self) -> bool:
        return self._wants_pause

    def _scores(self) -> ScoreStatistics | None:
        return self._last_scores

    # -- rounds ------------------------------------------------------------------------------------

    def _work_done(self, event: ev.Event) -> None:
        match self.phase, event:
            case Phase.TRAINING, ev.TrainingDone():
                self._training_done(event)
            case ((Phase.MIXING | Phase.CONCLUDING), ev.MixingDone()):
                self._mixing_done(event)
            case Phase.CONCLUDING, ev.JudgingDone():
                self._judging_done(event)
            case Phase.ADOPTING, ev.AdoptingDone() if self._gifts.is_wanted:
                self._gift_adopted()
            case Phase.ADOPTING, ev.AdoptingDone():
                self._adopting_done()
            case Phase.SCORING, ev.ScoringDone():
                self._scoring_done(event)
            case _:
                raise self._impossible(event)

    def _train(self, cause: Cause) -> None:
        """Trains, unless somebody wants something else."""
        if self._wants_scores:
            self._score()
            return
        if self._wants_pause:
            self._enter(Cause.PAUSED)
            return
        self._enter(cause)
        self._is_cut = False
        settings = self._settings
        end = min((self._round + 1) * settings.exchange_every, settings.iterations)
        # Less than a round, of one that was cut short: none, if it had only to be exchanged.
        self._asked = end - self._iterations
        self._core.emit(do.Train(iterations=self._asked))

    def _training_done(self, event: ev.TrainingDone) -> None:
        if not 0 <= event.iterations <= self._asked:
            raise self._impossible(event)
        self._iterations += event.iterations
        self._has_trained = self._has_trained or event.iterations > 0
        self._trained = _joined(self._trained, event)
        if self._reason:
            self._save(Cause.HALTED)
            return
        if event.iterations < self._asked and self._saves.is_wanted:
            self._keep()
            return
        if event.iterations < self._asked:
            if not self._is_cut:
                raise self._impossible(event)
            self._train(Cause.RESUMED)
            return
        self._enter(Cause.TRAINED)
        self._trained_at_s = self._core.now
        self._exchange()
        self._mix(self._trade.take(self._next_round()))
        if self._mixing is None:
            self._finish_round()

    def _give(self, link: Link) -> None:
        """A newcomer wants networks, which we have once we have trained."""
        if self._has_trained and not self._reason:
            self._gifts.give(link, round=self._round, iterations=self._iterations)

    def _gift_adopted(self) -> None:
        """We go on where its giver was."""
        arrival = self._gifts.adopted()
        self._core.emit(do.CancelTimer(name=GATHER_TIMER))
        settings = self._settings
        self._iterations = min(arrival.number, settings.iterations)
        self._round = self._iterations // settings.exchange_every
        if self._is_finished():  # the last round may be shorter
            self._round = -(-self._iterations // settings.exchange_every)
        if self._reason:
            self._save(Cause.HALTED)
        else:
            self._begin()

    def _exchange(self) -> None:
        """Sends networks as they are before mixing, if there is anybody to send them to."""
        ready = self._neighborhood.ready()
        if self._settings.groups and not ready:
            self._lonely_rounds += 1
        elif self._settings.groups:
            self._trade.send(ready, self._next_round())

    def _mix(self, mix: do.Mix | None) -> None:
        self._mixing = mix
        if mix is not None:
            self._core.emit(mix)
            for exchange in sorted(mix.needed):
                self._core.emit(do.Forget(exchange=exchange))

    def _mixing_done(self, event: ev.MixingDone) -> None:
        mix, weights = self._mixing, dict(event.weights)
        if mix is None or weights.keys() != {arrival.exchange for arrival in mix.arrivals}:
            raise self._impossible(event)
        self._mixing = None
        for arrival in mix.came:
            weight = weights[arrival.exchange]
            self._exchanges.mixed(arrival, weight=weight, round=self._next_round())
        if self.phase is Phase.CONCLUDING:
            self._go_on_concluding()
        else:
            self._trade.mixed(mix)
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
        self._trained = ev.TrainingDone(iterations=0)
        if self._reason:
            self._save(Cause.HALTED)
            return
        if not self._is_finished():
            self._trade.go_on(self._neighborhood.ready(), self._round)
        if self._is_finished() or self._settings.is_scored(self._round):
            self._score()
        else:
            self._keep_or_train(Cause.MIXED)

    def _score(self) -> None:
        self._wants_scores = False
        self._enter(Cause.SCORE_DUE)
        self._core.emit(do.Score())

    def _keep_or_train(self, cause: Cause) -> None:
        if self._saves.is_due(self._round, self._core.now):
            self._keep()
        else:
            self._train(cause)

    def _kept(self) -> None:
        self._train(Cause.KEPT)

    def _save_soon(self) -> None:
        if self.phase is Phase.PAUSED:
            self._keep()
        else:
            self._cut()

    def _scoring_done(self, event: ev.ScoringDone) -> None:
        last = self._last_step
        after = last.settings.name if last is not None and last.is_over else None
        self._last_scores = ScoreStatistics(
            round=self._round + (last.round if last is not None else 0),
            iterations=self._iterations,
            fid=event.fid,
            ms=event.ms,
            samples=event.samples,
        )
        self._core.record("scores", after=after, **asdict(self._last_scores))
        if self._reason:
            self._save(Cause.HALTED)
        elif self._is_finished() and last is not None and not last.is_over:
            self._settle(last)
        elif self._is_finished():
            self._reason = "finished"
            self._save(Cause.FINISHED)
        else:
            self._keep_or_train(Cause.SCORED)

    def _is_finished(self) -> bool:
        return self._round >= self._settings.rounds

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
        is_busy = self._mixing is not None or last.judging is not None
        if self._reason or (self._is_due and last.has_ended()):
            if not is_busy:
                self._conclude(last)
        elif self._is_due and self._mixing is None and last.is_next_due():
            self._is_due = False
            self._set_timer(ROUND_TIMER, last.settings.round_s)
            last.play(self._next_round())
            arrivals = self._exchanges.take("average")
            self._mix(do.Mix(arrivals=arrivals) if arrivals else None)

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
            self._score()

    # -- going on from a checkpoint ----------------------------------------------------------------

    def _state(self) -> bytes:
        exchanges = self._exchanges
        return msgspec.msgpack.encode(
            State(
                round=self._round,
                iterations=self._iterations,
                clock=self._core.clock,
                lonely_rounds=self._lonely_rounds,
                weight=self.weight,
                sent=exchanges.sent,
                met=exchanges.met,
                decided=exchanges.decided,
            )
        )

    def _restore(self, state: State) -> None:
        settings = self._settings
        every, made = settings.exchange_every, state.iterations
        fits = 0 <= state.round <= settings.rounds and 0 <= made <= settings.iterations
        begun = min(state.round * every, settings.iterations)
        if not fits or not begun <= made <= begun + every:
            raise LocalProtocolError(
                expected=f"a run of {settings.iterations} iterations in rounds of {every}",
                got=f"one that has made {made} in {state.round} rounds",
                at="checkpoint",
                hint="go on with the settings of the run",
            )
        self._round, self._iterations = state.round, made
        self._core.clock = self._seen_clock = state.clock
        self._lonely_rounds = state.lonely_rounds
        if settings.weighting is not None:
            settings.weighting.recall(state.weight)
        self._exchanges.recall(state.sent, state.met, state.decided)

    # -- the end and the others --------------------------------------------------------------------

    def _let_go(self) -> None:
        if self._mixing is not None:
            self._exchanges.discard(self._mixing.came, self._reason)
            self._mixing = None
        if self._gifts.arrival is not None:
            self._exchanges.discard((self._gifts.arrival,), self._reason)
        self._gifts.end()
        self._trade.let_go(now=self.phase is Phase.CLOSED)
        if self._last_step is not None:
            self._last_step.discard("finished")

    def _hear(self, link: Link, message: Message) -> bool:
        """News of the last step, and a newcomer's wish."""
        if isinstance(message, Fetch):
            self._give(link)
            return True
        last = self._last_step
        return last is not None and isinstance(message, News) and last.hear(link, message)

    def _welcomed(self, link: Link) -> None:
        self._trade.welcomed(link)
        if self._gifts.owes(link):
            self._give(link)
        if self.phase is Phase.GATHERING:
            self._gifts.welcomed()
        if self._last_step is not None:
            self._last_step.greeted(link)

    def _left(self, link: Link) -> None:
        if self._last_step is not None:
            self._last_step.trained((link.peer,))

    def _lost(self, peer: str) -> None:
        self._trade.lost(peer)

    def _unwanted(self, arrival: Arrival) -> str:
        """Who mixes no more gives back what others count on."""
        if arrival.purpose == "gift":
            is_due = self.phase is Phase.GATHERING and not self._reason
            return self._gifts.unwanted(arrival) if is_due else "not_asked"
        if arrival.purpose not in KEPT:
            return ""
        is_done = bool(self._reason) or self._iterations >= self._settings.iterations
        return "finished" if is_done else self._trade.unwanted(arrival)

    def _accepted(self, out: Outgoing) -> None:
        self._trade.accepted(out)

    def _returned(self, out: Outgoing, reason: str) -> None:
        del reason
        self._trade.returned(out)

    def _take(self, arrival: Arrival, link: Link) -> None:
        del link
        if arrival.purpose == "gift":
            self._enter(Cause.GIVEN)
            self._gifts.take(arrival)
            return
        if arrival.purpose not in ("judge", "adopt"):
            self._trade.keep(arrival)
            return
        assert self._last_step is not None, "a pair without a last step is refused"
        self._last_step.keep(arrival)
        if self.phase is Phase.CONCLUDING:
            self._go_on_concluding()

    def _held_bytes(self) -> int:
        judged = self._last_step.held_bytes() if self._last_step is not None else 0
        return judged + self._gifts.held_bytes() + self._trade.held_bytes()

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        super().validate()
        settings = self._settings
        assert 0 <= self._iterations <= settings.iterations, "too many iterations"
        assert self._round * settings.exchange_every < settings.iterations + settings.exchange_every
        mixes = self.phase in (Phase.MIXING, Phase.CONCLUDING)
        assert self._mixing is None or mixes, "arrivals are held without mixing"
        assert self.phase is not Phase.PAUSED or self._wants_pause, "pauses though nobody wants it"
        self._trade.validate()
        last = self._last_step
        if last is not None:
            last.validate()
            assert not last.judging or self.phase is Phase.CONCLUDING, "judges at another time"


def _joined(first: ev.TrainingDone, second: ev.TrainingDone) -> ev.TrainingDone:
    """Two parts of a round as one: mean losses over both, and the time of both."""
    iterations = first.iterations + second.iterations
    if not first.iterations or not second.iterations:
        return first if first.iterations else second

    def mean(a: float | None, b: float | None) -> float | None:
        if a is None or b is None:
            return None
        return (first.iterations * a + second.iterations * b) / iterations

    spent = (first.train_s, second.train_s)
    return ev.TrainingDone(
        iterations=iterations,
        loss_g=mean(first.loss_g, second.loss_g),
        loss_d=mean(first.loss_d, second.loss_d),
        train_s=None if None in spent else sum(s for s in spent if s is not None),
    )
