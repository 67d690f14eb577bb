"""FL-GAN's worker: it takes the coordinator's networks, trains them on its shard, sends them back.

Source: thesis, chapter 4. A newer model means that the round went on without this worker: it gives
up what it is doing and takes the newer one.
"""

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival, VectorError
from p2pgan.protocol.exchanges import Parcel
from p2pgan.protocol.links import Link
from p2pgan.protocol.messages import Chunk
from p2pgan.protocol.phases import FEDERATED_WORKER, Cause, Phase
from p2pgan.protocol.roles import MODEL_NETS, Federated, WorkerSettings
from p2pgan.protocol.worker import WorkerMachine


class FederatedWorker(WorkerMachine):
    """FL-GAN's worker, without any I/O.

    Invariants, beside those of `Machine`: a model is in hand only while it is adopted; what is
    trained is of a round of the run.
    """

    TRANSITIONS = FEDERATED_WORKER

    __slots__ = ("_adopting", "_asked", "_is_cut", "_is_void", "_playing", "_system")

    def __init__(self, settings: WorkerSettings) -> None:
        assert isinstance(settings.system, Federated)
        super().__init__(settings)
        self._system = settings.system
        self._adopting: Arrival | None = None
        self._playing = 0
        """The round of the model at hand."""
        self._asked = 0
        self._is_cut = False
        """Whether the training was told to end early."""
        self._is_void = False
        """Whether nobody waits for the update at hand any more."""

    def bytes_of(self, nets: tuple[str, ...]) -> int:
        """Size of our own networks, as they are sent."""
        assert nets == MODEL_NETS, "FL-GAN sends both networks"
        return self._system.model_bytes

    def admit(self, link: Link, chunk: Chunk) -> int:
        """Models from the coordinator, for rounds of the run."""
        at = f"peer `{link.peer}`"
        is_model = chunk.purpose == "model" and chunk.nets == MODEL_NETS
        if not is_model or not self._is_coordinator(link):
            raise VectorError("nets", expected="a model", got=f"{chunk.purpose}", at=at)
        if chunk.origin:
            raise VectorError("origin", expected="none", got="one", at=at)
        if self._iterations_of(chunk.round) < 1:
            raise VectorError("round", expected="one of the run", got=f"{chunk.round}", at=at)
        return self._system.model_bytes

    def _iterations_of(self, round_: int) -> int:
        """Iterations of a round, from 1; the last may be shorter."""
        settings = self._settings
        before = (round_ - 1) * settings.exchange_every
        return min(settings.exchange_every, settings.iterations - before) if round_ else 0

    def _take(self, arrival: Arrival, link: Link) -> None:
        del link
        self._exchanges.keep(arrival)
        if self.phase is Phase.TRAINING:
            self._cut_short()

    def _cut_short(self) -> None:
        self._is_cut = True
        self._core.emit(do.StopTraining())

    def _next(self) -> None:
        if self._exchanges.inbox:
            self._adopt(Cause.MODEL_CAME)

    def _adopt(self, cause: Cause) -> None:
        self._enter(cause)
        (self._adopting,) = self._exchanges.take()
        self._is_void = False
        self._core.emit(do.Adopt(arrival=self._adopting))

    def _work_done(self, event: ev.Event) -> None:
        match self.phase, event:
            case Phase.ADOPTING, ev.AdoptingDone():
                self._adopted()
            case Phase.TRAINING, ev.TrainingDone():
                self._training_done(event)
            case Phase.PACKING, ev.Packed():
                self._packed(event)
            case _:
                raise self._impossible(event)

    def _adopted(self) -> None:
        model = self._adopting
        assert model is not None
        self._adopting = None
        self._exchanges.mixed(model, weight=1.0, round=model.round)
        self._playing = model.round
        if self._reason:
            self._save(Cause.HALTED)
        elif self._exchanges.inbox:
            self._adopt(Cause.NEWER_CAME)
        else:
            self._enter(Cause.ADOPTED)
            self._asked = self._iterations_of(self._playing)
            self._is_cut = False
            self._core.emit(do.Train(iterations=self._asked))

    def _training_done(self, event: ev.TrainingDone) -> None:
        if not 0 <= event.iterations <= self._asked:
            raise self._impossible(event)
        self._iterations += event.iterations
        is_newer = bool(self._exchanges.inbox)
        if event.iterations < self._asked and not self._is_cut:
            raise self._impossible(event)
        if event.iterations == self._asked:
            self._finish_round(event)
        if self._reason:
            self._save(Cause.HALTED)
        elif is_newer:
            self._adopt(Cause.NEWER_CAME)
        else:
            self._enter(Cause.TRAINED)
            self._core.emit(do.Pack())

    def _finish_round(self, event: ev.TrainingDone) -> None:
        self._round = self._playing
        self._core.record(
            "round_finished",
            round=self._round,
            iterations=self._iterations,
            loss_d=event.loss_d,
            loss_g=event.loss_g,
            train_s=event.train_s,
        )

    def _packed(self, event: ev.Packed) -> None:
        if len(event.data) != self._system.model_bytes:
            raise self._impossible(event)
        if self._reason:
            self._save(Cause.HALTED)
            return
        self._enter(Cause.PACKED)
        # A training that was cut short for a model that is void by now leaves no update.
        is_waited_for = not (self._is_void or self._is_cut or self._exchanges.inbox)
        if is_waited_for and self._coordinator.is_ready:
            parcel = Parcel(purpose="update", number=event.number, data=event.data)
            self._exchanges.send(
                self._coordinator.peer, MODEL_NETS, round=self._playing, parcel=parcel
            )
        self._go_on()

    def _halt(self) -> None:
        super()._halt()
        if self.phase is Phase.TRAINING:
            self._cut_short()

    def _met(self, *, is_new: bool) -> None:
        if is_new:
            self._void()

    def _void(self) -> None:
        self._is_void = True
        self._exchanges.discard(self._exchanges.take(), "void")

    def _let_go(self) -> None:
        if self._adopting is not None:
            self._exchanges.discard((self._adopting,), self._reason)
            self._adopting = None

    def _held_bytes(self) -> int:
        return len(self._adopting.data) if self._adopting is not None else 0

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        super().validate()
        adopts = self.phase is Phase.ADOPTING
        assert adopts or self._adopting is None, "a model is in hand at another time"
        assert self._iterations_of(self._playing) >= 1 or not self._playing, "an unknown round"
