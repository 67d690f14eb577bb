"""FL-GAN's coordinator: it sends its networks to some workers, and averages what they make of them.

Source: thesis, chapter 4, and seed 003's algorithm 1 for the choice of workers: more are asked than
needed, and the first to answer make the round. A worker that joins late is ready for the next
choice, and gets the current networks by being asked. One that has missed a deadline is left alone
until it answers: a newer model would end its training, and a round must not wait for it again. A
round that nobody answers is played again.
"""

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival, VectorError
from p2pgan.protocol.coordinator import ANSWER_TIMER, CoordinatorMachine, State
from p2pgan.protocol.exchanges import Parcel
from p2pgan.protocol.links import Link
from p2pgan.protocol.messages import Chunk
from p2pgan.protocol.phases import FEDERATED_COORDINATOR, Cause, Phase
from p2pgan.protocol.roles import MODEL_NETS, CoordinatorSettings, Federated, Places, Selection


class FederatedCoordinator(CoordinatorMachine):
    """FL-GAN's coordinator, without any I/O.

    Invariants, beside those of `CoordinatorMachine`: updates are held while they are collected or
    averaged, one of each worker.
    """

    TRANSITIONS = FEDERATED_COORDINATOR

    __slots__ = ("_averaging", "_needed", "_select", "_system", "_taken")

    def __init__(self, settings: CoordinatorSettings) -> None:
        assert isinstance(settings.system, Federated)
        assert isinstance(settings.rule, Selection)
        self._system, self._select = settings.system, settings.rule.select
        self._needed = 0
        self._taken: dict[str, Arrival] = {}
        self._averaging: tuple[Arrival, ...] = ()
        super().__init__(settings)

    def bytes_of(self, nets: tuple[str, ...]) -> int:
        """Size of our own networks, as they are sent."""
        assert nets == MODEL_NETS, "FL-GAN sends both networks"
        return self._system.model_bytes

    def admit(self, link: Link, chunk: Chunk) -> int:
        """Updates that were asked for."""
        at = f"peer `{link.peer}`"
        if chunk.purpose != "update" or chunk.nets != MODEL_NETS:
            raise VectorError("nets", expected="an update", got=f"{chunk.purpose}", at=at)
        if chunk.origin:
            raise VectorError("origin", expected="none", got="one", at=at)
        self._check_asked(link, chunk)
        return self._system.model_bytes

    def _ready(self) -> list[str]:
        return [w for w in self._connected() if w not in self._silent]

    def _connected(self) -> list[str]:
        links = self._neighborhood.links
        ready = {w for w in self._neighborhood.ready() if links[w].route is not None}
        return [w for w in self._settings.neighbors if w in ready]

    def _places(self) -> Places:
        return {}

    def _assemble(self) -> None:
        if self._taken:
            self._resume()
            return
        ready = self._ready()
        if not ready:
            return
        asked, self._needed = self._select(ready, self._round + 1)
        assert 0 < self._needed <= len(asked), "some are asked, and no more needed"
        assert {*asked} <= {*ready}, "the choice is of workers that are ready"
        self._enter(Cause.ASKED)
        for worker in asked:
            self._exchanges.send(
                worker, MODEL_NETS, round=self._round + 1, parcel=Parcel(purpose="model")
            )
            self._ask(worker, (self._round + 1, 0))
        self._await_answers()

    def _resume(self) -> None:
        """A round that was given up is answered after all: the others may be as near their end."""
        self._enter(Cause.ASKED)
        key = (self._round + 1, 0)
        for worker in self._connected():
            if key in self._debtors[worker].open:
                self._debtors[worker].wait_again(key, self._core.now)
        self._watch_silence()
        self._await_answers()
        self._collect()

    def _take(self, arrival: Arrival, link: Link) -> None:
        del link
        self._answered_by(arrival)
        # One that is not waited for any more, its connection having been down, is as good.
        plays = self.phase in (Phase.ASSEMBLING, Phase.COLLECTING) and not self._reason
        is_current = plays and arrival.round == self._round + 1
        if is_current and arrival.peer not in self._taken:
            self._taken[arrival.peer] = arrival
        else:
            self._exchanges.discard((arrival,), "late")

    def _collect(self) -> None:
        enough = len(self._taken) >= self._needed or self._is_overdue or not self._owing()
        if self._taken and enough:
            self._average()
        elif not self._owing():
            self._core.emit(do.CancelTimer(name=ANSWER_TIMER))
            self._enter(Cause.AGAIN)
            self._assemble()

    def _average(self) -> None:
        """In the run's order, so that sums do not depend on who was first."""
        self._core.emit(do.CancelTimer(name=ANSWER_TIMER))
        self._enter(Cause.HEARD)
        self._too_late()
        workers = [worker for worker in self._settings.neighbors if worker in self._taken]
        self._averaging = tuple(self._taken.pop(worker) for worker in workers)
        self._core.emit(do.Average(updates=self._averaging))

    def _work_done(self, event: ev.Event) -> None:
        match self.phase, event:
            case Phase.AVERAGING, ev.AveragingDone():
                self._averaging_done(event)
            case Phase.SCORING, ev.ScoringDone():
                self._scoring_done(event)
            case _:
                raise self._impossible(event)

    def _averaging_done(self, event: ev.AveragingDone) -> None:
        weights = dict(event.weights)
        if weights.keys() != {arrival.exchange for arrival in self._averaging}:
            raise self._impossible(event)
        for arrival in self._averaging:
            weight = weights[arrival.exchange]
            self._exchanges.mixed(arrival, weight=weight, round=self._round + 1)
        self._averaging = ()
        settings = self._settings
        self._iterations = min((self._round + 1) * settings.exchange_every, settings.iterations)
        self._updates = self._iterations
        self._finish_round()
        self._after_round(Cause.AVERAGED)

    def _restored(self, state: State) -> None:
        self._iterations = state.updates

    def _let_go(self) -> None:
        super()._let_go()
        self._exchanges.discard((*self._taken.values(), *self._averaging), self._reason)
        self._taken, self._averaging = {}, ()

    def _held_bytes(self) -> int:
        held = (*self._taken.values(), *self._averaging)
        return sum(len(arrival.data) for arrival in held)

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        super().validate()
        collects = self.phase is Phase.COLLECTING or self._reason
        assert not self._taken or collects, "updates are held at another time"
        assert not self._averaging or self.phase is Phase.AVERAGING, "averages at another time"
