"""MD-GAN's coordinator: it generates batches, and learns from what discriminators say of them.

Source: thesis, section 5.2, and 5.5 for the asynchronous variant.

Theory of operation. Synchronous: batches go to all discriminators that are in their places; when
all have answered, or the deadline is over and at least one has, the generator learns from those,
and the next iteration begins. Whoever is late gets no batches until it has answered. Asynchronous:
every worker is served on its own, and the generator learns from each feedback as it comes.

At the end of a round discriminators move, if they do: iterations stop until all are in their new
places, or the deadline of moves is over, and then go on without those that are still on their way.
A lost one is made again on an idle worker, as a copy of one that is not late; iterations go on
meanwhile.
"""

from typing import Final

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival, VectorError
from p2pgan.protocol.coordinator import ANSWER_TIMER, CoordinatorMachine, State
from p2pgan.protocol.deadline import Deadline
from p2pgan.protocol.exchanges import Outgoing, Parcel
from p2pgan.protocol.links import Link, Outward
from p2pgan.protocol.messages import Chunk, Holding, Message
from p2pgan.protocol.phases import SPLIT_COORDINATOR, Cause, Phase
from p2pgan.protocol.placement import Errand, Placement
from p2pgan.protocol.roles import CoordinatorSettings, Places, Placing, Split

ERRAND_TIMER: Final = "errand"

WRONG_SLOT: Final = "slot"
"""Why a worker refuses batches for a discriminator that it does not hold."""


class SplitCoordinator(CoordinatorMachine):
    """MD-GAN's coordinator, without any I/O.

    Invariants, beside those of `CoordinatorMachine` and `Placement`: feedback is held of one kind
    only, at most one of each slot.
    """

    TRANSITIONS = SPLIT_COORDINATOR

    __slots__ = ("_first", "_generating", "_learning", "_moves_deadline",
                 "_placement", "_rule", "_system", "_taken")  # fmt: skip

    def __init__(self, settings: CoordinatorSettings) -> None:
        assert isinstance(settings.system, Split)
        assert isinstance(settings.rule, Placing)
        self._system, self._rule = settings.system, settings.rule
        self._first: Places = settings.rule.first
        self._moves_deadline = Deadline(settings.deadline)
        self._generating: tuple[int, ...] = ()
        self._learning: tuple[Arrival, ...] = ()
        self._taken: dict[int, Arrival] = {}
        """Feedback by slot, in the order in which it came."""
        super().__init__(settings)
        self._placement = Placement(self._core, settings.system.slots)

    # -- gate --------------------------------------------------------------------------------------

    def bytes_of(self, nets: tuple[str, ...]) -> int:
        """The generator stays here."""
        raise AssertionError(f"MD-GAN's coordinator does not send {nets}")

    def admit(self, link: Link, chunk: Chunk) -> int:
        """Feedback that was asked for."""
        at = f"peer `{link.peer}`"
        if chunk.purpose != "feedback" or chunk.nets:
            raise VectorError("nets", expected="feedback", got=f"{chunk.purpose}", at=at)
        if chunk.origin:
            raise VectorError("origin", expected="none", got="one", at=at)
        self._check_asked(link, chunk)
        return self._system.feedback_bytes

    # -- workers and places ------------------------------------------------------------------------

    def _settled(self) -> bool:
        known = self._placement.holding
        return super()._settled() and all(w in known for w in self._neighborhood.ready())

    def _ready(self) -> list[str]:
        links, known = self._neighborhood.links, self._placement.holding
        return [w for w in self._settings.neighbors if links[w].is_ready and w in known]

    def _live(self) -> dict[int, str]:
        """Discriminators that can be reached."""
        links = self._neighborhood.links
        return {s: w for s, w in self._placement.places().items() if links[w].is_ready}

    def _places(self) -> Places:
        return self._placement.places() if self.phase is not Phase.GATHERING else self._first

    def _restored(self, state: State) -> None:
        self._iterations = state.updates // self._system.updates_per_iteration
        if {*state.places} <= {*self._first} and {*state.places.values()} <= {*self._debtors}:
            self._first = {**self._first, **state.places}

    def _begin(self) -> None:
        """A worker that has one already, from before the coordinator was started, keeps it, and
        what is lost is made again as always, as a copy if it can be."""
        if self._placement.places():
            return
        for slot, worker in sorted(self._first.items()):
            if self._placement.is_idle(worker) and worker in self._ready():
                self._placement.assign(slot, worker, is_awaited=True)
        self._time_errands()

    def _is_hopeful(self) -> bool:
        return super()._is_hopeful() or bool(self._placement.errands)

    def _hear(self, link: Link, message: Message) -> bool:
        if not isinstance(message, Holding):
            return False
        if message.slot is not None and message.slot >= self._system.slots:
            return False
        if link.outward is Outward.DOWN:
            return True  # it says so again when we call it
        self._silent.discard(link.peer)
        done = self._placement.told(link.peer, message.slot, message.order)
        if done is not None and (done.is_awaited or done.mover):
            self._moves_deadline.observe(self._core.now - done.since_s)
        return True

    def _replace(self) -> None:
        """Lost discriminators begin again on idle workers, unless all may be back in a moment."""
        lost = self._placement.lost()
        if not lost or self._placement.is_awaited():
            return
        live = self._live()
        sources = {slot: worker for slot, worker in live.items() if worker not in self._silent}
        if live and not sources:
            return
        for slot in lost:
            idle = {w for w in self._ready() if self._placement.is_idle(w)}
            there = [w for w in self._settings.neighbors if w in idle or w in sources.values()]
            chosen = self._rule.replacement(slot, sources, there) if idle else None
            if chosen is None:
                return
            source, worker = chosen
            assert worker in idle, "a lost discriminator goes to an idle worker"
            if source is None:
                self._placement.assign(slot, worker, is_awaited=False)
            else:
                self._placement.copy(source, slot, worker, round=self._round)
        self._time_errands()

    def _move(self) -> None:
        """Discriminators change places, but those whose workers are late."""
        self._moves_due = False
        assert self._rule.moved is not None
        there = [w for w in self._ready() if self._is_free(w)]
        before = {slot: w for slot, w in self._live().items() if w in there}
        if not before:
            return
        after = self._rule.moved(before, there)
        assert after.keys() == before.keys(), "no discriminator is forgotten or made up"
        assert {*after.values()} <= {*there}, "they move to workers that are there"
        assert len({*after.values()}) == len(after), "no two move to one worker"
        self._placement.move(after, round=self._round)
        self._time_errands()

    def _is_free(self, worker: str) -> bool:
        """Whether a worker, that is there, can take part in moves."""
        placement = self._placement
        expects = placement.holding[worker] is None and not placement.is_idle(worker)
        is_late = self._debtors[worker].owed is not None or worker in self._silent
        return not expects and not is_late

    def _time_errands(self) -> None:
        ends_s = [self._end_s(errand) for errand in self._placement.errands.values()]
        if ends_s:
            self._core.emit(do.SetTimer(name=ERRAND_TIMER, at_s=min(ends_s)))

    def _end_s(self, errand: Errand) -> float:
        """When an errand is not waited for any more, or given up; deadlines become longer."""
        deadline = self._moves_deadline
        if errand.is_awaited or not self._has_mover(errand):
            return errand.since_s + deadline.limit_s
        return errand.since_s + max(self._settings.lost_after_s, deadline.patience_s)

    def _has_mover(self, errand: Errand) -> bool:
        """Whether a worker is there that may have the discriminator still."""
        return bool(errand.mover) and self._neighborhood.links[errand.mover].is_ready

    def _timer(self, name: str) -> None:
        if name == ERRAND_TIMER:
            self._take_back()
        super()._timer(name)

    def _take_back(self) -> None:
        """Errands that were not carried out in time.

        A move is left alone at first: to release its mover would destroy what may be the only copy
        of a trained discriminator. A new one or a copy is soon made elsewhere.
        """
        for errand in list(self._placement.errands.values()):
            if self._end_s(errand) > self._core.now:
                continue
            if errand.is_awaited and self._has_mover(errand):
                self._placement.leave_alone(errand)
            else:
                self._placement.take_back(errand)
        self._time_errands()

    def _lost(self, peer: str) -> None:
        super()._lost(peer)
        self._placement.gone(peer)
        self._take_back()

    def _called(self, link: Link) -> None:
        super()._called(link)
        self._placement.gone(link.peer)

    def _welcomed(self, link: Link) -> None:
        super()._welcomed(link)
        self._placement.met(link.peer)

    def _given_up(self, worker: str) -> None:
        self._placement.release(worker)

    def _returned(self, out: Outgoing, reason: str) -> None:
        super()._returned(out, reason)
        if reason == WRONG_SLOT:
            self._placement.release(out.peer)

    def _notice_loss(self) -> None:
        super()._notice_loss()
        for worker in self._settings.neighbors:
            link = self._neighborhood.links[worker]
            if link.left or link.outward is Outward.REFUSED:
                self._placement.gone(worker)

    # -- iterations --------------------------------------------------------------------------------

    def _free(self) -> list[int]:
        """Slots that batches can be made for."""
        return [slot for slot, w in self._live().items() if self._debtors[w].owed is None]

    def _assemble(self) -> None:
        self._replace()
        if self._serves_each() and self._generate_for_free():
            return
        if self._may_learn():
            self._learn()
            return
        if self._moves_due:
            if self._owing() and not self._is_overdue:
                return
            self._move()
        if not self._placement.is_awaited():
            self._generate_for_free()

    def _serves_each(self) -> bool:
        """Whether a worker gets its next batches at once, and waits for no other."""
        is_steady = not self._moves_due and not self._placement.is_awaited()
        return self._system.is_asynchronous and is_steady

    def _generate_for_free(self) -> bool:
        """Batches for whoever can be served; whether there was anybody."""
        free = [slot for slot in self._free() if slot not in self._taken]
        if free:
            self._generate(free)
        return bool(free)

    def _generate(self, slots: list[int]) -> None:
        self._enter(Cause.PLACED)
        self._generating = tuple(slots)
        self._core.emit(do.Generate(iteration=self._updates + 1, slots=self._generating))

    def _generated(self, event: ev.Generated) -> None:
        if len(event.payloads) != len(self._generating):
            raise self._impossible(event)
        slots, self._generating = self._generating, ()
        if self._reason:
            self._save(Cause.HALTED)
            return
        self._enter(Cause.GENERATED)
        live, iteration = self._live(), self._updates + 1
        for slot, data in zip(slots, event.payloads, strict=True):
            worker = live.get(slot)
            if worker is None or self._debtors[worker].owed is not None:
                continue
            parcel = Parcel(purpose="batches", slot=slot, data=data)
            self._exchanges.send(worker, (), round=iteration, parcel=parcel)
            self._ask(worker, (iteration, slot))
        self._await_answers()
        self._go_on()

    def _take(self, arrival: Arrival, link: Link) -> None:
        in_time = self._answered_by(arrival)
        if in_time and not self._reason:
            self._taken[arrival.slot] = arrival
        else:
            self._exchanges.refuse(link, arrival, "finished" if self._reason else "late")

    def _may_learn(self) -> bool:
        is_enough = self._system.is_asynchronous or self._is_overdue or not self._owing()
        return bool(self._taken) and is_enough

    def _collect(self) -> None:
        self._replace()
        if self._may_learn():
            self._learn()
            return
        asynchronous = self._system.is_asynchronous
        waits = bool(self._owing())
        serves_new = self._serves_each() and bool(self._free())
        begins_anew = not asynchronous and self._is_overdue and bool(self._free())
        if serves_new or begins_anew or not waits:
            if not asynchronous:
                self._too_late()
                self._core.emit(do.CancelTimer(name=ANSWER_TIMER))
            self._enter(Cause.AGAIN)
            self._assemble()

    def _learn(self) -> None:
        """In order of slots, so that sums do not depend on who was first; or the first to come."""
        self._enter(Cause.HEARD)
        slots = sorted(self._taken)
        if self._system.is_asynchronous:
            slots = [next(iter(self._taken))]
        else:
            self._too_late()
            self._core.emit(do.CancelTimer(name=ANSWER_TIMER))
        self._learning = tuple(self._taken.pop(slot) for slot in slots)
        feedback = tuple(do.Feedback(slot=a.slot, data=a.data) for a in self._learning)
        self._core.emit(do.Learn(iteration=self._learning[0].round, feedback=feedback))

    def _refuse(self, slots: tuple[int, ...]) -> None:
        """Feedback that could not be read; the generator has learned from the rest."""
        for arrival in self._learning:
            if arrival.slot in slots:
                link = self._neighborhood.links[arrival.peer]
                self._exchanges.refuse(link, arrival, "positions")
                self._neighborhood.blame(link)

    def _learned(self) -> None:
        self._learning = ()
        self._updates += 1
        per_iteration = self._system.updates_per_iteration
        self._iterations = self._updates // per_iteration
        per_round = self._settings.exchange_every * per_iteration
        if self._updates % per_round == 0 or self._is_finished():
            self._finish_round()
            self._moves_due = self._rule.moved is not None and not self._is_finished()
            if self._moves_due and self._system.is_asynchronous:
                self._await_answers()
            self._after_round(Cause.LEARNED)
        elif self._reason:
            self._save(Cause.HALTED)
        else:
            self._enter(Cause.LEARNED)
            self._go_on()

    def _work_done(self, event: ev.Event) -> None:
        match self.phase, event:
            case Phase.GENERATING, ev.Generated():
                self._generated(event)
            case Phase.LEARNING, ev.LearningDone():
                self._refuse(event.refused)
                self._learned()
            case Phase.SCORING, ev.ScoringDone():
                self._scoring_done(event)
            case _:
                raise self._impossible(event)

    # -- looking in --------------------------------------------------------------------------------

    def _let_go(self) -> None:
        super()._let_go()
        self._taken, self._learning, self._generating = {}, (), ()

    def _held_bytes(self) -> int:
        held = (*self._taken.values(), *self._learning)
        return sum(len(arrival.data) for arrival in held)

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        super().validate()
        self._placement.validate()
        assert not self._learning or self.phase is Phase.LEARNING, "learns at another time"
        assert not self._generating or self.phase is Phase.GENERATING, "generates at another time"
